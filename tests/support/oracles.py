"""Networks of torch.nn to compare with, written from the papers and with torchvision's names."""

import re

import numpy as np
import torch
from torch import nn


class TorchBlock(nn.Module):
    """A residual block: `convolutions` lists (out_channels, kernel, stride, groups) of its branch."""

    def __init__(self, inplanes, convolutions, downsample):
        super().__init__()
        self.depth, channels = len(convolutions), inplanes
        for i, (out, kernel, stride, groups) in enumerate(convolutions, 1):
            conv = nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
            setattr(self, f"conv{i}", conv)
            setattr(self, f"bn{i}", nn.BatchNorm2d(out))
            setattr(self, f"relu{i}", nn.ReLU())
            channels = out
        if downsample:
            stride = max(c[2] for c in convolutions)
            self.downsample = nn.Sequential(
                nn.Conv2d(inplanes, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )
        else:
            self.downsample = None

    def forward(self, x):
        y = x
        for i in range(1, self.depth + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            if i < self.depth:
                y = getattr(self, f"relu{i}")(y)
        return getattr(self, f"relu{self.depth}")(y + (x if self.downsample is None else self.downsample(x)))


class TorchResNet(nn.Module):
    def __init__(self, bottleneck, layers, num_classes=1000, groups=1, width_per_group=64):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels, self.stages = 64, len(layers)
        for i, count in enumerate(layers):
            blocks, planes = [], 64 * 2**i
            for j in range(count):
                stride = 2 if i > 0 and j == 0 else 1
                width = planes * width_per_group // 64 * groups
                if bottleneck:
                    branch = [(width, 1, 1, 1), (width, 3, stride, groups), (4 * planes, 1, 1, 1)]
                else:
                    branch = [(planes, 3, stride, 1), (planes, 3, 1, groups)]
                blocks.append(TorchBlock(channels, branch, stride != 1 or channels != branch[-1][0]))
                channels = branch[-1][0]
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for i in range(self.stages):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


def randomise(model, seed):
    """Draw every parameter and buffer of a torch module anew, away from special values such as 0 and 1."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if not value.is_floating_point():
                continue
            noise = torch.from_numpy(rng.standard_normal(tuple(value.shape)))
            value.copy_(
                value + 0.1 * noise.abs()
                if "running_var" in name
                else value + 0.1 * value.std() * noise
                if value.ndim > 1
                else value + 0.1 * noise
            )
    return model


def apart(text, stem=False):
    """Write each BatchNormReLU2d in the representation of one of our networks as the two layers that PyTorch has."""
    text = re.sub(r"( *)\(bn(\d)\): BatchNormReLU2d\((.*)\)", r"\1(bn\2): BatchNorm2d(\3)\n\1(relu\2): ReLU()", text)
    return text.replace("(relu1)", "(relu)", 1) if stem else text

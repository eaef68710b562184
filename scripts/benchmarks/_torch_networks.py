"""ResNet and ResNeXt built from torch.nn, to compare with: the same networks, layer for layer."""

import torch
from torch import nn

# name -> (bottlenecks?, blocks of each stage, groups, width per group)
NETWORKS = {
    "resnet18": (False, (2, 2, 2, 2), 1, 64),
    "resnet50": (True, (3, 4, 6, 3), 1, 64),
    "resnext50_32x4d": (True, (3, 4, 6, 3), 32, 4),
}


class Block(nn.Module):
    """A branch of convolutions with batch norm, a shortcut around it, and their sum."""

    def __init__(self, inputs, planes, stride, bottleneck, groups, width_per_group):
        super().__init__()
        if bottleneck:
            width, outputs = planes * width_per_group // 64 * groups, 4 * planes
            shapes = [(inputs, width, 1, 1, 1), (width, width, 3, stride, groups), (width, outputs, 1, 1, 1)]
        else:
            outputs = planes
            shapes = [(inputs, planes, 3, stride, 1), (planes, planes, 3, 1, 1)]
        layers = []
        for a, b, kernel, step, parts in shapes:
            convolution = nn.Conv2d(a, b, kernel, step, kernel // 2, groups=parts, bias=False)
            layers += [convolution, nn.BatchNorm2d(b), nn.ReLU(inplace=True)]
        self.branch = nn.Sequential(*layers[:-1])
        self.shortcut = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        """Add branch and shortcut, and rectify."""
        y = self.branch(x)
        y += self.shortcut(x)
        return torch.relu_(y)


def network(name):
    """Return a network for ImageNet by its npresnext name."""
    bottleneck, depths, groups, width = NETWORKS[name]
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    return _network(stem, bottleneck, depths, groups, width, planes=64, num_classes=1000)


def small_network(bottleneck, depths, groups, width_per_group, planes, in_channels):
    """Return a network for small images and ten classes: npresnext's ResNet with the stem "cifar"."""
    stem = [nn.Conv2d(in_channels, planes, 3, 1, 1, bias=False), nn.BatchNorm2d(planes), nn.ReLU(inplace=True)]
    return _network(stem, bottleneck, depths, groups, width_per_group, planes, num_classes=10)


def _network(stem, bottleneck, depths, groups, width_per_group, planes, num_classes):
    layers, inputs = list(stem), planes
    for stage, depth in enumerate(depths):
        width = planes * 2**stage
        for index in range(depth):
            stride = 2 if stage and not index else 1
            layers.append(Block(inputs, width, stride, bottleneck, groups, width_per_group))
            inputs = width * (4 if bottleneck else 1)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, num_classes))

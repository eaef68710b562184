"""ResNet: a stem, stages of residual blocks, the average over all positions, and a linear classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._support.arguments import as_bool, as_generator, as_int, check_choice
from .._support.typing import Array
from ..errors import InvalidTypeError, InvalidValueError
from ..nn import (
    BatchNormReLU2d,
    Conv2d,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    Module,
    Parameter,
    Sequential,
)
from ..nn.init import full, kaiming_normal
from .blocks import BasicBlock, Bottleneck, projection
from .folding import fuse

STEMS = {"imagenet": {"kernel_size": 7, "stride": 2, "padding": 3}, "cifar": {"kernel_size": 3, "padding": 1}}


class ResNet(Module):
    """Every network of the ResNet and ResNeXt families (He et al., arXiv:1512.03385; Xie et al., arXiv:1611.05431).

    Stage i has ``planes·2^i`` planes and, from the second on, halves the size in its first block. Parts and
    state names are torchvision's: conv1, bn1, layer1 ... layerN, fc.

    Parameters
    ----------
    block : BasicBlock or Bottleneck
        The class.
    layers : sequence of int
        Blocks in each stage.
    num_classes, in_channels : int
        Channels of the output and of the images.
    groups, width_per_group : int
        G and the channels a group, of every block.
    planes : int
        Channels of the stem, and planes of the first stage.
    stem : "imagenet" or "cifar"
        7x7 with stride 2 and max pooling with stride 2, or 3x3 alone, for small images.
    init : "fan_out" or "fan_out_per_group"
        How the convolutions start: torchvision's way, which ignores the groups, or with a fan that counts the
        outputs of one group only; see :func:`npresnext.nn.init.kaiming_normal`.
    zero_init_residual : bool
        Whether the last norm of each branch starts at 0, so that each block starts as its shortcut
        (Goyal et al., arXiv:1706.02677, section 5.1).
    rng : None, int or numpy.random.Generator
        Where the initial weights come from.
    dtype : str

    Raises
    ------
    ValueError
        `stem` or `init` is unknown, `layers` is empty, or the block cannot have such groups and widths.
    TypeError
        `block` is not the class of a block, or `layers` not a sequence of integers.

    Examples
    --------
    >>> import numpy as np
    >>> model = ResNet(Bottleneck, [1, 1], num_classes=10, groups=4, width_per_group=16, planes=16, stem="cifar", rng=0)
    >>> logits = model(np.zeros((2, 3, 8, 8), dtype="float32"))
    >>> logits.shape, model.backward(logits).shape
    ((2, 10), (2, 3, 8, 8))
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: Sequence[int],
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        groups: int = 1,
        width_per_group: int = 64,
        planes: int = 64,
        stem: str = "imagenet",
        init: str = "fan_out",
        zero_init_residual: bool = False,
        rng: Any = None,
        dtype: Any = "float32",
    ) -> None:
        check_choice(stem, "stem", STEMS)
        if not (isinstance(block, type) and issubclass(block, Module) and hasattr(block, "expansion")):
            raise InvalidTypeError(f"block must be a class such as BasicBlock or Bottleneck, but is {block!r}")
        if not isinstance(layers, Sequence):
            raise InvalidTypeError(f"layers must be the blocks of each stage, such as [3, 4, 6, 3], but is {layers!r}")
        if not layers:
            raise InvalidValueError("layers is empty: expected the number of blocks in each stage")
        planes, num_classes = as_int(planes, "planes", 0), as_int(num_classes, "num_classes", 0)
        zero_init_residual = as_bool(zero_init_residual, "zero_init_residual")
        drawn: dict[str, Any] = {"rng": as_generator(rng), "dtype": dtype}
        self.conv1 = Conv2d(in_channels, planes, **STEMS[stem], bias=False, **drawn)
        self.bn1 = BatchNormReLU2d(planes, dtype=dtype)
        self.maxpool = MaxPool2d(3, stride=2, padding=1) if stem == "imagenet" else None
        channels = planes
        for index, blocks in enumerate(layers):
            as_int(blocks, f"layers[{index}]", 1)
            width, stride = planes * 2**index, 1 if index == 0 else 2
            outputs = width * block.expansion
            fits = stride == 1 and channels == outputs
            shortcut = None if fits else projection(channels, outputs, stride, **drawn)
            stage = [block(channels, width, stride, shortcut, groups, width_per_group, **drawn)]
            stage += [block(outputs, width, 1, None, groups, width_per_group, **drawn) for _ in range(blocks - 1)]
            setattr(self, f"layer{index + 1}", Sequential(*stage))
            channels = outputs
        self.avgpool = GlobalAvgPool2d()
        self.fc = Linear(channels, num_classes, **drawn)
        self._initialise(init, zero_init_residual, **drawn)

    @property
    def stages(self) -> list[Module]:
        """The stages, layer1 to layerN."""
        return [child for name, child in self.named_children() if name.startswith("layer")]

    @property
    def needs_input_grad(self) -> bool:
        """Whether the gradient of the images is needed: a property of the first convolution."""
        return self.conv1.needs_input_grad

    @needs_input_grad.setter
    def needs_input_grad(self, value: bool) -> None:
        self.conv1.needs_input_grad = value

    def forward(self, x: Array) -> Array:
        """Map images (N, C, H, W) to logits (N, num_classes)."""
        x = self.bn1(self.conv1(x))  # (N, planes, oh, ow)
        if self.maxpool is not None:
            x = self.maxpool(x)
        for stage in self.stages:
            x = stage(x)
        x = self.avgpool(x)  # (N, C, 1, 1)
        return self.fc(x[:, :, 0, 0])  # (N, num_classes)

    def backward(self, grad_output: Array) -> Array:
        """Go back from the gradient of the logits (N, num_classes) to that of the images."""
        grad = self.fc.backward(grad_output)  # (N, C)
        grad = self.avgpool.backward(grad[:, :, None, None])  # (N, C, oh, ow)
        for stage in reversed(self.stages):
            grad = stage.backward(grad)
        if self.maxpool is not None:
            grad = self.maxpool.backward(grad)
        return self.conv1.backward(self.bn1.backward(grad))  # (N, C_in, H, W)

    def fuse(self, input_size: Sequence[int] | None = None) -> Module:
        """Return a new network for inference, batch norm folded in: see :func:`npresnext.models.fuse`."""
        return fuse(self, input_size)

    def _initialise(self, init: str, zero_init_residual: bool, rng: Any, dtype: Any) -> None:
        """Draw the convolutions anew; with `zero_init_residual`, every block starts as its shortcut alone."""
        for module in self.modules():
            if isinstance(module, Conv2d):
                weight = module.weight
                weight.data = kaiming_normal(weight.shape, init=init, groups=module.groups, rng=rng, dtype=dtype)
            elif zero_init_residual and isinstance(module, (BasicBlock, Bottleneck)):
                last = module.bn3 if isinstance(module, Bottleneck) else module.bn2
                last.weight = Parameter(full((last.num_features,), 0, dtype))

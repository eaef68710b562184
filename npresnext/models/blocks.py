"""The residual blocks: a branch of convolutions, a shortcut around it, and their sum.

``bn1``, ``bn2``, ``bn3`` carry torchvision's names; each is a :class:`~npresnext.nn.BatchNormReLU2d`, which does what
follows a convolution in one pass: batch norm, the addition of the shortcut if it is given one, and the rectifier.
"""

from __future__ import annotations

from typing import Any

from .._support.arguments import as_generator, as_int, check_number
from .._support.typing import Array
from ..errors import InvalidValueError
from ..functional.residual import add_
from ..nn import BatchNorm2d, BatchNormReLU2d, Conv2d, Module, Sequential
from ..nn.module import check_module


class BasicBlock(Module):
    """Two 3x3 convolutions and a shortcut: the block of ResNet-18 and ResNet-34.

    ::

        x -> 3x3 -> norm -> relu -> 3x3 (groups) -> norm -> + -> relu
        └------------------- downsample ------------------─┘

    (He et al., arXiv:1512.03385, figure 5 left.) The second convolution may be grouped. That is a legal
    network, but no sum of parallel paths as in ResNeXt: Xie et al., arXiv:1611.05431, section 3 and figure 4,
    point out that aggregated transformations need a depth of 3; in a block of depth 2 they amount to a wide,
    dense module. torchvision refuses groups here.

    Parameters
    ----------
    inplanes : int
        Channels of the input.
    planes : int
        Channels of both convolutions and of the output.
    stride : int
        Of the first convolution.
    downsample : Module, optional
        The shortcut where the shapes differ: 1x1 convolution and norm. None passes x on.
    groups : int
        G, of the second convolution.
    width_per_group : int
        Must be 64: the width of this block cannot be chosen.
    rng : None, int or numpy.random.Generator
    dtype : str

    Raises
    ------
    ValueError
        `width_per_group` is not 64, or `groups` does not divide `planes`.

    Examples
    --------
    >>> BasicBlock(64, 64, groups=2).conv2
    Conv2d(64, 64, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), groups=2, bias=False)
    """

    expansion = 1

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: Module | None = None,
        groups: int = 1,
        width_per_group: int = 64,
        *,
        rng: Any = None,
        dtype: Any = "float32",
    ) -> None:
        inplanes, planes = _checked_channels(inplanes, planes, downsample)
        if as_int(width_per_group, "width_per_group") != 64:
            raise InvalidValueError(
                f"width_per_group must be 64 in a BasicBlock, whose width is always planes, but is {width_per_group}: "
                "Bottleneck has a width to choose"
            )
        drawn: dict[str, Any] = {"rng": as_generator(rng), "dtype": dtype}
        self.conv1 = Conv2d(inplanes, planes, 3, stride, padding=1, bias=False, **drawn)
        self.bn1 = BatchNormReLU2d(planes, dtype=dtype)
        self.conv2 = Conv2d(planes, planes, 3, padding=1, groups=groups, bias=False, **drawn)
        self.bn2 = BatchNormReLU2d(planes, dtype=dtype)
        self.downsample = downsample

    def forward(self, x: Array) -> Array:
        """Run the branch, add the shortcut, rectify."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.bn1(self.conv1(x))  # 3x3, batch norm, rectifier
        return self.bn2(self.conv2(y), shortcut)  # grouped 3x3, batch norm, addition of the shortcut, rectifier

    def backward(self, grad_output: Array) -> Array:
        """Go back through the branch and the shortcut, and add up their gradients of the input."""
        dy, dshortcut = self.bn2.backward(grad_output)
        dy = self.bn1.backward(self.conv2.backward(dy))
        dx = self.conv1.backward(dy)
        return add_(dx, dshortcut if self.downsample is None else self.downsample.backward(dshortcut))


def path_width(planes: int, groups: int, width_per_group: int) -> int:
    """Return the channels of each of `groups` paths, after checking that there are paths and that they have any."""
    planes, groups = as_int(planes, "planes"), as_int(groups, "groups", 1)
    check_number(width_per_group, "width_per_group")
    width = int(planes * width_per_group / 64)
    if width < 1:
        raise InvalidValueError(
            f"the width int(planes·width_per_group/64)·groups is {width * groups} for planes={planes}, "
            f"width_per_group={width_per_group}, groups={groups}: it must be at least 1"
        )
    return width


class Bottleneck(Module):
    """1x1 down, grouped 3x3, 1x1 up, and a shortcut: the block of ResNet-50 and of every ResNeXt.

    ::

        x -> 1x1 -> norm -> relu -> 3x3 (groups, stride) -> norm -> relu -> 1x1 -> norm -> + -> relu
        └------------------------------------ downsample --------------------------------─┘

    With G groups the middle is G parallel paths: Xie et al., arXiv:1611.05431, figure 3c, where G is called
    the cardinality. The stride sits in the 3x3 (as in torchvision, unlike He et al., arXiv:1512.03385, where
    it sits in the first 1x1).

    Parameters
    ----------
    inplanes : int
        Channels of the input.
    planes : int
        A quarter of the channels of the output.
    stride : int
        Of the 3x3.
    downsample : Module, optional
        The shortcut where the shapes differ: 1x1 convolution and norm. None passes x on.
    groups : int
        G, the cardinality.
    width_per_group : int
        Channels a group where planes is 64: the 3x3 has ``int(planes·width_per_group/64)·groups`` channels.
    rng : None, int or numpy.random.Generator
    dtype : str

    Raises
    ------
    ValueError
        The width comes out as 0.

    Examples
    --------
    >>> Bottleneck(256, 64, groups=32, width_per_group=4).conv2
    Conv2d(128, 128, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), groups=32, bias=False)
    """

    expansion = 4

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: Module | None = None,
        groups: int = 1,
        width_per_group: int = 64,
        *,
        rng: Any = None,
        dtype: Any = "float32",
    ) -> None:
        inplanes, planes = _checked_channels(inplanes, planes, downsample)
        width = groups * path_width(planes, groups, width_per_group)
        drawn: dict[str, Any] = {"rng": as_generator(rng), "dtype": dtype}
        self.conv1 = Conv2d(inplanes, width, 1, bias=False, **drawn)
        self.bn1 = BatchNormReLU2d(width, dtype=dtype)
        self.conv2 = Conv2d(width, width, 3, stride, padding=1, groups=groups, bias=False, **drawn)
        self.bn2 = BatchNormReLU2d(width, dtype=dtype)
        self.conv3 = Conv2d(width, planes * self.expansion, 1, bias=False, **drawn)
        self.bn3 = BatchNormReLU2d(planes * self.expansion, dtype=dtype)
        self.downsample = downsample

    def forward(self, x: Array) -> Array:
        """Run the branch, add the shortcut, rectify."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.bn1(self.conv1(x))  # 1x1, batch norm, rectifier
        y = self.bn2(self.conv2(y))  # grouped 3x3, batch norm, rectifier
        return self.bn3(self.conv3(y), shortcut)  # 1x1, batch norm, addition of the shortcut, rectifier

    def backward(self, grad_output: Array) -> Array:
        """Go back through the branch and the shortcut, and add up their gradients of the input."""
        dy, dshortcut = self.bn3.backward(grad_output)
        dy = self.bn2.backward(self.conv3.backward(dy))
        dy = self.bn1.backward(self.conv2.backward(dy))
        dx = self.conv1.backward(dy)
        return add_(dx, dshortcut if self.downsample is None else self.downsample.backward(dshortcut))


def _checked_channels(inplanes: int, planes: int, downsample: Module | None) -> tuple[int, int]:
    """Return the channels of a block as Python integers after checking them, and that the shortcut is a module."""
    if downsample is not None:
        check_module(downsample, "downsample")
    return as_int(inplanes, "inplanes", 0), as_int(planes, "planes", 0)


def projection(inplanes: int, outplanes: int, stride: int, *, rng: Any = None, dtype: Any = "float32") -> Sequential:
    """Return a shortcut that changes channels and size: 1x1 convolution and norm (option B of He et al.)."""
    return Sequential(
        Conv2d(inplanes, outplanes, 1, stride, bias=False, rng=rng, dtype=dtype), BatchNorm2d(outplanes, dtype=dtype)
    )

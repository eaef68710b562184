"""The residual blocks: a branch of convolutions, a shortcut around it, and their sum."""

from __future__ import annotations

from typing import Any

from .._support.arguments import as_int, check_number
from .._support.typing import Array
from ..errors import InvalidValueError
from ..functional.residual import add_
from ..nn import BatchNorm2d, Conv2d, Module, ReLU, Sequential
from ..nn.init import generator
from .unit import run_unit, run_unit_backward


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
        if width_per_group != 64:
            raise InvalidValueError(
                f"width_per_group must be 64 in a BasicBlock, whose width is always planes, but is {width_per_group}: "
                "Bottleneck has a width to choose"
            )
        drawn: dict[str, Any] = {"rng": generator(rng), "dtype": dtype}
        self.conv1 = Conv2d(inplanes, planes, 3, stride, padding=1, bias=False, **drawn)
        self.bn1 = BatchNorm2d(planes, dtype=dtype)
        self.relu1 = ReLU()
        self.conv2 = Conv2d(planes, planes, 3, padding=1, groups=groups, bias=False, **drawn)
        self.bn2 = BatchNorm2d(planes, dtype=dtype)
        self.relu2 = ReLU()
        self.downsample = downsample

    def forward(self, x: Array) -> Array:
        """Run the branch, add the shortcut, rectify."""
        y = run_unit(self.conv1, self.bn1, self.relu1, x)
        return run_unit(self.conv2, self.bn2, self.relu2, y, lambda: _shortcut(self.downsample, x))

    def backward(self, grad_output: Array) -> Array:
        """Go back through the branch and the shortcut; the input collects both gradients."""
        dy, dshortcut = run_unit_backward(self.conv2, self.bn2, self.relu2, grad_output, needs_shortcut=True)
        if self.downsample is not None:
            dshortcut = self.downsample.backward(dshortcut)
        dx, _ = run_unit_backward(self.conv1, self.bn1, self.relu1, dy)
        return add_(dx, dshortcut)


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
        width = groups * path_width(planes, groups, width_per_group)
        drawn: dict[str, Any] = {"rng": generator(rng), "dtype": dtype}
        self.conv1 = Conv2d(inplanes, width, 1, bias=False, **drawn)
        self.bn1 = BatchNorm2d(width, dtype=dtype)
        self.relu1 = ReLU()
        self.conv2 = Conv2d(width, width, 3, stride, padding=1, groups=groups, bias=False, **drawn)
        self.bn2 = BatchNorm2d(width, dtype=dtype)
        self.relu2 = ReLU()
        self.conv3 = Conv2d(width, planes * self.expansion, 1, bias=False, **drawn)
        self.bn3 = BatchNorm2d(planes * self.expansion, dtype=dtype)
        self.relu3 = ReLU()
        self.downsample = downsample

    def forward(self, x: Array) -> Array:
        """Run the branch, add the shortcut, rectify."""
        y = run_unit(self.conv1, self.bn1, self.relu1, x)
        y = run_unit(self.conv2, self.bn2, self.relu2, y)
        return run_unit(self.conv3, self.bn3, self.relu3, y, lambda: _shortcut(self.downsample, x))

    def backward(self, grad_output: Array) -> Array:
        """Go back through the branch and the shortcut; the input collects both gradients."""
        dy, dshortcut = run_unit_backward(self.conv3, self.bn3, self.relu3, grad_output, needs_shortcut=True)
        if self.downsample is not None:
            dshortcut = self.downsample.backward(dshortcut)
        dy, _ = run_unit_backward(self.conv2, self.bn2, self.relu2, dy)
        dx, _ = run_unit_backward(self.conv1, self.bn1, self.relu1, dy)
        return add_(dx, dshortcut)


def projection(inplanes: int, outplanes: int, stride: int, *, rng: Any = None, dtype: Any = "float32") -> Sequential:
    """Return a shortcut that changes channels and size: 1x1 convolution and norm (option B of He et al.)."""
    return Sequential(
        Conv2d(inplanes, outplanes, 1, stride, bias=False, rng=rng, dtype=dtype), BatchNorm2d(outplanes, dtype=dtype)
    )


def _shortcut(downsample: Module | None, x: Array) -> Array:
    """Return what the shortcut brings: x itself, or its projection."""
    return x if downsample is None else downsample(x)

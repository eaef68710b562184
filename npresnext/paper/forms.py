"""One block in the paper's three forms, and the block of depth 2 that gains nothing from its paths.

Xie et al., "Aggregated residual transformations for deep neural networks", arXiv:1611.05431, figures 3 and 4::

    (a)  x -> C paths of (1x1 -> 3x3 -> 1x1) -> their sum          -> + x     the aggregation as it is meant
    (b)  x -> C paths of (1x1 -> 3x3) -> side by side -> one 1x1   -> + x     as in Inception-ResNet
    (c)  x -> 1x1 -> 3x3 in C groups -> 1x1                        -> + x     as it is computed

They are one function in three notations: a 1x1 on channels side by side is the sum of 1x1s on each share of
them, and paths side by side are a grouped convolution. :func:`~npresnext.paper.convert_state` converts weights,
norms and gradients of one form to another. Batch norm stands after every convolution but the last of a path: (a)
normalises after the sum and before the shortcut is added (the paper, section 4). A rectifier follows every norm,
the last one after the addition.

Form (c) with its norms is :class:`~npresnext.models.Bottleneck`. These classes take the same arguments, so
``ResNet(FormA, ...)`` is a whole network in form (a).
"""

from __future__ import annotations

from typing import Any

from .._support.arguments import as_generator, as_int
from .._support.typing import Array
from ..backend import array_module
from ..functional import add, add_backward
from ..models.blocks import path_width
from ..nn import BatchNorm2d, Conv2d, Module, ReLU, Sequential


class Sum(Sequential):
    """Paths side by side, all fed with x, and the sum of what they return. Parameters as for `Sequential`.

    >>> import numpy as np
    >>> Sum(ReLU(), ReLU())(np.array([-1.0, 2.0]))
    array([0., 4.])
    """

    def forward(self, x: Array) -> Array:
        """Add up the outputs of all paths."""
        first, *others = [path(x) for path in self]
        for output in others:
            first = add(first, output)
        return first

    def backward(self, grad_output: Array) -> Array:
        """Hand the gradient to every path, and add up what they return."""
        first, *others = [path.backward(grad_output) for path in self]
        for grad in others:
            first = add(first, grad)
        return first


class Concat(Sequential):
    """Paths side by side, all fed with x, and their output channels in a row. Parameters as for `Sequential`.

    >>> import numpy as np
    >>> Concat(ReLU(), ReLU())(np.zeros((1, 3, 5, 5))).shape
    (1, 6, 5, 5)
    """

    def forward(self, x: Array) -> Array:
        """Join the outputs of all paths along the channels."""
        outputs = [path(x) for path in self]
        self.save_for_backward([output.shape[1] for output in outputs])
        return array_module(x=x).concat(outputs, axis=1)

    def backward(self, grad_output: Array) -> Array:
        """Hand each path the gradient of its channels, and add up what they return."""
        (widths,) = self.pop_saved()
        dx, start = None, 0
        for path, width in zip(self, widths):
            grad = path.backward(grad_output[:, start : start + width, ...])
            dx, start = grad if dx is None else add(dx, grad), start + width
        return dx


class _Form(Module):
    """What all blocks share: a branch of modules in a row, a shortcut, the addition, the last rectifier."""

    expansion = 4
    downsample: Module | None
    last_relu: ReLU

    @property
    def branch(self) -> list[Module]:
        """The modules of the branch from first to last."""
        return [child for name, child in self.named_children() if name not in ("downsample", "last_relu")]

    def forward(self, x: Array) -> Array:
        """Run the branch, add the shortcut, rectify."""
        y = x
        for module in self.branch:
            y = module(y)
        return self.last_relu(add(y, x if self.downsample is None else self.downsample(x)))

    def backward(self, grad_output: Array) -> Array:
        """Go back through the branch and the shortcut; the input collects both gradients."""
        dy, dshortcut = add_backward(self.last_relu.backward(grad_output))
        if self.downsample is not None:
            dshortcut = self.downsample.backward(dshortcut)
        for module in reversed(self.branch):
            dy = module.backward(dy)
        return add(dy, dshortcut)

    def _finish(self, channels: int, downsample: Module | None, norm: str | None, dtype: Any) -> None:
        """Set the norm behind the branch, called `norm` if there is one, and the shortcut."""
        if norm:
            setattr(self, norm, BatchNorm2d(channels, dtype=dtype))
        self.last_relu = ReLU()
        self.downsample = downsample


class FormA(_Form):
    """Figure 3a: C paths of 1x1, 3x3, 1x1, summed; then norm, shortcut, rectifier.

    Parameters
    ----------
    inplanes, planes, stride, downsample, groups, width_per_group, rng, dtype
        As for :class:`~npresnext.models.Bottleneck`; `groups` is C.
    norm : bool
        Whether there is batch norm.

    Examples
    --------
    >>> from npresnext.nn import trace
    >>> block = FormA(256, 64, groups=32, width_per_group=4)
    >>> len(list(block.paths)), trace(block, (1, 256, 56, 56)).output.shape
    (32, (1, 256, 56, 56))
    """

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: Module | None = None,
        groups: int = 1,
        width_per_group: int = 64,
        *,
        norm: bool = True,
        rng: Any = None,
        dtype: Any = "float32",
    ) -> None:
        drawn: dict[str, Any] = {"rng": as_generator(rng), "dtype": dtype}
        width = path_width(planes, groups, width_per_group)
        self.paths = Sum(
            *(
                Sequential(
                    _layers(inplanes, width, stride, 1, norm, drawn)
                    | {"conv3": Conv2d(width, planes * self.expansion, 1, bias=False, **drawn)}
                )
                for _ in range(groups)
            )
        )
        self._finish(planes * self.expansion, downsample, "bn3" if norm else None, dtype)


class FormB(_Form):
    """Figure 3b: C paths of 1x1 and 3x3, side by side; one 1x1 for all of them. Parameters as for :class:`FormA`.

    >>> block = FormB(256, 64, groups=32, width_per_group=4)
    >>> len(list(block.paths)), block.conv3.in_channels
    (32, 128)
    """

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: Module | None = None,
        groups: int = 1,
        width_per_group: int = 64,
        *,
        norm: bool = True,
        rng: Any = None,
        dtype: Any = "float32",
    ) -> None:
        drawn: dict[str, Any] = {"rng": as_generator(rng), "dtype": dtype}
        width = path_width(planes, groups, width_per_group)
        self.paths = Concat(*(Sequential(_layers(inplanes, width, stride, 1, norm, drawn)) for _ in range(groups)))
        self.conv3 = Conv2d(width * groups, planes * self.expansion, 1, bias=False, **drawn)
        self._finish(planes * self.expansion, downsample, "bn3" if norm else None, dtype)


class FormC(_Form):
    """Figure 3c: 1x1, 3x3 in C groups, 1x1: the Bottleneck, also without norm. Parameters as for :class:`FormA`.

    >>> FormC(256, 64, groups=32, width_per_group=4, norm=False).conv2
    Conv2d(128, 128, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), groups=32, bias=False)
    """

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: Module | None = None,
        groups: int = 1,
        width_per_group: int = 64,
        *,
        norm: bool = True,
        rng: Any = None,
        dtype: Any = "float32",
    ) -> None:
        drawn: dict[str, Any] = {"rng": as_generator(rng), "dtype": dtype}
        width = groups * path_width(planes, groups, width_per_group)
        for name, layer in _layers(inplanes, width, stride, groups, norm, drawn).items():
            setattr(self, name, layer)
        self.conv3 = Conv2d(width, planes * self.expansion, 1, bias=False, **drawn)
        self._finish(planes * self.expansion, downsample, "bn3" if norm else None, dtype)


class DepthTwo(_Form):
    """Figure 4, left: C paths of two 3x3 convolutions of `width` channels in between, summed.

    Nothing is gained by it: between two dense convolutions, paths side by side are merely more channels, so the sum
    is :class:`WideBlock` with C·width channels in between (figure 4, right). A path needs a third layer to be more.

    Parameters
    ----------
    channels : int
        In and out.
    width : int
        Channels between the convolutions of a path.
    groups : int
        C.
    norm : bool
        Whether there is batch norm.
    rng : None, int or numpy.random.Generator
    dtype : str

    Examples
    --------
    >>> len(list(DepthTwo(64, 4, groups=32).paths))
    32
    """

    expansion = 1

    def __init__(
        self, channels: int, width: int, groups: int, *, norm: bool = True, rng: Any = None, dtype: Any = "float32"
    ) -> None:
        groups, width = as_int(groups, "groups", 1), as_int(width, "width", 1)
        drawn: dict[str, Any] = {"rng": as_generator(rng), "dtype": dtype}
        self.paths = Sum(*(Sequential(_two_layers(channels, width, norm, drawn)) for _ in range(groups)))
        self._finish(channels, None, "bn2" if norm else None, dtype)


class WideBlock(_Form):
    """Figure 4, right: two dense 3x3 convolutions, `width` channels in between. Parameters as for :class:`DepthTwo`.

    >>> WideBlock(64, 128).conv1
    Conv2d(64, 128, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
    """

    expansion = 1

    def __init__(
        self, channels: int, width: int, *, norm: bool = True, rng: Any = None, dtype: Any = "float32"
    ) -> None:
        drawn: dict[str, Any] = {"rng": as_generator(rng), "dtype": dtype}
        for name, layer in _two_layers(channels, width, norm, drawn).items():
            setattr(self, name, layer)
        self._finish(channels, None, "bn2" if norm else None, dtype)


def _layers(
    inplanes: int, width: int, stride: int, groups: int, norm: bool, drawn: dict[str, Any]
) -> dict[str, Module]:
    """Return the 1x1 and the 3x3 with what follows each of them, by their names."""
    return {
        "conv1": Conv2d(inplanes, width, 1, bias=False, **drawn),
        **({"bn1": BatchNorm2d(width, dtype=drawn["dtype"])} if norm else {}),
        "relu1": ReLU(),
        "conv2": Conv2d(width, width, 3, stride, padding=1, groups=groups, bias=False, **drawn),
        **({"bn2": BatchNorm2d(width, dtype=drawn["dtype"])} if norm else {}),
        "relu2": ReLU(),
    }


def _two_layers(channels: int, width: int, norm: bool, drawn: dict[str, Any]) -> dict[str, Module]:
    """Return two 3x3 convolutions with what stands between them, by their names."""
    return {
        "conv1": Conv2d(channels, width, 3, padding=1, bias=False, **drawn),
        **({"bn1": BatchNorm2d(width, dtype=drawn["dtype"])} if norm else {}),
        "relu1": ReLU(),
        "conv2": Conv2d(width, channels, 3, padding=1, bias=False, **drawn),
    }

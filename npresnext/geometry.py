"""The integers of a convolution: every size, every shape rule, and every message about them.

No arrays here. All sizes are Python integers, so nothing overflows, whatever the image.

Along one axis of ``size`` pixels, the window of output position ``o`` reads the pixels

    o·stride − before + tap·dilation        for tap = 0 … kernel − 1

and pixels outside the image count as zero. Everything below follows from this line.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ._support.arguments import Pair, as_bool, as_int, as_pair, as_sizes
from ._support.integers import ceil_div
from ._support.plurals import counted
from .errors import InvalidValueError, ShapeError

Padding = tuple[Pair, Pair]


def as_padding(value: Any, kernel: Pair, stride: Pair, dilation: Pair) -> Padding:
    """Return any accepted form of padding as ``((top, bottom), (left, right))``; negative values crop.

    >>> as_padding(1, (3, 3), (1, 1), (1, 1))
    ((1, 1), (1, 1))
    >>> as_padding("same", (4, 3), (1, 1), (1, 1))    # the odd row goes to the bottom
    ((1, 2), (1, 1))
    """
    if isinstance(value, str):
        if value == "valid":
            return (0, 0), (0, 0)
        if value == "same":
            if stride != (1, 1):
                raise InvalidValueError(f'padding="same" needs stride 1, but stride is {stride}')
            spare = [d * (k - 1) for k, d in zip(kernel, dilation)]
            return (spare[0] // 2, spare[0] - spare[0] // 2), (spare[1] // 2, spare[1] - spare[1] // 2)
        raise InvalidValueError(f'padding must be "same", "valid" or integers, but is {value!r}')
    if isinstance(value, (tuple, list)):
        lengths = [len(side) if isinstance(side, (tuple, list)) else 0 for side in value]
        if lengths == [2, 2]:
            return as_pair(value[0], "padding[0]"), as_pair(value[1], "padding[1]")
        if lengths != [0, 0]:
            raise InvalidValueError(
                f"padding must be an integer, a pair, or two pairs ((top, bottom), (left, right)), but is {value!r}"
            )
    vertical, horizontal = as_pair(value, "padding")
    return (vertical, vertical), (horizontal, horizontal)


def as_shape(shape: Sequence[int], form: str, name: str) -> tuple[int, ...]:
    """Return `shape` as Python integers after checking that it has as many axes as `form` spells."""
    sizes = as_sizes(shape, f"{name}_shape")
    if len(sizes) != form.count(",") + 1:
        raise ShapeError(f"{name} has shape {sizes} with {counted(len(sizes), 'axis', 'axes')}: expected {form}")
    return sizes


def output_size(size: int, kernel: int, stride: int = 1, padding: Pair = (0, 0), dilation: int = 1) -> int:
    """Count the windows along one axis: ``floor((size + before + after − dilation·(kernel − 1) − 1) / stride) + 1``.

    The formula is Dumoulin and Visin, arXiv:1603.07285, Relationship 15.

    >>> output_size(224, 7, stride=2, padding=(3, 3))
    112
    """
    return (size + sum(padding) - dilation * (kernel - 1) - 1) // stride + 1


def rows_beyond(size: int, kernel: int, stride: int, padding: Pair, dilation: int) -> int:
    """Return how many rows beyond the padding the last window of ``ceil_mode`` reads, along one axis.

    >>> rows_beyond(4, 3, stride=2, padding=(0, 0), dilation=1)    # the second window reads the rows 2, 3 and 4
    1
    """
    before, after = padding
    free = size + before + after - dilation * (kernel - 1) - 1  # rows over which the window can move
    steps = ceil_div(free, stride)
    if steps * stride >= size + before:  # the window would begin in the padding at the end
        steps -= 1
    return max(steps * stride - free, 0) if steps >= 0 else 0


@dataclass(frozen=True)
class WindowGeometry:
    """A window sliding over a batch of images: what im2col and pooling need to know.

    Build it with :meth:`of`, which accepts every form of the arguments and checks them.
    """

    batch: int
    in_channels: int
    height: int
    width: int
    kernel: Pair
    stride: Pair
    padding: Padding
    dilation: Pair

    @classmethod
    def of(
        cls, x_shape: Sequence[int], kernel_size: Any, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1
    ) -> WindowGeometry:
        """Check the arguments as a user gives them, and return the geometry.

        >>> window = WindowGeometry.of((8, 3, 224, 224), 7, stride=2, padding=3)
        >>> window.out_height, window.out_width, window.positions
        (112, 112, 12544)
        """
        sizes = N, C, H, W = as_shape(x_shape, "(N, C, H, W)", "x")
        return cls(N, C, H, W, *_window(sizes, as_pair(kernel_size, "kernel_size", 1), stride, padding, dilation))

    @classmethod
    def of_pool(
        cls,
        x_shape: Sequence[int],
        kernel_size: Any,
        *,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> WindowGeometry:
        """Check the arguments of a pooling as a user gives them, and return the geometry.

        The stride is `kernel_size` if None. `ceil_mode` becomes more padding at the bottom and right, as far as the
        last window reaches.

        >>> WindowGeometry.of_pool((8, 64, 112, 112), 3, stride=2, padding=1).pooled_shape
        (8, 64, 56, 56)
        """
        sizes = as_shape(x_shape, "(N, C, H, W)", "x")
        kernel = as_pair(kernel_size, "kernel_size", 1)
        strides = kernel if stride is None else as_pair(stride, "stride", 1)
        sides, dilations = as_pair(padding, "padding", 0), as_pair(dilation, "dilation", 1)
        if any(side > size // 2 for side, size in zip(sides, kernel)):
            raise InvalidValueError(
                f"padding must be at most half of the kernel: padding {sides}, kernel_size {kernel}"
            )
        after: tuple[int, ...] = sides
        if ceil_mode:
            axes = zip(sizes[2:], kernel, strides, zip(sides, sides), dilations)
            after = tuple(side + rows_beyond(*axis) for side, axis in zip(sides, axes))
        paddings = tuple(zip(sides, after))
        return cls.of(sizes, kernel, stride=strides, padding=paddings, dilation=dilations)

    @functools.cached_property
    def out_height(self) -> int:
        """`oh`, the number of windows from top to bottom."""
        return output_size(self.height, self.kernel[0], self.stride[0], self.padding[0], self.dilation[0])

    @functools.cached_property
    def out_width(self) -> int:
        """`ow`, the number of windows from left to right."""
        return output_size(self.width, self.kernel[1], self.stride[1], self.padding[1], self.dilation[1])

    @functools.cached_property
    def positions(self) -> int:
        """`P = oh·ow`, the number of windows in one image."""
        return self.out_height * self.out_width

    @functools.cached_property
    def x_shape(self) -> tuple[int, int, int, int]:
        """(N, C_in, H, W)."""
        return self.batch, self.in_channels, self.height, self.width

    @functools.cached_property
    def pooled_shape(self) -> tuple[int, int, int, int]:
        """(N, C_in, oh, ow), the shape of a pooling's result."""
        return self.batch, self.in_channels, self.out_height, self.out_width

    @property
    def columns_shape(self) -> tuple[int, int, int]:
        """(N, C_in·kh·kw, oh·ow), the shape of im2col's result."""
        return self.batch, self.in_channels * self.kernel[0] * self.kernel[1], self.positions

    def taps(self) -> Iterator[tuple[int, int, tuple[slice, slice], tuple[slice, slice]]]:
        """Yield ``(i, j, windows, pixels)`` for each tap of the kernel.

        Tap (i, j) of the output positions ``windows`` reads the input ``pixels``, one for one; the taps of all other
        positions lie outside the image and read zero. No tap reads a pixel twice.
        """
        rows = [self._tap(0, i, self.height, self.out_height) for i in range(self.kernel[0])]
        columns = [self._tap(1, j, self.width, self.out_width) for j in range(self.kernel[1])]
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                if row and column:
                    yield i, j, (row[0], column[0]), (row[1], column[1])

    def _tap(self, axis: int, tap: int, size: int, windows: int) -> tuple[slice, slice] | None:
        """Along one axis: which windows find `tap` inside the image, and the pixels they find there."""
        stride = self.stride[axis]
        offset = tap * self.dilation[axis] - self.padding[axis][0]  # window o reads pixel o·stride + offset
        first = max(0, -(offset // stride))
        last = min(windows - 1, (size - 1 - offset) // stride)
        if first > last:
            return None
        return slice(first, last + 1), slice(first * stride + offset, last * stride + offset + 1, stride)


@dataclass(frozen=True)
class ConvGeometry(WindowGeometry):
    """Every integer of a grouped convolution; build it with :meth:`of_conv`.

    >>> geometry = ConvGeometry.of_conv((8, 64, 56, 56), (128, 2, 3, 3), padding=1, groups=32)
    >>> geometry.output_shape, geometry.inner, geometry.macs
    ((8, 128, 56, 56), 18, 57802752)
    """

    out_channels: int
    groups: int

    @classmethod
    def of_conv(
        cls,
        x_shape: Sequence[int],
        weight_shape: Sequence[int],
        *,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: Any = 1,
    ) -> ConvGeometry:
        """Check the arguments of a convolution as a user gives them, and return its geometry.

        Raises
        ------
        ValueError
            ``groups`` does not divide both channel counts, the weight does not fit the image, a stride or dilation is
            below 1, or the kernel is larger than the padded image.
        TypeError
            Something that should be an integer is not.
        """
        arguments = x_shape, weight_shape, stride, padding, dilation, groups
        return _known_conv(*arguments) if _is_plain(arguments) else _conv(*arguments)

    @functools.cached_property
    def inner(self) -> int:
        """`L = (C_in/G)·kh·kw`, the length of the inner product behind one output value."""
        return self.in_channels // self.groups * self.kernel[0] * self.kernel[1]

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(C_out, C_in/G, kh, kw)."""
        return self.out_channels, self.in_channels // self.groups, *self.kernel

    @functools.cached_property
    def output_shape(self) -> tuple[int, int, int, int]:
        """(N, C_out, oh, ow)."""
        return self.batch, self.out_channels, self.out_height, self.out_width

    @functools.cached_property
    def macs(self) -> int:
        """Multiply-adds of one forward pass, padding counted as if it were pixels."""
        return self.batch * self.out_channels * self.positions * self.inner


def _conv(x_shape: Any, weight_shape: Any, stride: Any, padding: Any, dilation: Any, groups: Any) -> ConvGeometry:
    """Check the arguments of a convolution and return its geometry."""
    sizes = N, C_in, H, W = as_shape(x_shape, "(N, C_in, H, W)", "x")
    weights = C_out, _, kh, kw = as_shape(weight_shape, "(C_out, C_in/groups, kh, kw)", "weight")
    groups = as_int(groups, "groups", 1)
    check_groups(C_in, C_out, groups)
    expected = (C_out, C_in // groups, kh, kw)
    if weights != expected:
        raise ShapeError(
            f"weight has shape {weights} but x has {counted(C_in, 'channel')} and groups={groups}: "
            f"expected (C_out, C_in/groups, kh, kw) = {expected}"
        )
    if min(kh, kw) < 1:
        raise ShapeError(f"weight has shape {weights}: the kernel must be at least 1x1")
    return ConvGeometry(N, C_in, H, W, *_window(sizes, (kh, kw), stride, padding, dilation), C_out, groups)


_known_conv = functools.lru_cache(maxsize=1024)(_conv)  # checking takes as long as a tiny convolution
_PLAIN = {int, str}


def _is_plain(arguments: Sequence[Any]) -> bool:
    """Whether all are integers, texts and tuples of them, so that equal ones mean the same (True == 1 does not)."""
    for argument in arguments:
        if type(argument) is tuple:
            if not (_PLAIN.issuperset(map(type, argument)) or _is_plain(argument)):
                return False
        elif type(argument) not in _PLAIN:
            return False
    return True


def check_groups(in_channels: int, out_channels: int, groups: int) -> None:
    """Raise unless `groups` divides both channel counts."""
    for name, channels in (("C_in", in_channels), ("C_out", out_channels)):
        if channels % groups:
            raise ShapeError(f"groups={groups} must divide {name}={channels}: each group owns {name}/groups channels")


def conv2d_parameter_count(
    in_channels: int, out_channels: int, kernel_size: Any, *, groups: int = 1, bias: bool = False
) -> int:
    """Count the parameters of a convolution: ``C_in·C_out·kh·kw/G``, and C_out more with a bias.

    Each of the C_out filters reads the C_in/G channels of its group only, so G groups need 1/G of the
    weights. From 64 to 128 channels with a 3x3 kernel:

    >>> dense = conv2d_parameter_count(64, 128, 3)
    >>> grouped = conv2d_parameter_count(64, 128, 3, groups=32)
    >>> dense, grouped, grouped // 32                 # the last: each group maps 2 channels to 4
    (73728, 2304, 72)
    >>> f"{1 - grouped / dense:.3%}"                  # 1 − 1/32: of this layer, not of a network
    '96.875%'

    Raises
    ------
    ValueError
        ``groups`` does not divide both channel counts, or a size is impossible.
    """
    in_channels, out_channels = as_int(in_channels, "in_channels", 0), as_int(out_channels, "out_channels", 0)
    (kh, kw), groups = as_pair(kernel_size, "kernel_size", 1), as_int(groups, "groups", 1)
    check_groups(in_channels, out_channels, groups)
    return in_channels // groups * out_channels * kh * kw + (out_channels if as_bool(bias, "bias") else 0)


def _window(
    sizes: Sequence[int], kernel: Pair, stride: Any, padding: Any, dilation: Any
) -> tuple[Pair, Pair, Padding, Pair]:
    """Normalise the arguments of a window and check that it fits into the padded image."""
    strides, dilations = as_pair(stride, "stride", 1), as_pair(dilation, "dilation", 1)
    paddings = as_padding(padding, kernel, strides, dilations)
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilations)]
    padded = [size + sum(sides) for size, sides in zip(sizes[2:], paddings)]
    if reach[0] > padded[0] or reach[1] > padded[1]:
        raise ShapeError(
            f"the kernel is larger than the padded image: kernel {kernel[0]}x{kernel[1]} with dilation {dilations} "
            f"reaches over {reach[0]}x{reach[1]} pixels, but x of {sizes[2]}x{sizes[3]} with padding {paddings} "
            f"has {padded[0]}x{padded[1]}"
        )
    return kernel, strides, paddings, dilations

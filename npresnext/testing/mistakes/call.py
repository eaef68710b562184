"""A call of a convolution, and its four results by the definition: what every mistake of the catalogue starts from.

The definition is the list of products of ``reference.py``. Along one axis, tap i of window p meets the pixel
p·stride - padding + i·dilation, if the image has that pixel. All meetings of one axis are kept as an array of zeros and
ones, so that the three sums over products are a few matrix products.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..._support.typing import NumPyArray as Array
from ...reference import count_windows
from ..formats import wide

Pair = tuple[int, int]
RESULTS = ("y", "dx", "dw", "db")


@dataclass(frozen=True)
class Call:
    """Operands and window arguments of a convolution, as a kernel reads them, rightly or wrongly.

    Attributes
    ----------
    x, weight, bias, grad_output : arrays
        (N, C_in, H, W), (C_out, C_in/G, kh, kw), (C_out,) or None, (N, C_out, oh, ow).
    stride, padding, dilation, groups
        The window arguments; padding is ((top, bottom), (left, right)).
    windows : (oh, ow), optional
        The output size of y, where it does not follow from the window arguments.
    reads : array (C_out, C_in/G), optional
        The input channel that each input channel of each filter is multiplied with. By default those of its group.
    channels_last : bool
        Whether the weight lies in memory as (C_out, kh, kw, C_in/G).
    """

    x: Array
    weight: Array
    bias: Array | None
    grad_output: Array
    stride: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    groups: int = 1
    windows: Pair | None = None
    reads: Array | None = None
    channels_last: bool = False

    @property
    def reach(self) -> Pair:
        """How many rows and columns a window spans."""
        kh, kw = self.weight.shape[2:]
        return self.dilation[0] * (kh - 1) + 1, self.dilation[1] * (kw - 1) + 1

    @property
    def channels_per_group(self) -> int:
        """C_in/G."""
        return int(self.weight.shape[1])

    @property
    def outputs_per_group(self) -> int:
        """C_out/G."""
        return len(self.weight) // self.groups

    def output_size(self) -> Pair:
        """Return (oh, ow), counted window by window unless `windows` gives them."""
        if self.windows is not None:
            return self.windows
        oh, ow = (
            count_windows(self.x.shape[2 + axis], self.weight.shape[2 + axis], stride, padding, dilation)
            for axis, (stride, padding, dilation) in enumerate(zip(self.stride, self.padding, self.dilation))
        )
        return oh, ow

    def meetings(self, axis: int, windows: int) -> Array:
        """Return 1 where a tap of a window meets a pixel, along one axis: (windows, taps, pixels)."""
        taps = np.arange(self.weight.shape[2 + axis]) * self.dilation[axis]
        firsts = np.arange(windows) * self.stride[axis] - self.padding[axis][0]
        pixels = firsts[:, None] + taps  # (windows, taps)
        return (pixels[..., None] == np.arange(self.x.shape[2 + axis])).astype(np.float64)

    def patches(self, windows: Pair) -> Array:
        """Return the pixel under each tap of each window, 0 outside the image: (N, C_in, kh, kw, oh, ow)."""
        rows, columns = (self.meetings(axis, windows[axis]) for axis in (0, 1))
        oh, kh, H = rows.shape
        ow, kw, W = columns.shape
        N, C_in = self.x.shape[:2]
        met = rows.reshape(oh * kh, H) @ wide(self.x) @ columns.reshape(ow * kw, W).T
        return met.reshape(N, C_in, oh, kh, ow, kw).transpose(0, 1, 3, 5, 2, 4)  # (N, C_in, kh, kw, oh, ow)

    def fold(self, patches: Array) -> Array:
        """Add every value of (N, C_in, kh, kw, oh, ow) to the pixel under its tap: (N, C_in, H, W)."""
        N, C_in, kh, kw, oh, ow = patches.shape
        rows, columns = self.meetings(0, oh), self.meetings(1, ow)
        spread = patches.transpose(0, 1, 4, 2, 5, 3).reshape(N, C_in, oh * kh, ow * kw)
        return rows.reshape(oh * kh, -1).T @ spread @ columns.reshape(ow * kw, -1)  # (N, C_in, H, W)

    def filters(self) -> tuple[Array, int]:
        """Return the weight by group, (G, C_out/G, C_in/G·kh·kw), and G; one dense group where `reads` is given."""
        weight, groups = wide(self.weight), self.groups
        if self.reads is not None:
            dense = np.zeros((len(weight), self.x.shape[1], *weight.shape[2:]), weight.dtype)
            np.add.at(dense, (np.arange(len(weight))[:, None], self.reads), weight)
            weight, groups = dense, 1
        G, outs = groups, len(weight) // groups
        return weight.reshape(G, outs, weight.shape[1] * weight.shape[2] * weight.shape[3]), G

    def y(self) -> Array:
        """Return y[a] += weight[b] · x[c], plus the bias: (N, C_out, oh, ow)."""
        oh, ow = self.output_size()
        weight, G = self.filters()
        patches = self.patches((oh, ow)).reshape(len(self.x), G, weight.shape[2], oh * ow)
        y = (weight @ patches).reshape(len(self.x), len(self.weight), oh, ow)
        return y if self.bias is None else y + wide(self.bias).reshape(1, -1, 1, 1)

    def gradient_of_patches(self) -> Array:
        """Return grad_output[a] · conj(weight[b]) summed over the output channels: (N, C_in, kh, kw, oh, ow)."""
        N, C_out, oh, ow = self.grad_output.shape
        weight, G = self.filters()
        gradients = wide(self.grad_output).reshape(N, G, C_out // G, oh * ow)
        spread = weight.conj().swapaxes(1, 2) @ gradients  # (N, G, C_in/G·kh·kw, oh·ow)
        return spread.reshape(N, self.x.shape[1], *self.weight.shape[2:], oh, ow)

    def dx(self) -> Array:
        """Return dx[c] += grad_output[a] · conj(weight[b]): (N, C_in, H, W)."""
        return self.fold(self.gradient_of_patches())

    def dw(self) -> Array:
        """Return dweight[b] += grad_output[a] · conj(x[c]): (C_out, C_in/G, kh, kw)."""
        N, C_out, oh, ow = self.grad_output.shape
        G = self.groups if self.reads is None else 1
        C_in, (kh, kw) = self.x.shape[1], self.weight.shape[2:]
        gradients = wide(self.grad_output).reshape(N, G, C_out // G, oh * ow)
        patches = self.patches((oh, ow)).reshape(N, G, C_in // G * kh * kw, oh * ow)
        dw = (gradients @ patches.conj().swapaxes(2, 3)).sum(0).reshape(C_out, C_in // G, kh, kw)
        if self.reads is None:
            return dw
        return dw[np.arange(C_out)[:, None], self.reads]  # (C_out, C_in/G, kh, kw)

    def db(self) -> Array:
        """Return the sum of grad_output over images and positions: (C_out,)."""
        return wide(self.grad_output).sum(axis=(0, 2, 3))

    def magnitudes(self) -> Call:
        """Return the same call with the absolute values of the operands."""
        bias = None if self.bias is None else np.abs(self.bias)
        return replace(
            self, x=np.abs(self.x), weight=np.abs(self.weight), bias=bias, grad_output=np.abs(self.grad_output)
        )

    def result(self, name: str) -> Array:
        """Return y, dx, dw or db."""
        return {"y": self.y, "dx": self.dx, "dw": self.dw, "db": self.db}[name]()


def as_call(operands: Mapping[str, Any], window: Mapping[str, Any], channels_last: bool = False) -> Call:
    """Return the call with these operands (x, weight, bias, grad_output) and window arguments."""
    return Call(**operands, **window, channels_last=channels_last)

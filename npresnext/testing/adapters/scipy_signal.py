"""SciPy: ``signal.correlate2d`` for each pair of channels, forward only; taps and strides are laid out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy
import scipy.signal

from .target import Target
from .windows import of_all_axes_channels_first, with_padding
from .written_call import written_call

SUPPORTS = {"negative_padding": False, "dtypes": ["float32", "float64"]}


def make_target() -> Target:
    """Return SciPy as a target."""
    return Target(
        written_call("forward", forward, ("scipy.signal",), with_padding(of_all_axes_channels_first)),
        None,
        SUPPORTS,
        describe=lambda: f"scipy {scipy.__version__}, NumPy {np.__version__}",
    )


def forward(
    x: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int, dtype: str
) -> Any:
    """Return y."""
    x, (C_out, each, kh, kw) = np.pad(x, padding), weight.shape
    wide_kernel = np.zeros((C_out, each, (kh - 1) * dilation[0] + 1, (kw - 1) * dilation[1] + 1), dtype)
    wide_kernel[:, :, :: dilation[0], :: dilation[1]] = weight
    shape = (len(x), C_out, *(n - k + 1 for n, k in zip(x.shape[2:], wide_kernel.shape[2:])))
    y = np.zeros(shape, dtype) if bias is None else np.zeros(shape, dtype) + bias.reshape(1, -1, 1, 1)
    for n, o, c in np.ndindex(len(x), C_out, each):
        y[n, o] += scipy.signal.correlate2d(x[n, o // (C_out // groups) * each + c], wide_kernel[o, c], "valid")
    return y[:, :, :: stride[0], :: stride[1]].copy()

"""autograd: ``autograd.scipy.signal.convolve`` over the image axes and the channels, and its vector-Jacobian product.

It rotates the kernel, as a convolution in mathematics does, and has no stride, dilation or groups.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import autograd
import autograd.numpy as anp
import autograd.scipy.signal as signal
import numpy as np

from .target import Target
from .windows import of_all_axes_channels_first, with_padding
from .written_call import written_call

SUPPORTS = {
    "groups": False,
    "stride": False,
    "dilation": False,
    "negative_padding": False,
    "dtypes": ["float32", "float64"],
}
IMPORTS = ("autograd", "autograd.numpy as anp", "autograd.scipy.signal as signal")


def make_target() -> Target:
    """Return autograd as a target."""
    translate = with_padding(of_all_axes_channels_first)
    return Target(
        written_call("forward", forward, IMPORTS, translate),
        written_call("backward", backward, IMPORTS, translate),
        SUPPORTS,
        describe=lambda: f"autograd {version('autograd')}, NumPy {np.__version__}",
    )


def forward(x: Any, weight: Any, bias: Any, *, padding: Any) -> Any:
    """Return y."""
    axes = {"axes": ([2, 3], [2, 3]), "dot_axes": ([1], [1]), "mode": "valid"}
    y = signal.convolve(np.pad(x, padding), weight[:, :, ::-1, ::-1], **axes)
    return y if bias is None else y + bias.reshape(1, -1, 1, 1)


def backward(grad_output: Any, x: Any, weight: Any, *, padding: Any, dtype: str) -> Any:
    """Return dx, dw, db."""
    axes = {"axes": ([2, 3], [2, 3]), "dot_axes": ([1], [1]), "mode": "valid"}
    convolve_and_pull_back = autograd.make_vjp(
        lambda a: (
            signal.convolve(anp.pad(a[0], padding, "constant"), a[1][:, :, ::-1, ::-1], **axes)
            + anp.reshape(a[2], (1, -1, 1, 1))
        )
    )
    return tuple(convolve_and_pull_back((x, weight, np.zeros(len(weight), dtype)))[0](grad_output))

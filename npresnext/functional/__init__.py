"""Pure functions on arrays, each with its backward below it: ``name`` and ``name_backward``."""

from .conv import (
    col2im,
    conv2d,
    conv2d_backward,
    conv2d_input_grad,
    conv2d_parameter_count,
    conv2d_weight_grad,
    im2col,
)

__all__ = [
    "col2im",
    "conv2d",
    "conv2d_backward",
    "conv2d_input_grad",
    "conv2d_parameter_count",
    "conv2d_weight_grad",
    "im2col",
]

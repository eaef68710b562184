"""Pure functions on arrays, each with its backward below it: ``name`` and ``name_backward``."""

from ..geometry import conv2d_parameter_count
from .columns import col2im, im2col
from .conv import conv2d, conv2d_backward, conv2d_input_grad, conv2d_weight_grad

__all__ = [
    "col2im",
    "conv2d",
    "conv2d_backward",
    "conv2d_input_grad",
    "conv2d_parameter_count",
    "conv2d_weight_grad",
    "im2col",
]

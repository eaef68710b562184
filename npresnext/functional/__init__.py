"""Pure functions on arrays, each with its backward below it: ``name`` and ``name_backward``."""

from ..geometry import conv2d_parameter_count
from .activation import relu, relu_backward
from .avgpool import avg_pool2d, avg_pool2d_backward, global_avg_pool2d, global_avg_pool2d_backward
from .batchnorm import batch_norm, batch_norm_backward, running_statistics
from .batchnorm_relu import batch_norm_relu, batch_norm_relu_backward
from .columns import col2im, im2col
from .conv import conv2d, conv2d_backward, conv2d_input_grad, conv2d_weight_grad
from .fully_connected import linear, linear_backward
from .loss import cross_entropy, cross_entropy_backward
from .maxpool import max_pool2d, max_pool2d_backward
from .residual import add, add_backward

__all__ = [
    "add",
    "add_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_relu",
    "batch_norm_relu_backward",
    "col2im",
    "conv2d",
    "conv2d_backward",
    "conv2d_input_grad",
    "conv2d_parameter_count",
    "conv2d_weight_grad",
    "cross_entropy",
    "cross_entropy_backward",
    "global_avg_pool2d",
    "global_avg_pool2d_backward",
    "im2col",
    "linear",
    "linear_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "relu",
    "relu_backward",
    "running_statistics",
]

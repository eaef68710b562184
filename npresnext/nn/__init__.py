"""Layers, networks and SGD with PyTorch's names, every backward written out."""

from .batchnorm import BatchNorm2d, BatchNormReLU2d
from .container import ModuleList, Sequential
from .convolution import Conv2d, ConvReLU2d
from .linear import Linear
from .loss import CrossEntropyLoss
from .module import Module, no_grad
from .optim import SGD
from .parameter import Parameter
from .stateless import AvgPool2d, Flatten, GlobalAvgPool2d, Identity, MaxPool2d, ReLU
from .symbol import Symbol
from .tracing import trace

__all__ = [
    "SGD",
    "AvgPool2d",
    "BatchNorm2d",
    "BatchNormReLU2d",
    "Conv2d",
    "ConvReLU2d",
    "CrossEntropyLoss",
    "Flatten",
    "GlobalAvgPool2d",
    "Identity",
    "Linear",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "Parameter",
    "ReLU",
    "Sequential",
    "Symbol",
    "no_grad",
    "trace",
]

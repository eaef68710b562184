"""Layers, networks and SGD with PyTorch's names, every backward written out."""

from .container import Sequential
from .layers import BatchNorm2d, Conv2d, Linear
from .loss import CrossEntropyLoss
from .module import Module, no_grad
from .optim import SGD
from .parameter import Parameter
from .stateless import AvgPool2d, Flatten, GlobalAvgPool2d, MaxPool2d, ReLU
from .symbol import Symbol
from .trace import trace

__all__ = [
    "SGD",
    "AvgPool2d",
    "BatchNorm2d",
    "Conv2d",
    "CrossEntropyLoss",
    "Flatten",
    "GlobalAvgPool2d",
    "Linear",
    "MaxPool2d",
    "Module",
    "Parameter",
    "ReLU",
    "Sequential",
    "Symbol",
    "no_grad",
    "trace",
]

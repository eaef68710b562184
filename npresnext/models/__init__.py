"""ResNet and ResNeXt: blocks, networks, and the family by name.

Each function that is named after a network takes the keyword arguments of :class:`ResNet`. Weights that others have
trained are loaded by :func:`from_state`, and :func:`fuse` folds batch norm away for inference.
"""

from .blocks import BasicBlock, Bottleneck
from .family import (
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnext29_8x64d,
    resnext29_16x64d,
    resnext50_32x4d,
    resnext101_32x4d,
    resnext101_32x8d,
    resnext101_64x4d,
    resnext_small,
    wide_resnet50_2,
    wide_resnet101_2,
)
from .folding import fuse
from .pretrained import shipped_weights
from .recognition import from_state
from .registry import get_model, list_models
from .resnet import ResNet

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "ResNet",
    "from_state",
    "fuse",
    "get_model",
    "list_models",
    "resnet101",
    "resnet152",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnext101_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "resnext29_16x64d",
    "resnext29_8x64d",
    "resnext50_32x4d",
    "resnext_small",
    "shipped_weights",
    "wide_resnet101_2",
    "wide_resnet50_2",
]

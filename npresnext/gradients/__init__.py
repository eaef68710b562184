"""Gradient norms of every conv group (each of the G groups of a convolution): rows, files, pictures, and a watcher."""

from .files import open_rows
from .norms import COLUMNS, conv_layers, group_grad_norms
from .pictures import draw_grad_norms
from .reading import read_rows
from .watcher import GradNormWriter

__all__ = [
    "COLUMNS",
    "GradNormWriter",
    "conv_layers",
    "draw_grad_norms",
    "group_grad_norms",
    "open_rows",
    "read_rows",
]

"""Gradient norms of every group of every convolution: rows, files, pictures, and a watcher for training runs."""

from .files import open_rows
from .norms import COLUMNS, conv_layers, group_grad_norms
from .pictures import draw_grad_norms
from .watcher import NormDump

__all__ = ["COLUMNS", "NormDump", "conv_layers", "draw_grad_norms", "group_grad_norms", "open_rows"]

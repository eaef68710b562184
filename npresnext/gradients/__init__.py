"""Gradient norms of every conv group (each of the G groups of a convolution): rows, files, pictures, statistics."""

from .files import open_rows
from .norms import COLUMNS, conv_layers, group_grad_norms
from .pictures import draw_grad_norms
from .reading import read_rows
from .statistics import COMPARISON_COLUMNS, Comparison, LayerComparison, compare_groups, compare_seeds
from .watcher import GradNormWriter

__all__ = [
    "COLUMNS",
    "COMPARISON_COLUMNS",
    "Comparison",
    "GradNormWriter",
    "LayerComparison",
    "compare_groups",
    "compare_seeds",
    "conv_layers",
    "draw_grad_norms",
    "group_grad_norms",
    "open_rows",
    "read_rows",
]

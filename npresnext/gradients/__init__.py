"""Gradient norms of every conv group (each of the G groups of a convolution): rows, files, pictures, statistics."""

from . import trackers
from .files import open_rows
from .norms import COLUMNS, conv_layers, group_grad_norms
from .pictures import draw_grad_norms
from .provenance import PROVENANCE, Provenance
from .reading import read_rows
from .statistics import (
    COMPARISON_COLUMNS,
    STATISTIC_COLUMNS,
    STATISTICS,
    Comparison,
    LayerComparison,
    compare_groups,
    compare_seeds,
    group_statistics,
)
from .watching import Kernel, ModuleWatch, jax_convolutions, tree_grad_norms, watch
from .wide import wide_rows
from .writer import GradNormWriter

__all__ = [
    "COLUMNS",
    "COMPARISON_COLUMNS",
    "STATISTICS",
    "STATISTIC_COLUMNS",
    "Comparison",
    "GradNormWriter",
    "Kernel",
    "LayerComparison",
    "ModuleWatch",
    "PROVENANCE",
    "Provenance",
    "compare_groups",
    "compare_seeds",
    "conv_layers",
    "draw_grad_norms",
    "group_grad_norms",
    "group_statistics",
    "jax_convolutions",
    "open_rows",
    "read_rows",
    "trackers",
    "tree_grad_norms",
    "watch",
    "wide_rows",
]

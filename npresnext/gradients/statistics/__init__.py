"""Statistics of groups: whether a group is special or it is chance, and what each group does besides its norm."""

from .classes import mean_cosine
from .compare import compare_groups, compare_seeds
from .comparison import COMPARISON_COLUMNS, Comparison, LayerComparison
from .features import effective_rank, linear_cka
from .noise import signal_to_noise
from .on_data import STATISTIC_COLUMNS, STATISTICS, group_statistics
from .permutation import PermutationResult

__all__ = [
    "COMPARISON_COLUMNS",
    "STATISTICS",
    "STATISTIC_COLUMNS",
    "Comparison",
    "LayerComparison",
    "PermutationResult",
    "compare_groups",
    "compare_seeds",
    "effective_rank",
    "group_statistics",
    "linear_cka",
    "mean_cosine",
    "signal_to_noise",
]

"""Statistics of groups: whether a group is special or it is chance, and what each group does besides its norm."""

from .compare import compare_groups, compare_seeds
from .comparison import COMPARISON_COLUMNS, Comparison, LayerComparison
from .permutation import PermutationResult

__all__ = [
    "COMPARISON_COLUMNS",
    "Comparison",
    "LayerComparison",
    "PermutationResult",
    "compare_groups",
    "compare_seeds",
]

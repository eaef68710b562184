"""The ResNeXt paper (Xie et al., arXiv:1611.05431) as code: forms of a block, cardinality, connectivity."""

from .cardinality import Design, equal_complexity, network_counts, valid_groups
from .connectivity import connectivity, group_mask
from .convert import carry
from .pictures import draw_connectivity, draw_designs
from .skeleton import Counts, Skeleton

__all__ = [
    "Counts",
    "Design",
    "Skeleton",
    "carry",
    "connectivity",
    "draw_connectivity",
    "draw_designs",
    "equal_complexity",
    "group_mask",
    "network_counts",
    "valid_groups",
]

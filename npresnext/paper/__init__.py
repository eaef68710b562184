"""The ResNeXt paper (Xie et al., arXiv:1611.05431) as code: forms of a block, cardinality, connectivity."""

from ..nn.convolution import group_mask
from .cardinality import Design, equal_complexity, network_counts, valid_groups
from .channel_masks import connectivity
from .convert import convert_state
from .pictures import draw_connectivity, draw_designs
from .skeleton import Counts, Skeleton

__all__ = [
    "Counts",
    "Design",
    "Skeleton",
    "connectivity",
    "convert_state",
    "draw_connectivity",
    "draw_designs",
    "equal_complexity",
    "group_mask",
    "network_counts",
    "valid_groups",
]

"""What a network is made of, and what happens inside it: counts, designs, connections, gradient norms."""

import importlib
from typing import Any

# name -> the module that holds it, loaded at the first touch
_LAZY = {
    "Counts": "skeleton",
    "Design": "cardinality",
    "Skeleton": "skeleton",
    "connectivity": "reach",
    "equal_complexity": "cardinality",
    "group_grad_norms": "gradnorms",
    "group_mask": "reach",
    "network_counts": "cardinality",
    "valid_groups": "cardinality",
}

__all__ = sorted(_LAZY)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)

"""What a network is made of, and what happens inside it: counts, designs, connections, gradient norms."""

import importlib
from typing import Any

# name -> the module that holds it, loaded at the first touch
_LAZY = {
    "Counts": "skeleton",
    "Design": "cardinality",
    "Skeleton": "skeleton",
    "connectivity": "reach",
    "draw_connectivity": "pictures",
    "draw_designs": "pictures",
    "draw_grad_norms": "gradnorm_plot",
    "equal_complexity": "cardinality",
    "group_grad_norms": "gradnorms",
    "group_mask": "reach",
    "network_counts": "cardinality",
    "open_rows": "gradnorm_files",
    "valid_groups": "cardinality",
}

__all__ = sorted(_LAZY)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__

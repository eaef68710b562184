"""Property tests for convolutions, ours and anyone's, with error bounds that are proven instead of guessed.

``check_conv`` and ``assert_conv`` judge a convolution, ``check_grads`` any hand-written backward pass. ``mistakes`` is
the catalogue of what may be wrong, ``targets`` has the convolutions of frameworks, and ``strategies`` what Hypothesis
draws from. Only ``strategies`` needs Hypothesis, and only ``check_grads`` needs NumPy 2: for all others NumPy 1.23 is
enough.
"""

import importlib
from typing import TYPE_CHECKING

from . import mistakes
from .cases import ConvCase
from .conformance import assert_conv, check_conv
from .findings import Finding
from .pytest_tests import conv_tests
from .report import Report

if TYPE_CHECKING:  # for type checkers and editors; Python loads each when it is first used
    from . import strategies as strategies
    from . import targets as targets
    from .derivatives import check_grads

__all__ = [
    "ConvCase",
    "Finding",
    "Report",
    "assert_conv",
    "check_conv",
    "check_grads",
    "conv_tests",
    "mistakes",
    "strategies",
    "targets",
]


if not TYPE_CHECKING:  # a type checker that saw it would take every name for one of ours

    def __getattr__(name: str) -> object:
        if name in ("strategies", "targets"):
            return importlib.import_module(f".{name}", __name__)
        if name == "check_grads":
            return importlib.import_module(".derivatives", __name__).check_grads
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

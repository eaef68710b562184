"""Property tests for convolutions, ours and anyone's, with error bounds that are proven instead of guessed.

``check_conv`` and ``assert_conv`` judge a convolution, ``check_grads`` any hand-written backward pass. ``mistakes`` is
the catalogue of what may be wrong, and ``strategies`` what Hypothesis draws from; only ``strategies`` needs Hypothesis.
"""

import importlib
from typing import TYPE_CHECKING

from . import mistakes
from .cases import ConvCase
from .conformance import assert_conv, check_conv
from .derivatives import check_grads
from .findings import Finding
from .pytest_tests import conv_tests
from .report import Report

if TYPE_CHECKING:  # for type checkers and editors; Python loads it, and Hypothesis, when it is first used
    from . import strategies as strategies

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
]


if not TYPE_CHECKING:  # a type checker that saw it would take every name for one of ours

    def __getattr__(name: str) -> object:
        if name == "strategies":
            return importlib.import_module(".strategies", __name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

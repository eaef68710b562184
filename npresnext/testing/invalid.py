"""Calls that every convolution must refuse: a valid case with exactly one rule broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .cases import ConvCase


@dataclass(frozen=True)
class InvalidConvCase:
    """A call that every convolution must refuse, and the rule that it breaks."""

    rule: str
    x_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    bias_shape: tuple[int, ...] | None
    kwargs: dict[str, Any]

    def operands(self, dtype: Any) -> list[Any]:
        """Return x, weight and bias, all of them ones."""
        shapes = (self.x_shape, self.weight_shape, self.bias_shape)
        return [None if shape is None else np.ones(shape, dtype) for shape in shapes]


def _channels(case: ConvCase, ins: int, outs: int) -> dict[str, Any]:
    """Return what two groups would need, were they to divide the channels."""
    return {"x_shape": (case.batch, ins, *case.size), "weight_shape": (outs, ins // 2, *case.kernel),
            "bias_shape": None, "kwargs": {**case.kwargs, "groups": 2}}  # fmt: skip


def _rows(case: ConvCase) -> int:
    """Return the least number of kernel rows, at this dilation, that the padded image has no room for."""
    return (case.size[0] + sum(case.padding[0]) - 1) // case.dilation[0] + 2


# rule -> what to change in a valid case to break it, and it alone
RULES: dict[str, Callable[[ConvCase], dict[str, Any]]] = {
    "groups divides C_in": lambda case: _channels(case, 2 * case.in_channels + 1, 2),
    "groups divides C_out": lambda case: _channels(case, 2, 2 * case.out_channels + 1),
    "groups is at least 1": lambda case: {"kwargs": {**case.kwargs, "groups": 0}},
    "the weight has C_in/groups input channels": lambda case: {
        "weight_shape": (case.out_channels, case.weight_shape[1] + 1, *case.kernel)
    },
    "the kernel fits into the padded image": lambda case: {
        "weight_shape": (*case.weight_shape[:2], _rows(case), case.kernel[1])
    },
    "the bias has C_out entries": lambda case: {"bias_shape": (case.out_channels + 1,)},
    "x has at most four axes": lambda case: {"x_shape": (*case.x_shape, 1)},
    "stride is at least 1": lambda case: {"kwargs": {**case.kwargs, "stride": (0, case.stride[1])}},
    "dilation is at least 1": lambda case: {"kwargs": {**case.kwargs, "dilation": (case.dilation[0], 0)}},
}


def break_rule(case: ConvCase, rule: str) -> InvalidConvCase:
    """Break one of `RULES` in a valid case with at least one input channel."""
    bias = (case.out_channels,) if case.has_bias else None
    call = {"x_shape": case.x_shape, "weight_shape": case.weight_shape, "bias_shape": bias, "kwargs": case.kwargs}
    return InvalidConvCase(rule, **{**call, **RULES[rule](case)})

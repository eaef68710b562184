"""Calls that break one rule each, and that every convolution must refuse."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .cases import ConvCase


class InvalidConvCase(NamedTuple):
    """A call that every convolution must refuse, and the rule that it breaks."""

    rule: str
    x_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    bias_shape: tuple[int, ...] | None
    kwargs: dict[str, Any]

    def operands(self, dtype: Any = "float64") -> list[Any]:
        """Return x, weight and bias, all of them ones."""
        shapes = (self.x_shape, self.weight_shape, self.bias_shape)
        return [None if shape is None else np.ones(shape, dtype) for shape in shapes]


# Rule -> the key of `supports` without which the call cannot be made.
NEEDS = {
    "groups divides C_in": "groups",
    "groups divides C_out": "groups",
    "groups is at least 1": "groups",
    "the bias has C_out entries": "bias",
    "stride is at least 1": "stride",
    "dilation is at least 1": "dilation",
}


def broken_calls(case: ConvCase) -> dict[str, InvalidConvCase]:
    """Return, for each rule, a valid case with at least one input channel changed to break that rule and no other."""
    N, C_in, H, W = case.x_shape
    C_out, channels_per_group, kh, kw = case.weight_shape
    too_many_rows = H + sum(case.padding[0]) + 1
    two_groups = {"groups": 2, "bias_shape": None}
    changes: dict[str, dict[str, Any]] = {
        "groups divides C_in": {"x_shape": (N, 3, H, W), "weight_shape": (2, 1, kh, kw), **two_groups},
        "groups divides C_out": {"x_shape": (N, 2, H, W), "weight_shape": (3, 1, kh, kw), **two_groups},
        "groups is at least 1": {"groups": 0},
        "the weight has C_in/groups input channels": {"weight_shape": (C_out, channels_per_group + 1, kh, kw)},
        "the kernel fits into the padded image": {"weight_shape": (C_out, channels_per_group, too_many_rows, kw)},
        "the bias has C_out entries": {"bias_shape": (C_out + 1,)},
        "x has at most four axes": {"x_shape": (N, C_in, H, W, 1)},
        "stride is at least 1": {"stride": (0, case.stride[1])},
        "dilation is at least 1": {"dilation": (case.dilation[0], 0)},
    }
    valid: dict[str, Any] = {
        "x_shape": case.x_shape,
        "weight_shape": case.weight_shape,
        "bias_shape": (C_out,) if case.has_bias else None,
    }
    return {
        rule: InvalidConvCase(
            rule,
            **{name: change.get(name, value) for name, value in valid.items()},
            kwargs={name: change.get(name, value) for name, value in case.kwargs.items()},
        )
        for rule, change in changes.items()
    }

"""JAX's convolution, compiled by XLA for each new shape; ``jax.vjp`` goes backward."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ..._support.typing import NumPyArray as Array
from ..cases import Pair
from ..reproducible_call import ReproducibleCall
from .target import Target
from .windows import Padding


def make_target() -> Target:
    """Return JAX as a target."""
    jax.config.update("jax_enable_x64", True)
    return Target(
        ReproducibleCall(forward, ("jax",), forward_lines),
        ReproducibleCall(backward, ("jax",), backward_lines),
        {},
        describe=lambda: f"jax {jax.__version__}, {jax.default_backend()}, XLA",
    )


def forward(
    x: Array, weight: Array, bias: Array | None, *, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Array:
    """Return y."""
    y = jax.lax.conv_general_dilated(
        x,
        weight,
        stride,
        padding,
        rhs_dilation=dilation,
        feature_group_count=groups,
        precision="highest",
        preferred_element_type=accumulator(x.dtype.name),
    )
    if bias is not None:
        y = y + bias.astype(y.dtype).reshape(1, -1, 1, 1)
    return np.asarray(y.astype(x.dtype))


def accumulator(dtype: str) -> str:
    """Return the dtype of running sums, in which the bias is added too, before the result is rounded."""
    return "float64" if dtype == "float64" else "float32"


def backward(
    grad_output: Array, x: Array, weight: Array, *, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> list[Array]:
    """Return dx, dw, db."""

    def convolve(x: Any, weight: Any, bias: Any) -> Any:
        y = jax.lax.conv_general_dilated(
            x, weight, stride, padding, rhs_dilation=dilation, feature_group_count=groups, precision="highest"
        )
        return bias.reshape(1, -1, 1, 1) + y

    _, gradients_of = jax.vjp(convolve, x, weight, np.zeros(len(weight), x.dtype))
    return [np.asarray(gradient) for gradient in gradients_of(grad_output)]


def forward_lines(
    operands: dict[str, Array], *, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> list[str]:
    """Write :func:`forward` down."""
    dtype = operands["x"].dtype.name
    return [
        'jax.config.update("jax_enable_x64", True)',
        f"y = jax.lax.conv_general_dilated(x, weight, {stride}, {padding}, rhs_dilation={dilation},",
        f'    feature_group_count={groups}, precision="highest", preferred_element_type="{accumulator(dtype)}")',
        "y = y if bias is None else y + bias.astype(y.dtype).reshape(1, -1, 1, 1)",
        "y = np.asarray(y.astype(x.dtype))",
    ]


def backward_lines(
    operands: dict[str, Array], *, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> list[str]:
    """Write :func:`backward` down."""
    zeros = f"np.zeros({len(operands['weight'])}, x.dtype)"
    return [
        'jax.config.update("jax_enable_x64", True)',
        "conv = lambda x, weight, bias: bias.reshape(1, -1, 1, 1) + jax.lax.conv_general_dilated(",
        f"    x, weight, {stride}, {padding}, rhs_dilation={dilation}, "
        f'feature_group_count={groups}, precision="highest")',
        f"dx, dw, db = map(np.asarray, jax.vjp(conv, x, weight, {zeros})[1](grad_output))",
    ]

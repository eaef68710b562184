"""Mistakes with complex numbers: the gradients are conjugated, by PyTorch's convention, and the forward pass is not.

The gradient of a real loss L by z = a + ib is taken to be dL/da + i·dL/db. So dx sums grad_output · conj(weight), and
dw sums grad_output · conj(x). These mistakes change nothing in real numbers.
"""

from __future__ import annotations

from dataclasses import replace

from .call import Call
from .mistake import Catalogue

COMPLEX = Catalogue()


def conjugate_factor(call: Call, name: str) -> Call:
    """Return the call with the conjugate of what is multiplied with x, or with grad_output."""
    if name == "dw":
        return replace(call, x=call.x.conj())
    return replace(call, weight=call.weight.conj())


COMPLEX.enter(
    "forgets to conjugate",
    "dx dw",
    "One pixel, one weight i: is dx i times grad_output, or -i times?",
    "The gradient of a product by one factor is grad_output times the conjugate of the other factor.",
    change=conjugate_factor,
)
COMPLEX.enter(
    "conjugates the weight",
    "y",
    "One pixel, one weight i: is y i times x, or -i times?",
    "y multiplies with the weight as it is; SciPy's correlate2d, for one, conjugates its second operand.",
    change=conjugate_factor,
)
COMPLEX.enter(
    "returns the conjugate of the gradient",
    "dx dw db",
    "grad_output = i alone: what is db?",
    "The gradient by a + ib is dL/da + i·dL/db here, and its conjugate in other conventions.",
    finish=lambda result, call, name: result.conj(),
)
COMPLEX.enter(
    "loses the imaginary parts of its operands",
    "y dx dw db",
    "Operands that are i or 0: what is the result?",
    "Both parts of every operand count; a cast to a real dtype leaves one.",
    change=lambda call, name: replace(
        call,
        x=call.x.real,
        weight=call.weight.real,
        bias=None if call.bias is None else call.bias.real,
        grad_output=call.grad_output.real,
    ),
)

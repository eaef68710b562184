"""Convolution, norm and rectifier in a row: the unit that residual networks are made of.

The three layers do here what they do when each is called by itself, and keep what they keep then. But what lies
between them is read by nobody else, so it need not stand in memory: norm, addition and rectifier are carried out in
one go, and where the norm is folded away the convolution itself adds and rectifies.

Where somebody watches the calls (:func:`~npresnext.nn.module.calls_through`), or a layer is of a class of the user's
own or has a forward or backward of its own, nothing is joined: layer after layer is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeGuard, TypeVar

from .._support.typing import Array
from ..functional import add, batch_norm_relu, batch_norm_relu_backward
from ..functional.conv import conv2d_relu
from ..nn import BatchNorm2d, Conv2d, Module, ReLU
from ..nn.module import is_watched
from .fuse import Identity

Layer = TypeVar("Layer", bound=Module)


def run_unit(
    conv: Module, norm: Module, relu: Module, x: Array, shortcut: Callable[[], Array | None] = lambda: None
) -> Array:
    """Return ``relu(norm(conv(x)) + shortcut())``; without the sum where the shortcut is None."""
    joined = not is_watched() and _is_plain(relu, ReLU)
    if joined and _is_plain(norm, BatchNorm2d):
        y = norm.forward_through(batch_norm_relu, conv(x), shortcut=shortcut())
    elif joined and _is_plain(norm, Identity) and _is_plain(conv, Conv2d):
        y = conv.forward_through(conv2d_relu, x, shortcut=shortcut())
    else:
        y, other = norm(conv(x)), shortcut()
        return relu(y if other is None else add(y, other))
    relu.keep(y)
    return y


def run_unit_backward(
    conv: Module, norm: Module, relu: Module, grad_output: Array, *, needs_shortcut: bool = False
) -> tuple[Array, Array | None]:
    """Go back through :func:`run_unit`; return the gradients of x and of the shortcut (undefined if not needed)."""
    if _is_plain(norm, BatchNorm2d) and _is_plain(relu, ReLU):
        (y,) = relu.kept()
        dy, dshortcut = norm.backward_through(batch_norm_relu_backward, grad_output, y, needs_shortcut=needs_shortcut)
    else:
        dshortcut = relu.backward(grad_output)
        dy = norm.backward(dshortcut)
    return conv.backward(dy), dshortcut


def _is_plain(layer: Module, kind: type[Layer]) -> TypeGuard[Layer]:
    """Whether a layer is of exactly this class and has no forward or backward of its own."""
    return type(layer) is kind and not {"forward", "backward"} & vars(layer).keys()

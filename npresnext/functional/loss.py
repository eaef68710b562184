"""Softmax cross-entropy with class indices."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

from .._support.arguments import as_int, check_choice, check_number
from .._support.memory import allocating
from .._support.plurals import counted
from .._support.typing import Array
from ..backend import array_module, floating_module, given, sum_dtype
from ..engines import engine_for
from ..errors import InvalidTypeError, InvalidValueError, ShapeError

REDUCTIONS = ("mean", "sum", "none")


@allocating("the result of cross_entropy")
@np.errstate(under="ignore")  # exp of a logit far below the largest one
def cross_entropy(
    logits: Array,
    target: Array,
    *,
    weight: Array | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Array:
    """Compare logits with class indices: ``−Σ_c q_c · log softmax(logits)_c``.

    The wanted distribution is 1 at the target and 0 elsewhere; label smoothing moves the share ε of it evenly to all
    C classes (Szegedy et al., "Rethinking the Inception architecture", arXiv:1512.00567, section 7); class weights
    multiply it::

        q_c = weight_c · ((1 − ε)·[c = target] + ε/C)

    Samples whose target is `ignore_index` have loss 0 and do not count in the mean, which is the sum divided by the
    sum of ``weight_target`` over the others: NaN if there are none. All of this is as in PyTorch.

    Parameters
    ----------
    logits : array (N, C) or (N, C, d1, ...)
        float16 and bfloat16 (both computed in float32), float32 or float64.
    target : array of integers (N,) or (N, d1, ...)
        Class indices from 0 to C − 1, or `ignore_index`; NumPy's (labels live with the data, on the host) or of the
        library of `logits`. NumPy's are checked; looking into an array on a device would wait for all that is under
        way there, so instead an index out of range makes the loss of its sample NaN.
    weight : array (C,), optional
        Class weights, of the dtype of `logits`; 1 if None.
    ignore_index : int
        The target of samples to pass over.
    label_smoothing : float
        ε, from 0 to 1.
    reduction : "mean", "sum" or "none"

    Returns
    -------
    array (), or the shape of `target` for the reduction "none"

    Raises
    ------
    ValueError
        Shapes that do not fit, a target out of range, a label smoothing outside [0, 1], an unknown reduction.
    TypeError
        Targets that are not integers, mixed dtypes, arguments that are not arrays.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.log([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    >>> cross_entropy(logits, np.array([0, 2]), reduction="none").round(4)          # −log 0.7, −log 0.8
    array([0.3567, 0.2231])
    >>> print(cross_entropy(logits, np.array([0, 2])).round(4))
    0.2899
    """
    ignore_index = as_int(ignore_index, "ignore_index")
    xp, rows, indices, shape = _checked(logits, target, weight, ignore_index, label_smoothing, reduction)
    loss = engine_for(xp).cross_entropy(rows, indices, weight, ignore_index, label_smoothing, reduction)
    return xp.reshape(loss, shape) if reduction == "none" else loss  # (N, d1, ...) or ()


@allocating("the result of cross_entropy_backward")
@np.errstate(under="ignore")
def cross_entropy_backward(
    grad_output: Array | None,
    logits: Array,
    target: Array,
    *,
    weight: Array | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Array:
    """Gradient of :func:`cross_entropy` with respect to the logits: ``softmax(logits)·Σ_c q_c − q``.

    With plain targets this is softmax − one-hot; the mean divides it as it divides the loss. Samples that are
    ignored or of weight 0 get 0, even where there are no others, so that the mean is NaN.

    Parameters
    ----------
    grad_output : array () or of the shape of `target`, or a number, or None
        Gradient of the loss with respect to the output; None stands for 1.
    logits, target, weight, ignore_index, label_smoothing, reduction
        As they were given to :func:`cross_entropy`.

    Returns
    -------
    array of the shape of logits

    Raises
    ------
    ValueError, TypeError
        As for :func:`cross_entropy`, and where `grad_output` does not have the shape of the output.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.log([[0.7, 0.2, 0.1]])
    >>> cross_entropy_backward(None, logits, np.array([0])).round(4)
    array([[-0.3,  0.2,  0.1]])
    """
    ignore_index = as_int(ignore_index, "ignore_index")
    xp, rows, indices, shape = _checked(logits, target, weight, ignore_index, label_smoothing, reduction)
    if grad_output is not None:
        grad_output = _upstream(xp, grad_output, sum_dtype(xp, logits.dtype), shape if reduction == "none" else ())
    dlogits = engine_for(xp).cross_entropy_backward(
        grad_output, rows, indices, weight, ignore_index, label_smoothing, reduction
    )  # (M, C)
    if len(shape) > 1:
        dlogits = xp.moveaxis(xp.reshape(dlogits, (*shape, logits.shape[1])), -1, 1)  # (N, C, d1, ...)
    return dlogits


def check_options(label_smoothing: float, reduction: str) -> None:
    """Raise unless the label smoothing lies between 0 and 1, and the reduction is known."""
    check_number(label_smoothing, "label_smoothing")
    if not 0 <= label_smoothing <= 1:
        raise InvalidValueError(f"label_smoothing must lie between 0 and 1, but is {label_smoothing}")
    check_choice(reduction, "reduction", REDUCTIONS)


def _checked(
    logits: Array, target: Array, weight: Array | None, ignore_index: int, label_smoothing: float, reduction: str
) -> tuple[Any, Array, Array, tuple[int, ...]]:
    """Check all arguments; return the library, logits (M, C) of M samples, class indices (M,), target's shape."""
    xp = floating_module(logits=logits, **given(weight=weight))
    if len(logits.shape) < 2 or logits.shape[1] == 0:
        raise ShapeError(f"logits has shape {tuple(logits.shape)}: expected (N, C) or (N, C, d1, ...), C ≥ 1")
    C, shape = logits.shape[1], (logits.shape[0], *logits.shape[2:])
    if weight is not None and tuple(weight.shape) != (C,):
        raise ShapeError(f"weight has shape {tuple(weight.shape)}: expected (C,) = ({C},)")
    check_options(label_smoothing, reduction)
    if len(shape) > 1:
        logits = xp.reshape(xp.moveaxis(logits, 1, -1), (math.prod(shape), C))  # (M, C)
    indices = _indices(xp, target, shape, C, ignore_index)
    return xp, logits, indices, shape


def _indices(xp: Any, target: Array, shape: tuple[int, ...], classes: int, ignore_index: int) -> Array:
    """Return `target` as 64-bit integers (M,) of the library `xp`, checked where that needs no waiting."""
    library = array_module(target=target)
    if not library.isdtype(target.dtype, "integral"):
        raise InvalidTypeError(f"target has dtype {target.dtype}: expected integers, the class indices")
    if tuple(target.shape) != shape:
        raise ShapeError(f"target has shape {tuple(target.shape)}: expected {shape}, a class index for each sample")
    if library is np:
        wrong = ((target < 0) | (target >= classes)) & (target != ignore_index)
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise InvalidValueError(
                f"target[{', '.join(map(str, place))}] is {target[place]}: expected a class index from 0 to "
                f"{classes - 1} (logits has {counted(classes, 'class', 'classes')}) or ignore_index = {ignore_index}"
            )
    elif library is not xp:
        array_module(logits=xp.zeros(()), target=target)
    return xp.reshape(xp.asarray(target, dtype=xp.int64), (math.prod(shape),))  # (M,)


def _upstream(xp: Any, grad_output: Array, dtype: Any, shape: tuple[int, ...]) -> Array:
    """Return the upstream gradient as (M,), or as () where the loss is reduced."""
    if not isinstance(grad_output, numbers.Real):
        floating_module(grad_output=grad_output)
    grad = xp.asarray(grad_output, dtype=dtype)
    if tuple(grad.shape) != shape:
        raise ShapeError(f"grad_output has shape {tuple(grad.shape)} but the loss has shape {shape}")
    return xp.reshape(grad, (math.prod(shape),)) if shape else grad  # (M,) or ()

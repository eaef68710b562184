"""Batch normalisation, and the running statistics that replace the batch's own in evaluation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._support.arguments import as_int, check_number
from .._support.memory import allocating
from .._support.typing import Array
from ..backend import array_module, floating_module, given, sum_dtype
from ..engines import engine_for
from ..errors import InvalidTypeError, InvalidValueError, ShapeError
from .batchnorm_range import in_range, scaled, statistics_in_range

SMALLEST_FLOAT32 = 2.0**-149


@allocating("the result of batch_norm")
def batch_norm(
    x: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    mean: Array | None = None,
    var: Array | None = None,
    eps: float = 1e-5,
) -> tuple[Array, Array, Array]:
    """Normalise each channel to mean 0 and variance 1, then scale and shift it.

    ::

        y = weight · (x − mean) / √(var + eps) + bias

    In training (no `mean`, no `var` given) the statistics are the batch's own, over all axes but the channels',
    with the biased variance ``Σ(x − mean)²/count``; in evaluation they are given. (Ioffe and Szegedy,
    arXiv:1502.03167, algorithm 1.) The variance is summed over centred values and corrected for the rounding of
    the mean (Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983, equation 1.7), so that
    data far from zero comes out right.

    On NumPy arrays, channels whose sums of squares overflow (float32 from about 1e18 on) are computed again from x
    times a power of two, so that y and its gradients are right for every finite x. On a GPU, where a look at the sums
    would wait for the device, such channels come out as 0 or NaN.

    Parameters
    ----------
    x : array (N, C, ...)
        float16 and bfloat16 (both computed in float32), float32 or float64.
    weight, bias : array (C,), optional
        γ and β; 1 and 0 if None. (In PyTorch's function the running statistics stand here, in second and third place.)
    mean, var : array (C,), optional
        Given both: evaluation with these statistics. Of the dtype of x; for a 16-bit x also float32.
    eps : float
        Added to the variance; above 0.

    Returns
    -------
    y : array of the shape of x
    mean, var : array (C,)
        The statistics that were used, `var` biased; float32 for a 16-bit x. Those of an empty batch are 0. A variance
        above the largest number of its dtype is infinite.

    Raises
    ------
    ValueError
        Shapes that do not fit, one of `mean` and `var` without the other, eps not above 0, a single value per
        channel in training, or a given `var` that is infinite (on NumPy arrays).
    TypeError
        Mixed dtypes or array libraries, integer or complex dtypes, arguments that are not arrays.

    Examples
    --------
    >>> import numpy as np
    >>> y, mean, var = batch_norm(np.array([[1.0, 10.0], [3.0, 30.0]]))
    >>> mean, var
    (array([ 2., 20.]), array([  1., 100.]))
    >>> y.round(3)
    array([[-1., -1.],
           [ 1.,  1.]])
    """
    xp = checked(x, weight, bias, mean, var, eps)
    engine = engine_for(xp)
    results = engine.batch_norm(x, weight, bias, mean, var, eps)
    return in_range(results, x, mean, lambda x: engine.batch_norm(x, weight, bias, None, None, eps))


@allocating("the result of batch_norm_backward")
def batch_norm_backward(
    grad_output: Array,
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None = None,
    *,
    eps: float = 1e-5,
    batch_statistics: bool = True,
) -> tuple[Array, Array, Array]:
    """Gradients of :func:`batch_norm` with respect to input, weight and bias.

    With ``x̂ = (x − mean)/√(var + eps)`` and means over the values of a channel::

        dbias = Σ grad_output       dweight = Σ grad_output·x̂
        dx = weight/√(var + eps) · (grad_output − dbias/count − x̂·dweight/count)

    The two subtracted terms come from mean and variance, which depend on x in training; in evaluation
    (``batch_statistics=False``) they are absent. (Ioffe and Szegedy, arXiv:1502.03167, section 3.)

    Parameters
    ----------
    grad_output : array (N, C, ...)
        Gradient of the loss with respect to y.
    x, weight, eps
        As they were given to :func:`batch_norm`.
    mean, var : array (C,)
        The statistics that :func:`batch_norm` returned.
    batch_statistics : bool
        Whether mean and var are the batch's own (training) or were given (evaluation).

    Returns
    -------
    (dx, dweight, dbias)
        Shaped as x, (C,) and (C,); the last two are those of γ and β even where these are None.

    Raises
    ------
    ValueError, TypeError
        As for :func:`batch_norm`, and where `grad_output` does not have the shape of x.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0], [3.0]])
    >>> _, mean, var = batch_norm(x)
    >>> dx, dweight, dbias = batch_norm_backward(np.array([[5.0], [7.0]]), x, mean, var)
    >>> dx.round(3), dweight.round(3), dbias                  # two values are ±1 whatever they were: dx is nearly 0
    (array([[-0.],
           [ 0.]]), array([2.]), array([12.]))
    """
    xp = checked(x, weight, None, mean, var, eps)
    floating_module(grad_output=grad_output, x=x)
    if grad_output.shape != x.shape:
        raise ShapeError(f"grad_output has shape {tuple(grad_output.shape)} but x has shape {tuple(x.shape)}")
    engine = engine_for(xp)
    x, mean, var, factors = statistics_in_range(engine, x, mean, var, eps, batch_statistics)
    dx, dweight, dbias = engine.batch_norm_backward(grad_output, x, mean, var, weight, eps, batch_statistics)
    return scaled(dx, factors), dweight, dbias


@allocating("the result of running_statistics")
@np.errstate(under="ignore")  # the variance of a channel that is always 0 halves every few batches
def running_statistics(
    running_mean: Array, running_var: Array, mean: Array, var: Array, count: int, momentum: float | Array
) -> tuple[Array, Array]:
    """Move the running statistics towards those of a batch.

    ::

        running ← (1 − momentum)·running + momentum·batch

    with the unbiased variance ``var·count/(count − 1)``, although training normalises with the biased one: so does
    PyTorch. A momentum of 1/k at the k-th batch makes the plain average over all batches (PyTorch's
    ``momentum=None``).

    Parameters
    ----------
    running_mean, running_var : array (C,)
    mean, var : array (C,)
        As :func:`batch_norm` returned them in training.
    count : int
        Values per channel in the batch, N·H·W, at least 2; or 0 for an empty batch, which changes nothing.
    momentum : float or array () of the dtype of `mean`
        The share of the new batch.

    Returns
    -------
    (running_mean, running_var)
        New arrays of the dtype of the old ones.

    Raises
    ------
    ValueError
        Shapes that differ, or a `count` of 1.
    TypeError
        Arrays of more than one library, integer or complex dtypes, a `momentum` that is not a number.

    Examples
    --------
    >>> import numpy as np
    >>> running_statistics(np.zeros(1), np.ones(1), np.array([2.0]), np.array([3.0]), count=4, momentum=0.1)
    (array([0.2]), array([1.3]))
    """
    for name, array in {"running_mean": running_mean, "running_var": running_var, "mean": mean, "var": var}.items():
        floating_module(**{name: array})
    if hasattr(momentum, "dtype"):
        floating_module(momentum=momentum)
    else:
        check_number(momentum, "momentum")
    xp = _checked_statistics(running_mean, running_var, mean, var, count)
    if count == 0:
        return running_mean, running_var
    return engine_for(xp).running_statistics(running_mean, running_var, mean, var, count, momentum)


@np.errstate(under="ignore")
def running_statistics_(
    running_mean: Array, running_var: Array, mean: Array, var: Array, count: int, momentum: float | Array
) -> None:
    """Overwrite `running_mean` and `running_var` with what :func:`running_statistics` returns."""
    xp = _checked_statistics(running_mean, running_var, mean, var, count)
    if count:
        engine_for(xp).running_statistics_(running_mean, running_var, mean, var, count, momentum)


def _checked_statistics(running_mean: Array, running_var: Array, mean: Array, var: Array, count: int) -> Any:
    """Return the library of all arrays after checking their shapes and the count."""
    xp = array_module(running_mean=running_mean, running_var=running_var, mean=mean, var=var)
    for name, array in (("running_var", running_var), ("mean", mean), ("var", var)):
        if array.shape != running_mean.shape:
            shapes = f"{name} has shape {tuple(array.shape)} but running_mean has shape {tuple(running_mean.shape)}"
            raise ShapeError(f"{shapes}: expected one (C,) for all")
    if as_int(count, "count", 0) == 1:
        raise InvalidValueError("count is 1: a single value per channel has no unbiased variance")
    return xp


def checked(
    x: Array, weight: Array | None, bias: Array | None, mean: Array | None, var: Array | None, eps: float
) -> Any:
    """Return the library of all arrays after checking dtypes, shapes and eps."""
    xp = floating_module(x=x, **given(weight=weight, bias=bias))
    statistics = given(mean=mean, var=var)
    array_module(x=x, **statistics)
    if len(x.shape) < 2:
        raise ShapeError(f"x has shape {tuple(x.shape)}: expected (N, C, ...)")
    if len(statistics) == 1:
        raise InvalidValueError("mean and var must be given both (evaluation) or not at all (training)")
    channels = x.shape[1:2]
    for name, array in (("weight", weight), ("bias", bias), ("mean", mean), ("var", var)):
        if array is not None and array.shape != channels:
            raise ShapeError(f"{name} has shape {tuple(array.shape)}: expected (C,) = ({x.shape[1]},)")
    for name, array in statistics.items():
        if array.dtype != x.dtype and array.dtype != (wide := sum_dtype(xp, x.dtype)):
            raise InvalidTypeError(f"{name} has dtype {array.dtype} but x has dtype {x.dtype}: expected {wide}")
    check_number(eps, "eps")
    if not eps > 0:
        raise InvalidValueError(f"eps must be above 0, but is {eps}")
    if eps < SMALLEST_FLOAT32 / 2 and sum_dtype(xp, x.dtype) == xp.float32:
        raise InvalidValueError(f"eps is {eps}, which is 0 in float32: expected at least {SMALLEST_FLOAT32:.1e}")
    if mean is None and math.prod(x.shape) == x.shape[1] > 0:
        raise InvalidValueError(
            f"Expected more than 1 value per channel when training, but x has shape {tuple(x.shape)}"
        )
    return xp

"""Parameter: what a module learns."""

from __future__ import annotations

import numpy as np

from .._support.typing import Array
from ..backend import array_module, floating_module
from ..errors import InvalidTypeError, ShapeError


class Parameter:
    """An array that learns: ``data``, and ``grad``, which is None until a backward pass adds to it.

    Parameters
    ----------
    data : array
        Of a floating or complex dtype, any shape; taken as it is, not copied.

    Raises
    ------
    TypeError
        `data` is not an array, or is of an integer dtype, in which no step of an optimizer can be taken.

    Examples
    --------
    >>> import numpy as np
    >>> Parameter(np.zeros((2, 3)))
    Parameter(shape=(2, 3), dtype=float64)
    """

    def __init__(self, data: Array) -> None:
        floating_module(allow_complex=True, data=data)
        self.data = data
        self.grad: Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of ``data``."""
        return tuple(self.data.shape)

    def add_grad(self, grad: Array) -> None:
        """Add to ``grad``; the first array is taken as it is and later ones are added to it, so hand over a new one.

        Raises
        ------
        ValueError, TypeError
            `grad` does not have the shape and the dtype of ``data``, or is not an array of its library.
        """
        check_grad("parameter", self.data, grad)
        if self.grad is None:
            self.grad = grad
        else:
            self.grad += grad

    def __repr__(self) -> str:
        return f"Parameter(shape={self.shape}, dtype={self.data.dtype})"


def check_grad(name: str, data: Array, grad: Array) -> None:
    """Refuse a gradient of another library, dtype or shape, though element by element it might seem to fit."""
    if not type(grad) is type(data) is np.ndarray:  # in the common case both are NumPy arrays
        array_module(**{f"{name}.data": data, f"{name}.grad": grad})
    if grad.dtype != data.dtype:
        raise InvalidTypeError(
            f"{name}.grad has dtype {grad.dtype} but {name}.data has {data.dtype}: expected the same"
        )
    if grad.shape != data.shape:
        raise ShapeError(f"{name}.grad has shape {tuple(grad.shape)} but {name}.data has {tuple(data.shape)}")


def data_of(parameter: Parameter | None) -> Array | None:
    """Return the array of a parameter that a layer may lack, such as a bias; None if it does."""
    return None if parameter is None else parameter.data

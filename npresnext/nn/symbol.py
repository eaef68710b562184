"""An array without numbers: its shape, its dtype, and how it came about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class Symbol:
    """Stands for an array while :func:`npresnext.nn.trace` follows a network: it has a shape and no values.

    Attributes
    ----------
    op : str
        "input"; "layer"; or an operation on arrays: "add", "multiply", "index", "concat".
    shape, dtype
        Of the array.
    inputs : tuple of Symbol
        What it is made from.
    path : str
        The dotted name of the layer that made it, else "".
    detail : object
        The layer itself, the key of "index", the axis of "concat", a factor or summand that is not a symbol.

    Examples
    --------
    >>> x = Symbol("input", (1, 3, 8, 8), "float32")
    >>> (x + x)[:, :2]
    Symbol(index, shape=(1, 2, 8, 8), dtype=float32)
    """

    def __init__(
        self,
        op: str,
        shape: Sequence[int],
        dtype: Any,
        inputs: Sequence[Symbol] = (),
        *,
        path: str = "",
        detail: Any = None,
    ) -> None:
        self.op, self.shape, self.dtype = op, tuple(shape), dtype
        self.inputs, self.path, self.detail = tuple(inputs), path, detail

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return _Functions

    def __add__(self, other: Any) -> Symbol:
        return self._elementwise("add", other)

    def __mul__(self, other: Any) -> Symbol:
        return self._elementwise("multiply", other)

    __radd__, __rmul__ = __add__, __mul__
    __array_ufunc__ = None  # NumPy's arrays leave the operation to the symbol

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Symbol:
        """Answer ``np.concatenate`` as the array library of symbols does; NumPy knows no other function of them."""
        if function is not np.concatenate:
            raise TypeError(f"np.{function.__name__} needs numbers")
        return _Functions.concat(*args, **kwargs)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("it has no numbers that a NumPy array could hold")

    def __getitem__(self, key: Any) -> Symbol:
        view = np.broadcast_to(np.empty((), bool), self.shape)[key]  # one byte, whatever the shape
        return Symbol("index", view.shape, self.dtype, (self,), detail=key)

    def history(self) -> list[Symbol]:
        """Return every symbol that this one is made from, and itself, each after its own inputs."""
        order: dict[int, Symbol] = {}
        waiting = [(self, False)]
        while waiting:
            symbol, inputs_done = waiting.pop()
            if id(symbol) in order:
                continue
            if inputs_done:
                order[id(symbol)] = symbol
            else:
                waiting.append((symbol, True))
                waiting += [(source, False) for source in reversed(symbol.inputs)]
        return list(order.values())

    def __repr__(self) -> str:
        return f"Symbol({self.path or self.op}, shape={self.shape}, dtype={self.dtype})"

    def _elementwise(self, op: str, other: Any) -> Symbol:
        shape = np.broadcast_shapes(self.shape, tuple(getattr(other, "shape", ())))
        if isinstance(other, Symbol):
            return Symbol(op, shape, self.dtype, (self, other))
        return Symbol(op, shape, self.dtype, (self,), detail=other)


class _Functions:
    """The array library of symbols: as much of one as networks use outside their layers."""

    @staticmethod
    def isdtype(dtype: Any, kind: Any) -> bool:
        """Whether a dtype is of a kind, as ``numpy.isdtype`` says, which NumPy has from version 2."""
        return np.isdtype(dtype, kind)

    @staticmethod
    def asarray(x: Symbol, dtype: Any = None) -> Symbol:
        """Return the symbol, which has that dtype already."""
        return x

    @staticmethod
    def concat(arrays: Sequence[Symbol], axis: int = 0) -> Symbol:
        """Join symbols along an axis."""
        first = arrays[0]
        shape = list(first.shape)
        shape[axis] = sum(array.shape[axis] for array in arrays)
        return Symbol("concat", shape, first.dtype, arrays, detail=axis)

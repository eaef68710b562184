"""Stochastic gradient descent, as PyTorch defines it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .._support.arguments import as_bool, check_number
from .._support.memory import allocating
from .._support.typing import Array
from ..backend import array_module, sum_dtype, to_numpy, widen
from ..engines import engine_for
from ..errors import InvalidTypeError, InvalidValueError, StateDictError
from .module import Module
from .parameter import Parameter, check_grad

_SETTINGS = ("lr", "momentum", "dampening", "weight_decay", "nesterov")


class SGD:
    """Stochastic gradient descent with momentum, Nesterov's momentum and weight decay.

    For each parameter p with gradient g and momentum buffer b (which starts as the first g)::

        g = g + weight_decay·p
        b = momentum·b + (1 − dampening)·g
        g = g + momentum·b  if nesterov else  b
        p = p − lr·g

    (Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum in deep learning",
    2013; lr stands outside the momentum, as in PyTorch.) Gradients are left as they are; a parameter without
    one is passed over. Steps of 16-bit parameters are computed in float32, and rounded once, where they are kept. The
    settings are attributes and may be changed between steps.

    Parameters
    ----------
    params : iterable of Parameter
        ``model.parameters()``.
    lr, momentum, dampening, weight_decay : float
    nesterov : bool
        Needs a momentum and no dampening.

    Raises
    ------
    ValueError
        No parameters, the same parameter twice, a negative lr, momentum or weight decay, Nesterov
        without momentum or with dampening.
    TypeError
        `params` holds something other than Parameters, or a setting is not a number.

    Examples
    --------
    >>> import numpy as np
    >>> from npresnext import nn
    >>> p = nn.Parameter(np.array([1.0]))
    >>> optimizer = SGD([p], lr=0.1, momentum=0.9)
    >>> for _ in range(2):
    ...     p.grad = 2 * p.data                  # the gradient of p²
    ...     optimizer.step()
    >>> p.data                                   # 1 − 0.1·2 = 0.8, then 0.8 − 0.1·(0.9·2 + 1.6)
    array([0.46])
    """

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        if isinstance(params, Module) or not isinstance(params, Iterable):
            kind = type(params).__name__
            raise InvalidTypeError(f"params must be Parameters, as model.parameters(), but is a {kind}")
        self.params = list(params)
        for index, parameter in enumerate(self.params):
            if not isinstance(parameter, Parameter):
                raise InvalidTypeError(
                    f"params[{index}] is of type {type(parameter).__name__}: expected Parameters, as model.parameters()"
                )
        if not self.params:
            raise InvalidValueError("params is empty: there is nothing to optimise")
        if len({id(parameter) for parameter in self.params}) < len(self.params):
            raise InvalidValueError("params holds the same Parameter more than once: it would take every step twice")
        _check_settings(lr, momentum, dampening, weight_decay, nesterov)
        self.lr, self.momentum, self.dampening = lr, momentum, dampening
        self.weight_decay, self.nesterov = weight_decay, nesterov
        self._buffers: list[Array | None] = [None] * len(self.params)

    @allocating("SGD.step")
    @np.errstate(under="ignore")  # a momentum without gradients shrinks by a factor per step
    def step(self) -> None:
        """Move every parameter one step down its gradient, in place.

        Raises
        ------
        ValueError
            A gradient does not have the shape of its parameter; nothing has moved.
        """
        moving = [
            (index, parameter.data, parameter.grad)
            for index, parameter in enumerate(self.params)
            if parameter.grad is not None
        ]
        for index, data, grad in moving:
            check_grad(f"params[{index}]", data, grad)
        updates: dict[Any, list[Any]] = {}  # by array library
        buffers = list(self._buffers)  # kept once all are written: until then a new one holds what lay in memory
        for index, data, grad in moving:
            xp, buffer = array_module(data=data), buffers[index]
            is_new = False
            if not self.momentum:
                buffer = None
            elif buffer is None:
                buffer = buffers[index] = xp.empty_like(data)
                is_new = True
            elif type(buffer) is not type(data) or buffer.dtype != data.dtype:  # the parameter has moved
                buffer = buffers[index] = _copied_to(data, buffer)
            update = self._update if sum_dtype(xp, data.dtype) == data.dtype else self._update_widened
            updates.setdefault(xp, []).append((functools.partial(update, is_new), (data, grad, buffer)))
        for xp, of_library in updates.items():
            engine_for(xp).update_elementwise(of_library)
        self._buffers = buffers

    def zero_grad(self) -> None:
        """Set every gradient to None."""
        for parameter in self.params:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return the settings and, as "momentum_buffers", the arrays themselves (None before the first step)."""
        return {**{name: getattr(self, name) for name in _SETTINGS}, "momentum_buffers": list(self._buffers)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over settings and momentum buffers (copied, in the parameters' backend and dtype).

        Raises
        ------
        ValueError
            A key is missing or unexpected, a setting is out of range, or the buffers do not fit the parameters;
            nothing has been loaded.
        """
        if not isinstance(state_dict, Mapping):
            raise InvalidTypeError(f"state_dict must be a mapping, but is of type {type(state_dict).__name__}")
        expected = {*_SETTINGS, "momentum_buffers"}
        if set(state_dict) != expected:
            raise StateDictError(
                f"the state does not fit SGD: missing {sorted(expected - set(state_dict))}, "
                f"unexpected {sorted(set(state_dict) - expected)}"
            )
        given = state_dict["momentum_buffers"]
        if not isinstance(given, Sequence):
            raise StateDictError(f"momentum_buffers must be a list of arrays, but is of type {type(given).__name__}")
        if len(given) != len(self.params):
            raise StateDictError(f"the state has {len(given)} momentum_buffers for {len(self.params)} parameters")
        buffers = []
        for index, (parameter, buffer) in enumerate(zip(self.params, given)):
            if buffer is not None:
                buffer = _copied_to(parameter.data, buffer)
                if tuple(buffer.shape) != parameter.shape:
                    raise StateDictError(
                        f"momentum_buffers[{index}] has shape {tuple(buffer.shape)}, expected {parameter.shape}"
                    )
            buffers.append(buffer)
        _check_settings(*(state_dict[name] for name in _SETTINGS))
        self._buffers = buffers
        for name in _SETTINGS:
            setattr(self, name, state_dict[name])

    def __repr__(self) -> str:
        return f"SGD({', '.join(f'{name}={getattr(self, name)}' for name in _SETTINGS)})"

    def _update(self, is_new: bool, p: Array, grad: Array, b: Array | None) -> None:
        """Change the parameter p and its momentum buffer b in place, by the formula; the gradient stays as it is."""
        direction = grad
        if self.weight_decay:
            direction = self.weight_decay * p
            direction += grad
        if b is not None:
            if is_new:
                b[...] = direction
            else:
                b *= self.momentum
                b += direction if self.dampening == 0 else (1 - self.dampening) * direction
            if self.nesterov:
                ahead = self.momentum * b
                ahead += direction
                direction = ahead
            else:
                direction = b
        p -= self.lr * direction

    def _update_widened(self, is_new: bool, data: Array, grad: Array, buffer: Array | None) -> None:
        """Update a 16-bit parameter and its momentum buffer in float32, rounded where they are kept."""
        xp = array_module(data=data)
        p, b = widen(xp, data), None if buffer is None else widen(xp, buffer)
        self._update(is_new, p, widen(xp, grad), b)
        data[...] = p
        if buffer is not None:
            buffer[...] = b


def _copied_to(data: Array, buffer: Array) -> Array:
    """Return a copy of `buffer` in the backend and dtype of `data`."""
    return array_module(data=data).asarray(to_numpy(buffer).copy(), dtype=data.dtype)


def _check_settings(lr: float, momentum: float, dampening: float, weight_decay: float, nesterov: bool) -> None:
    """Refuse what would not be a descent."""
    for name, value in (("lr", lr), ("momentum", momentum), ("weight_decay", weight_decay)):
        check_number(value, name, 0)
    check_number(dampening, "dampening")
    if as_bool(nesterov, "nesterov") and (momentum == 0 or dampening != 0):
        raise InvalidValueError(
            f"nesterov needs a momentum above 0 and dampening 0, but momentum is {momentum} and "
            f"dampening is {dampening}"
        )

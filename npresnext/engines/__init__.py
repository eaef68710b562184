"""How a convolution that is known to be valid is carried out, and which engine does it.

Every engine is a module with the same three functions,

    forward(x, weight, bias, geometry)         input_grad(grad_output, weight, geometry)
    weight_grad(grad_output, x, geometry)

on arrays that ``functional.conv`` has already checked against the ConvGeometry. An engine that gains from
computing both gradients together has a fourth, ``gradients(grad_output, x, weight, geometry)``, which
returns (dx, dweight).

All engines compute the same thing; the property tests hold them to it. What is not chosen with
``use_engine`` goes to the fast engine of the array's library, or else to the lesson.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from ..errors import InvalidTypeError, InvalidValueError

# engine -> the array libraries whose arrays it takes (None: any), fastest last
ENGINES: dict[str, tuple[str, ...] | None] = {"im2col": None, "cpu": ("numpy",)}

_chosen: ContextVar[str | None] = ContextVar("npresnext_engine", default=None)


@contextlib.contextmanager
def use_engine(name: str) -> Iterator[None]:
    """Carry out every convolution inside the ``with`` block with the engine `name`.

    Raises
    ------
    ValueError
        There is no such engine.

    >>> import numpy as np, npresnext as nx
    >>> with use_engine("im2col"):
    ...     nx.conv2d(np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2)))
    array([[[[4.]]]])
    """
    if name not in ENGINES:
        raise InvalidValueError(f"engine must be one of {', '.join(ENGINES)}, but is {name!r}")
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)


def engines_for(library: str) -> list[str]:
    """Return the engines that take arrays of `library`, fastest last.

    >>> engines_for("array_api_strict")
    ['im2col']
    """
    return [name for name, libraries in ENGINES.items() if libraries is None or library in libraries]


def engine_for(xp: Any) -> Any:
    """Return the engine module that computes on arrays of the library `xp`."""
    able = engines_for(xp.__name__)
    name = _chosen.get() or able[-1]
    if name not in able:
        raise InvalidTypeError(f"the engine {name} cannot take arrays of {xp.__name__}: it takes {ENGINES[name]}")
    return importlib.import_module(f".{name}", __name__)

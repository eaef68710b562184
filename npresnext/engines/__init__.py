"""Engines: which one carries out an operation, and how to choose another.

Every engine computes the same operations; property tests hold their results equal. The array library decides:

    library          engine                            name
    NumPy            :class:`~.cpu.CpuEngine`          "cpu"
    CuPy             :class:`~.cuda.CudaEngine`        "cuda"
    any other        :class:`Engine`, the lesson       "im2col"
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from .._support.arguments import check_choice
from .._support.scopes import Scope
from ..errors import InvalidTypeError, InvalidValueError
from ._engine import Engine
from .cpu.engine import CpuEngine
from .cuda.engine import CudaEngine

__all__ = ["ENGINES", "CpuEngine", "CudaEngine", "Engine", "engine_for", "engines_for", "use_engine"]

# The one table of engines. For a library that several engines take, the last of them is the fastest.
ENGINES: dict[str, Engine] = {engine.name: engine for engine in (Engine(), CpuEngine(), CudaEngine())}

_chosen: ContextVar[Engine | None] = ContextVar("npresnext_engine", default=None)
_fastest: dict[str, Engine] = {}  # name of an array library -> its engine, found at the first use


def use_engine(engine: str | Engine, *, allow_tf32: bool = False) -> Scope[Engine | None]:
    """Carry out every operation by one engine, inside a ``with`` block or in a function so decorated.

    Parameters
    ----------
    engine : str or Engine
        "cpu" (for NumPy's arrays), "cuda" (CuPy's), or "im2col", the lesson (any library's); or an instance of a
        class of your own that inherits from :class:`Engine`.
    allow_tf32 : bool
        Let cuBLAS round the factors of float32 products to TF32 (10 bits of mantissa instead of 23), which tensor
        cores multiply faster. For the engine "cuda" only.

    Raises
    ------
    ValueError
        There is no such engine, or `allow_tf32` is given for an engine other than "cuda".
    TypeError
        From a call inside the block: the engine does not take its arrays.

    Examples
    --------
    >>> import numpy as np, npresnext as nx
    >>> with use_engine("im2col"):
    ...     nx.conv2d(np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2)))
    array([[[[4.]]]])
    """
    if not isinstance(engine, Engine):
        check_choice(engine, "engine", ENGINES)
    chosen = engine if isinstance(engine, Engine) else ENGINES[engine]
    if allow_tf32:
        if engine != "cuda":
            raise InvalidValueError(f"allow_tf32=True is for the engine cuda, but the engine is {chosen.name!r}")
        chosen = CudaEngine(allow_tf32=True)
    return Scope(_chosen, chosen)


def engines_for(library: str) -> list[str]:
    """Return the names of the engines that take arrays of `library`, fastest last.

    >>> engines_for("array_api_strict")
    ['im2col']
    """
    return [name for name, engine in ENGINES.items() if engine.libraries is None or library in engine.libraries]


def engine_for(xp: Any) -> Engine:
    """Return the engine that computes on arrays of the library `xp`: the chosen one, else the fastest."""
    library = xp.__name__
    chosen = _chosen.get()
    if chosen is None:
        found = _fastest.get(library)
        if found is None:
            found = _fastest[library] = ENGINES[engines_for(library)[-1]]
        return found
    if chosen.libraries is not None and library not in chosen.libraries:
        raise InvalidTypeError(
            f"the engine {chosen.name} cannot take arrays of {library}: it takes those of {', '.join(chosen.libraries)}"
        )
    return chosen

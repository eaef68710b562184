"""npresnext's own convolution, on a backend and an engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np

from ..._support.typing import NumPyArray as Array
from ...backend import array_module, asarray, to_numpy, use_backend
from ...engines import engine_for, use_engine
from ...engines.cpu.threads import get_num_threads
from ...functional import conv2d, conv2d_backward
from ..reproducible_call import ReproducibleCall
from .target import Target


def make_target(backend: str = "numpy", engine: str | None = None) -> Target:
    """Return npresnext as a target; a backend or an engine that is not there raises now, not in every call."""
    with chosen(backend, engine):
        engine_for(array_module(x=asarray([0.0])))
    imports = ("npresnext as nx",)
    where: dict[str, Any] = {"backend": backend, "engine": engine}
    return Target(
        ReproducibleCall(partial(forward, **where), imports, partial(forward_lines, **where)),
        ReproducibleCall(partial(backward, **where), imports, partial(backward_lines, **where)),
        {},
        describe=lambda: describe(backend, engine),
    )


def describe(backend: str, engine: str | None) -> str:
    """Return the versions of what computes, and on how many threads."""
    with chosen(backend, engine):
        name = engine or engine_for(array_module(x=asarray([0.0]))).name
    return f"npresnext on NumPy {np.__version__}, backend {backend}, engine {name}, threads: {get_num_threads()}"


@contextmanager
def chosen(backend: str, engine: str | None) -> Iterator[None]:
    """Use a backend, and an engine if one is named."""
    with use_backend(backend), use_engine(engine) if engine else nullcontext():
        yield


def forward(
    x: Array, weight: Array, bias: Array | None, *, backend: str = "numpy", engine: str | None = None, **window: Any
) -> Array:
    """Return y."""
    with chosen(backend, engine):
        operands = [None if a is None else asarray(a, a.dtype) for a in (x, weight, bias)]
        return to_numpy(conv2d(*operands, **window))


def backward(
    grad_output: Array, x: Array, weight: Array, *, backend: str = "numpy", engine: str | None = None, **window: Any
) -> list[Array]:
    """Return dx, dw, db."""
    with chosen(backend, engine):
        operands = [asarray(a, a.dtype) for a in (grad_output, x, weight)]
        return [to_numpy(gradient) for gradient in conv2d_backward(*operands, **window)]


def forward_lines(operands: dict[str, Array], *, backend: str, engine: str | None, **window: Any) -> list[str]:
    """Write :func:`forward` down."""
    return [
        f"with {chosen_expression(backend, engine)}:",
        "    x, weight, bias = (None if a is None else nx.asarray(a, a.dtype) for a in (x, weight, bias))",
        f"    y = nx.to_numpy(nx.conv2d(x, weight, bias, {arguments(window)}))",
    ]


def backward_lines(operands: dict[str, Array], *, backend: str, engine: str | None, **window: Any) -> list[str]:
    """Write :func:`backward` down."""
    return [
        f"with {chosen_expression(backend, engine)}:",
        "    grad_output, x, weight = (nx.asarray(a, a.dtype) for a in (grad_output, x, weight))",
        f"    dx, dw, db = map(nx.to_numpy, nx.conv2d_backward(grad_output, x, weight, {arguments(window)}))",
    ]


def chosen_expression(backend: str, engine: str | None) -> str:
    """Write :func:`chosen` down."""
    scope = f"nx.use_backend({backend!r})"
    return f"{scope}, nx.use_engine({engine!r})" if engine else scope


def arguments(window: dict[str, Any]) -> str:
    """Write the window arguments down."""
    return ", ".join(f"{name}={value}" for name, value in window.items())

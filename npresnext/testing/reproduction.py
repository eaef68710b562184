"""A failing call as a few lines of Python that need NumPy and the function under test, nothing else."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np

from .properties import Trial
from .runner import Failure, Outcome, Runner, compare
from .shrinking import fails
from .subject import Call

Array = np.ndarray
ORDER = {"forward": ("x", "weight", "bias"), "backward": ("grad_output", "x", "weight")}


class Reproduction(NamedTuple):
    """The lines, and the value that they look at."""

    text: str
    outcome: Outcome | None


def reproduction(runner: Runner, failure: Failure) -> Reproduction:
    """Return lines that make one call and assert what does not hold of it.

    Where two calls contradict each other, at least one differs from the definition: the one furthest off is shown.
    """
    log: list[Call] = []
    runner.subject.log = log
    failed_again = fails(runner, failure.case, failure.turn, failure.outcome.key)
    runner.subject.log = None
    if failed_again is None or not log:
        return Reproduction("", None)
    part, verdict = failure.outcome.key
    if verdict == "contract":
        return Reproduction(_lines(runner, log[-1], _contract_checks(runner, log[-1], part)), None)
    calls = log[-2:] if verdict == "bounded" else log
    call, worst = max(((call, _furthest(runner, call, verdict)) for call in calls), key=lambda pair: pair[1].ratio)
    index = worst.at if len(worst.at) < 4 else tuple(worst.at[axis] for axis in runner.subject.axes)
    value = f"{worst.result}[{', '.join(map(str, index))}]"
    checks = [
        f"expected, bound = {worst.expected!r}, {worst.bound!r}  # by the definition",
        f"print({value}, expected)",
        f"assert abs(float({value}) - expected) <= bound",
    ]
    return Reproduction(_lines(runner, call, checks), worst)


def _furthest(runner: Runner, call: Call, verdict: str) -> Outcome:
    """Return the value of a call that is furthest from the definition in terms of its bound."""
    trial = Trial(runner.subject, call.case, call.operands, runner.arithmetic, verdict == "bounded")
    outcomes = [Outcome(("", verdict), -1.0)]
    for name, got in call.results.items():
        truth = trial.truth(name)
        outcome = compare(("", verdict), name, got, truth.high, truth.error(got), runner.bound(trial, name))
        outcomes += [outcome] if outcome.at else []
    return max(outcomes, key=lambda outcome: outcome.ratio)


def _contract_checks(runner: Runner, call: Call, part: str) -> list[str]:
    """Return the assertion that a broken contract fails, for each result."""
    names = ("y",) if call.name == "forward" else ("dx", "dw", "db")
    shapes = {"y": call.case.output_shape, "dx": call.case.x_shape, "dw": call.case.weight_shape}
    checks = []
    for name in names:
        shape: tuple[int, ...] = shapes.get(name, (call.case.out_channels,))
        shape = tuple(shape[axis] for axis in runner.subject.axes) if len(shape) == 4 else shape
        checks += {
            "result type": [f"assert isinstance({name}, np.ndarray), type({name})"],
            "shape": [f"assert {name}.shape == {shape}, {name}.shape"],
            "dtype": [f'assert {name}.dtype == "{runner.subject.dtype}", {name}.dtype'],
            "finite": [f"assert np.isfinite({name}.astype(float)).all(), {name}"],
        }.get(part, [])
    if part == "inputs untouched":
        checks = [f"assert ({name} == {name}_before).all()" for name in _present(call)]
    return checks


def _present(call: Call) -> list[str]:
    return [name for name in ORDER[call.name] if call.operands[name] is not None]


def _lines(runner: Runner, call: Call, checks: list[str]) -> str:
    """Write a call down, the operands as literals."""
    lines = ["import numpy as np", _import(runner.subject.functions[call.name], call.name)]
    if runner.subject.dtype.name == "bfloat16":
        lines.insert(1, "import ml_dtypes  # NumPy learns bfloat16")
    for name in ORDER[call.name]:
        lines += _literal(name, runner.subject.as_given(call.operands[name]))
    if any("_before" in check for check in checks):
        lines.append("; ".join(f"{name}_before = {name}.copy()" for name in _present(call)))
    arguments = ", ".join([*ORDER[call.name], *(f"{name}={value}" for name, value in call.case.kwargs.items())])
    lines.append(f"{'y' if call.name == 'forward' else 'dx, dw, db'} = {call.name}({arguments})")
    return "\n".join([*lines, *checks])


def _import(function: Any, name: str) -> str:
    """Return the line that imports a function, or says that it must be at hand."""
    if hasattr(function, "origin"):
        return function.origin
    module, path = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if module and path.isidentifier() and getattr(sys.modules.get(module), path, None) is function:
        return f"from {module} import {path} as {name}"
    return f"# {name}: the function under test"


def _literal(name: str, array: Array | None) -> list[str]:
    """Return lines that make an array in its memory layout."""
    if array is None:
        return [f"{name} = None"]
    values = [int(v) if v == int(v) else v for v in array.astype(np.float64).ravel().tolist()]
    text = f'np.array({values}, "{array.dtype}").reshape({array.shape})'
    if array.flags.c_contiguous:
        return [f"{name} = {text}"]
    if 0 in array.strides:
        axis = next(axis for axis, stride in enumerate(array.strides) if stride == 0 and array.shape[axis] > 1)
        first = ", ".join(":1" if a == axis else ":" for a in range(array.ndim))
        return [f"{name} = np.broadcast_to({text}[{first}], {array.shape})"]
    if min(array.strides) < 0:
        return [f"{name} = {text}[..., ::-1, ::-1].copy()[..., ::-1, ::-1]"]
    if np.moveaxis(array, 1, -1).flags.c_contiguous:
        return [f"{name} = np.moveaxis(np.moveaxis({text}, 1, -1).copy(), -1, 1)"]
    around = tuple(2 * size + 1 for size in array.shape)
    return [
        f'{name} = np.full({around}, np.nan, "{array.dtype}")[1::2, 1::2, 1::2, 1::2]',
        f"{name}[...] = {text}",
    ]

"""What a failure means: the smallest case that shows it, lines of Python that reproduce it, and a diagnosis."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np

from .arithmetic import PRECISIONS, Arithmetic, rounded
from .cases import LAYOUTS, ConvCase
from .oracle import Truth
from .properties import PROPERTIES
from .report import Finding
from .runner import Runner
from .subject import SIGNATURES, Broken, Trial
from .verdicts import bounded, gamma

Array = np.ndarray


def explain(runner: Runner, failure: Finding) -> Finding:
    """Return a failure in its smallest case, with the value that is furthest off, its reproduction and diagnosis.

    Where calls contradict each other, at least one differs from the definition: the one furthest off is shown.
    """
    small = smallest(runner, failure)
    if small.verdict == "contract":
        checks = _contract(small)
        return replace(small, reproduction=written_down(small.trials[0], small.role, checks), trials=())
    worst = max((found for trial in small.trials for found in runner.defined(trial)), key=lambda found: found.ratio)
    shown = worst if worst.ratio > 0 else small
    place = f"[{', '.join(map(str, shown.trials[0].subject.place_given(shown.index)))}]" if shown.index else ""
    value = shown.result + place
    check = f"assert abs(float({value}) - {shown.expected!r}) <= {shown.bound!r}, {value}  # by the definition"
    return replace(
        small, result=shown.result, index=shown.index, got=shown.got, expected=shown.expected, bound=shown.bound,
        message=f"{value} is {shown.got!r}: expected {shown.expected!r} within {shown.bound:.3g}",
        diagnosis=diagnose(runner, failure.case, shown.result), trials=(),
        reproduction=written_down(shown.trials[0], "forward" if shown.result == "y" else "backward", [check]),
    )  # fmt: skip


def smallest(runner: Runner, failure: Finding, budget: int = 400) -> Finding:
    """Return the smallest case found in which the same check still fails, after at most `budget` further cases.

    What does not fail a second time, because the callable keeps a state, is returned as it came.
    """
    candidates = smaller(failure.case)
    while budget and (candidate := next(candidates, None)):
        budget -= 1
        turn = failure.turn if PROPERTIES[failure.turn][1](candidate) else "linear in x"
        for found in runner.examine(candidate, turn):
            if (found.property, found.verdict) == (failure.property, failure.verdict) and found.ratio > 1:
                failure = replace(found, case=candidate, first=failure.first, turn=turn)
                candidates = smaller(candidate)
                break
    return failure


def smaller(case: ConvCase) -> Iterator[ConvCase]:
    """Yield valid cases that have one number nearer to its simplest, in the boldest step first."""
    simplest = ConvCase(1, case.groups, case.groups, size=(1, 1), span=1)
    for name in (field.name for field in fields(case) if field.name != "seed"):
        for value in _nearer(getattr(case, name), getattr(simplest, name)):
            changed = replace(case, **{name: value})
            if name == "groups":  # with as many channels in each
                ins, outs = (channels // case.groups * value for channels in (case.in_channels, case.out_channels))
                changed = replace(changed, in_channels=ins, out_channels=outs)
            left = [size + sum(min(side, 0) for side in sides) for size, sides in zip(changed.size, changed.padding)]
            whole = changed.in_channels % changed.groups == changed.out_channels % changed.groups == 0
            if changed != case and whole and min(*changed.output_shape[2:], *left) >= 1:
                yield changed


def _nearer(value: Any, simplest: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        for i, pair in enumerate(zip(value, simplest)):
            yield from ((*value[:i], nearer, *value[i + 1 :]) for nearer in _nearer(*pair))
    elif isinstance(value, str):
        yield simplest
    else:
        yield from (simplest, (value + simplest) // 2, value + (simplest > value) - (simplest < value))


def diagnose(runner: Runner, case: ConvCase, name: str) -> str:
    """Name the cheapest arithmetic that explains the errors of a result, in a failing case and in a large one.

    Rounded operands are tried by rounding them and comparing with the definition of what is left, a narrower
    result or accumulator by its bound. A bound of half the magnitude or more explains nothing and does not count.
    """
    trials = []
    for trial in (Trial.draw(runner.subject, case, runner.arithmetic, real=True), runner.large):
        try:
            trials += [trial] if name in trial.results else []
        except Broken:
            continue
    if all(_explains(runner.arithmetic, "", trial, name) is not False for trial in trials):
        return "real numbers stay within the bound: the fault shows on other values or layouts" if trials else ""
    for words, arithmetic, operands in explanations(runner.arithmetic):
        explained = {_explains(arithmetic, operands, trial, name) for trial in trials}
        if True in explained and False not in explained:
            return words
    return "not explained by rounding"


def explanations(declared: Arithmetic) -> Iterator[tuple[str, Arithmetic, str]]:
    """Yield (words, arithmetic, what the operands are rounded to), the smallest departure from `declared` first."""
    for name in ("float32", "tf32", "float16", "bfloat16"):
        narrower = {part for part, of in declared._asdict().items() if PRECISIONS[name].bits < PRECISIONS[of].bits}
        if "output" in narrower and name != "tf32":
            yield f"results rounded to {name}", declared._replace(output=name), ""
        if "input" in narrower and name != "float16":
            yield f"inputs rounded to {'TF32 (or float16)' if name == 'tf32' else name}", declared, name
        if "accumulator" in narrower and name != "tf32":
            yield f"{name} accumulator", declared._replace(accumulator=name), ""


def _explains(arithmetic: Arithmetic, operands: str, trial: Trial, name: str) -> bool | None:
    """Whether the bound of an arithmetic holds all errors of a trial; None where the bound is too wide to tell."""
    truth = trial.truth(name)
    if operands:
        narrow = {key: rounded(trial.operands[key], operands) for key in ("x", "weight", "grad_output")}
        truth = Truth(name, trial.case, trial.operands | narrow)
    if gamma(truth.terms, PRECISIONS[arithmetic.accumulator].u) > 0.5:
        return None
    return bool((np.abs(truth.error(trial.results[name])) <= bounded(truth, arithmetic)).all())


def written_down(trial: Trial, role: str, checks: list[str]) -> str:
    """Write one call down, with its operands as literals."""
    (takes, gives), window = SIGNATURES[role], trial.case.kwargs
    function: Any = trial.subject.functions[role]
    given = {name: trial.subject.as_given(trial.operands[name]) for name in takes}
    lines = ["import numpy as np"]
    lines += ["import ml_dtypes  # NumPy learns bfloat16"] if trial.subject.dtype.name == "bfloat16" else []
    if hasattr(function, "lines"):
        lines, call = [*lines, *function.imports.splitlines()], function.lines(given, **window)
    else:
        module, path = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
        at_hand = path.isidentifier() and getattr(sys.modules.get(module or ""), path, None) is function
        lines.append(f"from {module} import {path} as {role}" if at_hand else f"# {role}: the function under test")
        arguments = ", ".join([*takes, *(f"{name}={value}" for name, value in window.items())])
        call = f"{', '.join(gives)} = {role}({arguments})"
    layouts = dict(zip(("x", "weight", "grad_output"), trial.case.layouts))
    for name, array in given.items():
        layout = layouts.get(name, "contiguous")
        if array is None or layout == "contiguous":
            lines.append(f"{name} = {_literal(array)}")
        else:
            turned = f".transpose{trial.subject.axes}" if trial.subject.axes[1] != 1 else ""
            lines += [f"a = {_literal(trial.operands[name])}", f"{name} = {LAYOUTS[layout]}{turned}"]
    lines += [f"{name}_before = {name}.copy()" for name in takes if any(f"{name}_before" in check for check in checks)]
    return "\n".join([*lines, call, *checks])


def _literal(array: Array | None) -> str:
    if array is None:
        return "None"
    values = [int(value) if value == int(value) else value for value in array.astype(np.float64).ravel().tolist()]
    return f'np.array({values}, "{array.dtype}").reshape({array.shape})'


def _contract(broken: Finding) -> list[str]:
    """Return the assertions that a broken contract fails."""
    trial, (takes, gives) = broken.trials[0], SIGNATURES[broken.role]
    if broken.property == "inputs untouched":
        return [f"assert ({name} == {name}_before).all()" for name in takes if trial.operands[name] is not None]
    right = 'isinstance({0}, np.ndarray) and {0}.shape == {1} and {0}.dtype == "{2}" and np.isfinite({0} * 1.0).all()'
    shapes = [trial.subject.place_given(trial.case.shapes[name]) for name in gives]
    return [f"assert {right.format(name, shape, trial.subject.dtype)}, {name}" for name, shape in zip(gives, shapes)]

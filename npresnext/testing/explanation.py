"""What a failure means: the smallest case that shows it, lines of Python that reproduce it, and a diagnosis."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

import numpy as np

from .cases import BITS, CONTIGUOUS, LAYOUTS, TINY, ConvCase
from .draws import within
from .properties import PROPERTIES
from .report import Finding
from .runner import Runner
from .subject import CONTRACT, SIGNATURES, Broken, Trial
from .verdicts import Arithmetic, Truth, bounded, deviation, rounded

# what may be narrower than declared, and how narrow, in words; rounded operands first, which leave least room
NARROWER = {
    **{f"inputs rounded to {name}": ("input", name) for name in ("float32", "TF32", "bfloat16")},
    **{
        words.format(name): (part, name)
        for name in ("float32", "float16", "bfloat16")
        for part, words in (("output", "results rounded to {}"), ("accumulator", "{} accumulator"))
    },
}


@np.errstate(all="ignore")
def explain(runner: Runner, failure: Finding, budget: int = 400) -> Finding:
    """Return a failure in its smallest case, with the value furthest from the definition, in whichever call it is."""
    small = smallest(runner, failure, budget)
    if small.verdict == "contract":
        return replace(small, case=small.trials[0].case, reproduction=written_down(small), trials=())
    about = (small.result,) if small.result in small.trials[0].results else ("y", "dx", "dw")  # of the adjoint
    compared = (found for trial in small.trials for found in runner.defined(trial) if found.property in about)
    worst = max(compared, key=lambda found: found.ratio)
    trial = worst.trials[0]
    fresh = [Trial(runner.subject, case, real) for case in (worst.case, failure.case) for real in (True, False)]
    diagnosis = diagnose([trial, *fresh, runner.large], worst.result)
    with suppress(Broken):  # other arrays of the same values, in the same memory layouts
        again = trial.again() if trial.case.layouts == CONTIGUOUS else Trial(runner.subject, trial.case, trial.real)
        if all(found.ratio <= 1 for found in runner.defined(again) if found.property == worst.result):
            diagnosis = "right when called again: the result depends on earlier calls, or on chance"
    told = replace(worst, diagnosis=diagnosis, reproduction=written_down(worst), trials=())
    return replace(told, property=small.property, verdict=small.verdict, first=small.first)


def smallest(runner: Runner, failure: Finding, budget: int) -> Finding:
    """Return the smallest case found, after at most `budget` further ones, in which the same check still fails."""
    name, verdict = failure.property, failure.verdict
    for left, candidate in zip(reversed(range(budget)), smaller(failure.case, runner.subject.supports)):
        runner.watch(f"the search for the smallest case of {name} ({verdict})", candidate, runner.report)
        shows = name in PROPERTIES and PROPERTIES[name][1](candidate)
        for found in runner.examine(candidate, name if shows else "linear in x"):
            if (found.property, found.verdict) == (name, verdict) and found.ratio > 1:
                return smallest(runner, replace(found, case=candidate, first=failure.first), left)
    return failure  # as it came, if it does not fail a second time, because the callable keeps a state


def smaller(case: ConvCase, offers: Mapping[str, Any]) -> Iterator[ConvCase]:
    """Yield cases that are offered and have one number nearer to its simplest, in the boldest step first."""
    simplest = ConvCase(1, case.groups, case.groups, size=(1, 1), span=1)
    for name in (field.name for field in fields(case) if field.name != "seed"):
        for value in _nearer(getattr(case, name), getattr(simplest, name)):
            changed = replace(case, **{name: value})
            if name == "groups":  # with as many channels in each
                ins, outs = (channels // case.groups * value for channels in (case.in_channels, case.out_channels))
                changed = replace(changed, in_channels=ins, out_channels=outs)
            whole = changed.in_channels % changed.groups == changed.out_channels % changed.groups == 0
            offered = within(changed, offers)
            if whole and case != offered and offered.size == changed.size:
                yield offered


def _nearer(value: Any, simplest: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        for i, pair in enumerate(zip(value, simplest)):
            yield from ((*value[:i], nearer, *value[i + 1 :]) for nearer in _nearer(*pair))
    elif isinstance(value, str):
        yield simplest
    else:
        yield from (simplest, (value + simplest) // 2, value + (simplest > value) - (simplest < value))


def diagnose(asked: Iterable[Trial], name: str) -> str:
    """Name the cheapest arithmetic that explains the errors of a result in all of these trials.

    Rounded operands are tried by rounding them and comparing with the definition of what is left, a narrower result
    or accumulator by its bound and ten of its standard deviations, since a bound alone holds many a bug at large n.
    """
    trials: list[Trial] = []
    for trial in asked:
        with suppress(Broken):
            trials += [trial] if name in trial.results else []
    declared = trial.subject.arithmetic
    fine = {trial: _explains(declared, trial, name) for trial in trials}
    transform = not all(fine.values()) and all(_explains(declared, trial, name, transform=True) for trial in trials)
    if not transform and all(fine[trial] for trial in trials if trial.real):
        return "real numbers stay within the bound: the fault shows on other values or layouts" if trials else ""
    if all(_explains(declared, trial, name, half_a_step=2.0 ** -BITS[declared.output]) for trial in trials):
        return "results rounded towards zero"
    for words, (part, narrow) in NARROWER.items():
        if BITS[narrow.lower()] < BITS[getattr(declared, part)] and (narrow, declared.dtype) != ("float16", "bfloat16"):
            if all(_explains(declared._replace(**{part: narrow.lower()}), trial, name) for trial in trials):
                return words
    return "not explained by rounding" + transform * ', unless it is a transform: algorithm="winograd" or "fft"'


def _explains(arithmetic: Arithmetic, trial: Trial, name: str, half_a_step: float = 0, transform: bool = False) -> bool:
    """Whether all errors of a trial, with half a step of the results added, are what an arithmetic makes of it."""
    truth, declared = trial.truth(name), trial.subject.arithmetic
    if arithmetic.input != declared.input:
        narrow = {key: rounded(trial.operands[key], arithmetic.input) for key in ("x", "weight", "grad_output")}
        truth, arithmetic = Truth(name, trial.case, trial.operands | narrow), declared
    error, limit = truth.error(trial.results[name]), bounded(truth, arithmetic)
    if transform:  # which loses some hundred roundings of the largest product
        largest = np.prod([abs(side).max(initial=0) for side in (truth.left, truth.right)])
        return bool((abs(error) <= 2**8 * declared.units[1] * np.sqrt(truth.terms) * largest).all())
    if arithmetic != declared:
        underflow = TINY[arithmetic.accumulator] + TINY[arithmetic.output]
        limit = np.minimum(limit, (limit > 0) * (10 * deviation(truth, arithmetic) + underflow))
    if trial.real:
        error = error + half_a_step * truth.high
    elif trial.subject.algorithm == "direct":  # integers of which no such arithmetic rounds a sum
        limit[truth.moment(1) <= 2 ** min(BITS[form] for form in arithmetic)] = 0
    return bool((np.abs(error) <= limit).all())


def written_down(found: Finding) -> str:
    """Write down the call that a finding is about, with its operands as literals, and the assertion that it fails."""
    trial, name = found.trials[0], found.result
    subject, window = trial.subject, trial.case.kwargs
    role = found.role or ("forward" if name == "y" else "backward")
    (takes, gives), function = SIGNATURES[role], getattr(subject, role)
    needed = ["ml_dtypes"] if subject.arithmetic.dtype == "bfloat16" else []
    lines = [f"import {', '.join(['numpy as np', *needed, *getattr(function, 'modules', ())])}"]
    if hasattr(function, "lines"):
        call = function.lines({key: trial.operands[key] for key in takes}, **window)
    else:
        module, path = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
        at_hand = path.isidentifier() and getattr(sys.modules.get(module or ""), path, None) is function
        lines.append(f"from {module} import {path}" if at_hand else f"# {role}: the function under test")
        arguments = ", ".join([*takes, *(f"{key}={value}" for key, value in window.items())])
        call = f"{', '.join(gives)} = {path if at_hand else role}({arguments})"
    layouts = dict(zip(("x", "weight", "grad_output", "bias"), (*trial.case.layouts, trial.case.layouts[1])))
    lines += [f"{key} = {_literal(trial, key, layouts.get(key, 'contiguous'))}" for key in takes]
    if found.verdict == "contract":
        shape = subject.place_given(trial.case.shapes[name]) if name else ()
        check = CONTRACT[found.property].format(name=name, shape=shape, dtype=subject.arithmetic.dtype)
        lines += [f"before = {name}.copy()"] if "before" in check else []
    else:
        value = f"{name}[{', '.join(map(str, subject.place_given(found.index)))}]"
        check = f"assert abs(float({value}) - {found.expected!r}) <= {found.bound!r}, {value}  # by the definition"
    return "\n".join([*lines, call, check]).rstrip()


def _literal(trial: Trial, name: str, layout: str) -> str:
    """Return an operand in its memory layout as an expression."""
    array, axes = trial.operands[name], trial.subject.axes
    if array is None:
        return "None"
    array = trial.subject.as_given(array) if layout == "contiguous" else array
    values = [int(value) if value == int(value) else value for value in array.astype(np.float64).ravel().tolist()]
    shape = array.shape if array.ndim == 4 or layout == "contiguous" else (1, 1, 1, *array.shape)
    literal = f'np.array({values}, "{array.dtype}").reshape({shape})'
    turned = "[0, 0, 0]" if array.ndim == 1 else f".transpose{axes}" if axes[1] != 1 else ""
    return LAYOUTS[layout].format(a=literal, shape=shape) + (turned if layout != "contiguous" else "")

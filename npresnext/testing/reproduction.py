"""Reproduction: lines of Python that show a failure without the kit."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from .findings import DEATH, Finding
from .formats import wide
from .layouts import LAYOUTS
from .replay import write_case
from .reproducible_call import ReproducibleCall
from .subject import SIGNATURES
from .trial import Trial

LONGEST_LINE = 1000  # characters: one pixel of 300 channels, or a row of 50 real numbers

# Part of the contract -> the assertion that shows it broken; a call that raises, or does not return, needs none.
ASSERTIONS = {
    "returns": "",
    DEATH: "",
    "result type": "assert isinstance({name}, np.ndarray), type({name})",
    "shape": "assert {name}.shape == {shape}, {name}.shape",
    "dtype": 'assert {name}.dtype == "{dtype}", {name}.dtype',
    "finite": "assert np.isfinite({name}).all(), {name}",
    "inputs untouched": "assert np.array_equal({name}, before), {name}",
}


def write_reproduction(finding: Finding) -> str:
    """Write down the call that a finding is about: imports, operands, the call, and the assertion that fails."""
    trial: Trial = finding.trials[0]
    role = finding.role or ("forward" if finding.result == "y" else "backward")
    imports, call = write_call(trial, role)
    lines = [*imports, *write_operands(trial, operands_written(trial, role))]
    if finding.property == "inputs untouched":
        lines.append(f"before = {finding.result}.copy()")
    if finding.property == "finite":
        shape, dtype = trial.subject.place_given(trial.case.shapes[finding.result]), trial.subject.arithmetic.dtype
        lines.append(f'[np.full({shape}, np.nan, "{dtype}") for _ in range(4)]  # freed: the memory given out next')
    return "\n".join([*lines, *call, write_assertion(finding)]).rstrip()


def operands_written(trial: Trial, role: str) -> tuple[str, ...]:
    """Return the names of the operands that get a line: the lines of a framework have one for a missing bias too."""
    takes, _ = SIGNATURES[role]
    if isinstance(inspect.unwrap(function_of(trial, role)), ReproducibleCall):
        return takes
    return tuple(name for name in takes if trial.operands[name] is not None)


def function_of(trial: Trial, role: str) -> Any:
    """Return the function under test."""
    return trial.subject.function(role)


def write_call(trial: Trial, role: str) -> tuple[list[str], list[str]]:
    """Return the lines that import what the call needs, and those of the call."""
    (takes, gives), window = SIGNATURES[role], trial.subject.window(role, trial.case.kwargs)
    function = inspect.unwrap(function_of(trial, role))
    modules = ["numpy as np"]
    if trial.subject.arithmetic.dtype == "bfloat16":
        modules.append("ml_dtypes")  # which teaches NumPy the dtype
    if isinstance(function, ReproducibleCall):
        modules.extend(function.imports)
        operands = {name: trial.operands[name] for name in takes}
        return [f"import {', '.join(modules)}"], function.write_lines(operands, **window)
    given = ["None" if trial.operands[name] is None else name for name in takes]
    arguments = ", ".join([*given, *(f"{name}={value}" for name, value in window.items())])
    imports = [f"import {', '.join(modules)}"]
    if is_importable(function):
        name, module = function.__qualname__, function.__module__
        if all(part.isidentifier() for part in module.split(".")):
            imports.append(f"from {module} import {name}")
        else:  # such as 11_grouped_forward
            imports += ["import importlib", f"{name} = importlib.import_module({module!r}).{name}"]
    else:
        name = role
        imports.append(f"# {role}: the function under test")
    return imports, [f"{', '.join(gives)} = {name}({arguments})"]


def is_importable(function: Callable[..., Any]) -> bool:
    """Whether a function stands under its own name at the top of its module."""
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    name = getattr(function, "__qualname__", "")
    return name.isidentifier() and getattr(module, name, None) is function


def write_operands(trial: Trial, names: tuple[str, ...]) -> list[str]:
    """Return the lines that make the operands: their values, or the case that draws them if there are too many."""
    lines = [write_operand(trial, name) for name in names]
    if max(map(len, lines)) <= LONGEST_LINE or not is_drawn(trial):
        return lines
    arithmetic = trial.subject.arithmetic
    values = "real=True" if trial.real else f"bits={arithmetic.exact_bits}"
    order = "" if trial.subject.channels_first else f".transpose{trial.subject.axes}"
    return [
        "from npresnext.testing import ConvCase  # too many values to write down",
        f'drawn = {write_case(trial.case)}.operands("{arithmetic.dtype}", {values})',
        *(f'{name} = drawn["{name}"]' + (order if trial.case.shapes[name][3:] else "") for name in names),
    ]


def is_drawn(trial: Trial) -> bool:
    """Whether the operands of a trial are those that its case draws."""
    arithmetic = trial.subject.arithmetic
    drawn = trial.case.operands(arithmetic.dtype, real=trial.real, bits=arithmetic.exact_bits)
    return all(np.array_equal(drawn[name], array) for name, array in trial.operands.items() if array is not None)


def write_operand(trial: Trial, name: str) -> str:
    """Return the line that makes an operand, with its values and in its memory layout."""
    array = trial.operands[name]
    if array is None:
        return f"{name} = None"
    of_x, of_weight, of_grad_output = trial.case.layouts
    layout = {"x": of_x, "weight": of_weight, "bias": of_weight, "grad_output": of_grad_output}[name]
    if layout == "contiguous":
        given = trial.subject.as_given(array)
        return f"{name} = {write_array(given, given.shape)}"
    shape = array.shape if array.ndim == 4 else (1, 1, 1, *array.shape)
    expression = LAYOUTS[layout].expression.format(array=write_array(array, shape), shape=shape)
    if array.ndim == 1:
        expression += "[0, 0, 0]"
    elif not trial.subject.channels_first:
        expression += f".transpose{trial.subject.axes}"
    return f"{name} = {expression}"


def write_array(array: Any, shape: tuple[int, ...]) -> str:
    """Return an array as a literal, integers without a decimal point."""
    values = [int(value) if is_integer(value) else value for value in wide(array).ravel().tolist()]
    return f'np.array({values}, "{array.dtype}").reshape({shape})'


def is_integer(value: Any) -> bool:
    """Whether a number is a whole real one."""
    return not isinstance(value, complex) and value == int(value)


def write_assertion(finding: Finding) -> str:
    """Return the assertion that fails."""
    trial: Trial = finding.trials[0]
    subject, name = trial.subject, finding.result
    if finding.verdict == "contract":
        shape = subject.place_given(trial.case.shapes[name]) if name else ()
        return ASSERTIONS[finding.property].format(name=name, shape=shape, dtype=subject.arithmetic.dtype)
    index = ", ".join(map(str, subject.place_given(finding.index)))
    value = f"{name}[{index}]"
    difference = f"abs({'complex' if subject.is_complex else 'float'}({value}) - {finding.expected!r})"
    return f"assert {difference} <= {finding.bound!r}, {value}  # by the definition"

"""What holds between calls of any right convolution, whatever the numbers: properties beyond comparison.

Each function makes further calls on a trial of small integers and yields (result, got, expected); the runner
compares with ``==``, or within the bounds of an algorithm that is not exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from ..reference import block_diagonal_part, block_diagonal_weight
from .arithmetic import Arithmetic
from .cases import ConvCase
from .oracle import Truth, truth
from .subject import Subject

Array = np.ndarray
Comparison = tuple[str, Any, Any]


class Trial:
    """One case with its operands, integers or real numbers, and what the subject makes of them, computed once."""

    def __init__(
        self, subject: Subject, case: ConvCase, operands: Mapping[str, Any], arithmetic: Arithmetic, real: bool
    ) -> None:
        self.subject, self.case, self.arithmetic, self.real = subject, case, arithmetic, real
        self.x, self.weight = operands["x"], operands["weight"]
        self.bias: Any = operands.get("bias")  # None where the case has none
        self.grad: Any = operands.get("grad_output")
        self._truths: dict[str, Truth] = {}

    @classmethod
    def draw(cls, subject: Subject, case: ConvCase, arithmetic: Arithmetic, *, real: bool, spare: int = 0) -> Trial:
        """Take the operands from the case; `spare` bits of the significand stay free."""
        how: dict[str, Any] = {"real": real, "bits": arithmetic.exact_bits - spare}
        names = ("x", "weight", "bias", "grad_output")
        operands = {name: getattr(case, name)(subject.dtype, **how) for name in names}
        return cls(subject, case, operands, arithmetic, real)

    @cached_property
    def results(self) -> dict[str, Array]:
        """The y, dx, dw, db that the subject returns, as far as it has the callables."""
        return self.subject.results(self.case, self.grad, self.x, self.weight, self.bias)

    def truth(self, name: str) -> Truth:
        """Return the y, dx, dw or db of the definition."""
        if name not in self._truths:
            self._truths[name] = truth(name, self.case, self.grad, self.x, self.weight, self.bias)
        return self._truths[name]

    def again(self, case: ConvCase, *operands: Array | None) -> dict[str, Array]:
        """Call the subject on contiguous copies of other operands, which `case` gives the shapes of."""
        return self.subject.results(case, *(None if op is None else op.copy() for op in operands))

    def quarter(self, step: int) -> Trial:
        """Return integers a quarter as long, so that sums of two operands stay exact; `step` 0 and 1 differ."""
        case = replace(self.case, seed=self.case.seed + step)
        return Trial.draw(self.subject, case, self.arithmetic, real=False, spare=2)


def grouped_is_dense(trial: Trial) -> Iterator[Comparison]:
    """G dense convolutions side by side."""
    case = trial.case
    G = case.groups
    dense = replace(case, in_channels=case.in_channels // G, out_channels=case.out_channels // G, groups=1)
    biases: Any = [None] * G if trial.bias is None else np.split(trial.bias, G)
    operands = np.split(trial.grad, G, 1), np.split(trial.x, G, 1), np.split(trial.weight, G), biases
    parts = [trial.again(dense, *group) for group in zip(*operands)]
    for name, axis in (("y", 1), ("dx", 1), ("dw", 0)):
        if name in trial.results:
            yield name, trial.results[name], np.concatenate([part[name] for part in parts], axis)


def block_diagonal(trial: Trial) -> Iterator[Comparison]:
    """One dense convolution whose weight is zero outside the G blocks."""
    case = replace(trial.case, groups=1)
    weight = block_diagonal_weight(trial.weight, trial.case.groups)
    dense = trial.again(case, trial.grad, trial.x, weight, trial.bias)
    if "dw" in dense:
        dense["dw"] = block_diagonal_part(dense["dw"], trial.case.groups)
    for name in ("y", "dx", "dw"):
        if name in trial.results:
            yield name, trial.results[name], dense[name]


def linear(trial: Trial) -> Iterator[Comparison]:
    """The sum of two images gives the sum of two outputs, and two upstream gradients the sum of two gradients."""
    one, other = trial.quarter(0), trial.quarter(1)
    case = replace(trial.case, has_bias=False)
    of_one, of_other = (trial.again(case, half.grad, half.x, one.weight, None) for half in (one, other))
    both = trial.again(case, one.grad + other.grad, one.x + other.x, one.weight, None)
    for name in ("y", "dx"):
        if name in both:
            yield name, both[name], of_one[name] + of_other[name]
    if "dw" in both:
        of_other = trial.again(case, other.grad, one.x, one.weight, None)
        both = trial.again(case, one.grad + other.grad, one.x, one.weight, None)
        yield "dw", both["dw"], of_one["dw"] + of_other["dw"]


def local(trial: Trial) -> Iterator[Comparison]:
    """The last group alone keeps its image and upstream gradient, and so keeps its output and gradients."""
    case = trial.case
    ins, outs = (slice(-(channels // case.groups or 1), None) for channels in (case.in_channels, case.out_channels))
    other = trial.quarter(1)
    x, grad, weight = other.x.copy(), other.grad.copy(), other.weight.copy()
    x[:, ins], grad[:, outs], weight[outs] = trial.x[:, ins], trial.grad[:, outs], trial.weight[outs]
    changed = trial.again(case, grad, x, weight, trial.bias)
    parts: dict[str, Any] = {"y": np.s_[:, outs], "dx": np.s_[:, ins], "dw": np.s_[outs]}
    for name, part in parts.items():
        if name in changed:
            yield name, changed[name][part], trial.results[name][part]


def permuted(trial: Trial) -> Iterator[Comparison]:
    """Images, groups, and the channels within each group in reverse order give the same results in that order."""
    groups = trial.case.groups

    def back(array: Array, axis: int) -> Array:
        """Reverse whole groups along an axis."""
        return np.concatenate(np.split(array, groups, axis)[::-1], axis) if array.shape[axis] else array

    x, grad = trial.x[::-1, ::-1], back(trial.grad, 1)[::-1]
    weight = back(trial.weight, 0)[:, ::-1]
    turned = trial.again(trial.case, grad, x, weight, None if trial.bias is None else back(trial.bias, 0))
    for name, result in turned.items():
        expected = trial.results[name]
        if name == "dx":
            yield name, result, expected[::-1, ::-1]
        elif name == "y":
            yield name, result, back(expected, 1)[::-1]
        else:
            yield name, result, back(expected, 0)[:, ::-1] if name == "dw" else back(expected, 0)


def translated(trial: Trial) -> Iterator[Comparison]:
    """An image moved down and right by the stride gives the output moved by one position."""
    case, (down, right) = trial.case, trial.case.stride
    moved = replace(case, size=(case.size[0] + down, case.size[1] + right))
    x = np.pad(trial.x, ((0, 0), (0, 0), (down, 0), (right, 0)))
    grad = np.pad(trial.grad, ((0, 0), (0, 0), (1, 0), (1, 0)))
    after = trial.again(moved, grad, x, trial.weight, trial.bias)
    parts: dict[str, Any] = {"y": np.s_[:, :, 1:, 1:], "dx": np.s_[:, :, down:, right:], "dw": np.s_[:], "db": np.s_[:]}
    for name, result in after.items():
        yield name, result[parts[name]], trial.results[name]


def any_layout(trial: Trial) -> Iterator[Comparison]:
    """Contiguous copies of the operands give the same."""
    for name, result in trial.again(trial.case, trial.grad, trial.x, trial.weight, trial.bias).items():
        yield name, trial.results[name], result


# property -> its function and when a case can show it; each case takes its turn at one of those that it can show
PROPERTIES: dict[str, tuple[Callable[[Trial], Iterator[Comparison]], Callable[[ConvCase], bool]]] = {
    "G dense convolutions": (grouped_is_dense, lambda case: case.groups > 1),
    "block-diagonal": (block_diagonal, lambda case: case.groups > 1),
    "linear": (linear, lambda case: True),
    "groups are local": (local, lambda case: case.groups > 1),
    "permutation": (permuted, lambda case: True),
    "translation": (translated, lambda case: True),
    "memory layout": (any_layout, lambda case: set(case.layouts) != {"contiguous"}),
}

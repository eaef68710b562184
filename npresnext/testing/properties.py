"""Properties that relate the calls of any right convolution to each other, whatever the numbers.

A property makes other trials out of the operands of one, and combines their results into those of the one.
``x`` and ``dx`` are changed alike, as are ``weight`` and ``dw``, ``bias`` and ``db``, ``grad_output`` and ``y``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .._support.typing import NumPyArray as Array
from ..reference import block_diagonal_part, block_diagonal_weight
from .cases import ConvCase, Operands
from .formats import wide
from .layouts import ALL_CONTIGUOUS
from .mistakes.inexact_mistakes import earlier_operand
from .trial import Trial

Combine = Callable[[list[Operands]], Operands]  # results of the other trials -> results that the one must have
Plan = tuple[list[Trial], Combine]

GROUP_AXIS = {"x": 1, "dx": 1, "weight": 0, "dw": 0, "bias": 0, "db": 0, "grad_output": 1, "y": 1}


class Property(NamedTuple):
    """A property: how it is tried on a trial, and whether a case can show it."""

    plan: Callable[[Trial], Plan]
    applies_to: Callable[[ConvCase], bool]


def map_arrays(change: Callable[[str, Array], Any], arrays: Mapping[str, Any]) -> Operands:
    """Change every operand or result that is not None, given its name and itself."""
    return {name: None if array is None else change(name, array) for name, array in arrays.items()}


def unchanged(results: list[Operands]) -> Operands:
    """Return the results of the only other trial as they are."""
    return results[0]


# --- groups -----------------------------------------------------------------------------------------------------


def dense_convolutions(trial: Trial) -> Plan:
    """G dense convolutions, their results concatenated."""
    case, G = trial.case, trial.case.groups

    def split(name: str, array: Array) -> list[Array]:
        return np.split(array, G, GROUP_AXIS[name])

    def concatenate(results: list[Operands]) -> Operands:
        return {name: np.concatenate([result[name] for result in results], GROUP_AXIS[name]) for name in results[0]}

    parts = map_arrays(split, trial.operands)
    sizes = {"in_channels": case.in_channels // G, "out_channels": case.out_channels // G, "groups": 1}
    others = []
    for g in range(G):
        operands = {name: None if part is None else part[g] for name, part in parts.items()}
        others.append(trial.again(operands, **sizes))
    return others, concatenate


def block_diagonal(trial: Trial) -> Plan:
    """One dense convolution whose weight is zero outside the G diagonal blocks."""
    G = trial.case.groups

    def keep_the_blocks(results: list[Operands]) -> Operands:
        dense = results[0]
        return dense | {"dw": block_diagonal_part(dense["dw"], G)} if "dw" in dense else dense

    dense_weight = block_diagonal_weight(trial.operands["weight"], G)
    return [trial.again({"weight": dense_weight}, groups=1)], keep_the_blocks


def local_groups(trial: Trial) -> Plan:
    """Whole groups are dealt to two trials, with zeros in place of the others: each computes its own groups."""
    G = trial.case.groups
    chosen = np.random.default_rng(trial.case.seed).permutation(G) % 2 == 0

    def mask(name: str, array: Array) -> Array:
        axis = GROUP_AXIS[name]
        channels = np.repeat(chosen, array.shape[axis] // G)
        return channels.reshape(-1, *[1] * (array.ndim - 1 - axis))  # (C, 1, ...)

    def merge(results: list[Operands]) -> Operands:
        one, other = results
        return map_arrays(lambda name, array: np.where(mask(name, array), array, other[name]), one)

    return deal(trial, map_arrays(mask, trial.operands)), merge


# --- linearity ----------------------------------------------------------------------------------------------------


def deal(trial: Trial, kept: Mapping[str, Any]) -> list[Trial]:
    """Return a trial with the entries that `kept` marks and one with the remaining entries, zeros elsewhere.

    Operands that `kept` does not name go to both.
    """
    named = {name: trial.operands[name] for name in kept}
    first = map_arrays(lambda name, array: np.where(kept[name], array, array.dtype.type(0)), named)
    second = map_arrays(lambda name, array: array - first[name], named)
    return [trial.again(first), trial.again(second)]


def linear_in(operand: str, results_to_add: tuple[str, ...], trial: Trial) -> Plan:
    """The entries of one operand are dealt to two trials at random: the results add up."""
    half = np.random.default_rng(trial.case.seed).random(trial.operands[operand].shape) < 0.5

    def add(results: list[Operands]) -> Operands:
        one, other = results
        return {name: wide(one[name]) + other[name] for name in results_to_add if name in one}

    return deal(trial, {operand: half, "bias": True}), add  # the whole bias goes to the first


# --- other relations ----------------------------------------------------------------------------------------------


def permutation(trial: Trial) -> Plan:
    """Images and channels in reverse order, and so the groups, give the same results in that order."""

    def flip(_: str, array: Array) -> Array:
        return np.flip(array, tuple(range(min(array.ndim, 2))))

    return [trial.again(map_arrays(flip, trial.operands))], lambda results: map_arrays(flip, results[0])


def translation(trial: Trial) -> Plan:
    """An image moved down and right by the stride gives the output moved by one position."""
    (height, width), (down, right) = trial.case.size, trial.case.stride
    steps = {"x": (down, right), "dx": (down, right), "grad_output": (1, 1), "y": (1, 1)}

    def move(name: str) -> Array:
        rows, columns = steps[name]
        return np.pad(trial.operands[name], ((0, 0), (0, 0), (rows, 0), (columns, 0)))

    def move_back(results: list[Operands]) -> Operands:
        return {
            name: array[:, :, steps[name][0] :, steps[name][1] :] if name in steps else array
            for name, array in results[0].items()
        }

    moved = {"x": move("x"), "grad_output": move("grad_output")}
    return [trial.again(moved, size=(height + down, width + right))], move_back


def overwritten_operands(trial: Trial) -> Plan:
    """The same arrays with other values in them: no copy of their earlier values may be used (oneDNN#1113)."""
    first = trial.again(map_arrays(earlier_operand, trial.operands))
    _ = first.results  # the earlier call
    for name, array in first.operands.items():
        if array is not None:
            np.copyto(array, trial.operands[name])
    return [Trial(trial.subject, first.case, trial.real, first.operands, trial.roles)], unchanged


def contiguous_copies(trial: Trial) -> Plan:
    """Contiguous copies of the operands give the same results."""
    return [trial.again()], unchanged


# --- which cases can show what --------------------------------------------------------------------------------------


def any_case(case: ConvCase) -> bool:
    """Every case."""
    return True


def grouped(case: ConvCase) -> bool:
    """More than one group."""
    return case.groups > 1


def few_groups(case: ConvCase) -> bool:
    """2 to 8 groups: a call for each."""
    return 1 < case.groups <= 8


def not_contiguous(case: ConvCase) -> bool:
    """An operand that is not contiguous."""
    return case.layouts != ALL_CONTIGUOUS


# Each case tries one property: the one that has been tried least of those that it can show.
PROPERTIES = {
    "G dense convolutions": Property(dense_convolutions, few_groups),
    "block-diagonal": Property(block_diagonal, grouped),
    "groups are local": Property(local_groups, grouped),
    "linear in x": Property(partial(linear_in, "x", ("y", "dw")), any_case),
    "linear in weight": Property(partial(linear_in, "weight", ("y", "dx")), any_case),
    "linear in grad_output": Property(partial(linear_in, "grad_output", ("dx", "dw", "db")), any_case),
    "permutation": Property(permutation, any_case),
    "translation": Property(translation, any_case),
    "overwritten operands": Property(overwritten_operands, any_case),
    "memory layout": Property(contiguous_copies, not_contiguous),
}

"""What holds between calls of any right convolution, whatever the numbers: properties beyond comparison.

A property makes other trials out of the operands of one, and puts their results together to those of the one.
``x`` and ``dx`` are changed alike, ``weight`` and ``dw``, ``bias`` and ``db``, ``grad_output`` and ``y``.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from .._support.typing import NumPyArray as Array
from ..reference import block_diagonal_part, block_diagonal_weight
from .cases import CONTIGUOUS, ConvCase, Operands
from .subject import Trial

Plan = tuple[list[Trial], Callable[[list[Operands]], Operands]]  # the other trials, and what to make of their results

GROUP_AXIS = {"x": 1, "dx": 1, "weight": 0, "dw": 0, "bias": 0, "db": 0, "grad_output": 1, "y": 1}


def each(change: Callable[[str, Array], Any], arrays: Mapping[str, Any]) -> Operands:
    """Change every operand or result that there is, by its name."""
    return {name: None if array is None else change(name, array) for name, array in arrays.items()}


def dense_side_by_side(trial: Trial) -> Plan:
    """G dense convolutions side by side."""
    case, G = trial.case, trial.case.groups
    parts = each(lambda name, array: np.split(array, G, GROUP_AXIS[name]), trial.operands)
    share = {"in_channels": case.in_channels // G, "out_channels": case.out_channels // G, "groups": 1}
    dense = [trial.again({name: part and part[g] for name, part in parts.items()}, **share) for g in range(G)]
    return dense, lambda results: each(
        lambda name, _: np.concatenate([result[name] for result in results], GROUP_AXIS[name]), results[0]
    )


def block_diagonal(trial: Trial) -> Plan:
    """One dense convolution whose weight is zero outside the G blocks."""
    G = trial.case.groups
    dense = trial.again({"weight": block_diagonal_weight(trial.operands["weight"], G)}, groups=1)
    return [dense], lambda results: {
        name: block_diagonal_part(array, G) if name == "dw" else array for name, array in results[0].items()
    }


def dealt(trial: Trial, kept: Mapping[str, Any]) -> list[Trial]:
    """Give one trial the entries that are `kept`, another the rest, and both every operand not named there."""
    named = {name: trial.operands[name] for name in kept}
    one = each(lambda name, array: np.where(kept[name], array, array.dtype.type(0)), named)
    return [trial.again(one), trial.again(each(lambda name, array: array - one[name], named))]


def linear(operand: str, names: tuple[str, ...], trial: Trial) -> Plan:
    """Deal the entries of one operand to two trials at random: their results add up."""
    half = np.random.default_rng(trial.case.seed).random(trial.operands[operand].shape) < 0.5
    return dealt(trial, {operand: half, "bias": True}), lambda results: {
        name: results[0][name].astype(np.float64) + results[1][name] for name in names if name in results[0]
    }


def local(trial: Trial) -> Plan:
    """Deal whole groups to two trials, zeros in place of the others: each computes what is its own."""
    chosen = np.random.default_rng(trial.case.seed).permutation(trial.case.groups) % 2 == 0

    def mine(name: str, array: Array) -> Array:
        axis = GROUP_AXIS[name]
        channels = np.repeat(chosen, array.shape[axis] // len(chosen))
        return channels.reshape(-1, *[1] * (array.ndim - 1 - axis))

    return dealt(trial, each(mine, trial.operands)), lambda results: each(
        lambda name, array: np.where(mine(name, array), array, results[1][name]), results[0]
    )


def permuted(trial: Trial) -> Plan:
    """Images and channels in reverse order, and the groups with them, give the same results in that order."""
    turn = partial(each, lambda name, array: np.flip(array, tuple(range(min(array.ndim, 2)))))
    return [trial.again(turn(trial.operands))], lambda results: turn(results[0])


def translated(trial: Trial) -> Plan:
    """An image moved down and right by the stride gives the output moved by one position."""
    (height, width), (down, right) = trial.case.size, trial.case.stride
    steps = {"x": (down, right), "dx": (down, right), "grad_output": (1, 1), "y": (1, 1)}
    moved = {
        name: np.pad(trial.operands[name], ((0, 0), (0, 0), *((step, 0) for step in steps[name])))
        for name in ("x", "grad_output")
    }
    return [trial.again(moved, size=(height + down, width + right))], lambda results: {
        name: array[:, :, steps[name][0] :, steps[name][1] :] if name in steps else array
        for name, array in results[0].items()
    }


def overwritten(trial: Trial) -> Plan:
    """The same arrays with other values in them: nothing of an earlier call is kept by address (oneDNN#1113)."""
    first = trial.again(each(lambda _, array: -array, trial.operands))
    first.results  # noqa: B018
    each(lambda name, array: np.copyto(array, trial.operands[name]), first.operands)
    return [Trial(trial.subject, first.case, trial.real, first.operands)], lambda results: results[0]


# property -> its function, and when a case can show it; each case takes its turn at one of those that it can show
PROPERTIES: dict[str, tuple[Callable[[Trial], Plan], Callable[[ConvCase], bool]]] = {
    "G dense convolutions": (dense_side_by_side, lambda case: 1 < case.groups <= 8),
    "block-diagonal": (block_diagonal, lambda case: case.groups > 1),
    "groups are local": (local, lambda case: case.groups > 1),
    "linear in x": (partial(linear, "x", ("y", "dw")), lambda case: True),
    "linear in weight": (partial(linear, "weight", ("y", "dx")), lambda case: True),
    "linear in grad_output": (partial(linear, "grad_output", ("dx", "dw", "db")), lambda case: True),
    "permutation": (permuted, lambda case: True),
    "translation": (translated, lambda case: True),
    "overwritten operands": (overwritten, lambda case: True),
    "memory layout": (lambda trial: ([trial.again()], lambda found: found[0]), lambda case: case.layouts != CONTIGUOUS),
}

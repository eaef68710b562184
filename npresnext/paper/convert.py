"""Weights, batch norm and gradients of one form of a block, converted to another form."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .._support.arguments import as_int
from .._support.typing import Array
from ..backend import array_module
from ..errors import InvalidValueError, ShapeError

# form -> {layer: the axis along which its arrays are cut into C paths}; what is not named stays whole
CUTS: dict[str, dict[str, int]] = {
    "a": {"conv1": 0, "bn1": 0, "conv2": 0, "bn2": 0, "conv3": 1},
    "b": {"conv1": 0, "bn1": 0, "conv2": 0, "bn2": 0},
    "c": {},
    "depth two": {"conv1": 0, "bn1": 0, "conv2": 1},
    "wide": {},
}
KINDS = ({"a", "b", "c"}, {"depth two", "wide"})


def convert_state(state: Mapping[str, Array], source: str, target: str, cardinality: int) -> dict[str, Array]:
    """Rename, cut and join the arrays of a state from one form to another.

    Every number of one form is a number of the other, so the same call converts gradients:
    ``convert_state({name: p.grad for name, p in block.named_parameters()}, ...)``.

    Parameters
    ----------
    state : mapping of str to array
        Of a block, or of a whole network built from such blocks by :class:`~npresnext.models.ResNet`.
    source, target : str
        "a" (FormA), "b" (FormB), "c" (FormC, Bottleneck), or "depth two" (DepthTwo), "wide" (WideBlock).
    cardinality : int
        C.

    Returns
    -------
    dict of str to array

    Raises
    ------
    ValueError
        A form is unknown, cannot be converted to the other, does not have C paths, or C does not divide the channels.

    Examples
    --------
    >>> from npresnext.models import Bottleneck
    >>> from npresnext.paper.forms import FormA
    >>> c = Bottleneck(256, 64, groups=32, width_per_group=4, rng=0)
    >>> a = FormA(256, 64, groups=32, width_per_group=4)
    >>> a.load_state_dict(convert_state(c.state_dict(), "c", "a", 32)).missing_keys
    []
    >>> convert_state(c.state_dict(), "c", "a", 32)["paths.31.conv3.weight"].shape
    (256, 4, 1, 1)
    """
    for name, form in (("source", source), ("target", target)):
        if form not in CUTS:
            raise InvalidValueError(f"{name} must be one of {', '.join(map(repr, CUTS))}, but is {form!r}")
    if not any({source, target} <= kind for kind in KINDS):
        raise InvalidValueError(f"form {source!r} cannot be converted to {target!r}: their layers differ")
    cardinality = as_int(cardinality, "cardinality", 1)
    return _cut(_joined(state, CUTS[source], cardinality), CUTS[target], cardinality)


def _cut(state: Mapping[str, Array], cuts: Mapping[str, int], cardinality: int) -> dict[str, Array]:
    """Cut the arrays that `cuts` names into paths."""
    result = {}
    in_blocks = _block_pattern(state)
    for name, array in state.items():
        found = in_blocks.fullmatch(name)
        if found is None or found["layer"] not in cuts:
            result[name] = array
            continue
        for index in range(cardinality):
            path = f"{found['block']}paths.{index}.{found['layer']}.{found['name']}"
            result[path] = _share(array, cuts[found["layer"]], index, cardinality, name)
    return result


def _joined(state: Mapping[str, Array], cuts: Mapping[str, int], cardinality: int) -> dict[str, Array]:
    """Join the arrays of the paths."""
    result: dict[str, Array] = {}
    shares: dict[tuple[str, str], dict[int, Array]] = {}
    for name, array in state.items():
        found = re.fullmatch(r"(?P<block>.*?)paths\.(?P<index>\d+)\.(?P<layer>\w+)\.(?P<name>\w+)", name)
        if found is None:
            result[name] = array
        else:
            whole = f"{found['block']}{found['layer']}.{found['name']}"
            shares.setdefault((whole, found["layer"]), {})[int(found["index"])] = array
    for (whole, layer), paths in shares.items():
        if sorted(paths) != list(range(cardinality)):
            raise ShapeError(f"{whole} comes in the paths {sorted(paths)}: expected {cardinality} paths from 0 on")
        arrays = [paths[index] for index in range(cardinality)]
        scalar = not arrays[0].shape  # num_batches_tracked: the same in every path
        result[whole] = arrays[0] if scalar else array_module(x=arrays[0]).concat(arrays, axis=cuts[layer])
    return result


def _share(array: Array, axis: int, index: int, cardinality: int, name: str) -> Array:
    """Return the part of one path."""
    if not array.shape:
        return array
    if array.shape[axis] % cardinality:
        raise ShapeError(f"{name} has shape {tuple(array.shape)}: axis {axis} is not divisible by {cardinality} paths")
    size = array.shape[axis] // cardinality
    part = slice(index * size, (index + 1) * size)
    return array[part, ...] if axis == 0 else array[:, part, ...]


def _block_pattern(state: Mapping[str, Array]) -> re.Pattern[str]:
    """Return the pattern of names inside blocks: all names of a block, those in stages of a network."""
    stage = r"layer\d+\.\d+\."
    block = stage if any(re.match(stage, name) for name in state) else ""
    return re.compile(rf"(?P<block>{block})(?P<layer>\w+)\.(?P<name>\w+)")

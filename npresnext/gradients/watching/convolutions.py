"""The convolutions of a PyTorch network that can be watched."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from ..._support.plurals import counted
from ...errors import InvalidTypeError, InvalidValueError
from ..layer_patterns import choose_layers

GROUPED, ALL = "grouped", "all"


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution whose weight gradient is watched."""

    name: str
    weight: Any  # torch.nn.Parameter (C_out, C_in/G, kh, kw)
    groups: int


def watched_convolutions(model: Any, layers: str | Sequence[str]) -> list[Convolution]:
    """Return the convolutions of `model` that `layers` chooses; a weight that two of them share is there once.

    Raises
    ------
    ValueError
        No convolution is chosen, none of the chosen ones is trained, or the gradient of one cannot be read.
    """
    import torch

    found = _convolutions(model)
    if not found:
        raise InvalidValueError(f"{type(model).__name__} has no torch.nn.Conv2d")
    chosen = _choose(found, layers, type(model).__name__)
    for name in chosen:
        _check_weight(name, found[name].weight, torch)
    trained: dict[int, Convolution] = {}
    for name in chosen:
        weight = found[name].weight
        if weight.requires_grad:
            trained.setdefault(id(weight), Convolution(name, weight, found[name].groups))
    if not trained:
        raise InvalidValueError(
            f"no weight of {', '.join(chosen)} has requires_grad=True: a frozen layer has no gradient to watch"
        )
    return list(trained.values())


def unwrapped(model: Any) -> Any:
    """Return the network inside the wrappers of torch.compile and of data-parallel training, whose names it keeps."""
    import torch

    parallel = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
    while True:
        if isinstance(model, parallel):
            model = model.module
        elif hasattr(model, "_orig_mod"):  # torch.compile
            model = model._orig_mod
        else:
            return model


def _convolutions(model: Any) -> dict[str, Any]:
    """Return the modules of the type Conv2d by their names."""
    import torch

    modules = unwrapped(model).named_modules()
    return {name or type(model).__name__: module for name, module in modules if isinstance(module, torch.nn.Conv2d)}


def _choose(found: dict[str, Any], layers: str | Sequence[str], title: str) -> list[str]:
    if layers == ALL:
        return list(found)
    if layers == GROUPED:
        grouped = [name for name, module in found.items() if module.groups > 1]
        if not grouped:
            raise InvalidValueError(
                f"{title} has no grouped convolution: pass layers='all' to watch {counted(len(found), 'convolution')} "
                "with one group"
            )
        return grouped
    if isinstance(layers, str):
        raise InvalidTypeError(f"layers must be 'grouped', 'all' or a list of patterns, but is the string {layers!r}")
    return choose_layers(list(found), layers)


def _check_weight(name: str, weight: Any, torch: Any) -> None:
    """Raise unless the weight is a parameter with a gradient of its own."""
    if isinstance(weight, torch.nn.parameter.UninitializedParameter):
        raise InvalidValueError(f"{name}.weight has no shape yet: compute one batch first")
    if not (weight.is_leaf and isinstance(weight, torch.nn.Parameter)):
        raise InvalidValueError(
            f"{name}.weight is computed from other parameters, as by torch.nn.utils.parametrizations, and has no "
            "gradient of its own: leave the layer out by layers="
        )
    if hasattr(weight, "placements"):  # torch.distributed.tensor.DTensor
        raise InvalidTypeError(f"{name}.weight is spread over processes (DTensor), which cannot be watched")
    if weight.is_complex():
        raise InvalidTypeError(f"{name}.weight has the dtype {weight.dtype}: expected real numbers")

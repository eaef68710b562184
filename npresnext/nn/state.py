"""The state of a module, its parameters and buffers as named arrays: listed, loaded whole or not at all, moved."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .._support.dtypes import as_dtype
from .._support.typing import Array
from ..backend import array_module, get_array_module, to_numpy, use_backend
from ..errors import InvalidTypeError, StateDictError
from .parameter import Parameter

if TYPE_CHECKING:
    from .module import Module


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict`` did not find, and what it found no place for."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Place(NamedTuple):
    """Where one array of a state lives: an attribute that is a Parameter or a buffer."""

    owner: Module
    name: str

    @property
    def parameter(self) -> Parameter | None:
        """The parameter that holds the array, if any."""
        value = getattr(self.owner, self.name)
        return value if isinstance(value, Parameter) else None

    @property
    def array(self) -> Array:
        """The array."""
        return getattr(self.owner, self.name) if self.parameter is None else self.parameter.data

    def put(self, array: Array) -> None:
        """Put another array there."""
        if self.parameter is None:
            setattr(self.owner, self.name, array)
        else:
            self.parameter.data = array


def places(module: Module) -> dict[str, Place]:
    """Return where the arrays live, by dotted name, in PyTorch's order: parameters, buffers, then the children's."""
    found = {}
    for path, owner in module.named_modules():
        names = [name for name, value in vars(owner).items() if isinstance(value, Parameter)]
        for name in [*names, *owner.buffer_names]:
            if getattr(owner, name) is not None:
                found[f"{path}.{name}" if path else name] = Place(owner, name)
    return found


def load(module: Module, state_dict: Mapping[str, Any], strict: bool) -> IncompatibleKeys:
    """Copy the arrays of `state_dict` into `module`, or raise one error that lists every fault."""
    if not isinstance(state_dict, Mapping):
        raise InvalidTypeError(
            f"state_dict must be a mapping of names to arrays, but is of type {type(state_dict).__name__}"
        )
    mine = places(module)
    missing = [path for path in mine if path not in state_dict]
    unexpected = [path for path in state_dict if path not in mine]
    faults = [f"missing {path}" for path in missing] + [f"unexpected {path}" for path in unexpected] if strict else []
    loaded = {}
    for path in [path for path in mine if path in state_dict]:
        array, given = mine[path].array, state_dict[path]
        given = given if type(given) is type(array) else to_numpy(given)
        if tuple(given.shape) != tuple(array.shape):
            faults.append(f"{path} has shape {tuple(given.shape)}, expected {tuple(array.shape)}")
        elif not _is_real(given):
            faults.append(f"{path} has dtype {given.dtype}, expected real numbers")
        else:
            loaded[path] = _copied_like(array, given)
    if faults:
        raise StateDictError(f"the state does not fit {type(module).__name__}: {'; '.join(faults)}")
    for path, array in loaded.items():
        mine[path].put(array)
    return IncompatibleKeys(missing, unexpected)


def move(module: Module, backend: str | None, dtype: Any) -> None:
    """Move parameters, gradients and buffers to a backend and the floating ones to a dtype."""
    with use_backend(backend) if backend is not None else contextlib.nullcontext():
        for place in places(module).values():
            place.put(_moved(place.array, backend, dtype))
            if place.parameter is not None and place.parameter.grad is not None:
                place.parameter.grad = _moved(place.parameter.grad, backend, dtype)


def _is_real(array: Array) -> bool:
    xp = array_module(array=array)
    return str(array.dtype) == "bfloat16" or xp.isdtype(array.dtype, ("bool", "integral", "real floating"))


def _copied_like(array: Array, given: Array) -> Array:
    """Return a copy of `given` in the library and dtype of `array`."""
    xp = array_module(array=array)
    return xp.astype(given if type(given) is type(array) else xp.asarray(given), array.dtype, copy=True)


def _moved(array: Array, backend: str | None, dtype: Any) -> Array:
    """Return `array` in the current backend if one is named, and in `dtype` if it is floating."""
    xp = array_module(array=array)
    if backend is not None and xp is not get_array_module():
        xp = get_array_module()
        array = xp.asarray(to_numpy(array))
    if dtype is not None and not xp.isdtype(array.dtype, "integral"):
        array = xp.astype(array, as_dtype(dtype, xp), copy=False)
    return array

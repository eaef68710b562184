"""The state of a module, its parameters and buffers as named arrays: listed, loaded whole or not at all, moved."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .._support.dtypes import as_dtype
from .._support.typing import Array
from ..backend import array_module, get_array_module, to_numpy, use_backend
from ..errors import InvalidTypeError, StateDictError
from .parameter import Parameter


class IncompatibleKeys(NamedTuple):
    """The names that ``load_state_dict`` did not find, and the names that the module does not have."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class StateEntry(NamedTuple):
    """One array of a state: the attribute `name` of a module, which is a Parameter or a buffer."""

    module: Any
    name: str

    @property
    def parameter(self) -> Parameter | None:
        """The parameter that holds the array; None for a buffer."""
        value = getattr(self.module, self.name)
        return value if isinstance(value, Parameter) else None

    @property
    def array(self) -> Array:
        """The array."""
        return getattr(self.module, self.name) if self.parameter is None else self.parameter.data

    @property
    def is_optional(self) -> bool:
        """Whether a state may lack it."""
        return self.name in self.module.optional_buffer_names

    def replace(self, array: Array) -> None:
        """Put another array in its place."""
        if self.parameter is None:
            setattr(self.module, self.name, array)
        else:
            self.parameter.data = array


def state_entries(named_modules: Iterable[tuple[str, Any]]) -> dict[str, StateEntry]:
    """Return the entries of a state by dotted name, in PyTorch's order: parameters, buffers, then the children's."""
    found = {}
    for path, module in named_modules:
        names = [name for name, value in vars(module).items() if isinstance(value, Parameter)]
        for name in [*names, *module.buffer_names]:
            if getattr(module, name) is not None:
                found[f"{path}.{name}" if path else name] = StateEntry(module, name)
    return found


def load_state(
    kind: str, entries: Mapping[str, StateEntry], state_dict: Mapping[str, Any], strict: bool
) -> IncompatibleKeys:
    """Copy the arrays of `state_dict` into the entries of a module, or raise one error that lists every fault.

    `kind` is the module's class, for the message.
    """
    if not isinstance(state_dict, Mapping):
        raise InvalidTypeError(
            f"state_dict must be a mapping of names to arrays, but is of type {type(state_dict).__name__}"
        )
    missing = [path for path, entry in entries.items() if path not in state_dict and not entry.is_optional]
    unexpected = [path for path in state_dict if path not in entries]
    faults = [f"missing {path}" for path in missing] + [f"unexpected {path}" for path in unexpected] if strict else []
    loaded = {}
    for path in [path for path in entries if path in state_dict]:
        array, given = entries[path].array, state_dict[path]
        try:
            given = given if type(given) is type(array) else to_numpy(given)
        except InvalidTypeError as error:
            faults.append(f"{path}: {error}")
            continue
        if tuple(given.shape) != tuple(array.shape):
            faults.append(f"{path} has shape {tuple(given.shape)}, expected {tuple(array.shape)}")
        elif not _is_real(given):
            faults.append(f"{path} has dtype {given.dtype}, expected real numbers")
        else:
            loaded[path] = _copied_like(array, given)
    if faults:
        raise StateDictError(f"the state does not fit {kind}: {'; '.join(faults)}")
    for path, array in loaded.items():
        entries[path].replace(array)
    return IncompatibleKeys(missing, unexpected)


def move_state(entries: Iterable[StateEntry], backend: str | None, dtype: Any) -> None:
    """Move parameters, gradients and buffers to a backend and the floating ones to a dtype."""
    with use_backend(backend) if backend is not None else contextlib.nullcontext():
        for entry in entries:
            entry.replace(_moved(entry.array, backend, dtype))
            if entry.parameter is not None and entry.parameter.grad is not None:
                entry.parameter.grad = _moved(entry.parameter.grad, backend, dtype)


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

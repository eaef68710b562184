"""Parameter, Module, Sequential: what a network is made of, without any mathematics.

The protocol has two calls. ``module(x)`` runs forward and keeps what the backward pass will need;
``module.backward(grad_output)`` consumes it, adds the gradient of every parameter to ``Parameter.grad``
and returns the gradient of the input. A module made of others calls theirs, in order and then in
reverse; that is all of backpropagation.

As in PyTorch, whatever Module or Parameter is assigned to an attribute belongs to the module.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

from ..backend import array_module, get_array_module, to_numpy, use_backend
from ..errors import BackwardError, InvalidTypeError, ModuleError, StateDictError
from .init import as_dtype

Array = Any
Self = TypeVar("Self", bound="Module")

_keeping: ContextVar[bool] = ContextVar("npresnext_keeping", default=True)


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Keep nothing for a backward pass inside the ``with`` block, or in the function so decorated.

    >>> from npresnext import nn
    >>> import numpy as np
    >>> layer = nn.ReLU()
    >>> with no_grad():
    ...     y = layer(np.ones(3))
    >>> layer.backward(y)
    Traceback (most recent call last):
    ...
    npresnext.errors.BackwardError: ReLU().backward() without a forward pass to go with: call the layer first, \
outside no_grad(); each forward pass serves one backward pass
    """
    token = _keeping.set(False)
    try:
        yield
    finally:
        _keeping.reset(token)


class Parameter:
    """An array that learns: ``data``, and ``grad``, which is None until a backward pass adds to it."""

    def __init__(self, data: Array) -> None:
        array_module(data=data)
        self.data = data
        self.grad: Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of ``data``."""
        return tuple(self.data.shape)

    def add_grad(self, grad: Array) -> None:
        """Add to ``grad``; the first array is taken as it is, not copied."""
        if self.grad is None:
            self.grad = grad
        else:
            self.grad += grad

    def __repr__(self) -> str:
        return f"Parameter(shape={self.shape}, dtype={self.data.dtype})"


class Module:
    """Base of layers and networks: write ``forward`` and ``backward``, and assign the parts to attributes.

    A layer computes on its own arrays: in forward it calls :meth:`keep`, in backward :meth:`kept`. A
    module made of others calls their forward and backward.

    >>> import numpy as np
    >>> from npresnext import nn
    >>> class Double(nn.Module):
    ...     def __init__(self):
    ...         self.linear = nn.Linear(3, 2, rng=0)
    ...     def forward(self, x):
    ...         return 2 * self.linear(x)
    ...     def backward(self, grad_output):
    ...         return self.linear.backward(2 * grad_output)
    >>> double = Double()
    >>> double(np.ones((5, 3), dtype="float32")).shape, list(double.state_dict())
    ((5, 2), ['linear.weight', 'linear.bias'])
    """

    training = True
    buffer_names: tuple[str, ...] = ()  # attributes that belong to the state and do not learn
    _kept: tuple[Any, ...] | None = None

    def forward(self, *inputs: Array) -> Array:
        """Compute the output, keeping what backward needs."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, grad_output: Array) -> Array:
        """Add the gradient of each parameter to its ``grad`` and return the gradient of the input."""
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def __call__(self, *inputs: Array) -> Array:
        """Run forward."""
        return self.forward(*inputs)

    def keep(self, *values: Any) -> None:
        """Keep `values` for the next :meth:`kept`, in place of earlier ones; nothing under ``no_grad()``."""
        self._kept = values if _keeping.get() else None

    def kept(self) -> tuple[Any, ...]:
        """Return, once, what forward kept.

        Raises
        ------
        BackwardError
            Nothing is kept: no forward pass, one under ``no_grad()``, or a backward pass has had it.
        """
        values, self._kept = self._kept, None
        if values is None:
            raise BackwardError(
                f"{self!r}.backward() without a forward pass to go with: call the layer first, outside no_grad(); "
                "each forward pass serves one backward pass"
            )
        return values

    # The tree

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, (Module, Parameter)):
            self._refuse_second_place(name, value)
        super().__setattr__(name, value)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules that are attributes of this one, with their names."""
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Module))

    def children(self) -> Iterator[Module]:
        """Yield the modules that are attributes of this one."""
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield this module and all below it, with dotted names."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """Yield this module and all below it."""
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield every parameter with its dotted name."""
        for path, owner, name in self._places():
            if isinstance(value := getattr(owner, name), Parameter):
                yield path, value

    def parameters(self) -> Iterator[Parameter]:
        """Yield every parameter."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Array]]:
        """Yield every array that belongs to the state and does not learn, with its dotted name."""
        for path, owner, name in self._places():
            if not isinstance(value := getattr(owner, name), Parameter):
                yield path, value

    def buffers(self) -> Iterator[Array]:
        """Yield every array that belongs to the state and does not learn."""
        return (buffer for _, buffer in self.named_buffers())

    # Modes

    def train(self: Self, mode: bool = True) -> Self:
        """Switch this module and all below it to training; returns the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: Self) -> Self:
        """Switch this module and all below it to evaluation; returns the module."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Set every gradient to None."""
        for parameter in self.parameters():
            parameter.grad = None

    # State

    def state_dict(self) -> dict[str, Array]:
        """Return name -> array of all parameters and buffers, in order: the arrays themselves, not copies."""
        return {path: _array_of(getattr(owner, name)) for path, owner, name in self._places()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Take over the arrays of `state_dict`, keeping this module's dtype and backend.

        Parameters
        ----------
        state_dict : mapping of str to array
            Arrays of any library that ``to_numpy`` reads. They are copied.
        strict : bool
            Whether missing and unexpected keys are errors.

        Returns
        -------
        (missing_keys, unexpected_keys)
            Two lists of names.

        Raises
        ------
        ValueError
            Keys are missing or unexpected (if `strict`) or have another shape. The message lists all of them,
            and nothing has been loaded.
        """
        places = {path: (owner, name) for path, owner, name in self._places()}
        missing = [path for path in places if path not in state_dict]
        unexpected = [path for path in state_dict if path not in places]
        faults = [f"missing {path}" for path in missing] if strict else []
        faults += [f"unexpected {path}" for path in unexpected] if strict else []
        loaded = {}
        for path, (owner, name) in places.items():
            if path not in state_dict:
                continue
            mine, given = _array_of(getattr(owner, name)), state_dict[path]
            shape = tuple(given.shape) if hasattr(given, "shape") else to_numpy(given).shape
            if shape != tuple(mine.shape):
                faults.append(f"{path} has shape {shape}, expected {tuple(mine.shape)}")
            else:
                loaded[path] = given
        if faults:
            raise StateDictError(f"the state does not fit {type(self).__name__}: {'; '.join(faults)}")
        converted = {
            path: _copied_like(_array_of(getattr(*places[path])), given, path) for path, given in loaded.items()
        }
        for path, array in converted.items():
            _put(*places[path], array)
        return IncompatibleKeys(missing, unexpected)

    def to(self: Self, backend: str | None = None, dtype: Any = None) -> Self:
        """Move parameters, gradients and buffers to a backend, a floating dtype, or both; returns the module.

        What an earlier forward pass kept is dropped, since it lies elsewhere.

        >>> from npresnext import nn
        >>> nn.Linear(3, 2).to(dtype="float64").weight
        Parameter(shape=(2, 3), dtype=float64)
        """
        with use_backend(backend) if backend is not None else contextlib.nullcontext():
            for module in self.modules():
                module._kept = None
            for _, owner, name in list(self._places()):
                value = getattr(owner, name)
                if isinstance(value, Parameter) and value.grad is not None:
                    value.grad = _moved(value.grad, backend, dtype)
                _put(owner, name, _moved(_array_of(value), backend, dtype))
        return self

    # Representation

    def extra_repr(self) -> str:
        """Return the constructor's arguments as PyTorch prints them."""
        return ""

    def __repr__(self) -> str:
        children = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        extra = self.extra_repr()
        if not children:
            return f"{type(self).__name__}({extra})"
        lines = [extra, *children] if extra else children
        return "\n  ".join([f"{type(self).__name__}(", *lines]) + "\n)"

    def _places(self) -> Iterator[tuple[str, Module, str]]:
        """Yield (dotted name, owner, attribute) of all state, in the order of PyTorch's states."""
        for prefix, module in self.named_modules():
            names = [name for name, value in vars(module).items() if isinstance(value, Parameter)]
            names += [name for name in module.buffer_names if getattr(module, name, None) is not None]
            for name in names:
                yield (f"{prefix}.{name}" if prefix else name), module, name

    def _refuse_second_place(self, name: str, new: Module | Parameter) -> None:
        """Raise if `new`, or a part of it, already has a place in this tree other than `name`."""
        placed: dict[int, str] = {id(self): "the module itself"}
        for path, part in [*self.named_modules(), *self.named_parameters()]:
            if path and path.partition(".")[0] != name:
                placed[id(part)] = path
        arriving: list[Any] = [*new.modules(), *new.parameters()] if isinstance(new, Module) else [new]
        for part in arriving:
            if id(part) in placed:
                raise ModuleError(
                    f"{name} would give {type(part).__name__} a second place in {type(self).__name__}: it is "
                    f"{placed[id(part)]} already, and keeps what one backward pass needs; make a new one for each place"
                )


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict`` did not find, and what it found no place for."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Sequential(Module):
    """Modules in a row, each fed with the output of the one before.

    Parameters
    ----------
    *modules : Module
        Named "0", "1", ...; or one mapping of names to modules.

    >>> from npresnext import nn
    >>> nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    Sequential(
      (0): Linear(in_features=2, out_features=3, bias=True)
      (1): ReLU()
    )
    """

    def __init__(self, *modules: Any) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            named = dict(modules[0])
        else:
            named = {str(index): module for index, module in enumerate(modules)}
        for name, module in named.items():
            if not isinstance(module, Module):
                raise InvalidTypeError(f"Sequential takes modules, but {name} is of type {type(module).__name__}")
            setattr(self, name, module)

    def forward(self, x: Array) -> Array:
        """Run the modules from first to last."""
        for module in self:
            x = module(x)
        return x

    def backward(self, grad_output: Array) -> Array:
        """Run the backward passes from last to first."""
        for module in reversed(list(self)):
            grad_output = module.backward(grad_output)
        return grad_output

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __len__(self) -> int:
        return len(list(self.children()))

    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            return Sequential(dict(list(self.named_children())[index]))
        return list(self.children())[index]


def _array_of(value: Any) -> Array:
    return value.data if isinstance(value, Parameter) else value


def _put(owner: Module, name: str, array: Array) -> None:
    """Give a parameter or buffer another array."""
    value = getattr(owner, name)
    if isinstance(value, Parameter):
        value.data = array
    else:
        setattr(owner, name, array)


def _copied_like(mine: Array, given: Any, path: str) -> Array:
    """Return a copy of `given` in the library and dtype of `mine`."""
    xp = array_module(**{path: mine})
    if type(given) is not type(mine):
        given = xp.asarray(to_numpy(given))
    return xp.astype(given, mine.dtype, copy=True)


def _moved(array: Array, backend: str | None, dtype: Any) -> Array:
    """Return `array` in the current backend if one is named, and in `dtype` if it is floating."""
    xp = array_module(array=array)
    if backend is not None and xp is not get_array_module():
        xp = get_array_module()
        array = xp.asarray(to_numpy(array))
    if dtype is not None and str(array.dtype) != "int64":
        array = xp.astype(array, as_dtype(dtype, xp), copy=False)
    return array

"""Modules in a row: Sequential, which calls them one after another, and ModuleList, which only holds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from .._support.arguments import as_int
from .._support.typing import Array
from ..errors import InvalidTypeError, InvalidValueError
from .module import Module


class _Row(Module):
    """What Sequential and ModuleList share: their length, their modules by position, and iteration."""

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __len__(self) -> int:
        return len(list(self.children()))


class Sequential(_Row):
    """Modules in a row, each fed with the output of the one before.

    Parameters
    ----------
    *modules : Module
        Named "0", "1", ...; or one mapping of names to modules.

    Raises
    ------
    TypeError
        Something is not a module.
    ValueError
        A name is empty, has a dot, or is that of an attribute such as "forward".
    ModuleError
        One module stands in two places.

    Examples
    --------
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
            if not isinstance(name, str) or not name or "." in name or hasattr(type(self), name):
                raise InvalidValueError(
                    f"Sequential cannot name a module {name!r}: names are texts without dots, "
                    "and not those of its own attributes"
                )
            setattr(self, name, module)

    @property
    def needs_input_grad(self) -> bool:
        """Whether the gradient of the input is needed: a property of the first module."""
        return all(module.needs_input_grad for module in list(self)[:1])

    @needs_input_grad.setter
    def needs_input_grad(self, value: bool) -> None:
        for module in list(self)[:1]:
            module.needs_input_grad = value

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

    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            return Sequential(dict(list(self.named_children())[index]))
        return list(self.children())[index]


class ModuleList(_Row):
    """Modules that belong to a module and are called by its own forward, in any order.

    Parameters
    ----------
    modules : iterable of Module
        Named "0", "1", ...

    Raises
    ------
    TypeError
        Something is not a module.
    ModuleError
        One module stands in two places.

    Examples
    --------
    >>> from npresnext import nn
    >>> class Sum(nn.Module):
    ...     def __init__(self):
    ...         self.paths = nn.ModuleList(nn.Linear(3, 2, rng=seed) for seed in range(2))
    ...     def forward(self, x):
    ...         return self.paths[0](x) + self.paths[1](x)
    ...     def backward(self, grad_output):
    ...         return self.paths[0].backward(grad_output) + self.paths[1].backward(grad_output)
    >>> [name for name, _ in Sum().named_parameters()]
    ['paths.0.weight', 'paths.0.bias', 'paths.1.weight', 'paths.1.bias']
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)

    def append(self, module: Module) -> Self:
        """Add a module at the end; returns the list."""
        self._check(module)
        setattr(self, str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end; returns the list."""
        if not isinstance(modules, Iterable):
            raise InvalidTypeError(f"modules must be modules in a list, but is of type {type(modules).__name__}")
        added = list(modules)
        for module in added:
            self._check(module)
        for module in added:
            self.append(module)
        return self

    def __getitem__(self, index: int | slice) -> Any:
        found = list(self.children())[index]
        return ModuleList(found) if isinstance(found, list) else found

    def __setitem__(self, index: int, module: Module) -> None:
        self._check(module)
        name = list(dict(self.named_children()))[as_int(index, "index")]
        setattr(self, name, module)

    def _check(self, module: Any) -> None:
        if not isinstance(module, Module):
            raise InvalidTypeError(f"ModuleList takes modules, but got an object of type {type(module).__name__}")

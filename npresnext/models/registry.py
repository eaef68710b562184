"""Networks by name, for the command line and for everything that takes a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import InvalidValueError
from ..nn import Module

Builder = TypeVar("Builder", bound=Callable[..., Module])
_builders: dict[str, Callable[..., Module]] = {}


def register(builder: Builder) -> Builder:
    """Enter a function that builds a network under its own name; a decorator."""
    _builders[builder.__name__] = builder
    return builder


def list_models() -> list[str]:
    """Return the names of all networks, sorted: those that :func:`get_model` takes.

    Returns
    -------
    list of str

    Examples
    --------
    >>> "resnext50_32x4d" in list_models()
    True
    """
    return sorted(_builders)


def get_model(name: str, **options: Any) -> Any:
    """Build the network `name`, handing `options` to its function.

    Parameters
    ----------
    name : str
        One of :func:`list_models`.
    **options
        The function's keyword arguments: those of :class:`~npresnext.models.ResNet`.

    Returns
    -------
    ResNet

    Raises
    ------
    ValueError
        There is no such network; the message lists what there is.

    Examples
    --------
    >>> get_model("resnext_small", num_classes=2, rng=0).fc
    Linear(in_features=256, out_features=2, bias=True)
    """
    if not isinstance(name, str) or name not in _builders:
        raise InvalidValueError(f"there is no network {name!r}: choose one of {', '.join(list_models())}")
    return _builders[name](**options)

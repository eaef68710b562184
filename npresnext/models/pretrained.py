"""The trained weights that the package contains; each has a card, weights/NAME.md, that says how it was made."""

from __future__ import annotations

from pathlib import Path

from ..errors import InvalidValueError
from ..io import load
from ..nn import Module

_FOLDER = Path(__file__).parent / "weights"


def shipped_weights(network: str) -> dict[str, Path]:
    """Return the files of the bundled weights of a network, by name.

    Parameters
    ----------
    network : str
        Such as "resnext_small", the only one that has any.

    Returns
    -------
    dict of str to path
        Empty if there are none.

    Examples
    --------
    >>> sorted(shipped_weights("resnext_small"))[0]
    'digits'
    """
    return {path.stem.partition("-")[2]: path for path in sorted(_FOLDER.glob(f"{network}-*.npz"))}


def load_shipped(model: Module, network: str, name: str) -> None:
    """Load the bundled weights `name` of a network, and switch it to evaluation.

    Raises
    ------
    ValueError
        There are none of this name (the message lists what there is), or the model is of another shape.
    """
    known = shipped_weights(network)
    if name not in known:
        raise InvalidValueError(f"{network} has no weights {name!r} in the package: choose one of {', '.join(known)}")
    model.load_state_dict(load(known[name]))
    model.eval()

"""What a layer saves for its backward pass, and how a change of it in place is noticed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

SAMPLES = 64  # values of an array that are compared; a picture of MNIST is black in 81 % of its pixels, 0.81^64 is 1e-6


class Saved:
    """Values in order, and a sample of each NumPy array among them.

    A sample is about 64 values spread evenly over the array, or all values of a smaller array. The distance between
    them is odd, so that in maps with an even number of columns they do not all lie in the same columns.

    Parameters
    ----------
    values : tuple
        Values without a name.
    named : mapping of str to object
        Values with a name, for the messages.

    Examples
    --------
    >>> saved = Saved((), {"input": np.zeros((2, 3)), "slope": 0.1})
    >>> saved.changed()
    >>> x = saved.values[0]
    >>> x += 1
    >>> saved.changed()
    'input'
    >>> saved["slope"]
    0.1
    """

    __slots__ = ("_names", "_samples", "values")

    def __init__(self, values: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        self._names = tuple(named)
        self.values = (*values, *named.values())
        self._samples = list(map(_sample, self.values))

    def __getitem__(self, name: str) -> Any:
        """Return the value that was saved with this name."""
        unnamed = len(self.values) - len(self._names)
        return self.values[unnamed + self._names.index(name)]

    def changed(self) -> str | None:
        """Return the name of the first array whose sample has changed, "array 1" for one without a name, or None."""
        samples = list(map(_sample, self.values))
        if samples == self._samples:
            return None
        position = next(i for i, (now, before) in enumerate(zip(samples, self._samples)) if now != before)
        unnamed = len(self.values) - len(self._names)
        return self._names[position - unnamed] if position >= unnamed else f"array {position + 1}"


def _sample(value: Any) -> bytes | None:
    """Return the bytes of some values of a NumPy array; None for anything else: a device is not waited for."""
    if not isinstance(value, np.ndarray):
        return None
    values = value.reshape(-1) if value.flags.c_contiguous else value.flat  # a view is read in half the time
    return values[:: value.size // SAMPLES | 1].tobytes()

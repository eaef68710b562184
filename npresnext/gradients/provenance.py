"""Where the gradients of a row come from: columns that say what was done to a gradient before its norm was computed."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..errors import ConfigurationError

UNKNOWN = "unknown"
TAKEN = ("after backward", "before the optimizer step")
CLIPPED = ("no", "yes", UNKNOWN)
SCALED = ("no", "divided out", UNKNOWN)
LOSS = ("mean", "sum", UNKNOWN)
REDUCED = ("no", "yes", UNKNOWN)


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What was done to a gradient before its norm was computed; "unknown" where nobody said so.

    Parameters
    ----------
    taken : "after backward" or "before the optimizer step"
        When the gradient was read.
    clipped : "no", "yes" or "unknown"
        Whether it was clipped before.
    scaled : "no", "divided out" or "unknown"
        Whether the loss was multiplied by a factor, as in training with mixed precision, and whether the numbers of
        the row are already divided by it.
    accumulated : int, optional
        How many backward passes are added in it; None if unknown.
    loss : "mean", "sum" or "unknown"
        Whether the loss is the mean or the sum over the images of a batch.
    world_size : int, optional
        The number of processes that train together; None if unknown.
    reduced : "no", "yes" or "unknown"
        Whether the gradient is already averaged over these processes.

    Raises
    ------
    ConfigurationError
        A value is none of these.

    Examples
    --------
    >>> Provenance(clipped="no", loss="mean").columns()["loss"]
    'mean'
    """

    taken: str = TAKEN[0]
    clipped: str = UNKNOWN
    scaled: str = UNKNOWN
    accumulated: int | None = None
    loss: str = UNKNOWN
    world_size: int | None = 1
    reduced: str = "no"

    def __post_init__(self) -> None:
        known = {"taken": TAKEN, "clipped": CLIPPED, "scaled": SCALED, "loss": LOSS, "reduced": REDUCED}
        for name, values in known.items():
            value = getattr(self, name)
            if value not in values:
                raise ConfigurationError(name, value, f"one of {', '.join(map(repr, values))}")

    def columns(self) -> dict[str, Any]:
        """Return the columns ``PROVENANCE`` of a row."""
        return {name: getattr(self, name) for name in PROVENANCE}


PROVENANCE = tuple(field.name for field in dataclasses.fields(Provenance))

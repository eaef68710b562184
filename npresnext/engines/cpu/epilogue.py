"""What may follow a convolution while its results still lie in the cache: ``relu(y + bias + shortcut)``."""

from __future__ import annotations

from dataclasses import dataclass

from ..._support.typing import NumPyArray as Array
from .elementwise import rectify


@dataclass(frozen=True)
class Ending:
    """Of the three, those that are wanted."""

    bias: Array | None = None  # (G, C_out/G, 1, 1)
    shortcut: Array | None = None  # (N, G, C_out/G, oh, ow)
    rectify: bool = False

    def of(self, outputs: slice) -> Ending:
        """Return the ending of some channels of every group."""
        bias = None if self.bias is None else self.bias[:, outputs]
        shortcut = None if self.shortcut is None else self.shortcut[:, :, outputs]
        return Ending(bias, shortcut, self.rectify)

    def finish(self, part: Array, place: tuple[slice, ...]) -> None:
        """Do it to a `part` of the results, which stands at ``place`` among the images, groups, channels, pixels."""
        if self.bias is not None:
            part += self.bias[place[1]]
        if self.shortcut is not None:
            part += self.shortcut[place]
        if self.rectify:
            rectify(part, part)

"""Epilogue: what follows a convolution while its results still lie in the cache, ``relu(y + bias + shortcut)``."""

from __future__ import annotations

from dataclasses import dataclass

from ..._support.typing import NumPyArray as Array
from .elementwise import rectify


@dataclass(frozen=True)
class Epilogue:
    """The steps that follow: each is left out if it is None or False."""

    bias: Array | None = None  # (G, C_out/G, 1, 1)
    shortcut: Array | None = None  # (N, G, C_out/G, oh, ow)
    rectify: bool = False

    def for_outputs(self, outputs: slice) -> Epilogue:
        """Return the epilogue of some output channels of every group."""
        bias = None if self.bias is None else self.bias[:, outputs]
        shortcut = None if self.shortcut is None else self.shortcut[:, :, outputs]
        return Epilogue(bias, shortcut, self.rectify)

    def apply(self, result: Array, place: tuple[slice, ...]) -> None:
        """Change a part of the results in place; `place` says which images, groups, channels and pixels it is."""
        if self.bias is not None:
            result += self.bias[place[1]]  # (g, out, 1, 1)
        if self.shortcut is not None:
            result += self.shortcut[place]
        if self.rectify:
            rectify(result, result)


NO_EPILOGUE = Epilogue()

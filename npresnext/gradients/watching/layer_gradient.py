"""A watched convolution of PyTorch, and what is known of its gradient in the current step."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from ..norms import Row, row_of_norms
from .convolutions import Convolution
from .group_sums import group_sums


class LayerGradient:
    """A watched convolution and what is known of its gradient in this step.

    `norms` are those of the gradient as it is now, on the device. `accumulated` is how many backward passes are added
    in it, None if unknown: a new tensor in ``weight.grad`` is known to begin at zero, one that was there before this
    step may hold an earlier gradient or zeros.
    """

    def __init__(self, convolution: Convolution) -> None:
        self.name, self.weight, self.groups = convolution.name, convolution.weight, convolution.groups
        self.numel = self.weight.numel() // self.groups
        self.norms: Any = None
        self.accumulated: int | None = None
        self.backwards = 0  # in this step
        grad = self.weight.grad
        self._last_grad: Any = None if grad is None else weakref.ref(grad)  # weak: the watch keeps no gradient alive

    def count(self, grad: Any) -> None:
        """Count a backward pass that has just added to `grad`."""
        is_new = self._last_grad is None or self._last_grad() is not grad
        if grad.requires_grad:  # of create_graph=True, which makes a new tensor of each sum
            self.accumulated = None
        elif is_new:
            self.accumulated = 1
        elif not self.backwards:
            self.accumulated = None
        elif self.accumulated is not None:
            self.accumulated += 1
        self.backwards += 1
        self._last_grad = weakref.ref(grad)

    def compute(self) -> None:
        """Compute the norms of the gradient as it is now, and of the weight."""
        import torch

        with torch.no_grad():
            self.norms = group_sums(self.weight.grad.detach(), self.weight.detach(), self.groups)

    def rows(self, numbers: Sequence[float], factor: float) -> list[Row]:
        """Return a row for each group, from the numbers of :func:`group_sums` (3·G,) of a loss scaled by `factor`."""
        groups, numel = self.groups, self.numel
        l2, largest, weight_l2 = (numbers[first : first + groups] for first in (0, groups, 2 * groups))
        return [
            row_of_norms(group, groups, numel, l2[group] / factor, largest[group] / factor, weight_l2[group])
            for group in range(groups)
        ]

    def end_step(self) -> None:
        """Begin the next step without norms."""
        self.norms, self.backwards = None, 0

    def is_changed_by_hooks(self) -> bool:
        """Return whether the user's own hooks may change the gradient before it reaches ``weight.grad``."""
        return bool(getattr(self.weight, "_backward_hooks", None))

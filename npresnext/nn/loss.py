"""The loss: softmax and cross-entropy in one."""

from __future__ import annotations

from typing import Any

from .._support.arguments import as_int
from .._support.typing import Array
from ..backend import floating_module
from ..functional import cross_entropy, cross_entropy_backward
from ..functional.loss import check_options
from .module import Module


class CrossEntropyLoss(Module):
    """Softmax and cross-entropy of logits (N, C) against class indices (N,).

    Parameters
    ----------
    weight : array (C,), optional
        Weight of each class.
    ignore_index : int
        A target that counts for nothing.
    reduction : "mean", "sum" or "none"
    label_smoothing : float
        What share of the target is spread over all classes, in [0, 1].

    Raises
    ------
    ValueError
        `reduction` is none of the three, or `label_smoothing` is outside of [0, 1]. Errors in what it is called with
        are those of :func:`npresnext.functional.cross_entropy`, whose docstring has the formula.
    TypeError
        `weight` is not an array of a real floating dtype.

    Examples
    --------
    >>> import numpy as np
    >>> criterion = CrossEntropyLoss()
    >>> loss = criterion(np.zeros((1, 4)), np.array([2]))           # −log(1/4)
    >>> round(float(loss), 4), criterion.backward()
    (1.3863, array([[ 0.25,  0.25, -0.75,  0.25]]))
    """

    buffer_names = ("weight",)

    def __init__(
        self,
        weight: Array | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:  # PyTorch has `size_average` in second place
        if weight is not None:
            floating_module(weight=weight)
        check_options(label_smoothing, reduction)
        self.weight, self.ignore_index = weight, as_int(ignore_index, "ignore_index")
        self.reduction, self.label_smoothing = reduction, label_smoothing

    def forward(self, logits: Array, target: Array) -> Array:
        """Return the loss, an array of the logits' library: on a GPU nothing waits for it."""
        loss = cross_entropy(logits, target, **self._options)
        self.save_for_backward(logits=logits, target=target)
        return loss

    def backward(self, grad_output: Array | None = None) -> Array:
        """Return the gradient of the logits; `grad_output` None stands for 1."""
        logits, target = self.pop_saved()
        return cross_entropy_backward(grad_output, logits, target, **self._options)

    @property
    def _options(self) -> dict[str, Any]:
        names = ("weight", "ignore_index", "reduction", "label_smoothing")
        return {name: getattr(self, name) for name in names}

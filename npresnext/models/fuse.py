"""Folding batch norm into the convolution before it, for inference."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from .._support.typing import Array
from ..backend import array_module, widen
from ..errors import ModuleError
from ..nn import BatchNorm2d, Conv2d, Module, Parameter, Sequential


class Identity(Module):
    """What is left of a batch norm that has been folded away: it passes everything on.

    >>> Identity()(3.0)
    3.0
    """

    def forward(self, x: Array) -> Array:
        """Return x."""
        return x

    def backward(self, grad_output: Array) -> Array:
        """Return grad_output."""
        return grad_output

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the output, for summaries and exports."""
        return input_shape


def fuse(model: Module) -> Module:
    """Return a new network for inference with every batch norm folded into the convolution before it.

    In evaluation batch norm is ``scale·x + shift`` for each channel, with ``scale = γ/√(running_var + eps)`` and
    ``shift = β − scale·running_mean``; scaling the filters and shifting their bias does the same at no cost. The
    model itself is untouched, and shares no array with the new one.

    Parameters
    ----------
    model : Module
        Made of blocks that call ``bn1`` on the result of ``conv1``, and so on, and of Sequentials; as
        every :class:`~npresnext.models.ResNet` of BasicBlock and Bottleneck is.

    Returns
    -------
    Module
        In evaluation mode.

    Raises
    ------
    ModuleError
        A batch norm follows no convolution, or has no running statistics to fold.

    >>> import numpy as np
    >>> from npresnext.models import resnext_small
    >>> model = resnext_small(rng=0).eval()
    >>> x = np.ones((1, 1, 8, 8), dtype="float32")
    >>> bool(np.allclose(model.fuse()(x), model(x), atol=1e-5))
    True
    """
    kept = {id(module._kept): None for module in model.modules() if module._kept is not None}
    fused: Module = copy.deepcopy(model, kept)  # without what earlier forward passes keep
    for path, module in list(fused.named_modules()):
        for conv_name, norm_name in list(_pairs(module)):
            conv, norm = getattr(module, conv_name, None), getattr(module, norm_name)
            where = f"{path}.{norm_name}".lstrip(".")
            if not isinstance(conv, Conv2d) or conv.out_channels != norm.num_features:
                raise ModuleError(f"{where} follows no convolution of {norm.num_features} channels to be folded into")
            if norm.running_mean is None:
                raise ModuleError(f"{where} has no running statistics: it cannot be folded")
            _fold(conv, norm)
            setattr(module, norm_name, Identity())
    return fused.eval()


def _pairs(module: Module) -> Iterator[tuple[str, str]]:
    """Yield the names of each batch norm right below `module`, after that of the convolution it must follow."""
    before = ""
    for name, child in module.named_children():
        if isinstance(child, BatchNorm2d):
            yield (before if isinstance(module, Sequential) else name.replace("bn", "conv")), name
        before = name


def _fold(conv: Conv2d, norm: BatchNorm2d) -> None:
    """Scale the filters of `conv` and set its bias so that `norm` has nothing left to do."""
    weight, dtype = conv.weight.data, conv.weight.data.dtype
    xp = array_module(weight=weight)
    scale = 1 / xp.sqrt(widen(xp, norm.running_var) + norm.eps)  # (C_out,)
    if norm.weight is not None:
        scale = scale * widen(xp, norm.weight.data)
    shift = -widen(xp, norm.running_mean)  # (C_out,)
    if conv.bias is not None:
        shift = shift + widen(xp, conv.bias.data)
    shift = shift * scale
    if norm.bias is not None:
        shift = shift + widen(xp, norm.bias.data)
    weight = widen(xp, weight) * xp.reshape(scale, (-1, 1, 1, 1))  # (C_out, C_in/G, kh, kw)
    conv.weight = Parameter(xp.astype(weight, dtype, copy=False))
    conv.bias = Parameter(xp.astype(shift, dtype, copy=False))

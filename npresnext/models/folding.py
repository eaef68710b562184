"""Folding batch norm into the convolution before it, for inference."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._support.arguments import as_sizes
from .._support.typing import Array
from ..backend import array_module, to_numpy, widen
from ..errors import ModuleError
from ..nn import BatchNorm2d, BatchNormReLU2d, Conv2d, ConvReLU2d, Identity, Module, Parameter, no_grad, trace
from ..nn.init import Undrawn
from ..nn.module import check_module
from ..nn.tracing import Trace, example_input_shape

# from 1 to the next number of each dtype; results may differ by its square root, relative to the largest value
_EPSILON = {"float16": 2**-10, "bfloat16": 2**-7, "float32": 2**-23, "float64": 2**-52}


def fuse(model: Module, input_size: Sequence[int] | None = None) -> Module:
    """Return a new network for inference with every batch norm folded into the convolution before it.

    In evaluation batch norm is ``scale·x + shift`` for each channel, with ``scale = γ/√(running_var + eps)`` and
    ``shift = β − scale·running_mean``; scaling the filters and shifting their bias does the same at no cost. The
    model itself is untouched, and shares no array with the new one.

    What follows what is read off the network's own forward pass (:func:`npresnext.nn.trace`). A norm is folded if its
    input is the output of a convolution that is called once and whose output goes nowhere else. Where one cannot be
    folded, the whole call is refused. At the end both networks compute the same random image, which costs two forward
    passes, and the results are compared.

    In the new network an :class:`~npresnext.nn.Identity` stands for each folded :class:`~npresnext.nn.BatchNorm2d`. For
    each folded :class:`~npresnext.nn.BatchNormReLU2d` an Identity takes the place of the convolution, and a
    :class:`~npresnext.nn.ConvReLU2d` that of the norm, where the shortcut arrives.

    Parameters
    ----------
    model : Module
    input_size : sequence of int, optional
        Shape of an input, with N. None stands for one image of 64x64 pixels for the first layer with a fixed number of
        channels.

    Returns
    -------
    Module
        In evaluation mode.

    Raises
    ------
    ModuleError
        A batch norm follows no convolution that it can be folded into, or has no running statistics; or the folded
        network does not compute what the network computes.
    TypeError
        `model` is not a Module, or does between its layers what cannot be followed.
    ValueError
        The input does not fit the network.

    Examples
    --------
    >>> import numpy as np
    >>> from npresnext.models import resnext_small
    >>> model = resnext_small(rng=0).eval()
    >>> x = np.ones((1, 1, 8, 8), dtype="float32")
    >>> bool(np.allclose(fuse(model)(x), model(x), atol=1e-5))
    True
    """
    check_module(model, "model")
    fused: Module = copy.deepcopy(model).eval()
    norms = {path: module for path, module in fused.named_modules() if isinstance(module, BatchNorm2d)}
    if not norms:
        return fused
    shape = example_input_shape(fused, "input_size") if input_size is None else as_sizes(input_size, "input_size")
    followed = trace(fused, shape)
    modules = dict(fused.named_modules())
    pairs = [(_convolution_before(path, norm, modules, followed), path) for path, norm in norms.items()]
    x = _random_input(shape, followed.input.dtype, next(fused.parameters()).data)
    with no_grad():
        expected = fused(x)
        for conv_path, norm_path in pairs:
            _fold(modules, conv_path, norm_path)
        _check_same(fused(x), expected)
    return fused


def _convolution_before(path: str, norm: BatchNorm2d, modules: dict[str, Module], followed: Trace) -> str:
    """Return the path of the convolution that a norm can be folded into, or raise naming what stands in the way."""
    symbols = followed.output.history()
    calls = Counter(call.path for call in followed.calls)
    uses = Counter(id(source) for symbol in symbols for source in symbol.inputs)
    of_norm = [symbol for symbol in symbols if symbol.detail is norm]
    name = path or type(norm).__name__
    if type(norm) not in (BatchNorm2d, BatchNormReLU2d):
        raise ModuleError(f"{name} is a {type(norm).__name__}: only BatchNorm2d and BatchNormReLU2d can be folded")
    if norm.running_mean is None:
        raise ModuleError(f"{name} has no running statistics: it cannot be folded")
    if len(of_norm) != 1 or calls[path] != 1:
        raise ModuleError(f"{name} is called {calls[path]} times in a forward pass: expected once, to be folded")
    source = of_norm[0].inputs[0]
    if type(source.detail) is not Conv2d or source.path not in modules:
        raise ModuleError(
            f"{name} follows no convolution of {norm.num_features} channels to be folded into: "
            f"its input comes from {source.path or source.op} ({type(source.detail).__name__})"
        )
    if calls[source.path] != 1:
        raise ModuleError(f"{name} cannot be folded into {source.path}, which is called {calls[source.path]} times")
    if uses[id(source)] != 1:
        raise ModuleError(f"{name} cannot be folded into {source.path}, whose output goes elsewhere too")
    return source.path


def _fold(modules: dict[str, Module], conv_path: str, norm_path: str) -> None:
    """Fold one norm: put the layers that compute the same in the places of the convolution and the norm."""
    conv, norm = modules[conv_path], modules[norm_path]
    assert isinstance(conv, Conv2d) and isinstance(norm, BatchNorm2d)
    weight, bias = _folded_weights(conv, norm)
    if isinstance(norm, BatchNormReLU2d):
        folded: Conv2d = ConvReLU2d(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            conv.stride,
            conv.padding,
            conv.dilation,
            conv.groups,
            rng=Undrawn(),
        ).eval()
        _replace(modules, conv_path, Identity())
        _replace(modules, norm_path, folded)
    else:
        folded = conv
        _replace(modules, norm_path, Identity())
    folded.weight, folded.bias = Parameter(weight), Parameter(bias)


def _replace(modules: dict[str, Module], path: str, module: Module) -> None:
    """Put another module in a place of the tree."""
    parent, _, name = path.rpartition(".")
    setattr(modules[parent], name, module.eval())


def _folded_weights(conv: Conv2d, norm: BatchNorm2d) -> tuple[Array, Array]:
    """Return the filters and the bias of a convolution that computes ``norm(conv(x))``."""
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
    return xp.astype(weight, dtype, copy=False), xp.astype(shift, dtype, copy=False)


def _random_input(shape: Sequence[int], dtype: Any, like: Array) -> Array:
    """Return normally distributed numbers, the same in every call, in the array library of `like`."""
    xp = array_module(like=like)
    values = np.random.default_rng(0).standard_normal(shape, "float32")
    return xp.astype(xp.asarray(values), dtype)


def _check_same(got: Array, expected: Array) -> None:
    """Raise unless two results agree up to rounding."""
    tolerance = math.sqrt(_EPSILON[str(expected.dtype).rpartition(".")[2]])
    first, second = (to_numpy(array).astype("float64") for array in (got, expected))
    finite = np.isfinite(second)
    largest = np.abs(second[finite]).max(initial=0)
    error = np.abs(first - second)[finite].max(initial=0)
    if not error <= tolerance * largest:
        raise ModuleError(
            f"the folded network differs from the network on a random input: by {error:.3g}, where the largest value "
            f"is {largest:.3g} and rounding explains {tolerance * largest:.3g}"
        )

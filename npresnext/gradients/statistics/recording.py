"""A pass through a network that hands out what its convolutions read, what they make, and their output gradients."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping

from ..._support.typing import Array
from ...errors import BackwardError
from ...nn import BatchNorm2d, BatchNormReLU2d, Conv2d, Identity, Module, ReLU
from ...nn.module import calls_through

FOLLOWED = (BatchNorm2d, ReLU, Identity)  # each value of their output depends on one value of their input
RECTIFIERS = (ReLU, BatchNormReLU2d)


@dataclasses.dataclass
class Recorded:
    """What one convolution read and made.

    Attributes
    ----------
    input : array (N, C_in, H, W)
    features : array (N, C_out, oh, ow)
        Its output, after the batch norm and the rectifier that follow it, where they do.
    rectified : bool
        Whether a rectifier does.
    """

    input: Array
    features: Array
    rectified: bool = False


@contextlib.contextmanager
def borrowed(model: Module) -> Iterator[None]:
    """Let the network evaluate, without gradients at first; after the ``with`` block it has the old ones and its modes.

    >>> from npresnext import nn
    >>> model = nn.Conv2d(1, 2, 1, rng=0)
    >>> with borrowed(model):
    ...     print(model.training)
    False
    >>> model.training
    True
    """
    modes = [(module, module.training) for module in model.modules()]
    grads = [(parameter, parameter.grad) for parameter in model.parameters()]
    model.eval()
    model.zero_grad()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, grad in grads:
            parameter.grad = grad


def record(model: Module, convs: Mapping[str, Conv2d], x: Array) -> tuple[Array, dict[str, Recorded]]:
    """Run a forward pass, and return its output and what the convolutions `convs` read and made.

    Layers are followed from a convolution on as long as they take its channels value by value and nothing else: an
    addition ends that.

    Parameters
    ----------
    model : Module
    convs : mapping of str to Conv2d
        Layers of the model by name.
    x : array
        The input of the model.

    Returns
    -------
    (array, dict of str to Recorded)

    Raises
    ------
    BackwardError
        A convolution did not take part.

    Examples
    --------
    >>> import numpy as np
    >>> from npresnext import nn
    >>> model = nn.Sequential(nn.Conv2d(1, 2, 1, rng=0, dtype="float64"), nn.BatchNorm2d(2, dtype="float64"), nn.ReLU())
    >>> y, found = record(model, {"0": model[0]}, np.ones((1, 1, 2, 2)))
    >>> found["0"].features is y, found["0"].rectified
    (True, True)
    """
    names = {id(conv): name for name, conv in convs.items()}
    found: dict[str, Recorded] = {}
    made_by: dict[int, str] = {}  # id of the features of a layer -> its name; `found` keeps the array alive

    def visit(module: Module, *inputs: Array) -> Array:
        output = module.forward(*inputs)
        if id(module) in names:
            name = names[id(module)]
            found[name] = Recorded(inputs[0], output)
            made_by[id(output)] = name
        elif isinstance(module, FOLLOWED) and len(inputs) == 1 and id(inputs[0]) in made_by:
            name = made_by.pop(id(inputs[0]))
            rectified = found[name].rectified or isinstance(module, RECTIFIERS)
            found[name] = Recorded(found[name].input, output, rectified)
            made_by[id(output)] = name
        return output

    with calls_through(visit):
        output = model(x)
    for name in convs:
        if name not in found:
            raise BackwardError(f"{name} was not called in the forward pass")
    return output, found


@contextlib.contextmanager
def output_gradients(convs: Mapping[str, Conv2d], receive: Callable[[str, Array], None]) -> Iterator[None]:
    """Call ``receive(name, grad_output)`` at each backward pass of one of the convolutions inside the ``with`` block.

    Parameters
    ----------
    convs : mapping of str to Conv2d
    receive : function
        It must not change the gradient, nor keep it: the backward pass may reuse its memory.

    Examples
    --------
    >>> import numpy as np
    >>> from npresnext import nn
    >>> conv = nn.Conv2d(1, 1, 1, rng=0, dtype="float64")
    >>> y = conv(np.ones((1, 1, 1, 1)))
    >>> with output_gradients({"conv": conv}, lambda name, grad_output: print(name, grad_output.ravel())):
    ...     dx = conv.backward(np.array([[[[3.0]]]]))
    conv [3.]
    """

    def listened(name: str, conv: Conv2d) -> Callable[[Array], Array]:
        def backward(grad_output: Array) -> Array:
            receive(name, grad_output)
            return type(conv).backward(conv, grad_output)

        return backward

    for name, conv in convs.items():
        vars(conv)["backward"] = listened(name, conv)  # in front of the method, for this instance
    try:
        yield
    finally:
        for conv in convs.values():
            del vars(conv)["backward"]

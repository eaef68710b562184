"""PyTorch's convolution, or a function called as ``torch.nn.functional.conv2d`` is; autograd goes backward."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from ..._support.typing import NumPyArray as Array
from ...errors import InvalidValueError
from ..cases import Pair
from ..layouts import LAYOUTS
from ..reproducible_call import ReproducibleCall
from .target import Target
from .windows import Padding, last_axis_first, symmetric_padding

CONV2D = "torch.nn.functional.conv2d"
SUPPORTS = {
    "layouts": [layout for layout in LAYOUTS if layout != "reversed"],  # tensors have no negative strides
    "wide_padding": False,  # windows of padding alone may crash the backward of PyTorch 2.13 (docs/verify.md)
}


def make_target(
    conv: Callable[..., Any] = torch.nn.functional.conv2d,
    name: str = CONV2D,
    imports: tuple[str, ...] = (),
    device: str = "cpu",
) -> Target:
    """Return a function of tensors as a target; `name` and `imports` are how a reproduction calls it."""
    check_device(device)
    modules = ("torch", *imports)
    return Target(
        ReproducibleCall(
            partial(forward, conv=conv, device=device), modules, partial(forward_lines, conv=name, device=device)
        ),
        ReproducibleCall(
            partial(backward, conv=conv, device=device), modules, partial(backward_lines, conv=name, device=device)
        ),
        SUPPORTS,
        describe=lambda: describe(device),
    )


def describe(device: str = "cpu") -> str:
    """Return the version, the device, the number of threads and the libraries that may compute."""
    if device != "cpu":
        return f"torch {torch.__version__}, {torch.cuda.get_device_name(device) if 'cuda' in device else device}"
    libraries = {"oneDNN": torch.backends.mkldnn.is_available(), "NNPACK": torch.backends.nnpack.is_available()}
    used = [name for name, available in libraries.items() if available]
    level = torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__}, CPU ({level}), threads: {torch.get_num_threads()}, {' and '.join(used)}"


def check_device(device: str) -> None:
    """Raise now what every call would raise, if no tensor can be put on the device."""
    if device == "cpu":
        return
    try:
        torch.zeros(1, device=device)
    except Exception as error:  # whatever PyTorch raises
        raise InvalidValueError(f"device is {device!r}: {error}") from error


def convolve(operands: list[Any], stride: Pair, padding: Padding, dilation: Pair, groups: int, conv: Any) -> Any:
    """Call `conv` on tensors x, weight, bias; x is padded first where conv2d has no word for the padding."""
    x, weight, bias = operands
    margin = symmetric_padding(padding)
    if margin is None:
        x, margin = torch.nn.functional.pad(x, last_axis_first(padding)), (0, 0)
    return conv(x, weight, bias, stride, margin, dilation, groups)


def forward(
    x: Array,
    weight: Array,
    bias: Array | None,
    *,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    conv: Callable[..., Any] = torch.nn.functional.conv2d,
    device: str = "cpu",
) -> Array:
    """Return y."""
    operands = as_tensors([x, weight, bias], device)
    return as_array(convolve(operands, stride, padding, dilation, groups, conv))


def backward(
    grad_output: Array,
    x: Array,
    weight: Array,
    *,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    conv: Callable[..., Any] = torch.nn.functional.conv2d,
    device: str = "cpu",
) -> list[Array]:
    """Return dx, dw, db."""
    bias = np.zeros(len(weight), x.dtype)
    upstream, *operands = as_tensors([grad_output, x, weight, bias], device)
    for operand in operands:
        operand.requires_grad_()
    y = convolve(operands, stride, padding, dilation, groups, conv)
    return [as_array(gradient) for gradient in torch.autograd.grad(y, operands, upstream)]


def as_tensors(arrays: list[Array | None], device: str) -> list[Any]:
    """Return tensors that share the memory of the arrays, if the device is the CPU."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return [None if array is None else as_tensor(array, device) for array in arrays]


def as_tensor(array: Array, device: str) -> Any:
    """Return a tensor on a device; PyTorch knows NumPy's bfloat16 by its bits only."""
    if array.dtype.name == "bfloat16":
        tensor = torch.from_numpy(array.view("u2")).view(torch.bfloat16)
    else:
        tensor = torch.from_numpy(array)
    return tensor if device == "cpu" else tensor.to(device)


def as_array(tensor: Any) -> Array:
    """Return a tensor as an array."""
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.uint16).numpy(force=True).view("bfloat16")
    return tensor.numpy(force=True)


def forward_lines(
    operands: dict[str, Array], *, stride: Pair, padding: Padding, dilation: Pair, groups: int, conv: str, device: str
) -> list[str]:
    """Write :func:`forward` down."""
    dtype = operands["x"].dtype.name
    call = convolve_expression(stride, padding, dilation, groups, conv)
    return [
        f"x, weight, bias = (None if a is None else {tensor_expression(dtype, device)} for a in (x, weight, bias))",
        f"y = {call}{array_expression(dtype)}",
    ]


def backward_lines(
    operands: dict[str, Array], *, stride: Pair, padding: Padding, dilation: Pair, groups: int, conv: str, device: str
) -> list[str]:
    """Write :func:`backward` down."""
    dtype = operands["x"].dtype.name
    tensor = f"{tensor_expression(dtype, device)}.requires_grad_()"
    zeros = f"np.zeros({len(operands['weight'])}, x.dtype)"
    return [
        f"grad_output, x, weight, bias = ({tensor} for a in (grad_output, x, weight, {zeros}))",
        f"y = {convolve_expression(stride, padding, dilation, groups, conv)}",
        f"dx, dw, db = (g{array_expression(dtype)} for g in torch.autograd.grad(y, (x, weight, bias), grad_output))",
    ]


def convolve_expression(stride: Pair, padding: Padding, dilation: Pair, groups: int, conv: str) -> str:
    """Write :func:`convolve` down."""
    image, margin = "x", symmetric_padding(padding)
    if margin is None:
        image, margin = f"torch.nn.functional.pad(x, {last_axis_first(padding)})", (0, 0)
    return f"{conv}({image}, weight, bias, {stride}, {margin}, {dilation}, {groups})"


def tensor_expression(dtype: str, device: str) -> str:
    """Write :func:`as_tensor` down, of an array a."""
    bits = "torch.from_numpy(a.view('u2')).view(torch.bfloat16)"
    tensor = bits if dtype == "bfloat16" else "torch.from_numpy(a)"
    return tensor if device == "cpu" else f"{tensor}.to({device!r})"


def array_expression(dtype: str) -> str:
    """Write :func:`as_array` down, to be appended to a tensor."""
    return ".view(torch.uint16).numpy(force=True).view('bfloat16')" if dtype == "bfloat16" else ".numpy(force=True)"

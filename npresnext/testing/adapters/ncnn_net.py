"""ncnn: a network of one layer, image by image, forward only; Winograd and 16-bit storage are off."""

from __future__ import annotations

from typing import Any

import ncnn
import numpy as np

from ..._support.typing import NumPyArray as Array
from ..cases import Pair
from .target import Target
from .windows import Padding
from .written_call import written_call

SUPPORTS = {"negative_padding": False, "empty_batch": False, "dtypes": ["float32"]}  # it has no batch axis
# The numbers by which ncnn names the parameters of a layer.
PARAMETERS = {
    "C_out": 0,
    "kw": 1,
    "kh": 11,
    "dilation of columns": 2,
    "dilation of rows": 12,
    "stride of columns": 3,
    "stride of rows": 13,
    "left": 4,
    "top": 14,
    "right": 15,
    "bottom": 16,
    "has bias": 5,
    "weights": 6,
    "groups": 7,
}


def make_target() -> Target:
    """Return ncnn as a target."""
    return Target(
        written_call("forward", forward, ("ncnn",), translate),
        None,
        SUPPORTS,
        describe=lambda: f"ncnn {ncnn.__version__}, CPU, 1 thread, without Winograd, constant weights",
    )


def translate(
    operands: dict[str, Array], *, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> dict[str, str]:
    """Return the network in ncnn's text format, as the argument ``text``."""
    weight = operands["weight"]
    (top, bottom), (left, right) = padding
    values = {
        "C_out": len(weight),
        "kw": weight.shape[3],
        "kh": weight.shape[2],
        "dilation of columns": dilation[1],
        "dilation of rows": dilation[0],
        "stride of columns": stride[1],
        "stride of rows": stride[0],
        "left": left,
        "top": top,
        "right": right,
        "bottom": bottom,
        "has bias": int(operands["bias"] is not None),
        "weights": weight.size,
    }
    if groups > 1:
        values["groups"] = groups
    layer = "Convolution" if groups == 1 else "ConvolutionDepthWise"
    parameters = " ".join(f"{PARAMETERS[name]}={value}" for name, value in values.items())
    return {"text": f"7767517\n2 2\nInput x 0 1 x\n{layer} c 1 1 x y {parameters}\n"}


def forward(x: Any, weight: Any, bias: Any, *, text: str) -> Any:
    """Return y."""
    net, stored = ncnn.Net(), bytes(4) + weight.tobytes() + (b"" if bias is None else bias.tobytes())
    net.opt.num_threads, net.opt.use_winograd_convolution, net.opt.use_bf16_storage = 1, False, False
    net.load_param_mem(text), net.load_model_mem(stored)
    runs = [net.create_extractor() for _ in x]
    for run, image in zip(runs, np.ascontiguousarray(x)):
        run.input("x", ncnn.Mat(image).clone())
    return np.stack([np.array(run.extract("y")[1]) for run in runs])

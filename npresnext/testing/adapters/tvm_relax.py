"""Apache TVM: ``relax.op.nn.conv2d``, built for LLVM, forward only; the bias is added to the rounded result."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import relax

from .target import Target
from .windows import by_end, with_padding
from .written_call import written_call

SUPPORTS = {"negative_padding": False, "dtypes": ["float32", "float64", "float16"]}


def make_target() -> Target:
    """Return TVM as a target."""
    return Target(
        written_call("forward", forward, ("tvm", "tvm.relax as relax"), with_padding(by_end)),
        None,
        SUPPORTS,
        arithmetic={"bias": "after rounding"},
        describe=lambda: f"tvm {tvm.__version__}, LLVM, without tuning",
    )


def forward(
    x: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int, dtype: str
) -> Any:
    """Return y."""
    builder, given = relax.BlockBuilder(), {"x": x, "weight": weight}
    inputs = [relax.Var(name, relax.TensorType(a.shape, dtype)) for name, a in given.items()]
    with builder.function("main", inputs):
        y = relax.op.nn.conv2d(*inputs, strides=stride, padding=padding, dilation=dilation, groups=groups)
        builder.emit_func_output(builder.emit(y))
    run = relax.VirtualMachine(tvm.compile(builder.get(), "llvm"), tvm.cpu())["main"]
    y = run(*(tvm.runtime.tensor(np.ascontiguousarray(a)) for a in given.values())).numpy()
    return y if bias is None else y + bias.reshape(1, -1, 1, 1)

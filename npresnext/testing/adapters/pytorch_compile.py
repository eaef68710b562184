"""PyTorch's convolution, compiled by ``torch.compile`` for dynamic shapes; autograd goes backward."""

from __future__ import annotations

import torch

from . import pytorch
from .target import Target


def make_target() -> Target:
    """Return the compiled convolution as a target."""
    torch._dynamo.config.recompile_limit = 100_000  # each new window is compiled, however many there are
    torch._dynamo.config.accumulated_recompile_limit = 100_000
    compiled = torch.compile(torch.nn.functional.conv2d, dynamic=True)
    target = pytorch.make_target(compiled, f"torch.compile({pytorch.CONV2D}, dynamic=True)")
    return target._replace(describe=lambda: f"{pytorch.describe()}, inductor")

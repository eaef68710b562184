"""Two implementations beside the kit's own, asked about one value before a framework is said to be wrong."""

import sys
from pathlib import Path

import numpy as np
import torch

from npresnext.testing.formats import SIGNIFICAND_BITS
from npresnext.testing.replay import read_case

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.support import correlations

AGREE = 1e-12  # relative to the sum of the magnitudes of the products


def confirm(finding, dtype):
    """Return {"SciPy": its value, "PyTorch": its value} for the value of a finding; {} if it is about no value.

    For a wrong shape, these are shapes.

    Raises
    ------
    ArithmeticError
        An oracle disagrees with what the kit expected.
    """
    if finding["result"] not in ("y", "dx", "dw", "db"):
        return {}
    case = read_case(finding["line"])
    if finding["property"] == "shape":
        return shapes(case, finding["result"], dtype)
    if finding["got"] is None:
        return {}
    real = finding["verdict"] == "bounded" or float(finding["expected"]) != int(finding["expected"])
    expected, index = finding["expected"], tuple(finding["index"])
    said = {}
    for kind in (real, not real):  # a failing check on integers may be shown by a real number
        said = values(case, finding["result"], index, dtype, kind)
        if all(abs(value - expected) <= AGREE * max(1, size) for value, size in said.values()):
            return {name: value for name, (value, _) in said.items()}
    raise ArithmeticError(f"{finding['line']}: the kit expects {expected}, but {said}")


def shapes(case, result, dtype):
    """Return the shape of a result by each oracle; raise if one is not that of the definition."""
    operands = in_float64(case, dtype, real=False)
    said = {name: list(oracle(case, operands)[result].shape) for name, oracle in oracles(case).items()}
    if any(shape != list(case.shapes[result]) for shape in said.values()):
        raise ArithmeticError(f"{case}: the kit expects the shape {case.shapes[result]}, but {said}")
    return said


def values(case, result, index, dtype, real):
    """Return what each oracle computes for one value, and the sum of the magnitudes there."""
    operands = in_float64(case, dtype, real)
    positive = {name: None if array is None else abs(array) for name, array in operands.items()}
    size = float(by_scipy(case, positive)[result][index])
    return {name: (float(oracle(case, operands)[result][index]), size) for name, oracle in oracles(case).items()}


def oracles(case):
    """The oracles of a case: without input channels PyTorch is none."""
    return {"SciPy": by_scipy, "PyTorch": by_pytorch} if case.in_channels else {"SciPy": by_scipy}


def in_float64(case, dtype, real):
    """Return the operands of a case as they were drawn for a dtype, as contiguous float64 arrays."""
    drawn = case.operands(dtype, real=real, bits=SIGNIFICAND_BITS[dtype])
    return {
        name: None if array is None else np.ascontiguousarray(array.astype(np.float64)) for name, array in drawn.items()
    }


def by_scipy(case, operands):
    """All results from ``correlate2d`` and ``convolve2d`` of SciPy, one channel with one other."""
    y = correlations.forward(operands["x"], operands["weight"], operands["bias"], **case.kwargs)
    dx, dw, db = correlations.backward(operands["grad_output"], operands["x"], operands["weight"], **case.kwargs)
    return {"y": y, "dx": dx, "dw": dw, "db": db}


def by_pytorch(case, operands):
    """All results from PyTorch in float64, on an image that is padded first."""
    given = {name: None if array is None else torch.from_numpy(array) for name, array in operands.items()}
    bias = torch.zeros(case.out_channels, dtype=torch.float64) if given["bias"] is None else given["bias"]
    leaves = [leaf.requires_grad_() for leaf in (given["x"], given["weight"], bias)]
    (top, bottom), (left, right) = case.padding
    padded = torch.nn.functional.pad(leaves[0], (left, right, top, bottom))
    y = torch.nn.functional.conv2d(padded, *leaves[1:], case.stride, 0, case.dilation, case.groups)
    gradients = torch.autograd.grad(y, leaves, given["grad_output"])
    return {name: tensor.detach().numpy() for name, tensor in zip(("y", "dx", "dw", "db"), (y, *gradients))}

"""The ONNX backend's own test cases, run against npresnext: expected values that nobody here has chosen."""

import collections
import pathlib
import warnings

import numpy as np
import pytest

import npresnext as nx
from npresnext import functional as F

pytestmark = pytest.mark.oracle
onnx = pytest.importorskip("onnx")

OPERATORS = {
    "Conv", "BatchNormalization", "MaxPool", "AveragePool", "GlobalAveragePool", "Gemm", "Softmax",
    "SoftmaxCrossEntropyLoss", "Relu", "Col2Im",
}  # fmt: skip


@pytest.fixture(scope="module")
def cases():
    """Operator -> its node cases and PyTorch-converted cases: (name, attributes, inputs, expected outputs)."""
    state = np.random.get_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests

        found = collections.defaultdict(list)
        for case in load_model_tests(kind="node"):
            if len(case.model.graph.node) == 1 and case.model.graph.node[0].op_type in OPERATORS:
                inputs, outputs = case.data_sets[0]
                values = dict(zip([i.name for i in case.model.graph.input], inputs))
                _add(found, case.name, case.model, values, outputs)
    folder = pathlib.Path(onnx.__file__).parent / "backend/test/data/pytorch-converted"
    for path in sorted(folder.iterdir()):
        model = onnx.load(path / "model.onnx")
        if len(model.graph.node) == 1 and model.graph.node[0].op_type in OPERATORS:
            arrays = [
                onnx.numpy_helper.to_array(onnx.load_tensor(path / "test_data_set_0" / f"{kind}_0.pb"))
                for kind in ("input", "output")
            ]
            values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
            free = next(i.name for i in model.graph.input if i.name not in values)
            _add(found, path.name, model, {**values, free: arrays[0]}, [arrays[1]])
    np.random.set_state(state)
    return found


def _add(found, name, model, values, outputs):
    node = model.graph.node[0]
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    inputs = [np.asarray(values[i]) if i else None for i in node.input]
    found[node.op_type].append((name, attributes, inputs, outputs))


def window(attributes, size, kernel):
    """Translate stride, padding and dilation; SAME_UPPER and SAME_LOWER pad for ceil(size/stride) windows."""
    stride = tuple(attributes.get("strides", (1, 1)))
    dilation = tuple(attributes.get("dilations", (1, 1)))
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    padding = ((top, bottom), (left, right))
    same = attributes.get("auto_pad", b"NOTSET")
    if same.startswith(b"SAME"):
        reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel)]
        totals = [max(0, (-(-n // s) - 1) * s + r - n) for n, s, r in zip(size, stride, reach)]
        padding = tuple((t // 2, t - t // 2) if same.endswith(b"UPPER") else (t - t // 2, t // 2) for t in totals)
    return {"stride": stride, "padding": padding, "dilation": dilation}


def conv(attributes, inputs):
    x, weight, bias = [*inputs, None][:3]
    options = window(attributes, x.shape[2:], weight.shape[2:])
    return nx.conv2d(x, weight, bias, groups=attributes.get("group", 1), **options)


def batch_norm(attributes, inputs):
    x, weight, bias, mean, var = inputs
    y, of_mean, of_var = F.batch_norm(
        x, weight, bias, eps=attributes.get("epsilon", 1e-5),
        **({} if attributes.get("training_mode") else {"mean": mean, "var": var}),
    )  # fmt: skip
    if not attributes.get("training_mode"):
        return y
    keep = attributes.get("momentum", 0.9)  # ONNX averages the biased variance
    return y, mean * keep + of_mean * (1 - keep), var * keep + of_var * (1 - keep)


def pooled(attributes, inputs, pool, **options):
    (x,) = inputs
    kernel = tuple(attributes["kernel_shape"])
    options |= window(attributes, x.shape[2:], kernel) | {"ceil_mode": bool(attributes.get("ceil_mode", 0))}
    options["padding"] = tuple(before for before, _ in options["padding"])
    if pool is F.avg_pool2d:
        options.pop("dilation")
    return pool(x, kernel, **options)


def gemm(attributes, inputs):
    a, b, c = [*inputs, None][:3]
    a, b = (m.T if attributes.get(f"trans{n}") else m for m, n in ((a, "A"), (b, "B")))
    y = F.linear(a * np.float32(attributes.get("alpha", 1)), np.ascontiguousarray(b.T))
    return y if c is None else F.add(y, np.broadcast_to(c * np.float32(attributes.get("beta", 1)), y.shape))


def softmax(attributes, inputs):
    """The gradient of the summed cross-entropy is softmax - onehot."""
    x = np.moveaxis(inputs[0], attributes.get("axis", -1), -1)
    rows = x.reshape(-1, x.shape[-1])
    target = np.zeros(len(rows), int)
    y = F.cross_entropy_backward(None, rows, target, reduction="sum")
    y[:, 0] += 1
    return np.moveaxis(y.reshape(x.shape), -1, attributes.get("axis", -1))


def cross_entropy(attributes, inputs):
    logits, target, weight = [*inputs, None][:3]
    target = target.reshape(-1)
    rows = np.moveaxis(logits, 1, -1).reshape(len(target), -1)
    reduction = attributes.get("reduction", b"mean").decode()
    loss = F.cross_entropy(
        rows, target, weight=weight, ignore_index=attributes.get("ignore_index", -100), reduction=reduction
    )
    return loss.reshape(inputs[1].shape) if reduction == "none" else loss


def col2im(attributes, inputs):
    columns, size, kernel = inputs
    kernel = tuple(map(int, kernel))
    options = window(attributes, size, kernel)
    shape = (len(columns), columns.shape[1] // (kernel[0] * kernel[1]), *map(int, size))
    return nx.col2im(columns, shape, kernel, **options)


def is_flat(case):
    """Whether all windows are two-dimensional and the values floating."""
    _, attributes, inputs, outputs = case
    return inputs[0].dtype.kind == "f" and len(attributes.get("kernel_shape", inputs[0].shape[2:])) == 2


def is_symmetric(case):
    """Whether the padding is one that PyTorch's pooling, and ours, has a word for."""
    _, attributes, (x, *_), _ = case
    kernel = attributes["kernel_shape"]
    sides = window(attributes, x.shape[2:], kernel)["padding"]
    return all(before == after <= k // 2 for (before, after), k in zip(sides, kernel))


RUN = {
    "Conv": (conv, lambda case: is_flat(case) and case[2][0].ndim == 4, 15),
    "BatchNormalization": (batch_norm, lambda case: True, 4),
    "MaxPool": (
        lambda a, i: pooled(a, i, F.max_pool2d),
        lambda case: is_flat(case) and len(case[3]) == 1 and is_symmetric(case),
        7,
    ),
    "AveragePool": (
        lambda a, i: pooled(a, i, F.avg_pool2d, count_include_pad=bool(a.get("count_include_pad", 0))),
        lambda case: is_flat(case) and set(case[1].get("dilations", [1])) == {1} and is_symmetric(case),
        7,
    ),
    "GlobalAveragePool": (lambda a, i: F.global_avg_pool2d(i[0]), is_flat, 2),
    "Gemm": (gemm, lambda case: True, 11),
    "Softmax": (softmax, lambda case: True, 7),
    "SoftmaxCrossEntropyLoss": (cross_entropy, lambda case: len(case[3]) == 1, 17),
    "Relu": (lambda a, i: F.relu(i[0]), lambda case: True, 2),
    "Col2Im": (col2im, lambda case: len(case[2][1]) == 2, 4),
}


@pytest.mark.parametrize("operator", sorted(OPERATORS))
def test_onnx_cases_hold(cases, operator):
    run, applies, least = RUN[operator]
    compared = [case for case in cases[operator] if applies(case)]
    assert len(compared) >= least, [case[0] for case in cases[operator]]
    for name, attributes, inputs, outputs in compared:
        results = run(attributes, inputs)
        for got, expected in zip(results if isinstance(results, tuple) else (results,), outputs, strict=True):
            assert got.shape == expected.shape, name
            np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-6, err_msg=name)

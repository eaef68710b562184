"""The ONNX backend's own test cases, run against npresnext: expected values that nobody here has chosen.

Every node case and every PyTorch-converted case of ten operators is run, but for what `LEFT_OUT` lists. Where ONNX
asks for more than a function of npresnext does in one call (one or three dimensions, asymmetric padding of a
pooling), the adapters below put several calls together.
"""

import collections
import importlib
import pathlib
import pkgutil
import warnings

import numpy as np
import pytest

import npresnext as nx
from npresnext import functional as F

pytestmark = pytest.mark.oracle
onnx = pytest.importorskip("onnx")

# what the PyTorch-converted models have beside the operator in question
AROUND = {
    "Neg": lambda attributes, x: -x,
    "Unsqueeze": lambda attributes, x: np.expand_dims(x, tuple(attributes["axes"])),
    "Squeeze": lambda attributes, x: np.squeeze(x, tuple(attributes["axes"])),
}

# operator -> part of a case's name -> what npresnext raises there: things that it does not offer
LEFT_OUT = {
    "AveragePool": {"dilations": "unexpected keyword argument 'dilation'"},  # PyTorch's has no dilation either
    "MaxPool": {"uint8": "x has dtype uint8"},  # floating dtypes only
}


def windows(attributes, size, kernel):
    """Return stride, padding and dilation by axis; SAME_UPPER and SAME_LOWER pad for ceil(size/stride) windows."""
    axes = len(size)
    stride, dilation = (tuple(attributes.get(name, [1] * axes)) for name in ("strides", "dilations"))
    pads = attributes.get("pads", [0] * 2 * axes)
    padding = tuple(zip(pads[:axes], pads[axes:]))
    same = attributes.get("auto_pad", b"NOTSET")
    if same.startswith(b"SAME"):
        reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel)]
        totals = [max(0, (-(-n // s) - 1) * s + r - n) for n, s, r in zip(size, stride, reach)]
        padding = tuple((t // 2, t - t // 2) if same.endswith(b"UPPER") else (t - t // 2, t // 2) for t in totals)
    return stride, padding, dilation


def conv(attributes, inputs, _):
    """In one dimension an image of one row; in three, for each output slice, the input slices under it as channels."""
    x, weight, bias = [*inputs, None][:3]
    stride, padding, dilation = windows(attributes, x.shape[2:], weight.shape[2:])
    if x.ndim == 3:
        x, weight = x[:, :, None], weight[:, :, None]
        stride, padding, dilation = (1, *stride), ((0, 0), *padding), (1, *dilation)
    plane = {"stride": stride[-2:], "padding": padding[-2:], "dilation": dilation[-2:]}
    plane["groups"] = attributes.get("group", 1)
    if x.ndim == 4:
        y = nx.conv2d(x, weight, bias, **plane)
        return y if inputs[0].ndim == 4 else y[:, :, 0]
    x = np.pad(x, ((0, 0), (0, 0), padding[0], (0, 0), (0, 0)))
    reach = dilation[0] * (weight.shape[2] - 1) + 1
    starts = range(0, x.shape[2] - reach + 1, stride[0])
    slabs = [x[:, :, start : start + reach : dilation[0]] for start in starts]  # (N, C, kd, H, W)
    slabs = [slab.reshape(len(x), -1, *x.shape[3:]) for slab in slabs]  # (N, C·kd, H, W)
    weight = weight.reshape(len(weight), -1, *weight.shape[3:])  # (O, C/G·kd, kh, kw)
    return np.stack([nx.conv2d(slab, weight, bias, **plane) for slab in slabs], 2)


def batch_norm(attributes, inputs, _):
    x, weight, bias, mean, var = inputs
    training = attributes.get("training_mode")
    statistics = {} if training else {"mean": mean, "var": var}
    y, of_mean, of_var = F.batch_norm(x, weight, bias, eps=attributes.get("epsilon", 1e-5), **statistics)
    if not training:
        return y
    keep = attributes.get("momentum", 0.9)  # ONNX averages the biased variance
    return y, mean * keep + of_mean * (1 - keep), var * keep + of_var * (1 - keep)


def by_planes(pool, x, stride, padding, dilation, kernel):
    """Pool one, two or three axes: a pooling of all of them is one of the last two, then one of the first."""
    if x.ndim == 3:
        y = pool(x[:, :, None], (1, *stride), ((0, 0), *padding), (1, *dilation), (1, *kernel))
        return y[:, :, 0]
    if x.ndim == 4:
        return pool(x, stride, padding, dilation, kernel)
    N, C, D = x.shape[:3]
    y = pool(x.reshape(N, C * D, *x.shape[3:]), stride[1:], padding[1:], dilation[1:], kernel[1:])
    rows = y.reshape(N, C, D, -1)  # (N, C, D, oh·ow)
    rows = pool(rows, (stride[0], 1), (padding[0], (0, 0)), (dilation[0], 1), (kernel[0], 1))
    return rows.reshape(N, C, -1, *y.shape[2:])


def sides_of(padding, kernel):
    """Return padding as a pooling takes it, the same on both sides and at most half of the kernel, or None."""
    usual = all(before == after <= k // 2 for (before, after), k in zip(padding, kernel))
    return tuple(before for before, _ in padding) if usual else None


def max_pool(attributes, inputs, outputs):
    """Unusual padding is written into the image as −∞; the second output is where a gradient would go."""
    (x,) = inputs
    kernel, ceil = tuple(attributes["kernel_shape"]), {"ceil_mode": bool(attributes.get("ceil_mode", 0))}
    places = windows(attributes, x.shape[2:], kernel)

    def pool(x, stride, padding, dilation, kernel):
        sides = sides_of(padding, kernel)
        if sides is None:
            assert not ceil["ceil_mode"]
            x, sides = np.pad(x, ((0, 0), (0, 0), *padding), constant_values=-np.inf), 0
        return F.max_pool2d(x, kernel, stride=stride, padding=sides, dilation=dilation, **ceil)

    y = by_planes(pool, x, *places, kernel)
    if outputs == 1:
        return y
    window = {"stride": places[0], "padding": sides_of(places[1], kernel), "dilation": places[2], **ceil}
    memory = np.arange(x.size).reshape(x.shape)
    if attributes.get("storage_order"):  # column-major
        memory = np.arange(x.size).reshape(*x.shape[:2], *x.shape[:1:-1]).swapaxes(2, 3)
    indices = np.empty(y.shape, int)
    for place in np.ndindex(*y.shape):
        one_hot = np.zeros_like(y)
        one_hot[place] = 1
        indices[place] = memory[F.max_pool2d_backward(one_hot, x, y, kernel, **window) == 1][0]
    return y, indices


def average_pool(attributes, inputs, _):
    """Unusual padding is written into the image as zeros, and taken out of the divisor by the average of ones."""
    (x,) = inputs
    kernel, count = tuple(attributes["kernel_shape"]), bool(attributes.get("count_include_pad", 0))
    options = {"ceil_mode": bool(attributes.get("ceil_mode", 0)), "count_include_pad": count}

    def pool(x, stride, padding, dilation, kernel):
        dilated = {"dilation": dilation} if set(dilation) != {1} else {}
        sides = sides_of(padding, kernel)
        if sides is not None:
            return F.avg_pool2d(x, kernel, stride=stride, padding=sides, **options, **dilated)
        assert not options["ceil_mode"] and not dilated
        padded, ones = (np.pad(a, ((0, 0), (0, 0), *padding)) for a in (x, np.ones_like(x)))
        y = F.avg_pool2d(padded, kernel, stride=stride)
        return y if count else y / F.avg_pool2d(ones, kernel, stride=stride)

    return by_planes(pool, x, *windows(attributes, x.shape[2:], kernel), kernel)


def gemm(attributes, inputs, _):
    a, b, c = [*inputs, None][:3]
    a, b = (m.T if attributes.get(f"trans{n}") else m for m, n in ((a, "A"), (b, "B")))
    y = F.linear(a * np.float32(attributes.get("alpha", 1)), np.ascontiguousarray(b.T))
    return y if c is None else F.add(y, np.broadcast_to(c * np.float32(attributes.get("beta", 1)), y.shape))


def softmax(attributes, inputs, _):
    """The gradient of the summed cross-entropy is softmax - onehot."""
    x = np.moveaxis(inputs[0], attributes.get("axis", -1), -1)
    rows = x.reshape(-1, x.shape[-1])
    target = np.zeros(len(rows), int)
    y = F.cross_entropy_backward(None, rows, target, reduction="sum")
    y[:, 0] += 1
    return np.moveaxis(y.reshape(x.shape), -1, attributes.get("axis", -1))


def cross_entropy(attributes, inputs, outputs):
    """The second output, log softmax, is minus the loss if each class in turn were the target."""
    logits, target, weight = [*inputs, None][:3]
    options = {"reduction": attributes.get("reduction", b"mean").decode()}
    options |= {"ignore_index": attributes["ignore_index"]} if "ignore_index" in attributes else {}
    loss = F.cross_entropy(logits, target, weight=weight, **options)
    if outputs == 1:
        return loss
    classes = (np.full(target.shape, c) for c in range(logits.shape[1]))
    return loss, np.stack([-F.cross_entropy(logits, each, reduction="none") for each in classes], 1)


def col2im(attributes, inputs, _):
    """In three dimensions, for each window and tap along the first, one image is added to one slice."""
    columns, size, kernel = inputs
    size, kernel = tuple(map(int, size)), tuple(map(int, kernel))
    stride, padding, dilation = windows(attributes, size, kernel)
    plane = {"stride": stride[-2:], "padding": padding[-2:], "dilation": dilation[-2:]}
    N, C = len(columns), columns.shape[1] // np.prod(kernel)
    if len(size) == 2:
        return nx.col2im(columns, (N, C, *size), kernel, **plane)
    image, taps = np.zeros((N, C, *size), columns.dtype), kernel[1] * kernel[2]
    starts = range(-padding[0][0], size[0] + padding[0][1] - dilation[0] * (kernel[0] - 1), stride[0])
    columns = columns.reshape(N, C, kernel[0], taps, len(starts), -1)  # (N, C, kd, kh·kw, od, oh·ow)
    for i, tap in np.ndindex(len(starts), kernel[0]):
        depth = starts[i] + tap * dilation[0]
        if 0 <= depth < size[0]:
            part = columns[:, :, tap, :, i].reshape(N, C * taps, -1)  # (N, C·kh·kw, oh·ow)
            image[:, :, depth] += nx.col2im(part, (N, C, *size[1:]), kernel[1:], **plane)
    return image


# operator -> its adapter, and how many cases there are at least (onnx 1.23; a later one may have more)
RUN = {
    "Conv": (conv, 32),
    "BatchNormalization": (batch_norm, 9),
    "MaxPool": (max_pool, 27),
    "AveragePool": (average_pool, 27),
    "GlobalAveragePool": (lambda attributes, inputs, _: F.global_avg_pool2d(inputs[0]), 2),
    "Gemm": (gemm, 12),
    "Softmax": (softmax, 11),
    "SoftmaxCrossEntropyLoss": (cross_entropy, 34),
    "Relu": (lambda attributes, inputs, _: F.relu(inputs[0]), 2),
    "Col2Im": (col2im, 5),
}


@pytest.fixture(scope="module")
def cases():
    """Operator -> its node cases and PyTorch-converted cases: (name, model, the inputs by name, expected outputs)."""
    state = np.random.get_state()
    found = collections.defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case import node

        for module in pkgutil.iter_modules(node.__path__):  # each makes its cases on import; all of them take 10 s
            if module.name.replace("_", "") in {operator.lower() for operator in RUN}:
                importlib.import_module(f"{node.__name__}.{module.name}")
        for case in node._NodeTestCases:
            nodes = case.model.graph.node
            if len(nodes) == 1 and nodes[0].op_type in RUN:  # of several nodes are expansions of other operators
                for inputs, outputs in case.data_sets:
                    values = dict(zip([i.name for i in case.model.graph.input], inputs))
                    found[nodes[0].op_type].append((case.name, case.model, values, outputs))
    np.random.set_state(state)
    folder = pathlib.Path(onnx.__file__).parent / "backend/test/data/pytorch-converted"
    for path in sorted(folder.iterdir()):
        model = onnx.load(path / "model.onnx")
        operators = {node.op_type for node in model.graph.node}
        if operators & set(RUN) and operators <= {*RUN, *AROUND}:
            (operator,) = operators & set(RUN)
            values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
            (free,) = (i.name for i in model.graph.input if i.name not in values)
            for data in sorted(path.glob("test_data_set_*")):
                x, y = (onnx.load_tensor(data / f"{kind}_0.pb") for kind in ("input", "output"))
                values[free] = onnx.numpy_helper.to_array(x)
                found[operator].append((path.name, model, dict(values), [onnx.numpy_helper.to_array(y)]))
        else:
            assert not operators & set(RUN), f"{path.name} has {operators}: an operator that AROUND lacks"
    return found


def compute(model, values):
    """Run a model node by node."""
    for node in model.graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        inputs = [np.asarray(values[name]) if name else None for name in node.input]
        if node.op_type in AROUND:
            results = AROUND[node.op_type](attributes, *inputs)
        else:
            results = RUN[node.op_type][0](attributes, inputs, len(node.output))
        results = results if isinstance(results, tuple) else (results,)
        values = {**values, **dict(zip(node.output, results, strict=True))}
    return [values[output.name] for output in model.graph.output]


@pytest.mark.parametrize("operator", sorted(RUN))
def test_onnx_cases_hold(cases, operator):
    assert len(cases[operator]) >= RUN[operator][1]
    for name, model, values, outputs in cases[operator]:
        if not any(part in name for part in LEFT_OUT.get(operator, ())):
            for got, expected in zip(compute(model, values), outputs, strict=True):
                assert got.shape == expected.shape, name
                np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("operator", "part"), [(key, part) for key, parts in LEFT_OUT.items() for part in parts])
def test_what_is_left_out_is_refused_by_name(cases, operator, part):
    left_out = [case for case in cases[operator] if part in case[0]]
    assert left_out
    for _, model, values, _ in left_out:
        with pytest.raises(TypeError, match=LEFT_OUT[operator][part]):
            compute(model, values)

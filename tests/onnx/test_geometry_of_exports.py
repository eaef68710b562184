"""The shape of every exported layer, by oracles that read the attributes of the graph: what opset 17 writes down,
ONNX's own shape inference, the reference evaluator, onnxruntime and OpenVINO.

PyTorch's rule for ``ceil_mode`` drops a last window that lies in the padding; opset 17 keeps it (onnx#5711). Newer
versions of onnxruntime and of the reference evaluator drop it in every opset: only the first oracle and OpenVINO tell.
"""

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import npresnext as nx
from npresnext import nn
from npresnext.errors import InvalidValueError

onnx = pytest.importorskip("onnx")


def pairs(least, most):
    sizes = st.integers(least, most)
    return st.tuples(sizes, sizes)


@st.composite
def poolings(draw, kind):
    kernel = draw(pairs(1, 4))
    padding = tuple(draw(st.integers(0, size // 2)) for size in kernel)
    options = {"ceil_mode": draw(st.booleans())}
    if kind is nn.MaxPool2d:
        options["dilation"] = draw(pairs(1, 3))
    else:
        options["count_include_pad"] = draw(st.booleans())
    return kind(kernel, draw(pairs(1, 5)), padding, **options)


@st.composite
def convolutions(draw):
    groups, kernel = draw(st.integers(1, 3)), draw(pairs(1, 4))
    padding = draw(st.one_of(pairs(0, 3), st.tuples(pairs(0, 3), pairs(0, 3)), st.just("same"), st.just("valid")))
    stride = (1, 1) if padding == "same" else draw(pairs(1, 3))
    options = {"dilation": draw(pairs(1, 3)), "groups": groups, "bias": draw(st.booleans())}
    return nn.Conv2d(groups, 2 * groups, kernel, stride, padding, **options, rng=0)


LAYERS = {
    "conv": convolutions(),
    "max_pool": poolings(nn.MaxPool2d),
    "avg_pool": poolings(nn.AvgPool2d),
    "others": st.sampled_from(
        [nn.BatchNorm2d(3), nn.BatchNormReLU2d(3), nn.ReLU(), nn.GlobalAvgPool2d(), nn.Flatten(), nn.Flatten(-3, 3)]
    ),
}


# on 4x4 pixels, ceil_mode would begin a third row of windows at row 5, in the padding at the bottom
LAYERS_OF_ISSUE_5711 = {
    "max_pool": nn.MaxPool2d(2, 3, 1, ceil_mode=True),
    "avg_pool": nn.AvgPool2d(2, 3, 1, ceil_mode=True),
}


def exported(layer, x, path):
    """Export a layer for the shape of x, and return the graph."""
    nx.onnx.export(layer, path, x.shape, overwrite=True)
    return onnx.load(path)


def image(layer, size, dtype="float32"):
    channels = layer.in_channels if isinstance(layer, nn.Conv2d) else 3
    return np.random.default_rng(0).standard_normal((2, channels, *size)).astype(dtype)


def expected_output(layer, x):
    """Compute the layer, or leave the case out where the windows do not fit the image."""
    try:
        return layer.eval()(x)
    except InvalidValueError as error:
        assert "larger than the padded image" in str(error)
        assume(False)


def size_by_the_text_of_opset_17(size, node, axis):
    """`output_spatial_shape` of MaxPool-12 and AveragePool-11: there is no word in it of windows that are dropped."""
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    kernel, stride, dilation = (attributes.get(name, [1, 1])[axis] for name in ("kernel_shape", "strides", "dilations"))
    pads = attributes["pads"][axis] + attributes["pads"][axis + 2]
    free = size + pads - dilation * (kernel - 1) - 1
    return (-(-free // stride) if attributes.get("ceil_mode", 0) else free // stride) + 1


def strict_shape(proto):
    """Infer the shape of the output from nothing but the input and the nodes."""
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    dims = inferred.graph.output[0].type.tensor_type.shape.dim
    return tuple(each.dim_value or each.dim_param for each in dims)


@pytest.mark.parametrize("kind", LAYERS)
def test_onnx_infers_the_shape_that_the_layer_states(kind, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "layer.onnx"

    @settings(deadline=None, max_examples=60)
    @given(LAYERS[kind], pairs(1, 12))
    def holds(layer, size):
        x = image(layer, size)
        y = expected_output(layer, x)
        try:
            proto = exported(layer, x, path)
        except InvalidValueError as error:
            assert "windows read no pixel" in str(error)
            assume(False)
        assert strict_shape(proto) == ("N", *y.shape[1:])

    holds()


@pytest.mark.parametrize("kind", ["max_pool", "avg_pool"])
def test_no_window_depends_on_how_a_runtime_reads_ceil_mode(kind, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "layer.onnx"

    @settings(deadline=None, max_examples=60)
    @given(LAYERS[kind], pairs(1, 12))
    @example(LAYERS_OF_ISSUE_5711[kind], (4, 4))
    def holds(layer, size):
        x = image(layer, size)
        y = expected_output(layer, x)
        try:
            *pad, node, _ = exported(layer, x, path).graph.node
        except InvalidValueError as error:
            assert "windows read no pixel" in str(error)
            assume(False)
        if pad:
            values = {each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer}
            size = [sum(values[pad[0].input[1]][[axis, axis + 4]]) + size[axis - 2] for axis in (2, 3)]
        assert tuple(size_by_the_text_of_opset_17(size[axis], node, axis) for axis in (0, 1)) == y.shape[2:]

    holds()


def by_reference_evaluator(path, x):
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(str(path)).run(None, {"images": x})[0]


def by_onnxruntime(path, x):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"images": x})[0]


def by_openvino(path, x):
    openvino = pytest.importorskip("openvino")
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model(str(path), "CPU", exact)([x])[0]


@pytest.mark.oracle
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("runtime", [by_reference_evaluator, by_onnxruntime, by_openvino])
def test_runtimes_compute_what_the_layer_computes(runtime, kind, tmp_path_factory):
    if runtime is by_reference_evaluator and kind == "max_pool":
        pytest.skip("the reference evaluator of onnx 1.23 fails where MaxPool has unequal padding")
    path = tmp_path_factory.mktemp("onnx") / "layer.onnx"

    @settings(deadline=None, max_examples=60)
    @given(LAYERS[kind], pairs(1, 12))
    def holds(layer, size):
        x = image(layer, size)
        y = expected_output(layer, x)
        try:
            exported(layer, x, path)
        except InvalidValueError as error:
            assert "windows read no pixel" in str(error)
            assume(False)
        got = runtime(path, x)
        assert got.shape == y.shape
        np.testing.assert_allclose(got, y, rtol=1e-4, atol=1e-5)

    holds()

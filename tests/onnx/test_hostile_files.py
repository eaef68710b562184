"""Damaged and hostile ONNX files: one clear error each, and nothing of their size is allocated."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npresnext as nx
from npresnext import models
from npresnext.errors import FileFormatError, InvalidValueError

from tests.support.onnx_files import onnx_model

onnx = pytest.importorskip("onnx")


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def model():
    """A small correct model, to be damaged."""
    nodes = "t = Conv(x, w, b)\nu = Relu(t)\ny = MaxPool<kernel_shape=[2,2]>(u)"
    return onnx_model(nodes, weights={"w": normal(4, 3, 3, 3), "b": normal(4)})


def tensor(proto, **fields):
    """Change fields of the first initializer."""
    weight = proto.graph.initializer[0]
    for name, value in fields.items():
        weight.ClearField(name)
        if value is not None and isinstance(value, (list, tuple)):
            getattr(weight, name).extend(value)
        elif value is not None:
            setattr(weight, name, value)


def node(proto, index, **fields):
    for name, value in fields.items():
        proto.graph.node[index].ClearField(name)
        getattr(proto.graph.node[index], name).extend(value)


def attribute(proto, index, name, value):
    del proto.graph.node[index].attribute[:]
    proto.graph.node[index].attribute.append(onnx.helper.make_attribute(name, value))


def repeat(field):
    field.append(field[0])


DAMAGE = {
    "shape larger than its bytes": (lambda m: tensor(m, dims=[4, 3, 3, 2**40]), "432 bytes of data|but 432 bytes"),
    "shape whose size is beyond 64 bits": (lambda m: tensor(m, dims=[2**62, 2**62, 3, 3]), "but 432 bytes of data"),
    "shape smaller than its bytes": (lambda m: tensor(m, dims=[4, 3, 3, 2]), "288 bytes, but 432 bytes"),
    "negative size": (lambda m: tensor(m, dims=[-4, -3, 3, 3]), "no size may be below 0"),
    "size 0": (lambda m: tensor(m, dims=[2**40, 0, 3, 3], raw_data=b""), "no size may be 0"),
    "too many axes": (lambda m: tensor(m, dims=[4, 3, 3, 3] + [1] * 100), "dimension"),
    "unknown dtype": (lambda m: tensor(m, data_type=999), "data type 999"),
    "dtype that is not floating": (lambda m: tensor(m, data_type=6), "dtype int32, but the input of the network"),
    "data in the wrong field": (lambda m: tensor(m, raw_data=None, int64_data=[1] * 108), "not for float32"),
    "data in two fields": (lambda m: tensor(m, float_data=[1.0] * 108), "several fields"),
    "too few values": (lambda m: tensor(m, raw_data=None, float_data=[1.0] * 107), "but 107 values"),
    "no data": (lambda m: tensor(m, raw_data=None), "but 0 values"),
    "values of more than 16 bits": (
        lambda m: tensor(m, data_type=10, raw_data=None, int32_data=[70000] * 108),
        "more than 16 bits",
    ),
    "a segment": (lambda m: m.graph.initializer[0].segment.MergeFrom(onnx.TensorProto.Segment(begin=1)), "segment"),
    "external data without a file": (lambda m: tensor(m, raw_data=None, data_location=1), "''"),
    "bias of another length": (lambda m: m.graph.initializer[1].CopyFrom(array("b", 5)), r"'b' has the shape \(5,\)"),
    "weight that does not fit": (lambda m: m.graph.initializer[0].CopyFrom(array("w", 4, 2, 3, 3)), "channels"),
    "kernel larger than the image": (lambda m: m.graph.initializer[0].CopyFrom(array("w", 4, 3, 9, 9)), "larger than"),
    "kernel_shape of another size": (lambda m: attribute(m, 0, "kernel_shape", [2, 2]), r"kernel_shape=\[2, 2\]"),
    "group that does not divide": (lambda m: attribute(m, 0, "group", 3), "group=3, which must divide"),
    "group 0": (lambda m: attribute(m, 0, "group", 0), "group=0: expected at least 1"),
    "negative group": (lambda m: attribute(m, 0, "group", -1), "group=-1: expected at least 1"),
    "stride 0": (lambda m: attribute(m, 0, "strides", [0, 1]), "strides=0: expected at least 1"),
    "too few strides": (lambda m: attribute(m, 0, "strides", [1]), r"strides=\[1\]: expected 2 integers"),
    "negative dilation": (lambda m: attribute(m, 0, "dilations", [1, -1]), "dilations=-1: expected at least 1"),
    "attribute of another type": (lambda m: attribute(m, 0, "group", 1.0), "'group' of type FLOAT: expected INT"),
    "unknown attribute": (lambda m: attribute(m, 0, "grouped", 1), "'grouped', which it does not have"),
    "missing attribute": (lambda m: m.graph.node[2].ClearField("attribute"), "lacks the attribute 'kernel_shape'"),
    "attribute given twice": (lambda m: repeat(m.graph.node[2].attribute), "'kernel_shape' twice"),
    "circle": (lambda m: node(m, 0, input=["u", "w", "b"]), "takes the value 'u', which nothing before it makes"),
    "node that takes its own output": (lambda m: node(m, 1, input=["u"]), "takes the value 'u'"),
    "missing input": (lambda m: node(m, 1, input=["nothing"]), "takes the value 'nothing'"),
    "too few inputs": (lambda m: node(m, 0, input=["x"]), "has 1 inputs: opset 17 has 2 to 3"),
    "too many inputs": (lambda m: node(m, 1, input=["t", "x"]), "has 2 inputs"),
    "empty input": (lambda m: node(m, 0, input=["", "w", "b"]), "lacks an input"),
    "no output": (lambda m: node(m, 2, output=[]), "no node makes the output 'y'"),
    "two nodes with one output": (lambda m: node(m, 1, output=["t"]), "makes the value 't', which is there already"),
    "node that overwrites the input": (lambda m: node(m, 0, output=["x"]), "makes the value 'x'"),
    "node that overwrites a weight": (lambda m: node(m, 0, output=["w"]), "makes the value 'w'"),
    "two initializers with one name": (lambda m: repeat(m.graph.initializer), "two initializers have the name 'w'"),
    "no input": (lambda m: m.graph.ClearField("input"), "takes the value 'x'"),
    "no output of the graph": (lambda m: m.graph.ClearField("output"), "0 outputs"),
    "two outputs of the graph": (lambda m: repeat(m.graph.output), "2 outputs"),
    "output that is a weight": (lambda m: setattr(m.graph.output[0], "name", "w"), "depends on 0 inputs|a constant"),
    "input of five axes": (lambda m: m.graph.input[0].type.tensor_type.shape.dim.add(dim_value=3), "5 axes"),
    "input without a type": (lambda m: m.graph.input[0].ClearField("type"), "0 axes"),
    "input of integers": (lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 7), "dtype int64"),
    "input of unknown dtype": (lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 99), "type 99"),
    "input of negative size": (
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", -8),
        "no size may be below 1",
    ),
    "no opset": (lambda m: m.ClearField("opset_import"), "0 versions"),
    "two opsets": (lambda m: m.opset_import.add(domain="ai.onnx", version=17), "2 versions"),
    "no graph": (lambda m: m.ClearField("graph"), "it has no graph"),
    "sparse weights": (lambda m: m.graph.sparse_initializer.add(), "sparse"),
    "too many nodes": (lambda m: m.graph.node.extend([m.graph.node[1]] * 20_000), "at most 20000"),
}


def array(name, *shape):
    return onnx.numpy_helper.from_array(normal(*shape), name)


@pytest.mark.parametrize("damage", DAMAGE)
def test_each_damage_is_named_and_nothing_large_is_allocated(tmp_path, damage):
    proto = model()
    spoil, message = DAMAGE[damage]
    spoil(proto)
    (tmp_path / "net.onnx").write_bytes(proto.SerializeToString())
    tracemalloc.start()
    try:
        with pytest.raises(InvalidValueError, match=message) as caught:
            nx.onnx.load(tmp_path / "net.onnx")
        assert str(caught.value).startswith(str(tmp_path / "net.onnx"))
        assert tracemalloc.get_traced_memory()[1] < 40e6
    finally:
        tracemalloc.stop()


def test_the_undamaged_model_is_read(tmp_path):
    (tmp_path / "net.onnx").write_bytes(model().SerializeToString())
    assert nx.onnx.load(tmp_path / "net.onnx")(normal(2, 3, 8, 8)).shape == (2, 4, 5, 5)


@pytest.mark.parametrize(("dtype", "field"), [("float16", "int32_data"), ("float64", "double_data")])
def test_values_in_typed_fields_are_read(tmp_path, dtype, field):
    weight = normal(2, 3, 1, 1).astype(dtype)
    proto = onnx_model("y = Conv(x, w)", weights={"w": weight}, dtype=dtype)
    values = weight.view("uint16") if dtype == "float16" else weight
    tensor(proto, raw_data=None, **{field: values.reshape(-1).tolist()})
    (tmp_path / "net.onnx").write_bytes(proto.SerializeToString())
    net = nx.onnx.load(tmp_path / "net.onnx")
    (got,) = net.state_dict().values()
    assert got.dtype == dtype and np.array_equal(got, weight)


@pytest.mark.parametrize("name", [b"x", b"Conv", b"weight.bin", b"group"])
def test_names_that_are_no_text_are_refused(tmp_path, name):
    proto = model()
    proto.graph.node[0].attribute.append(onnx.helper.make_attribute("group", 1))
    tensor(proto, raw_data=None, data_location=1)
    proto.graph.initializer[0].external_data.add(key="location", value="weight.bin")
    content = proto.SerializeToString().replace(name, b"\xff" + name[1:])
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(FileFormatError, match="no UTF-8 text"):
        nx.onnx.load(tmp_path / "net.onnx")


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path):
    whole, path = model().SerializeToString(), tmp_path / "net.onnx"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(InvalidValueError):
            nx.onnx.load(path)


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_changed_bytes_end_in_a_network_or_in_one_of_our_errors(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    content = bytearray(model().SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        nx.onnx.load(path)
    except InvalidValueError as error:
        assert str(error).startswith(str(path))


def test_what_is_no_file_raises_as_open_does(tmp_path):
    with pytest.raises(FileNotFoundError):
        nx.onnx.load(tmp_path / "absent.onnx")
    with pytest.raises(IsADirectoryError):
        nx.onnx.load(tmp_path)
    (tmp_path / "state.npz").write_bytes(b"PK\x03\x04 no protobuf")
    with pytest.raises(FileFormatError, match=r"state\.npz: "):
        nx.onnx.load(tmp_path / "state.npz")


# External data


def saved_outside(tmp_path, **change):
    """Save a network with its weights in "weights.bin", and change entries of the first tensor."""
    nx.onnx.export(models.resnext_small(rng=0), tmp_path / "net.onnx", (1, 1, 8, 8), overwrite=True)
    proto = onnx.load(tmp_path / "net.onnx")
    onnx.save(proto, tmp_path / "net.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    proto = onnx.load(tmp_path / "net.onnx", load_external_data=False)
    for entry in proto.graph.initializer[0].external_data:
        entry.value = change.get(entry.key, entry.value)
    (tmp_path / "net.onnx").write_bytes(proto.SerializeToString())
    return tmp_path / "net.onnx"


def test_weights_in_a_second_file_are_read(tmp_path):
    net, model = nx.onnx.load(saved_outside(tmp_path)), models.resnext_small(rng=0).eval()
    x = normal(2, 1, 8, 8)
    assert (tmp_path / "weights.bin").stat().st_size > 100_000 and np.allclose(net(x), model(x), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"location": "/etc/passwd"}, "expected a file inside the folder"),
        ({"location": "../weights.bin"}, "expected a file inside the folder"),
        ({"location": "sub/../../weights.bin"}, "expected a file inside the folder"),
        ({"location": "..\\weights.bin"}, "expected a file inside the folder"),
        ({"location": "C:\\weights.bin"}, "expected a file inside the folder"),
        ({"location": ""}, "expected a file inside the folder"),
        ({"location": "link.bin"}, "expected a file inside the folder"),
        ({"location": "absent.bin"}, "which is not beside the ONNX file"),
        ({"location": "."}, "which is not beside the ONNX file"),
        ({"offset": str(2**40)}, "ends at byte"),
        ({"offset": "-4"}, "no number"),
        ({"offset": "9" * 5000}, "no number"),
        ({"length": "4"}, "but 4 bytes are given"),
    ],
)
def test_external_data_stays_inside_the_folder_and_the_file(tmp_path, change, message):
    folder = tmp_path / "model"
    folder.mkdir()
    path = saved_outside(folder, **change)
    (tmp_path / "weights.bin").write_bytes((folder / "weights.bin").read_bytes())
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    with pytest.raises(FileFormatError, match=message):
        nx.onnx.load(path)


def test_tensors_that_overlap_outside_are_refused(tmp_path):
    """Many tensors on the same bytes of a file would take many times its size."""
    path = saved_outside(tmp_path)
    proto = onnx.load(path, load_external_data=False)
    offsets = [entry for each in proto.graph.initializer for entry in each.external_data if entry.key == "offset"]
    for entry in offsets:
        entry.value = "0"
    path.write_bytes(proto.SerializeToString())
    (tmp_path / "weights.bin").write_bytes((tmp_path / "weights.bin").read_bytes()[:400_000])
    with pytest.raises(FileFormatError, match="overlap"):
        nx.onnx.load(path)


def test_names_that_repeat_do_not_slow_reading_down(tmp_path):
    lines = "\n".join(f"v{number + 1} = Relu(v{number})" for number in range(3000))
    proto = onnx_model(f"v0 = Relu(x)\n{lines}\ny = Relu(v3000)")
    for each in proto.graph.node:
        each.name = "relu"
    (tmp_path / "net.onnx").write_bytes(proto.SerializeToString())
    assert len(list(nx.onnx.load(tmp_path / "net.onnx").children())) == 3002


def test_names_of_many_parts_make_no_deep_tree(tmp_path):
    name = "a." * 5000 + "weight"
    proto = onnx_model("y = Conv(x, w)", weights={"w": normal(1, 3, 1, 1)})
    proto.graph.initializer[0].name = name
    node(proto, 0, input=["x", name])
    (tmp_path / "net.onnx").write_bytes(proto.SerializeToString())
    net = nx.onnx.load(tmp_path / "net.onnx")
    assert list(net.state_dict()) == ["Conv_0.weight"]

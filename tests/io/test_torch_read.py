"""Checkpoints that PyTorch wrote: the fixtures against their bytes, fresh ones against torch.load."""

import argparse
import collections
import datetime
import enum
import io
import json
import pathlib
import pickle
import zipfile

import numpy as np
import pytest

from npresnext.errors import FileFormatError
from npresnext.io import load
from npresnext.io.dtypes import TORCH_STORAGE
from npresnext.io.torch_read import STREAM_MAGIC
from npresnext.io.unpickle import Placeholder, unpickle

from tests.support import torch_checkpoints as checkpoints
from tests.support.archives import zipped

ml_dtypes = pytest.importorskip("ml_dtypes")
EXPECTED = json.loads((checkpoints.DATA / "torch_expected.json").read_text())


def described(array):
    return [np.ascontiguousarray(array).tobytes().hex(), array.dtype.name, list(array.shape)]


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_stream.pth", "torch_protocol4.pth"])
def test_every_tensor_of_a_checkpoint_is_read_bit_for_bit(name):
    state = load(checkpoints.DATA / name)
    assert list(state) == list(EXPECTED)
    assert {key: described(array) for key, array in state.items()} == EXPECTED


def test_nested_entry_is_found_and_prefix_removed():
    state = load(checkpoints.DATA / "torch_nested.pth", strip_prefix="module.")
    assert {key: described(array) for key, array in state.items()} == EXPECTED


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_stream.pth"])
def test_tensors_that_shared_memory_share_it_again(name):
    state = load(checkpoints.DATA / name)
    state["shared.whole"][1, 2, 0] = 99.0
    assert state["shared.slice"][1, 0] == state["shared.transposed"][0, 1, 2] == 99.0
    assert state["channels_last"].strides == (64, 4, 32, 16)


@pytest.mark.parametrize("name", ["torch_module.pth", "torch_script.pth"])
def test_whole_modules_are_refused_with_advice(name):
    with pytest.raises(FileFormatError, match=r"Linear.*refused.*save model\.state_dict|TorchScript"):
        load(checkpoints.DATA / name)


def rewritten(tmp_path, change):
    """Write the zip fixture again, each entry's bytes passed through `change(name, content)`; None drops the entry."""
    path = tmp_path / "rewritten.pth"
    with zipfile.ZipFile(checkpoints.DATA / "torch_zip.pth") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda n, c: None if n.endswith("data/3") else c, "data/3 is missing"),
        (lambda n, c: c[:-1] if n.endswith("data/3") else c, "data/3 has 11 bytes: expected 12"),
        (lambda n, c: b"little" * 3 if n.endswith("byteorder") else c, "byteorder has 18 bytes: at most 16"),
        (lambda n, c: b"middle" if n.endswith("byteorder") else c, "byteorder is b'middle'"),
        (lambda n, c: None if n.endswith("data.pkl") else c, "a zip archive, but no .npz file"),
        (lambda n, c: c[:-1] if n.endswith("data.pkl") else c, "malformed or truncated"),
        (lambda n, c: c.replace(b"torch._utils\n_rebuild_tensor_v2", b"os\nsystem") if "pkl" in n else c, "os.system"),
    ],
)
def test_an_archive_at_odds_with_itself_is_refused(tmp_path, change, message):
    with pytest.raises(FileFormatError, match=message):
        load(rewritten(tmp_path, change))


def test_an_archive_of_two_checkpoints_is_refused(tmp_path):
    path = tmp_path / "two.pth"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("one/data.pkl", "two/data.pkl"):
            archive.writestr(name, b"\x80\x02}.")
    with pytest.raises(FileFormatError, match="one entry NAME/data.pkl; this has 2"):
        load(path)


def test_every_truncation_of_a_stream_is_refused(tmp_path):
    whole = (checkpoints.DATA / "torch_stream.pth").read_bytes()
    path = tmp_path / "cut.pth"
    for length in range(1, len(whole), 61):
        path.write_bytes(whole[:length])
        with pytest.raises(FileFormatError):
            load(path)


def test_a_stream_that_claims_more_elements_than_its_file_has_is_refused(tmp_path):
    whole = (checkpoints.DATA / "torch_stream.pth").read_bytes()
    path = tmp_path / "absurd.pth"
    place = whole.rindex((24).to_bytes(8, "little"))
    path.write_bytes(whole[:place] + (2**62).to_bytes(8, "little") + whole[place + 8 :])
    with pytest.raises(FileFormatError, match="4,611,686,018,427,387,904 elements: expected 24"):
        load(path)


STORAGE = b"(X\x07\x00\x00\x00storagectorch\n%sStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
TOWER = b")" + b"\x85" * 100_000  # a tuple in a tuple in a tuple
DIGITS = pickle.dumps(10**5000, 2)[2:-1]  # which Python does not write out


def rebuilt(shape, kind=b"Float", flags=b"", stride=b"K\x01"):
    """The opcodes of a tensor on a storage of four elements."""
    sizes = b"".join(pickle.dumps(size, 2)[2:-1] for size in shape)
    arguments = STORAGE % kind + b"K\x00(" + sizes + b"t(" + stride * len(shape) + b"t"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"\x89}" + flags + b"tR"


def stream(value, version=b"M\xe9\x03", keys=b"X\x01\x00\x00\x000a"):
    """A checkpoint in the stream format whose entry w is what the opcodes `value` make."""
    pickles = version, b"}", b"}X\x01\x00\x00\x00w" + value + b"s", b"]" + keys
    numbers = (4).to_bytes(8, "little") + np.arange(4, dtype="<f4").tobytes()
    return STREAM_MAGIC + b"".join(b"\x80\x02" + program + b"." for program in pickles) + numbers


@pytest.mark.parametrize(
    "content, expected",
    [
        (stream(rebuilt((3,))), [0, 1, 2]),
        (stream(b"K\x07", keys=b""), 7),
        (stream(b"\x8a\x08" + b"\xff" * 7 + b"\x7f", keys=b""), 2**63 - 1),
    ],
)
def test_a_stream_made_by_hand_is_read(tmp_path, content, expected):
    (tmp_path / "hand.pth").write_bytes(content)
    assert load(tmp_path / "hand.pth")["w"].tolist() == expected


@pytest.mark.parametrize(
    "content, message",
    [
        (stream(rebuilt((3,)))[:-1], "the storage 0 ends at byte .*: it is truncated"),
        (stream(rebuilt((2**30,), stride=b"K\x00")), "claims 4,294,967,296 bytes on a storage that has 16"),
        (stream(rebuilt((0, 2**62, 2**62))), "has the shape"),
        (stream(rebuilt((0, 2**70))), "has the shape"),
        (stream(rebuilt((1,) * 70)), "has the shape"),
        (stream(rebuilt((4,), b"Bool", b"}X\x03\x00\x00\x00neg\x88s")), "booleans"),
        (stream(b"\x8a\x09" + b"\x01" * 9, keys=b""), r"'w' \(int\)"),
        (stream(rebuilt((3,)), version=b"K\x07"), "version 7: expected 1001"),
        (stream(rebuilt((3,)), keys=b""), "does not match"),
        (stream(rebuilt((0, 10**5000))), "Exceeds the limit"),
        (stream(rebuilt((3,)), version=DIGITS), "Exceeds the limit"),
        (stream(rebuilt((3,)), keys=DIGITS + b"a"), "Exceeds the limit"),
        (stream(rebuilt((3,)), version=TOWER), "getting the repr"),
        (stream(rebuilt((3,)), keys=TOWER + b"a"), "getting the repr"),
        (stream(TOWER + b"Q"), "getting the repr"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_stream_that_describes_no_arrays_is_refused(tmp_path, content, message):
    (tmp_path / "hand.pth").write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        load(tmp_path / "hand.pth")


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}])
def test_fresh_checkpoints_read_as_torch_reads_them(tmp_path, options):
    torch = pytest.importorskip("torch")
    path = tmp_path / "state.pt"
    state = checkpoints.tensors(torch)
    if "_use_new_zipfile_serialization" in options:  # torch.load reads no untyped storage that it wrote so itself
        untyped = [f"dtype.{name}" for name in checkpoints.DTYPES if name not in TORCH_STORAGE]
        state = {name: tensor for name, tensor in state.items() if name not in untyped}
    torch.save(state, path, **options)
    theirs, ours = torch.load(path, weights_only=False), load(path)  # True knows protocol 2 alone
    assert list(ours) == list(theirs)
    for name, tensor in theirs.items():
        assert described(ours[name]) == [checkpoints.bits(torch, tensor)[0].hex(), *described(ours[name])[1:]]
        assert ours[name].shape == tuple(tensor.shape) and ours[name].dtype.name == str(tensor.dtype)[6:]
        if tensor.is_neg() or tensor.is_conj():
            continue  # a lazy view there, a new array here
        assert tuple(ours[name].strides) == tuple(s * tensor.element_size() for s in tensor.stride())


@pytest.mark.oracle
def test_big_endian_checkpoints_read_as_torch_reads_them(tmp_path):
    torch = pytest.importorskip("torch")
    plain, path = tmp_path / "little.pt", tmp_path / "big.pt"
    torch.save({"a": torch.arange(5.0), "b": torch.arange(3)}, plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("byteorder"):
                content = b"big"
            elif name.endswith(("data/0", "data/1")):
                width = 4 if name.endswith("0") else 8
                content = b"".join(content[i : i + width][::-1] for i in range(0, len(content), width))
            new.writestr(name.replace("little", "big"), content)
    theirs, ours = torch.load(path, weights_only=True), load(path)
    for name in "ab":
        assert ours[name].tolist() == theirs[name].tolist() == list(range(len(ours[name])))


@pytest.mark.oracle
def test_tensors_and_parameters_of_the_first_pytorch_read_as_torch_reads_them(tmp_path):
    """PyTorch below 0.3 pickled an empty tensor and its state, and parameters as new objects of their class."""
    torch = pytest.importorskip("torch")
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04NtQ"
    tensor = b"ctorch\nFloatTensor\n)\x81(" + storage + b"K\x01K\x03\x85K\x01\x85tb"
    parameter = b"ctorch.nn.parameter\nParameter\n" + tensor + b"\x88\x86\x81"
    pickles = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}."
    pickles += b"\x80\x02}X\x01\x00\x00\x00w" + parameter + b"s."
    pickles += b"\x80\x02]X\x01\x00\x00\x000a."
    path = tmp_path / "ancient.pth"
    path.write_bytes(pickles + (4).to_bytes(8, "little") + np.arange(4, dtype="<f4").tobytes())
    theirs = torch.load(io.BytesIO(path.read_bytes()), weights_only=True)
    assert load(path)["w"].tolist() == theirs["w"].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "make, message",
    [
        (lambda torch: {"w": torch.zeros(2, dtype=torch.complex32)}, "complex32"),
        (lambda torch: {"w": torch.eye(3).to_sparse()}, "torch._utils._rebuild_sparse_tensor"),
        (lambda torch: torch.zeros(3), "a single tensor"),
        (lambda torch: [torch.zeros(3)], "a list"),
        (lambda torch: {"layer": {"w": torch.zeros(3)}, "lr": 0.1}, r"'layer' \(dict\)"),
        (lambda torch: {"model": {"model": {"model": {"model": {}}}}}, "more than three deep"),
    ],
)
def test_what_is_no_dictionary_of_plain_tensors_is_refused_by_name(tmp_path, make, message):
    torch = pytest.importorskip("torch")
    torch.save(make(torch), tmp_path / "state.pt")
    with pytest.raises(FileFormatError, match=message):
        load(tmp_path / "state.pt")


class Colour(enum.Enum):
    """An enumeration of a user's own."""

    RED = "red"


class Settings(collections.OrderedDict):
    """A dictionary of a user's own, with attributes."""


def extras():
    """What training scripts save beside the network."""
    settings = Settings(lr=0.1, path=pathlib.PurePosixPath("/data"))
    settings.name = "run"
    return {
        "args": argparse.Namespace(
            lr=0.1, output_dir=pathlib.PurePosixPath("."), milestones=[30, 60], colour=Colour.RED
        ),
        "epoch": 3,
        "best": np.float64(71.5),
        "history": np.arange(4.0),
        "started": datetime.datetime(2026, 1, 2),
        "settings": settings,
        "counts": collections.defaultdict(list, a=[1]),
        "seen": frozenset({1, 2}),
        "by colour": {Colour.RED: 1},
        "types": [int, Colour, collections.OrderedDict],
        "lr_scheduler": {"milestones": collections.Counter({30: 1}), "_step_count": 1},
    }


@pytest.mark.oracle
@pytest.mark.parametrize("container", [dict, collections.OrderedDict, Settings])
@pytest.mark.parametrize("protocol, zip_format", [(2, True), (2, False), (3, True), (4, True), (5, True)])
def test_the_tensors_of_a_training_scripts_checkpoint_are_read(tmp_path, container, zip_format, protocol):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    saved = {"model": container(model.state_dict()), "optimizer": optimizer.state_dict(), **extras()}
    path = tmp_path / "checkpoint.pth"
    torch.save(saved, path, _use_new_zipfile_serialization=zip_format, pickle_protocol=protocol)
    state = load(path)
    assert list(state) == ["weight", "bias"]
    assert all(np.array_equal(state[name], tensor.numpy()) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_is_no_tensor_comes_out_as_the_name_of_its_class(protocol):
    found, _ = unpickle(io.BytesIO(pickle.dumps(extras(), protocol)))
    assert {name: repr(found[name]) for name in ("args", "started")} == {
        "args": "<argparse.Namespace>",
        "started": "<datetime.datetime>",
    }
    assert found["epoch"] == 3 and found["lr_scheduler"]["_step_count"] == 1
    assert isinstance(found["settings"], Placeholder) and found["settings"].items["lr"] == 0.1


def test_a_whole_network_in_an_entry_is_named_and_the_advice_is_what_was_not_done(tmp_path):
    program = pickle.dumps({"model": argparse.Namespace(a=1), "epoch": 3}, 2)
    with pytest.raises(FileFormatError, match=r"'model' \(argparse\.Namespace\)") as raised:
        load(zipped(tmp_path / "state.pth", {"a/data.pkl": program}))
    assert "state_dict" not in str(raised.value)


def test_tensors_beside_other_objects_are_read_in_their_order(tmp_path):
    torch = pytest.importorskip("torch")
    saved = {
        "w": torch.ones(2),
        "args": argparse.Namespace(lr=0.1),
        "b": torch.zeros(3),
        "when": datetime.date(2026, 1, 2),
        "note": "x",
    }
    torch.save(saved, tmp_path / "mixed.pth")
    state = load(tmp_path / "mixed.pth")
    assert list(state) == ["w", "b"] and state["w"].tolist() == [1, 1]


def test_a_tensor_whose_name_is_no_text_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.ones(2), 3: torch.ones(1)}, tmp_path / "named.pth")
    with pytest.raises(FileFormatError, match="3 "):
        load(tmp_path / "named.pth")

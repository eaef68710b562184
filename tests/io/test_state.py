"""load and save: every format round, names with checksums, prefixes, and files that are none."""

import hashlib
import tarfile
import tracemalloc

import numpy as np
import pytest

import npresnext as nx
from npresnext.errors import FileFormatError, InvalidTypeError, InvalidValueError
from npresnext.io import load, save

from tests.support import torch_checkpoints as checkpoints

ENDINGS = (".npz", ".safetensors", ".pth", ".pt")
PLAIN = ("float64", "float32", "float16", "bool") + tuple(f"{u}int{b}" for u in ("", "u") for b in (8, 16, 32, 64))


def some_state():
    rng = np.random.default_rng(0)
    state = {f"dtype.{name}": rng.integers(0, 2, (3, 4)).astype(name) for name in PLAIN}
    weight = rng.standard_normal((4, 2, 3, 3)).astype(np.float32)
    return state | {
        "weight": weight,
        "transposed": weight.T,
        "reversed": weight[::-1],
        "big_endian": weight.astype(">f4"),
        "scalar": np.array(3),
        "empty": np.zeros((0, 3), np.float32),
        "ünïcode name": weight[0],
        "complex": weight + 1j,
    }


def needs(ending):
    if ending == ".safetensors":
        pytest.importorskip("safetensors")


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_saved_is_loaded_bit_for_bit(tmp_path, ending):
    needs(ending)
    state = some_state()
    save(tmp_path / f"state{ending}", state, metadata={"epoch": "3", "ü": "é"})
    back = load(tmp_path / f"state{ending}")
    assert back.metadata == {"epoch": "3", "ü": "é"}
    assert set(back) == set(state)
    assert list(back) == list(state) or ending == ".safetensors"  # the package orders by dtype and name
    for name, array in state.items():
        assert back[name].dtype == array.dtype.newbyteorder("=") and back[name].shape == array.shape
        assert np.array_equal(back[name], array) and back[name].flags.writeable


@pytest.mark.parametrize("ending", ENDINGS)
def test_bfloat16_comes_back_as_bfloat16(tmp_path, ending):
    needs(ending)
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    array = np.random.default_rng(0).standard_normal((3, 5)).astype(bfloat16)
    save(tmp_path / f"state{ending}", {"w": array})
    back = load(tmp_path / f"state{ending}")["w"]
    assert back.dtype == bfloat16 and back.tobytes() == array.tobytes()


@pytest.mark.parametrize("ending", ENDINGS)
def test_equal_states_are_equal_files(tmp_path, ending):
    needs(ending)
    save(tmp_path / f"a{ending}", some_state())
    save(tmp_path / f"b{ending}", some_state())
    assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


@pytest.mark.parametrize("kind", ENDINGS + ("stream",))
def test_reading_takes_hardly_more_memory_than_the_file(tmp_path, kind):
    needs(kind)
    state = {f"w{k}": np.full((64, 1024), k, np.float32) for k in range(32)}
    path = tmp_path / f"state{'.pth' if kind == 'stream' else kind}"
    if kind == "stream":
        torch = pytest.importorskip("torch")
        tensors = {name: torch.from_numpy(array) for name, array in state.items()}
        torch.save(tensors, path, _use_new_zipfile_serialization=False)
    else:
        save(path, state)
    load(path)  # imports what reading imports
    tracemalloc.start()
    try:
        loaded = load(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(loaded) == 32 and peak < 1.3 * path.stat().st_size


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_content_decides_not_the_ending(tmp_path, ending):
    needs(ending)
    save(tmp_path / f"state{ending}", {"w": np.arange(3.0)})
    (tmp_path / f"state{ending}").rename(tmp_path / "state.bin")
    assert load(tmp_path / "state.bin")["w"].tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_truncation_is_refused(tmp_path, ending):
    needs(ending)
    save(tmp_path / f"state{ending}", {"w": np.arange(40.0), "v": np.arange(3)})
    whole = (tmp_path / f"state{ending}").read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(FileFormatError):
            load(tmp_path / "cut")


def test_an_existing_file_stays_unless_asked(tmp_path):
    save(tmp_path / "state.npz", {"w": np.zeros(2)})
    with pytest.raises(InvalidValueError, match="exists already"):
        save(tmp_path / "state.npz", {"w": np.ones(2)})
    assert load(tmp_path / "state.npz")["w"].tolist() == [0, 0]
    save(tmp_path / "state.npz", {"w": np.ones(2)}, overwrite=True)
    assert load(tmp_path / "state.npz")["w"].tolist() == [1, 1]


def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(np.lib.format, "write_array", fails)
    with pytest.raises(OSError, match="no space"):
        save(tmp_path / "state.npz", {"w": np.zeros(2)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name, state, error, message",
    [
        ("state.onnx", {}, InvalidValueError, r"'\.onnx': expected one of \.npz, \.safetensors, \.pth, \.pt"),
        ("nowhere/state.npz", {}, InvalidValueError, "does not exist"),
        ("state.npz", [np.zeros(2)], InvalidTypeError, "of type list"),
        ("state.npz", {3: np.zeros(2)}, InvalidTypeError, "the key 3"),
        ("state.npz", {"w": np.array(["text"])}, InvalidTypeError, "w has dtype <U4"),
        ("state.npz", {"w": np.array([None])}, InvalidTypeError, "w has dtype object"),
        ("state.npz", {"../w": np.zeros(2)}, InvalidValueError, "a path out of it"),
        ("state.npz", {"__metadata__": np.zeros(2)}, InvalidValueError, "taken"),
        ("state.safetensors", {"w": np.zeros(2, complex)}, InvalidTypeError, "w has dtype complex128"),
    ],
)
def test_what_cannot_be_saved_is_said_and_nothing_written(tmp_path, name, state, error, message):
    needs(name[-12:])
    with pytest.raises(error, match=message):
        save(tmp_path / name, state)
    assert not list(tmp_path.iterdir())


def test_metadata_must_be_texts(tmp_path):
    with pytest.raises(InvalidTypeError, match="metadata"):
        save(tmp_path / "state.npz", {}, metadata={"epoch": 3})


def test_a_checksum_in_the_name_is_verified(tmp_path):
    pytest.importorskip("ml_dtypes", reason="the file holds bfloat16, which needs ml_dtypes")
    content = (checkpoints.DATA / "torch_nested.pth").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    for digits in (digest[:8], digest):
        (tmp_path / f"net-{digits}.pth").write_bytes(content)
        assert load(tmp_path / f"net-{digits}.pth")
    (tmp_path / "net-7cdf4587.pth").write_bytes(content)
    with pytest.raises(FileFormatError, match=f"begins with 7cdf4587, but the file's begins with {digest[:8]}"):
        load(tmp_path / "net-7cdf4587.pth")
    assert load(tmp_path / "net-7cdf4587.pth", check_hash=False)


def test_a_prefix_is_removed_only_where_it_is_and_never_merges_names(tmp_path):
    save(tmp_path / "state.npz", {"module.w": np.zeros(1), "v": np.ones(1)})
    assert list(load(tmp_path / "state.npz", strip_prefix="module.")) == ["w", "v"]
    save(tmp_path / "twice.npz", {"module.w": np.zeros(1), "w": np.ones(1)})
    with pytest.raises(FileFormatError, match="two arrays have the same name"):
        load(tmp_path / "twice.npz", strip_prefix="module.")


def test_a_number_is_no_path_though_it_may_be_an_open_file(tmp_path):
    with open(tmp_path / "open", "w+b") as file, pytest.raises(TypeError, match="PathLike object, not int"):
        try:
            load(file.fileno())
        finally:
            file.write(b"is open still")


def test_foreign_files_are_refused_with_what_was_seen(tmp_path):
    needs(".safetensors")
    path = tmp_path / "foreign.pth"
    for content, message in [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "begins with b'<!DOCTYPE html><'"),
        (b"\x93NUMPY\x01\x00", "begins with"),
        (b"PK\x03\x04 and nothing more", "truncated or damaged"),
        (b"\xff" * 8 + b"{" + b" " * 100, "safetensors header"),
    ]:
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=message):
            load(path)
    with tarfile.open(path, "w") as tar:
        tar.add(__file__, "storages")
    with pytest.raises(FileFormatError, match="tar format"):
        load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent.npz")


def test_load_and_save_are_reached_from_the_package(tmp_path):
    nx.io.save(tmp_path / "state.npz", {"w": np.zeros(1)})
    assert list(nx.io.load(tmp_path / "state.npz")) == ["w"]

"""safetensors files against the package's own reader, and headers that lie."""

import json

import numpy as np
import pytest

from npresnext.errors import FileFormatError
from npresnext.io import load, save
from npresnext.io.dtypes import SAFETENSORS_CODE, stored_dtype

safetensors_numpy = pytest.importorskip("safetensors.numpy")
pytest.importorskip("ml_dtypes")


def state_of_every_dtype():
    rng = np.random.default_rng(0)
    bits = {
        name: rng.integers(0, 2 if name == "bool" else 256, (3, 4 * stored_dtype(name).itemsize), "u1")
        for name in SAFETENSORS_CODE
    }
    return {name: raw.view(stored_dtype(name)) for name, raw in bits.items()}


def test_every_dtype_reads_as_the_package_reads_it(tmp_path):
    state = state_of_every_dtype()
    safetensors_numpy.save_file(state, tmp_path / "state.safetensors")
    ours = load(tmp_path / "state.safetensors")
    theirs = {name: view["data"] for name, view in _deserialize(tmp_path / "state.safetensors")}
    assert set(ours) == set(state)
    for name, array in state.items():
        assert ours[name].dtype == array.dtype and ours[name].shape == (3, 4)
        assert ours[name].tobytes() == array.tobytes() == bytes(theirs[name])


def _deserialize(path):
    import safetensors

    return safetensors.deserialize(path.read_bytes())


def test_the_package_reads_what_we_wrote(tmp_path):
    state = state_of_every_dtype()
    save(tmp_path / "state.safetensors", state)
    theirs = {name: bytes(view["data"]) for name, view in _deserialize(tmp_path / "state.safetensors")}
    assert theirs == {name: array.tobytes() for name, array in state.items()}
    assert b"__metadata__" not in (tmp_path / "state.safetensors").read_bytes()


def written(path, header, data):
    text = json.dumps(header).encode() if isinstance(header, dict) else header
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(begin, end, shape=(2,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "header, data",
    [
        ({"a": entry(0, 8), "b": entry(4, 12)}, 12),  # overlapping
        ({"a": entry(0, 8), "b": entry(12, 20)}, 20),  # a gap
        ({"a": entry(0, 8)}, 7),  # truncated
        ({"a": entry(0, 8)}, 9),  # bytes of nobody
        ({"a": entry(0, 8, (3,))}, 8),
        ({"a": entry(0, 8, (2**40, 2**40))}, 8),
        ({"a": entry(0, 2**62, (2**60,))}, 8),
        ({"a": entry(0, 0, (0, 2**62))}, 0),
        ({"a": entry(8, 0)}, 8),
        ({"a": entry(0, 8, dtype="F31")}, 8),
        (b'{"a": ', 8),
        (b"{" * 100_000, 8),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, header, data):
    with pytest.raises(FileFormatError):
        load(written(tmp_path / "lies.safetensors", header, bytes(data)))


def test_a_dtype_without_counterpart_is_refused_by_name(tmp_path):
    with pytest.raises(FileFormatError, match="a has the dtype F4"):
        load(written(tmp_path / "state.safetensors", {"a": entry(0, 8, (16,), "F4")}, bytes(8)))


def test_a_header_longer_than_its_file_is_refused(tmp_path):
    (tmp_path / "absurd.safetensors").write_bytes((2**60).to_bytes(8, "little") + b"{}" + bytes(600))
    with pytest.raises(FileFormatError, match="header"):
        load(tmp_path / "absurd.safetensors")

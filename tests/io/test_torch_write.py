"""Checkpoints that we wrote, read by PyTorch."""

import pickle

import numpy as np
import pytest

from npresnext.io import load, save, torch_write
from npresnext.io.dtypes import ITEMSIZE, stored_dtype

from tests.support import torch_checkpoints as checkpoints


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("mmap", [False, True])
def test_torch_reads_what_we_wrote_bit_for_bit(tmp_path, mmap):
    torch = pytest.importorskip("torch")
    pytest.importorskip("ml_dtypes")
    rng = np.random.default_rng(0)
    state = {}
    for name, size in ITEMSIZE.items():
        raw = rng.integers(0, 2 if name == "bool" else 256, (3, 5 * size), "u1")
        state[f"layer.{name}"] = raw.view(stored_dtype(name))
    state |= {"empty": np.zeros((0, 2)), "scalar": np.array(7), "transposed": np.arange(6.0).reshape(2, 3).T}
    save(tmp_path / "state.pth", state, metadata={"k": "v"})
    theirs = torch.load(tmp_path / "state.pth", weights_only=True, mmap=mmap)
    assert list(theirs) == list(state)
    for name, array in state.items():
        expected = np.ascontiguousarray(array).tobytes(), array.dtype.name, array.shape
        assert checkpoints.bits(torch, theirs[name]) == expected


def test_storages_begin_at_multiples_of_64(tmp_path):
    save(tmp_path / "state.pth", {f"w{i}": np.full(i, 1.0 + i) for i in range(1, 12)})
    raw = (tmp_path / "state.pth").read_bytes()
    assert all(raw.index(np.full(i, 1.0 + i).tobytes()) % 64 == 0 for i in range(1, 12))
    assert list(load(tmp_path / "state.pth")) == [f"w{i}" for i in range(1, 12)]


@pytest.mark.parametrize("value", [0, 255, 2**31 - 1, 2**31, 2**40])
def test_sizes_above_32_bits_are_written_as_pickle_has_them(value):
    assert pickle.loads(pickle.PROTO + b"\x02" + torch_write._int(value) + pickle.STOP) == value

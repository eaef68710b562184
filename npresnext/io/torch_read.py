"""PyTorch checkpoints, read without PyTorch: the zip format and the older stream format.

Both hold a pickle that describes tensors as strided views of storages, and the storages as raw little-endian
bytes (big-endian where a zip archive says so): in the zip format as entries ``data/KEY``, in the stream format one
after the other, each after its length. (``torch/serialization.py`` writes both; nothing of it is needed to read.)
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np

from ..errors import FileFormatError
from .archive import Archive, as_array, read_exactly
from .dtypes import ITEMSIZE, stored_dtype
from .metadata import MOST_METADATA, parse_metadata
from .unpickle import Placeholder, StorageRef, TensorRef, unpickle

STREAM_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
METADATA = "npresnext_metadata.json"
_STREAM_VERSION = 1001
_MOST_PICKLE = 16 * 2**20
# Broadcast tensors take no room in a file; a tensor of more bytes than this is not a weight.
_MOST_BROADCAST = 2**30
# Where training scripts put the state of the network, in the order of looking
_NESTED = ("state_dict", "model", "model_state_dict")

Arrays = dict[str, np.ndarray]
ReadStorage = Callable[[StorageRef], np.ndarray]


def read_zip(archive: Archive) -> tuple[Arrays, dict[str, str]]:
    """Return the arrays of a checkpoint in the zip format (PyTorch 1.6 and later), and npresnext's metadata."""
    pickles = [name for name in archive.entries if is_checkpoint_entry(name)]
    if len(pickles) != 1:
        raise FileFormatError(f"a PyTorch checkpoint has one entry NAME/data.pkl; this has {len(pickles)}")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in archive.entries:
        raise FileFormatError("this is a TorchScript program, not a state: save model.state_dict() with torch.save")
    order = archive.read(f"{folder}byteorder", 16) if f"{folder}byteorder" in archive.entries else b"little"
    if order not in (b"little", b"big"):
        raise FileFormatError(f"the entry byteorder is {order!r}: expected little or big")
    described, _ = unpickle(io.BytesIO(archive.read(pickles[0], _MOST_PICKLE)))
    arrays = _build(described, lambda storage: _read_entry(archive, folder, storage), big=order == b"big")
    note = f"{folder}{METADATA}"
    text = archive.read(note, MOST_METADATA) if note in archive.entries else b"{}"
    return arrays, parse_metadata(text.decode("utf-8", "replace"))


def is_checkpoint_entry(name: str) -> bool:
    """Whether an entry of this name makes a zip archive a PyTorch checkpoint."""
    return name.count("/") == 1 and name.endswith("/data.pkl")


def read_stream(file: IO[bytes]) -> tuple[Arrays, dict[str, str]]:
    """Return the arrays of a checkpoint in the stream format (before PyTorch 1.6)."""
    described, places = _read_pickles(file)

    def read(storage: StorageRef) -> np.ndarray:
        file.seek(places[storage.key])
        return read_exactly(file, storage.numel * ITEMSIZE[storage.dtype], f"the storage {storage.key}")

    return _build(described, read, big=False), {}


def _read_entry(archive: Archive, folder: str, storage: StorageRef) -> np.ndarray:
    name, nbytes = f"{folder}data/{storage.key}", storage.numel * ITEMSIZE[storage.dtype]
    if name not in archive.entries:
        raise FileFormatError(f"the storage {name} is missing")
    if archive.entries[name].file_size != nbytes:
        raise FileFormatError(f"the storage {name} has {archive.entries[name].file_size:,} bytes: expected {nbytes:,}")
    with archive.open(name) as stream:
        raw = read_exactly(stream, nbytes, name)
        stream.read(1)  # at the end zipfile compares the checksum
    return raw


def _read_pickles(file: IO[bytes]) -> tuple[Any, dict[str, int]]:
    """Run the pickles at the beginning of a stream; return what they describe, and where each storage begins."""
    head = io.BytesIO(file.read(min(_MOST_PICKLE, os.fstat(file.fileno()).st_size)))
    head.seek(len(STREAM_MAGIC))
    version, _ = unpickle(head)
    if version != _STREAM_VERSION:
        raise FileFormatError(f"the stream format has version {version!r:.40}: expected {_STREAM_VERSION}")
    unpickle(head)  # the sizes of C types on the writing machine, which nothing depends on
    described, storages = unpickle(head)
    keys, _ = unpickle(head)
    return described, _places(file, head.tell(), keys, storages)


def _places(file: IO[bytes], position: int, keys: Any, storages: Mapping[str, StorageRef]) -> dict[str, int]:
    """Return where the bytes of each storage begin: each stands behind its length, a 64-bit integer."""
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise FileFormatError("the list of storages does not match the tensors")
    end = os.fstat(file.fileno()).st_size
    places = {}
    for key in map(str, keys):
        storage = storages[key]
        file.seek(position)
        numel = int.from_bytes(file.read(8), "little")
        places[key], position = position + 8, position + 8 + numel * ITEMSIZE[storage.dtype]
        if numel != storage.numel:
            raise FileFormatError(f"the storage {key} has {numel:,} elements: expected {storage.numel:,}")
        if position > end:
            raise FileFormatError(f"the storage {key} ends at byte {position:,} of a file of {end:,}: it is truncated")
    return places


def _build(described: Any, read: ReadStorage, *, big: bool) -> Arrays:
    """Turn the descriptions of the network's tensors into arrays; tensors that share a storage share memory."""
    entries = _state_of(described)
    strange = {name: _kind(value) for name, value in entries.items() if not _is_value(name, value)}
    tensors = [name for name, value in entries.items() if isinstance(value, TensorRef)]
    if strange and (not tensors or strange.keys() & set(tensors)):  # the second: a tensor whose name is no text
        listed = ", ".join(f"{name!r} ({kind})" for name, kind in list(strange.items())[:8])
        raise FileFormatError(f"not a dictionary of tensors by name; among its entries are: {listed}")
    raws: dict[str, np.ndarray] = {}
    arrays = {}
    for name in [name for name in entries if name not in strange]:  # beside tensors, other objects are passed over
        value = entries[name]
        if isinstance(value, TensorRef):
            if value.storage.key not in raws:
                raws[value.storage.key] = read(value.storage)
            arrays[name] = _view(raws[value.storage.key], value, big)
        else:
            arrays[name] = np.asarray(value)
    return arrays


def _view(raw: np.ndarray, tensor: TensorRef, big: bool) -> np.ndarray:
    """View the bytes of a storage as the tensor describes."""
    dtype = stored_dtype(tensor.dtype)
    size = math.prod(tensor.shape) * dtype.itemsize
    if size > max(len(raw), _MOST_BROADCAST):
        raise FileFormatError(
            f"a tensor of shape {tensor.shape} claims {size:,} bytes on a storage that has {len(raw):,}: refused"
        )
    start = tensor.storage.start * ITEMSIZE[tensor.storage.dtype] + tensor.offset * dtype.itemsize
    array = as_array(
        raw,
        tensor.shape,
        dtype.newbyteorder(">") if big else dtype,
        "a tensor",
        offset=start if size else 0,
        strides=[stride * dtype.itemsize for stride in tensor.strides],
    )
    if big:
        array = array.astype(dtype)
    if tensor.conjugate:
        array = array.conj()
    if tensor.negative and dtype.kind == "b":
        raise FileFormatError("a tensor of booleans is marked as negative: refused")
    return -array if tensor.negative else array


def _state_of(described: Any) -> dict[Any, Any]:
    """Return the dictionary of tensors, which training scripts put into an entry of another dictionary."""
    for _ in range(4):
        described = _as_dictionary(described)
        if not isinstance(described, dict):
            if isinstance(described, Placeholder):
                raise FileFormatError(
                    f"the checkpoint holds an object of the class {described.name}, which is not made here: refused; "
                    "expected a dictionary of tensors by name (of a network, save model.state_dict())"
                )
            kind = "a single tensor" if isinstance(described, TensorRef) else f"a {_kind(described)}"
            raise FileFormatError(f"the checkpoint holds {kind}: expected a dictionary of tensors by name")
        nested = [value for value in map(_as_dictionary, map(described.get, _NESTED)) if isinstance(value, dict)]
        if not nested:
            return described
        described = nested[0]
    raise FileFormatError(f"the checkpoint nests {' and '.join(_NESTED)} more than three deep")


def _as_dictionary(value: Any) -> Any:
    """Return the items of an object of a subclass of a dictionary, and anything else as it is."""
    return value.items if isinstance(value, Placeholder) and value.items else value


def _kind(value: Any) -> str:
    """Return the class of an entry, as the pickle names it."""
    return value.name if isinstance(value, Placeholder) else type(value).__name__


def _is_value(name: Any, value: Any) -> bool:
    is_number = isinstance(value, (float, complex)) or (isinstance(value, int) and abs(value) < 2**63)
    return isinstance(name, str) and (is_number or isinstance(value, TensorRef))

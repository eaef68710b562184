"""PyTorch checkpoints, written without PyTorch, in the zip format that ``torch.load`` reads.

The pickle inside is an OrderedDict whose values call ``torch._utils._rebuild_tensor_v2`` on storages that are
named by persistent ids; it is emitted opcode by opcode, since Python's pickler would need those functions.
"""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .dtypes import TORCH_STORAGE
from .torch_read import METADATA

_FOLDER = "archive"
_ALIGNMENT = 64  # PyTorch maps files into memory and wants each storage at a multiple of this
_LOCAL_HEADER = 30
_ZIP64_FIELD = 20
_PADDING = struct.Struct("<2sH")  # an extra field of a zip entry: its identifier and length


def write(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write `arrays` so that ``torch.load(path, weights_only=True)`` reads them; equal arrays give equal bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as zipped:
        _add(zipped, "data.pkl", _pickled(arrays))
        _add(zipped, "byteorder", b"little")
        for index, array in enumerate(arrays.values()):
            _add(zipped, f"data/{index}", array.reshape(-1).view(np.uint8).data)
        _add(zipped, "version", b"3\n")
        if metadata:
            _add(zipped, METADATA, json.dumps(dict(metadata)).encode())


def _add(zipped: zipfile.ZipFile, name: str, content: bytes | bytearray | memoryview) -> None:
    """Add an entry whose bytes begin at a multiple of the alignment."""
    entry = zipfile.ZipInfo(f"{_FOLDER}/{name}")
    huge = len(content) >= 2**30
    header = _LOCAL_HEADER + len(entry.filename) + _PADDING.size + (_ZIP64_FIELD if huge else 0)
    fill = -(zipped.start_dir + header) % _ALIGNMENT  # start_dir: where the next entry goes
    entry.extra = _PADDING.pack(b"FB", fill) + b"Z" * fill
    with zipped.open(entry, "w", force_zip64=huge) as stream:
        stream.write(content)


def _pickled(arrays: Mapping[str, np.ndarray]) -> bytearray:
    """Return the pickle of an OrderedDict of tensors, of protocol 2."""
    ordered_dict = _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    program = bytearray(pickle.PROTO + b"\x02" + ordered_dict + pickle.MARK)
    for index, (name, array) in enumerate(arrays.items()):
        storage_type = TORCH_STORAGE.get(array.dtype.name)
        program += _text(name)
        program += _global("torch._utils", "_rebuild_tensor_v2" if storage_type else "_rebuild_tensor_v3")
        program += pickle.MARK
        program += pickle.MARK + _text("storage")
        program += _global("torch", storage_type) if storage_type else _global("torch.storage", "UntypedStorage")
        program += _text(str(index)) + _text("cpu") + _int(array.size if storage_type else array.nbytes)
        program += pickle.TUPLE + pickle.BINPERSID
        strides = [stride // array.itemsize for stride in array.strides]
        program += _int(0) + _ints(array.shape) + _ints(strides) + pickle.NEWFALSE + ordered_dict
        program += b"" if storage_type else _global("torch", array.dtype.name)
        program += pickle.TUPLE + pickle.REDUCE
    return program + pickle.SETITEMS + pickle.STOP


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogatepass")
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def _int(value: int) -> bytes:
    if value < 2**31:
        return pickle.BININT + struct.pack("<i", value)
    encoded = pickle.encode_long(value)
    return pickle.LONG1 + bytes([len(encoded)]) + encoded


def _ints(values: tuple[int, ...] | list[int]) -> bytes:
    return pickle.MARK + b"".join(map(_int, values)) + pickle.TUPLE

"""State files: the content decides how a file is read, the ending of its name how it is written."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from .._support.extras import load_extra
from .._support.files import atomic_path
from ..backend import to_numpy
from ..errors import FileFormatError, InvalidTypeError, InvalidValueError
from . import npz, safetensors_file, torch_read, torch_write
from .archive import open_archive
from .dtypes import ITEMSIZE, is_storable
from .metadata import check_metadata

WRITERS = {
    ".npz": npz.write,
    ".safetensors": safetensors_file.write,
    ".pth": torch_write.write,
    ".pt": torch_write.write,
}
# As torch.hub names its files: resnext50_32x4d-7cdf4587.pth
_CHECKSUM = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+")


class State(dict[str, np.ndarray]):
    """Arrays by name, as :func:`load` returns them; ``metadata`` holds the texts that came with them."""

    def __init__(self, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
        """Keep `arrays` in their order, and `metadata`."""
        super().__init__(arrays)
        self.metadata = dict(metadata)


def load(path: str | os.PathLike[str], *, strip_prefix: str = "", check_hash: bool = True) -> State:
    """Read a state file: ``.npz``, ``.safetensors``, or a PyTorch checkpoint of either format, without PyTorch.

    Nothing in the file is executed, whoever wrote it: checkpoints go through :mod:`npresnext.io.unpickle`. Of a
    checkpoint that has the network in an entry ``state_dict``, ``model`` or ``model_state_dict`` this is returned.

    Parameters
    ----------
    path : path
        The file. Its content decides how it is read.
    strip_prefix : str
        Removed from every name that begins with it, such as the ``"module."`` of parallel training.
    check_hash : bool
        Whether to verify a name like ``resnext50_32x4d-7cdf4587.pth``, whose digits begin the file's SHA-256.

    Returns
    -------
    State
        A dictionary of arrays by name, in the order of the file, with an attribute ``metadata``. Arrays that
        shared memory when PyTorch saved them share it again.

    Raises
    ------
    ValueError
        A file that is truncated, damaged, of another kind, or asks for more than arrays (FileFormatError).
    ImportError
        An extra is missing: ``safetensors``, or ``bfloat16`` for 8-bit floats and bfloat16.
    OSError
        The file cannot be opened.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/state.pth", {"module.fc.bias": np.zeros(10)}, metadata={"epoch": "3"})
    ...     state = load(f"{folder}/state.pth", strip_prefix="module.")
    >>> {name: array.shape for name, array in state.items()}, state.metadata
    ({'fc.bias': (10,)}, {'epoch': '3'})
    """
    if not isinstance(strip_prefix, str):
        raise InvalidTypeError(f"strip_prefix must be a text, but is of type {type(strip_prefix).__name__}")
    with open(os.fspath(path), "rb") as file:  # a number would be a file that is open already
        try:
            if check_hash:
                _check_hash(file, Path(path).name)
            arrays, metadata = _read(file)
            return State(_stripped(arrays, strip_prefix), metadata)
        except (ValueError, RecursionError) as error:  # whatever a hostile file makes Python say; FileFormatError too
            raise FileFormatError(f"{path}: {error}") from error.__cause__ or error


def save(
    path: str | os.PathLike[str],
    state: Mapping[str, Any],
    *,
    metadata: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> None:
    """Write arrays by name to a state file, whole or not at all.

    Parameters
    ----------
    path : path
        Its ending chooses the format: ``.npz``, ``.safetensors``, ``.pth`` or ``.pt`` (which ``torch.load`` reads).
    state : mapping
        Arrays by name, such as ``model.state_dict()``; of any array library.
    metadata : mapping, optional
        Texts by name, kept with the arrays.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    ValueError
        An unknown ending, an existing file, a folder that is not there, an array whose dtype has no place in a file.
    TypeError
        `state` is not a mapping of names to arrays.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/state.npz", {"fc.bias": np.zeros(10)})
    ...     load(f"{folder}/state.npz")["fc.bias"].shape
    (10,)
    """
    path = check_ending(path)
    arrays, metadata = _checked(state), check_metadata(metadata)
    with atomic_path(path, overwrite=overwrite) as temporary:
        WRITERS[path.suffix](temporary, arrays, metadata)


def check_ending(path: str | os.PathLike[str]) -> Path:
    """Raise if :func:`save` does not write files with the ending of `path`, or if it lacks a library."""
    path = Path(path)
    if path.suffix not in WRITERS:
        raise InvalidValueError(f"{path} has the ending {path.suffix!r}: expected one of {', '.join(WRITERS)}")
    if path.suffix == ".safetensors":
        load_extra("safetensors", "safetensors", "writing .safetensors files")
    return path


def _read(file: IO[bytes]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read a file of the kind that its first bytes tell."""
    head = file.read(512)
    file.seek(0)
    if head.startswith(torch_read.STREAM_MAGIC):
        return torch_read.read_stream(file)
    if head.startswith(b"PK"):
        with open_archive(file) as archive:
            checkpoint = any(map(torch_read.is_checkpoint_entry, archive.entries))
            return torch_read.read_zip(archive) if checkpoint else npz.read(archive)
    if head[8:9] == b"{":
        return safetensors_file.read(file)
    if head[257:262] == b"ustar":
        raise FileFormatError("a PyTorch checkpoint in the tar format of 2016, older than the stream format: not read")
    if not head:
        raise FileFormatError("the file is empty")
    raise FileFormatError(
        f"no state file: it begins with {head[:16]!r}; known are .npz, .safetensors, and PyTorch's .pth and .pt"
    )


def _check_hash(file: IO[bytes], name: str) -> None:
    """Compare the digits in a name with the file's SHA-256."""
    match = _CHECKSUM.search(name)
    if match is None:
        return
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    file.seek(0)
    if not digest.startswith(match[1]):
        raise FileFormatError(
            f"the name promises a SHA-256 that begins with {match[1]}, but the file's begins with "
            f"{digest[: len(match[1])]}: it is damaged or another file (check_hash=False if the digits are no checksum)"
        )


def _stripped(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Remove `prefix` from the names that begin with it."""
    stripped = {name.removeprefix(prefix): array for name, array in arrays.items()}
    if len(stripped) < len(arrays):
        raise FileFormatError(f"without the prefix {prefix!r} two arrays have the same name")
    return stripped


def _checked(state: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the state as contiguous little-endian NumPy arrays, or say what is none."""
    if not isinstance(state, Mapping):
        raise InvalidTypeError(f"state must be a mapping of arrays by name, but is of type {type(state).__name__}")
    arrays = {}
    for name, value in state.items():
        if not isinstance(name, str) or not name:
            raise InvalidTypeError(f"state has the key {name!r}: expected a name")
        array = to_numpy(value)
        if not is_storable(array.dtype):
            raise InvalidTypeError(
                f"{name} has dtype {array.dtype}, which state files cannot hold: expected one of {', '.join(ITEMSIZE)}"
            )
        arrays[name] = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
    return arrays

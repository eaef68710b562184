"""Zip archives from anywhere: their names, places and sizes are checked before a byte is unpacked."""

from __future__ import annotations

import contextlib
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from ..errors import FileFormatError

# Weights hardly compress: an archive that unpacks to more than both of these limits was made to exhaust memory.
MOST_UNPACKED = 256 * 2**20
MOST_RATIO = 100
_CHUNK = 2**20
# C:weights is a path on a drive; w:0 is how TensorFlow calls the first output of w
_DRIVE = re.compile(r"[A-Za-z]:(?!\d+(\.npy)?$)")
# What zipfile raises for a file that contradicts itself
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError)


class Archive:
    """An open zip archive whose entries were checked: names, overlaps, claimed sizes."""

    def __init__(self, zipped: zipfile.ZipFile, size: int) -> None:
        """Check the directory of `zipped`, a file of `size` bytes."""
        self._zipped = zipped
        self.entries = {entry.filename: entry for entry in zipped.infolist()}
        if len(self.entries) < len(zipped.infolist()):
            raise FileFormatError("two entries of the archive have the same name")
        for name in self.entries:
            if leads_out(name):
                raise FileFormatError(f"the archive has an entry {name!r}, a path that leads out of it")
        self._check_places(zipped.start_dir)
        unpacked = sum(entry.file_size for entry in self.entries.values())
        if unpacked > max(MOST_UNPACKED, MOST_RATIO * size):
            raise FileFormatError(
                f"the archive of {size:,} bytes claims to unpack to {unpacked:,}: more than {MOST_RATIO} times its "
                f"size (and {MOST_UNPACKED:,} bytes), as only a zip bomb does"
            )

    def read(self, name: str, most: int) -> bytes:
        """Return a small entry whole."""
        if self.entries[name].file_size > most:
            raise FileFormatError(f"{name} has {self.entries[name].file_size:,} bytes: at most {most:,} make sense")
        with self.open(name) as stream:
            return stream.read()

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Open an entry for reading; its checksum is verified on the way."""
        with _damage_as_format_error(f"{name} cannot be unpacked"), self._zipped.open(name) as stream:
            yield stream

    def _check_places(self, end: int) -> None:
        """Refuse entries that share bytes, the trick by which a small archive unpacks to petabytes."""
        ordered = sorted(self.entries.values(), key=lambda entry: entry.header_offset)
        for entry, following in zip(ordered, [*ordered[1:], None]):
            limit = following.header_offset if following else end
            least = 30 + len(entry.filename) + entry.compress_size  # local header, name, data
            if entry.header_offset < 0 or entry.header_offset + least > limit:
                raise FileFormatError(f"{entry.filename} overlaps what follows it in the archive")


@contextlib.contextmanager
def open_archive(file: IO[bytes]) -> Iterator[Archive]:
    """Open a zip archive for reading, after checking every claim of its directory."""
    size = os.fstat(file.fileno()).st_size
    with contextlib.ExitStack() as stack:
        with _damage_as_format_error("the zip archive is truncated or damaged"):
            zipped = stack.enter_context(zipfile.ZipFile(file))
        yield Archive(zipped, size)


def leads_out(name: str) -> bool:
    """Whether an entry of this name would be unpacked outside its folder: an absolute path, or too many "..".

    >>> leads_out("a/../b"), leads_out("w:0"), leads_out("../b"), leads_out("C:\\\\b")
    (False, False, True, True)
    """
    name = name.replace("\\", "/")
    depth = 0
    for part in name.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        if depth < 0:
            return True
    return name.startswith("/") or _DRIVE.match(name) is not None or "\0" in name


def read_exactly(stream: IO[bytes], nbytes: int, what: str) -> np.ndarray:
    """Read `nbytes` from `stream` straight into a new array of bytes."""
    raw = np.empty(nbytes, np.uint8)
    view, done = raw.data, 0
    while done < nbytes:
        got = stream.readinto(view[done : done + _CHUNK])  # type: ignore[attr-defined]
        if not got:
            raise FileFormatError(f"{what} ends after {done:,} of its {nbytes:,} bytes: the file is truncated")
        done += got
    return raw


def as_array(raw: np.ndarray, shape: tuple[int, ...], dtype: np.dtype, what: str, **layout: Any) -> np.ndarray:
    """View bytes as an array; a shape that no array can have, such as (0, 2**62), is refused."""
    try:
        return np.ndarray(shape, dtype, raw, **layout)
    except ValueError as error:
        raise FileFormatError(f"{what} has the shape {shape}: {error}") from error


@contextlib.contextmanager
def _damage_as_format_error(what: str) -> Iterator[None]:
    """Say `what` is wrong where zipfile stumbles over a damaged archive."""
    try:
        yield
    except FileFormatError:
        raise
    except _DAMAGE as error:
        raise FileFormatError(f"{what}: {error}") from error

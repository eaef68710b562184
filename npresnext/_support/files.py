"""Files that are written whole or not at all, and that replace a user's file only where the user asks for it."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from ..errors import InvalidValueError, OutputExistsError


def check_writable(path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Raise now what writing to `path` would raise later, and return the path.

    Raises
    ------
    OutputExistsError
        The path exists, and `overwrite` is false.
    ValueError
        The path is a directory, or its folder is absent or not writable.
    """
    path = Path(path)
    if overwrite and path.is_symlink():
        path = Path(os.path.realpath(path))  # what it points to is replaced, and the link stays
    if path.is_dir():
        raise InvalidValueError(f"{path} is a directory: give the name of a file")
    if os.path.lexists(path) and not overwrite:  # a link to nothing, too
        raise OutputExistsError(path)
    if not path.parent.is_dir():
        raise InvalidValueError(f"{path} cannot be written: the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise InvalidValueError(f"{path} cannot be written: no permission to write into {path.parent}")
    return path


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary path in the same folder to write to, and rename it to `path` if the block ends well.

    If the block raises, or the process dies, `path` is as it was before. Errors as for :func:`check_writable`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder) / "note.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     (Path(folder) / "note.txt").read_text()
    'whole'
    """
    path = check_writable(path, overwrite=overwrite)
    if path.exists() and not path.is_file():
        raise InvalidValueError(f"{path} is a device or a pipe, which no file may replace: give the name of a file")
    temporary = path.with_name(f".{path.name[:32]}.{secrets.token_hex(4)}.partial")  # no longer than a name may be
    _create(temporary, 0o600 if path.exists() else 0o666)  # no more than the old file's permissions, until it has them
    mode = (path if path.exists() else temporary).stat().st_mode & 0o777
    try:
        yield temporary
        with open(temporary, "rb+") as written:  # Windows flushes no file that is open for reading alone
            os.fsync(written.fileno())
        os.chmod(temporary, mode)  # some writers put a file of their own there
        if overwrite:
            os.replace(temporary, path)
        else:
            _rename_to_new(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _rename_to_new(temporary: Path, path: Path) -> None:
    """Rename, or raise FileExistsError if `path` came into being meanwhile."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links, such as exFAT
        _create(path, 0o666)
        os.replace(temporary, path)


def _create(path: Path, mode: int) -> None:
    """Create an empty file, or raise FileExistsError."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))

"""MNIST and Fashion-MNIST from the IDX files in which they are published, ``.gz`` or plain."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

from .._support.plurals import counted
from ..errors import FileFormatError
from .images import ImageSet

UNSIGNED_BYTES = 0x08

FASHION_MNIST_HELP = (
    "Debian and Ubuntu: apt-get install dataset-fashion-mnist puts the files into "
    "/usr/share/datasets/fashion-mnist; elsewhere: https://github.com/zalandoresearch/fashion-mnist"
)
MNIST_HELP = "Download its four .gz files from https://ossci-datasets.s3.amazonaws.com/mnist/ into one folder"


def load_fashion_mnist(folder: str | os.PathLike[str]) -> tuple[ImageSet, ImageSet]:
    """Return Fashion-MNIST as a training and a test set, read from the four IDX files in `folder`.

    Parameters
    ----------
    folder : path
        Contains the files under their published names, gzipped or not.

    Returns
    -------
    (train, test)
        Two :class:`ImageSet` of 60,000 and 10,000 images, 28x28.

    Raises
    ------
    ValueError
        A file is missing (the message says where to get it), truncated or of another kind, or the number of images
        differs from the number of labels.
    """
    return _load(Path(folder), "fashion-mnist", mean=0.2860, std=0.3530, advice=FASHION_MNIST_HELP)


def load_mnist(folder: str | os.PathLike[str]) -> tuple[ImageSet, ImageSet]:
    """Return MNIST as a training and a test set; files, result and errors are as in :func:`load_fashion_mnist`."""
    return _load(Path(folder), "mnist", mean=0.1307, std=0.3081, advice=MNIST_HELP)


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Return the array of unsigned bytes in an IDX file, gzipped or not.

    The format (http://yann.lecun.com/exdb/mnist):

    1. two zero bytes;
    2. a byte for the type of the values (8 for unsigned bytes), and a byte for the number of axes;
    3. the length of each axis as a big-endian 32-bit integer;
    4. the values in C order.

    Parameters
    ----------
    path : path

    Returns
    -------
    uint8 array
        Its shape is the one in the file.

    Raises
    ------
    ValueError
        The file is of another kind, or its length does not match its shape.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "four-labels"
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 4]) + bytes([7, 2, 1, 0]))
    ...     read_idx(path)
    array([7, 2, 1, 0], dtype=uint8)
    """
    content = _content(Path(path))
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != UNSIGNED_BYTES:
        raise FileFormatError(
            f"{path} is not an IDX file of unsigned bytes: it begins with {content[:4].hex(' ')}, expected 00 00 08"
        )
    start = 4 + 4 * content[3]
    sizes = content[4:start]
    shape = tuple(np.frombuffer(sizes, ">u4", count=len(sizes) // 4).tolist())  # shorter in a truncated file
    held = max(0, len(content) - start)
    if len(shape) < content[3] or held != math.prod(shape):
        raise FileFormatError(
            f"{path} should hold {counted(math.prod(shape), 'value')}, of shape {shape}, but holds {held}: "
            "it is truncated or damaged; download it again"
        )
    try:
        return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
    except ValueError as error:  # more axes than NumPy supports, or a huge axis beside one of length 0
        raise FileFormatError(f"{path} should hold an array of shape {shape}: {error}") from error


def _content(path: Path) -> bytes:
    """Return the content of a file, decompressed if it is gzipped."""
    raw = path.read_bytes()
    if raw[:2] != b"\x1f\x8b":
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, OSError, zlib.error) as error:
        raise FileFormatError(f"{path} is truncated or damaged ({error}): download it again") from error


def _load(folder: Path, name: str, *, mean: float, std: float, advice: str) -> tuple[ImageSet, ImageSet]:
    """Return the training and the test set from the four files in `folder`."""

    def part(prefix: str, role: str) -> ImageSet:
        images_path = _find(folder, f"{prefix}-images", "idx3-ubyte", name, advice)
        labels_path = _find(folder, f"{prefix}-labels", "idx1-ubyte", name, advice)
        images, labels = read_idx(images_path), read_idx(labels_path)
        for path, array, axes in ((images_path, images, 3), (labels_path, labels, 1)):
            if array.ndim != axes or not array.size:
                raise FileFormatError(
                    f"{path} holds an array of shape {array.shape}: expected {counted(axes, 'axis', 'axes')}, none of "
                    "length 0"
                )
        if len(images) != len(labels):
            raise FileFormatError(
                f"{images_path} holds {counted(len(images), 'image')} and {labels_path} "
                f"{counted(len(labels), 'label')}: the files do not belong together"
            )
        return ImageSet(f"{name} {role}", images[:, None], labels.astype(np.int64), 10, mean=mean, std=std)

    if not folder.is_dir():
        raise FileFormatError(f"there is no folder {folder} with the files of {name}. {advice}")
    train, test = part("train", "train"), part("t10k", "test")
    if train.shape != test.shape:
        raise FileFormatError(f"{folder}: training images have shape {train.shape} and test images {test.shape}")
    return train, test


def _find(folder: Path, stem: str, kind: str, name: str, advice: str) -> Path:
    """Return the path of one file, which may have one of four names."""
    for candidate in (f"{stem}-{kind}.gz", f"{stem}-{kind}", f"{stem}.{kind}.gz", f"{stem}.{kind}"):
        if (folder / candidate).is_file():
            return folder / candidate
    raise FileFormatError(f"{folder} has no {stem}-{kind}.gz, which is part of {name}. {advice}")

"""Batches: shuffled, augmented and normalised on the host, then handed to the backend."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from .._support.arguments import as_int
from .._support.typing import Array
from ..backend import asarray
from ..errors import InvalidTypeError, InvalidValueError
from .images import ImageSet


@dataclasses.dataclass(frozen=True)
class Augment:
    """What training images go through at random: a flip, and a crop from a zero-padded image.

    Attributes
    ----------
    flip
        Mirror every second image, on average, from left to right.
    crop
        Pad each side by so many black pixels, fewer than the image has, and cut out the old size at a random place;
        0 does not.

    Raises
    ------
    ValueError
        `crop` is negative.

    Notes
    -----
    With ``flip=True, crop=4`` this is the augmentation of ResNeXt for CIFAR (arXiv:1611.05431, appendix A).
    """

    flip: bool = False
    crop: int = 0

    def __post_init__(self) -> None:
        if self.crop < 0:
            raise InvalidValueError(f"crop={self.crop}: expected a number of pixels, 0 or more")

    def __call__(self, images: np.ndarray, rng: Any) -> np.ndarray:
        """Return augmented copies of `images` (N, C, H, W)."""
        rng = np.random.default_rng(rng)
        if self.flip:
            mirrored = rng.random(len(images)) < 0.5
            images = np.where(mirrored[:, None, None, None], images[..., ::-1], images)
        if self.crop:
            images = random_crop(images, self.crop, rng)
        return images


def random_crop(images: np.ndarray, padding: int, rng: Any) -> np.ndarray:
    """Return each of `images` (N, C, H, W) cut out of its zero-padded self, at a place of its own.

    Parameters
    ----------
    images : array (N, C, H, W)
    padding : int
        Black pixels on each side, fewer than the image has.
    rng : None, int or numpy.random.Generator

    Returns
    -------
    array (N, C, H, W)

    Raises
    ------
    ValueError
        `padding` is negative, or as large as the image.

    Examples
    --------
    >>> random_crop(np.array([[[[1, 2], [3, 4]]]], np.uint8), 1, rng=0)
    array([[[[3, 4],
             [0, 0]]]], dtype=uint8)
    """
    rng = np.random.default_rng(rng)
    count, _, height, width = images.shape
    most = min(height, width) - 1
    if not 0 <= padding <= most:
        raise InvalidValueError(f"padding={padding}: expected 0 to {most}, less than an image of {height}x{width} has")
    padded = np.pad(images, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))  # (N, C, 2p+1, 2p+1, H, W)
    top, left = rng.integers(0, 2 * padding + 1, size=(2, count))
    return windows[np.arange(count), :, top, left]  # (N, C, H, W)


def normalise(data: ImageSet, images: np.ndarray, dtype: str = "float32") -> Array:
    """Return bytes (N, C, H, W) of `data` as an array of the backend with mean 0 and deviation 1.

    (pixel / white - mean) / std, in float32 for the 16-bit types.

    Parameters
    ----------
    data : ImageSet
        Whose `white`, `mean` and `std` are used.
    images : uint8 array (N, C, H, W)
    dtype : str

    Returns
    -------
    array (N, C, H, W) of `dtype`

    Examples
    --------
    >>> black = np.zeros((1, 1, 1, 1), np.uint8)
    >>> normalise(ImageSet("grey", black, np.array([0]), num_classes=1, mean=0.5, std=0.25), black)
    array([[[[-2.]]]], dtype=float32)
    """
    wide = "float64" if dtype == "float64" else "float32"
    shade = np.arange(data.white + 1, dtype=wide) / data.white  # every value that a pixel can have
    table = ((shade - data.mean) / data.std).astype(wide)  # (white + 1,)
    return asarray(table[images], dtype=dtype)


def training_batches(
    data: ImageSet,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    start: int = 0,
    augment: Augment | None = None,
    dtype: str = "float32",
) -> Iterator[tuple[Array, Array]]:
    """Yield the shuffled batches of one epoch, from batch `start` on, as images and labels of the backend.

    The order follows from (seed, epoch), and the augmentation of a batch from (seed, epoch, batch): whoever
    stops after any batch can go on from there, with the same numbers as if nothing had happened. What is left
    over after the last whole batch sits out this epoch.

    Parameters
    ----------
    data : ImageSet
    batch_size : int
        Images a batch.
    seed, epoch : int
        From 0 on.
    start : int
        The first batch to yield, counted from 0.
    augment : Augment, optional
        What the images go through before they are normalised.
    dtype : str
        Of the images (batch_size, C, H, W); the labels (batch_size,) are int64.

    Raises
    ------
    ValueError
        `batch_size` is below 1, or above the number of images; `seed` or `epoch` is negative.
    TypeError
        `data` is not an ImageSet, but, say, the pair that ``load_digits`` returns.

    Examples
    --------
    >>> from npresnext.data import load_digits
    >>> x, target = next(training_batches(load_digits()[0], 4, seed=0, epoch=0))
    >>> x.shape, target.shape
    ((4, 1, 8, 8), (4,))
    """
    batches = batches_per_epoch(data, batch_size)
    seed, epoch = as_int(seed, "seed", 0), as_int(epoch, "epoch", 0)
    order = np.random.default_rng([seed, epoch]).permutation(len(data))
    for batch in range(start, batches):
        chosen = order[batch * batch_size : (batch + 1) * batch_size]
        images = data.images[chosen]
        if augment is not None:
            images = augment(images, np.random.default_rng([seed, epoch, batch]))
        yield normalise(data, images, dtype), asarray(data.labels[chosen])


def batches_per_epoch(data: ImageSet, batch_size: int) -> int:
    """Return how many whole batches there are in `data`."""
    _check_set(data)
    if not 1 <= as_int(batch_size, "batch_size") <= len(data):
        raise InvalidValueError(f"batch_size={batch_size}: expected 1 to {len(data)}, the images of {data.name}")
    return len(data) // batch_size


def all_batches(data: ImageSet, batch_size: int, *, dtype: str = "float32") -> Iterator[tuple[Array, Array]]:
    """Yield all of `data` in its own order, as images and labels of the backend; the last batch may be smaller.

    Parameters
    ----------
    data : ImageSet
    batch_size : int
        Images a batch, at least 1.
    dtype : str
        Of the images (batch_size, C, H, W); the labels (batch_size,) are int64.

    Raises
    ------
    ValueError, TypeError
        `batch_size` is below 1; `data` is not an ImageSet.

    Examples
    --------
    >>> from npresnext.data import load_digits
    >>> [len(target) for _, target in all_batches(load_digits()[1], 200)]
    [200, 155]
    """
    _check_set(data)
    for start in range(0, len(data), as_int(batch_size, "batch_size", 1)):
        images, labels = data.images[start : start + batch_size], data.labels[start : start + batch_size]
        yield normalise(data, images, dtype), asarray(labels)


def _check_set(data: ImageSet) -> None:
    """Raise unless `data` is one set: the functions that load one return two."""
    if not isinstance(data, ImageSet):
        raise InvalidTypeError(
            f"data must be an ImageSet, but is of type {type(data).__name__} "
            "(load_digits and its like return two, one to train and one to test)"
        )

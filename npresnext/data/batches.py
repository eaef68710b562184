"""Batches of images: shuffled, augmented and normalised in host memory, then copied to the current backend."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from .._support.arguments import as_bool, as_generator, as_int
from .._support.dtypes import as_dtype
from .._support.typing import Array
from ..backend import asarray
from ..errors import InvalidTypeError, InvalidValueError, ShapeError
from .images import ImageSet


@dataclasses.dataclass(frozen=True)
class Augment:
    """Random changes of the training images: a flip, and a crop from the zero-padded image.

    Attributes
    ----------
    flip : bool
        Whether each image is mirrored from left to right with probability 1/2.
    crop : int
        Pad each side by this many black pixels (fewer than the image has), and cut out an image of the old size at a
        random position; 0 for no crop.

    Raises
    ------
    ValueError, TypeError
        `crop` is negative or no integer; `flip` is no bool.

    Notes
    -----
    With ``flip=True, crop=4`` this is the augmentation of ResNeXt for CIFAR (arXiv:1611.05431, appendix A).
    """

    flip: bool = False
    crop: int = 0

    def __post_init__(self) -> None:
        as_int(self.crop, "crop", 0)
        as_bool(self.flip, "flip")

    def __call__(self, images: np.ndarray, rng: Any) -> np.ndarray:
        """Return augmented copies of `images` (N, C, H, W)."""
        rng = as_generator(rng)
        if self.flip:
            mirrored = rng.random(len(images)) < 0.5
            images = np.where(mirrored[:, None, None, None], images[..., ::-1], images)
        if self.crop:
            images = random_crop(images, self.crop, rng)
        return images


def random_crop(images: np.ndarray, padding: int, rng: Any) -> np.ndarray:
    """Pad each image with zeros, and cut out an image of the old size at a random position.

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
    if not isinstance(images, np.ndarray) or images.ndim != 4:
        raise ShapeError(f"images must be an array (N, C, H, W), but have shape {np.shape(images)}")
    rng = as_generator(rng)
    count, _, height, width = images.shape
    most = min(height, width) - 1
    if not 0 <= as_int(padding, "padding") <= most:
        raise InvalidValueError(f"padding must be from 0 to {most} for images of {height}x{width}, but is {padding}")
    padded = np.zeros((*images.shape[:2], height + 2 * padding, width + 2 * padding), images.dtype)
    padded[:, :, padding : padding + height, padding : padding + width] = images
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))  # (N, C, 2p+1, 2p+1, H, W)
    top, left = rng.integers(0, 2 * padding + 1, size=(2, count))
    return windows[np.arange(count), :, top, left]  # (N, C, H, W)


def normalise(data: ImageSet, images: np.ndarray, dtype: Any = "float32") -> Array:
    """Return images of `data` as an array of the current backend, normalised to mean 0 and standard deviation 1.

    The formula is (pixel / white - mean) / std. For the 16-bit dtypes it is computed in float32.

    Parameters
    ----------
    data : ImageSet
        Gives `white`, `mean` and `std`.
    images : uint8 array (N, C, H, W)
    dtype : str
        That of the result.

    Returns
    -------
    array (N, C, H, W) of `dtype`

    Examples
    --------
    >>> black = np.zeros((1, 1, 1, 1), np.uint8)
    >>> normalise(ImageSet("grey", black, np.array([0]), num_classes=1, mean=0.5, std=0.25), black)
    array([[[[-2.]]]], dtype=float32)
    """
    _check_set(data)
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        kind = getattr(images, "dtype", type(images).__name__)
        raise InvalidTypeError(f"images must be a NumPy array of uint8, but are {kind}")
    wide = "float64" if as_dtype(dtype) == "float64" else "float32"
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
    """Yield the shuffled batches of one epoch as images and labels, arrays of the current backend.

    The order of the images follows from (seed, epoch), and the augmentation of a batch from (seed, epoch, batch). So a
    run that stopped after any batch can continue from there with the same numbers. The images that remain after the
    last whole batch are not used in this epoch.

    Parameters
    ----------
    data : ImageSet
    batch_size : int
        Images per batch.
    seed, epoch : int
        At least 0.
    start : int
        The first batch to yield, counted from 0.
    augment : Augment, optional
        Random changes of the images before they are normalised.
    dtype : str
        The dtype of the images (batch_size, C, H, W). The labels (batch_size,) are int64.

    Raises
    ------
    ValueError
        `batch_size` is below 1, or above the number of images; `seed` or `epoch` is negative.
    TypeError
        `data` is not an ImageSet, but for example the pair that ``load_digits`` returns.

    Examples
    --------
    >>> from npresnext.data import load_digits
    >>> x, target = next(training_batches(load_digits()[0], 4, seed=0, epoch=0))
    >>> x.shape, target.shape
    ((4, 1, 8, 8), (4,))
    """
    batches, batch_size = batches_per_epoch(data, batch_size), as_int(batch_size, "batch_size")
    seed, epoch = as_int(seed, "seed", 0), as_int(epoch, "epoch", 0)
    if augment is not None and not callable(augment):
        raise InvalidTypeError(f"augment must be an Augment, but is of type {type(augment).__name__}")
    order = np.random.default_rng([seed, epoch]).permutation(len(data))
    for batch in range(as_int(start, "start", 0), batches):
        chosen = order[batch * batch_size : (batch + 1) * batch_size]
        images = data.images[chosen]
        if augment is not None:
            images = augment(images, np.random.default_rng([seed, epoch, batch]))
        yield normalise(data, images, dtype), asarray(data.labels[chosen])


def batches_per_epoch(data: ImageSet, batch_size: int) -> int:
    """Return the number of whole batches in `data`."""
    _check_set(data)
    if not 1 <= as_int(batch_size, "batch_size") <= len(data):
        raise InvalidValueError(
            f"batch_size must be from 1 to {len(data)}, the images of {data.name}, but is {batch_size}"
        )
    return len(data) // as_int(batch_size, "batch_size")


def all_batches(data: ImageSet, batch_size: int, *, dtype: str = "float32") -> Iterator[tuple[Array, Array]]:
    """Yield all images and labels of `data` in their order, as arrays of the current backend.

    The last batch may be smaller.

    Parameters
    ----------
    data : ImageSet
    batch_size : int
        Images per batch, at least 1.
    dtype : str
        The dtype of the images (batch_size, C, H, W). The labels (batch_size,) are int64.

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
    batch_size = as_int(batch_size, "batch_size", 1)
    for start in range(0, len(data), batch_size):
        images, labels = data.images[start : start + batch_size], data.labels[start : start + batch_size]
        yield normalise(data, images, dtype), asarray(labels)


def _check_set(data: ImageSet) -> None:
    """Raise unless `data` is an ImageSet; a pair of them, as load_digits returns, is a common mistake."""
    if not isinstance(data, ImageSet):
        raise InvalidTypeError(
            f"data must be an ImageSet, but is of type {type(data).__name__} "
            "(load_digits and similar functions return a pair: a training set and a test set)"
        )

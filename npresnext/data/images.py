"""A set of labelled images, which is checked when it is made."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np

from .._support.arguments import as_int
from .._support.plurals import counted
from ..errors import InvalidTypeError, InvalidValueError, ShapeError


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images and their labels, as unsigned bytes in host memory; only batches are normalised.

    Attributes
    ----------
    name
        The name of the set in messages and files.
    images : (N, C, H, W) uint8
    labels : (N,) of integers
        Classes from 0 to ``num_classes - 1``.
    num_classes
        The number of classes.
    white
        The largest possible value of a pixel.
    mean, std
        The mean and the standard deviation of the training pixels after division by `white`.

    Raises
    ------
    ValueError, TypeError
        Shapes, dtypes or labels are wrong or do not fit each other.

    Examples
    --------
    >>> ImageSet("dots", np.zeros((2, 1, 3, 3), np.uint8), np.array([0, 1]), num_classes=2)
    ImageSet('dots': 2 images of shape (1, 3, 3), 2 classes)
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    num_classes: int
    white: int = 255
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        for name, array in (("images", self.images), ("labels", self.labels)):
            if not isinstance(array, np.ndarray):
                kind = type(array).__name__
                raise InvalidTypeError(f"{name} of {self.name} must be a NumPy array, but are of type {kind}")
        if self.images.ndim != 4:
            raise ShapeError(f"images of {self.name} have shape {self.images.shape}: expected (N, C, H, W)")
        if self.images.dtype != np.uint8:
            raise InvalidTypeError(f"images of {self.name} have dtype {self.images.dtype}: expected uint8")
        if self.labels.shape != self.images.shape[:1]:
            raise ShapeError(
                f"{self.name} has {counted(len(self.images), 'image')} and labels of shape {self.labels.shape}: "
                "expected one label for each image"
            )
        if self.labels.dtype.kind not in "iu":
            raise InvalidTypeError(f"labels of {self.name} have dtype {self.labels.dtype}: expected integers")
        brightest = self.images.max(initial=0)
        if brightest > self.white:
            raise InvalidValueError(
                f"{self.name} has a pixel with the value {brightest}: expected at most white={self.white}"
            )
        wrong = self.labels[(self.labels < 0) | (self.labels >= self.num_classes)]
        if wrong.size:
            raise InvalidValueError(
                f"{self.name} has the label {wrong[0]}: labels of {counted(self.num_classes, 'class', 'classes')} run "
                f"from 0 to {self.num_classes - 1}"
            )

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        images, classes = counted(len(self), "image"), counted(self.num_classes, "class", "classes")
        return f"ImageSet({self.name!r}: {images} of shape {self.shape}, {classes})"

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of one image."""
        return self.images.shape[1:]

    def fingerprint(self) -> str:
        """Return the SHA-256 of the images followed by the labels as little-endian int64."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
        return digest.hexdigest()

    def first(self, count: int) -> ImageSet:
        """Return a set of the first `count` images."""
        if not 1 <= as_int(count, "count") <= len(self):
            raise InvalidValueError(f"count must be from 1 to {len(self)}, the images of {self.name}, but is {count}")
        return dataclasses.replace(self, images=self.images[:count], labels=self.labels[:count])

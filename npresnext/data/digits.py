"""The 1,797 handwritten digits that travel inside the package: see digits.md for where they come from."""

from __future__ import annotations

from importlib import resources

import numpy as np

from .images import ImageSet

MEAN, STD = 0.3051, 0.3762  # of the training pixels, white being 1


def load_digits() -> tuple[ImageSet, ImageSet]:
    """Return the digits as a training set of 1,442 and a test set of 355 images, 8x8 pixels, ten classes.

    The split is fixed: every fifth image of each class, in the order of the source, is a test image.

    Returns
    -------
    (train, test)
        Two :class:`ImageSet`; pixels run from 0 to 16.

    Examples
    --------
    >>> train, test = load_digits()
    >>> train.images.shape, test.images.shape
    ((1442, 1, 8, 8), (355, 1, 8, 8))
    """
    with resources.files(__package__).joinpath("digits.npz").open("rb") as file, np.load(file) as stored:
        images, labels, is_test = stored["images"], stored["labels"], stored["is_test"]
    images = images[:, None]  # (N, 1, 8, 8)

    def part(name: str, chosen: np.ndarray) -> ImageSet:
        return ImageSet(
            f"digits {name}", images[chosen], labels[chosen].astype(np.int64), 10, white=16, mean=MEAN, std=STD
        )

    return part("train", ~is_test), part("test", is_test)

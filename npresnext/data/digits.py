"""The 1,797 handwritten digits that are bundled with the package; digits.md names their source."""

from __future__ import annotations

from importlib import resources

import numpy as np

from .images import ImageSet

MEAN, STD = 0.3051, 0.3762  # of the training pixels, scaled from 0 (black) to 1 (white)


def load_digits() -> tuple[ImageSet, ImageSet]:
    """Return the digits: a training set of 1,442 images and a test set of 355, of 8x8 pixels in ten classes.

    The split is fixed: every fifth image of each class, in the order of the source, is a test image.

    Returns
    -------
    (train, test)
        Two :class:`ImageSet`; pixels have values from 0 to 16.

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

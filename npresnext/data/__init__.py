"""Labelled images: the bundled digits, MNIST and Fashion-MNIST from IDX files, and batches for training."""

from .batches import Augment, all_batches, normalise, random_crop, training_batches
from .digits import load_digits
from .idx import load_fashion_mnist, load_mnist, read_idx
from .images import ImageSet

__all__ = [
    "Augment",
    "ImageSet",
    "all_batches",
    "load_digits",
    "load_fashion_mnist",
    "load_mnist",
    "normalise",
    "random_crop",
    "read_idx",
    "training_batches",
]

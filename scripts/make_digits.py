"""Make npresnext/data/digits.npz from scikit-learn's copy of the UCI digits; this script needs scikit-learn.

    python scripts/make_digits.py npresnext/data/digits.npz

It writes the same bytes in every run. Every fifth image of each class, in the order of the original file, is a test
image.
"""

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

EVERY = 5


def is_test_image(labels: np.ndarray) -> np.ndarray:
    """Return a mask of the test images."""
    test = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        test[np.flatnonzero(labels == label)[EVERY - 1 :: EVERY]] = True
    return test


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a file like numpy.savez_compressed, but with a fixed date, so that equal arrays give equal bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1998, 7, 1, 0, 0, 0))
            archive.writestr(entry, buffer.getvalue(), zipfile.ZIP_DEFLATED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="the file to write")
    path = parser.parse_args().path
    digits = load_digits()
    images = digits.images.astype(np.uint8)  # (1797, 8, 8), values 0 to 16
    labels = digits.target.astype(np.uint8)
    write_npz(path, {"images": images, "labels": labels, "is_test": is_test_image(labels)})


if __name__ == "__main__":
    main()

"""Make npresnext/data/digits.npz from scikit-learn's copy of the UCI digits; needs scikit-learn, once.

    python scripts/make_digits.py npresnext/data/digits.npz

The same bytes come out every time. Every fifth image of each class, in the order of the original
file, is a test image.
"""

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

EVERY = 5


def split(labels: np.ndarray) -> np.ndarray:
    test = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        test[np.flatnonzero(labels == label)[EVERY - 1 :: EVERY]] = True
    return test


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write what numpy.savez_compressed writes, with a fixed date, so that equal arrays give equal bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            held = io.BytesIO()
            np.save(held, array)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1998, 7, 1, 0, 0, 0))
            archive.writestr(entry, held.getvalue(), zipfile.ZIP_DEFLATED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="the file to write")
    path = parser.parse_args().path
    digits = load_digits()
    images = digits.images.astype(np.uint8)  # (1797, 8, 8), values 0 to 16
    labels = digits.target.astype(np.uint8)
    write_npz(path, {"images": images, "labels": labels, "is_test": split(labels)})


if __name__ == "__main__":
    main()

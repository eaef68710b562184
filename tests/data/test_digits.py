"""The digits inside the package."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from npresnext.data import ImageSet, load_digits
from npresnext.data.digits import MEAN, STD
from npresnext.errors import InvalidTypeError, InvalidValueError, ShapeError

from tests.support.paths import ROOT


def test_the_split_is_fixed_and_balanced_over_the_classes():
    train, test = load_digits()
    assert (len(train), len(test)) == (1442, 355)
    for part, share in ((train, 144.2), (test, 35.5)):
        counts = np.bincount(part.labels, minlength=10)
        assert abs(counts - share).max() <= 5


def test_no_image_is_in_both_parts_more_often_than_the_source_repeats_it():
    train, test = load_digits()
    seen = {image.tobytes() for image in train.images}
    assert not [image for image in test.images if image.tobytes() in seen]


def test_the_stated_mean_and_deviation_are_those_of_the_training_pixels():
    pixels = load_digits()[0].images / 16
    assert round(float(pixels.mean()), 4) == MEAN
    assert round(float(pixels.std()), 4) == STD


def test_loading_needs_numpy_alone():
    script = (
        "import sys; from npresnext.data import load_digits; load_digits();"
        "print([m for m in ('scipy', 'sklearn', 'matplotlib', 'tqdm', 'hypothesis', 'cupy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "[]\n"


def test_the_attribution_lies_beside_the_data():
    text = (Path(load_digits.__globals__["__file__"]).parent / "digits.md").read_text("utf-8")
    assert "CC BY 4.0" in text and "UCI" in text


@pytest.mark.oracle
def test_the_script_makes_the_file_byte_for_byte(tmp_path):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    root = ROOT
    subprocess.run([sys.executable, root / "scripts/make_digits.py", tmp_path / "digits.npz"], check=True)
    assert (tmp_path / "digits.npz").read_bytes() == (root / "npresnext/data/digits.npz").read_bytes()


def test_a_set_shows_what_it_is_and_not_its_pixels():
    assert repr(load_digits()[1]) == "ImageSet('digits test': 355 images of shape (1, 8, 8), 10 classes)"


def test_the_fingerprint_tells_images_and_labels_apart():
    train, test = load_digits()
    turned = ImageSet("turned", train.images, np.roll(train.labels, 1), 10)
    assert len({train.fingerprint(), test.fingerprint(), turned.fingerprint()}) == 3
    assert train.fingerprint() == load_digits()[0].fingerprint()
    narrow = dataclasses.replace(train, labels=train.labels.astype("uint8"))
    assert narrow.fingerprint() == train.fingerprint()


@pytest.mark.parametrize(
    "images, labels, error, words",
    [
        (np.zeros((2, 8, 8), np.uint8), np.zeros(2, int), ShapeError, "expected \\(N, C, H, W\\)"),
        (np.zeros((2, 1, 8, 8)), np.zeros(2, int), InvalidTypeError, "dtype float64: expected uint8"),
        (np.zeros((2, 1, 8, 8), np.uint8), np.zeros(3, int), ShapeError, "2 images and labels of shape \\(3,\\)"),
        ([[0]], np.zeros(1, int), InvalidTypeError, "images of made up must be a NumPy array, but are of type list"),
        (np.zeros((2, 1, 8, 8), np.uint8), [0, 1], InvalidTypeError, "labels of made up must be a NumPy array"),
        (np.zeros((2, 1, 8, 8), np.uint8), np.zeros(2), InvalidTypeError, "labels .* dtype float64: expected integers"),
        (np.zeros((2, 1, 8, 8), np.uint8), np.array([0, 10]), InvalidValueError, "label 10: .* 0 to 9"),
        (np.zeros((2, 1, 8, 8), np.uint8), np.array([-1, 0]), InvalidValueError, "label -1"),
    ],
)
def test_images_and_labels_that_disagree_are_refused(images, labels, error, words):
    with pytest.raises(error, match=words):
        ImageSet("made up", images, labels, 10)


def test_the_first_images_are_a_set_of_their_own_and_there_must_be_some():
    train, _ = load_digits()
    few = train.first(7)
    assert len(train.first(1)) == 1
    assert len(few) == 7 and (few.images == train.images[:7]).all() and (few.labels == train.labels[:7]).all()
    for count in (0, len(train) + 1):
        with pytest.raises(
            InvalidValueError, match=f"count must be from 1 to 1442, the images of digits train, but is {count}"
        ):
            train.first(count)

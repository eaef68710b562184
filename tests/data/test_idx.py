"""MNIST and Fashion-MNIST from IDX files: what is read, and every way in which a file can be wrong."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from npresnext.data import load_fashion_mnist, load_mnist, read_idx
from npresnext.errors import FileFormatError, InvalidValueError


def idx_bytes(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_set(folder, *, train=7, test=3, size=(28, 28), pack=gzip.compress, ending="-idx{}-ubyte.gz"):
    rng = np.random.default_rng(0)
    for prefix, count in (("train", train), ("t10k", test)):
        images = rng.integers(0, 256, (count, *size), dtype=np.uint8)
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        (folder / f"{prefix}-images{ending.format(3)}").write_bytes(pack(idx_bytes(images)))
        (folder / f"{prefix}-labels{ending.format(1)}").write_bytes(pack(idx_bytes(labels)))
    return images, labels  # of the test set


@settings(max_examples=25)
@given(array=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0)), packed=st.booleans())
def test_reading_undoes_writing(tmp_path_factory, array, packed):
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(gzip.compress(idx_bytes(array)) if packed else idx_bytes(array))
    read = read_idx(path)
    assert read.shape == array.shape and (read == array).all()


@pytest.mark.parametrize("pack", [gzip.compress, bytes])
@pytest.mark.parametrize("ending", ["-idx{}-ubyte.gz", "-idx{}-ubyte", ".idx{}-ubyte"])
@pytest.mark.parametrize(("load", "mean", "std"), [(load_fashion_mnist, 0.286, 0.353), (load_mnist, 0.1307, 0.3081)])
def test_four_files_make_a_training_and_a_test_set(tmp_path, pack, ending, load, mean, std):
    images, labels = write_set(tmp_path, pack=pack, ending=ending)
    train, test = load(tmp_path)
    assert (train.mean, train.std) == (test.mean, test.std) == (mean, std)
    assert (train.images.shape, test.images.shape) == ((7, 1, 28, 28), (3, 1, 28, 28))
    assert (test.images[:, 0] == images).all() and (test.labels == labels).all()
    assert test.labels.dtype == np.int64 and test.white == 255


def test_an_absent_file_is_named_and_the_message_says_how_to_get_it(tmp_path):
    write_set(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileFormatError, match="has no t10k-labels-idx1-ubyte.gz, which is part of fashion-mnist. Deb"):
        load_fashion_mnist(tmp_path)
    with pytest.raises(FileFormatError, match="has no train-images.* which is part of mnist. Download"):
        (tmp_path / "empty").mkdir()
        load_mnist(tmp_path / "empty")
    with pytest.raises(FileFormatError, match="there is no folder .*nowhere with the files of mnist. Download"):
        load_mnist(tmp_path / "nowhere")


@settings(max_examples=40)
@given(data=st.data())
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path_factory, data):
    whole = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    whole = gzip.compress(whole) if data.draw(st.booleans()) else whole
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(FileFormatError):
        read_idx(path)


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "is not an IDX file"),
        (bytes([0, 0, 8]), "is not an IDX file"),
        (b"\x89PNG\r\n\x1a\n", "begins with 89 50 4e 47"),
        (b"\0\0\x0d\1\0\0\0\1\0\0\0\0", "begins with 00 00 0d 01, expected 00 00 08"),
        (idx_bytes(np.zeros(4, np.uint8)) + b"!", "should hold 4 values, of shape \\(4,\\), but holds 5"),
        (b"\0\0\x08\3" + b"\xff" * 12, "truncated or damaged"),
        (b"\0\0\x08\2" + bytes(4), "truncated or damaged"),
        (b"\0\0\x08\3" + b"\xff" * 8 + bytes(4), "shape \\(4294967295, 4294967295, 0\\)"),
        (b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"!", "shape \\(1, 1, 1"),
        (gzip.compress(b"\0" * 90)[:-9] + b"x" * 9, "truncated or damaged"),
    ],
    # named, because the bytes of a gzip stream hold the time at which it was made
    ids=[
        "empty",
        "three bytes",
        "a picture",
        "another type",
        "a byte too many",
        "a huge shape",
        "an axis too few",
        "a huge shape of nothing",
        "255 axes",
        "damaged gzip",
    ],
)
def test_a_file_of_another_kind_is_refused_by_what_it_begins_with(tmp_path, content, words):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=words):
        read_idx(path)


def test_counts_that_disagree_are_refused(tmp_path):
    write_set(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(idx_bytes(np.zeros(6, np.uint8)))
    with pytest.raises(FileFormatError, match="7 images and .* 6 labels"):
        load_mnist(tmp_path)


def test_images_in_the_place_of_labels_are_refused(tmp_path):
    write_set(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes((tmp_path / "train-images-idx3-ubyte.gz").read_bytes())
    with pytest.raises(FileFormatError, match="train-labels.* expected 1 axis"):
        load_mnist(tmp_path)


@pytest.mark.parametrize("sizes", [{"test": 0}, {"train": 0}, {"size": (28, 0)}])
def test_a_set_without_images_or_of_images_without_pixels_is_refused(tmp_path, sizes):
    write_set(tmp_path, **sizes)
    with pytest.raises(FileFormatError, match="images-idx3-ubyte.gz holds an array of shape .*: expected 3 axes"):
        load_mnist(tmp_path)


def test_labels_out_of_range_are_refused(tmp_path):
    write_set(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(idx_bytes(np.array([0, 10, 9], np.uint8)))
    with pytest.raises(InvalidValueError, match="mnist test has the label 10"):
        load_mnist(tmp_path)


def test_training_and_test_images_of_different_sizes_are_refused(tmp_path):
    write_set(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(idx_bytes(np.zeros((3, 8, 8), np.uint8)))
    with pytest.raises(FileFormatError, match="\\(1, 28, 28\\) and test images \\(1, 8, 8\\)"):
        load_mnist(tmp_path)

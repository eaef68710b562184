"""Batches: order, augmentation and normalisation, all of them following from the seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npresnext.data import (
    Augment,
    ImageSet,
    all_batches,
    load_digits,
    normalise,
    random_crop,
    training_batches,
)
from npresnext.errors import InvalidTypeError, InvalidValueError, NpresnextError


def numbered(count=20, size=(3, 4)):
    """Images that are told apart by their first pixel, which is also the label."""
    images = np.zeros((count, 1, *size), np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    return ImageSet("numbered", images, np.arange(count), count, white=255)


def test_an_epoch_shows_each_image_once_and_labels_stay_with_their_images():
    batches = list(training_batches(numbered(20), 5, seed=0, epoch=0))
    pixels = np.concatenate([x[:, 0, 0, 0] for x, _ in batches])
    labels = np.concatenate([target for _, target in batches])
    assert sorted(labels) == list(range(20)) and list(labels) != sorted(labels)
    assert (np.rint(pixels * 255) == labels).all()


def test_order_and_augmentation_follow_from_seed_and_epoch():
    train, augment = load_digits()[0], Augment(flip=True, crop=1)

    def epoch(seed, number):
        return np.concatenate([x for x, _ in training_batches(train, 64, seed=seed, epoch=number, augment=augment)])

    assert (epoch(3, 1) == epoch(3, 1)).all()
    assert (epoch(3, 1) != epoch(3, 2)).any() and (epoch(3, 1) != epoch(4, 1)).any()


def test_every_batch_of_training_is_augmented_by_draws_of_its_own():
    dot = np.zeros((60, 1, 9, 9), np.uint8)
    dot[:, :, 4, 4] = 1
    data = ImageSet("dots", dot, np.zeros(60, int), num_classes=1, white=1)

    def places(epoch, augment):
        batches = training_batches(data, 20, seed=0, epoch=epoch, augment=augment)
        return [tuple(np.argwhere(x[:, 0])[:, 1:].ravel().tolist()) for x, _ in batches]

    assert set(places(0, None)) == {(4, 4) * 20}
    crop = Augment(crop=4)
    assert len({*places(0, crop), *places(1, crop)}) == 6


@settings(max_examples=10)
@given(start=st.integers(0, 22))
def test_starting_in_the_middle_gives_what_would_have_come(start):
    train, options = load_digits()[0], {"seed": 1, "epoch": 2, "augment": Augment(flip=True, crop=2)}
    whole = list(training_batches(train, 64, **options))
    rest = list(training_batches(train, 64, start=start, **options))
    assert len(rest) == 22 - start
    for (x, target), (expected_x, expected_target) in zip(rest, whole[start:]):
        assert (x == expected_x).all() and (target == expected_target).all()


def test_what_is_left_over_sits_out_and_evaluation_sees_everything():
    data = numbered(20)
    assert [len(target) for _, target in training_batches(data, 8, seed=0, epoch=0)] == [8, 8]
    images, labels = zip(*all_batches(data, 8))
    assert [(len(x), len(target)) for x, target in zip(images, labels)] == [(8, 8), (8, 8), (4, 4)]
    assert (np.concatenate(labels) == data.labels).all()
    assert (np.concatenate(images) == normalise(data, data.images)).all()


def test_only_what_was_asked_for_is_done_to_an_image():
    images = np.random.default_rng(0).integers(0, 9, (50, 2, 3, 4)).astype(np.uint8)
    np.testing.assert_array_equal(Augment()(images, rng=0), images)
    np.testing.assert_array_equal(Augment(crop=2)(images, rng=0), random_crop(images, 2, rng=0))


def test_a_flip_mirrors_some_images_and_leaves_the_others():
    images = np.random.default_rng(0).integers(0, 9, (50, 2, 3, 4)).astype(np.uint8)
    flipped = Augment(flip=True)(images, rng=0)
    same = (flipped == images).all(axis=(1, 2, 3))
    mirrored = (flipped == images[..., ::-1]).all(axis=(1, 2, 3))
    assert (same | mirrored).all() and 10 < mirrored.sum() < 40


@settings(max_examples=15)
@given(padding=st.integers(0, 3), seed=st.integers(0, 99))
def test_each_crop_is_a_window_of_the_padded_image(padding, seed):
    images = np.random.default_rng(seed).integers(1, 250, (6, 2, 4, 5)).astype(np.uint8)
    cropped = random_crop(images, padding, rng=seed)
    padded = np.pad(images, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    for image, crop in zip(padded, cropped):
        places = [(i, j) for i in range(2 * padding + 1) for j in range(2 * padding + 1)]
        assert any((image[:, i : i + 4, j : j + 5] == crop).all() for i, j in places)


@pytest.mark.parametrize("padding", [-1, 3, 10**30])
def test_a_crop_may_not_miss_the_image(padding):
    with pytest.raises(InvalidValueError, match=f"padding must be from 0 to 2 for images of 3x4, but is {padding}"):
        random_crop(numbered().images, padding, rng=0)


def test_a_seed_that_is_none_is_named():
    with pytest.raises(InvalidValueError, match="rng must be None, a seed of at least 0, or .*, but is -1"):
        random_crop(numbered().images, 1, rng=-1)


def test_crops_reach_every_place():
    image = np.zeros((400, 1, 5, 5), np.uint8)
    image[:, :, 2, 2] = 1
    places = {tuple(np.argwhere(crop[0])[0].tolist()) for crop in random_crop(image, 2, rng=0)}
    assert places == {(i, j) for i in range(5) for j in range(5)}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_normalised_pixels_have_mean_zero_and_deviation_one(dtype):
    train, _ = load_digits()
    x = normalise(train, train.images, dtype)
    assert x.dtype == dtype
    assert abs(x.mean(dtype=np.float64)) < 1e-3 and abs(x.std(dtype=np.float64) - 1) < 1e-3


def test_normalisation_is_the_formula_to_the_last_bit():
    train, _ = load_digits()
    expected = (train.images.astype("float64") / 16 - train.mean) / train.std
    assert (normalise(train, train.images, "float64") == expected).all()


@pytest.mark.parametrize("batch_size", [0, 21, -1])
def test_an_impossible_batch_size_is_refused(batch_size):
    with pytest.raises(
        InvalidValueError, match=f"batch_size must be from 1 to 20, the images of .*, but is {batch_size}"
    ):
        next(training_batches(numbered(20), batch_size, seed=0, epoch=0))


@pytest.mark.parametrize(
    "take", [lambda data: training_batches(data, 4, seed=0, epoch=0), lambda data: all_batches(data, 4)]
)
def test_both_sets_in_the_place_of_one_are_refused(take):
    with pytest.raises(InvalidTypeError, match="data must be an ImageSet, but is of type tuple .*return a pair"):
        next(take(load_digits()))


def test_a_seed_below_zero_is_refused():
    with pytest.raises(InvalidValueError, match="seed must be at least 0, but is -1"):
        next(training_batches(numbered(20), 4, seed=-1, epoch=0))


def test_a_negative_crop_is_refused():
    with pytest.raises(InvalidValueError, match="crop must be at least 0, but is -1"):
        Augment(crop=-1)


def test_a_pixel_above_white_is_refused_when_the_set_is_made():
    with pytest.raises(InvalidValueError, match="dots has a pixel with the value 17: expected at most white=16"):
        ImageSet("dots", np.full((1, 1, 2, 2), 17, np.uint8), np.array([0]), num_classes=2, white=16)


@pytest.mark.parametrize("batch_size, error", [(0, ValueError), (-1, ValueError), (1.5, TypeError)])
@pytest.mark.parametrize("batches", [all_batches, lambda data, size: training_batches(data, size, seed=0, epoch=0)])
def test_a_batch_has_a_whole_number_of_images_above_0(batches, batch_size, error):
    with pytest.raises(error, match="batch_size") as caught:
        next(batches(load_digits()[1], batch_size))
    assert isinstance(caught.value, NpresnextError)

"""The weights inside the package: as accurate as their cards say, and described by them."""

import json
import re

import pytest

from npresnext import data, io, models
from npresnext.errors import InvalidValueError, StateDictError
from npresnext.training import evaluate

SHIPPED = models.shipped_weights("resnext_small")


def test_the_digits_are_told_apart_as_the_card_says():
    """The whole test set, which took no part in the training."""
    card = SHIPPED["digits"].with_suffix(".md").read_text("utf-8")
    hits, images = map(int, re.search(r"(\d+) of (\d+) test images", card).groups())
    _, test = data.load_digits()
    _, accuracy = evaluate(models.resnext_small(weights="digits"), test)
    assert images == len(test) and accuracy >= 0.98
    assert abs(round(accuracy * images) - hits) <= 1  # another processor may round a tie otherwise


@pytest.mark.parametrize("name", SHIPPED)
def test_every_file_has_a_card_classes_and_preprocessing(name):
    path = SHIPPED[name]
    state, card = io.load(path), path.with_suffix(".md").read_text("utf-8")
    assert path.stat().st_size < 1_000_000
    assert len(json.loads(state.metadata["classes"])) == len(state["fc.bias"])
    assert json.loads(state.metadata["preprocessing"])["crop"] in (8, 28)
    assert state.metadata["command"] in card and state.metadata["date"] in card and f'weights="{name}"' in card
    assert not models.resnext_small(weights=name).training


def test_weights_that_are_not_there_or_do_not_fit_are_refused():
    with pytest.raises(InvalidValueError, match="no weights 'cifar' in the package: choose one of digits"):
        models.resnext_small(weights="cifar")
    with pytest.raises(StateDictError, match="fc.weight has shape"):
        models.resnext_small(num_classes=3, weights="digits")

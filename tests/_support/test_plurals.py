"""One image, two images."""

import numpy as np
import pytest

from npresnext import data, nn
from npresnext._support.plurals import counted


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 classes"), (1, "1 class"), (2, "2 classes"), (1000, "1,000 classes")]
)
def test_one_thing_is_in_the_singular(number, text):
    assert counted(number, "class", "classes") == text
    assert counted(number, "row") == text.replace("classes", "rows").replace("class", "row")


def test_messages_about_one_thing_are_in_the_singular():
    assert repr(data.load_digits()[0].first(1)) == "ImageSet('digits train': 1 image of shape (1, 8, 8), 10 classes)"
    with pytest.raises(ValueError, match="but x has 1 channel and groups=1"):
        nn.Conv2d(3, 4, 3, rng=0)(np.ones((1, 1, 9, 9), "float32"))

"""Sizes are written in the unit that fits them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npresnext._support.units import size_text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1234, "1.23 kB"),
        (99_960, "100 kB"),
        (999_600, "1 MB"),
        (542_440, "542 kB"),
        (3_470_000_000_000, "3,470 GB"),
    ],
)
def test_a_size_has_about_three_digits(size, text):
    assert size_text(size) == text


@given(st.integers(0, 10**12))
def test_the_size_is_right_to_half_a_percent(size):
    number, unit = re.fullmatch(r"([\d,.]+) (B|kB|MB|GB)", size_text(size)).groups()
    read = float(number.replace(",", "")) * {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]
    assert abs(read - size) <= 0.0051 * size

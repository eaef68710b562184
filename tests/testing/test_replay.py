"""A case as one line: written and read, and nothing else is read."""

import pytest
from hypothesis import given

from npresnext.testing import ConvCase, strategies
from npresnext.testing.replay import read_case, write_case


@given(strategies.conv_cases())
def test_a_case_is_read_as_it_was_written(case):
    assert read_case(write_case(case)) == case


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ConvCase",
        "ConvCase(3)",
        "Case()",
        "ConvCase(batch=__import__('os').getpid())",
        "ConvCase(speed=3)",
        "ConvCase(groups=2)",
        "ConvCase(stride=3)",
        "ConvCase(stride=(0, 1))",
        "ConvCase(kernel=(9, 9))",
        "ConvCase(layouts=('round', 'round', 'round'))",
    ],
)
def test_anything_else_is_refused_and_not_executed(line):
    with pytest.raises(ValueError, match="expected a line such as ConvCase"):
        read_case(line)


def test_a_default_is_not_written():
    assert write_case(ConvCase()) == "ConvCase()"

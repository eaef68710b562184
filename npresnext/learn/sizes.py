"""Cases that are a few integers, for the exercises that are not about a whole convolution."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from ..testing.shrinking import nearer_values

Sizes = dict[str, int]


@dataclass(frozen=True)
class SizeCases:
    """Integers by name, each from a range, of which not every combination is valid.

    >>> cases = SizeCases({"size": (1, 9), "kernel": (1, 3)}, lambda case: case["kernel"] <= case["size"], drawn=3)
    >>> cases.draw(random.Random(0))
    [{'size': 7, 'kernel': 2}, {'size': 7, 'kernel': 2}, {'size': 9, 'kernel': 2}]
    >>> next(cases.smaller({"size": 5, "kernel": 2}))
    {'size': 3, 'kernel': 2}

    Attributes
    ----------
    ranges : dict of pairs
        The least and the largest value of each integer.
    valid : callable
        Whether a combination is valid.
    drawn : int
        How many cases are drawn.
    fixed : dict of str to int, optional
        Names and ranges of integers that no smaller case changes: seeds of random arrays.
    """

    ranges: Mapping[str, tuple[int, int]]
    valid: Callable[[Sizes], bool] = lambda case: True
    drawn: int = 60
    fixed: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def draw(self, rng: random.Random) -> list[Sizes]:
        """Return drawn cases, the smallest first."""
        cases: list[Sizes] = []
        while len(cases) < self.drawn:
            case = {name: rng.randint(*pair) for name, pair in {**self.ranges, **self.fixed}.items()}
            if self.valid(case):
                cases.append(case)
        return sorted(cases, key=lambda case: sum(case[name] for name in self.ranges))

    def smaller(self, case: Sizes) -> Iterator[Sizes]:
        """Yield cases with one integer nearer to its least value."""
        for name, (least, _) in self.ranges.items():
            for value in nearer_values(case[name], least):
                candidate = {**case, name: value}
                if self.valid(candidate):
                    yield candidate

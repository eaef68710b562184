"""The colours of the pictures: one theme for light backgrounds, one for dark ones."""

from __future__ import annotations

from dataclasses import dataclass

# Okabe and Ito, "Color universal design" (2008).
BLUE, YELLOW, GREEN, PURPLE, ORANGE, SKY = "#0072b2", "#f0e442", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
GROUPS = (BLUE, YELLOW, GREEN, PURPLE, ORANGE, SKY)
DARKEST, LIGHTEST = "#111111", "#ffffff"


@dataclass(frozen=True)
class Theme:
    """The colours of one background.

    Attributes
    ----------
    background, ink, muted : str
        Behind everything, of titles, and of what is only there for orientation.
    line : str
        Of the lines between cells.
    mark : str
        Of the cells that the picture points at: the opposite of the background, which no group has.
    full : str
        Of the largest number where colours show how large numbers are.
    strengths : tuple of float
        How much of its colour each group's cells have; the rest is background. They differ, so that neighbouring groups
        also differ in lightness, which every kind of colour vision sees.
    """

    background: str
    ink: str
    muted: str
    line: str
    mark: str
    full: str
    strengths: tuple[float, ...]

    def group(self, number: int) -> str:
        """Return the colour of the cells of a group; with more groups than colours they repeat."""
        place = number % len(GROUPS)
        return blend(GROUPS[place], self.background, self.strengths[place])

    def heat(self, share: float) -> str:
        """Return the colour of a number between 0 (near the background) and 1 (the full colour)."""
        return blend(self.full, self.background, 0.12 + 0.88 * share)


LIGHT = Theme("#ffffff", "#111111", "#5f5f5f", "#8c8c8c", "#111111", SKY, (0.45, 0.8, 1, 0.75, 0.95, 0.2))
DARK = Theme("#14181e", "#f2f2f2", "#a9b0ba", "#6f7885", "#ffffff", SKY, (0.5, 0.85, 0.66, 0.95, 0.83, 0.9))


def theme_of(dark: bool) -> Theme:
    """Return the theme for a dark or a light background."""
    return DARK if dark else LIGHT


def blend(colour: str, other: str, share: float) -> str:
    """Mix two colours: `share` of the first, the rest of the second.

    >>> blend("#000000", "#ffffff", 0.5)
    '#808080'
    """
    parts = zip(_channels(colour), _channels(other))
    return "#" + "".join(f"{round(share * one + (1 - share) * two):02x}" for one, two in parts)


def ink_on(fill: str) -> str:
    """Return the colour of text on a cell: of almost black and white, the one with more contrast."""
    return max((DARKEST, LIGHTEST), key=lambda ink: contrast(ink, fill))


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, from 1 to 21 (WCAG 2.2, "contrast ratio").

    >>> contrast("#000000", "#ffffff")
    21.0
    """
    low, high = sorted((_luminance(one), _luminance(other)))
    return round((high + 0.05) / (low + 0.05), 2)


def _channels(colour: str) -> list[int]:
    return [int(colour[first : first + 2], 16) for first in (1, 3, 5)]


def _luminance(colour: str) -> float:
    """Return the relative luminance of a colour, from 0 to 1 (WCAG 2.2)."""
    shares = [value / 255 for value in _channels(colour)]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue

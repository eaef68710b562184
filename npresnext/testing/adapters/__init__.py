"""Convolutions by name: frameworks, and functions of a module, as the callables that ``check_conv`` takes.

One module per framework translates the kit's call into the framework's. Beside each function stands another one that
writes the same call down, for reproductions; a test holds the two equal.
"""

from .loading import CONVENTIONS, FRAMEWORKS, load
from .target import Target

__all__ = ["CONVENTIONS", "FRAMEWORKS", "Target", "load"]

"""What a network consists of, counted layer by layer without computing it: rows, text and HTML."""

from .network import Summary, summary
from .rows import Row

__all__ = ["Row", "Summary", "summary"]

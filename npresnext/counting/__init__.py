"""What a network consists of, counted layer by layer without computing it: rows, text and HTML."""

from .summary import Row, Summary, summary

__all__ = ["Row", "Summary", "summary"]

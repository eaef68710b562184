"""State files and safe writing: dictionaries of arrays in and out. Knows no network."""

from .atomic import atomic_path, check_writable

__all__ = ["atomic_path", "check_writable"]

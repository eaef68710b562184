"""State files and safe writing: dictionaries of arrays in and out. Knows no network."""

from .._support.files import atomic_path, check_writable
from .state import State, load, save

__all__ = ["State", "atomic_path", "check_writable", "load", "save"]

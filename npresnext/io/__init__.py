"""State files: dictionaries of arrays, read without executing anything, and written whole or not at all."""

from .._support.files import atomic_path, check_writable
from .state import State, load, save

__all__ = ["State", "atomic_path", "check_writable", "load", "save"]

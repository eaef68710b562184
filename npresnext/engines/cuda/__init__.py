"""The engine for CuPy arrays."""

"""Images with labels: the digits inside the package, IDX files that the user names, batches of them."""

from .digits import load_digits
from .images import ImageSet

__all__ = ["ImageSet", "load_digits"]

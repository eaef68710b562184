"""Convolutions of frameworks by name, as arguments of ``check_conv``.

``load("torch")`` returns a target: ``check_conv(target.forward, target.backward, **target.options)`` checks it in this
process, and ``npresnext check torch`` in a process of its own. ``NAMES`` lists the frameworks that have an adapter. An
adapter calls the framework's own convolution, and translates the layout, the padding and the dtype, nothing else.

>>> target = load("npresnext")
>>> target.describe().startswith("npresnext on NumPy")
True
>>> from npresnext.testing import check_conv
>>> check_conv(target.forward, target.backward, **target.options, cases=5).passed
True
"""

from .adapters import FRAMEWORKS, Target, load

NAMES = tuple(FRAMEWORKS)

__all__ = ["NAMES", "Target", "load"]

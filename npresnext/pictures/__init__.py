"""Pictures of a convolution, for slides and lessons: every cell shows its number.

====================  ==================================================================================
``im2col``            a small image, its column matrix, and the window that a column was copied from
``taps``              for each tap of the kernel, the pixels that it multiplies
``overlaps``          how many windows read each pixel: col2im(im2col(ones))
``weight_matrix``     the weight as a matrix of kernels, C_out x C_in, with the holes that groups leave
``gradient_flow``     which conv groups get a gradient from which part of the output
``sliding_window``    an animation of a grouped convolution, as GIF or SVG
====================  ==================================================================================

All of them take `dark=True` for slides with a dark background. The colours are those of Okabe and Ito, which people
with any kind of colour vision can tell apart; what a colour says, a number or a title says as well. matplotlib is
needed: ``pip install 'npresnext[plot]'``.
"""

from .animation import Animation, sliding_window
from .column_matrix import im2col
from .flow import gradient_flow
from .weights import weight_matrix
from .windows import overlaps, taps

__all__ = ["Animation", "gradient_flow", "im2col", "overlaps", "sliding_window", "taps", "weight_matrix"]

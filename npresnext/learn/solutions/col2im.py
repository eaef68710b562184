"""Exercise 5: col2im adds columns up into an image.

It is the transpose of im2col, not its inverse. im2col copies a pixel into every column whose window reads it; col2im
adds every number of the columns to the pixel from which im2col would have copied it. Numbers that belong to the
padding are dropped.

columns   (N, C·kh·kw, oh·ow), ordered as in exercise 4
x_shape   (N, C, H, W)
kernel    (kh, kw)
stride    (vertical, horizontal)
padding   ((top, bottom), (left, right)), none of them negative
dilation  (vertical, horizontal)
"""

import numpy as np


def col2im(columns, x_shape, kernel, stride, padding, dilation):
    """Return the image, (N, C, H, W).

    Two windows of two pixels overlap in the middle pixel of three:

    >>> col2im(np.array([[[1.0, 20.0], [300.0, 4000.0]]]), (1, 1, 1, 3), (1, 2), (1, 1), ((0, 0), (0, 0)), (1, 1))
    array([[[[1.0e+00, 3.2e+02, 4.0e+03]]]])
    """
    # TODO: make room for the padded image, add one tap at a time, and cut the padding off.
    # [solution
    N, C, H, W = x_shape
    (kh, kw), (sh, sw), (dh, dw) = kernel, stride, dilation
    (top, bottom), (left, right) = padding
    padded = np.zeros((N, C, top + H + bottom, left + W + right))
    oh = (padded.shape[2] - dh * (kh - 1) - 1) // sh + 1
    ow = (padded.shape[3] - dw * (kw - 1) - 1) // sw + 1
    columns = columns.reshape(N, C, kh, kw, oh, ow)
    for i in range(kh):
        for j in range(kw):
            rows = slice(i * dh, i * dh + sh * (oh - 1) + 1, sh)
            cols = slice(j * dw, j * dw + sw * (ow - 1) + 1, sw)
            padded[:, :, rows, cols] += columns[:, :, i, j]
    return padded[:, :, top : top + H, left : left + W]
    # solution]

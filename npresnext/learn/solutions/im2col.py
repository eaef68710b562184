"""Exercise 4: im2col writes each window as a column.

        x  (one image, one channel)       columns for a kernel of 2x2
        a b c                             a b d e        <- tap (0, 0) of each window
        d e f        im2col               b c e f        <- tap (0, 1)
        g h i      ---------->            d e g h        <- tap (1, 0)
                                          e f h i        <- tap (1, 1)

A tap is one position (i, j) of the kernel. Row (c·kh + i)·kw + j of the columns holds tap (i, j) of channel c for
every window: first all taps of channel 0, then those of channel 1. The windows go from left to right, then down.
Pixels outside the image are 0.

x         (N, C, H, W)
kernel    (kh, kw)
stride    (vertical, horizontal)
padding   ((top, bottom), (left, right)), none of them negative
dilation  (vertical, horizontal)
columns   (N, C·kh·kw, oh·ow)

Two loops are enough: over the rows and over the columns of the kernel.
"""

import numpy as np


def im2col(x, kernel, stride, padding, dilation):
    """Return the columns, (N, C·kh·kw, oh·ow).

    >>> im2col(np.arange(9.0).reshape(1, 1, 3, 3), (2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1))[0]
    array([[0., 1., 3., 4.],
           [1., 2., 4., 5.],
           [3., 4., 6., 7.],
           [4., 5., 7., 8.]])
    """
    # TODO: pad x. Make room for (N, C, kh, kw, oh, ow), fill it one tap at a time, and reshape it at the end.
    # [solution
    N, C, H, W = x.shape
    (kh, kw), (sh, sw), (dh, dw) = kernel, stride, dilation
    padded = np.pad(x, ((0, 0), (0, 0), *padding))
    oh = (padded.shape[2] - dh * (kh - 1) - 1) // sh + 1
    ow = (padded.shape[3] - dw * (kw - 1) - 1) // sw + 1
    columns = np.zeros((N, C, kh, kw, oh, ow))
    for i in range(kh):
        for j in range(kw):
            rows = slice(i * dh, i * dh + sh * (oh - 1) + 1, sh)  # of the padded image: one for each window
            cols = slice(j * dw, j * dw + sw * (ow - 1) + 1, sw)
            columns[:, :, i, j] = padded[:, :, rows, cols]
    return columns.reshape(N, C * kh * kw, oh * ow)
    # solution]

"""Exercise 3: one value of a convolution is a sum of products.

    y[n, o, p, q] = sum over c, i, j of  weight[o, c, i, j] · x[n, c, row, column]

Find out which row and which column of x the weight [o, c, i, j] meets. Pixels outside the image count as 0.

x        (N, C_in, H, W)
weight   (C_out, C_in, kh, kw)
stride   (vertical, horizontal)
padding  ((top, bottom), (left, right))
"""

import numpy as np


def output_value(x, weight, n, o, p, q, stride, padding):
    """Return y[n, o, p, q], a number: image n, output channel o, row p and column q of the output.

    >>> x, weight = np.arange(9.0).reshape(1, 1, 3, 3), np.array([[[[1.0, 10.0]]]])
    >>> float(output_value(x, weight, 0, 0, 2, 1, (1, 1), ((0, 0), (0, 0))))    # 1·7 + 10·8
    87.0
    """
    # TODO: three loops, over the input channels and over the rows and columns of the kernel.
    # [solution
    _, C_in, H, W = x.shape
    _, _, kh, kw = weight.shape
    (top, _), (left, _) = padding
    total = 0.0
    for c in range(C_in):
        for i in range(kh):
            for j in range(kw):
                row = p * stride[0] - top + i
                column = q * stride[1] - left + j
                if 0 <= row < H and 0 <= column < W:
                    total += weight[o, c, i, j] * x[n, c, row, column]
    return total
    # solution]

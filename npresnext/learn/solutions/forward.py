"""Exercise 6: a convolution is one matrix product.

Each output value is the inner product of a filter with a column of im2col. So one matrix product computes all of
them:  y = weight · im2col(x) + bias

x         (N, C_in, H, W)
weight    (C_out, C_in, kh, kw)
bias      (C_out,) or None
stride    (vertical, horizontal)
padding   ((top, bottom), (left, right))
dilation  (vertical, horizontal)
y         (N, C_out, oh, ow)

im2col is given here; it is the function of exercise 4, with these arguments by name.
"""

import numpy as np

from npresnext.functional import im2col


def conv2d(x, weight, bias, stride, padding, dilation):
    """Return y, (N, C_out, oh, ow).

    >>> x, weight = np.arange(9.0).reshape(1, 1, 3, 3), np.array([[[[1.0, 10.0]]]])
    >>> conv2d(x, weight, np.array([0.5]), (1, 1), ((0, 0), (0, 0)), (1, 1))[0, 0]
    array([[10.5, 21.5],
           [43.5, 54.5],
           [76.5, 87.5]])
    """
    # TODO: make a matrix of the weight, multiply, give the result its shape, and add the bias.
    # [solution
    N, _, H, W = x.shape
    C_out, C_in, kh, kw = weight.shape
    columns = im2col(x, (kh, kw), stride=stride, padding=padding, dilation=dilation)  # (N, C_in·kh·kw, P)
    oh = (H + sum(padding[0]) - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    y = weight.reshape(C_out, C_in * kh * kw) @ columns  # (N, C_out, P)
    y = y.reshape(N, C_out, oh, y.shape[2] // oh)  # (N, C_out, oh, ow)
    return y if bias is None else y + bias.reshape(1, C_out, 1, 1)
    # solution]

"""Exercise 11: a grouped convolution.

The input channels and the output channels are cut into G runs of equal length. Run g of the output sees run g of the
input and nothing else. So a filter has C_in/G input channels:

x         (N, C_in, H, W)
weight    (C_out, C_in/G, kh, kw)
bias      (C_out,) or None
stride    (vertical, horizontal)
padding   ((top, bottom), (left, right))
dilation  (vertical, horizontal)
groups    G, which divides C_in and C_out
y         (N, C_out, oh, ow)

No loop over the groups is needed: matmul takes a stack of G matrices at once.
"""

import numpy as np

from npresnext.functional import im2col


def grouped_conv2d(x, weight, bias, stride, padding, dilation, groups):
    """Return y, (N, C_out, oh, ow).

    Each of two groups multiplies its own channel by its own weight:

    >>> x, weight = np.array([1.0, 2.0]).reshape(1, 2, 1, 1), np.array([10.0, 100.0]).reshape(2, 1, 1, 1)
    >>> grouped_conv2d(x, weight, None, (1, 1), ((0, 0), (0, 0)), (1, 1), 2).ravel()
    array([ 10., 200.])
    """
    # TODO: begin with exercise 6, and split both matrices into groups.
    # [solution
    N, _, H, W = x.shape
    C_out, channels, kh, kw = weight.shape
    columns = im2col(x, (kh, kw), stride=stride, padding=padding, dilation=dilation)  # (N, C_in·kh·kw, P)
    oh = (H + sum(padding[0]) - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    P = columns.shape[2]
    columns = columns.reshape(N, groups, channels * kh * kw, P)  # (N, G, C_in/G·kh·kw, P)
    matrices = weight.reshape(groups, C_out // groups, channels * kh * kw)  # (G, C_out/G, C_in/G·kh·kw)
    y = (matrices @ columns).reshape(N, C_out, oh, P // oh)  # (N, C_out, oh, ow)
    return y if bias is None else y + bias.reshape(1, C_out, 1, 1)
    # solution]

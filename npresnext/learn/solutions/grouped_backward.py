"""Exercise 12: the backward pass of a grouped convolution.

    dx[c] += grad_output[a] · weight[b]        for every product  y[a] += weight[b] · x[c]
    dw[b] += grad_output[a] · x[c]
    db[o] += grad_output[n, o, p, q]

grad_output  (N, C_out, oh, ow)
x, dx        (N, C_in, H, W)
weight, dw   (C_out, C_in/G, kh, kw)
db           (C_out,)
stride       (vertical, horizontal)
padding      ((top, bottom), (left, right))
dilation     (vertical, horizontal)
groups       G, which divides C_in and C_out

im2col and col2im are given here: with matrices,  dx = col2im(weightᵀ · grad_output)  and
dw = grad_output · im2col(x)ᵀ,  summed over the images.
"""

import numpy as np

from npresnext.functional import col2im, im2col


def grouped_conv2d_backward(grad_output, x, weight, stride, padding, dilation, groups):
    """Return dx, dw and db.

    >>> x, weight = np.array([1.0, 2.0]).reshape(1, 2, 1, 1), np.array([10.0, 100.0]).reshape(2, 1, 1, 1)
    >>> grad_output = np.array([3.0, 4.0]).reshape(1, 2, 1, 1)
    >>> dx, dw, db = grouped_conv2d_backward(grad_output, x, weight, (1, 1), ((0, 0), (0, 0)), (1, 1), 2)
    >>> dx.ravel(), dw.ravel(), db
    (array([ 30., 400.]), array([3., 8.]), array([3., 4.]))
    """
    # TODO: split grad_output, the weight and the columns into groups, as in exercise 11.
    # [solution
    N, C_in = x.shape[:2]
    C_out, channels, kh, kw = weight.shape
    P = grad_output.shape[2] * grad_output.shape[3]
    window = {"stride": stride, "padding": padding, "dilation": dilation}
    grad = grad_output.reshape(N, groups, C_out // groups, P)  # (N, G, C_out/G, P)
    matrices = weight.reshape(groups, C_out // groups, channels * kh * kw)  # (G, C_out/G, C_in/G·kh·kw)
    columns = matrices.swapaxes(1, 2) @ grad  # (N, G, C_in/G·kh·kw, P)
    dx = col2im(columns.reshape(N, C_in * kh * kw, P), x.shape, (kh, kw), **window)
    columns = im2col(x, (kh, kw), **window).reshape(N, groups, channels * kh * kw, P)  # (N, G, C_in/G·kh·kw, P)
    dw = (grad @ columns.swapaxes(2, 3)).sum(axis=0).reshape(weight.shape)  # (C_out, C_in/G, kh, kw)
    db = grad_output.sum(axis=(0, 2, 3))
    return dx, dw, db
    # solution]

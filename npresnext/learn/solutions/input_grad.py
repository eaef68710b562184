"""Exercise 7: the gradient of the input.

y is a sum of products  y[a] += weight[b] · x[c].  By the chain rule each product contributes to the gradient of x

    dx[c] += grad_output[a] · weight[b]

grad_output, the upstream gradient, is the gradient of the loss with respect to y.

grad_output  (N, C_out, oh, ow)
x_shape      (N, C_in, H, W)
weight       (C_out, C_in, kh, kw)
padding      ((top, bottom), (left, right)); the stride is 1 and the dilation is 1
dx           (N, C_in, H, W)
"""

import numpy as np


def input_grad(grad_output, x_shape, weight, padding):
    """Return dx, (N, C_in, H, W).

    >>> grad_output, weight = np.array([[[[1.0, 100.0]]]]), np.array([[[[2.0, 3.0]]]])
    >>> input_grad(grad_output, (1, 1, 1, 3), weight, ((0, 0), (0, 0)))
    array([[[[  2., 203., 300.]]]])
    """
    # TODO: make room for the padded image. For each tap, add its products at once. Cut the padding off at the end.
    # [solution
    N, C_in, H, W = x_shape
    _, _, kh, kw = weight.shape
    oh, ow = grad_output.shape[2:]
    (top, bottom), (left, right) = padding
    padded = np.zeros((N, C_in, top + H + bottom, left + W + right))
    for i in range(kh):
        for j in range(kw):
            padded[:, :, i : i + oh, j : j + ow] += np.einsum("oc,nohw->nchw", weight[:, :, i, j], grad_output)
    return padded[:, :, top : top + H, left : left + W]
    # solution]

"""Exercise 9: the gradient of the weight.

The same list of products gives it:  y[a] += weight[b] · x[c]  contributes

    dw[b] += grad_output[a] · x[c]

grad_output   (N, C_out, oh, ow)
x             (N, C_in, H, W)
weight_shape  (C_out, C_in, kh, kw)
stride        (vertical, horizontal)
padding       ((top, bottom), (left, right))
dilation      (vertical, horizontal)
dw            (C_out, C_in, kh, kw)
"""

import numpy as np


def weight_grad(grad_output, x, weight_shape, stride, padding, dilation):
    """Return dw, (C_out, C_in, kh, kw).

    >>> grad_output, x = np.array([[[[1.0, 100.0]]]]), np.array([[[[2.0, 3.0, 4.0]]]])
    >>> weight_grad(grad_output, x, (1, 1, 1, 2), (1, 1), ((0, 0), (0, 0)), (1, 1))
    array([[[[302., 403.]]]])
    """
    # TODO: each weight meets one pixel of every window of every image: add all of these products.
    # [solution
    _, _, kh, kw = weight_shape
    oh, ow = grad_output.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), *padding))
    dw = np.zeros(weight_shape)
    for i in range(kh):
        for j in range(kw):
            rows = slice(i * dilation[0], i * dilation[0] + stride[0] * (oh - 1) + 1, stride[0])
            cols = slice(j * dilation[1], j * dilation[1] + stride[1] * (ow - 1) + 1, stride[1])
            dw[:, :, i, j] = np.einsum("nohw,nchw->oc", grad_output, padded[:, :, rows, cols])
    return dw
    # solution]

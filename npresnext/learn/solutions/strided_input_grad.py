"""Exercise 8: the gradient of the input, with stride and dilation.

The same products as in exercise 7, but windows are `stride` pixels apart, and the taps of a window are `dilation`
pixels apart. Rows behind the last window have the gradient 0.

grad_output  (N, C_out, oh, ow)
x_shape      (N, C_in, H, W)
weight       (C_out, C_in, kh, kw)
stride       (vertical, horizontal)
padding      ((top, bottom), (left, right))
dilation     (vertical, horizontal)
dx           (N, C_in, H, W)
"""

import numpy as np


def strided_input_grad(grad_output, x_shape, weight, stride, padding, dilation):
    """Return dx, (N, C_in, H, W).

    >>> grad_output, weight = np.array([[[[1.0, 100.0]]]]), np.array([[[[2.0, 3.0]]]])
    >>> strided_input_grad(grad_output, (1, 1, 1, 6), weight, (1, 3), ((0, 0), (0, 0)), (1, 2))
    array([[[[  2.,   0.,   3., 200.,   0., 300.]]]])
    """
    # TODO: which pixels of the padded image does tap (i, j) meet, one for each window?
    # [solution
    N, C_in, H, W = x_shape
    _, _, kh, kw = weight.shape
    oh, ow = grad_output.shape[2:]
    (top, bottom), (left, right) = padding
    padded = np.zeros((N, C_in, top + H + bottom, left + W + right))
    for i in range(kh):
        for j in range(kw):
            rows = slice(i * dilation[0], i * dilation[0] + stride[0] * (oh - 1) + 1, stride[0])
            cols = slice(j * dilation[1], j * dilation[1] + stride[1] * (ow - 1) + 1, stride[1])
            padded[:, :, rows, cols] += np.einsum("oc,nohw->nchw", weight[:, :, i, j], grad_output)
    return padded[:, :, top : top + H, left : left + W]
    # solution]

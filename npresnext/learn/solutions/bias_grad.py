"""Exercise 10: the gradient of the bias.

Each value of output channel o contains bias[o] once:  y[n, o, p, q] = ... + bias[o]

grad_output  (N, C_out, oh, ow)
db           (C_out,)
"""

import numpy as np


def bias_grad(grad_output):
    """Return db, (C_out,).

    >>> bias_grad(np.array([[[[1.0, 2.0]], [[30.0, 40.0]]]]))
    array([ 3., 70.])
    """
    # TODO: over which axes is it a sum?
    # [solution
    return np.sum(grad_output, axis=(0, 2, 3))
    # solution]

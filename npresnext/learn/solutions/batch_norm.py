"""Exercise 13: the backward pass of batch normalisation.

In training, each channel is normalised over its n = N·H·W values:

    mean = sum of x / n        var = sum of (x - mean)² / n        normalised = (x - mean) / sqrt(var + eps)
    y = weight · normalised + bias

mean and var depend on x, so the gradient of x has two terms more than the scale alone. Derive it on paper: the
result has a term with the sum of grad_output and a term with the sum of grad_output · normalised.

grad_output, x, dx  (N, C, H, W)
weight, dweight     (C,)
dbias               (C,)
eps                 a number above 0
"""

import numpy as np


def batch_norm_backward(grad_output, x, weight, eps):
    """Return dx, dweight and dbias.

    >>> x, grad_output = np.array([1.0, -1.0]).reshape(2, 1, 1, 1), np.array([3.0, 1.0]).reshape(2, 1, 1, 1)
    >>> dx, dweight, dbias = batch_norm_backward(grad_output, x, np.array([8.0]), 3.0)
    >>> dx.ravel(), dweight, dbias
    (array([ 3., -3.]), array([1.]), array([4.]))
    """
    # TODO: compute mean, var and the normalised values again; then the three gradients.
    # [solution
    axes = (0, 2, 3)
    n = x.size // x.shape[1]
    centred = x - x.mean(axis=axes, keepdims=True)
    inverse = 1 / np.sqrt((centred**2).mean(axis=axes, keepdims=True) + eps)  # (1, C, 1, 1)
    normalised = centred * inverse
    dbias = grad_output.sum(axis=axes, keepdims=True)  # (1, C, 1, 1)
    dweight = (grad_output * normalised).sum(axis=axes, keepdims=True)  # (1, C, 1, 1)
    scale = weight.reshape(1, -1, 1, 1) * inverse
    dx = scale * (grad_output - dbias / n - normalised * dweight / n)
    return dx, dweight.ravel(), dbias.ravel()
    # solution]

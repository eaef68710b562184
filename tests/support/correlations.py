"""A grouped convolution and its gradients out of SciPy's correlate2d and convolve2d: one channel with one other."""

import numpy as np
from scipy.signal import convolve2d, correlate2d


def padded(planes, padding):
    """Put zeros around the last two axes; what is negative crops."""
    for axis, (before, after) in zip((-2, -1), padding):
        planes = np.moveaxis(planes, axis, 0)
        planes = planes[max(-before, 0) : len(planes) - max(-after, 0)]
        planes = np.pad(planes, [(max(before, 0), max(after, 0))] + [(0, 0)] * (planes.ndim - 1))
        planes = np.moveaxis(planes, 0, axis)
    return planes


def stuffed(planes, steps):
    """Put steps − 1 zeros between neighbours along the last two axes."""
    spread = np.zeros((*planes.shape[:-2], *(s * (n - 1) + 1 for n, s in zip(planes.shape[-2:], steps))), planes.dtype)
    spread[..., :: steps[0], :: steps[1]] = planes
    return spread


def pairs(x_shape, weight_shape, groups):
    """Yield image, output channel, input channel, and the input channel's place in its group."""
    outs = max(1, weight_shape[0] // groups)
    for n, o, c in np.ndindex(x_shape[0], *weight_shape[:2]):
        yield n, o, o // outs * weight_shape[1] + c, c


def forward(x, weight, bias, *, stride, padding, dilation, groups):
    """The stride by slicing, the dilation by zeros between the taps."""
    x, kernels = padded(x, padding), stuffed(weight, dilation)
    sizes = [(n - k) // s + 1 for n, k, s in zip(x.shape[2:], kernels.shape[2:], stride)]
    y = np.zeros((len(x), len(weight), *sizes), x.dtype)
    for n, o, channel, c in pairs(x.shape, weight.shape, groups):
        y[n, o] += correlate2d(x[n, channel], kernels[o, c], mode="valid")[:: stride[0], :: stride[1]]
    return y if bias is None else y + bias.reshape(1, -1, 1, 1)


def backward(grad_output, x, weight, *, stride, padding, dilation, groups):
    """With zeros between its pixels for the stride, grad_output convolved with weight is dx, correlated with x dw."""
    grads, kernels, images = stuffed(grad_output, stride), stuffed(weight, dilation), padded(x, padding)
    dx, dw = np.zeros_like(images), np.zeros(weight.shape, x.dtype)
    rows, columns = (size - 1 for size in kernels.shape[2:])
    for n, o, channel, c in pairs(x.shape, weight.shape, groups):
        full = convolve2d(grads[n, o], kernels[o, c], mode="full")
        dx[n, channel, 0 : full.shape[0], : full.shape[1]] += full
        reached = images[n, channel, : grads.shape[2] + rows, : grads.shape[3] + columns]
        dw[o, c] += correlate2d(reached, grads[n, o], mode="valid")[:: dilation[0], :: dilation[1]]
    return padded(dx, [(-before, -after) for before, after in padding]), dw, grad_output.sum(axis=(0, 2, 3))

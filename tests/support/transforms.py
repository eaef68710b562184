"""Right convolutions by other algorithms, in NumPy and in float32 throughout: Winograd's F(2x2, 3x3), and Fourier's."""

import numpy as np

import npresnext as nx

# Lavin and Gray, arXiv:1509.09308, section 4.1
B = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], "float32")
G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], "float32")
A = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], "float32")


def padded(x, padding):
    """Zeros around, or a crop where the padding is negative."""
    (top, bottom), (left, right) = padding
    x = np.pad(x, ((0, 0), (0, 0), (max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0))))
    rows, columns = slice(max(-top, 0), min(bottom, 0) or None), slice(max(-left, 0), min(right, 0) or None)
    return x[:, :, rows, columns]


def by_groups(convolve, x, weight, groups):
    parts = zip(np.split(x, groups, 1), np.split(weight, groups))
    return np.concatenate([convolve(*part) for part in parts], 1)


def winograd(x, weight, bias, *, stride, padding, dilation, groups, out=A):
    """Convolve 3x3 kernels of stride 1 in tiles of 2x2; hand over the rest, as libraries do."""
    if weight.shape[2:] != (3, 3) or stride != (1, 1) or dilation != (1, 1) or not x.size:
        return nx.conv2d(x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)

    def tiles(x, weight):
        oh, ow = x.shape[2] - 2, x.shape[3] - 2
        x = np.pad(x, ((0, 0), (0, 0), (0, oh % 2), (0, ow % 2)))
        tiles = np.lib.stride_tricks.sliding_window_view(x, (4, 4), (2, 3))[:, :, ::2, ::2]  # (N, C, oh/2, ow/2, 4, 4)
        images, kernels = B @ tiles @ B.T, G @ weight @ G.T
        sums = sum(images[:, None, c] * kernels[None, :, c, None, None] for c in range(x.shape[1]))
        y = out @ sums @ out.T  # (N, C_out, oh/2, ow/2, 2, 2)
        y = y.swapaxes(3, 4).reshape(*y.shape[:2], 2 * y.shape[2], 2 * y.shape[3])  # (N, C_out, oh, ow)
        return y[:, :, :oh, :ow]

    y = by_groups(tiles, padded(x, padding), weight, groups)
    return y if bias is None else y + bias.reshape(1, -1, 1, 1)


def fourier(x, weight, bias, *, stride, padding, dilation, groups, conjugate=np.conj):
    """Convolve by products of spectra."""
    if not x.size:
        return nx.conv2d(x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:])]
    spread = np.zeros((*weight.shape[:2], *reach), weight.dtype)
    spread[:, :, :: dilation[0], :: dilation[1]] = weight

    def spectra(x, weight):
        size = x.shape[2:]
        images, kernels = np.fft.rfft2(x), conjugate(np.fft.rfft2(weight, size))
        sums = sum(images[:, None, c] * kernels[None, :, c] for c in range(x.shape[1]))
        y = np.fft.irfft2(sums, size)[:, :, : size[0] - reach[0] + 1, : size[1] - reach[1] + 1]
        return y[:, :, :: stride[0], :: stride[1]]

    y = by_groups(spectra, padded(x, padding), spread, groups)
    return y if bias is None else y + bias.reshape(1, -1, 1, 1)


def gradients(convolve):
    """Return a backward pass whose input gradient is a convolution too, by the same algorithm where the stride is 1."""

    def backward(grad_output, x, weight, *, stride, padding, dilation, groups):
        window = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        dx, dw, db = nx.conv2d_backward(grad_output, x, weight, **window)
        if stride == (1, 1) and dx.size and grad_output.size:
            turned = np.concatenate([part.swapaxes(0, 1) for part in np.split(weight, groups)])[..., ::-1, ::-1]
            reach = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:])]
            sides = tuple((r - before, r - after) for r, (before, after) in zip(reach, padding))
            dx = convolve(grad_output, turned, None, **{**window, "padding": sides})
        return dx, dw, db

    return backward

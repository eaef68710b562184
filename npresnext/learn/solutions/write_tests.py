"""Exercise 16: write a test that catches wrong convolutions.

Your test gets two functions and raises an AssertionError if one of them is wrong:

    conv2d(x, weight, bias, stride=..., padding=..., dilation=..., groups=...) -> y
    conv2d_backward(grad_output, x, weight, stride=..., padding=..., dilation=..., groups=...) -> dx, dw, db

The arguments are those of the exercises 11 and 12. `trusted` is right: you may compare with it.

More than 200 wrong convolutions wait for your test, each with one mistake of npresnext's catalogue. The score is the
share that it catches. A test that refuses a right convolution scores 0. Random integers and unequal numbers catch
most: ones, square shapes and symmetric kernels catch few. Some are wrong only where few people look: negative padding,
which crops; a stride larger than the kernel; sizes that are no multiples of a power of two; arrays that are not
contiguous.
"""

import numpy as np

from npresnext import functional as trusted


def test_convolution(conv2d, conv2d_backward):
    """Raise an AssertionError if conv2d or conv2d_backward is wrong."""
    # TODO: choose operands and arguments, call both functions, and compare y, dx, dw and db.
    # [solution
    rng = np.random.default_rng(0)

    def integers(*shape):
        return rng.integers(-5, 6, shape).astype(float)

    for N, C_in, C_out, G, kernel, window in (
        # everything at once, every number another one
        (3, 6, 9, 3, (3, 2), {"stride": (2, 1), "padding": ((2, 0), (1, 2)), "dilation": (1, 2)}),
        (2, 4, 6, 2, (2, 3), {"stride": (1, 2), "padding": ((0, 1), (2, 1)), "dilation": (2, 1)}),
        # no window reads every pixel: a stride larger than the kernel, and padding that crops
        (2, 2, 3, 1, (1, 1), {"stride": (3, 2), "padding": 0, "dilation": 1}),
        (2, 4, 4, 2, (2, 2), {"stride": 1, "padding": ((-1, 1), (0, -2)), "dilation": 1}),
        # depthwise with a multiplier, and a long kernel
        (2, 4, 8, 4, (2, 3), {"stride": 1, "padding": 1, "dilation": 1}),
        (1, 2, 2, 1, (1, 5), {"stride": 1, "padding": 0, "dilation": 1}),
        # sizes beside the multiples of common blocks
        (41, 2, 2, 1, (2, 2), {"stride": 1, "padding": 0, "dilation": 1}),
        (1, 74, 74, 2, (2, 2), {"stride": 1, "padding": 0, "dilation": 1}),
    ):
        x, weight = integers(N, C_in, 8, 45), integers(C_out, C_in // G, *kernel)
        bias = integers(C_out)
        expected = trusted.conv2d(x, weight, bias, groups=G, **window)
        y = conv2d(x, weight, bias, groups=G, **window)
        assert y.shape == expected.shape and (y == expected).all(), "y"
        grad_output = integers(*y.shape)
        results = conv2d_backward(grad_output, x, weight, groups=G, **window)
        expected = trusted.conv2d_backward(grad_output, x, weight, groups=G, **window)
        for name, got, right in zip(("dx", "dw", "db"), results, expected):
            assert got.shape == right.shape and (got == right).all(), name
    # solution]

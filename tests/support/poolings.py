"""Poolings drawn by Hypothesis, and their windows counted one by one."""

import itertools

from hypothesis import strategies as st


@st.composite
def poolings(draw, dilated=True):
    """(x shape, arguments), valid by construction: the image is made as large as the kernel needs."""
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2))) if dilated else (1, 1)
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    size = [max(d * (k - 1) + 1 - 2 * p, 1) + draw(st.integers(0, 4)) for k, d, p in zip(kernel, dilation, padding)]
    arguments = {
        "kernel_size": kernel,
        "stride": draw(st.none() | st.tuples(st.integers(1, 3), st.integers(1, 3))),
        "padding": padding,
        "ceil_mode": draw(st.booleans()),
    }
    if dilated:
        arguments["dilation"] = dilation
    return (draw(st.integers(0, 2)), draw(st.integers(1, 2)), *size), arguments


def starts(size, kernel, stride, padding, dilation, ceil_mode):
    """Where the windows along one axis begin, counted one by one."""
    found, start = [], -padding
    while True:
        last = start + dilation * (kernel - 1)
        fits = last < size + padding
        begins_inside = start < size and last - stride < size + padding - 1  # the one before ended too early
        if not fits and not (ceil_mode and begins_inside):
            return found
        found.append(start)
        if not fits:
            return found
        start += stride


def windows_of(shape, arguments):
    """Yield ((p, q), [(row, column), ...]): each window and its pixels in the image, in reading order."""
    kernel, padding = arguments["kernel_size"], arguments["padding"]
    stride, dilation = arguments["stride"] or kernel, arguments.get("dilation", (1, 1))
    axes = [
        starts(shape[2 + a], kernel[a], stride[a], padding[a], dilation[a], arguments["ceil_mode"]) for a in range(2)
    ]
    for (p, top), (q, left) in itertools.product(enumerate(axes[0]), enumerate(axes[1])):
        pixels = [
            (top + i * dilation[0], left + j * dilation[1])
            for i, j in itertools.product(range(kernel[0]), range(kernel[1]))
        ]
        yield (p, q), [(r, c) for r, c in pixels if 0 <= r < shape[2] and 0 <= c < shape[3]]

"""Poolings drawn by Hypothesis, and their windows counted one by one."""

from hypothesis import strategies as st

from npresnext.definitions import pooling_windows


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


def windows_of(shape, arguments):
    """Yield ((p, q), [(row, column), ...]): each window and its pixels in the image, in reading order."""
    names = {"kernel_size": "kernel"}
    window = {names.get(name, name): value for name, value in arguments.items()}
    return pooling_windows(shape[2:], **window | {"stride": window["stride"] or window["kernel"]})

"""Exercise 1: count windows.

A window of `kernel` pixels slides over a row of `size` pixels. It starts at pixel 0 and moves by `stride` pixels at
a time. A window counts only if all of its pixels are in the row.

    size 5, kernel 2, stride 2        pixels  0 1 2 3 4
                                      window  [ ]
                                      window      [ ]
                                      a third one would need pixel 5, which does not exist
"""


def count_windows(size, kernel, stride):
    """Return the number of windows, an int. The kernel is never larger than the row.

    >>> count_windows(5, 2, 2)
    2
    """
    # TODO: how far can the first window move, and how many steps is that?
    # [solution
    return (size - kernel) // stride + 1
    # solution]

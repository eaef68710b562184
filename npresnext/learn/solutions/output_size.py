"""Exercise 2: the output size, with padding and dilation.

The same as exercise 1 with two more arguments:

- padding = (before, after): so many pixels of zeros are added in front of the row and behind it;
- dilation: neighbouring pixels of one window are `dilation` pixels apart.

    size 4, kernel 2, padding (1, 0), dilation 2        pixels  0 | 0 1 2 3      (the first 0 is padding)
                                                        window  *     *
                                                        window      *   *
                                                        window        *   *
"""


def output_size(size, kernel, stride, padding, dilation):
    """Return the number of windows, an int.

    >>> output_size(4, 2, 1, (1, 0), 2)
    3
    """
    # TODO: how long is the padded row, and how many pixels does one window span?
    # [solution
    padded = size + padding[0] + padding[1]
    span = dilation * (kernel - 1) + 1
    return (padded - span) // stride + 1
    # solution]

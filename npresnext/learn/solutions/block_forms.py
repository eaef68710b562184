"""Exercise 14: two forms of one block.

A block of ResNeXt adds up C paths. Each path goes from C_in channels to d channels (1x1), from d to d (k x k), and
from d to C_out (1x1). As three convolutions, the second one with groups = C, it computes the same. Only the weights
have to be put together:

first    (C, d, C_in)           path p begins with the 1x1 weight first[p]
second   (C, d, d, k, k)        then comes second[p], with its output channel first
third    (C, C_out, d)          and third[p]; the outputs of all paths are added

first layer    (C·d, C_in, 1, 1)    path p makes the channels p·d to (p+1)·d - 1
second layer   (C·d, d, k, k)       with groups = C
third layer    (C_out, C·d, 1, 1)   no groups
"""

import numpy as np


def merge_paths(first, second, third):
    """Return the weights of the three layers.

    >>> first, second = np.ones((2, 1, 1)), np.ones((2, 1, 1, 1, 1))
    >>> third = np.array([[[1.0], [2.0]], [[30.0], [40.0]]])    # two paths, each to two channels
    >>> merge_paths(first, second, third)[2][:, :, 0, 0]
    array([[ 1., 30.],
           [ 2., 40.]])
    """
    # TODO: two of the layers need a reshape alone. Which one needs its axes in another order first?
    # [solution
    C, d, C_in = first.shape
    C_out, k = third.shape[1], second.shape[3]
    first_layer = first.reshape(C * d, C_in, 1, 1)
    second_layer = second.reshape(C * d, d, k, k)
    third_layer = third.swapaxes(0, 1).reshape(C_out, C * d, 1, 1)  # the inputs of path p are the columns p·d and on
    return first_layer, second_layer, third_layer
    # solution]

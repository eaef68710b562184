"""Exercise 15: more paths at equal cost.

A block of ResNeXt has C paths (its cardinality) of d channels each: a 1x1 convolution from `channels` to C·d
channels, a 3x3 convolution from C·d to C·d with C groups, and a 1x1 convolution back to `channels`. None has a bias.

How wide can the paths be, if the block may have at most `weights` weights?
"""


def path_width(channels, cardinality, weights):
    """Return the largest d, an int, for which the block has at most `weights` weights; 0 if even d = 1 has more.

    The paper's block has 32 paths of 4 channels and 70,144 weights:

    >>> path_width(256, 32, 70_144), path_width(256, 32, 70_143)
    (4, 3)
    """
    # TODO: how many weights has the block? Then try d = 1, 2, 3, ...
    # [solution

    def count(d):
        return cardinality * (channels * d + 9 * d * d + d * channels)

    d = 0
    while count(d + 1) <= weights:
        d += 1
    return d
    # solution]

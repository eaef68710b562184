# %% [markdown]
# # 12. The test that sees nothing
#
# *15 minutes. Read lessons 5 and 6 first: the backward pass, groups.*
#
# ## Question
#
# You wrote a convolution with its backward pass, and a test. The test passes.
#
# **What does this prove? How can you find out whether a test is good?**
#
# There is a way to measure it: take a wrong convolution, and check whether the test fails. If it passes, it is blind to
# this mistake. This package has a catalogue of named mistakes that convolutions make. So a test gets a score: the
# number of mistakes that it catches.

# %%
import matplotlib.pyplot as plt
import numpy as np

import npresnext as nx
from npresnext.learn import score_test
from npresnext.testing import mistakes

rng = np.random.default_rng(12)
print(len(mistakes.MISTAKES), "mistakes, such as:")
for number in (0, 60, 180):
    print("- a convolution that", mistakes.MISTAKES[number].name)


def integers(*shape):
    """Random integers from -3 to 3, as floats: their sums are exact."""
    return rng.integers(-3, 4, shape).astype(float)


# %% [markdown]
# ## Predict
#
# A test has two parts: the *case* (which operands and arguments) and the *comparison* (what it looks at). Here are four
# tests:
#
# | | case | comparison |
# |---|---|---|
# | A | two groups, everything random | the shapes of the results |
# | B | two groups, everything random | mean and norm of each result |
# | C | one image, one channel, everything random | every value |
# | D | two groups, all operands and the upstream gradient are 1 | every value |
#
# Which of them catches the most mistakes, and which the fewest? How many, in percent, does the best one catch? Write
# down your guess before you read on.

# %% [markdown]
# ## Experiment
#
# (misconception-22)=
# ### Three blind spots
#
# **A gradient of ones cannot tell output channels apart.** We exchange the two output channels of every group in the
# weight gradient. That is clearly wrong. With an upstream gradient of ones nothing changes: each output channel of a
# group adds up the same pixels.

# %%
x = integers(1, 6, 4, 4)
weight = integers(6, 2, 3, 3)  # G = 3: two input and two output channels per group
upstreams = {"ones": np.ones((1, 6, 2, 2)), "random integers": integers(1, 6, 2, 2)}

for name, grad_output in upstreams.items():
    right = nx.conv2d_weight_grad(grad_output, x, weight.shape, groups=3)
    by_group = right.reshape(3, 2, 2, 3, 3)  # (G, C_out/G, C_in/G, kh, kw)
    exchanged = by_group[:, ::-1].reshape(right.shape)  # (C_out, C_in/G, kh, kw)
    largest = abs(exchanged - right).max()
    print(f"upstream gradient of {name}: largest difference {largest:.0f}")
    assert (largest == 0) == (name == "ones")

# %% [markdown]
# **Ones hide the rotation of the kernel, too.** The input gradient uses the kernel rotated by 180 degrees. Somebody
# forgets this. With an upstream gradient of ones, each pixel in the middle gets the sum of all taps, rotated or not.
# Only the border differs. A star marks a wrong value:

# %%
kernel = integers(1, 1, 3, 3)
rotated = kernel[:, :, ::-1, ::-1]
upstreams = {"ones": np.ones((1, 1, 5, 5)), "random integers": integers(1, 1, 5, 5)}
for name, grad_output in upstreams.items():
    right = nx.conv2d_input_grad(grad_output, (1, 1, 7, 7), kernel)
    wrong = nx.conv2d_input_grad(grad_output, (1, 1, 7, 7), rotated)
    stars = right[0, 0] != wrong[0, 0]
    print(f"upstream gradient of {name}:")
    for row in stars:
        print("  " + " ".join("*" if star else "." for star in row))
    middle = stars[2:-2, 2:-2]
    assert not middle.any() if name == "ones" else middle.any()
    assert stars.any()

# %% [markdown]
# **A mean and a norm do not depend on places.** If the values are right but in the wrong places, both stay the same. A
# well-known course compares the mean of the gradient. It accepts this one:

# %%
right = nx.conv2d_weight_grad(integers(1, 6, 2, 2), x, weight.shape, groups=3)
wrong = right[:, :, ::-1, ::-1]
print("mean:", right.mean().round(6), wrong.mean().round(6))
print("norm:", np.linalg.norm(right).round(6), np.linalg.norm(wrong).round(6))
print("values that differ:", (right != wrong).sum(), "of", right.size)
assert np.isclose(right.mean(), wrong.mean())
assert np.isclose(np.linalg.norm(right), np.linalg.norm(wrong))
assert (right != wrong).mean() > 0.5

# %% [markdown]
# ### Give a test its score
#
# A test is a function of `conv2d` and `conv2d_backward`. It raises an AssertionError if one of them is wrong. A mistake
# of the catalogue computes y, dx, dw and db *with* the mistake. `score_test` builds a wrong convolution from each of
# them, runs the test with it, and notes which ones are caught. A test that refuses the right convolution gets no score.


# %%
def caught_by(test):
    """Return the names of the mistakes that a test catches."""
    score = score_test(test)
    assert not score.refusal, score.refusal
    return set(score.caught)


# %% [markdown]
# Here are three cases, from plain to unequal. In the last one, every number differs from its neighbour on purpose.

# %%
ONE = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1)}
UNEQUAL = {"stride": (2, 1), "padding": ((1, 0), (2, 1)), "dilation": (1, 2)}


def case(x_shape, weight_shape, groups, window, draw=integers):
    """Return operands and window arguments."""
    x, weight, bias = draw(*x_shape), draw(*weight_shape), draw(weight_shape[0])
    shape = nx.conv2d(x, weight, bias, groups=groups, **window).shape
    return x, weight, bias, draw(*shape), {"groups": groups, **window}


CASES = {
    "one channel": case((1, 1, 5, 5), (1, 1, 3, 3), 1, ONE),
    "two groups": case((2, 4, 5, 5), (6, 2, 3, 3), 2, ONE),
    "unequal": case((3, 6, 7, 8), (4, 3, 2, 3), 2, UNEQUAL),
}

# %% [markdown]
# And here are four ways to compare. The right results come from the definition.


# %%
def results_of(conv2d, conv2d_backward, case):
    x, weight, bias, grad_output, window = case
    y = conv2d(x, weight, bias, **window)
    return y, *conv2d_backward(grad_output, x, weight, **window)


def with_ones(case):
    """The same case, with an upstream gradient of ones."""
    x, weight, bias, grad_output, window = case
    return x, weight, bias, np.ones_like(grad_output), window


def have_same_shapes(got, right):
    assert all(one.shape == other.shape for one, other in zip(got, right))


def have_same_mean_and_norm(got, right):
    for one, other in zip(got, right):
        assert np.allclose(one.mean(), other.mean())
        assert np.allclose(np.linalg.norm(one), np.linalg.norm(other))


def are_equal(got, right):
    have_same_shapes(got, right)
    assert all((one == other).all() for one, other in zip(got, right))


def make_test(case, compare):
    right = results_of(nx.reference.conv2d, reference_backward, case)

    def test(conv2d, conv2d_backward):
        compare(results_of(conv2d, conv2d_backward, case), right)

    return test


def reference_backward(grad_output, x, weight, **window):
    return (
        nx.reference.conv2d_input_grad(grad_output, x.shape, weight, **window),
        nx.reference.conv2d_weight_grad(grad_output, x, weight.shape, **window),
        nx.reference.conv2d_bias_grad(grad_output),
    )


COMPARISONS = {
    "shapes": lambda case: make_test(case, have_same_shapes),
    "mean and norm": lambda case: make_test(case, have_same_mean_and_norm),
    "values,\nupstream ones": lambda case: make_test(with_ones(case), are_equal),
    "values": lambda case: make_test(case, are_equal),
}

# %% [markdown]
# Now we score the four tests of the prediction.

# %%
all_ones = case((2, 4, 5, 5), (6, 2, 3, 3), 2, ONE, draw=lambda *shape: np.ones(shape))
caught = {
    "A": caught_by(COMPARISONS["shapes"](CASES["two groups"])),
    "B": caught_by(COMPARISONS["mean and norm"](CASES["two groups"])),
    "C": caught_by(COMPARISONS["values"](CASES["one channel"])),
    "D": caught_by(COMPARISONS["values"](all_ones)),
}
for name, found in caught.items():
    share = len(found) / len(mistakes.MISTAKES)
    print(f"{name}: {len(found):3} of {len(mistakes.MISTAKES)}, or {share:.0%}")
assert sorted(caught, key=lambda name: len(caught[name])) == ["A", "C", "D", "B"]

# %% [markdown]
# Surprised? Test C looks at every value, and still catches fewer mistakes than test B, which looks at two numbers. It
# even catches fewer than test D, in which everything is 1. With one channel and one image there are no groups to mix
# up, no channels to exchange, and no batch to forget. **The case matters as much as the comparison.**
#
# Here are all twelve combinations:

# %%
tests = [[make(one) for make in COMPARISONS.values()] for one in CASES.values()]
scores = np.array([[len(caught_by(test)) for test in row] for row in tests])
for name, row in zip(CASES, scores):
    print(f"{name:12}", row)
# Each case catches at least as many as the one above it, and each comparison at least
# as many as the one before it:
assert (np.diff(scores, axis=0) >= 0).all() and (np.diff(scores, axis=1) >= 0).all()
assert scores[2, 3] > 2 * scores[0, 3]

# %% [markdown]
# (misconception-25)=
# ### Ties: a test that refuses a right answer
#
# A test can also fail for the wrong reason. Take max pooling and a constant image. All four pixels of a window are the
# maximum. Which one gets the gradient?

# %%
image = np.full((1, 1, 2, 2), 5.0)
pooled = nx.functional.max_pool2d(image, 2)
dx = nx.functional.max_pool2d_backward(np.full((1, 1, 1, 1), 3.0), image, pooled, 2)
print(dx[0, 0])
assert dx.ravel().tolist() == [3, 0, 0, 0]

# %% [markdown]
# This package gives it to the first maximum, as PyTorch does. Another program may take the last one, or share it among
# all. None of them is wrong: at a tie the maximum has no derivative. The slope to the right and the slope to the left
# differ:

# %%
h = 2.0**-10
right_slopes, left_slopes = [], []
for index in np.ndindex(image.shape):
    up, down = image.copy(), image.copy()
    up[index] += h
    down[index] -= h
    right_slopes.append((3 * nx.functional.max_pool2d(up, 2) - 3 * pooled).item() / h)
    left_slopes.append((3 * pooled - 3 * nx.functional.max_pool2d(down, 2)).item() / h)
print("slopes to the right:", right_slopes)
print("slopes to the left: ", left_slopes)
assert right_slopes == [3, 3, 3, 3] and left_slopes == [0, 0, 0, 0]

# %% [markdown]
# A test with finite differences on a constant image would expect 1.5 for each pixel, and refuse every right program. So
# test max pooling with values that are all different: shuffle the numbers 0, 1, 2 and so on.

# %%
shuffled = rng.permutation(36).reshape(1, 1, 6, 6).astype(float)


def pool(x):
    return nx.functional.max_pool2d(x, 2)


def pool_backward(grad_output, x):
    return nx.functional.max_pool2d_backward(grad_output, x, pool(x), 2)


compared = nx.testing.check_grads(pool, [shuffled], pool_backward)
print(compared, "derivatives agree")
assert compared == shuffled.size
assert (np.array(right_slopes) + left_slopes).tolist() == [2 * 1.5] * 4

# %% [markdown]
# ## Picture
#
# The picture shows the score of each combination. Further down, the cases get more unequal. Further right, the
# comparison gets stricter.

# %%
figure, ax = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
ax.imshow(scores, cmap="Blues", vmin=0, vmax=len(mistakes.MISTAKES), aspect="auto")
for (row, column), score in np.ndenumerate(scores):
    ink = "white" if score > 0.65 * len(mistakes.MISTAKES) else "black"
    ax.text(column, row, score, ha="center", va="center", fontsize=14, color=ink)
ax.set_xticks(range(len(COMPARISONS)), COMPARISONS, fontsize=11)
ax.set_yticks(range(len(CASES)), CASES, fontsize=11)
ax.set_title(f"Mistakes caught, of {len(mistakes.MISTAKES)}", fontsize=13)
ax.tick_params(length=0)

# %% [markdown]
# ## Exercise
#
# The best test above uses one case. Each mistake that it does not catch has a question which leads to it:

# %%
found = caught_by(make_test(CASES["unequal"], are_equal))
survivors = [mistake for mistake in mistakes.MISTAKES if mistake.name not in found]
questions = list(dict.fromkeys(mistake.question for mistake in survivors))
print(len(survivors), "mistakes are left, with", len(questions), "questions.")
print("The first eight:")
print("\n".join(f"- {question}" for question in questions[:8]))
assert len(survivors) == len(mistakes.MISTAKES) - scores[2, 3]

# %% [markdown]
# **Write further cases, until your test catches nine of ten mistakes.** Use small arrays, so that the test stays fast.


# %% tags=["hide-cell"]
def transposed(*shape):
    """Random integers that do not lie in memory in the order of their axes."""
    return integers(*shape[::-1]).T


CROPPED = {"stride": (3, 2), "padding": ((-1, 0), (0, -1)), "dilation": (1, 1)}
PADDED = {"stride": (1, 3), "padding": ((3, 0), (1, 1)), "dilation": (1, 1)}
more = {
    "depthwise, a long kernel, cropped": case((2, 4, 6, 7), (8, 1, 1, 5), 4, CROPPED),
    "taps that see padding alone": case((2, 3, 4, 1), (2, 3, 2, 3), 1, PADDED),
    "memory in another order": case((2, 4, 5, 5), (6, 2, 3, 3), 2, ONE, transposed),
    "many images": case((41, 1, 2, 2), (1, 1, 1, 1), 1, ONE),
    "many columns": case((1, 1, 2, 45), (1, 1, 1, 1), 1, ONE),
    "many output channels": case((1, 1, 2, 2), (74, 1, 1, 1), 1, ONE),
    "many input channels": case((1, 74, 2, 2), (2, 37, 1, 1), 2, ONE),
    "no input channels": case((1, 0, 2, 2), (2, 0, 1, 1), 1, ONE),
}

total = set(found)
print(f"{len(total):3}  unequal")
for name, one in more.items():
    total |= caught_by(make_test(one, are_equal))
    print(f"{len(total):3}  and {name}")
left = [mistake.name for mistake in mistakes.MISTAKES if mistake.name not in total]
print("left:", left)
assert len(total) >= 0.9 * len(mistakes.MISTAKES)

# %% [markdown]
# Now write one test for everything. Each check tells you what your test does not see:
#
# ```sh
# npresnext learn start write_tests
# ```
#
# Next: [the tour](13_tour.py), a whole training.

# %% [markdown]
# # 11. How close is close enough? Proven bounds against allclose
#
# *15 minutes. Read lesson 5 first: the backward pass.*
#
# ## Question
#
# Computers round. So your convolution and the definition give slightly different numbers, even if your convolution is
# right. A usual test is `np.allclose(result, expected)`, with some tolerance.
#
# **Which tolerance is right? Can a right result fail such a test, and can a wrong result pass it?**

# %%
import matplotlib.pyplot as plt
import numpy as np

import npresnext as nx

rng = np.random.default_rng(11)

# %% [markdown]
# ## Predict
#
# `np.allclose(a, b)` accepts a value if |a − b| ≤ 10⁻⁸ + 10⁻⁵·|b|. Write down your three answers before you read on.
#
# 1. Two right programs compute the same float32 sum, in different orders. Do they return the same bits?
# 2. The weight gradient of a right float32 convolution: does `np.allclose` accept it?
# 3. The right gradients are about 10⁻⁹. A program returns 0 everywhere. Does `np.allclose` accept it?

# %% [markdown]
# ## Experiment
#
# (misconception-21)=
# ### First choice: integers, and no tolerance
#
# float32 holds every integer up to 2²⁴ exactly. If the operands are small integers, then every product and every
# partial sum is such an integer. Nothing is rounded, in any order of summation. So a right result is *equal*:

# %%
x = rng.integers(-3, 4, (2, 4, 6, 6)).astype(np.float32)
weight = rng.integers(-3, 4, (6, 2, 3, 3)).astype(np.float32)
y = nx.conv2d(x, weight, groups=2)
wide_x, wide_weight = x.astype(np.float64), weight.astype(np.float64)
expected = nx.reference.conv2d_loops(wide_x, wide_weight, groups=2)

L = 2 * 3 * 3  # (C_in/G)·kh·kw products in each sum, each at most 3·3
largest_possible = L * 3 * 3
print("largest possible sum:", largest_possible, " 2**24 =", 2**24)
assert largest_possible < 2**24
assert (y == expected).all()
print("equal in all", y.size, "values")

# %% [markdown]
# This test needs no tolerance, and it finds every wrong index. It finds no rounding mistakes, as nothing is rounded.
# For these we need real numbers.
#
# ### Real numbers: right results differ
#
# Now look at a weight gradient. Each value sums n = N·oh·ow products: images times positions. We add the images once in
# their order, and once in the opposite order. float64 is our exact result: its rounding errors are 2²⁹ times smaller.

# %%
N, size = 16, 28
images = rng.standard_normal((N, 8, size, size), dtype=np.float32) / 8
images += 1  # as pixels: not around 0
upstream = rng.standard_normal((N, 8, size, size), dtype=np.float32)
# The mean of each channel is 0, as in front of a batch norm:
upstream -= upstream.mean(axis=(0, 2, 3), keepdims=True)


def weight_grad(grad_output, x):
    return nx.conv2d_weight_grad(grad_output, x, (8, 4, 3, 3), padding=1, groups=2)


one = weight_grad(upstream, images)
other = weight_grad(upstream[::-1], images[::-1])  # images in the opposite order
wide = upstream.astype(np.float64), images.astype(np.float64)
exact = weight_grad(*wide)

differ = (one != other).mean()
refused = ~np.isclose(one, exact)
print(f"the two orders differ in {differ:.0%} of the values")
print("np.allclose accepts:", np.allclose(one, exact))
print(f"it refuses {refused.sum()} of {one.size} values")
assert one.dtype == np.float32 and differ > 0.5
assert not np.allclose(one, exact) and refused.any()

# %% [markdown]
# Both results are right. Yet `np.allclose` refuses some values. Which ones? Those near 0. There, large products cancel:
# their sum is small, but the rounding errors are those of the large partial sums.

# %%
print(f"a typical value:          {np.median(abs(exact)):8.3f}")
print(f"the values refused, up to {abs(exact[refused]).max():8.3f}")
assert abs(exact[refused]).max() < np.median(abs(exact))

# %% [markdown]
# ### A tolerance that is proven
#
# How large can the rounding error of a sum of n products be? There is a theorem (Higham, *Accuracy and Stability of
# Numerical Algorithms*, section 3.1). In any order of summation, a computed sum of products differs from the exact one
# by at most
#
# $$\gamma_n \sum |a_i\,b_i|, \qquad \gamma_n = \frac{n\,u}{1 - n\,u},$$
#
# where u is the unit roundoff: 2⁻²⁴ for float32. The sum of the absolute values is easy to compute: **it is the same
# convolution, of the absolute values**.


# %%
def gamma(n, u=2.0**-24):
    return n * u / (1 - n * u)


n = N * size * size  # products in one value of the weight gradient
magnitudes = weight_grad(*map(abs, wide))
bound = gamma(n) * magnitudes

for name, result in (("usual order   ", one), ("opposite order", other)):
    worst = (abs(result - exact) / bound).max()
    print(f"{name}: largest error / bound = {worst:.1e}")
    assert worst < 1

# %% [markdown]
# Every value has its own bound. It depends on the size of the products, not on the size of their sum: a value near 0
# has no smaller bound than others. A result beyond the bound cannot be explained by rounding: it is wrong, and this is
# proven.
#
# ### A wrong result that passes
#
# Question 3. The loss is a mean over many values, so gradients are often tiny:

# %%
tiny = 1e-11 * upstream
gradient = weight_grad(tiny, images)
zeros = np.zeros_like(gradient)
print(f"largest gradient: {abs(gradient).max():.0e}")
print("np.allclose(zeros, gradient):", np.allclose(zeros, gradient))
assert 0 < abs(gradient).max() < 1e-8 and np.allclose(zeros, gradient)

tiny_exact = weight_grad(tiny.astype(np.float64), images.astype(np.float64))
tiny_bound = 1e-11 * bound
beyond = abs(zeros - tiny_exact) > tiny_bound
print(f"zeros are beyond the bound in {beyond.mean():.0%} of the values")
assert (abs(gradient - tiny_exact) <= tiny_bound).all() and beyond.mean() > 0.5

# %% [markdown]
# The 10⁻⁸ in `np.allclose` is an absolute tolerance. Below it, everything is accepted. The bound scales with the
# operands, so it has no such blind spot.
#
# ### Long sums hide small faults
#
# The bound is proven, but it is not sharp. It grows like n, while real rounding errors grow like √n, because they
# partly cancel. So at large n a fault can hide below the bound. Take, for example, a program that rounds its operands
# to 11 bits, and calls its result float32. These are the bits of float16, and of TF32, a format of the matrix units of
# GPUs. We try it on a short sum and on a long one.


# %%
def rounded(array):
    """Keep 11 significant bits of each value."""
    return array.astype(np.float16).astype(np.float32)


x = rng.standard_normal((2, 8, 8, 8), dtype=np.float32)
weight = rng.standard_normal((6, 4, 3, 3), dtype=np.float32)
y = nx.conv2d(rounded(x), rounded(weight), groups=2)
wide_x, wide_weight = x.astype(np.float64), weight.astype(np.float64)
y_exact = nx.conv2d(wide_x, wide_weight, groups=2)
y_magnitudes = nx.conv2d(abs(wide_x), abs(wide_weight), groups=2)

short = 4 * 3 * 3  # products in one value of y: (C_in/G)·kh·kw
worst_of_short = (abs(y - y_exact) / (gamma(short) * y_magnitudes)).max()
gradient = weight_grad(rounded(upstream), rounded(images))
worst_of_long = (abs(gradient - exact) / bound).max()
print(f"n = {short:6}: largest error / bound = {worst_of_short:8.3f}")
print(f"n = {n:6}: largest error / bound = {worst_of_long:8.3f}")
accepted = np.allclose(y, y_exact, rtol=1e-2, atol=1e-2)
print("np.allclose with a tolerance of 1 %:", accepted)
assert worst_of_short > 50 and worst_of_long < 0.1 and accepted

# %% [markdown]
# The short sum proves the fault. The long one shows nothing. And a tolerance of 1 %, as some tests have, accepts it
# even in the short sum. **Test with short sums.** The conformance kit does this: its cases are small, and it takes
# integers first, then real numbers with this bound. It also names the cheapest arithmetic that explains the errors:


# %%
def my_conv(x, weight, bias, **window):
    return nx.conv2d(rounded(x), rounded(weight), bias, **window)


case = nx.testing.ConvCase(
    batch=2, in_channels=8, out_channels=6, groups=2, size=(8, 8), kernel=(3, 3)
)
report = nx.testing.check_conv(my_conv, only=case)
print("\n".join(str(report).splitlines()[:7]))
assert not report.passed and "rounds its inputs to TF32" in str(report)
assert nx.testing.check_conv(nx.conv2d, only=case).passed

# %% [markdown]
# ## Picture
#
# The picture shows the right weight gradient from above: each of its values is one blue point. Above the line,
# `np.allclose` refuses it. The grey points are the bounds. Both axes are logarithmic.

# %%
error = abs(one - exact).ravel()
value = abs(exact).ravel()
line = np.geomspace(value.min(), value.max(), 50)

figure, ax = plt.subplots(figsize=(6, 4.2), layout="constrained")
ax.scatter(value, bound.ravel(), s=12, color="#7a7a7a", label="proven bound")
ax.scatter(value, error, s=12, color="#0072b2", label="error of a right result")
ax.plot(line, 1e-8 + 1e-5 * line, color="#e69f00", linewidth=2, label="np.allclose")
ax.set_xscale("log")
ax.set_yscale("log")
ax.set_ylim(error[error > 0].min() / 2, bound.max() * 4)
ax.set_xlabel("size of the exact value", fontsize=12)
ax.set_ylabel("difference", fontsize=12)
ax.set_title("Near 0 a right result fails np.allclose", fontsize=13)
figure.legend(fontsize=11, loc="outside lower center", ncols=3)
ax.grid(alpha=0.3)
above_the_line = error > 1e-8 + 1e-5 * value
assert (above_the_line == refused.ravel()).all() and (error < bound.ravel()).all()

# %% [markdown]
# ## Exercise
#
# The bound says nothing at all where γ_n ≥ 1: then the error may be as large as the whole sum of absolute values.
#
# **From which n on is this so, for sums in float16 (u = 2⁻¹¹) and in float32 (u = 2⁻²⁴)?** In ResNet-50 the longest sum
# of a forward pass has 512·3·3 products. In which of the two formats would you add it?

# %% tags=["hide-cell"]
# n·u / (1 − n·u) ≥ 1 if and only if n·u ≥ 1/2
longest = 512 * 3 * 3
for name, u in (("float16", 2.0**-11), ("float32", 2.0**-24)):
    n_limit = int(1 / (2 * u))
    assert gamma(n_limit, u) == 1 > gamma(n_limit - 1, u)
    print(f"{name}: γ_n is at least 1 from n = {n_limit:,}")
    if longest < n_limit:
        print(f"    for n = {longest:,} the bound is {gamma(longest, u):.1e} of Σ|a·b|")
    else:
        print(f"    for n = {longest:,} the bound says nothing")
assert longest == 4608
assert int(1 / (2 * 2.0**-11)) == 1024 and int(1 / (2 * 2.0**-24)) == 2**23

# %% [markdown] tags=["hide-cell"]
# <details><summary>Explanation</summary>
#
# float16 sums have a proven bound only for fewer than 1,024 products. So the sums of ResNet-50 must be added in
# float32, even if the operands are float16. The matrix units of GPUs do this. It is also why the kit has separate names
# for the format of the operands (`input`) and for that of the sums (`accumulator`).
#
# </details>

# %% [markdown]
# Next: [lesson 12](12_test_that_sees_nothing.py), how to test a test.

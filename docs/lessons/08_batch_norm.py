# %% [markdown]
# # 8. Batch norm backward, and why a raw norm compares scales
#
# *15 minutes. Read lesson 7 first: the gradients of a group.*
#
# ## Question
#
# Batch norm gives each channel the mean 0 and the variance 1. It computes the mean and the variance from the batch
# itself. So both depend on the input.
#
# **What must the backward pass do, besides dividing by the standard deviation? And what happens to the gradient of the
# convolution in front?**

# %%
import matplotlib.pyplot as plt
import numpy as np

import npresnext as nx
from npresnext.functional import batch_norm, batch_norm_backward

rng = np.random.default_rng(8)

# %% [markdown]
# Batch norm computes, for the values x of one channel:
#
# $$\hat x = \frac{x - \text{mean}}{\text{std}}, \qquad y = \gamma\,\hat x + \beta.$$
#
# In this lesson γ = 1 and β = 0. The small constant ε, which is added to the variance, is set so small that you can
# ignore it.

# %% [markdown]
# ## Predict
#
# Write down your three answers before you read on.
#
# 1. The upstream gradient is 1 at every value of y. What is the gradient of x?
# 2. A convolution stands in front of the batch norm. We multiply its weight by 10. Does the loss grow, shrink, or stay
#    the same?
# 3. And the norm of the weight's gradient: is it 10 times as large, the same, or a tenth?

# %% [markdown]
# ## Experiment
#
# ### Four values that you can follow by hand
#
# The mean of these four values is 0 and their variance is 1, so $\hat x = x$.

# %%
x = np.array([-1.0, -1.0, 1.0, 1.0]).reshape(4, 1)  # (N, C): four images, one channel
grad_output = np.array([3.0, -1.0, 4.0, 2.0]).reshape(4, 1)

y, mean, var = batch_norm(x, eps=1e-30)
dx, _, _ = batch_norm_backward(grad_output, x, mean, var, eps=1e-30)
print("y: ", y.ravel())
print("dx:", dx.ravel())
assert (y == x).all()
assert dx.ravel().tolist() == [2, -2, 1, -1]

# %% [markdown]
# Where does 2, −2, 1, −1 come from? The backward pass takes two things away from the upstream gradient:
#
# $$dx = \frac{1}{\text{std}}\left(g - \text{mean}(g) - \hat x \cdot \text{mean}(g\,\hat x)\right)$$

# %%
g, x_hat = grad_output, y
print("mean of g:     ", g.mean())
print("mean of g·x_hat:", (g * x_hat).mean())
assert g.mean() == 2 and (g * x_hat).mean() == 1

by_hand = g - g.mean() - x_hat * (g * x_hat).mean()
assert (by_hand == dx).all()

# %% [markdown]
# Why these two terms?
#
# - Add the same number to every x: y does not change. So the gradient must not point in this direction: **Σ dx = 0**.
# - Multiply every x by the same number: y does not change. So **Σ dx·x̂ = 0**.
#
# The two terms take exactly these two directions out of the upstream gradient:

# %%
print("Σ dx =", dx.sum(), "  Σ dx·x_hat =", (dx * x_hat).sum())
assert dx.sum() == 0 and (dx * x_hat).sum() == 0

# %% [markdown]
# Now question 1. If the upstream gradient is 1 everywhere, then its mean is 1, and nothing is left:

# %%
ones = np.ones_like(x)
dx_of_ones, _, _ = batch_norm_backward(ones, x, mean, var, eps=1e-30)
print("dx for an upstream gradient of ones:", dx_of_ones.ravel())
assert (dx_of_ones == 0).all()

# %% [markdown]
# So an upstream gradient of ones tests nothing here: a backward pass that returns zeros would pass. `check_grads`
# compares a backward pass with derivatives, and draws the upstream gradient at random. It finds the usual mistake: to
# treat mean and variance as constants. That is right in evaluation, where they *are* constants, but not in training.


# %%
def forward(x):
    return batch_norm(x)[0]


def right(grad_output, x):
    _, mean, var = batch_norm(x)
    return batch_norm_backward(grad_output, x, mean, var)[0]


def as_in_evaluation(grad_output, x):
    _, mean, var = batch_norm(x)
    return batch_norm_backward(grad_output, x, mean, var, batch_statistics=False)[0]


values = rng.normal(3, 2, (4, 2, 2, 2))
compared = nx.testing.check_grads(forward, [values], right)
print("right:", compared, "derivatives agree")
try:
    nx.testing.check_grads(forward, [values], as_in_evaluation)
    found = ""
except AssertionError as error:
    found = str(error)
print("wrong:", found)
assert compared == values.size
assert f"{values.size} of {values.size} elements differ" in found

# %% [markdown]
# (misconception-24)=
# ### A weight in front of a batch norm has no scale
#
# Questions 2 and 3. We multiply the weight of a convolution by 1, 10 and 100, and compute the loss and the gradient.

# %%
images = rng.standard_normal((8, 64, 6, 6))  # (N, C_in, H, W)
weight = rng.standard_normal((64, 16, 3, 3))  # (C_out, C_in/G, kh, kw), G = 4
direction = rng.standard_normal((8, 64, 4, 4))  # the loss is Σ direction · output


def loss_and_gradient(weight, groups):
    """Convolution, batch norm, loss; and the gradient of the weight."""
    y = nx.conv2d(images, weight, groups=groups)
    normalised, mean, var = batch_norm(y, eps=1e-12)
    dy, _, _ = batch_norm_backward(direction, y, mean, var, eps=1e-12)
    dweight = nx.conv2d_weight_grad(dy, images, weight.shape, groups=groups)
    return (direction * normalised).sum(), dweight


def norm(array):
    return np.sqrt((array**2).sum())


print("scale    loss   ‖w‖   ‖dw‖  ‖dw‖/‖w‖  ‖dw‖·‖w‖")
table = []
for scale in (1, 10, 100):
    loss, dweight = loss_and_gradient(scale * weight, groups=4)
    w, dw = norm(scale * weight), norm(dweight)
    table.append((loss, dw, dw / w, dw * w))
    print(f"{scale:5} {loss:7.3f} {w:5.0f} {dw:6.2f} {dw / w:9.5f} {dw * w:9.1f}")

losses, raw, ratios, products = np.array(table).T
assert np.allclose(losses, losses[0], rtol=1e-9)
assert np.allclose(raw, raw[0] * np.array([1, 1e-1, 1e-2]), rtol=1e-9)
assert np.allclose(ratios, ratios[0] * np.array([1, 1e-2, 1e-4]), rtol=1e-9)
assert np.allclose(products, products[0], rtol=1e-9)

# %% [markdown]
# - The loss stays the same: batch norm divides the scale away.
# - The gradient becomes a tenth. A weight of ten times the size must be changed by ten times as much for the same
#   effect.
# - ‖dw‖·‖w‖ stays the same. **Compare this number, not the raw norm.** `nx.group_grad_norms` has it in the column
#   `l2_weight_l2`.

# %% [markdown]
# (misconception-23)=
# ### An initialisation that ignores the groups
#
# Initial weights are drawn at random. Their variance is chosen as 2/fan_in, so that the output is about as large as the
# input. fan_in is the number of products that make one output value. With G groups it is (C_in/G)·kh·kw, since an
# output channel reads the input channels of its own group only.
#
# What happens if somebody takes C_in·kh·kw and forgets the groups? We draw weights both ways, and look at the standard
# deviation of the output, and at the gradient of the weight when a batch norm follows.

# %%
print("        std of y         ‖dw‖       ‖dw‖·‖w‖")
print("   G forgot right  forgot right  forgot right")
deviations, raw, products = {}, {}, {}
for G in (1, 4, 16):
    drawn = rng.standard_normal((64, 64 // G, 3, 3))
    fan_in = {"forgot": 64 * 3 * 3, "right": 64 // G * 3 * 3}
    for name, fan in fan_in.items():
        weight = drawn * np.sqrt(2 / fan)
        _, dweight = loss_and_gradient(weight, groups=G)
        deviations[G, name] = nx.conv2d(images, weight, groups=G).std()
        raw[G, name] = norm(dweight)
        products[G, name] = norm(dweight) * norm(weight)
    pairs = [
        f"{each[G, 'forgot']:6.{digits}f} {each[G, 'right']:5.{digits}f}"
        for each, digits in ((deviations, 2), (raw, 0), (products, 0))
    ]
    print(f"{G:4}", "  ".join(pairs))

for G in (1, 4, 16):
    assert np.isclose(deviations[G, "right"], deviations[G, "forgot"] * np.sqrt(G))
    assert np.isclose(raw[G, "right"], raw[G, "forgot"] / np.sqrt(G))
    assert np.isclose(products[G, "right"], products[G, "forgot"])
    assert abs(deviations[G, "right"] - np.sqrt(2)) < 0.2
forgot = [raw[G, "forgot"] for G in (1, 4, 16)]
assert max(forgot) < 1.1 * min(forgot)
assert raw[1, "right"] > 3.5 * raw[16, "right"]

# %% [markdown]
# Read the table from left to right:
#
# 1. Without the groups, the output is too small by the factor √G. A batch norm hides this in the forward pass.
# 2. It does not hide it in the gradient. With the first initialisation, ‖dw‖ is nearly the same for every G. With the
#    second one it is about four times as large for G = 1 as for G = 16. **Two people would draw opposite conclusions,
#    from layers that compute the same.**
# 3. ‖dw‖·‖w‖ is the same for both initialisations.
#
# torchvision's initialisation of ResNets does not count the groups. `init="fan_out_per_group"` in this package does.

# %% [markdown]
# ## Picture
#
# The picture shows the gradient of one layer, for weights of different scale. Both axes are logarithmic.

# %%
weight = rng.standard_normal((64, 16, 3, 3))  # G = 4
scales = 2.0 ** np.arange(-3, 4)
raw, products = [], []
for scale in scales:
    _, dweight = loss_and_gradient(scale * weight, groups=4)
    raw.append(norm(dweight))
    products.append(norm(dweight) * norm(scale * weight))

figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
ax.plot(scales, np.array(raw) / raw[3], "o-", linewidth=2, label="‖dw‖")
ax.plot(scales, np.array(products) / products[3], "s--", linewidth=2, label="‖dw‖·‖w‖")
ax.set_xscale("log", base=2)
ax.set_yscale("log", base=2)
ax.set_xlabel("scale of the weight", fontsize=12)
ax.set_ylabel("relative to scale 1", fontsize=12)
ax.set_title("A convolution, followed by a batch norm", fontsize=13)
ax.legend(fontsize=12)
ax.grid(alpha=0.3)
assert np.allclose(np.array(raw) * scales, raw[3])
assert np.allclose(products, products[3])

# %% [markdown]
# ## Exercise
#
# A weight in front of a batch norm can be scaled without changing the loss. So its gradient has no part in the
# direction of the weight itself.
#
# **What is Σ w·dw? And what follows for ‖w‖, if you subtract lr·dw from w, for any learning rate lr?** First answer on
# paper. Then check with the function `loss_and_gradient`.

# %% tags=["hide-cell"]
_, dweight = loss_and_gradient(weight, groups=4)
product, largest = (weight * dweight).sum(), norm(weight) * norm(dweight)
print(f"Σ w·dw = {product:.1e}, compared with ‖w‖·‖dw‖ = {largest:.1e}")
assert abs(product) < 1e-9 * largest

for lr in (0.01, 0.1, 1.0):
    after = norm(weight - lr * dweight)
    print(f"lr = {lr}: ‖w‖ was {norm(weight):.2f} and is now {after:.2f}")
    assert after > norm(weight)
    assert np.isclose(after**2, norm(weight) ** 2 + lr**2 * norm(dweight) ** 2)

# %% [markdown] tags=["hide-cell"]
# <details><summary>Explanation</summary>
#
# Σ w·dw = 0: the derivative of the loss in the direction w is 0, as the loss does not change along it. The weight and
# its gradient are at right angles. By Pythagoras ‖w − lr·dw‖² = ‖w‖² + lr²·‖dw‖². So each step of gradient descent
# makes the weight longer, and with it every later gradient smaller. Weight decay makes it shorter again. This is why
# weight decay still has an effect in a network where it cannot change what the layer computes.
#
# </details>

# %% [markdown]
# Now write the backward pass of batch norm yourself:
#
# ```sh
# npresnext learn start batch_norm
# ```
#
# Next: [lesson 9](09_three_forms.py), the ResNeXt block.

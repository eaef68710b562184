# %% [markdown]
# # The first hour
#
# This page goes once through everything that the package does: compute a grouped convolution, look at its gradients,
# check an implementation, count a network, train one, and look inside it. Each part ends with a link to more.
#
# Run it as a notebook: change the numbers, and run the cells again.

# %%
import numpy as np

import npresnext as nx

rng = np.random.default_rng(0)

# %% [markdown]
# ## A grouped convolution
#
# An image has channels. A convolution computes each output channel from input channels, with a small kernel of weights
# for each pair of them. In a *grouped* convolution the channels are divided into G groups, and an output channel reads
# only the input channels of its own group.

# %%
x = rng.integers(-3, 4, (1, 4, 5, 5)).astype(float)  # (N, C_in, H, W)
weight = rng.integers(-2, 3, (6, 2, 3, 3)).astype(float)  # (C_out, C_in/G, kh, kw)
y = nx.conv2d(x, weight, groups=2)
print(f"x {x.shape}", f"weight {weight.shape}", f"y {y.shape}", sep="\n")

# %% [markdown]
# The picture shows the weight as a matrix of kernels: a row for each output channel, a column for each input channel.
# Each of the 6 filters reads 2 channels: with 2 groups, half of the places are empty. So the layer needs half of the
# weights.

# %%
nx.pictures.weight_matrix(weight, groups=2)

# %%
dense = nx.conv2d_parameter_count(4, 6, 3)
grouped = nx.conv2d_parameter_count(4, 6, 3, groups=2)
print(f"{dense} weights with 1 group, {grouped} with 2")
assert grouped == dense / 2 == weight.size

# %% [markdown]
# ## Its gradients
#
# A network learns by gradients. The backward pass of a layer starts from the gradient of the loss with respect to y,
# the *upstream gradient*. It computes the gradients with respect to x and to the weight.

# %%
grad_output = rng.integers(-3, 4, y.shape).astype(float)
dx, dweight, dbias = nx.conv2d_backward(grad_output, x, weight, groups=2)
print(f"dx {dx.shape}", f"dweight {dweight.shape}", f"dbias {dbias.shape}", sep="\n")

# %% [markdown]
# Is `dweight` right? Make one weight larger by 1, and see how much `Σ grad_output · y` changes. This sum is linear in
# the weight, so the change is exactly the gradient.

# %%
changed = weight.copy()
changed[5, 1, 0, 2] += 1
changed_y = nx.conv2d(x, changed, groups=2)
change = (grad_output * changed_y).sum() - (grad_output * y).sum()
print("change of the sum:", change, "  gradient:", dweight[5, 1, 0, 2])
assert change == dweight[5, 1, 0, 2]

# %% [markdown]
# More: the lessons, from [a list of products](lessons/index.md) to the gradients of a group.
#
# ## A convolution of your own
#
# You have written a convolution, and want to know whether it is right. Here is one with a mistake: its gradient of x
# does not rotate the kernel. The conformance kit finds it, and says which mistake it is.

# %%
from npresnext.testing import check_conv


def backward(grad_output, x, weight, *, stride, padding, dilation, groups):
    window = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    dx = nx.conv2d_input_grad(grad_output, x.shape, weight[:, :, ::-1, ::-1], **window)
    dweight = nx.conv2d_weight_grad(grad_output, x, weight.shape, **window)
    return dx, dweight, grad_output.sum(axis=(0, 2, 3))


report = check_conv(None, backward, cases=40)
for mistake in report.mistakes:
    print(mistake)
assert not report.passed and report.mistakes

# %% [markdown]
# More: [Is my convolution right?](verify.md)
#
# ## A network, counted
#
# A ResNeXt block makes the 3x3 convolution of a ResNet block grouped, and uses the saved weights for more channels. The
# number of its groups is called the *cardinality*.

# %%
for name in ("resnet50", "resnext50_32x4d"):
    total = nx.summary(nx.models.get_model(name, rng=0), (1, 3, 224, 224))
    print(f"{name}:")
    print(f"{total.total_params:15,} parameters")
    print(f"{total.total_macs:15,} MACs")

# %% [markdown]
# More: [the family](family.md), and [claims](claims.md) about cardinality that hold or do not.
#
# ## A network, trained
#
# Now train a small ResNeXt on the handwritten digits that are bundled with the package: one pass over 1,442 images.
# After each step, write down the norm of the weight gradient of each group.

# %%
train, test = nx.data.load_digits()
model, loss = nx.models.resnext_small(rng=0), nx.nn.CrossEntropyLoss()
optimizer = nx.nn.SGD(model.parameters(), lr=0.05, momentum=0.9)

rows, losses = [], []
batches = nx.data.training_batches(train, 32, seed=0, epoch=0)
for step, (images, labels) in enumerate(batches):
    optimizer.zero_grad()
    losses.append(float(loss(model(images), labels)))
    model.backward(loss.backward())
    rows += nx.group_grad_norms(model, step=step)
    optimizer.step()

model.eval()
images, labels = next(nx.data.all_batches(test, len(test)))
accuracy = (model(images).argmax(axis=1) == labels).mean()
print(f"loss {losses[0]:.2f} at the first step, {losses[-1]:.2f} at the last")
print(f"{accuracy:.0%} of the {len(test)} test images are right")
assert losses[-1] < losses[0] / 2 and accuracy > 0.5

# %% [markdown]
# ## A look inside
#
# Each row of the picture is a group of one convolution, each column a step. The bar on the right explains the colours.

# %%
nx.gradients.draw_grad_norms(rows)

# %% [markdown]
# The gradients of all groups rise and fall together, from step to step. A norm depends on more than learning does:
# [gradient norms](gradient-norms.md) explains what can be compared, and [training](training.md) how to train for
# longer.
#
# ## Where to go from here
#
# | you want to | go to |
# |---|---|
# | understand each part, slowly | [the lessons](lessons/index.md) |
# | read the code | the [definition](../npresnext/reference.py), then [lesson/](../npresnext/lesson) |
# | look up a function | [the reference](api.md) |

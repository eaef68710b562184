"""Every backward of npresnext.functional is the derivative of its forward: check_grads, element by element.

Step 1 where a function is linear in each input, the complex step where it is holomorphic and takes complex numbers,
central differences elsewhere. Each check is shown to be able to fail, in each gradient that it covers.
"""

from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import pytest

import npresnext as nx
from npresnext import functional as F
from npresnext import nn
from npresnext.models import BasicBlock, Bottleneck
from npresnext.models.blocks import projection
from npresnext.paper.forms import DepthTwo, FormA, FormB, FormC, WideBlock
from npresnext.testing import check_grads


class Check(NamedTuple):
    """One operation with its arguments: which backward it is about, and how to call both."""

    backward_name: str
    method: str
    forward: object  # of the inputs
    backward: object  # of the upstream gradient and the inputs
    shapes: tuple  # of the inputs

    def __call__(self):
        rng = np.random.default_rng(7)
        inputs = [rng.standard_normal(shape) for shape in self.shapes]
        compared = check_grads(self.forward, inputs, self.backward, method=self.method, rng=rng)
        assert compared == sum(inputs[place].size for place in self.gradients()), "an element was passed over"

    def gradients(self):
        """The places of the inputs that the backward returns a gradient for."""
        inputs = [np.ones(shape) for shape in self.shapes]
        found = self.backward(np.ones(np.shape(self.forward(*inputs))), *inputs)
        found = found if isinstance(found, tuple) else (found,)
        return [place for place, gradient in enumerate(found) if gradient is not None]


CHECKS = {}


def register(name, backward_name, methods, forward, backward, *shapes):
    for method in methods.split():
        CHECKS[f"{name}, {method}"] = Check(backward_name, method, forward, backward, shapes)


# --- convolution ---------------------------------------------------------------------------------------------

CONVOLUTIONS = {
    "dense": ((2, 3, 4, 5), (2, 3, 3, 2), {}),
    "1x1 with stride": ((2, 4, 5, 4), (4, 2, 1, 1), {"groups": 2, "stride": 2}),
    "groups": ((2, 4, 4, 3), (6, 2, 2, 3), {"groups": 2, "padding": 1}),
    "depthwise": ((2, 3, 4, 4), (6, 1, 3, 3), {"groups": 3, "padding": "same"}),
    "stride": ((1, 2, 7, 6), (2, 2, 3, 2), {"stride": (3, 2), "padding": (1, 0)}),
    "stride beyond the kernel": ((1, 2, 7, 6), (2, 2, 2, 1), {"stride": 3}),
    "dilation": ((2, 2, 6, 6), (2, 2, 3, 2), {"dilation": (2, 3), "padding": 1}),
    "asymmetric padding": ((2, 2, 3, 4), (3, 2, 3, 3), {"padding": ((2, 0), (1, 3))}),
    "negative padding": ((2, 2, 5, 4), (2, 2, 2, 2), {"padding": ((-1, 1), (0, -2))}),
    "all at once": (
        (2, 6, 5, 6),
        (3, 2, 2, 3),
        {"groups": 3, "stride": (2, 3), "dilation": (3, 2), "padding": ((1, 2), (3, 0))},
    ),
    "unbatched": ((4, 4, 5), (2, 2, 3, 3), {"groups": 2}),
}

for name, (x_shape, weight_shape, window) in CONVOLUTIONS.items():
    register(
        f"conv2d: {name}",
        "conv2d_backward",
        "linear complex",
        lambda x, w, b, window=window: F.conv2d(x, w, b, **window),
        lambda g, x, w, b, window=window: F.conv2d_backward(g, x, w, **window),
        x_shape,
        weight_shape,
        weight_shape[:1],
    )
    register(
        f"input gradient: {name}",
        "conv2d_input_grad",
        "linear",
        lambda x, w, window=window: F.conv2d(x, w, **window),
        lambda g, x, w, window=window: (F.conv2d_input_grad(g, x.shape, w, **window), None),
        x_shape,
        weight_shape,
    )
    register(
        f"weight gradient: {name}",
        "conv2d_weight_grad",
        "linear",
        lambda x, w, window=window: F.conv2d(x, w, **window),
        lambda g, x, w, window=window: (None, F.conv2d_weight_grad(g, x, w.shape, **window)),
        x_shape,
        weight_shape,
    )

# --- im2col and col2im: the backward of each is the other -----------------------------------------------------

for name, window in {
    "plain": {},
    "strided": {"stride": (2, 3)},
    "dilated and padded": {"dilation": (2, 1), "padding": ((2, 0), (-1, 3))},
}.items():
    columns = F.im2col(np.zeros((2, 2, 6, 5)), (3, 2), **window).shape
    register(
        f"im2col: {name}",
        "col2im",
        "linear complex",
        lambda x, window=window: F.im2col(x, (3, 2), **window),
        lambda g, x, window=window: F.col2im(g, x.shape, (3, 2), **window),
        (2, 2, 6, 5),
    )
    register(
        f"col2im: {name}",
        "im2col",
        "linear complex",
        lambda columns, window=window: F.col2im(columns, (2, 2, 6, 5), (3, 2), **window),
        lambda g, columns, window=window: F.im2col(g, (3, 2), **window),
        columns,
    )

# --- pooling ---------------------------------------------------------------------------------------------------

for name, window in {
    "plain": {"kernel_size": 2},
    "strided and padded": {"kernel_size": 3, "stride": (2, 1), "padding": (1, 0)},
    "dilated": {"kernel_size": (2, 3), "stride": 2, "dilation": (3, 2), "padding": (1, 1)},
    "ceil_mode": {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    "ceil_mode, dilated and padded": {
        "kernel_size": (3, 2),
        "stride": 2,
        "padding": 1,
        "dilation": 2,
        "ceil_mode": True,
    },
}.items():
    register(
        f"max pooling: {name}",
        "max_pool2d_backward",
        "central",
        lambda x, window=window: F.max_pool2d(x, **window),
        lambda g, x, window=window: F.max_pool2d_backward(g, x, F.max_pool2d(x, **window), **window),
        (2, 2, 7, 8),
    )

for name, window in {
    "plain": {"kernel_size": 2},
    "strided and padded": {"kernel_size": 3, "stride": (2, 1), "padding": (1, 0)},
    "padding not counted": {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False},
    "ceil_mode": {"kernel_size": (3, 2), "stride": (2, 3), "ceil_mode": True},
    "ceil_mode, padded": {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    "ceil_mode, padding not counted": {
        "kernel_size": 3,
        "stride": 2,
        "padding": 1,
        "ceil_mode": True,
        "count_include_pad": False,
    },
}.items():
    register(
        f"average pooling: {name}",
        "avg_pool2d_backward",
        "linear complex",
        lambda x, window=window: F.avg_pool2d(x, **window),
        lambda g, x, window=window: F.avg_pool2d_backward(g, x.shape, **window),
        (2, 2, 6, 8),
    )

register(
    "global average pooling",
    "global_avg_pool2d_backward",
    "linear complex",
    F.global_avg_pool2d,
    lambda g, x: F.global_avg_pool2d_backward(g, x.shape),
    (2, 3, 4, 5),
)

# --- batch norm ------------------------------------------------------------------------------------------------


def batch_norm_backward(g, x, weight, given, eps=1e-2):
    _, mean, var = F.batch_norm(x, eps=eps, **given)
    return F.batch_norm_backward(g, x, mean, var, weight, eps=eps, batch_statistics=not given)


def batch_norm_relu_backward(g, x, weight, bias, shortcut, given, eps=1e-2):
    y, mean, var = F.batch_norm_relu(x, weight, bias, shortcut=shortcut, eps=eps, **given)
    options = {"eps": eps, "batch_statistics": not given, "needs_shortcut": shortcut is not None}
    gradients = F.batch_norm_relu_backward(g, y, x, mean, var, weight, **options)
    return gradients if shortcut is not None else gradients[:3]


for mode, given in {"training": {}, "evaluation": {"mean": np.r_[0.3, -1, 2], "var": np.r_[0.5, 1.5, 0.1]}}.items():
    for shape in ((2, 3, 3, 2), (5, 3)):
        register(
            f"batch norm: {mode}, affine, {len(shape)} axes",
            "batch_norm_backward",
            "central",
            lambda x, w, b, given=given: F.batch_norm(x, w, b, eps=1e-2, **given)[0],
            lambda g, x, w, b, given=given: batch_norm_backward(g, x, w, given),
            shape,
            (3,),
            (3,),
        )
    register(
        f"batch norm: {mode}, not affine",
        "batch_norm_backward",
        "central",
        lambda x, given=given: F.batch_norm(x, eps=1e-2, **given)[0],
        lambda g, x, given=given: batch_norm_backward(g, x, None, given)[0],
        (2, 3, 3, 2),
    )
    register(
        f"batch norm, addition and rectifier: {mode}",
        "batch_norm_relu_backward",
        "central",
        lambda x, w, b, s, given=given: F.batch_norm_relu(x, w, b, shortcut=s, eps=1e-2, **given)[0],
        lambda g, x, w, b, s, given=given: batch_norm_relu_backward(g, x, w, b, s, given),
        (2, 3, 3, 2),
        (3,),
        (3,),
        (2, 3, 3, 2),
    )
    register(
        f"batch norm and rectifier: {mode}",
        "batch_norm_relu_backward",
        "central",
        lambda x, w, b, given=given: F.batch_norm_relu(x, w, b, eps=1e-2, **given)[0],
        lambda g, x, w, b, given=given: batch_norm_relu_backward(g, x, w, b, None, given),
        (2, 3, 3, 2),
        (3,),
        (3,),
    )

# --- the rest --------------------------------------------------------------------------------------------------

register("relu", "relu_backward", "central", F.relu, lambda g, x: F.relu_backward(g, F.relu(x)), (3, 4, 2))
register("residual addition", "add_backward", "linear", F.add, lambda g, x, y: F.add_backward(g), (2, 3, 2), (2, 3, 2))
for leading in ((), (4,), (2, 3)):
    register(
        f"linear: {len(leading)} leading axes",
        "linear_backward",
        "linear complex",
        F.linear,
        lambda g, x, w, b: F.linear_backward(g, x, w),
        (*leading, 5),
        (3, 5),
        (3,),
    )

TARGET = np.array([0, 3, 1, -100, 2])
for reduction in ("mean", "sum", "none"):
    for name, options in {
        "plain": {},
        "ignored class": {"ignore_index": 3},
        "label smoothing": {"label_smoothing": 0.1},
        "class weights": {"weight": np.r_[0.5, 2, 1, 0.1]},
        "all at once": {"ignore_index": 1, "label_smoothing": 0.3, "weight": np.r_[0.5, 2, 1, 0.1]},
    }.items():
        options = {"target": TARGET % 4 if "ignore_index" in options else TARGET, "reduction": reduction, **options}
        register(
            f"cross entropy: {reduction}, {name}",
            "cross_entropy_backward",
            "central",
            lambda logits, options=options: F.cross_entropy(logits, **options),
            lambda g, logits, options=options: F.cross_entropy_backward(g, logits, **options),
            (5, 4),
        )
register(
    "cross entropy: pixels",
    "cross_entropy_backward",
    "central",
    lambda logits: F.cross_entropy(logits, TARGET.reshape(1, 5, 1)),
    lambda g, logits: F.cross_entropy_backward(g, logits, TARGET.reshape(1, 5, 1)),
    (1, 4, 5, 1),
)

# -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKS)
def test_backward_is_the_derivative(name):
    CHECKS[name]()


@pytest.mark.parametrize("name", [name for name in CHECKS if name.startswith(("conv2d", "input", "weight"))])
def test_backward_of_the_lesson_is_the_derivative(name):
    with nx.use_engine("im2col"):
        CHECKS[name]()


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_fails_for_each_wrong_gradient(name, monkeypatch):
    """Also proof that the check calls the backward that it is registered for."""
    right = getattr(F, CHECKS[name].backward_name)
    for wrong_place in CHECKS[name].gradients():

        def wrong(*args, wrong_place=wrong_place, **kwargs):
            found = right(*args, **kwargs)
            if not isinstance(found, tuple):
                return found * 1.001
            return tuple(g * 1.001 if place == wrong_place else g for place, g in enumerate(found))

        with monkeypatch.context() as patch, pytest.raises(AssertionError, match=f"gradient {wrong_place} at"):
            patch.setattr(F, CHECKS[name].backward_name, wrong)
            CHECKS[name]()


# functions without a derivative: integers out of integers, and an average that no gradient flows through
WITHOUT_GRADIENT = {"conv2d_parameter_count", "running_statistics"}


def test_every_operation_has_a_backward_and_every_backward_a_check():
    checked = {check.backward_name for check in CHECKS.values()}
    operations = {name for name in F.__all__ if f"{name}_backward" in F.__all__}
    assert checked | operations | WITHOUT_GRADIENT == set(F.__all__)
    assert not checked & WITHOUT_GRADIENT


# --- whole blocks ------------------------------------------------------------------------------------------------

ONE = {"rng": 0, "dtype": "float64"}
BLOCKS = {
    "basic": lambda: BasicBlock(4, 4, **ONE),
    "basic, grouped": lambda: BasicBlock(4, 4, groups=2, **ONE),
    "basic, projected": lambda: BasicBlock(3, 4, 2, projection(3, 4, 2, **ONE), groups=2, **ONE),
    "bottleneck": lambda: Bottleneck(4, 1, width_per_group=128, **ONE),
    "bottleneck, grouped": lambda: Bottleneck(4, 1, groups=2, width_per_group=128, **ONE),
    "bottleneck, projected": lambda: Bottleneck(3, 1, 2, projection(3, 4, 2, **ONE), 2, 128, **ONE),
    **{
        f"form {name}{', without norm' if not norm else ''}": lambda form=form, norm=norm: form(
            4, 1, groups=2, width_per_group=128, norm=norm, **ONE
        )
        for name, form in (("a", FormA), ("b", FormB), ("c", FormC))
        for norm in (True, False)
    },
    "form a, projected": lambda: FormA(3, 1, 2, projection(3, 4, 2, **ONE), 2, 128, **ONE),
    "depth 2": lambda: DepthTwo(3, 2, 2, **ONE),
    "wide": lambda: WideBlock(3, 4, **ONE),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", BLOCKS)
def test_every_element_of_a_blocks_gradients(name, training):
    block = BLOCKS[name]().train(training)
    rng = np.random.default_rng(11)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean[...] = rng.standard_normal(module.num_features)
            module.running_var[...] = rng.uniform(0.5, 1.5, module.num_features)
    parameters = list(block.parameters())

    def forward(x, *values, keep=False):
        for parameter, value in zip(parameters, values, strict=True):
            parameter.data, parameter.grad = value, None
        with nullcontext() if keep else nx.no_grad():
            return block(x)

    def backward(grad_output, x, *values):
        forward(x, *values, keep=True)
        return block.backward(grad_output), *(parameter.grad for parameter in parameters)

    channels = next(module for module in block.modules() if isinstance(module, nn.Conv2d)).in_channels
    inputs = [rng.standard_normal((2, channels, 2, 3)), *(rng.uniform(0.5, 1.5, p.data.shape) for p in parameters)]
    inputs[1:] = [value * rng.choice([-1, 1], value.shape) for value in inputs[1:]]
    compared = check_grads(forward, inputs, backward, rng=rng)
    assert compared >= 0.99 * sum(array.size for array in inputs)  # the rest lies at a rectifier's kink

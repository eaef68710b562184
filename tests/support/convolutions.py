"""Small convolutions of every kind, and a comparison of the CPU engine with the lesson."""

import numpy as np
from hypothesis import strategies as st

from npresnext.engines import CpuEngine, Engine
from npresnext.geometry import ConvGeometry

LESSON, CPU = Engine(), CpuEngine(least_macs=0)  # the second takes tiny convolutions too


@st.composite
def geometries(draw):
    """Any geometry that has an output, with groups from one to many and every asymmetry."""

    def pair(low, high):
        return draw(st.tuples(st.integers(low, high), st.integers(low, high)))

    groups = draw(st.sampled_from([1, 2, 3, 8, 10]))
    inputs, outputs = draw(st.sampled_from([(1, 1), (2, 3), (4, 1), (3, 4), (17, 16)]))
    sizes, kernel, stride, dilation = pair(1, 9), pair(1, 4), pair(1, 3), pair(1, 3)
    padding = (pair(-1, 3), pair(-1, 3))
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    sizes = [max(size, r - sum(sides)) for size, r, sides in zip(sizes, reach, padding)]
    shape = (draw(st.integers(1, 4)), groups * inputs, *sizes)
    return ConvGeometry.of_conv(
        shape, (groups * outputs, inputs, *kernel), stride=stride, padding=padding, dilation=dilation, groups=groups
    )


def integers(rng, shape, dtype="float32"):
    return rng.integers(-9, 10, shape).astype(dtype)


def operands(geometry, seed, dtype="float32"):
    rng = np.random.default_rng(seed)
    shapes = (geometry.x_shape, geometry.weight_shape, (geometry.out_channels,), geometry.output_shape)
    return [integers(rng, shape, dtype) for shape in shapes]


def everything(engine, x, weight, bias, grad, geometry):
    """All that an engine computes; both ways to the gradients, and with `grad` as a shortcut before a rectifier."""
    results = [
        engine.conv2d(x, weight, bias, geometry),
        engine.conv2d_input_grad(grad, weight, geometry),
        engine.conv2d_weight_grad(grad, x, geometry),
        *engine.conv2d_input_and_weight_grad(grad, x, weight, geometry),
    ]
    return results + [
        engine.conv2d_relu(x, weight, bias, geometry, grad),
        engine.conv2d_relu(x, weight, None, geometry, None),
    ]


def channels_outermost(images):
    """The same images, with the memory order that the engine writes."""
    return np.ascontiguousarray(images.transpose(1, 2, 0, 3)).transpose(2, 0, 1, 3)


def assert_equals_lesson(geometry, seed=0, dtype="float32", outermost=(False, False)):
    """Compare all that the engine computes, from x and grad_output with their channels outermost or not."""
    x, weight, bias, grad = operands(geometry, seed, dtype)
    x, grad = (channels_outermost(a) if outer else a for a, outer in zip((x, grad), outermost, strict=True))
    found = everything(CPU, x, weight, bias, grad, geometry)
    for array, expected in zip(found, everything(LESSON, x, weight, bias, grad, geometry), strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == expected.dtype

"""Two-dimensional grouped convolution and its gradients: validate, pick the engine, call it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._support.arguments import check_needs
from .._support.memory import allocating
from .._support.typing import Array
from ..backend import floating_module, given
from ..engines import engine_for
from ..errors import ShapeError
from ..geometry import ConvGeometry
from .batch_axis import shape_with_batch_axis, with_batch_axis, without_batch_axis

Gradients = tuple[Array | None, Array | None, Array | None]


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Array:
    """Convolve a batch of images with grouped filters.

    Output channel ``o`` of group ``g`` sees the ``C_in/groups`` input channels of its own group only::

        y[n, o, p, q] = bias[o] + Σ_{c,i,j} weight[o, c, i, j] · x[n, channel, row, column]
        channel = g·C_in/groups + c,    row = p·sh − top + i·dh,    column = q·sw − left + j·dw

    with zero outside the image. As everywhere in deep learning this is a cross-correlation: the kernel is
    not flipped. (Krizhevsky, Sutskever and Hinton 2012, section 3.5, split channels into groups; Xie et al.,
    "Aggregated residual transformations", arXiv:1611.05431, equation 2, give them their meaning here.)

    The formula holds for finite numbers. An infinity or a NaN of x affects its own group and its own image only (and
    the weight gradient of that group, which is summed over all images). There it may affect more values than the
    formula says, because zeros outside the image are multiplied like pixels.

    Parameters
    ----------
    x : array (N, C_in, H, W) or (C_in, H, W)
        Images; float16, bfloat16 (both summed in float32), float32, float64 or complex.
    weight : array (C_out, C_in/groups, kh, kw)
    bias : array (C_out,), optional
    stride, dilation : int or pair
        Vertical and horizontal, in pixels, at least 1.
    padding : int, pair, two pairs ``((top, bottom), (left, right))``, "same" or "valid"
        Zeros around the image, in pixels; negative values crop. "same" refuses a stride above 1 and puts an
        odd row or column at the bottom and right.
    groups : int
        G, the number of groups; divides C_in and C_out.

    Returns
    -------
    array (N, C_out, oh, ow), or (C_out, oh, ow) for an unbatched x
        ``oh = floor((H + top + bottom − dh·(kh − 1) − 1) / sh) + 1``.

    Raises
    ------
    ValueError
        Shapes that do not fit, groups that do not divide, a kernel larger than the padded image.
    TypeError
        Mixed dtypes or array libraries, integer images, arguments that are not arrays.

    Examples
    --------
    >>> import numpy as np
    >>> x, weight = np.zeros((8, 64, 56, 56)), np.zeros((128, 2, 3, 3))   # 64 -> 128 channels in 32 groups
    >>> conv2d(x, weight, padding=1, groups=32).shape
    (8, 128, 56, 56)
    """
    xp = floating_module(allow_complex=True, x=x, weight=weight, **given(bias=bias))
    images, geometry = _checked(x, weight, bias, stride, padding, dilation, groups)
    with allocating("the output", geometry.output_shape, x.dtype):
        return without_batch_axis(engine_for(xp).conv2d(images, weight, bias, geometry), x.shape)


def conv2d_relu(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    shortcut: Array | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Array:
    """Return ``relu(conv2d(x, …) + shortcut)`` for images (N, C_in, H, W); an engine may do it all in the cache."""
    xp = floating_module(x=x, weight=weight, **given(bias=bias, shortcut=shortcut))
    images, geometry = _checked(x, weight, bias, stride, padding, dilation, groups)
    if shortcut is not None and tuple(shortcut.shape) != geometry.output_shape:
        raise ShapeError(f"shortcut has shape {tuple(shortcut.shape)} but the output {geometry.output_shape}")
    with allocating("the output", geometry.output_shape, x.dtype):
        return engine_for(xp).conv2d_relu(images, weight, bias, geometry, shortcut)


def conv2d_backward(
    grad_output: Array,
    x: Array,
    weight: Array,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    needs: tuple[bool, bool, bool] = (True, True, True),
) -> Gradients:
    """Gradients of :func:`conv2d` with respect to input, weight and bias.

    Each product ``y[a] += weight[b]·x[c]`` of the forward pass returns ``dx[c] += grad_output[a]·weight[b]``
    and ``dweight[b] += grad_output[a]·x[c]`` (conjugated for complex numbers, as in PyTorch). The weight
    gradient of a group depends on the input and the upstream gradient of that group alone.

    Parameters
    ----------
    grad_output : array (N, C_out, oh, ow) or (C_out, oh, ow)
        Gradient of the loss with respect to the output.
    x, weight, stride, padding, dilation, groups
        As they were given to :func:`conv2d`.
    needs : three bools
        Which of the three gradients to compute.

    Returns
    -------
    (dx, dweight, dbias)
        Shaped as x, weight and (C_out,); None where not needed.

    Raises
    ------
    ValueError, TypeError
        As for :func:`conv2d`, and where `grad_output` does not have the shape of the output.

    Examples
    --------
    >>> import numpy as np
    >>> x, weight = np.ones((1, 2, 3, 3)), np.ones((2, 1, 3, 3))
    >>> grad_output = np.array([2.0, 5.0]).reshape(1, 2, 1, 1)            # group 1 gets 5, group 0 gets 2
    >>> dx, dweight, dbias = conv2d_backward(grad_output, x, weight, groups=2)
    >>> dx[0, :, 0, 0], dweight[:, 0, 0, 0], dbias
    (array([2., 5.]), array([2., 5.]), array([2., 5.]))
    """
    check_needs(needs)
    xp = floating_module(allow_complex=True, grad_output=grad_output, x=x, weight=weight)
    images = with_batch_axis(x)
    geometry = ConvGeometry.of_conv(
        images.shape, weight.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    grad = _checked_grad(grad_output, len(x.shape), geometry)
    engine, dx, dweight, dbias = engine_for(xp), None, None, None
    with allocating("the gradient", geometry.x_shape, x.dtype):
        if needs[0] and needs[1]:
            dx, dweight = engine.conv2d_input_and_weight_grad(grad, images, weight, geometry)
        elif needs[0]:
            dx = engine.conv2d_input_grad(grad, weight, geometry)
        elif needs[1]:
            dweight = engine.conv2d_weight_grad(grad, images, geometry)
        if needs[2]:
            dbias = engine.conv2d_bias_grad(grad)
    return (None if dx is None else without_batch_axis(dx, x.shape)), dweight, dbias


def conv2d_input_grad(
    grad_output: Array,
    x_shape: Sequence[int],
    weight: Array,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Array:
    """Gradient of :func:`conv2d` with respect to its input, without the input: a transposed convolution.

    Parameters
    ----------
    grad_output : array (N, C_out, oh, ow) or (C_out, oh, ow)
    x_shape : sequence of int
        Shape of the input, (N, C_in, H, W) or (C_in, H, W).
    weight, stride, padding, dilation, groups
        As they were given to :func:`conv2d`.

    Returns
    -------
    array of shape `x_shape`

    Raises
    ------
    ValueError, TypeError
        As for :func:`conv2d_backward`.

    Examples
    --------
    >>> import numpy as np
    >>> conv2d_input_grad(np.array([[[[2.0]]]]), (1, 1, 2, 2), np.array([[[[1.0, 2.0], [3.0, 4.0]]]]))
    array([[[[2., 4.],
             [6., 8.]]]])
    """
    xp = floating_module(allow_complex=True, grad_output=grad_output, weight=weight)
    geometry = ConvGeometry.of_conv(
        shape_with_batch_axis(x_shape), weight.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    grad = _checked_grad(grad_output, len(x_shape), geometry)
    with allocating("the gradient", geometry.x_shape, weight.dtype):
        dx = engine_for(xp).conv2d_input_grad(grad, weight, geometry)
    return without_batch_axis(dx, x_shape)


def conv2d_weight_grad(
    grad_output: Array,
    x: Array,
    weight_shape: Sequence[int],
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Array:
    """Gradient of :func:`conv2d` with respect to its weight, without the weight.

    Parameters
    ----------
    grad_output : array (N, C_out, oh, ow) or (C_out, oh, ow)
    x : array (N, C_in, H, W) or (C_in, H, W)
    weight_shape : sequence of four int
        (C_out, C_in/groups, kh, kw).
    stride, padding, dilation, groups
        As they were given to :func:`conv2d`.

    Returns
    -------
    array of shape `weight_shape`

    Raises
    ------
    ValueError, TypeError
        As for :func:`conv2d_backward`.

    Examples
    --------
    >>> import numpy as np
    >>> conv2d_weight_grad(np.array([[[[2.0]]]]), np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), (1, 1, 2, 2))
    array([[[[2., 4.],
             [6., 8.]]]])
    """
    xp = floating_module(allow_complex=True, grad_output=grad_output, x=x)
    images = with_batch_axis(x)
    geometry = ConvGeometry.of_conv(
        images.shape, weight_shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    grad = _checked_grad(grad_output, len(x.shape), geometry)
    with allocating("the gradient", geometry.weight_shape, x.dtype):
        return engine_for(xp).conv2d_weight_grad(grad, images, geometry)


def _checked(
    x: Array, weight: Array, bias: Array | None, stride: Any, padding: Any, dilation: Any, groups: int
) -> tuple[Array, ConvGeometry]:
    """Return x with a batch axis, and the geometry, after checking all shapes."""
    images = with_batch_axis(x)
    geometry = ConvGeometry.of_conv(
        images.shape, weight.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    if bias is not None and tuple(bias.shape) != (geometry.out_channels,):
        raise ShapeError(f"bias has shape {tuple(bias.shape)}: expected (C_out,) = ({geometry.out_channels},)")
    return images, geometry


def _checked_grad(grad_output: Array, axes: int, geometry: ConvGeometry) -> Array:
    """Return `grad_output` with a batch axis after checking that it has the shape of the output."""
    expected = geometry.output_shape if axes == 4 else geometry.output_shape[1:]
    if tuple(grad_output.shape) != expected:
        raise ShapeError(
            f"grad_output has shape {tuple(grad_output.shape)} but the output of this convolution has shape {expected}"
        )
    return with_batch_axis(grad_output)

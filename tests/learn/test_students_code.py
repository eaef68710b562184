"""Code as students write it, with its mistakes: none of it calls the functions that compute a mistake."""

import pytest

from npresnext import learn
from npresnext.learn import checking, naming

from tests.support.planted import load

IM2COL_LOOPS = """
import numpy as np

def im2col(x, kernel, stride, padding, dilation):
    N, C, H, W = x.shape
    (kh, kw), (sh, sw), (dh, dw) = kernel, stride, dilation
    padded = np.pad(x, ((0, 0), (0, 0), *padding))
    oh = (padded.shape[2] - dh * (kh - 1) - 1) // sh + 1
    ow = (padded.shape[3] - dw * (kw - 1) - 1) // sw + 1
    out = np.zeros((N, oh * ow, C * kh * kw))
    for p in range(oh):
        for q in range(ow):
            patch = padded[:, :, p * sh : p * sh + {reach[0]} : {step[0]}, q * sw : q * sw + {reach[1]} : {step[1]}]
            out[:, p * ow + q] = patch.reshape(N, -1)
    return out.{end}
"""
RIGHT_REACH = {"reach": ("dh * (kh - 1) + 1", "dw * (kw - 1) + 1"), "step": ("dh", "dw")}
NO_DILATION = {"reach": ("kh", "kw"), "step": ("1", "1")}
ROTATED = "weight[:, :, kh - 1 - i, kw - 1 - j]"
INPUT_GRAD = """
import numpy as np

def input_grad(grad_output, x_shape, weight, padding):
    N, C_in, H, W = x_shape
    kh, kw = weight.shape[2:]
    oh, ow = grad_output.shape[2:]
    (top, bottom), (left, right) = padding
    padded = np.zeros((N, C_in, top + H + bottom, left + W + right))
    for i in range(kh):
        for j in range(kw):
            padded[:, :, i : i + oh, j : j + ow] {add} np.einsum("oc,nohw->nchw", {tap}, grad_output)
    return padded[:, :, {rows} : {rows} + H, {columns} : {columns} + W]
"""
FINE = {"add": "+=", "tap": "weight[:, :, i, j]", "rows": "top", "columns": "left"}
CODE = [
    ("im2col", IM2COL_LOOPS.format(**RIGHT_REACH, end="swapaxes(1, 2)"), []),
    (
        "im2col",
        IM2COL_LOOPS.format(**RIGHT_REACH, end="reshape(N, C * kh * kw, oh * ow)"),
        ["reshapes (N, oh, ow, C, kh, kw) without a transpose"],
    ),
    (
        "im2col",
        IM2COL_LOOPS.format(**NO_DILATION, end="reshape(N, C * kh * kw, oh * ow)"),
        ["reshapes (N, oh, ow, C, kh, kw) without a transpose and ignores the dilation, though not in the output size"],
    ),
    (
        "im2col",
        IM2COL_LOOPS.format(**NO_DILATION, end="swapaxes(1, 2)"),
        ["ignores the dilation, though not in the output size"],
    ),
    ("input_grad", INPUT_GRAD.format(**FINE), []),
    ("input_grad", INPUT_GRAD.format(**FINE | {"tap": ROTATED}), ["forgets to rotate the kernel"]),
    (
        "input_grad",
        INPUT_GRAD.format(**FINE | {"add": "="}),
        ["overwrites dx where windows overlap, so that the last tap wins"],
    ),
    ("input_grad", INPUT_GRAD.format(**FINE | {"rows": "bottom"}), ["exchanges top and bottom padding"]),
    (
        "input_grad",
        INPUT_GRAD.format(**FINE | {"rows": "0", "columns": "0"}),
        ["ignores the padding"],
    ),
    (
        "output_size",
        "def output_size(size, kernel, stride, padding, dilation):\n"
        "    return (size + 2 * padding[0] - dilation * (kernel - 1) - 1) // stride + 1\n",
        ["uses the padding before the image on both sides"],
    ),
    (
        "output_size",
        "def output_size(size, kernel, stride, padding, dilation):\n"
        "    return (size + padding[0] - dilation * (kernel - 1) - 1) // stride + 1\n",
        ["adds the padding before the row alone"],
    ),
    (
        "windows",
        "def count_windows(size, kernel, stride):\n    return len(range(0, size - kernel, stride))\n",
        ["leaves out a window that ends at the last pixel"],
    ),
    (
        "forward",  # right, and not exact on integers
        "import numpy as np\n"
        "def conv2d(x, weight, bias, stride, padding, dilation):\n"
        "    x = np.pad(x, ((0, 0), (0, 0), *padding))\n"
        "    kh, kw = ((k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation))\n"
        "    kernels = np.zeros((*weight.shape[:2], kh, kw))\n"
        "    kernels[:, :, :: dilation[0], :: dilation[1]] = weight\n"
        "    spectra = np.fft.fft2(kernels, x.shape[2:]).conj()\n"
        "    y = np.fft.ifft2(np.einsum('nchw,ochw->nohw', np.fft.fft2(x), spectra)).real\n"
        "    y = y[:, :, : x.shape[2] - kh + 1 : stride[0], : x.shape[3] - kw + 1 : stride[1]]\n"
        "    return y if bias is None else y + bias.reshape(1, -1, 1, 1)\n",
        [],
    ),
    (
        "input_grad",
        INPUT_GRAD.format(**FINE).replace("top + H, left : left + W", "-bottom, left : -right"),
        ["cuts the padding off by [top:-bottom], which leaves nothing where the padding is 0"],
    ),
    (
        "sum_of_products",
        "def output_value(x, weight, n, o, p, q, stride, padding):\n"
        "    total = 0.0\n"
        "    for c, i, j in __import__('numpy').ndindex(*weight.shape[1:]):\n"
        "        row, column = p * stride[0] - padding[0][0] + i, q * stride[1] - padding[1][0] + j\n"
        "        if row < x.shape[2] and column < x.shape[3]:\n"
        "            total += weight[o, c, i, j] * x[n, c, row, column]\n"
        "    return total\n",
        ["reads pixels with negative indices, which NumPy counts from the end"],
    ),
    (
        "weight_grad",
        "from npresnext.functional import im2col\n"
        "def weight_grad(grad_output, x, weight_shape, stride, padding, dilation):\n"
        "    columns = im2col(x, weight_shape[2:], stride=stride, padding=padding, dilation=dilation)\n"
        "    grad = grad_output.reshape(len(x), weight_shape[0], -1)\n"
        "    return (grad @ columns.swapaxes(1, 2)).mean(axis=0).reshape(weight_shape)\n",
        ["averages over the batch"],
    ),
    (
        "weight_grad",
        "from npresnext.functional import im2col\n"
        "def weight_grad(grad_output, x, weight_shape, stride, padding, dilation):\n"
        "    columns = im2col(x, weight_shape[2:], stride=stride, padding=padding, dilation=dilation)\n"
        "    grad, columns = grad_output.reshape(weight_shape[0], -1), columns.reshape(columns.shape[1], -1)\n"
        "    return (grad @ columns.T).reshape(weight_shape)\n",
        ["reshapes (N, C_out, oh·ow) to (C_out, N·oh·ow) without a transpose"],
    ),
    (
        "weight_grad",
        "import numpy as np\n"
        "def weight_grad(grad_output, x, weight_shape, stride, padding, dilation):\n"
        "    x, (C_out, C_in, kh, kw) = np.pad(x, ((0, 0), (0, 0), *padding)), weight_shape\n"
        "    dw, rows, columns = np.zeros(weight_shape), np.arange(kh) * dilation[0], np.arange(kw) * dilation[1]\n"
        "    for n, o, p, q in np.ndindex(*grad_output.shape):\n"
        "        window = x[n][:, p * stride[0] + rows][:, :, q * stride[1] + columns]\n"
        "        dw[o] = grad_output[n, o, p, q] * window\n"
        "    return dw\n",
        ["overwrites dw, so that the last window wins"],
    ),
    (
        "grouped_backward",
        "from npresnext.functional import conv2d_backward\n"
        "def grouped_conv2d_backward(grad_output, x, weight, stride, padding, dilation, groups):\n"
        "    window = {'stride': stride, 'padding': padding, 'dilation': dilation, 'groups': groups}\n"
        "    dx, dw, db = conv2d_backward(grad_output, x, weight, **window)\n"
        "    return dw, dx, db\n",
        ["returns dw in the place of dx"],
    ),
    (
        "grouped_forward",
        "import numpy as np\n"
        "from npresnext.functional import conv2d\n"
        "def grouped_conv2d(x, weight, bias, stride, padding, dilation, groups):\n"
        "    window = {'stride': stride, 'padding': padding, 'dilation': dilation}\n"
        "    parts = [conv2d(x[:, g::groups], weight[g::groups], **window) for g in range(groups)]\n"
        "    y = np.concatenate(parts, axis=1)\n"
        "    return y if bias is None else y + bias.reshape(1, -1, 1, 1)\n",
        ["deals the filters to the groups in turn and deals the input channels to the groups in turn"],
    ),
    (
        "batch_norm",
        "def batch_norm_backward(grad_output, x, weight, eps):\n"
        "    axes = {'axis': (0, 2, 3), 'keepdims': True}\n"
        "    inverse = 1 / (x.var(**axes) + eps) ** 0.5\n"
        "    normalised = (x - x.mean(**axes)) * inverse\n"
        "    dweight, dbias = (grad_output * normalised).sum(axis=(0, 2, 3)), grad_output.sum(axis=(0, 2, 3))\n"
        "    return weight.reshape(1, -1, 1, 1) * inverse * grad_output, dweight, dbias\n",
        ["treats mean and variance as constants"],
    ),
    (
        "block_forms",
        "def merge_paths(first, second, third):\n"
        "    C, d, C_in = first.shape\n"
        "    first, second = first.reshape(C * d, C_in, 1, 1), second.reshape(C * d, d, *second.shape[3:])\n"
        "    return first, second, third.reshape(-1, C * d, 1, 1)\n",
        ["reshapes (C, C_out, d) without exchanging its first two axes"],
    ),
]


@pytest.fixture(autouse=True)
def without_a_clock(monkeypatch):
    """A busy machine finds as much as an idle one."""
    monkeypatch.setattr(checking, "SECONDS_TO_TRY", 60)
    monkeypatch.setattr(naming, "SECONDS_FOR_PAIRS", 60)


@pytest.mark.parametrize("seed", [5])
@pytest.mark.parametrize(
    ("name", "text", "mistakes"), CODE, ids=[f"{name}: {(told or ['right'])[0][:60]}" for name, _, told in CODE]
)
def test_the_mistake_of_a_student_is_named(name, text, mistakes, seed):
    exercise = learn.find_exercise(name)
    answer = learn.check(load(text, exercise.function), name, seed=seed)
    assert answer.mistakes == mistakes
    assert answer.passed == (not mistakes)

"""Convolutions that are wrong in one way each, most of them as some framework once was.

Mistakes of the catalogue, ``npresnext.testing.mistakes``, are turned into kernels. The other mutants change a right
convolution (``nx.conv2d`` and its backward) in ways that no catalogue of values can have: they round, keep a state,
break the contract, or are wrong for some sizes alone. ``caught_by`` names the property and the verdict that must catch
a mutant.
"""

from dataclasses import dataclass, field

import numpy as np

import npresnext as nx
from npresnext.testing import mistakes
from npresnext.testing.formats import round_to_format


@dataclass(frozen=True)
class Mutant:
    name: str
    caught_by: tuple
    forward: object = nx.conv2d
    backward: object = nx.conv2d_backward
    options: dict = field(default_factory=dict)


MUTANTS = []


def forward(name, property_="y", verdict="exact", **options):
    """Register a wrong forward pass."""

    def register(function):
        MUTANTS.append(Mutant(name, (property_, verdict), forward=function, options=options))
        return function

    return register


def backward(name, property_, verdict="exact", **options):
    """Register a wrong backward pass: a function of the right gradients, the operands and the window."""

    def register(change):
        def wrong(grad_output, x, weight, **window):
            gradients = nx.conv2d_backward(grad_output, x, weight, **window)
            return change(gradients, grad_output, x, weight, window)

        MUTANTS.append(Mutant(name, (property_, verdict), backward=wrong, options=options))
        return change

    return register


def operands(name, property_="y", verdict="exact", **options):
    """Register a forward pass that convolves other operands than it was given."""

    def register(change):
        def wrong(x, weight, bias, **window):
            x, weight, bias, window = change(x, weight, bias, dict(window))
            return nx.conv2d(x, weight, bias, **window)

        MUTANTS.append(Mutant(name, (property_, verdict), forward=wrong, options=options))
        return change

    return register


def result(name, property_="y", verdict="exact", **options):
    """Register a forward pass that changes its result."""

    def register(change):
        def wrong(x, weight, bias, **window):
            return change(nx.conv2d(x, weight, bias, **window), x, weight, bias, window)

        MUTANTS.append(Mutant(name, (property_, verdict), forward=wrong, options=options))
        return change

    return register


def kernels(*names):
    """A forward and a backward pass with these mistakes of the catalogue, in the results that all of them change."""
    made = tuple(mistakes.find(name) for name in names)

    def result_with(name, right, call):
        if not all(name in mistake.results for mistake in made):
            return right
        wrong = mistakes.result_of(made, name, call)
        return np.nan_to_num(wrong, nan=1000).astype(call.x.dtype)  # 1000: what lay in memory

    def forward(x, weight, bias, **window):
        y = nx.conv2d(x, weight, bias, **window)
        call = mistakes.as_call({"x": x, "weight": weight, "bias": bias, "grad_output": y}, window)
        return result_with("y", y, call)

    def backward(grad_output, x, weight, **window):
        gradients = nx.conv2d_backward(grad_output, x, weight, **window)
        call = mistakes.as_call({"x": x, "weight": weight, "bias": None, "grad_output": grad_output}, window)
        return tuple(result_with(name, right, call) for name, right in zip(("dx", "dw", "db"), gradients))

    return forward, backward


def catalogued(name, property_="y", verdict="exact", direction="forward", when=None, where=""):
    """Register a mistake of the catalogue; if `when`, only where it is true of x, weight, bias and window."""
    wrong = kernels(name)[0 if direction == "forward" else 1]

    def forward(x, weight, bias, **window):
        right = when is not None and not when(x, weight, bias, window)
        return (nx.conv2d if right else wrong)(x, weight, bias, **window)

    def backward(grad_output, x, weight, **window):
        right = when is not None and not when(x, weight, None, window)
        return (nx.conv2d_backward if right else wrong)(grad_output, x, weight, **window)

    kernel = {"forward": forward} if direction == "forward" else {"backward": backward}
    MUTANTS.append(Mutant(f"{name}{where}", (property_, verdict), **kernel))


def groups_between(x, window):
    """Whether 1 < G < C."""
    return 1 < window["groups"] < x.shape[1]


def in_memory_order(array):
    """Read an array's memory from its lowest address on, as if it were contiguous."""
    return np.ravel(array, order="K").reshape(array.shape)


# --- mistakes of the catalogue -------------------------------------------------------------------------------

catalogued("forgets the bias")
catalogued("forgets the bias", when=lambda x, w, b, k: k["groups"] > 8, where=", where there are more than 8 groups")
catalogued("adds the bias twice")
catalogued("forgets the bias where there are no input channels")
catalogued("rotates the kernel")
catalogued("exchanges top and bottom padding")
catalogued(
    "exchanges the padding before and after the image",
    when=lambda x, w, b, k: b is not None,
    where=", where there is a bias (onnxruntime PR#15050)",
)
catalogued("uses the vertical padding for both axes", "shape", "contract")
catalogued("takes a negative padding for none", "shape", "contract")
catalogued("exchanges vertical and horizontal stride", "shape", "contract")
catalogued("ignores the dilation", "shape", "contract")
catalogued("pads with the pixels of the edge")
catalogued("deals the input channels to the groups in turn", "groups are local")
catalogued("reads the input of the first group in every group")
catalogued("reverses the groups of the weight", "G dense convolutions")
catalogued(
    "leaves out the last input channel of each group",
    "block-diagonal",
    when=lambda x, w, b, k: groups_between(x, k) and w.shape[1] > 1,
    where=", where 1 < G < C",
)
catalogued("reads the first image for the second as well", "permutation")
catalogued("takes the memory of x for contiguous", "memory layout")
catalogued("takes the memory of weight for contiguous")
catalogued("leaves the last column zero where the stride leaves pixels over")
catalogued("leaves out the columns of the kernel beyond the third")
catalogued("drops the images left over after blocks of 16, if there are more")
catalogued("forgets to rotate the kernel", "dx", direction="backward")
catalogued("adds the gradient twice", "adjoint", direction="backward")
catalogued("repeats the first row of dx where the stride is larger than the kernel", "dx", direction="backward")
catalogued(
    "reverses the groups of the input",
    "dx",
    direction="backward",
    when=lambda x, w, b, k: k["groups"] > 1 and max(k["stride"]) > 1,
    where=", where G > 1 and stride > 1 (mlx#3800)",
)
catalogued("writes dw of the first group for every group", "dw", direction="backward")
catalogued("averages over the batch", "dw", direction="backward")
catalogued("leaves out the last image", "dw", direction="backward")
catalogued("takes the memory of grad_output for contiguous", "dx", direction="backward")
catalogued("averages over images and output positions", "db", direction="backward")
catalogued("uses the first image only", "db", direction="backward")
catalogued("reads the input of the next group", "groups are local", direction="backward")

# --- forward: operands ---------------------------------------------------------------------------------------

operands("square kernel transposed")(lambda x, w, b, k: (x, w.swapaxes(2, 3) if w.shape[2] == w.shape[3] else w, b, k))
operands(
    "kernel larger than the image refused whatever the padding (opposite of tinygrad#7549)", "returns", "contract"
)(lambda x, w, b, k: (x if w.shape[2] <= x.shape[2] else None, w, b, k))
operands("expanded image read past its end (pytorch#15297)")(
    lambda x, w, b, k: (
        np.concatenate([x[:1], np.zeros_like(x[1:])]) if x.strides[0] == 0 and len(x) > 1 else x,
        w,
        b,
        k,
    )
)


@operands("sliced operand read with the step of its buffer", "finite", "contract")
def _(x, weight, bias, window):
    if x.base is not None and x.base.shape == (*(size + 2 for size in x.shape[:3]), 2 * x.shape[3] + 2):
        x = np.ascontiguousarray(x.base[: x.shape[0], : x.shape[1], : x.shape[2], : x.shape[3]])
    return x, weight, bias, window


@forward("circular padding of an fft", "y", "normwise", algorithm="fft")
def _(x, weight, bias, **window):
    sides = window["padding"]
    if x.size and min(map(min, sides)) >= 0:
        x = np.pad(x, ((0, 0), (0, 0), *sides), mode="wrap")
        window["padding"] = ((0, 0), (0, 0))
    return nx.conv2d(x, weight, bias, **window)


@operands("winograd with a wrong sign in its transform", "y", "normwise", algorithm="winograd")
def _(x, weight, bias, window):
    weight = weight.copy()
    weight[..., -1, :] *= -1
    return x, weight, bias, window


# --- forward: results ----------------------------------------------------------------------------------------


@result("4 channels to 16 in 2 groups and the like: C_out/G above C_in/G (pytorch#19912)")
def _(y, x, weight, bias, window):
    if groups_between(x, window) and len(weight) > x.shape[1]:
        return np.concatenate(np.split(y, window["groups"], 1)[::-1], 1)
    return y


@result("last row wrong where 3x3 tiles of two rows meet an odd number of rows, as in winograd's")
def _(y, x, weight, bias, window):
    steps = window["stride"] + window["dilation"]
    if weight.shape[2:] == (3, 3) and steps == (1, 1, 1, 1) and window["groups"] == 1 and y.shape[2] > 1:
        y[:, :, y.shape[2] // 2 * 2 :] = 0
    return y


@result("rows of a strided output beyond blocks of 16 columns left out (opencv#23162)")
def _(y, x, weight, bias, window):
    if window["stride"][1] == 2 and y.shape[3] > 16:
        y[..., y.shape[3] // 16 * 16 :] = 0
    return y


@result("a group's output channels beyond blocks of 16 left out")
def _(y, x, weight, bias, window):
    per_group = y.reshape(len(y), window["groups"], -1, *y.shape[2:]) if y.size else y
    if y.size and per_group.shape[2] > 16:
        per_group[:, :, per_group.shape[2] // 16 * 16 :] = 0
    return per_group.reshape(y.shape)


@operands("packed weights kept with the array that they were packed from (oneDNN#1113)", "overwritten operands")
def _(x, weight, bias, window):
    return x, packed.setdefault(id(weight), (weight, weight.copy()))[1], bias, window


packed = {}


@result("outputs that see padding not written", "finite", "contract")
def _(y, x, weight, bias, window):
    memory = np.empty_like(y)
    first = max(0, window["padding"][0][0])
    memory[:, :, first:] = y[:, :, first:]
    return memory


@result("first column wrong", "translation")
def _(y, x, weight, bias, window):
    y[..., 0] += 1
    return y


@result("windows of padding alone give NaN", "finite", "contract")
def _(y, x, weight, bias, window):
    if window["padding"][0][0] >= window["dilation"][0] * (weight.shape[2] - 1) + 1:
        y[:, :, 0] /= 0 * y[:, :, 0]
    return y


@result("saturated at 40", "linear in x")
def _(y, x, weight, bias, window):
    return np.clip(y, -40, 40)


@result("one output channel for an empty batch (detectron2#772)", "shape", "contract")
def _(y, x, weight, bias, window):
    return y if y.shape[0] else y[:, :1, :1, :1].repeat(2, 1)


@result("an empty batch with groups refused (pytorch#12013)", "returns", "contract")
def _(y, x, weight, bias, window):
    if not y.shape[0] and window["groups"] > 1:
        raise RuntimeError("invalid batch size")
    return y


@result("C_in = 0 gives the shape of x (pytorch#56998)", "shape", "contract")
def _(y, x, weight, bias, window):
    return y if x.shape[1] else np.zeros((len(x), len(weight), x.shape[2] + 1, x.shape[3]), y.dtype)


@result("output size rounded up (onnx#7721)", "shape", "contract")
def _(y, x, weight, bias, window):
    reach = window["dilation"][1] * (weight.shape[3] - 1) + 1
    over = (x.shape[3] + sum(window["padding"][1]) - reach) % window["stride"][1]
    return np.pad(y, ((0, 0), (0, 0), (0, 0), (0, 1))) if over else y


result("float64 returned for float32", "dtype", "contract")(lambda y, *_: y.astype("float64"))
result("a list returned", "result type", "contract")(lambda y, *_: y.tolist())


@forward("its weight scaled in place", "inputs untouched", "contract")
def _(x, weight, bias, **window):
    y = nx.conv2d(x, weight, bias, **window)
    if weight.flags.writeable:
        weight *= 2
    return y


# --- forward: rounding ---------------------------------------------------------------------------------------


def narrow(array, name):
    return None if array is None else round_to_format(array, name).astype(array.dtype)


operands("inputs rounded to TF32 undeclared", "y", "bounded")(
    lambda x, w, b, k: (narrow(x, "tf32"), narrow(w, "tf32"), b, k)
)
operands("inputs rounded to bfloat16", "y", "bounded")(
    lambda x, w, b, k: (narrow(x, "bfloat16"), narrow(w, "bfloat16"), b, k)
)
result("results rounded to float16", "y", "bounded")(lambda y, *_: narrow(y, "float16"))
result("results rounded to bfloat16", "y", "bounded", dtype="float64")(lambda y, *_: narrow(y, "bfloat16"))
result("float32 sums behind float64", "y", "bounded", dtype="float64")(
    lambda y, x, w, b, k: nx.conv2d(*(None if a is None else a.astype("float32") for a in (x, w, b)), **k).astype(
        "float64"
    )
)
operands("weights held in 8 bits")(
    lambda x, w, b, k: (x, (np.rint(w * (s := 127 / max(1e-9, np.abs(w).max(initial=0)))) / s).astype(w.dtype), b, k)
)


@forward("results rounded towards zero", "y", "bounded", dtype="float16")
def _(x, weight, bias, **window):
    wide = nx.conv2d(*(None if a is None else a.astype("float32") for a in (x, weight, bias)), **window)
    near = wide.astype("float16")
    return np.where(np.abs(near.astype("float32")) > np.abs(wide), np.nextafter(near, np.float16(0)), near)


result("a factor of 1 + 2^-20", "y", "bounded")(lambda y, *_: y * np.float32(1 + 2.0**-20))


def one_by_one(x, weight, bias, add, *, stride, padding, dilation, groups):
    """Add product by product with a rounding of one's own."""
    (top, bottom), (left, right) = padding
    total, (_, ins, kh, kw) = 0.0, weight.shape
    for c, i, j in np.ndindex(ins, kh, kw):
        above, below = i * dilation[0], (kh - 1 - i) * dilation[0]
        before, after = j * dilation[1], (kw - 1 - j) * dilation[1]
        lone = nx.conv2d(
            x[:, c::ins].astype("float64"),
            weight[:, c : c + 1, i : i + 1, j : j + 1].astype("float64"),
            stride=stride,
            padding=((top - above, bottom - below), (left - before, right - after)),
            groups=groups,
        )
        total = add(total, lone)
    if not ins:
        return nx.conv2d(x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)
    return (total if bias is None else total + bias.reshape(1, -1, 1, 1)).astype(x.dtype)


def truncated(total, term):
    """Add in float32, rounding towards zero."""
    exact = total + term
    near = exact.astype("float32")
    beyond = np.abs(near.astype("float64")) > np.abs(exact)
    return np.where(beyond, np.nextafter(near, np.float32(0)), near).astype("float64")


def in_long_sums(add):
    """Add like that where an output sums 500 products and more, as a kernel that splits long sums would."""

    def wrong(x, weight, bias, **window):
        if weight[0].size < 500:
            return nx.conv2d(x, weight, bias, **window)
        return one_by_one(x, weight, bias, add, **window)

    return wrong


forward("long sums rounded towards zero", "y", "statistical")(in_long_sums(truncated))
forward("long sums of 20 bits", "y", "statistical")(
    in_long_sums(lambda total, term: np.round((total + term) * 2.0**18) / 2.0**18)
)
forward("float16 sums", "y", "bounded", dtype="float16")(
    lambda x, weight, bias, **window: one_by_one(
        x, weight, bias, lambda total, term: (total + term).astype("float16").astype("float64"), **window
    )
)


# --- backward ------------------------------------------------------------------------------------------------


@backward("weight gradient wrong for G = C = 24, stride 2, padding 1 alone (pytorch#50042)", "dw")
def _(gradients, grad, x, weight, window):
    dx, dw, db = gradients
    if window["groups"] == x.shape[1] == 24 and window["stride"] == (2, 2):
        dw = dw[::-1]
    return dx, dw, db


@backward("weight gradient forgets the dilation", "dw")
def _(gradients, grad, x, weight, window):
    dw = gradients[1]
    if window["dilation"][0] > 1 and weight.shape[2] == 3:
        dw = dw[:, :, [0, 0, 2]]
    return gradients[0], dw, gradients[2]


@backward("gradients of the last call added", "dx")
def _(gradients, grad, x, weight, window):
    dx = gradients[0] + leftover.get(x.shape, 0)
    leftover[x.shape] = gradients[0]
    return dx, *gradients[1:]


leftover = {}

backward("input and weight gradient exchanged", "shape", "contract")(lambda g, *_: (g[1], g[0], g[2]))
backward("no input gradient", "result type", "contract")(lambda g, *_: (None, g[1], g[2]))
backward("two gradients only", "result type", "contract")(lambda g, *_: g[:2])
backward("grouped backward missing (tensorflow#53180)", "returns", "contract")(
    lambda g, grad, x, w, k: g if k["groups"] == 1 else 1 / 0
)
backward("weight gradient of a 1x1 image squeezed", "shape", "contract")(
    lambda g, grad, x, w, k: (g[0], g[1][..., 0] if w.shape[2:] == (1, 1) else g[1], g[2])
)
backward("upstream gradient rounded to bfloat16", "dw", "bounded")(
    lambda g, grad, x, w, k: (g[0], nx.conv2d_weight_grad(narrow(grad, "bfloat16"), x, w.shape, **k), g[2])
)
backward("weight gradients of the images added in float16", "dw", "bounded", dtype="float16")(
    lambda g, grad, x, w, k: (
        g[0],
        sum((nx.conv2d_weight_grad(grad[n : n + 1], x[n : n + 1], w.shape, **k) for n in range(len(x))), 0 * w),
        g[2],
    )
)
backward("bias gradient summed in float16 (numpy#20305)", "db", "bounded", dtype="float16")(
    lambda g, grad, x, w, k: (*g[:2], np.add.reduce(np.moveaxis(grad, 1, 0).reshape(len(w), -1).T, 0))
)


# --- forward and backward: sizes and layouts that a kernel has a path of its own for ---------------------------


def own_path(name, serves, spoils="y"):
    """Register a convolution that is 0 where a path of its own `serves` the weight and the window."""

    def wrong(result, weight, window):
        return 0 * result if serves(weight, window) else result

    if spoils == "y":
        result(name)(lambda y, x, w, b, k: wrong(y, w, k))
    else:
        backward(name, spoils)(lambda g, grad, x, w, k: (wrong(g[0], w, k), wrong(g[1], w, k), g[2]))


def per_group(weight, window):
    """C_in/G and C_out/G."""
    return weight.shape[1], len(weight) // window["groups"]


own_path(
    "1x1 with a stride, as in ResNet's shortcut",
    lambda w, k: (
        w.shape[2:] == (1, 1) and k["stride"] == (2, 2) and k["groups"] == 1 and k["padding"] == ((0, 0), (0, 0))
    ),
)
own_path("1x1 padded", lambda w, k: w.shape[2:] == (1, 1) and min(map(min, k["padding"])) > 0)
own_path("taps beyond a mask of 64 bits", lambda w, k: w.shape[2] * w.shape[3] > 64)
own_path("dilation beyond 4", lambda w, k: max(k["dilation"]) > 4)
own_path(
    "depthwise 5x5 with a stride",
    lambda w, k: per_group(w, k) == (1, 1) and k["groups"] > 1 and w.shape[2:] == (5, 5) and k["stride"] == (2, 2),
)
own_path("depthwise 7x7", lambda w, k: per_group(w, k) == (1, 1) and w.shape[2:] == (7, 7) and k["groups"] > 1, "dw")
own_path("TensorFlow's same at stride 2", lambda w, k: k["padding"] == ((0, 1), (0, 1)) and k["stride"] == (2, 2))
own_path("channels of a group in blocks of 16", lambda w, k: all(n and n % 16 == 0 for n in per_group(w, k)))
own_path("more than 256 groups", lambda w, k: k["groups"] > 256, "dx")
own_path("more than 256 output channels", lambda w, k: len(w) > 256)
own_path("more than 256 input channels", lambda w, k: w.shape[1] > 256, "dx")


@backward("rest of a sum over more than 1,024 positions left out", "dw")
def _(gradients, grad, x, weight, window):
    P = grad.shape[2] * grad.shape[3]
    kept = (np.arange(P) < P // 1024 * 1024).reshape(grad.shape[2:]).astype(grad.dtype)
    dw = nx.conv2d_weight_grad(grad * kept, x, weight.shape, **window) if P > 1024 else gradients[1]
    return gradients[0], dw, gradients[2]


operands("bias's memory order taken for contiguous")(
    lambda x, w, b, k: (x, w, b if b is None else np.lib.stride_tricks.as_strided(b, strides=(b.itemsize,)), k)
)

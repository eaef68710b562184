"""The CUDA kernels without a GPU: run on the CPU from the same source text, compiled for three GPUs by nvcc."""

import mmap
import re
import shutil
import subprocess
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npresnext as nx
from npresnext import reference
from npresnext.engines.cuda import (
    batchnorm as cuda_batchnorm,
)
from npresnext.engines.cuda import (
    columns as cuda_columns,
)
from npresnext.engines.cuda import (
    engine as cuda,
)
from npresnext.engines.cuda import (
    launch as cuda_launch,
)
from npresnext.engines.cuda import (
    maxpool as cuda_maxpool,
)
from npresnext.engines.cuda import (
    plan as cuda_plan,
)
from npresnext.geometry import ConvGeometry, WindowGeometry
from npresnext.testing import check_conv
from npresnext.testing.strategies import conv_cases

from tests.support.cuda_on_cpu import INSTANCES, STRUCTS, emulated, library, start

EXACT = ["float32", "float64", "float16", "bfloat16"]


def as_dtype(dtype):
    return pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else np.dtype(dtype)


def equals_the_definition(x, weight, bias, grad, **window):
    """Forward and both gradients on the emulated device, against reference.py, to the last bit."""
    with emulated():
        y = nx.conv2d(x, weight, bias, **window)
        dx, dweight, _ = nx.conv2d_backward(grad, x, weight, **window)
    exact = [None if a is None else a.astype(np.float64) for a in (x, weight, bias, grad)]
    assert y.dtype == dx.dtype == dweight.dtype == x.dtype
    assert (y == reference.conv2d(*exact[:3], **window).astype(x.dtype)).all()  # an exact sum, rounded once
    assert (dx == reference.conv2d_input_grad(exact[3], x.shape, exact[1], **window).astype(x.dtype)).all()
    assert (dweight == reference.conv2d_weight_grad(exact[3], exact[0], weight.shape, **window).astype(x.dtype)).all()


@given(case=conv_cases(), dtype=st.sampled_from(EXACT))
@settings(max_examples=120)
def test_every_way_of_the_engine_equals_the_definition(case, dtype):
    dtype = as_dtype(dtype)
    grad = case.grad_output(dtype)
    equals_the_definition(case.x(dtype), case.weight(dtype), case.bias(dtype), grad, **case.kwargs)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_conformance_kit_passes_the_engine(dtype):
    as_dtype(dtype)
    with emulated():
        report = check_conv(nx.conv2d, nx.conv2d_backward, dtype=dtype, cases=10)
    assert report.passed, str(report)


# what small drawn cases do not reach: several tiles, chunks, images in a tile, blocks of channels, runs of taps
LARGE = {
    "several tiles down and across": ((1, 4, 40, 70), (4, 2, 3, 3), dict(padding=1, groups=2)),
    "tiles of a strided convolution": ((1, 4, 50, 60), (4, 2, 3, 3), dict(padding=1, groups=2, stride=2)),
    "several images in a tile": ((31, 6, 7, 7), (6, 2, 3, 3), dict(padding=1, groups=3)),
    "several chunks of input channels": ((1, 128, 12, 12), (32, 64, 3, 3), dict(padding=1, groups=2)),
    "several blocks of output channels": ((1, 4, 6, 6), (128, 2, 3, 3), dict(padding=1, groups=2)),
    "one channel a group": ((2, 40, 9, 9), (40, 1, 3, 3), dict(padding=1, groups=40, stride=2)),
    "three channels a group": ((2, 9, 9, 9), (9, 3, 3, 3), dict(padding=1, groups=3)),
    "sixteen phases": ((2, 4, 13, 14), (4, 2, 5, 6), dict(padding=2, groups=2, stride=4)),
    "more taps than a thread takes": ((2, 4, 12, 12), (4, 2, 7, 5), dict(padding=3, groups=2, dilation=(1, 2))),
    "the stem": ((2, 3, 30, 30), (16, 3, 7, 7), dict(padding=3, stride=2)),
    "a dense 1x1 with stride": ((3, 20, 9, 9), (8, 20, 1, 1), dict(stride=2)),
    "a dense 1x1 that reads padding alone": ((2, 5, 1, 1), (4, 5, 1, 1), dict(padding=((2, 1), (2, 2)), stride=(1, 3))),
    "a dense 1x1 of a small map": ((3, 20, 2, 2), (24, 20, 1, 1), dict()),
    "a grouped 1x1": ((3, 20, 9, 9), (8, 5, 1, 1), dict(groups=4)),
    "many channels, by columns": ((3, 80, 6, 6), (80, 80, 3, 3), dict(padding=1)),
    "a stride beyond the phases": ((2, 4, 14, 14), (6, 2, 3, 3), dict(padding=1, groups=2, stride=5)),
    "a rim beyond shared memory": ((1, 4, 300, 300), (4, 2, 3, 3), dict(padding=1, groups=2, dilation=140)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("name", LARGE)
def test_large_shapes_equal_the_definition(name, dtype):
    x_shape, weight_shape, window = LARGE[name]
    geometry = ConvGeometry.of_conv(x_shape, weight_shape, **window)
    window = {**window, "stride": geometry.stride, "padding": geometry.padding, "dilation": geometry.dilation}
    rng = np.random.default_rng(1)
    shapes = x_shape, weight_shape, weight_shape[:1], geometry.output_shape
    equals_the_definition(*(rng.integers(-4, 5, shape).astype(dtype) for shape in shapes), **window)


def test_a_block_of_the_weight_gradient_walks_over_several_tiles():
    geometry = ConvGeometry.of_conv((3, 4, 40, 41), (6, 2, 3, 3), padding=1, groups=2)
    rng = np.random.default_rng(4)
    x, grad = (rng.integers(-4, 5, shape).astype(np.float32) for shape in (geometry.x_shape, geometry.output_shape))
    with mock.patch.object(cuda_plan, "BLOCKS", 1):
        few = cuda_plan.weight_grad_launch.__wrapped__(geometry, 4)
    assert few.plan["splits"] == 1 and few.plan["tiles_down"] > 1
    with emulated(), mock.patch.object(cuda, "weight_grad_launch", lambda *_: few):
        dweight = cuda.CudaEngine().conv2d_weight_grad(grad, x, geometry)
    window = dict(stride=(1, 1), padding=geometry.padding, dilation=(1, 1), groups=2)
    assert (dweight == reference.conv2d_weight_grad(grad, x, geometry.weight_shape, **window)).all()


def test_complex_numbers_go_by_columns_and_conjugate_as_the_lesson():
    rng = np.random.default_rng(2)
    x, weight, grad = (rng.integers(-4, 5, (2, *shape)) * 1.0 for shape in [(2, 4, 5, 5), (4, 2, 3, 3), (2, 4, 3, 3)])
    x, weight, grad = (a[0] + 1j * a[1] for a in (x, weight, grad))
    with emulated():
        ours = nx.conv2d(x, weight, groups=2), *nx.conv2d_backward(grad, x, weight, groups=2)[:2]
    with nx.use_engine("im2col"):
        lesson = nx.conv2d(x, weight, groups=2), *nx.conv2d_backward(grad, x, weight, groups=2)[:2]
    assert all((a == b).all() for a, b in zip(ours, lesson))


def test_columns_are_made_for_some_images_at_a_time():
    rng = np.random.default_rng(3)
    operands = (rng.integers(-4, 5, shape).astype(np.float32) for shape in [(5, 70, 4, 4), (6, 70, 3, 3), (6,)])
    grad, window = rng.integers(-4, 5, (5, 6, 4, 4)).astype(np.float32), dict(padding=((1, 1), (1, 1)))
    with mock.patch.object(cuda_columns, "WORKSPACE", 2 * 70 * 9 * 16 * 4):  # two images
        equals_the_definition(*operands, grad, **window, stride=(1, 1), dilation=(1, 1), groups=1)


# Beyond 2^31 elements: only the last block runs, on arrays of which only the pages that it touches exist.


def sparse(shape, dtype=np.float16):
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    reserve = getattr(mmap, "MAP_NORESERVE", 0)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | reserve)
    return np.frombuffer(memory, dtype).reshape(shape)


def run_block(block, file, name, blocks, threads, args, shared=0):
    assert 0 <= block < blocks and start(file, name, block + 1, threads, args, shared, backwards=0, first=block) == 0


HUGE = (1, 3, 27_000, 27_000)


def test_a_convolution_finds_the_last_of_more_than_2_to_the_31_pixels():
    geometry = ConvGeometry.of_conv(HUGE, (3, 1, 3, 3), padding=1, groups=3)
    x, y = sparse(HUGE), sparse(geometry.output_shape)
    assert x.size > 2**31
    rng = np.random.default_rng(0)
    x[0, 2, -8:, -8:] = rng.integers(-4, 5, (8, 8))
    weight = rng.integers(-4, 5, geometry.weight_shape).astype(np.float16)
    corner = reference.conv2d(
        x[:, 2:, -8:, -8:].astype(float),
        weight[2:].astype(float),
        None,
        stride=(1, 1),
        padding=((0, 1), (0, 1)),
        dilation=(1, 1),
        groups=1,
    )
    plan = cuda_plan.forward_launch(geometry, 4)
    name = cuda_launch.expression("gather", "float16", *plan.template)
    args = x, weight, None, y, plan.plan
    run_block(plan.blocks - 1, "gather.cu", name, plan.blocks, plan.threads, args, plan.shared_bytes)
    rows = HUGE[2] - (int(plan.plan["tiles_down"]) - 1) * int(plan.plan["tile_rows"])
    columns = HUGE[3] - (int(plan.plan["tiles_across"]) - 1) * int(plan.plan["tile_columns"])
    part = slice(-min(rows, 6), None), slice(-min(columns, 6), None)  # what lies in the last block
    assert (y[0, 2][part] == corner[0, 0][part]).all() and corner[0, 0][part].any()

    grad = sparse(geometry.output_shape)
    grad[0, 2, -1, -1] = 2
    plan = cuda_plan.weight_grad_launch(geometry, 4)
    splits, tiles = int(plan.plan["splits"]), int(plan.plan["tiles_down"]) * int(plan.plan["tiles_across"])
    block = plan.blocks - splits + (tiles - 1) % splits  # of the last group, the one that takes the last tile
    partial = np.zeros((splits, 3, 9), np.float32)
    name, args = cuda_launch.expression("weight_grad", "float16", *plan.template), (grad, x, partial, plan.plan)
    run_block(block, "weight_grad.cu", name, plan.blocks, plan.threads, args, plan.shared_bytes)
    expected = np.zeros((3, 3))
    expected[:2, :2] = 2 * x[0, 2, -2:, -2:].astype(float)
    assert (partial[:, 2].sum(axis=0).reshape(3, 3) == expected).all() and not partial[:, :2].any()


def test_pooling_and_batch_norm_find_the_last_of_more_than_2_to_the_31_values():
    calls = []
    x, y = sparse(HUGE), sparse(HUGE)
    x[0, 2, -1, -1] = 3
    window = WindowGeometry.of(HUGE, (1, 1), stride=1, padding=0, dilation=1)
    with mock.patch.object(cuda_maxpool, "launch", lambda *call: calls.append(call)):
        cuda_maxpool._start("max_pool", y, window, x, y)
        cuda_maxpool._start("max_pool_gradient", x, window, x, y, y, x)
    for call in calls:
        run_block(call[2] - 1, *call)
    assert y[0, 2, -1, -1] == 3

    shape = 18_000_000, 2, 8, 8
    x, y, (plan, blocks) = sparse(shape), sparse(shape), cuda_batchnorm._slices(shape)
    x[-1, 1, 7, 7] = 3
    one, zero = np.ones(2, np.float32), np.zeros(2, np.float32)
    with mock.patch.object(cuda_batchnorm, "launch", lambda *call: calls.append(call)):
        args = x, zero, None, one, None, None, y, np.float64(3.0), plan  # x/√(1 + 3)
        cuda_batchnorm._start("normalise", x.dtype, blocks, *args)
    run_block(blocks - 1, *calls[-1])
    assert x.size > 2**31 and y[-1, 1, 7, 7] == 1.5


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_values_are_summed_in_float32_and_rounded_once(dtype):
    dtype = as_dtype(dtype)
    x, weight, grad = np.full((1, 2, 40, 40), 0.1), np.full((2, 1, 3, 3), 0.1), np.full((1, 2, 38, 38), 0.1)
    x, weight, grad = (a.astype(dtype) for a in (x, weight, grad))
    with emulated():
        dweight = nx.conv2d_weight_grad(grad, x, weight.shape, groups=2)
    exact = 38 * 38 * float(grad[0, 0, 0, 0]) * float(x[0, 0, 0, 0])
    assert (dweight == np.asarray(exact).astype(dtype)).all()  # 16-bit sums would stop growing far below


@pytest.mark.parametrize(
    ("file", "struct"),
    [
        ("gather.cu", cuda_plan.GATHER),
        ("weight_grad.cu", cuda_plan.WEIGHT_GRAD),
        ("batchnorm.cu", cuda_batchnorm.SLICES),
        ("maxpool.cu", cuda_maxpool.POOL),
    ],
)
def test_a_plan_and_its_struct_have_one_layout(file, struct):
    assert library(file).struct_bytes() == struct.itemsize
    declared = re.search(rf"struct {STRUCTS[file]} {{(.*?)}};", cuda_launch.source(file), re.DOTALL).group(1)
    declared = re.sub(r"//.*|\[\d+\]|\b(int|long|double|Divisor|Phase|Rectangle)\b", "", declared)
    assert tuple(re.findall(r"\w+", declared)) == struct.names


@pytest.mark.parametrize("capability", [75, pytest.param(80, marks=pytest.mark.slow), 90])  # 75: without cp.async
@pytest.mark.parametrize("file", INSTANCES)
def test_nvcc_compiles_the_source_for_each_gpu_without_a_warning_and_keeps_the_sums_in_registers(
    tmp_path, file, capability
):
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc here: the CUDA source cannot be compiled")
    names = [name for name in INSTANCES[file] if re.search("float(>|, 8)|double(>|, 4)", name)]
    table = f"void *kernels[] = {{{', '.join(f'(void *)&{name}' for name in names)}}};\n"
    (tmp_path / "kernels.cu").write_text(cuda_launch.source(file) + table, "utf-8")
    target = f"-gencode=arch=compute_{capability},code=sm_{capability}"
    command = ["nvcc", "-std=c++17", target, "-Werror", "all-warnings", "-Xptxas", "-v", "-c", "kernels.cu"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    spilled = [int(size) for size in re.findall(r"(\d+) bytes spill stores", done.stderr)]
    assert len(spilled) == len(names) and max(spilled) <= 8, done.stderr


def test_a_plan_is_made_once_for_each_geometry():
    geometry = ConvGeometry.of_conv((2, 8, 9, 9), (8, 2, 3, 3), padding=1, groups=4)
    assert cuda_plan.forward_launch(geometry, 4) is cuda_plan.forward_launch(geometry, 4)


@pytest.mark.parametrize(
    "x_shape, weight_shape, window",
    [
        ((1, 2, 20, 20), (2, 1, 13, 13), {}),  # 169 taps
        ((1, 2, 9, 9000), (2, 1, 2, 2), {"dilation": (1, 8000)}),  # a rim wider than shared memory
        ((1, 2**31, 3, 3), (2**31, 1, 2, 2), {}),  # 2³¹ groups, a block each
    ],
    ids=["taps", "rim", "blocks"],
)
def test_what_the_kernels_cannot_take_has_no_plan(x_shape, weight_shape, window):
    geometry = ConvGeometry.of_conv(x_shape, weight_shape, **window, groups=x_shape[1])
    for planner in (cuda_plan.forward_launch, cuda_plan.input_grad_launch, cuda_plan.weight_grad_launch):
        assert planner(geometry, 4) is None


def test_the_layers_of_resnext50_are_gathered_three_taps_at_a_time():
    for channels, size, stride in [(128, 56, 1), (256, 56, 2), (256, 28, 1), (512, 14, 1), (1024, 14, 2), (1024, 7, 1)]:
        geometry = ConvGeometry.of_conv(
            (64, channels, size, size), (channels, channels // 32, 3, 3), stride=stride, padding=1, groups=32
        )
        forward = cuda._plan(cuda_plan.forward_launch, geometry, "float32")
        assert forward.template == (min(channels // 32, 8), 3)
        used = (
            geometry.batch
            * geometry.positions
            / (forward.blocks / 32 / forward.plan["tiles_out"] * forward.threads[0] * cuda_plan.PIXELS_PER_THREAD)
        )
        assert used > 0.87, f"{used:.0%} of the threads' pixels are real at {size}x{size}"
        assert cuda._plan(cuda_plan.input_grad_launch, geometry, "float32").template[1] == (3 if stride == 1 else 1)

"""The CUDA engine on the CPU: its kernels compiled by g++ from the same source text, its launches caught.

``with emulated():`` replaces the engine's two doors to the device, so that ``npresnext.engines.cuda`` computes on
NumPy arrays: ``launch`` runs the kernel's threads as fibers (cuda_on_cpu.h), twice, in either order of the threads,
and ``product`` is NumPy's matmul.
"""

import contextlib
import ctypes
import mmap
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from npresnext.backend import sum_dtype
from npresnext.engines import CudaEngine, use_engine
from npresnext.engines.cuda import launch as cuda_launch
from npresnext.engines.cuda import matmul as cuda_matmul
from npresnext.engines.cuda.launch import C_TYPES

HERE = Path(__file__).parent
TEMPLATES = [
    (dtype, channels) for dtype in C_TYPES.values() for channels in (1, 2, 4, 8) if (dtype, channels) != ("double", 8)
]
INSTANCES = {
    "gather.cu": [f"gather<{dtype}, {channels}, {run}>" for dtype, channels in TEMPLATES for run in (1, 3)],
    "weight_grad.cu": [f"weight_grad<{dtype}, {channels}>" for dtype, channels in TEMPLATES]
    + [f"sum_splits<{dtype}>" for dtype in C_TYPES.values()],
    "batchnorm.cu": ["merge_moments<float>", "merge_moments<double>"]
    + [
        f"{kernel}<{dtype}>"
        for dtype in C_TYPES.values()
        for kernel in ("channel_moments", "normalise", "channel_products", "merge_products", "channel_gradient")
    ],
    "maxpool.cu": [f"{kernel}<{dtype}>" for dtype in C_TYPES.values() for kernel in ("max_pool", "max_pool_gradient")],
}
STRUCTS = {
    "gather.cu": "Gather",
    "weight_grad.cu": "WeightGrad",
    "batchnorm.cu": "Slices",
    "maxpool.cu": "Pool",
}
WRONG = {
    1: "threads wait for others that have ended",
    2: "writes beyond its shared memory",
    3: "too large a block",
    4: "is not among the compiled instances",
    5: "touches memory outside its arrays",
}


def need_compiler():
    if shutil.which("g++") is None:
        pytest.skip("no g++ here: the kernels cannot be compiled for the CPU")


@cache
def library(file):
    """Compile all instances of the kernels in `file` into one shared library, and load it."""
    need_compiler()
    cases = "".join(
        f'if (!std::strcmp(name, "{name}")) entry = [](void **a) {{ call({name}, a); }};\n' for name in INSTANCES[file]
    )
    folder = Path(tempfile.mkdtemp(prefix="npresnext-cuda-"))
    (folder / "kernels.cpp").write_text(
        f"""
#include "{HERE / "cuda_on_cpu.h"}"
{cuda_launch.source(file)}
extern "C" int struct_bytes() {{ return sizeof({STRUCTS[file]}); }}
extern "C" int start(
    const char *name, unsigned first, unsigned blocks, unsigned x, unsigned y, int bytes, int backwards, void **args) {{
    entry = nullptr;
{cases}
    return entry ? run(first, blocks, x, y, bytes, backwards, args) : 4;
}}
""",
        "utf-8",
    )
    subprocess.run(
        ["g++", "-std=c++17", "-O1", "-w", "-shared", "-fPIC", "-o", folder / "kernels.so", folder / "kernels.cpp"],
        check=True,
    )
    loaded = ctypes.CDLL(str(folder / "kernels.so"))
    shutil.rmtree(folder)
    return loaded


def launch(file, name, blocks, threads, args, shared=0):
    """Run a kernel on NumPy arrays, with its threads in one order and in the other; both must agree to the bit."""
    results = []
    for backwards in (0, 1):
        guarded = [guard(value) if isinstance(value, np.ndarray) and value.ndim else value for value in args]
        status = start(file, name, blocks, threads, guarded, shared, backwards)
        assert status == 0, f"{name}: {WRONG[status]}"
        results.append(guarded)
    for value, first, second in zip(args, *results):
        if isinstance(value, np.ndarray) and value.ndim:
            assert value.flags.c_contiguous, f"{name}: an argument is not contiguous"
            assert first.tobytes() == second.tobytes(), f"{name}: the result depends on the order of the threads"
            if first.tobytes() != value.tobytes():
                value[...] = first


def guard(array):
    """Copy an array to where it ends at a page that must not be touched, and starts after one (but for alignment)."""
    page = mmap.PAGESIZE
    size = -(-array.nbytes // page) * page
    memory = mmap.mmap(-1, size + 2 * page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for forbidden in (address, address + page + size):
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(forbidden), page, 0) == 0
    copy = np.frombuffer(memory, array.dtype, array.size, page + size - array.nbytes).reshape(array.shape)
    copy[...] = array
    return copy


def start(file, name, blocks, threads, args, shared, backwards, first=0):
    """Call the compiled kernel with pointers to its arguments, as cuLaunchKernel does, from block `first` on."""
    values = []
    for value in args:
        if value is None or isinstance(value, np.ndarray) and value.ndim:  # an array goes by its address
            value = np.asarray(0 if value is None else value.ctypes.data, np.uint64)
        values.append(np.asarray(value))  # a scalar or a struct by value
    pointers = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
    return library(file).start(name.encode(), first, blocks, *threads, shared, backwards, pointers)


class EmulatedCudaEngine(CudaEngine):
    """The CUDA engine, on NumPy arrays."""

    libraries = ("numpy", "cupy")


def product(a, b, out, *, transpose_a=False, transpose_b=False, allow_tf32=False):
    assert all(array.flags.c_contiguous and array.ndim == 3 and array.size for array in (a, b, out))
    assert a.dtype == b.dtype and out.dtype in (a.dtype, sum_dtype(np, a.dtype)), "cuBLAS has no such product"
    a = a.swapaxes(1, 2) if transpose_a else a
    b = b.swapaxes(1, 2) if transpose_b else b
    out[...] = np.matmul(a.astype(out.dtype), b.astype(out.dtype))


@contextlib.contextmanager
def emulated():
    """Let the CUDA engine compute every convolution of NumPy arrays inside the ``with`` block, on poisoned memory."""
    need_compiler()

    make = np.empty

    def empty(shape, dtype=float, **options):
        array = make(shape, dtype, **options)
        if array.dtype.kind in "fc" or array.dtype.name == "bfloat16":
            array.fill(np.nan)
        return array

    with (
        mock.patch("npresnext.engines.cuda.engine.launch", launch),
        mock.patch("npresnext.engines.cuda.batchnorm.launch", launch),
        mock.patch("npresnext.engines.cuda.maxpool.launch", launch),
        mock.patch.object(cuda_matmul, "product", product),
        mock.patch("numpy.empty", empty),
        use_engine(EmulatedCudaEngine()),
    ):
        yield

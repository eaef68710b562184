"""The CUDA path's bad inputs and its calls into CuPy, shown on a stand-in for CuPy."""

import ctypes
import gc
import sys
import types
import weakref

import numpy as np
import pytest

import npresnext as nx
from npresnext import backend, engines
from npresnext.commands import info
from npresnext.engines.cuda import launch as cuda_launch
from npresnext.engines.cuda import matmul as cuda_matmul
from npresnext.errors import (
    AllocationError,
    BackendError,
    BackendMixError,
    BackendNotInstalledError,
    InvalidValueError,
    NoDeviceError,
)
from npresnext.geometry import ConvGeometry


class OutOfMemoryError(MemoryError):
    """As CuPy's: a MemoryError."""


@pytest.fixture
def cupy(monkeypatch):
    """A stand-in for CuPy on a machine with two devices."""
    module, used, freed = types.ModuleType("cupy"), [], []

    class Device:
        def __init__(self, number):
            self.id = number

        def use(self):
            used.append(self.id)

        def __enter__(self):
            used.append(self.id)

        def __exit__(self, *error):
            used.append("back")

    module.__version__, module.used, module.freed = "14.2.0", used, freed
    module.get_default_memory_pool = lambda: types.SimpleNamespace(free_all_blocks=lambda: freed.append(True))
    runtime = types.SimpleNamespace(
        getDeviceCount=lambda: 2,
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 13020,
        CUDA_R_16F=2,
        CUDA_R_16BF=14,
        CUDA_R_32F=0,
        CUDA_R_64F=1,
        CUDA_C_32F=4,
        CUDA_C_64F=5,
    )
    cublas = types.SimpleNamespace(
        CUBLAS_COMPUTE_32F=68, CUBLAS_COMPUTE_64F=70, CUBLAS_COMPUTE_32F_FAST_TF32=77, CUBLAS_GEMM_DEFAULT=-1
    )
    device = types.SimpleNamespace(get_device_id=lambda: 0, get_cublas_handle=lambda: "handle")
    compiler = types.SimpleNamespace(CompileException=type("CompileException", (Exception,), {}))
    module.cuda = types.ModuleType("cupy.cuda")
    module.cuda.__dict__.update(
        is_available=lambda: True, Device=Device, runtime=runtime, cublas=cublas, device=device, compiler=compiler
    )
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setitem(sys.modules, "cupy.cuda", module.cuda)
    monkeypatch.setattr(backend, "_of_process", None)
    return module


def test_info_names_every_device(cupy):
    cupy.cuda.runtime.getDeviceProperties = lambda number: {"name": b"Card %d" % number}
    assert dict(info.facts())["CUDA"] == "CuPy 14.2.0 on Card 0, Card 1"


def test_a_device_is_used_by_the_thread_or_in_the_block(cupy):
    nx.set_backend("cupy", device=1)
    assert cupy.used == [1] and nx.get_backend() == "cupy"
    nx.set_backend("numpy")
    with nx.use_backend("cupy", device=0):
        assert cupy.used == [1, 0]
    assert cupy.used == [1, 0, "back"]


def test_a_device_that_does_not_exist_changes_nothing(cupy):
    with pytest.raises(NoDeviceError, match="device 9 does not exist: there are 2, counted from 0"):
        nx.set_backend("cupy", device=9)
    with pytest.raises(NoDeviceError, match="device 2 does not exist"), nx.use_backend("cupy", device=2):
        pass
    with pytest.raises(InvalidValueError, match="device must be at least 0, but is -1"):
        nx.set_backend("cupy", device=-1)
    with pytest.raises(InvalidValueError, match="device=0 is for the backend cupy"):
        nx.set_backend("numpy", device=0)
    assert nx.get_backend() == "numpy" and cupy.used == []


def test_a_driver_too_old_for_this_cupy_is_named_with_both_versions(cupy):
    cupy.cuda.is_available = lambda: False
    cupy.cuda.runtime.driverGetVersion = lambda: 12040
    message = r"made for CUDA 13, but the driver knows CUDA 12.4 at most: pip install 'npresnext\[cuda12\]'"
    with pytest.raises(NoDeviceError, match=message):
        nx.set_backend("cupy")
    cupy.cuda.runtime.driverGetVersion = lambda: 0  # no driver at all
    with pytest.raises(NoDeviceError, match="check nvidia-smi, the driver and CUDA_VISIBLE_DEVICES"):
        nx.set_backend("cupy")


def test_cuda_libraries_that_cannot_be_loaded_are_named_before_the_first_product(cupy, monkeypatch):
    class Lazy(types.ModuleType):
        is_available = staticmethod(lambda: True)

        def __getattr__(self, name):
            raise ImportError("Failure finding libcublas.so.13\nand more")

    monkeypatch.setattr(cupy, "cuda", Lazy("cupy.cuda"))
    message = r"cannot load CUDA's libraries \(Failure finding libcublas.so.13\): pip install 'npresnext\[cuda12\]'"
    with pytest.raises(BackendNotInstalledError, match=message):
        nx.set_backend("cupy")
    assert nx.get_backend() == "numpy"


def test_a_kernel_that_does_not_compile_says_what_must_fit(cupy):
    def refuse(**arguments):
        raise RuntimeError("Failed to find CUDA headers")

    cupy.RawModule, cupy.show_config = refuse, None
    array = types.SimpleNamespace(device=types.SimpleNamespace(id=0))
    with pytest.raises(BackendError, match="gather<float, 8, 3> cannot be compiled here: CuPy 14.2.0, the CUDA"):
        cuda_launch.launch("gather.cu", "gather<float, 8, 3>", 1, (32, 1), (array,))


def test_a_launch_hands_cupy_its_grid_block_arguments_and_shared_memory(cupy):
    sources, started = [], []

    class RawModule:
        def __init__(self, *, code, options, name_expressions):
            sources.append((code, options, name_expressions))

        def get_function(self, name):
            return lambda grid, block, args, *, shared_mem: started.append((name, grid, block, args, shared_mem))

    cupy.RawModule = RawModule
    array, name = types.SimpleNamespace(device=types.SimpleNamespace(id=0)), "gather<float, 4, 3>"
    for blocks in (7, 8):
        cuda_launch.launch("gather.cu", name, blocks, (32, 2), (array, 5), shared=640)
    assert sources == [(cuda_launch.source("gather.cu"), ("-std=c++17",), (name,))]  # compiled once
    assert started == [(name, (blocks,), (32, 2), (array, 5), 640) for blocks in (7, 8)]
    cuda_launch._compiled.cache_clear()


def test_arrays_of_another_device_are_refused(cupy):
    array = types.SimpleNamespace(device=types.SimpleNamespace(id=1))
    with pytest.raises(BackendMixError, match=r"lie on CUDA device 1, but the current device is 0: use_backend\("):
        cuda_launch.launch("gather.cu", "gather<float, 8, 3>", 1, (32, 1), (array,))


def test_out_of_memory_says_how_much_was_asked_for_frees_and_leaves_the_next_call_working(cupy, monkeypatch):
    class Taken:
        pass

    taken = []

    class Greedy(engines.Engine):
        def conv2d(self, x, weight, bias, geometry):
            half_way = Taken()
            taken.append(weakref.ref(half_way))
            raise OutOfMemoryError("Out of memory allocating 1,024 bytes (allocated so far: 512 bytes).")

    x, weight = np.ones((2, 4, 5, 5), np.float32), np.ones((6, 2, 3, 3), np.float32)
    before = nx.conv2d(x, weight, groups=2)
    monkeypatch.setattr("npresnext.engines.ENGINES", {"greedy": Greedy()})
    message = "takes 432 bytes.*allocating 1,024 bytes"
    with nx.use_engine("greedy"), pytest.raises(AllocationError, match=message) as raised:
        nx.conv2d(x, weight, groups=2)
    gc.collect()
    assert taken[0]() is None, "the error holds on to what the call had taken"
    assert cupy.freed and isinstance(raised.value, MemoryError)
    monkeypatch.undo()
    assert (nx.conv2d(x, weight, groups=2) == before).all()


def test_tf32_is_off_unless_allowed_and_for_the_cuda_engine_alone():
    cupy = types.SimpleNamespace(__name__="cupy")
    assert not engines.engine_for(cupy).allow_tf32
    with engines.use_engine("cuda", allow_tf32=True):
        assert engines.engine_for(cupy).allow_tf32
        with engines.use_engine("cuda"):
            assert not engines.engine_for(cupy).allow_tf32
    assert not engines.engine_for(cupy).allow_tf32
    with (
        pytest.raises(InvalidValueError, match="allow_tf32=True is for the engine cuda"),
        engines.use_engine("im2col", allow_tf32=True),
    ):
        pass


class OnDevice(np.ndarray):
    """A NumPy array that shows CuPy's ``data.ptr`` and ``device``."""

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.ctypes.data)

    @property
    def device(self):
        return types.SimpleNamespace(id=0)


DTYPES = {0: np.float32, 1: np.float64, 2: np.float16, 4: np.complex64, 5: np.complex128}


def columns_first(pointer, dtype, rows, columns, leading, batch, pitch):
    """View matrices as BLAS sees them: (batch, rows, columns), a column after the other."""
    size = pitch * (batch - 1) + leading * columns
    flat = np.frombuffer((ctypes.c_char * (size * np.dtype(dtype).itemsize)).from_address(pointer), dtype)
    strides = [step * flat.itemsize for step in (pitch, 1, leading)]
    return np.lib.stride_tricks.as_strided(flat, (batch, rows, columns), strides)


def gemm(
    handle,
    transa,
    transb,
    m,
    n,
    k,
    alpha,
    a,
    a_type,
    lda,
    a_pitch,
    b,
    b_type,
    ldb,
    b_pitch,
    beta,
    c,
    c_type,
    ldc,
    c_pitch,
    batch,
    compute,
    algorithm,
):
    """cublasGemmStridedBatchedEx, word for word from its documentation: C = α·op(A)·op(B) + β·C."""
    left = columns_first(a, DTYPES[a_type], *((k, m) if transa else (m, k)), lda, batch, a_pitch)
    right = columns_first(b, DTYPES[b_type], *((n, k) if transb else (k, n)), ldb, batch, b_pitch)
    left = left.swapaxes(1, 2) if transa else left
    right = right.swapaxes(1, 2) if transb else right
    result = columns_first(c, DTYPES[c_type], m, n, ldc, batch, c_pitch)
    wide = np.result_type(result.dtype, np.float32)
    factors = [np.frombuffer((ctypes.c_char * wide.itemsize).from_address(f), wide)[0] for f in (alpha, beta)]
    assert factors == [1, 0]
    result[...] = np.matmul(left.astype(wide), right.astype(wide))
    gemm.compute = compute


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize("shared", ["a", "b", "none"])
@pytest.mark.parametrize(
    ("dtype", "out_dtype"),
    [("float32", "float32"), ("float16", "float32"), ("float16", "float16"), ("complex128", "complex128")],
)
def test_a_product_is_what_cublas_is_asked_for(cupy, transpose_a, transpose_b, shared, dtype, out_dtype):
    cupy.cuda.cublas.gemmStridedBatchedEx = gemm
    rng = np.random.default_rng(0)
    B, M, N, K = 3, 4, 5, 6
    a = rng.integers(-3, 4, (1 if shared == "a" else B, *((K, M) if transpose_a else (M, K)))).astype(dtype)
    b = rng.integers(-3, 4, (1 if shared == "b" else B, *((N, K) if transpose_b else (K, N)))).astype(dtype)
    out = np.empty((B, M, N), out_dtype)
    arrays = (array.view(OnDevice) for array in (a, b, out))
    cuda_matmul.product(*arrays, transpose_a=transpose_a, transpose_b=transpose_b)
    assert (out == (a.swapaxes(1, 2) if transpose_a else a) @ (b.swapaxes(1, 2) if transpose_b else b)).all()


def test_tf32_reaches_cublas_for_float32_only(cupy):
    cupy.cuda.cublas.gemmStridedBatchedEx = gemm
    for dtype, compute in (("float32", 77), ("float64", 70), ("float16", 68)):
        a, b, out = (np.ones((1, 2, 2), dtype).view(OnDevice) for _ in range(3))
        cuda_matmul.product(a, b, out, allow_tf32=True)
        assert gemm.compute == compute
    cuda_matmul.product(*(np.ones((1, 2, 2), np.float32).view(OnDevice) for _ in range(3)))
    assert gemm.compute == 68


@pytest.mark.parametrize("weight_shape", [(2, 2, 1, 1), (70, 70, 3, 3)], ids=["pointwise", "columns"])
@pytest.mark.parametrize("allowed", [False, True])
def test_tf32_of_the_engine_reaches_every_product(weight_shape, allowed, monkeypatch):
    seen = []

    def product(a, b, out, *, allow_tf32, **transposed):
        seen.append(allow_tf32)
        out[...] = 0

    monkeypatch.setattr(cuda_matmul, "product", product)
    x = np.ones((2, weight_shape[1], 4, 4), np.float32)
    geometry = ConvGeometry.of_conv(x.shape, weight_shape)
    grad, weight = np.ones(geometry.output_shape, np.float32), np.ones(weight_shape, np.float32)
    engine = engines.CudaEngine(allow_tf32=allowed)
    engine.conv2d(x, weight, None, geometry)
    engine.conv2d_input_grad(grad, weight, geometry)
    engine.conv2d_weight_grad(grad, x, geometry)
    assert seen == [allowed] * 3

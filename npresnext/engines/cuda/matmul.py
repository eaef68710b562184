"""Matrix products by cuBLAS, a stack at a time: transposed operands are read in place, one matrix serves many.

CuPy's own ``matmul`` copies a transposed operand, and looks up a table of pointers where one operand is shared;
``cublasGemmStridedBatchedEx`` needs neither. The 16-bit types are summed in float32. float32 is float32: the
shorter TF32 of tensor cores is used only inside ``use_engine("cuda", allow_tf32=True)``.
"""

from __future__ import annotations

import numpy as np

from ..._support.typing import Array
from .launch import check_device

# dtype -> (cudaDataType, cublasComputeType, dtype of the two factors alpha and beta)
_TYPES = {
    "float16": ("CUDA_R_16F", "CUBLAS_COMPUTE_32F", np.float32),
    "bfloat16": ("CUDA_R_16BF", "CUBLAS_COMPUTE_32F", np.float32),
    "float32": ("CUDA_R_32F", "CUBLAS_COMPUTE_32F", np.float32),
    "float64": ("CUDA_R_64F", "CUBLAS_COMPUTE_64F", np.float64),
    "complex64": ("CUDA_C_32F", "CUBLAS_COMPUTE_32F", np.complex64),
    "complex128": ("CUDA_C_64F", "CUBLAS_COMPUTE_64F", np.complex128),
}


def product(
    a: Array,
    b: Array,
    out: Array,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    allow_tf32: bool = False,
) -> None:
    """Set out[i] = op(a[i]) · op(b[i]) for stacks of C-contiguous matrices; a stack of one serves all i.

    a is (B or 1, M, K), or (B or 1, K, M) with ``transpose_a``; b is (B or 1, K, N), or (B or 1, N, K) with
    ``transpose_b``; out is (B, M, N), in the dtype of a and b or, for 16-bit ones, float32. None is empty.
    """
    from cupy.cuda import cublas, device, runtime

    check_device(out)
    B, M, N = out.shape
    K = a.shape[1] if transpose_a else a.shape[2]
    kind, sums = (getattr(runtime, _TYPES[str(array.dtype)][0]) for array in (a, out))
    _, compute, scalar = _TYPES[str(out.dtype)]
    if str(out.dtype) in ("float32", "complex64") and allow_tf32:
        compute = "CUBLAS_COMPUTE_32F_FAST_TF32"
    one, zero = np.ones((), scalar), np.zeros((), scalar)
    # cuBLAS counts columns first, so it sees every matrix transposed, and out = op(a)·op(b) as outᵀ = op(b)ᵀ·op(a)ᵀ.
    cublas.gemmStridedBatchedEx(
        device.get_cublas_handle(),
        int(transpose_b),
        int(transpose_a),
        N,
        M,
        K,
        one.ctypes.data,
        b.data.ptr,
        kind,
        b.shape[2],
        _pitch(b),
        a.data.ptr,
        kind,
        a.shape[2],
        _pitch(a),
        zero.ctypes.data,
        out.data.ptr,
        sums,
        N,
        M * N,
        B,
        getattr(cublas, compute),
        cublas.CUBLAS_GEMM_DEFAULT,
    )


def _pitch(stack: Array) -> int:
    """Return how many elements lie between one matrix and the next: none where one serves all."""
    return 0 if stack.shape[0] == 1 else stack.shape[1] * stack.shape[2]

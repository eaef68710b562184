"""Products of matrices on the package's own threads: exact, the same bits for every number, BLAS kept to one."""

import numpy as np
import pytest

from npresnext import functional as F
from npresnext.engines.cpu import blas as cpu_blas
from npresnext.engines.cpu import matmul as cpu_matmul
from npresnext.engines.cpu import threads as cpu_threads
from npresnext.errors import AllocationError

SIZES = [(24, 512, 1000), (1000, 512, 24), (257, 129, 255), (1, 300, 70), (70, 300, 1), (3, 5, 4)]


@pytest.mark.parametrize("rows, inner, columns", SIZES)
@pytest.mark.parametrize("layout", ["plain", "transposed", "reversed"])
def test_products_of_integers_are_exact(rows, inner, columns, layout):
    rng = np.random.default_rng(0)
    a, b = rng.integers(-9, 10, (rows, inner)), rng.integers(-9, 10, (inner, columns))
    lay_out = {"plain": lambda m: m, "transposed": lambda m: m.T.copy().T, "reversed": lambda m: m[::-1].copy()[::-1]}
    product = cpu_matmul.matmul(*(lay_out[layout](matrix.astype("float32")) for matrix in (a, b)))
    assert product.dtype == "float32" and (product == a @ b).all()


@pytest.mark.parametrize("rows, inner, columns", SIZES)
def test_bits_are_the_same_for_every_number_of_threads(rows, inner, columns, monkeypatch):
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((rows, inner)), rng.standard_normal((inner, columns))
    results = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(cpu_threads, "_chosen", threads)
        results.append(cpu_matmul.matmul(a, b))
    assert (results[0] == results[1]).all() and (results[0] == results[2]).all()


@pytest.mark.parametrize("length", [2, 600, 1568, 2600, 6272])
def test_two_threads_have_the_same_number_of_chunks_of_one_length(length):
    parts = cpu_matmul.side_chunks(length, 10**9)
    sizes = [part.stop - part.start for part in parts]
    assert len(parts) % 2 == 0 and sum(sizes) == length and max(sizes) - min(sizes) <= len(parts)


def test_refused_memory_is_told_with_the_shape_of_the_result(monkeypatch):
    def refuse(a, b):
        raise MemoryError("no")

    monkeypatch.setattr("npresnext.engines.cpu.engine.matmul", refuse)
    with pytest.raises(AllocationError, match=r"result of linear of shape \(8, 1000\) and dtype float32 takes 32,000"):
        F.linear(np.zeros((8, 512), "float32"), np.zeros((1000, 512), "float32"))


def test_a_large_linear_layer_keeps_blas_to_one_thread(monkeypatch):
    held = []
    matmul = np.matmul
    monkeypatch.setattr(
        np, "matmul", lambda *args, **out: held.append(cpu_blas._blas_threads.holders) or matmul(*args, **out)
    )
    x, weight, grad = (np.ones(shape, "float32") for shape in ((24, 512), (1000, 512), (24, 1000)))
    F.linear(x, weight)
    F.linear_backward(grad, x, weight)
    assert len(held) == 6 and min(held) > 0  # two chunks each

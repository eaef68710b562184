"""Blocks: NumPy's buffers are short in them and as before afterwards. Updates are cut. Arrays begin at a cache line."""

import contextlib
import threading

import numpy as np
import pytest

from npresnext.engines.cpu import threads as cpu_threads
from npresnext.engines.cpu import thresholds
from npresnext.engines.cpu.blocks import by_elements, for_each_block
from npresnext.engines.cpu.elementwise import finish_results
from npresnext.engines.cpu.layout import empty_images
from npresnext.engines.cpu.workspace import CACHE_LINE, aligned_empty, scratch_arrays


@pytest.mark.parametrize("threads", [1, 2])
def test_buffers_are_short_in_every_block_and_as_before_afterwards(threads, monkeypatch):
    monkeypatch.setattr(thresholds, "BLOCK_BYTES", 8)
    monkeypatch.setattr(cpu_threads, "_chosen", threads)
    x, before, found = np.zeros(64, "f"), np.getbufsize(), []
    for_each_block(lambda block: found.append(np.getbufsize()), x, x.size)
    assert len(found) == 32
    assert set(found) == {thresholds.UFUNC_BUFFER}
    assert np.getbufsize() == before


def test_buffers_are_as_before_after_an_error():
    before = np.getbufsize()

    def fails(block):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        for_each_block(fails, np.zeros(4), 4)
    assert np.getbufsize() == before


@pytest.mark.parametrize("second", [lambda w: np.zeros(64), lambda w: w, lambda w: w[8:], lambda w: w[::-1]])
def test_updates_are_cut_unless_two_of_them_share_memory(second, monkeypatch):
    monkeypatch.setattr(thresholds, "UPDATE_BYTES", 128)
    first, sizes = np.zeros(64), []
    arrays = (first, second(first))
    by_elements([(lambda array: sizes.append(array.size), (array,)) for array in arrays])
    assert sizes == ([array.size for array in arrays] if np.shares_memory(*arrays) else [16] * 8)


@pytest.mark.parametrize("limit, helpers", [(999, {"npresnext"}), (1001, set())])
def test_few_updates_are_made_by_the_calling_thread(limit, helpers, monkeypatch):
    monkeypatch.setattr(thresholds, "UPDATE_BYTES", 8)
    monkeypatch.setattr(thresholds, "SINGLE_THREAD_UPDATE", limit)
    monkeypatch.setattr(cpu_threads, "_chosen", 2)
    names, two = set(), threading.Barrier(2)

    def update(array):
        names.add(threading.current_thread().name)
        with contextlib.suppress(threading.BrokenBarrierError):
            two.wait(0.3)  # gives a second thread the time to come

    by_elements([(update, (np.zeros(125),))])  # 1000 bytes
    assert names == {threading.current_thread().name} | helpers


def test_buffers_are_short_while_results_are_finished_and_as_before_afterwards():
    class Recorder(np.ndarray):
        def __iadd__(self, other):
            found.append(np.getbufsize())
            return self

    before, found = np.getbufsize(), []
    finish_results(np.zeros((2, 4)).view(Recorder), np.ones((2, 1)), None, False)
    assert found == [thresholds.UFUNC_BUFFER]
    assert np.getbufsize() == before


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (0, 4), (7, 3, 2, 9)])
@pytest.mark.parametrize("dtype", ["f4", "f8", "u1"])
def test_arrays_begin_at_a_cache_line(shape, dtype):
    arrays = [aligned_empty(shape, np.dtype(dtype)) for _ in range(5)]  # memory for small arrays lies anywhere
    assert [array.ctypes.data % CACHE_LINE for array in arrays] == [0] * 5
    assert {(array.shape, array.dtype.str[1:], array.flags.c_contiguous) for array in arrays} == {(shape, dtype, True)}
    for number, array in enumerate(arrays):
        array[...] = number
    assert all((array == number).all() for number, array in enumerate(arrays))  # memory of its own, to the last value


def test_results_and_scratch_arrays_begin_at_a_cache_line():
    images = empty_images((2, 3, 4, 5), np.dtype("f"))
    assert [array.ctypes.data % CACHE_LINE for array in (images, *scratch_arrays(images.dtype, (3,), (5, 7)))] == [
        0
    ] * 3

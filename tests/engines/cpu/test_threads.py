"""Threads change how long it takes, and nothing else."""

import concurrent.futures
import os
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest

import npresnext as nx
from npresnext.engines.cpu import blas as cpu_blas
from npresnext.engines.cpu import convolution as cpu_convolution
from npresnext.engines.cpu import sweep as cpu_sweep
from npresnext.engines.cpu import threads as cpu_threads
from npresnext.engines.cpu import thresholds
from npresnext.engines.cpu import workspace as cpu_workspace
from npresnext.engines.cpu.engine import LEAST_MACS
from npresnext.geometry import ConvGeometry

GEOMETRIES = {
    "grouped": ConvGeometry.of_conv((5, 64, 14, 14), (64, 4, 3, 3), padding=1, groups=16),
    "grouped with stride": ConvGeometry.of_conv((3, 48, 15, 14), (96, 16, 3, 3), stride=2, padding=1, groups=3),
    "dense": ConvGeometry.of_conv((4, 40, 9, 9), (72, 40, 3, 3), padding=1),
    "stem": ConvGeometry.of_conv((3, 3, 40, 40), (16, 3, 7, 7), stride=2, padding=3),
    "pointwise": ConvGeometry.of_conv((6, 96, 7, 7), (640, 96, 1, 1)),
}


@pytest.fixture(autouse=True)
def threads_put_back(monkeypatch):
    monkeypatch.setattr(thresholds, "SINGLE_THREAD", 0)
    before = cpu_threads.get_num_threads()
    yield
    nx.set_num_threads(before)


def operands(geometry, seed=0):
    rng = np.random.default_rng(seed)
    shapes = (geometry.x_shape, geometry.weight_shape, geometry.output_shape)
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


def all_results(geometry, seed=0):
    x, weight, grad = operands(geometry, seed)
    window = {"stride": geometry.stride, "padding": geometry.padding, "groups": geometry.groups}
    y = nx.conv2d(x, weight, **window)
    dx, dw, db = nx.conv2d_backward(grad, x, weight, **window)
    return y, dx, dw, db, nx.conv2d_weight_grad(grad, x, weight.shape, **window)


def test_every_item_is_worked_on_once():
    nx.set_num_threads(5)
    done = []  # a list takes them from all threads, with and without an interpreter's lock
    cpu_threads.parallel_for(done.append, range(1_000_000))
    assert sorted(done) == list(range(1_000_000))


def test_a_job_that_is_over_keeps_nothing_alive_for_a_thread_that_comes_late():
    def work(item):
        pass

    reference, job = weakref.ref(work), cpu_threads._Job(work, [1])
    del work
    job.work()
    job.finish()
    assert reference() is None
    job.help()


@pytest.mark.parametrize("name", GEOMETRIES)
def test_same_bits_for_every_number_of_threads(name):
    results = []
    for threads in (1, 2, 5):
        nx.set_num_threads(threads)
        results.append(all_results(GEOMETRIES[name]))
    for other in results[1:]:
        for array, expected in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_threaded_results_are_right(name):
    geometry = GEOMETRIES[name]
    nx.set_num_threads(2)
    found = all_results(geometry)
    with nx.use_engine("im2col"):
        expected = all_results(geometry)
    for array, correct in zip(found, expected, strict=True):
        np.testing.assert_allclose(array, correct, rtol=1e-4, atol=1e-4 * np.abs(correct).max())


@pytest.mark.parametrize("centre", [0, 1e4])
def test_batch_norm_is_the_same_for_every_number_of_threads_and_block(centre, monkeypatch):
    rng = np.random.default_rng(0)
    x, grad, shortcut = rng.normal(centre, 1, (4, 12, 9, 9)), *rng.normal(size=(2, 4, 12, 9, 9))
    weight, bias = rng.normal(size=12), rng.normal(size=12)

    def results():
        y, mean, var = nx.functional.batch_norm(x, weight, bias)
        yield from (y, mean, var, *nx.functional.batch_norm_backward(grad, x, mean, var, weight))
        y, mean, var = nx.functional.batch_norm_relu(x, weight, bias, shortcut=shortcut)
        yield from (y, mean, var, *nx.functional.batch_norm_relu_backward(grad, y, x, mean, var, weight))

    whole = list(results())
    monkeypatch.setattr(thresholds, "BLOCK_BYTES", 3 * x.nbytes // 12)
    for threads in (1, 2, 5):
        nx.set_num_threads(threads)
        for array, expected in zip(results(), whole, strict=True):
            np.testing.assert_array_equal(array, expected)
    nx.set_num_threads(1)
    monkeypatch.setattr(cpu_workspace, "_limit", 1000)  # bytes: no block finds room in it
    cpu_workspace._workspace.release()
    for array, expected in zip(results(), whole, strict=True):
        np.testing.assert_array_equal(array, expected)
    assert cpu_workspace._workspace.buffer.size == 0


def test_a_convolution_finds_nothing_that_batch_norm_left_in_the_workspace():
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(2, 8, 9, 9)), rng.normal(size=(8, 4, 3, 3))
    expected = nx.conv2d(x, weight, padding=1, groups=2)
    for _ in range(2):
        y, mean, var = nx.functional.batch_norm(np.full((2, 8, 20, 20), np.nan) + rng.normal(size=(2, 8, 20, 20)))
        np.testing.assert_array_equal(nx.conv2d(x, weight, padding=1, groups=2), expected)
        nx.functional.batch_norm_relu_backward(y, y, y, mean, var)
        np.testing.assert_array_equal(nx.conv2d(x, weight, padding=1, groups=2), expected)


def test_elements_in_blocks_equal_the_whole(monkeypatch):
    rng = np.random.default_rng(0)
    x, grad = rng.normal(size=(3, 5, 7)), rng.normal(size=(3, 5, 7))
    monkeypatch.setattr(thresholds, "BLOCK_BYTES", 64)
    nx.set_num_threads(2)
    np.testing.assert_array_equal(nx.functional.relu(x), np.where(x > 0, x, 0))
    np.testing.assert_array_equal(nx.functional.relu_backward(grad, x), np.where(x > 0, grad, 0))
    np.testing.assert_array_equal(nx.functional.add(x, np.asfortranarray(grad)), x + grad)
    np.testing.assert_array_equal(nx.functional.relu(x.swapaxes(0, 2)), np.where(x > 0, x, 0).swapaxes(0, 2))


def test_max_pooling_in_blocks_equals_the_lesson(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, (2, 7, 9, 8)).astype("float32")  # full of ties
    window = {"kernel_size": 3, "stride": 2, "padding": 1}

    def results():
        y = nx.functional.max_pool2d(x, **window)
        return y, nx.functional.max_pool2d_backward(grad, x, y, **window)

    grad = rng.normal(size=(2, 7, 5, 4)).astype("float32")
    with nx.use_engine("im2col"):
        expected = results()
    monkeypatch.setattr(thresholds, "BLOCK_BYTES", x.nbytes // 3)
    for threads in (1, 2, 5):
        nx.set_num_threads(threads)
        for array, correct in zip(results(), expected, strict=True):
            np.testing.assert_array_equal(array, correct)


def test_steps_of_sgd_in_blocks_equal_those_of_the_whole(monkeypatch):
    """Large arrays are cut, small ones share a block, and one that is no run of memory is worked on by itself."""
    rng = np.random.default_rng(0)
    shapes = [(6, 7), (3,), (), (2, 2), (40,), (5, 4)]
    start, grads = ([rng.normal(size=shape) for shape in shapes] for _ in range(2))
    grads[-1] = np.asfortranarray(grads[-1])
    nx.set_num_threads(2)

    def descend(**settings):
        parameters = [nx.nn.Parameter(array.copy()) for array in map(np.asarray, start)]
        optimizer = nx.nn.SGD(parameters, lr=0.1, weight_decay=0.01, **settings)
        for step in range(3):
            for parameter, grad in zip(parameters, grads):
                parameter.grad = np.asarray(grad * (step + 1))
            optimizer.step()
        return np.concatenate([parameter.data.reshape(-1) for parameter in parameters])

    for settings in ({}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"momentum": 0.9, "dampening": 0.5}):
        whole = descend(**settings)
        with monkeypatch.context() as patch:
            patch.setattr(thresholds, "UPDATE_BYTES", 64)
            patch.setattr(thresholds, "SINGLE_THREAD_UPDATE", 0)
            np.testing.assert_array_equal(descend(**settings), whole)


@pytest.mark.parametrize("tie", [lambda w: w, lambda w: w.T, lambda w: w[3:], lambda w: w[::2], lambda w: w[:, 1:]])
def test_steps_of_sgd_on_tied_weights_follow_each_other(tie, monkeypatch):
    monkeypatch.setattr(thresholds, "UPDATE_BYTES", 64)
    monkeypatch.setattr(thresholds, "SINGLE_THREAD_UPDATE", 0)

    def descend():
        rng = np.random.default_rng(0)
        weight = rng.normal(size=(90, 90))
        parameters = [nx.nn.Parameter(array) for array in (weight, rng.normal(size=50), tie(weight))]
        optimizer = nx.nn.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.5)
        for _ in range(3):
            for parameter in parameters:
                parameter.grad = rng.normal(size=parameter.shape)
            optimizer.step()
        return weight

    with nx.use_engine("im2col"):
        one_by_one = descend()
    for threads in (1, 2, 5):
        nx.set_num_threads(threads)
        np.testing.assert_array_equal(descend(), one_by_one)


def test_calls_from_several_threads_do_not_disturb_each_other():
    nx.set_num_threads(3)
    geometry = GEOMETRIES["grouped"]
    expected = [all_results(geometry, seed) for seed in range(4)]
    wrong = []

    def call(seed):
        for _ in range(5):
            for array, correct in zip(all_results(geometry, seed), expected[seed], strict=True):
                if not (array == correct).all():
                    wrong.append(seed)

    callers = [threading.Thread(target=call, args=(seed,)) for seed in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert wrong == []


@pytest.mark.parametrize("bad, error", [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_thread_count_that_is_none(bad, error):
    with pytest.raises(error, match="num_threads must be"):
        nx.set_num_threads(bad)


def test_memory_refused_on_one_thread_is_a_clear_error_and_the_next_call_works(monkeypatch):
    nx.set_num_threads(2)
    geometry = GEOMETRIES["grouped"]
    expected = all_results(geometry)
    scratch_arrays, calls = cpu_sweep.scratch_arrays, []

    def refusing(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError
        return scratch_arrays(*args, **kwargs)

    monkeypatch.setattr(cpu_sweep, "scratch_arrays", refusing)
    monkeypatch.setattr(cpu_workspace, "_limit", cpu_workspace.DEFAULT_LIMIT - 1)  # every thread asks for memory anew
    with pytest.raises(nx.errors.AllocationError, match="there is no memory for it"):
        all_results(geometry)
    for array, correct in zip(all_results(geometry), expected, strict=True):
        np.testing.assert_array_equal(array, correct)


@pytest.mark.parametrize("granted", [0, 1])
def test_where_the_system_refuses_threads_fewer_do_the_work(granted, monkeypatch):
    nx.set_num_threads(4)
    expected = all_results(GEOMETRIES["grouped"])
    start, started = threading.Thread.start, []

    def refuse(thread):
        if len(started) == granted:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(cpu_threads, "_pool", cpu_threads._Pool())
    monkeypatch.setattr(threading.Thread, "start", refuse)
    for array, correct in zip(all_results(GEOMETRIES["grouped"]), expected, strict=True):
        np.testing.assert_array_equal(array, correct)
    assert len(started) == granted


def thread_counts(blas):
    """Return the thread counts of NumPy's BLAS: SciPy, where another test has loaded it, brings one of its own."""
    return {library["num_threads"] for library in blas.info() if "scipy.libs" not in library["filepath"]}


def test_blas_has_its_threads_back_afterwards_even_after_an_error():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    blas = threadpoolctl.ThreadpoolController().select(user_api="blas")
    with blas.limit(limits=2):
        seen = []

        def work(item):
            seen.extend(thread_counts(blas))
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            cpu_threads.parallel_for(work, [1, 2])
        assert set(seen) == {1}
        assert thread_counts(blas) == {2}


def test_blas_has_its_threads_back_when_the_last_of_several_calls_ends():
    blas = pytest.importorskip("threadpoolctl").ThreadpoolController().select(user_api="blas")
    with blas.limit(limits=2):
        with cpu_blas.single_threaded_blas():
            with cpu_blas.single_threaded_blas():
                assert thread_counts(blas) == {1}
            assert thread_counts(blas) == {1}
        assert thread_counts(blas) == {2}


def in_another_thread(function):
    """Return what a function returns in a thread of its own."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result(timeout=60)


def test_blas_has_one_thread_inside_the_calls_of_every_thread():
    blas = pytest.importorskip("threadpoolctl").ThreadpoolController().select(user_api="blas")

    def seen_inside():
        with cpu_blas.single_threaded_blas():
            return thread_counts(blas)

    with blas.limit(limits=2):  # from now on threadpoolctl does nothing for other threads
        assert seen_inside() == in_another_thread(seen_inside) == {1}
        assert thread_counts(blas) == {2}


def test_blas_has_its_threads_back_when_another_thread_ends_the_last_call():
    blas = pytest.importorskip("threadpoolctl").ThreadpoolController().select(user_api="blas")
    first_has_begun, first_has_ended = threading.Event(), threading.Event()

    def last():
        first_has_begun.wait(60)
        with cpu_blas.single_threaded_blas():
            first_has_begun.clear()
            first_has_ended.wait(60)
            return thread_counts(blas)

    with blas.limit(limits=2), concurrent.futures.ThreadPoolExecutor(1) as pool:
        with cpu_blas.single_threaded_blas():
            during = pool.submit(last)
            first_has_begun.set()
            while first_has_begun.is_set():
                time.sleep(0.001)
        first_has_ended.set()
        assert during.result(timeout=60) == {1}
        assert thread_counts(blas) == {2}


def test_a_blas_with_a_thread_count_for_each_thread_has_one_thread_in_all_of_them(monkeypatch):
    counts = threading.local()  # as in an OpenBLAS that is built with OpenMP
    read = lambda: vars(counts).setdefault("count", 4)  # noqa: E731
    library = cpu_blas._Library(read, lambda count: setattr(counts, "count", count), per_thread=True)
    monkeypatch.setattr(cpu_blas, "_loaded_libraries", lambda: [library])
    monkeypatch.setattr(cpu_blas, "_blas_threads", cpu_blas._BlasThreads())
    nx.set_num_threads(2)
    seen, both = {}, threading.Barrier(2)

    def work(item):
        both.wait(60)  # so that two threads have an item each
        seen[threading.get_ident()] = read()

    cpu_threads.parallel_for(work, [1, 2])
    assert list(seen.values()) == [1, 1]
    assert read() == 4


def run_python(code, **environment):
    """Run a script in a fresh process, and return what it prints."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


LARGE = """
import sys, threading
import numpy as np, npresnext as nx
x, weight = np.ones((8, 32, 50, 50), "f"), np.ones((32, 2, 3, 3), "f")
"""


def test_neither_threads_nor_threadpoolctl_come_with_the_import():
    printed = run_python(
        LARGE
        + """
print(threading.active_count(), "threadpoolctl" in sys.modules)
nx.set_num_threads(2)
nx.conv2d(x, weight, padding=1, groups=16)
print(threading.active_count(), "threadpoolctl" in sys.modules)
"""
    )
    assert printed.splitlines() == ["1 False", "2 True"]


def test_environment_variable_is_read_at_the_first_use():
    code = (
        LARGE
        + """
import os
os.environ["NPRESNEXT_NUM_THREADS"] = "2"
nx.conv2d(x, weight, padding=1, groups=16)
print(threading.active_count())
"""
    )
    assert run_python(code).split() == ["2"]


def test_environment_variable_that_is_no_count(monkeypatch):
    monkeypatch.setenv("NPRESNEXT_NUM_THREADS", "none")
    with pytest.raises(ValueError, match="NPRESNEXT_NUM_THREADS must be an integer of at least 1, but is 'none'"):
        cpu_threads._from_environment()


def test_default_is_at_most_the_cores_of_the_process():
    assert 1 <= cpu_threads._available_cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    "files, cores",
    [
        (["max 100000"], 6),
        (["250000 100000"], 2),
        (["50000 100000"], 1),
        (["900000 100000"], 6),
        (["-1", "100000"], 6),
        (["300000", "100000"], 3),
        ([], 6),
    ],
)
def test_quota_of_the_control_group_bounds_the_default(tmp_path, monkeypatch, files, cores):
    paths = [tmp_path / str(number) for number in range(max(1, len(files)))]
    for path, text in zip(paths, files):
        path.write_text(text + "\n", encoding="ascii")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(6), raising=False)
    monkeypatch.setattr(cpu_threads, "_QUOTAS", (tuple(map(str, paths)),))
    assert cpu_threads._available_cores() == cores


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_child_of_a_fork_computes_with_threads_of_its_own():
    printed = run_python(
        LARGE
        + """
import os
nx.set_num_threads(2)
expected = nx.conv2d(x, weight, padding=1, groups=16)
child = os.fork()
if child == 0:
    same = (nx.conv2d(x, weight, padding=1, groups=16) == expected).all()
    os._exit(0 if same and threading.active_count() == 2 else 1)
print(os.waitpid(child, 0)[1])
"""
    )
    assert printed.split() == ["0"]


def test_large_convolutions_reach_the_engine_and_small_ones_the_lesson(monkeypatch):
    taken = []
    forward = cpu_convolution.forward
    monkeypatch.setattr(cpu_convolution, "forward", lambda *args: taken.append(args[-1].macs) or forward(*args))
    for size in (3, 40):
        nx.conv2d(np.ones((1, 8, size, size)), np.ones((8, 8, 3, 3)))
    assert len(taken) == 1 and taken[0] >= LEAST_MACS


@pytest.mark.parametrize("state", ["ignore", "raise"])
def test_numpys_error_state_holds_on_every_thread(state):
    nx.set_num_threads(2)
    seen, both = {}, threading.Barrier(2, timeout=10)

    def work(item):
        both.wait()  # so that each thread takes one item
        seen[threading.get_ident()] = np.geterr()["over"]

    with np.errstate(over=state):
        cpu_threads.parallel_for(work, [0, 1])
    assert len(seen) == 2 and set(seen.values()) == {state}

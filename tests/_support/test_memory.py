"""Memory that cannot be had: one error that says how much was asked, after which the next call works."""

import pickle
import sys
import types
import weakref

import numpy as np
import pytest

from npresnext import functional as F
from npresnext import nn
from npresnext._support.memory import allocating
from npresnext.errors import AllocationError, BackwardError

N = 2**44  # of an image of 32 bytes: beyond any address space


def huge(*shape):
    """An array of one number seen many times, which takes no memory."""
    return np.broadcast_to(np.float64(1), shape)


X = huge(N, 1, 2, 2)
CALLS = {
    "relu": lambda: F.relu(X),
    "relu_backward": lambda: F.relu_backward(X, X),
    "add": lambda: F.add(X, X),
    "linear": lambda: F.linear(huge(N, 2), np.ones((3, 2))),
    "linear_backward": lambda: F.linear_backward(huge(N, 3), huge(N, 2), np.ones((3, 2))),
    "batch_norm": lambda: F.batch_norm(X),
    "batch_norm_backward": lambda: F.batch_norm_backward(X, X, np.ones(1), np.ones(1)),
    "avg_pool2d": lambda: F.avg_pool2d(X, 1),
    "avg_pool2d_backward": lambda: F.avg_pool2d_backward(huge(N, 1, 1, 1), X.shape, 2),
    "global_avg_pool2d": lambda: F.global_avg_pool2d(X),
    "global_avg_pool2d_backward": lambda: F.global_avg_pool2d_backward(huge(N, 1, 1, 1), X.shape),
    "max_pool2d": lambda: F.max_pool2d(X, 1),
    "max_pool2d_backward": lambda: F.max_pool2d_backward(X, X, X, 1),
    "cross_entropy": lambda: F.cross_entropy(huge(N, 2), np.broadcast_to(np.int64(0), (N,))),
    "cross_entropy_backward": lambda: F.cross_entropy_backward(None, huge(N, 2), np.broadcast_to(np.int64(0), (N,))),
    "im2col": lambda: F.im2col(X, 1),
    "conv2d": lambda: F.conv2d(X, np.ones((1, 1, 1, 1))),
    "conv2d_backward": lambda: F.conv2d_backward(X, X, np.ones((1, 1, 1, 1))),
    "conv2d_input_grad": lambda: F.conv2d_input_grad(X, X.shape, np.ones((1, 1, 1, 1))),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_operation_says_how_much_memory_it_was_refused(name):
    with pytest.raises(AllocationError, match=r"bytes|[TPE]iB") as raised:
        CALLS[name]()
    assert isinstance(raised.value, MemoryError) and isinstance(raised.value, ValueError)


@pytest.mark.parametrize("name", F.__all__)
def test_every_operation_can_be_sent_to_another_process(name):
    assert pickle.loads(pickle.dumps(getattr(F, name))) is getattr(F, name)


class Greedy(nn.Module):
    """A layer that finds no memory while `full`."""

    full = True

    def forward(self, x):
        """Return x."""
        if self.full:
            raise MemoryError("no more")
        return x

    def backward(self, grad_output):
        """Return the gradient."""
        return grad_output


def test_a_network_that_runs_out_of_memory_half_way_lets_go_of_what_its_layers_kept(monkeypatch):
    network = nn.Sequential(nn.ReLU(), nn.Sequential(nn.BatchNorm2d(2), Greedy()))
    x = np.random.default_rng(0).standard_normal((2, 2, 3, 3))
    network.to(dtype="float64")
    with pytest.raises(MemoryError, match="no more"):
        network(x)
    assert all(module._saved is None for module in network.modules())
    with pytest.raises(BackwardError):
        network.backward(x)
    monkeypatch.setattr(Greedy, "full", False)
    assert network.backward(network(x)).shape == x.shape


def test_the_innermost_block_names_what_was_allocated():
    with pytest.raises(
        AllocationError, match=r"^the columns of shape \(2, 3\) and dtype float32 takes 24 bytes, and .*no more"
    ):
        with (
            allocating("the output", (5,), np.dtype("float32")),
            allocating("the columns", (2, 3), np.dtype("float32")),
        ):
            raise MemoryError("no more")


def test_a_size_beyond_every_address_is_refused_before_anything_is_allocated():
    with pytest.raises(AllocationError, match="takes 18,446,744,073,709,551,616 bytes, more than can be allocated"):
        with allocating("the output", (2**61,), np.dtype("float64")):
            pytest.fail("the block ran")


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), allocating("the output"):
        1 / 0  # noqa: B018


def test_what_the_failed_call_had_allocated_is_freed_and_so_is_the_pool_of_cupy(monkeypatch):
    freed, taken = [], []
    pool = types.SimpleNamespace(free_all_blocks=lambda: freed.append(taken[0]() is None))
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(get_default_memory_pool=lambda: pool))

    @allocating("the result")
    def greedy():
        array = np.ones(3)
        taken.append(weakref.ref(array))
        raise MemoryError("no more")

    with pytest.raises(AllocationError, match="^the result needs more memory than there is: no more$"):
        greedy()
    assert freed == [True]  # first the arrays, then the pool


def test_a_decorated_function_keeps_its_name():
    assert allocating("x")(np.linspace).__name__ == "linspace"

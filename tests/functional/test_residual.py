"""Residual addition."""

import array_api_strict
import numpy as np
import pytest

import npresnext as nx
from npresnext import functional as F


def integers(seed, shape):
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(float)


def test_sum_and_gradients_are_exact(xp):
    x, y, grad = (integers(k, (2, 3, 4)) for k in range(3))
    assert (nx.to_numpy(F.add(xp.asarray(x), xp.asarray(y))) == x + y).all()
    dx, dy = F.add_backward(xp.asarray(grad))
    assert (nx.to_numpy(dx) == grad).all() and (nx.to_numpy(dy) == grad).all()


def test_adjoint_identity():
    x, y, grad = (integers(k, (5, 4)) for k in range(3))
    dx, dy = F.add_backward(grad)
    assert (grad * F.add(x, y)).sum() == (dx * x).sum() + (dy * y).sum()


def test_operands_are_left_alone_and_layouts_do_not_matter():
    x, y = integers(0, (6, 4)), np.broadcast_to(integers(1, (1, 4)), (6, 4))
    before = x.copy()
    assert (F.add(x[::-2].T, y[::2].T) == x[::-2].T + y[::2].T).all() and (x == before).all()
    assert F.add(np.zeros((0, 3, 2, 2)), np.zeros((0, 3, 2, 2))).shape == (0, 3, 2, 2)


def test_errors_name_both_sides():
    with pytest.raises(ValueError, match=r"x has shape \(2, 3\) but y has shape \(1, 3\).*same shape"):
        F.add(np.ones((2, 3)), np.ones((1, 3)))
    with pytest.raises(TypeError, match="x has dtype float32 and y has dtype float64"):
        F.add(np.ones(2, np.float32), np.ones(2))
    with pytest.raises(TypeError, match="x has dtype int64"):
        F.add(np.arange(2), np.arange(2))
    with pytest.raises(TypeError, match="x is an array of numpy and y one of array_api_strict"):
        F.add(np.ones(2), array_api_strict.ones(2))

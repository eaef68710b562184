"""Softmax cross-entropy: a definition sample by sample, complex step, extremes, PyTorch's conventions, errors."""

import cmath
import itertools
import math

import array_api_strict
import numpy as np
import pytest

import npresnext as nx
from npresnext import functional as F

IGNORED = -100
VARIANTS = list(itertools.product(("mean", "sum", "none"), (0.0, 0.1, 1.0), (False, True), ((5, 4), (2, 4, 3, 2))))


def draw(shape, weighted, seed=0):
    """Logits, targets of which one is ignored, class weights, a generator for more."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    target.flat[1] = IGNORED
    return 3 * rng.standard_normal(shape), target, rng.random(shape[1]) + 0.5 if weighted else None, rng


def by_hand(logits, target, weight, smoothing, reduction):
    """One sample after the other, for real and for complex logits."""
    classes = logits.shape[1]
    weight = np.ones(classes) if weight is None else weight
    losses, total = np.zeros(target.shape, logits.dtype), 0.0
    for place in np.ndindex(*target.shape):
        if target[place] == IGNORED:
            continue
        scores = [logits[place[0], c, *place[1:]] for c in range(classes)]
        logsum = cmath.log(sum(cmath.exp(s) for s in scores))
        logs = [s - (logsum if np.iscomplexobj(logits) else logsum.real) for s in scores]
        losses[place] -= (1 - smoothing) * weight[target[place]] * logs[target[place]]
        losses[place] -= smoothing / classes * sum(w * log for w, log in zip(weight, logs))
        total += weight[target[place]]
    return {"none": losses, "sum": losses.sum(), "mean": losses.sum() / total}[reduction]


@pytest.mark.parametrize(("reduction", "smoothing", "weighted", "shape"), VARIANTS)
def test_loss_equals_the_definition(xp, reduction, smoothing, weighted, shape):
    logits, target, weight, _ = draw(shape, weighted)
    on_xp = None if weight is None else xp.asarray(weight)
    loss = F.cross_entropy(
        xp.asarray(logits), xp.asarray(target), weight=on_xp, label_smoothing=smoothing, reduction=reduction
    )
    expected = by_hand(logits, target, weight, smoothing, reduction)
    assert loss.shape == np.shape(expected)
    np.testing.assert_allclose(nx.to_numpy(loss), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("reduction", "smoothing", "weighted", "shape"), VARIANTS)
def test_gradient_by_complex_step(xp, reduction, smoothing, weighted, shape):
    logits, target, weight, rng = draw(shape, weighted)
    grad = rng.standard_normal(target.shape if reduction == "none" else ())
    dlogits = F.cross_entropy_backward(
        xp.asarray(grad),
        xp.asarray(logits),
        xp.asarray(target),
        weight=None if weight is None else xp.asarray(weight),
        label_smoothing=smoothing,
        reduction=reduction,
    )
    expected = np.empty(shape)
    for index in np.ndindex(*shape):
        stepped = logits.astype(complex)
        stepped[index] += 1e-30j
        expected[index] = (grad * by_hand(stepped, target, weight, smoothing, reduction)).sum().imag / 1e-30
    np.testing.assert_allclose(nx.to_numpy(dlogits), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("tail", [(6,), (3, 2), (1, 3, 2)])
def test_any_number_of_further_axes_is_one_long_axis_of_samples(xp, tail):
    logits, target, _, rng = draw((2, 4, 6), False)
    grad, further = rng.standard_normal((2, 6)), [(2, 4, *tail), (2, *tail)]
    flat = logits.transpose(0, 2, 1).reshape(12, 4)
    expected = F.cross_entropy_backward(grad.reshape(12), flat, target.reshape(12), reduction="none")
    dlogits = F.cross_entropy_backward(
        xp.asarray(grad.reshape(further[1])),
        xp.asarray(logits.reshape(further[0])),
        xp.asarray(target.reshape(further[1])),
        reduction="none",
    )
    assert dlogits.shape == further[0]
    got = nx.to_numpy(dlogits).reshape(2, 4, 6).transpose(0, 2, 1).reshape(12, 4)
    np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-16)


def test_without_an_upstream_gradient_it_is_one(xp):
    logits, target, *_ = draw((5, 4), False)
    logits, target = xp.asarray(logits), xp.asarray(target)
    plain, tripled = (nx.to_numpy(F.cross_entropy_backward(g, logits, target)) for g in (None, 3.0))
    np.testing.assert_allclose(tripled, 3 * plain, rtol=1e-15)
    softmax = np.exp(nx.to_numpy(logits)) / np.exp(nx.to_numpy(logits)).sum(1, keepdims=True)
    softmax[np.arange(5), nx.to_numpy(target) % 4] -= 1
    softmax[1] = 0  # the ignored one
    np.testing.assert_allclose(plain, softmax / 4, rtol=1e-12, atol=1e-15)


def test_logits_of_any_size_neither_overflow_nor_vanish(xp):
    logits = xp.asarray(np.array([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4], [1e30, 0, 0]]))
    target = np.array([2, 0, 1])
    loss = nx.to_numpy(F.cross_entropy(logits, target, reduction="none"))
    np.testing.assert_allclose(loss, [2e4, math.log(3), 1e30], rtol=1e-12)
    dlogits = nx.to_numpy(F.cross_entropy_backward(None, logits, target, reduction="sum"))
    np.testing.assert_allclose(dlogits, [[1, 0, -1], [-2 / 3, 1 / 3, 1 / 3], [1, -1, 0]], atol=1e-12)


def test_a_class_ruled_out_by_minus_infinity_costs_nothing(xp):
    logits = xp.asarray(np.array([[0.0, -np.inf, 0.0]]))
    assert nx.to_numpy(F.cross_entropy(logits, np.array([0]))) == pytest.approx(math.log(2))
    assert nx.to_numpy(F.cross_entropy_backward(None, logits, np.array([0]))).tolist() == [[-0.5, 0.0, 0.5]]


def test_only_ignored_targets_have_the_mean_nan_and_the_sum_zero(xp):
    logits, target = xp.asarray(np.ones((2, 3))), np.array([7, 7])
    assert np.isnan(nx.to_numpy(F.cross_entropy(logits, target, ignore_index=7)))
    assert nx.to_numpy(F.cross_entropy(logits, target, ignore_index=7, reduction="sum")) == 0
    dlogits = F.cross_entropy_backward(None, logits, target, ignore_index=7, reduction="sum")
    assert not nx.to_numpy(dlogits).any()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_ignored_samples_get_no_gradient_even_where_there_are_no_others(xp, reduction):
    for targets in ([7, 7], [7, 1]):
        logits, target = xp.asarray(np.array([[np.nan, 1.0, 2.0], [0.0, 1.0, 2.0]])), np.array(targets)
        dlogits = nx.to_numpy(F.cross_entropy_backward(None, logits, target, ignore_index=7, reduction=reduction))
        assert dlogits.any(1).tolist() == [target != 7 for target in targets]


def test_samples_of_weight_zero_get_no_gradient_even_where_there_are_no_others():
    logits, target, weight = np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([0, 0]), np.array([0.0, 5.0])
    assert np.isnan(F.cross_entropy(logits, target, weight=weight))
    assert (F.cross_entropy_backward(None, logits, target, weight=weight) == 0).all()


def test_an_ignored_class_within_range_counts_for_nothing():
    logits, target = np.random.default_rng(0).standard_normal((4, 3)), np.array([0, 1, 2, 1])
    kept = target != 1
    assert F.cross_entropy(logits, target, ignore_index=1) == pytest.approx(F.cross_entropy(logits[kept], target[kept]))


def test_an_empty_batch(xp):
    logits, target = xp.zeros((0, 3)), np.zeros(0, int)
    assert np.isnan(nx.to_numpy(F.cross_entropy(logits, target)))
    assert nx.to_numpy(F.cross_entropy(logits, target, reduction="sum")) == 0
    assert F.cross_entropy(logits, target, reduction="none").shape == (0,)
    assert F.cross_entropy_backward(None, logits, target).shape == (0, 3)


def test_a_target_out_of_range_is_nan_where_looking_would_wait():
    logits = np.random.default_rng(0).standard_normal((3, 4))
    on_device = array_api_strict.asarray(np.array([0, 4, -1]))
    loss = nx.to_numpy(F.cross_entropy(array_api_strict.asarray(logits), on_device, reduction="none"))
    assert np.isnan(loss).tolist() == [False, True, True]
    dlogits = nx.to_numpy(F.cross_entropy_backward(None, array_api_strict.asarray(logits), on_device, reduction="sum"))
    assert np.isnan(dlogits).any(1).tolist() == [False, True, True]


def test_sixteen_bit_types_are_computed_in_float32():  # numpy#20305, chainer PR#8458
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes")
    for dtype, classes in ((np.float16, 4096), (ml_dtypes.bfloat16, 512)):
        logits, target = np.zeros((1, classes), dtype), np.array([5])
        loss, dlogits = F.cross_entropy(logits, target), F.cross_entropy_backward(None, logits, target)
        assert loss.dtype == dlogits.dtype == dtype
        assert loss == dtype(math.log(classes)) and float(dlogits[0, 0]) == 1 / classes


def test_any_memory_layout_and_integer_dtype():
    logits, target, weight, rng = draw((6, 4, 5), True)
    target[target == IGNORED] = 0
    odd = logits.transpose(2, 1, 0)[::-1, :, ::2]
    labels = target.T[::-1, ::2]
    want = F.cross_entropy_backward(None, odd.copy(order="C"), labels.copy(order="C"), weight=weight)
    for dtype in ("int8", "uint8", "int64", "uint64"):
        got = F.cross_entropy_backward(None, odd, labels.astype(dtype), weight=weight)
        np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-16)


def test_operands_are_left_alone():
    logits, target, weight, rng = draw((5, 4), True)
    grad, before = rng.standard_normal(5), logits.copy()
    F.cross_entropy(logits, target, weight=weight)
    F.cross_entropy_backward(grad, logits, target, weight=weight, reduction="none")
    assert (logits == before).all() and target[1] == IGNORED


def test_errors_name_the_argument_and_the_rule():
    logits, target = np.zeros((3, 4)), np.array([0, 1, 2])
    for call, message in (
        (lambda: F.cross_entropy(logits, np.array([0, 4, 1])), r"target\[1\] is 4: .*0 to 3 \(logits has 4 cl"),
        (lambda: F.cross_entropy(logits, np.array([0, 1, -1])), r"target\[2\] is -1: .* or ignore_index"),
        (lambda: F.cross_entropy(np.zeros((1, 2, 2)), np.array([[0, 9]])), r"target\[0, 1\] is 9"),
        (lambda: F.cross_entropy(logits, target[:2]), r"target has shape \(2,\): expected \(3,\)"),
        (lambda: F.cross_entropy(np.zeros(4), target), r"logits has shape \(4,\): expected \(N, C\)"),
        (lambda: F.cross_entropy(np.zeros((3, 0)), target), r"logits has shape \(3, 0\): .*C ≥ 1"),
        (lambda: F.cross_entropy(logits, target, weight=np.ones(3)), r"weight has shape \(3,\): expected \(C,\)"),
        (lambda: F.cross_entropy(logits, target, label_smoothing=1.5), "label_smoothing must lie between 0 and 1"),
        (lambda: F.cross_entropy(logits, target, reduction="max"), "reduction must be one of mean, sum, none"),
        (lambda: F.cross_entropy_backward(np.ones(3), logits, target), r"grad_output has shape \(3,\) but"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    for call, message in (
        (lambda: F.cross_entropy(logits, target.astype(float)), "target has dtype float64: expected integers"),
        (lambda: F.cross_entropy(logits, [0, 1, 2]), "target must be an array"),
        (lambda: F.cross_entropy(np.zeros((3, 4), int), target), "logits has dtype int64"),
        (lambda: F.cross_entropy(logits, array_api_strict.asarray(target)), "logits is an array of numpy and"),
        (lambda: F.cross_entropy(logits, target, weight=np.ones(4, "float32")), "weight has dtype float32"),
    ):
        with pytest.raises(TypeError, match=message):
            call()


@pytest.mark.oracle
@pytest.mark.parametrize(("reduction", "smoothing", "weighted", "shape"), VARIANTS)
def test_pytorch_agrees(reduction, smoothing, weighted, shape):
    torch = pytest.importorskip("torch")
    logits, target, weight, rng = draw(shape, weighted)
    tensor = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(
        tensor,
        torch.tensor(target),
        None if weight is None else torch.tensor(weight),
        reduction=reduction,
        label_smoothing=smoothing,
    )
    arguments = {"weight": weight, "reduction": reduction, "label_smoothing": smoothing}
    np.testing.assert_allclose(F.cross_entropy(logits, target, **arguments), expected.detach().numpy(), rtol=1e-12)
    grad = rng.standard_normal(tuple(expected.shape))
    expected.backward(torch.tensor(grad))
    dlogits = F.cross_entropy_backward(grad, logits, target, **arguments)
    np.testing.assert_allclose(dlogits, tensor.grad.numpy(), rtol=1e-11, atol=1e-13)

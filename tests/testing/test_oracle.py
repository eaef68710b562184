"""What the kit judges by: its oracle is the definition, and its bounds hold what they must and no more."""

import random
from dataclasses import replace
from fractions import Fraction
from functools import partial

import numpy as np
import pytest

from npresnext import reference
from npresnext.testing import check_conv
from npresnext.testing.arithmetic import as_arithmetic
from npresnext.testing.bounds import gamma, rounding_bound, winograd_bound
from npresnext.testing.cases import ConvCase
from npresnext.testing.drawn_cases import draw_case
from npresnext.testing.oracle import ExactResult
from npresnext.testing.runner import LARGE_CASE, Runner
from npresnext.testing.subject import Subject
from npresnext.testing.supports import SUPPORTS, keep_supported

from tests.support import transforms


def drawn(count, without=()):
    rng = random.Random(1)
    return [draw_case(rng.randint, {**SUPPORTS, **dict.fromkeys(without, False)}) for _ in range(count)]


def defined(case, operands, form=""):
    """The four results by reference.py, as arrays ("") or as loops over single products ("_loops")."""
    x, weight, bias, grad = (operands[name] for name in ("x", "weight", "bias", "grad_output"))
    convolve, of_x, of_weight = (
        getattr(reference, name + form) for name in ("conv2d", "conv2d_input_grad", "conv2d_weight_grad")
    )
    return {
        "y": convolve(x, weight, bias, **case.kwargs),
        "dx": of_x(grad, case.x_shape, weight, **case.kwargs),
        "dw": of_weight(grad, x, case.weight_shape, **case.kwargs),
        "db": reference.conv2d_bias_grad(grad),
    }


def test_the_oracle_equals_the_definition_on_integers():
    for case in [*drawn(150), LARGE_CASE]:
        operands = case.operands()
        for name, expected in defined(case, operands).items():
            truth = ExactResult(name, case, operands)
            assert (truth.high == expected).all() and not truth.low.any(), (name, case)
            assert truth.high.dtype == "float64"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_oracle_is_exact_on_fractions(dtype):
    """Held against sums of Python's fractions, product by product."""

    def exact(array):
        return (
            array
            if array is None
            else np.array([Fraction(float(v)) for v in array.ravel()] or [0], object)[: array.size].reshape(array.shape)
        )

    for case in drawn(12, without=("zero_channels", "empty_batch")):
        operands = case.operands(dtype, real=True)
        for name, expected in defined(case, {key: exact(array) for key, array in operands.items()}, "_loops").items():
            truth = ExactResult(name, case, operands)
            error = [
                Fraction(v) - Fraction(high) - Fraction(low)
                for v, high, low in zip(expected.ravel(), truth.high.ravel().tolist(), truth.low.ravel().tolist())
            ]
            assert max(map(abs, error), default=0) <= 2.0**-100, (name, case)


@pytest.mark.parametrize(
    ("dtype", "declared", "expected"),
    [
        ("float32", {}, (0.0, 2.0**-24, 0.0)),
        ("float16", {}, (0.0, 2.0**-24, 2.0**-11)),
        ("float32", {"input": "tf32"}, (2.0**-11, 2.0**-24, 0.0)),
        ("float64", {"accumulator": "float32"}, (0.0, 2.0**-24, 0.0)),
    ],
)
def test_only_what_is_narrower_than_what_comes_before_it_is_rounded(dtype, declared, expected):
    assert as_arithmetic(dtype, declared).unit_roundoffs == expected


def test_the_bound_is_zero_where_every_product_is():
    """Zeros are added without rounding: the gradient of a pixel that no window reads is 0, not nearly so."""
    case = ConvCase(1, 2, 2, 1, (5, 5), (1, 1), stride=(2, 2))
    bound = rounding_bound(ExactResult("dx", case, case.operands("float32", real=True)), as_arithmetic("float32"))
    assert (bound[:, :, 1::2] == 0).all() and (bound[:, :, ::2, ::2] > 0).all()


def test_the_definition_in_floats_stays_within_the_bound_of_the_oracle():
    def backward(grad, x, weight, **window):
        dx = reference.conv2d_input_grad(grad, x.shape, weight, **window)
        return dx, reference.conv2d_weight_grad(grad, x, weight.shape, **window), reference.conv2d_bias_grad(grad)

    for dtype in ("float32", "float64"):
        runner = Runner(Subject(reference.conv2d, backward, as_arithmetic(dtype)))
        for case in drawn(40):
            runner.try_case(case)
        assert not [key for key, row in runner.report.checks.items() if row.failed]
        assert 0.1 < runner.report.checks["dx", "bounded"].worst <= 1


def judged(forward, backward, algorithm, cases):
    runner = Runner(Subject(forward, backward, as_arithmetic("float32"), algorithm))
    for case in cases:
        runner.try_case(case)
    return runner.report.checks


THREE_BY_THREE = [
    keep_supported(replace(case, kernel=(3, 3), stride=(1, 1), dilation=(1, 1))) for case in drawn(60)
] + [
    LARGE_CASE,
    ConvCase(2, 8, 8, 2, (12, 12), (3, 3), padding=((1, 1), (1, 1))),
]
ANY = [*drawn(80), LARGE_CASE]


def of_both(convolve):
    return convolve, transforms.gradients(convolve)


@pytest.mark.parametrize(
    ("algorithm", "convolve", "cases"),
    [("winograd", transforms.winograd, THREE_BY_THREE), ("fft", transforms.fourier, ANY)],
    ids=["winograd", "fft"],
)
def test_the_normwise_bound_holds_a_right_transform(algorithm, convolve, cases):
    rows = judged(*of_both(convolve), algorithm, cases)
    assert not [key for key, row in rows.items() if row.failed]
    assert 1e-6 < rows["y", "normwise"].worst < 1, "it rounds, and within the bound"


def test_a_transform_that_calls_itself_direct_is_found():
    rows = judged(*of_both(transforms.fourier), "direct", ANY)
    assert rows["y", "bounded"].failed and rows["y", "exact"].failed
    with np.errstate(all="ignore"):
        report = check_conv(transforms.fourier, cases=0, supports={"layouts": False})
    assert {"y", "linear in x"} <= {finding.property for finding in report.failures}
    for finding in report.failures:
        assert finding.diagnosis == 'not explained by rounding, unless it is a transform: algorithm="winograd" or "fft"'


@pytest.mark.parametrize(
    ("algorithm", "convolve", "cases"),
    [
        ("winograd", partial(transforms.winograd, out=abs(transforms.A)), THREE_BY_THREE),
        ("fft", partial(transforms.fourier, conjugate=lambda spectrum: spectrum), ANY),
    ],
    ids=["winograd", "fft"],
)
def test_the_normwise_bound_catches_a_wrong_transform(algorithm, convolve, cases):
    rows = judged(*of_both(convolve), algorithm, cases)
    assert rows["y", "normwise"].failed and rows["dx", "normwise"].failed


@pytest.mark.parametrize(("name", "summed"), [("y", 4), ("dx", 4), ("dw", 2 * 10 * 10)])
def test_the_winograd_bound_sums_channels_for_y_and_dx_and_tiles_for_dw(name, summed):
    case = ConvCase(2, 8, 8, 2, (12, 12), (3, 3))
    exact = ExactResult(name, case, case.operands("float32", real=True))
    largest = abs(exact.left).max() * abs(exact.right).max()
    expected = gamma(summed + 40, 2.0**-24) * summed * 54**2 * largest
    assert winograd_bound(exact, as_arithmetic("float32")) == pytest.approx(expected)


def factor(outputs, taps, points):
    """max_k Σ_j |Aᵀ_kj|·Σ_i|G_ji|·Σ_i|Bᵀ_ji| of F(outputs, taps) on these points and infinity (Toom and Cook)."""
    sums = np.zeros((outputs, len(points) + 1))
    for j, point in enumerate(points):
        others = [other for other in points if other != point]
        kernel = sum(abs(point) ** i for i in range(taps)) / abs(np.prod([point - other for other in others]))
        image = abs(np.polynomial.polynomial.polyfromroots(others)).sum()
        sums[:, j] = [abs(point) ** k * kernel * image for k in range(outputs)]
    sums[-1, -1] = abs(np.polynomial.polynomial.polyfromroots(points)).sum()
    return sums.sum(axis=1).max()


def test_the_factor_of_the_winograd_bound_covers_its_transforms():
    of_the_test = abs(transforms.A) * abs(transforms.G).sum(1) * abs(transforms.B).sum(1)
    assert factor(2, 3, [0, 1, -1]) == of_the_test.sum(1).max() == 8
    assert factor(4, 3, [0, 1, -1, 2, -2]) == pytest.approx(48)
    assert factor(3, 4, [0, 1, -1, 2, -2]) == pytest.approx(53 + 1 / 3)  # its adjoint, for dw
    assert max(factor(3, 2, [0, 1, -1]), factor(3, 3, [0, 1, -1, 2])) < 48

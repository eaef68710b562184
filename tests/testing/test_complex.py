"""Complex convolutions are judged on integers with two parts, and mistakes with the conjugate are named."""

import json
import random
import warnings

import numpy as np
import pytest

import npresnext as nx
from npresnext import reference
from npresnext.testing import ConvCase, adapters, check_conv, mistakes
from npresnext.testing.arrays_as_text import Plane
from npresnext.testing.drawn_cases import draw_case
from npresnext.testing.explanation import explain_failures
from npresnext.testing.oracle import ExactResult
from npresnext.testing.preparation import make_runner
from npresnext.testing.report_as_html import real_parts, write_html

from tests.support.mutants import kernels


def test_operands_have_two_parts_and_the_oracle_conjugates_as_the_definition_does():
    rng = random.Random(4)
    for case in [draw_case(rng.randint) for _ in range(60)]:
        operands = case.operands("complex64")
        x, weight, bias, grad = (operands[name] for name in ("x", "weight", "bias", "grad_output"))
        right = {
            "y": reference.conv2d(x, weight, bias, **case.kwargs),
            "dx": reference.conv2d_input_grad(grad, case.x_shape, weight, **case.kwargs),
            "dw": reference.conv2d_weight_grad(grad, x, case.weight_shape, **case.kwargs),
            "db": reference.conv2d_bias_grad(grad),
        }
        call = mistakes.as_call(operands, case.kwargs)
        for name, expected in right.items():
            assert np.array_equal(ExactResult(name, case, operands).high, expected), (name, case)
            assert np.array_equal(call.result(name), expected), (name, case)
    values = ConvCase(2, 3, size=(5, 5), span=4, seed=1).x("complex128")
    assert values.dtype == "complex128" and abs(np.corrcoef(values.real.ravel(), values.imag.ravel())[0, 1]) < 0.3
    assert set(values.real.ravel()) == set(values.imag.ravel()) == set(range(-4, 5))
    with pytest.raises(ValueError, match="real=True needs a real dtype"):
        ConvCase().x("complex64", real=True)


def test_a_page_shows_the_real_parts_and_then_the_imaginary_parts():
    parts = real_parts(Plane("y", np.array([[1 + 2j, 3 + 4j]]), np.array([[5 + 6j, 7 + 8j]])))
    assert [(part.got.tolist(), part.expected.tolist()) for part in parts] == [
        ([[1, 3]], [[5, 7]]),
        ([[2, 4]], [[6, 8]]),
    ]


def test_a_right_convolution_passes_and_a_transform_is_refused():
    assert check_conv(nx.conv2d, nx.conv2d_backward, dtype="complex128", cases=0, budget=1).passed
    with pytest.raises(ValueError, match="fft has no bound for complex64"):
        check_conv(nx.conv2d, dtype="complex64", algorithm="fft")


@pytest.mark.oracle
def test_pytorch_takes_complex_gradients_so():
    pytest.importorskip("torch")
    target = adapters.load("torch")
    supports = {**target.supports, "zero_channels": False}  # pytorch#56998
    runner = make_runner(target.forward, target.backward, dtype="complex64", supports=supports)
    for case in list(runner.cases(20, seed=1))[:30]:
        runner.try_case(case)
    assert runner.report.passed, str(runner.report)


def test_every_mistake_of_the_catalogue_computes_with_complex_numbers():
    case = ConvCase(2, 4, 6, 2, (5, 6), (2, 3), (2, 1), ((1, 0), (2, 1)), (1, 2), has_bias=True, seed=2)
    call = mistakes.as_call(case.operands("complex64"), case.kwargs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a cast to a real dtype warns
        for mistake in (*mistakes.MISTAKES, *mistakes.COMPLEX):
            for name in mistake.results:
                assert mistake.result(name, call).dtype in ("complex128", "float64"), (mistake.name, name)


@pytest.mark.parametrize(
    "name", [*(mistake.name for mistake in mistakes.COMPLEX), "ignores the dilation", "averages over the batch"]
)
def test_a_mistake_is_named_as_itself(name):
    runner = make_runner(*kernels(name), dtype="complex64")
    with np.errstate(all="ignore"):
        for case in list(runner.cases(15, seed=1))[:20]:
            runner.try_case(case)
        explain_failures(runner)
    report = runner.report
    assert report.mistakes == [name]
    assert {finding.result for finding in report.failures} == set(mistakes.find(name).results)
    assert json.dumps(report.to_dict()) and "<svg" in write_html(report)
    exec(report.failures[-1].reproduction.split("assert")[0], dict(zip(("forward", "backward"), kernels(name))))


def test_what_changes_nothing_in_real_numbers_is_no_mistake_there():
    call = mistakes.as_call(ConvCase(2, 4, 4, 2, has_bias=True).operands(), ConvCase(groups=2).kwargs)
    for mistake in mistakes.COMPLEX:
        assert all(np.array_equal(mistake.result(name, call), call.result(name)) for name in mistake.results)

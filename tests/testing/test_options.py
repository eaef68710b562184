"""Layers of one's own, known failures, a budget of seconds, one case alone, and the formats of the report."""

import time
from xml.etree import ElementTree

import numpy as np
import pytest

import npresnext as nx
from npresnext.testing import ConvCase, Report, check_conv
from npresnext.testing.arithmetic import as_arithmetic
from npresnext.testing.baseline import read_baseline
from npresnext.testing.parameters import accepted_window, check_parameters
from npresnext.testing.report_as_annotations import write_annotations
from npresnext.testing.report_as_html import write_html

STEM = {"name": "stem", "x": (2, 3, 9, 9), "weight": (8, 3, 7, 7), "stride": 2, "padding": 3, "bias": True}


def wrong_for_large_kernels(x, weight, bias, **window):
    return nx.conv2d(x, weight, bias, **window) + (weight.shape[2:] == (7, 7) and x.shape[1] == 3)


def wrong_without_channels(x, weight, bias, **window):
    return nx.conv2d(x, weight, bias, **window) + (x.shape[1] == 0)


def test_the_authors_own_layers_are_tried_first_and_named():
    report = check_conv(wrong_for_large_kernels, cases=0, cases_from=[STEM, ConvCase(kernel=(2, 2))])
    assert not report.passed and "first in case 1 (stem)" in str(report)
    assert [report.where(number) for number in (1, 2, 3)] == ["case 1 (stem)", "case 2 (layer 2)", "case 3"]
    grouped = check_conv(nx.conv2d, cases=0, cases_from=[{"x": (1, 8, 5, 5), "weight": (8, 2, 3, 3)}])
    assert grouped.passed and grouped.layers == ["layer 1"]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([3], "cases_from, layer 1: a layer must be a mapping or a ConvCase"),
        ([{"x": (1, 2, 3, 3)}], "expected the shapes of x and weight"),
        ([STEM, STEM], "two layers of the name 'stem'"),
        ([{**STEM, "strides": 2}], "cases_from, stem: unknown keys strides"),
        ([{**STEM, "groups": 2}], "cases_from, stem: "),
        ([{**STEM, "x": (1, 3, 9)}], "cases_from, stem: x has shape"),
    ],
)
def test_a_layer_that_is_none_is_refused_by_name(layers, message):
    with pytest.raises((ValueError, TypeError), match=message):
        check_conv(nx.conv2d, cases_from=layers)


def test_known_failures_fail_nothing_and_those_that_hold_are_listed():
    known = check_conv(wrong_without_channels, cases=10, xfail={"zero_channels": "issue 7", "empty_batch": "issue 8"})
    assert known.passed and known.checks["y", "exact"].tried < known.cases
    assert "known: zero_channels (issue 7) fails in " in str(known)
    assert "known: empty_batch (issue 8) was expected to fail, but holds in " in str(known)
    assert not check_conv(wrong_without_channels, cases=10).passed


def test_a_known_failure_does_not_stand_for_a_new_one():
    def forward(x, weight, bias, **window):
        return wrong_without_channels(x, weight, bias, **window) + (window["groups"] > 1)

    report = check_conv(forward, cases=10, xfail={"zero_channels": "issue 7"})
    assert not report.passed and all(finding.case.in_channels for finding in report.failures)


def test_a_check_may_be_known_to_fail():
    expected = {"y (exact)": "", "y (bounded)": "", "linear in x (exact)": "", "linear in weight (exact)": ""}
    report = check_conv(wrong_without_channels, cases=10, supports={"groups": False}, xfail=expected)
    assert report.passed and "known: y (exact) () fails in " in str(report)


def test_a_baseline_is_an_object_in_a_file(tmp_path):
    path = tmp_path / "known.json"
    path.write_text('{"zero_channels": "pytorch#56998"}')
    assert read_baseline(str(path)) == {"zero_channels": "pytorch#56998"}
    for text, message in (("[]", "no JSON object"), ("{", "no JSON file|not a JSON"), ('{"speed": ""}', "unknown key")):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_baseline(str(path))


def test_a_budget_ends_the_check_with_what_was_tried():
    def slow(x, weight, bias, **window):
        time.sleep(0.02)
        return nx.conv2d(x, weight, bias, **window)

    start = time.monotonic()
    report = check_conv(slow, budget=1)
    assert report.passed and 0 < report.cases < 150 and time.monotonic() - start < 10
    assert any(line.startswith(f"every case after {report.cases}") for line in report.left_out)
    with pytest.raises(ValueError, match="budget must be above 0"):
        check_conv(slow, budget=0)


def test_one_case_alone_by_its_line():
    report = check_conv(wrong_for_large_kernels, cases_from=[STEM], cases=0)
    line = next(line for line in str(report).splitlines() if line.startswith("   case: "))
    again = check_conv(wrong_for_large_kernels, only=line.removeprefix("   case: "))
    assert not again.passed and again.cases == 1
    assert again.failures[0].got == report.failures[0].got


def test_the_page_shows_three_pictures_and_is_valid():
    page = write_html(check_conv(wrong_for_large_kernels, cases=0, cases_from=[STEM]))
    for caption in ("got", "expected", "got - expected"):
        assert f"<figcaption>{caption}</figcaption><svg" in page
    for picture in page.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + picture.partition("</svg>")[0] + "</svg>")
    assert "prefers-color-scheme: dark" in page and "http" not in page
    assert "Every check passes" in write_html(check_conv(nx.conv2d, cases=0))


def wrong_for_nine_filters(x, weight, bias, **window):
    return nx.conv2d(x, weight, bias, **window) + (len(weight) > 8)


def test_of_many_differences_some_are_shown_and_the_others_counted():
    report = check_conv(wrong_for_nine_filters, only=ConvCase(out_channels=9), supports={"dilation": False})
    assert report.failures[0].case.out_channels == 9
    assert {"     3 more of such differences", "left out: dilation"} <= set(str(report).splitlines())
    assert "<p>3 more planes differ.</p>" in write_html(report)


def test_an_advisory_is_an_annotation_too():
    report = Report(as_arithmetic("float32"), advisories=["a second call changes y"])
    assert list(write_annotations(report)) == ["::notice title=npresnext%3A advisory::a second call changes y"]


def test_a_function_in_c_whose_parameters_cannot_be_read_gets_every_argument():
    assert accepted_window(type) == ("stride", "padding", "dilation", "groups")
    check_parameters("forward", type, ("x", "weight", "bias"), ("y",))


def test_annotations_are_one_line_each():
    report = check_conv(wrong_without_channels, cases=5, xfail={"empty_batch": "issue 8"})
    errors, notice = list(write_annotations(report))
    assert errors.startswith("::error title=npresnext%3A y is wrong in ") and "%0A" in errors and "\n" not in errors
    assert notice.startswith("::notice title=npresnext%3A known failure::known: empty_batch")


def test_arrays_of_a_finding_are_those_of_its_case():
    finding = check_conv(wrong_for_large_kernels, cases=0, cases_from=[STEM]).failures[0]
    got, expected = finding.arrays
    assert got.shape == expected.shape == finding.case.output_shape
    assert np.array_equal(got[finding.index], finding.got) and expected[finding.index] == finding.expected

"""The arithmetic of docs/explorer, in JavaScript, against reference.py and the catalogue of mistakes: exactly equal."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
from functools import cache

import numpy as np
import pytest

import npresnext as nx
from npresnext import reference
from npresnext.testing import mistakes

from tests.support.paths import ROOT, SCRIPTS

EXPLORER = ROOT / "docs" / "explorer"
CATALOGUE = SCRIPTS / "make_explorer_catalogue.py"
PICTURE = SCRIPTS / "make_explorer_picture.py"
CASES = 360
CASES_WITH_MISTAKES = 10  # each is compared for every mistake of the page


@cache
def script(path):
    """The module of a script."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def catalogue():
    return script(CATALOGUE)


@cache
def entries_of_the_package():
    return catalogue().entries()


def tensor(array):
    """An array without its batch axis, as the page writes tensors; NaN becomes null."""
    flat = [None if value != value else value for value in array[0].ravel().tolist()]
    return {"shape": list(array.shape[1:]), "data": flat}


def draw(rng):
    """A call of random integers; a third of all cases are dense, grouped and depthwise each."""
    groups = int(rng.choice([1, 1, 2, 3, 4]))
    ins, outs = groups * int(rng.integers(1, 4)), groups * int(rng.integers(1, 4))
    if rng.random() < 0.25:
        ins = groups
    size, kernel = rng.integers(1, 8, 2), rng.integers(1, 4, 2)
    stride, dilation = rng.integers(1, 4, 2), rng.integers(1, 3, 2)
    padding = rng.integers(-1, 4, (2, 2))
    x_shape, weight_shape = (1, ins, *size), (outs, ins // groups, *kernel)
    window = {
        "stride": tuple(map(int, stride)),
        "padding": tuple((int(before), int(after)) for before, after in padding),
        "dilation": tuple(map(int, dilation)),
    }
    y_shape = reference.output_shape(x_shape, weight_shape, **window)
    x, weight, grad_output = (rng.integers(-9, 10, shape) for shape in (x_shape, weight_shape, y_shape))
    return mistakes.Call(x, weight, None, grad_output, groups=groups, **window)


def case(number, call, names):
    window = {"stride": call.stride, "padding": call.padding, "dilation": call.dilation}
    every = {**window, "groups": call.groups}
    x, weight, grad_output = call.x, call.weight, call.grad_output
    kernel = weight.shape[2:]
    y = reference.conv2d(x, weight, **every)
    positions = np.prod(y.shape[2:])
    shape = 1, x.shape[1] * np.prod(kernel), positions  # (N, C_in·kh·kw, oh·ow)
    spread = np.random.default_rng(number).integers(-9, 10, shape).astype(np.float64)
    if positions:
        columns = nx.im2col(x.astype(np.float64), kernel, **window)
        image, ones = (nx.col2im(each, x.shape, kernel, **window) for each in (spread, np.ones(shape)))
    else:  # im2col refuses a kernel that does not fit
        columns, image, ones = np.zeros(shape), np.zeros(x.shape), np.zeros(x.shape)
    return {
        "name": f"case {number}: x {x.shape}, weight {weight.shape}, {every}",
        "call": {
            "x": tensor(x),
            "weight": tensor(weight[None]),
            "gradOutput": tensor(grad_output),
            **every,
        },
        "expected": {
            "y": tensor(y),
            "dx": tensor(reference.conv2d_input_grad(grad_output, x.shape, weight, **every)),
            "dw": tensor(reference.conv2d_weight_grad(grad_output, x, weight.shape, **every)[None]),
            "columns": tensor(columns),
            "spread": tensor(spread),
            "image": tensor(image),
            "cover": tensor(ones[:, 0]),
            "inner": int((grad_output * y).sum()),
            "counts": {"weights": weight.size, "macs": weight.size * y.shape[2] * y.shape[3]},
        },
        "mistakes": [
            [name, result, tensor(wrong[None] if result == "dw" else wrong)]
            for name, results in names
            for result in results
            for wrong in [mistakes.find(name).result(result, call)]
        ],
    }


@pytest.fixture(scope="module")
def node():
    found = shutil.which("node")
    if not found:
        pytest.skip("node is not installed")
    return found


def test_conv_js_equals_the_reference_and_mistakes_js_the_catalogue(node, tmp_path):
    rng = np.random.default_rng(18)
    entries = entries_of_the_package()
    names = [(entry["name"], entry["results"]) for entry in entries]
    calls = [draw(rng) for _ in range(CASES)]
    # Mistakes are compared where there is something to compare, and at the settings of the page's catalogue.
    chosen = [call for call in calls if call.grad_output.size and min(call.x.shape[2:]) > 2][:CASES_WITH_MISTAKES]
    chosen += [catalogue().call(settings, seed) for seed, settings in enumerate(catalogue().SETTINGS)]
    cases = [case(number, call, []) for number, call in enumerate(calls)]
    cases += [case(CASES + number, call, names) for number, call in enumerate(chosen)]
    path = tmp_path / "cases.json"
    path.write_text(json.dumps({"cases": cases, "entries": entries}, allow_nan=False), encoding="utf-8")
    done = subprocess.run(
        [node, "--test", str(ROOT / "tests" / "explorer" / "arithmetic.test.js")],
        env={**os.environ, "EXPLORER_CASES": str(path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert re.search(r"^# pass 9$", done.stdout, re.MULTILINE), done.stdout[-2000:]


def test_the_catalogue_of_the_page_is_that_of_the_package():
    assert (EXPLORER / "catalogue.js").read_text(encoding="utf-8") == catalogue().text()


def test_more_than_a_hundred_mistakes_can_be_shown_with_the_question_and_the_sentence_of_the_package():
    entries = entries_of_the_package()
    assert len(entries) > 100
    for entry in entries:
        mistake = mistakes.find(entry["name"])
        assert (entry["question"], entry["explanation"]) == (mistake.question, mistake.explanation)
        assert entry["results"] and set(entry["results"]) <= set(mistake.results)


def test_the_page_is_small_and_asks_for_no_file_but_its_own():
    files = list(EXPLORER.iterdir())
    assert sum(path.stat().st_size for path in files) < 150_000
    page = (EXPLORER / "index.html").read_text(encoding="utf-8")
    named = set(re.findall(r'(?:src|href)="([^"]+)"', page)) - {"data:,"}
    assert named == {path.name for path in files} - {"index.html"}
    assert not re.search(r"\b(?:fetch|import|XMLHttpRequest)\b\s*\(|type=.module", page)


def test_the_picture_shows_what_the_reference_computes():
    picture = script(PICTURE)
    assert (EXPLORER / "still.svg").read_text(encoding="utf-8") == picture.text()

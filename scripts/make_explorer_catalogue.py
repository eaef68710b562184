"""Write docs/explorer/catalogue.js: the mistakes that the explorer can show, from npresnext.testing.mistakes.

The explorer shows one image, few channels and no bias. A mistake is listed with a result (y, dx, dw) if the result is
wrong, and not merely zero, at one of the SETTINGS. A mistake is left out if it gives the same results as an earlier one
at all of the SETTINGS.
"""

import argparse
import json
import re
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np

from npresnext.reference import output_shape
from npresnext.testing import mistakes
from npresnext.testing.mistakes.channel_mistakes import CHANNEL
from npresnext.testing.mistakes.gradient_mistakes import GRADIENT
from npresnext.testing.mistakes.result_mistakes import RESULT
from npresnext.testing.mistakes.window_mistakes import WINDOW

FILE = Path(__file__).parent.parent / "docs" / "explorer" / "catalogue.js"
BODY = """/* The mistakes of npresnext.testing.mistakes that this page can show: generated, do not edit.
 * python scripts/make_explorer_catalogue.py writes this file. `at` gives settings at which the mistake shows. */
(function (root) {{
"use strict";
const topics = {topics};
const sentences = [
{sentences}];
const rows = [
{rows}];
const joined = (numbers) => [numbers].flat().map((number) => sentences[number]).join(" ");
root.CATALOGUE = rows.map(([name, results, topic, question, explanation, at = ""]) => ({{
  name,
  results: results.split(" "),
  topic: topics[topic],
  at,
  question: joined(question),
  explanation: joined(explanation),
}}));
if (typeof module !== "undefined") module.exports = root.CATALOGUE;
}})(globalThis);
"""
TOPICS = (
    ("weight, channels and groups", CHANNEL),
    ("window, padding and output size", WINDOW),
    ("result", RESULT),
    ("gradients", GRADIENT),
)
RESULTS = ("y", "dx", "dw")
BATCH = 1

# Settings of the page, as in its address; what is not named is as in DEFAULTS. Simple settings come first.
DEFAULTS = "ci=4&co=4&g=2&n=5x5&k=3x3&s=1x1&p=1,1,1,1&d=1x1"
SETTINGS = (
    "",
    "s=2x2",
    "d=2x2",
    "ci=6&co=6&g=3",
    "co=8&g=4",
    "k=1x3",
    "k=2x3",
    "s=1x2",
    "s=2x1",
    "d=1x2",
    "d=2x1",
    "p=1,1,0,0",
    "p=0,0,1,1",
    "p=1,0,1,0",
    "p=0,1,0,1",
    "p=-1,-1,-1,-1",
    "n=6x6&s=2x2",
    "k=1x1&p=0,0,0,0&s=2x2",
    "k=2x2&p=0,0,0,0&s=2x2",
    "p=2,2,2,2&d=2x2",
    "ci=6&co=6&g=1",
    "ci=3&co=3&g=1",
    "n=6x5&p=2,1,0,1&s=2x1&d=1x2",
    "n=3x3&p=2,2,2,2&d=2x2&s=3x3",
)


def numbers(text, separator):
    return tuple(int(number) for number in text.split(separator))


def call(settings, seed):
    """A call of random integers at these settings."""
    chosen = {name: values[-1] for name, values in parse_qs(f"{DEFAULTS}&{settings}").items()}
    in_channels, out_channels, groups = (int(chosen[name]) for name in ("ci", "co", "g"))
    size, kernel, stride, dilation = (numbers(chosen[name], "x") for name in ("n", "k", "s", "d"))
    top, bottom, left, right = numbers(chosen["p"], ",")
    padding = (top, bottom), (left, right)
    x_shape = BATCH, in_channels, *size
    weight_shape = out_channels, in_channels // groups, *kernel
    rng = np.random.default_rng(seed)
    x, weight, grad_output = (
        rng.integers(-5, 6, shape)
        for shape in (x_shape, weight_shape, output_shape(x_shape, weight_shape, stride, padding, dilation))
    )
    return mistakes.Call(x, weight, None, grad_output, stride, padding, dilation, groups)


def results_of(mistake, calls):
    """The wrong results by name, those that differ from the right one at some settings; and the first such settings."""
    wrong, at = {}, None
    for name in (name for name in mistake.results if name in RESULTS):
        results = [mistake.result(name, each) for each in calls]
        differs = [
            result.ndim == 4 and result.any() and not np.array_equal(result, each.result(name))
            for result, each in zip(results, calls)
        ]
        if any(differs):
            wrong[name] = results
            at = differs.index(True) if at is None else min(at, differs.index(True))
    return wrong, at


def same(one, other):
    return one.keys() == other.keys() and all(
        np.array_equal(a, b, equal_nan=True) for name in one for a, b in zip(one[name], other[name])
    )


def entries():
    calls = [call(settings, seed) for seed, settings in enumerate(SETTINGS)]
    found, listed = [], []
    for topic, catalogue in TOPICS:
        for mistake in catalogue:
            wrong, at = results_of(mistake, calls)
            if wrong and not any(same(wrong, earlier) for earlier in found):
                found.append(wrong)
                listed.append(
                    {
                        "name": mistake.name,
                        "results": list(wrong),
                        "topic": topic,
                        "at": SETTINGS[at],
                        "question": mistake.question,
                        "explanation": mistake.explanation,
                    }
                )
    return listed


def split(text):
    """The sentences of a text; joined by single spaces they are the text."""
    return re.split(r"(?<=[.?]) ", text)


def text():
    """The file: one row per mistake, with numbers for its topic and for the sentences, which many of them share."""
    listed = entries()
    topics = [topic for topic, _ in TOPICS]
    texts = [entry[key] for entry in listed for key in ("question", "explanation")]
    sentences = list(dict.fromkeys(sentence for each in texts for sentence in split(each)))

    def numbers_of(text):
        """The number of the sentence, or a list of several."""
        found = [sentences.index(sentence) for sentence in split(text)]
        return found if len(found) > 1 else found[0]

    rows = [
        [
            entry["name"],
            " ".join(entry["results"]),
            topics.index(entry["topic"]),
            numbers_of(entry["question"]),
            numbers_of(entry["explanation"]),
            *([entry["at"]] if entry["at"] else []),
        ]
        for entry in listed
    ]
    lines = "".join(f"{json.dumps(row, ensure_ascii=False, separators=(',', ':'))},\n" for row in rows)
    return BODY.format(
        topics=json.dumps(topics, ensure_ascii=False),
        sentences="".join(f"{json.dumps(sentence, ensure_ascii=False)},\n" for sentence in sentences),
        rows=lines,
    )


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    FILE.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()

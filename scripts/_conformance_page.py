"""The page of the conformance table, written from its JSON file and from what is known of each fault."""

import json
import re
from pathlib import Path

NOTES = Path(__file__).parent / "conformance_notes.json"
RESULTS = ("y", "dx", "dw", "db")
ROLES = {"y": "forward", "dx": "backward", "dw": "backward", "db": "backward"}
ORDER = ("exact", "bound", "refuses", "outside", "crashes")
# Column -> the feature by which a report counts its cases, and the edge that its command tries, if it is one.
FEATURES = {
    "1 < G < C": ("groups: 1 < G < C", ""),
    "depthwise": ("groups: depthwise", ""),
    "stride with dilation": ("stride with dilation", ""),
    "asymmetric padding": ("padding: asymmetric", ""),
    "empty batch": ("empty batch", "empty_batch"),
    "zero channels": ("C_in = 0", "zero_channels"),
    "windows of padding alone": ("padding: wide", "wide_padding"),
}
# Name before a thread's number -> the repository on GitHub that has the thread.
REPOSITORIES = {
    "chainer": "chainer/chainer",
    "jax": "jax-ml/jax",
    "mlx": "ml-explore/mlx",
    "ncnn": "Tencent/ncnn",
    "numpy": "numpy/numpy",
    "oneDNN": "uxlfoundation/oneDNN",
    "openvino": "openvinotoolkit/openvino",
    "Paddle": "PaddlePaddle/Paddle",
    "pytorch": "pytorch/pytorch",
    "tensorflow": "tensorflow/tensorflow",
    "torch-to-nnef": "sonos/torch-to-nnef",
    "tvm": "apache/tvm",
}
LONGEST = 2500  # characters of a reproduction on the page
COMMON = ("common", "")
COLUMNS = {COMMON, *FEATURES.values()}
HEAD = """# Frameworks, checked

What the conformance kit of [verify.md](verify.md) finds in the convolutions of other libraries. A row is a framework,
each run in an environment of its own. The file `conformance.json` beside this page has every count.
Both are written by `scripts/conformance_table.py`, not by hand.

| cell | meaning |
|---|---|
| exact | on integers every value equals the definition, and on real numbers the error is within the proven bound |
| bound | within the proven bound of a transform, which is not exact on integers |
| outside | at least one value, shape or dtype is wrong; the link leads to the smallest case |
| refuses | an error is raised in the number of cases given, and all others are right |
| crashes | the process ended during a call |
| no end | no report before the time limit |
| - | not claimed: the framework, or the adapter, does not offer it. This is not a pass. |

In float16 and bfloat16 the sums are expected in float32. A framework that adds in 16 bits is outside, and the diagnosis
says so ("float16 accumulator", "results rounded to bfloat16"): that is a choice of precision, not a wrong formula.

The columns y, dx, dw and db cover the common cases: every case without one of the three edges on the right (an empty
batch, no input channels, windows of padding alone). The other columns cover the cases with that feature, and name a
result only where results differ. "exact" and "bound" say that no case *tried* shows a fault. The column "cases" has the
number of common cases; frameworks that compile each shape are tried in fewer, since every command has the same time.
"""


def page(table):
    """Return the page as text."""
    notes = json.loads(NOTES.read_text(encoding="utf-8"))
    faults = number(table)
    parts = [HEAD, versions(table)]
    for dtype in ("float32", "float64", "float16", "bfloat16"):
        parts.append(section(table, dtype, faults))
    parts += [list_faults(table, faults, notes), list_refusals(table), list_absent(table), list_commands(table)]
    return "\n".join(part for part in parts if part)


def versions(table):
    """The frameworks with what ran."""
    rows = ["## What ran", "", "| row | what ran | Python | NumPy | seed | date |", "|---|---|---|---|---|---|"]
    for label, row in sorted(table["rows"].items()):
        ran = next((command["ran"] for command in row["commands"] if command.get("ran")), row["ran"])
        told = (label, ran, row["python"], row["numpy"], row["seed"], row["date"])
        rows.append(f"| {' | '.join(map(str, told))} |")
    return "\n".join([*rows, ""])


def section(table, dtype, faults):
    """The table of one dtype."""
    lines = [f"## {dtype}", "", f"| framework | cases | {' | '.join([*RESULTS, *FEATURES])} |", "|---" * 13 + "|"]
    for label, row in sorted(table["rows"].items()):
        if not any(command["dtype"] == dtype for command in row["commands"]):
            continue
        cells = [cell(row, label, dtype, COMMON, (result,), faults) for result in RESULTS]
        cells += [cell(row, label, dtype, place, RESULTS, faults) for place in FEATURES.values()]
        cases = next(one["cases"] for one in row["commands"] if (one["dtype"], one["edge"]) == (dtype, ""))
        lines.append(f"| {label} | {cases} | {' | '.join(cells)} |")
    lines = lines if len(lines) > 4 else lines[:1]
    others = sorted(label for label, row in table["rows"].items() if dtype not in row["dtypes"])
    if others:
        lines += ["", f"Not claimed in {dtype}: {', '.join(others)}."]
    unasked = sorted(
        label for label, row in table["rows"].items() if dtype in row["dtypes"] and dtype not in row["asked"]
    )
    if unasked:
        lines += ["", f"Claimed but not run in {dtype}: {', '.join(unasked)}."]
    return "\n".join([*lines, ""])


def cell(row, label, dtype, place, results, faults):
    """One cell; several results that agree are named by one word."""
    feature, edge = place
    command = next((one for one in row["commands"] if (one["dtype"], one["edge"]) == (dtype, edge)), None)
    if command is None:
        return "-"
    if stopped := how_it_stopped(command, label, faults):
        return stopped
    offered = [result for result in results if ROLES[result] in row["directions"]]
    groups = {}
    for result in offered:
        groups.setdefault(word(command, label, feature, result, faults), []).append(result)
    if len(groups) <= 1:
        return next(iter(groups), "-")
    return "; ".join(f"{', '.join(names)} {text}" for text, names in groups.items())


def how_it_stopped(command, label, faults):
    """Return what a whole command came to if it did not reach its cases, or its end; "" if it did."""
    if command["verdict"].startswith(("no end", "no report")):
        return "no end" if command["verdict"].startswith("no end") else "crashes"
    for note in command["found"]:
        if note["check"].startswith("returns at all") and note["message"].startswith("no end"):
            return "no end"
        if note["check"].startswith("returns at all") and not note["role"]:
            return f"[crashes](#{faults[label, key(note)]})"
    return ""


def word(command, label, feature, result, faults):
    """What became of one result in the cases with a feature."""
    counts = {outcome: count for where, of, outcome, count in command["outcomes"] if (where, of) == (feature, result)}
    if not counts:
        return "-"
    worst = max(counts, key=ORDER.index)
    if worst == "refuses":
        total = sum(counts.values())
        return "refuses" if counts[worst] == total else f"refuses {counts[worst]} of {total}"
    if worst in ("outside", "crashes"):
        found = [note for note in command["found"] if is_about(note, worst, result)]
        if found and found[0]["disputed"]:
            return "disputed"
        return f"[{worst}](#{faults[label, key(found[0])]})" if found else worst
    return worst


def is_about(note, outcome, result):
    """Whether a fault is one of a result, or of the direction that computes it."""
    if outcome == "crashes":
        return note["check"].startswith("returns at all") and note["role"] in ("", ROLES[result])
    return note["result"] == result and not note["check"].startswith("returns")


def key(note):
    """What two findings of one fault have in common."""
    return note["title"], note["mistake"] or note["diagnosis"] or note["conditions"]


def number(table):
    """Return a name for each fault of each row: (label, key) -> anchor."""
    faults = {}
    for label, row in sorted(table["rows"].items()):
        for command in row["commands"]:
            for note in command["found"]:
                if is_refusal(note) or (label, key(note)) in faults:
                    continue
                count = sum(1 for other, _ in faults if other == label)
                faults[label, key(note)] = f"{re.sub('[^a-z0-9-]', '-', label.lower())}-{count + 1}"
    return faults


def is_refusal(note):
    """Whether a fault is an error raised in a valid case."""
    return note["check"].startswith("returns (")


def list_faults(table, faults, notes):
    """Each fault with its smallest case, the oracles, and what is known of it."""
    lines = ["## Wrong values and crashes", ""]
    lines += [
        'Every fault is listed with its smallest case. "by hand" is a case to check with pencil and paper. "upstream"',
        "is the thread of the framework's project, if one was found.",
        "",
        "Each wrong value was computed by SciPy and by PyTorch in float64 too; both agree with the definition. Without",
        "input channels PyTorch is no oracle (pytorch#56998); there every sum is empty, and y is the bias alone.",
    ]
    for (label, of), name in faults.items():
        shown = [note for command in table["rows"][label]["commands"] for note in command["found"] if key(note) == of]
        if shown[0]["disputed"]:
            continue
        lines += ["", *describe(label, name, shown, notes)]
    return "\n".join([*lines, ""])


def describe(label, name, shown, notes):
    """The section of one fault."""
    first = shown[0]
    lines = [f"### {name}", "", f"{label}: {first['title']}."]
    places = [f"{one['dtype']}{', ' + FEATURE_OF_EDGE[one['edge']] if one['edge'] else ''}" for one in shown]
    counts = [f"{place} ({one['failed']} of {one['tried']})" for place, one in zip(places, shown)]
    facts = {
        "in": "; ".join(dict.fromkeys(counts)),
        "mistake": first["evidence"] or first["mistake"],
        "conditions": first["conditions"],
        "diagnosis": first["diagnosis"],
        "message": code(first["message"]),
        "oracles": ", ".join(f"{who}: {value}" for who, value in first["oracles"].items()),
        "case": code(first["line"]),
    }
    known = notes.get(f"{label.partition('@')[0]}: {first['title']}", {})
    facts |= {what: link_threads(text) for what, text in known.items()}
    lines += ["", *(f"- {what}: {text}".replace("\n", "; ") for what, text in facts.items() if text)]
    if len(first["reproduction"]) > LONGEST:
        lines += ["", "Its lines, with many values, are in the JSON file."]
    elif first["reproduction"]:
        lines += ["", "```python", first["reproduction"], "```"]
    return lines


def code(text):
    """The text as code, in which underscores and asterisks are plain characters; "" stays empty."""
    quoted = text.replace("`", "'")
    return f"`{quoted}`" if text else ""


def link_threads(text):
    """The text with a link for each thread, such as pytorch#56998."""

    def link(found):
        repository, number = REPOSITORIES[found[1]], found[2]
        return f"[{found[0]}](https://github.com/{repository}/issues/{number})"

    return re.sub(rf"\b({'|'.join(REPOSITORIES)})#(\d+)", link, text)


FEATURE_OF_EDGE = {edge: column for column, (_, edge) in FEATURES.items() if edge}


def list_refusals(table):
    """The errors that are raised in valid cases, each once."""
    lines = ["## Errors in valid cases", "", "| framework | direction | message | fails where |", "|---|---|---|---|"]
    for label, row in sorted(table["rows"].items()):
        told = {}
        for command in row["commands"]:
            for note in filter(is_refusal, command["found"]):
                edge = FEATURE_OF_EDGE.get(note["edge"], "")
                told.setdefault((note["role"], edge or note["conditions"]), note["message"])
        for (role, where), message in told.items():
            text = code(" ".join(message.split())[:160].rstrip()).replace("|", "\\|")
            lines.append(f"| {label} | {role} | {text} | {where or 'every case'} |")
    return "\n".join([*lines, ""])


def list_absent(table):
    """What could not be installed."""
    if not table["absent"]:
        return ""
    lines = ["## Not in the table", "", "| framework | reason |", "|---|---|"]
    lines += [f"| {label} | {reason} |" for label, reason in sorted(table["absent"].items())]
    return "\n".join([*lines, ""])


def list_commands(table):
    """The command of every cell."""
    lines = [
        "## Make a cell again",
        "",
        "In an environment that has the framework, NumPy and npresnext. The seed is in each",
    ]
    lines += ["command; a row with a label, such as npresnext@im2col, has options or variables of its own.", ""]
    for label, row in sorted(table["rows"].items()):
        lines += [f"<details><summary>{label}, {row['date']}</summary>", "", "```sh"]
        variables = "".join(f"{name}={value} " for name, value in row["environment"].items())
        lines += [f"{variables}{command['command']}" for command in row["commands"]]
        lines += ["```", "", "</details>", ""]
    return "\n".join(lines)

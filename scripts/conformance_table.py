"""Run the conformance kit against frameworks, each with a Python of its own, and write docs/conformance.json and .md.

A row is a framework; NAME is a target of "npresnext check", and NAME@LABEL makes another row of the same target. For
each dtype that the framework claims, four commands are run: the common cases, and three edges (empty batch, no input
channels, windows of padding alone). Each command is a process of its own, so a crash ends neither the table nor the
other cells. A row that is in the JSON file already, with the same versions, seed and options, is not run again unless
--again is given. With --again, the commands that are not asked for (other dtypes, or the edges if --common is given)
stay in the row as they are, if the versions are still the same.

A wrong value is published only after SciPy and PyTorch, both in float64, agree with the definition about it; PyTorch is
left out where there are no input channels, which it gets wrong itself.

examples:
  python scripts/conformance_table.py --python npresnext=python torch=python mlx=venvs/mlx/bin/python
  python scripts/conformance_table.py --python npresnext@im2col=python --options "npresnext@im2col=--engine im2col"
  python scripts/conformance_table.py --environment "tensorflow@plain=TF_ENABLE_ONEDNN_OPTS=0" --python ...
  python scripts/conformance_table.py --absent "nnabla=no wheel for this Python"
  python scripts/conformance_table.py                                       write the page again from the JSON file
"""

import argparse
import datetime
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from _conformance_oracles import confirm
from _conformance_page import COLUMNS, page

from npresnext._support.files import atomic_path
from npresnext.errors import InvalidValueError, NpresnextError

ROOT = Path(__file__).parent.parent
DTYPES = ("float32", "float64", "float16", "bfloat16")
# Key of ``supports`` -> the feature by which the report counts its cases.
EDGES = {"empty_batch": "empty batch", "zero_channels": "C_in = 0", "wide_padding": "padding: wide"}
PROBE = """
import json, sys
import numpy
from npresnext.errors import NpresnextError
from npresnext.testing import targets
try:
    target = targets.load(sys.argv[1])
    ran = target.describe()
except NpresnextError as error:
    sys.exit(str(error))
directions = [name for name in ("forward", "backward") if getattr(target, name) is not None]
dtypes = target.supports.get("dtypes") or ["float32", "float64", "float16", "bfloat16"]
left_out = [key for key in ("empty_batch", "zero_channels") if target.supports.get(key) is False]
versions = {"python": sys.version.partition(" ")[0], "numpy": numpy.__version__}
print()
print(json.dumps({"ran": ran, "directions": directions, "dtypes": dtypes, "left_out": left_out, **versions}))
"""


def main(argv=None):
    """Run what is asked for, row by row, and write both files after each row."""
    args = parse(argv)
    table = read_table(args.out)
    pythons, options = named(args.python, "--python"), named(args.options, "--options")
    environments = named(args.environment, "--environment")
    table["absent"].update(named(args.absent, "--absent"))
    for label, python in pythons.items():
        command = [*shlex.split(options.get(label, "")), "--seed", str(args.seed), "--cases", str(args.cases)]
        command += ["--budget", f"{args.budget:g}"]
        variables = dict(entry.split("=", 1) for entry in environments.get(label, "").split())
        add_row(table, label, python, command, variables, args)
        write(table, args)
    write(table, args)


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", default=[], metavar="NAME=INTERPRETER", help="rows to run")
    parser.add_argument("--options", nargs="+", default=[], metavar="NAME=OPTIONS", help="more options of the command")
    parser.add_argument("--environment", nargs="+", default=[], metavar="NAME=KEY=VALUE", help="environment variables")
    parser.add_argument("--absent", nargs="+", default=[], metavar="NAME=REASON", help="what cannot be installed")
    parser.add_argument("--dtypes", nargs="+", default=DTYPES, choices=DTYPES)
    parser.add_argument("--cases", type=int, default=200, help="cases to draw for each command (default: 200)")
    parser.add_argument("--budget", type=float, default=20, help="seconds for each command (default: 20)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="run rows again that are in the JSON file")
    parser.add_argument("--common", action="store_true", help="run the common cases alone, no edges")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "conformance.json", help="the JSON file")
    args = parser.parse_args(argv)
    if args.budget <= 0 or args.cases < 0:
        parser.error("--budget must be above 0 and --cases at least 0")
    return args


def named(entries, option):
    """Return {"NAME": "VALUE"} of entries NAME=VALUE."""
    for entry in entries:
        if not all(entry.partition("=")):
            raise InvalidValueError(f"{option} is {entry!r}: expected NAME=VALUE")
    return dict(entry.split("=", 1) for entry in entries)


def read_table(path):
    """Return the table so far."""
    if not path.exists():
        return {"rows": {}, "absent": {}}
    return json.loads(path.read_text(encoding="utf-8"))


def write(table, args):
    """Write the JSON file and the page beside it."""
    texts = {args.out: json.dumps(table, indent=1, sort_keys=True) + "\n", args.out.with_suffix(".md"): page(table)}
    for path, text in texts.items():
        with atomic_path(path, overwrite=True) as temporary:
            temporary.write_text(text, encoding="utf-8")


def add_row(table, label, python, options, variables, args):
    """Run every command of a row, unless the table has it already."""
    name = label.partition("@")[0]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    found, reason = probe(name, python, environment)
    if found is None:
        print(f"{label}: not there: {reason}", flush=True)
        table["absent"][label] = reason
        return
    what = {
        **found,
        "asked": list(args.dtypes),
        "seed": args.seed,
        "options": shlex.join(options),
        "environment": variables,
    }
    old = table["rows"].get(label)
    if old and not args.again and all(old.get(key) == value for key, value in what.items()):
        print(f"{label}: in the table already", flush=True)
        return
    row = {**what, "target": name, "date": datetime.date.today().isoformat(), "commands": []}
    edges = [""] if args.common else ["", *(edge for edge in EDGES if edge not in found["left_out"])]
    for dtype in args.dtypes:
        if dtype in found["dtypes"]:
            for edge in edges:
                command = check_command(name, dtype, edge, options)
                row["commands"].append(run_command(command, dtype, edge, python, environment, args.budget))
                print(f"{label}: {shlex.join(command)}: {row['commands'][-1]['verdict']}", flush=True)
    table["rows"][label] = with_what_stays(row, old, found)
    table["absent"].pop(label, None)


def with_what_stays(row, old, found):
    """Return a row with the commands of an earlier one that were not run again, if the versions are the same."""
    if not old or any(old.get(key) != value for key, value in found.items()):
        return row
    run_again = {(command["dtype"], command["edge"]) for command in row["commands"]}
    stay = [command for command in old["commands"] if (command["dtype"], command["edge"]) not in run_again]
    order = [(dtype, edge) for dtype in DTYPES for edge in ("", *EDGES)]
    every = sorted(row["commands"] + stay, key=lambda command: order.index((command["dtype"], command["edge"])))
    return {**row, "asked": [dtype for dtype in DTYPES if dtype in {*row["asked"], *old["asked"]}], "commands": every}


def probe(name, python, environment):
    """Return what an interpreter has of a target, and the reason if it has nothing."""
    try:
        done = subprocess.run([python, "-c", PROBE, name], env=environment, capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or [f"the process ended with {done.returncode}"])[-1]
    return json.loads(done.stdout.strip().splitlines()[-1]), ""


def check_command(name, dtype, edge, options):
    """Return the arguments of ``npresnext``: all common cases, or the cases of one edge."""
    without = ["invalid_calls", *(key for key in EDGES if key != edge)]
    only = ["--only-with", edge] if edge else []
    return ["check", name, "--dtype", dtype, *options, "--without", *without, *only]


def run_command(command, dtype, edge, python, environment, budget):
    """Run one command to its end, and return its outcomes and what it found; that it fails is one of them."""
    limit = 4 * budget + 120
    whole = [python, "-m", "npresnext", *command, "--format", "json", "--time-limit", f"{limit:g}"]
    kept = {"command": shlex.join(["npresnext", *command]), "dtype": dtype, "edge": edge, "outcomes": [], "found": []}
    try:
        done = subprocess.run(whole, env=environment, capture_output=True, text=True, timeout=limit + 60)
        report = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return {**kept, "cases": 0, "verdict": f"no end after {limit + 60:g} seconds"}
    except json.JSONDecodeError:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        return {**kept, "cases": 0, "verdict": f"no report, exit code {done.returncode}: {last}"}
    kept["outcomes"] = [entry for entry in report["outcomes"] if (entry[0], edge) in COLUMNS]
    found = [note(cause, report, dtype, edge) for cause in report["causes"]]
    verdict = "holds" if report["passed"] else f"{len(found)} faults"
    return {**kept, "ran": report["target"], "cases": report["cases"], "found": found, "verdict": verdict}


def note(cause, report, dtype, edge):
    """Return a fault of a report, as the table keeps it, with what the oracles say of its value."""
    shown = cause["failures"][0]
    finding = next(one for one in report["failures"] if f"{one['property']} ({one['verdict']})" == shown)
    kept = ("result", "role", "message", "mistake", "evidence", "conditions", "diagnosis", "line", "reproduction")
    tally = next(one for one in report["checks"] if f"{one['property']} ({one['verdict']})" == shown)
    return {
        "title": cause["title"],
        "check": shown,
        "dtype": dtype,
        "edge": edge,
        "failed": tally["failed"],
        "tried": tally["tried"],
        **{name: finding[name] for name in kept},
        **asked_twice(finding, dtype),
    }


def asked_twice(finding, dtype):
    """Return what the oracles say of a value, or that they do not agree with the kit."""
    try:
        return {"oracles": confirm(finding, dtype), "disputed": ""}
    except ArithmeticError as error:
        return {"oracles": {}, "disputed": str(error)}


if __name__ == "__main__":
    try:
        main()
    except NpresnextError as error:
        sys.exit(f"conformance_table.py: error: {error}")

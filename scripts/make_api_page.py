"""Write docs/api.md: every public name with its docstring's first sentence and a link to its source.

python scripts/make_api_page.py            write the page
python scripts/make_api_page.py --check    exit with 1 if the page is out of date
"""

import argparse
import importlib
import inspect
import re
import sys
from pathlib import Path

import npresnext as nx

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "api.md"
HEAD = """# Every public name

One line each, under the module to import it from; the link leads to the source, whose docstring gives shapes, errors,
the formula and an example. Written by `scripts/make_api_page.py` from the docstrings themselves.
"""
SECTIONS = (
    "npresnext",
    "npresnext.functional",
    "npresnext.nn",
    "npresnext.nn.init",
    "npresnext.models",
    "npresnext.paper.forms",
    "npresnext.paper.convert",
    "npresnext.data",
    "npresnext.training.schedules",
    "npresnext.training",
    "npresnext.paper",
    "npresnext.counting",
    "npresnext.gradients",
    "npresnext.pictures",
    "npresnext.io",
    "npresnext.onnx",
    "npresnext.testing",
    "npresnext.testing.mistakes",
    "npresnext.testing.strategies",
    "npresnext.learn",
    "npresnext.reference",
    "npresnext.definitions",
    "npresnext.errors",
)


def public_names(module):
    if module is nx:
        names = [name for name in dir(nx) if name != "__version__"]
    elif hasattr(module, "__all__"):
        names = module.__all__
    else:
        names = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    return [name for name in names if not inspect.ismodule(getattr(module, name)) and not name.startswith("_")]


def line(name, value):
    sentence = (inspect.getdoc(value) or "").strip().split("\n\n")[0].replace("\n", " ")
    sentence = re.sub(r":\w+:(`[^`]+`)", r"\1", sentence)  # a reference of Sphinx's is a name here
    source = Path(inspect.getsourcefile(inspect.unwrap(value))).resolve().relative_to(ROOT).as_posix()
    return f"| [`{name}`](../{source}) | {sentence.replace('|', chr(92) + '|')} |"


def page():
    parts = [HEAD]
    for title in SECTIONS:
        module = importlib.import_module(title)
        values = [(name, getattr(module, name)) for name in public_names(module)]
        rows = [line(name, value) for name, value in values if inspect.isfunction(value) or inspect.isclass(value)]
        if rows:
            parts.append("\n".join([f"## {title}", "", "| name | what it does |", "|---|---|", *rows, ""]))
    return "\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    args = parser.parse_args()
    if args.check:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
            sys.exit("docs/api.md is out of date: run scripts/make_api_page.py")
    else:
        PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()

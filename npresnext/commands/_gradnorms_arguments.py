"""The arguments that several actions of ``npresnext gradnorms`` have."""

from __future__ import annotations

import argparse

FORMATS = ("csv", "jsonl", "npz", "parquet")


def add_format(parser: argparse._ActionsContainer, file: str = "FILE") -> None:
    """Declare ``--format``, which is that of the file, or of each file, called `file` in the help."""
    parser.add_argument("--format", choices=FORMATS, help=f"(default: by the extension of {file})")


def add_layers(parser: argparse.ArgumentParser) -> None:
    """Declare ``--layers``, which leaves out rows."""
    parser.add_argument("--layers", nargs="+", metavar="PATTERN", help="only these layers, such as '*conv2'")

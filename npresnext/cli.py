"""The command line, ``npresnext COMMAND``: a table of commands, each in its own file under ``commands/``.

Exit codes: 0 done; 1 the run itself failed; 2 a mistake in what was asked; 130 stopped by Ctrl-C; 141 the
reader of the output went away.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from . import __version__
from .errors import InvalidValueError, NonFiniteLossError, NpresnextError

# name -> npresnext/commands/name.py, with HELP (one line), configure(parser) and run(args) -> exit code.
COMMANDS = (
    "train",
    "gradnorms",
    "cardinality",
    "connectivity",
    "info",
    "summary",
    "classify",
    "check",
)

FAILED, MISTAKE, INTERRUPTED, READER_GONE = 1, 2, 130, 141


class Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are one line, and whose examples keep their line breaks."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        """Raise the message, and where to read more, instead of printing the whole usage."""
        raise InvalidValueError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, such as ``main(["info"])``, and return its exit code.

    >>> main(["no-such-command"])
    2
    """
    return _guarded("npresnext", lambda: _run(_parser(), argv))


def run_command(name: str, prog: str, argv: Sequence[str] | None = None) -> int:
    """Run the command `name` as a program of its own, called `prog`, and return its exit code."""
    parser = Parser(prog=prog)
    _configure(parser, name)
    return _guarded(prog, lambda: _run(parser, argv))


def _parser() -> Parser:
    """Return the parser of ``npresnext`` with all of its commands."""
    parser = Parser(
        prog="npresnext",
        description="Grouped convolutions, ResNet and ResNeXt in NumPy: every gradient by hand.",
        epilog="npresnext COMMAND --help shows what a command does, by example.",
    )
    parser.add_argument("--version", action="version", version=f"npresnext {__version__}")
    parser.set_defaults(run=lambda args: _show_help(parser))
    table = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name in COMMANDS:
        _configure(table.add_parser(name, help=_module(name).HELP), name)
    return parser


def _module(name: str) -> Any:
    return importlib.import_module(f".commands.{name}", __package__)


def _configure(parser: argparse.ArgumentParser, name: str) -> None:
    command = _module(name)
    parser.description = command.HELP
    parser.set_defaults(run=command.run)
    command.configure(parser)


def _show_help(parser: Parser) -> int:
    parser.print_help(sys.stderr)
    return MISTAKE


def _run(parser: Parser, argv: Sequence[str] | None) -> int:
    args = parser.parse_args(argv)
    code = args.run(args)
    sys.stdout.flush()
    return code


def _guarded(prog: str, action: Callable[[], int]) -> int:
    """Return the exit code of `action`; what goes wrong is one line on standard error, never a traceback."""
    if sys.stdout is None:  # closed by whoever started us, as by >&-
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in ("strict", "surrogateescape"):
        sys.stdout.reconfigure(errors="replace")  # tables and file names hold what not every terminal can show
    try:
        return action()
    except NonFiniteLossError as error:
        return _say(prog, error, FAILED)
    except NpresnextError as error:
        return _say(prog, error, MISTAKE)
    except BrokenPipeError:
        # Python flushes standard output once more on its way out, and would complain about the same pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    except (OSError, MemoryError) as error:
        return _say(prog, error, FAILED)
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return INTERRUPTED


def _say(prog: str, error: BaseException, code: int) -> int:
    message = " ".join(str(error).split()) or type(error).__name__
    print(f"{prog}: error: {message}", file=sys.stderr)
    return code

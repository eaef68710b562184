"""The command line, ``npresnext COMMAND``. Each command has its own file in ``commands/``.

A command that succeeds ends with exit code 0; ``commands/__init__.py`` has the others.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from . import __version__
from .commands import FAILED, INTERRUPTED, MISTAKE, READER_GONE
from .errors import (
    ConfigurationError,
    InvalidValueError,
    NonFiniteLossError,
    NpresnextError,
    OutputExistsError,
    RanksDifferError,
)

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
    "learn",
    "sweep",
)

_MAY_BE_EMPTY = ("strip_prefix", "part")


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a mistake in one line, and keeps the line breaks of its examples."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Raise at arguments that the parser does not know: argparse leaves those of a command to the main parser."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Raise the message with a pointer to the help, instead of printing the whole usage."""
        raise InvalidValueError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, such as ``main(["info"])``, and return its exit code.

    >>> main(["no-such-command"])
    2
    """
    return _guarded("npresnext", lambda: _run_npresnext(sys.argv[1:] if argv is None else argv))


def run_command(name: str, prog: str, argv: Sequence[str] | None = None) -> int:
    """Run one command as a program of its own with the name `prog`, and return its exit code."""
    parser = Parser(prog=prog)
    _configure(parser, name)
    return _guarded(prog, lambda: _run(parser, argv))


def _run_npresnext(argv: Sequence[str]) -> int:
    """Run the command that ``argv[0]`` names."""
    if argv and not argv[0].startswith("-") and argv[0] not in COMMANDS:
        similar = difflib.get_close_matches(argv[0], COMMANDS, n=1)
        hint = f" (did you mean {similar[0]!r}?)" if similar else ""
        raise InvalidValueError(f"there is no command {argv[0]!r}{hint}: choose one of {', '.join(COMMANDS)}")
    return _run(_parser(), argv)


def _parser() -> Parser:
    """Return the parser of ``npresnext`` with all of its commands."""
    parser = Parser(
        prog="npresnext",
        description="Grouped convolutions, ResNet and ResNeXt in NumPy: every gradient by hand.",
        epilog="npresnext COMMAND --help describes a command, with examples.",
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
    empty = next((name for name, value in vars(args).items() if value == "" and name not in _MAY_BE_EMPTY), None)
    if empty is not None:  # as from an unset variable of the shell, in --save "$FILE"
        raise InvalidValueError(f"argument {empty.replace('_', '-')}: the value is an empty text")
    code = args.run(args)
    sys.stdout.flush()
    return code


def _guarded(prog: str, action: Callable[[], int]) -> int:
    """Return the exit code of `action`; an error is one line on standard error, never a traceback."""
    if sys.stdout is None:  # closed by the calling program, as the shell does for >&-
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in ("strict", "surrogateescape"):
        sys.stdout.reconfigure(errors="replace")  # not every terminal can show every character of tables and file names
    try:
        return action()
    except (NonFiniteLossError, RanksDifferError) as error:
        return _say(prog, str(error), FAILED)
    except NpresnextError as error:
        return _say(prog, _with_options(error), MISTAKE)
    except FileNotFoundError as error:
        return _say(prog, _of_system(error), MISTAKE)
    except BrokenPipeError:
        # Python flushes standard output once more when it exits, and would report the same pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    except (OSError, MemoryError) as error:
        return _say(prog, _of_system(error), FAILED)
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return INTERRUPTED


def _with_options(error: NpresnextError) -> str:
    """Return the message of an error, with options of the command line in place of Python's arguments."""
    if isinstance(error, OutputExistsError):
        return f"{error.path} exists already: choose another name, or pass --force"
    if isinstance(error, ConfigurationError):
        option = f"--{error.field.replace('_', '-')}"
        if error.value is None:
            return f"argument {option} is missing: it must be {error.expected}"
        return f"argument {option}: must be {error.expected}, but is {error.value}"
    return str(error)


def _of_system(error: OSError | MemoryError) -> str:
    """Return the message of an error of the operating system as other commands print it, without its number."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def _say(prog: str, message: str, code: int) -> int:
    print(f"{prog}: error: {' '.join(message.split())}", file=sys.stderr)
    return code

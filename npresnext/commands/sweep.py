"""``npresnext sweep``: many training runs from one file, on one machine or many, and one table of them."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from .._support.files import check_writable
from .._support.plurals import counted
from ..errors import InvalidValueError
from . import FAILED
from ._numbers import positive_int

if TYPE_CHECKING:
    from ..studies import RunFolder

HELP = "make the training runs of a study file, on one machine or many, and collect them in one table"

EXAMPLES = """\
examples:
  {prog} study.toml -o runs                   one run after the other
  {prog} study.toml -o runs --jobs 4          four processes on this machine
  {prog} study.toml -o runs --dask tcp://host:8786
  {prog} study.toml -o runs --shard 2/8       the second of eight parts, as in a job array
  {prog} status runs                          how far the runs are, from any terminal
  {prog} retry runs                           make the failed runs again
  {prog} collect runs -o table.csv            one row per run
  {prog} collect runs -o norms.csv --what gradnorms

STUDY is a TOML file:

  [common]
  data = "digits"
  epochs = 3

  [[grid]]                              # every combination
  design = ["1x16d", "4x6d", "32x1d"]   # cardinality and width, C x d
  seeds = 10                            # seed = 0 to 9

The folder is the database. Each run has a folder in it, with the name of its configuration. The same command goes on
where a sweep was interrupted or killed, and several sweeps may work in one folder at once.

exit codes:
  0  every run is done
  1  a run failed, or gave other bytes the second time, or the sweep had to stop, as on a full disk
  2  the command line or the study file is wrong"""

ACTIONS = ("status", "retry", "collect")
OPTIONS = {  # the actions that take each option; "" is the sweep of a study
    "output": ("", "collect"),
    "jobs": ("", "retry"),
    "dask": ("", "retry"),
    "shard": ("", "retry"),
    "threads": ("", "retry"),
    "checkpoint_every": ("", "retry"),
    "data_dir": ("", "retry"),
    "again": ("",),
    "what": ("collect",),
    "force": ("collect",),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    prog = parser.prog
    parser.usage = (
        f"{prog} STUDY -o DIR [options]\n       {prog} status DIR\n       {prog} retry DIR [options]\n"
        f"       {prog} collect DIR [DIR ...] -o FILE [--what ROWS] [--force]"
    )
    parser.epilog = EXAMPLES.format(prog=prog)
    parser.add_argument("study", metavar="STUDY", help="a TOML file; or status, retry or collect")
    parser.add_argument("folders", nargs="*", metavar="DIR", help="after an action: the folder of a sweep")
    parser.add_argument("-o", "--output", metavar="DIR", help="the folder of the sweep; with collect, the table")
    how = parser.add_argument_group("how the runs are made, which changes no number")
    how.add_argument("--jobs", type=positive_int, metavar="N", help="processes on this machine (default: 1)")
    how.add_argument("--dask", metavar="ADDRESS", help="the scheduler of a Dask cluster, or its scheduler file")
    how.add_argument("--shard", metavar="I/N", help="make only the I-th of N parts of the runs, with I from 1")
    how.add_argument("--threads", type=positive_int, metavar="N", help="threads of each run (default: 1)")
    how.add_argument(
        "--checkpoint-every",
        type=positive_int,
        metavar="STEPS",
        help="steps from one checkpoint to the next (default: one after each epoch)",
    )
    how.add_argument("--data-dir", metavar="DIR", help="the folder with the IDX files of fashion-mnist or mnist")
    how.add_argument(
        "--again", action="store_true", default=None, help="make runs that are done again, and compare every byte"
    )
    table = parser.add_argument_group("collect")
    table.add_argument(
        "--what", metavar="ROWS", help="results (one row per run), history, steps, gradnorms or statistics"
    )
    table.add_argument("--force", action="store_true", default=None, help="overwrite an existing table")


def run(args: argparse.Namespace) -> int:
    """Do what the first word says."""
    action = args.study if args.study in ACTIONS else ""
    for name, actions in OPTIONS.items():
        if getattr(args, name) is not None and action not in actions:
            option = "-o" if name == "output" else f"--{name.replace('_', '-')}"
            raise InvalidValueError(f"{option} does not go with {action or 'a study'}: see npresnext sweep --help")
    if args.jobs is not None and args.dask is not None:
        raise InvalidValueError("--jobs and --dask contradict each other: a Dask cluster has its own processes")
    return {"": _sweep_study, "status": _status, "retry": _retry, "collect": _collect}[action](args)


def _sweep_study(args: argparse.Namespace) -> int:
    """Make the runs of a study."""
    from ..studies import create_folders, read_study

    if args.folders:
        raise InvalidValueError(
            f"{args.folders[0]} is one word too many: a sweep is npresnext sweep STUDY -o DIR, and an action is one of "
            f"{', '.join(ACTIONS)}"
        )
    if args.output is None:
        raise InvalidValueError("-o DIR is missing: the folder of the sweep")
    study = read_study(args.study)
    if args.data_dir is None and study.data_dir is not None:
        args.data_dir = str(study.data_dir)
    _check_data({run.training.data for run in study.runs}, args.data_dir)
    names = _part(args, [run.name for run in study.runs])
    engine = _engine(args)
    create_folders(args.output, study.runs)
    part = f", of which part {args.shard} has {len(names)}" if args.shard else ""
    print(f"{study.title or args.study}: {counted(len(study.runs), 'run')}{part}", flush=True)
    return _sweep(args, args.output, names, engine)


def _retry(args: argparse.Namespace) -> int:
    """Make the failed runs of a folder again."""
    from ..studies import RunFolder
    from ..studies.folder import ERROR

    folder, runs = _one_folder(args)
    failed = [run for run in runs if run.state == "failed"]
    if not failed:
        print(f"no run in {folder} has failed")
        return 0
    _check_data({run.configuration().training.data for run in failed}, args.data_dir)
    names = _part(args, [run.name for run in failed])
    engine = _engine(args)
    for name in names:
        RunFolder(folder, name).file(ERROR).unlink(missing_ok=True)
    return _sweep(args, folder, names, engine)


def _part(args: argparse.Namespace, names: list[str]) -> list[str]:
    """Return the names of the runs that ``--shard`` leaves."""
    from ..studies import shard_of

    return names if args.shard is None else shard_of(names, args.shard)


def _sweep(args: argparse.Namespace, folder: str, names: list[str], engine: Any) -> int:
    """Make runs, and print how it ended."""
    from ..studies import DaskEngine, RunFolder, RunOptions, SweepStoppedError, sweep
    from ..studies.folder import states_as_text

    options = RunOptions(
        data_dir=None if args.data_dir is None else os.path.abspath(args.data_dir),
        threads=args.threads or 1,
        checkpoint_every=args.checkpoint_every,
        again=bool(args.again),
    )
    try:
        summary = sweep(folder, names, engine=engine, options=options, report=lambda line: print(line, flush=True))
    except SweepStoppedError as error:
        print(f"npresnext: error: {error}: the same command goes on from here", file=sys.stderr)
        return FAILED
    finally:
        if isinstance(engine, DaskEngine):
            engine.close()
    states = [RunFolder(folder, name).state for name in names]
    print(f"in {folder}: {states_as_text(states)}")
    if summary.failed:
        print(f"npresnext sweep retry {folder}    makes the failed runs again")
    elif summary.different:
        print(f"{counted(summary.different, 'run')} gave other bytes the second time")
    elif not args.again:
        print(f"npresnext sweep collect {folder} -o table.csv    writes a table")
    return FAILED if summary.failed or summary.different else 0


def _status(args: argparse.Namespace) -> int:
    """Print how far the runs are."""
    from ..studies.table import status_table

    _, runs = _one_folder(args)
    print(status_table(runs))
    return 0


def _collect(args: argparse.Namespace) -> int:
    """Write one table."""
    from ..studies import collect, write_table
    from ..studies.table import check_table_path, missing_as_text

    if not args.folders:
        raise InvalidValueError("collect needs the folder of a sweep: npresnext sweep collect DIR -o FILE")
    if args.output is None:
        raise InvalidValueError("-o FILE is missing: the table, a .csv, .jsonl or .parquet file")
    check_table_path(args.output)
    check_writable(args.output, overwrite=bool(args.force))
    rows = collect(args.folders, args.what or "results")
    write_table(rows, args.output, overwrite=bool(args.force))
    runs = len({row["run"] for row in rows})
    print(f"{counted(len(rows), 'row')} of {counted(runs, 'run')} in {args.output}")
    for folder in args.folders:
        missing = missing_as_text(_runs_in(folder))
        if missing:
            print(f"{folder}: {missing}")
    return 0


def _one_folder(args: argparse.Namespace) -> tuple[str, list[RunFolder]]:
    """Return the folder that the command line names, and its runs."""
    if len(args.folders) != 1:
        raise InvalidValueError(f"{args.study} needs one folder: npresnext sweep {args.study} DIR")
    return args.folders[0], _runs_in(args.folders[0])


def _runs_in(folder: str) -> list[RunFolder]:
    from ..studies.folder import check_has_runs

    return check_has_runs(folder)


def _engine(args: argparse.Namespace) -> Any:
    """Return the engine that the options name."""
    from ..studies import DaskEngine, JoblibEngine, sequential

    if args.dask is not None:
        return DaskEngine(args.dask)
    return JoblibEngine(args.jobs) if args.jobs is not None and args.jobs > 1 else sequential


def _check_data(names: set[str], data_dir: str | None) -> None:
    """Raise now if the images cannot be read."""
    from ..training import TrainingConfiguration

    for name in sorted(names):
        TrainingConfiguration.for_data(name).load_data(None if name == "digits" else data_dir)

"""``npresnext train`` with shards and ranks: what it prints, and how ranks end together."""

import pytest

from npresnext import cli
from npresnext.commands._ranks import Ranks, join_ranks
from npresnext.errors import InvalidValueError, NonFiniteLossError
from npresnext.training import Communicator

from tests.support.ranks import on_ranks

RUN = ["train", "--limit", "32", "--batch-size", "16", "--epochs", "1"]


def test_shards_on_one_process_are_said_openly_and_can_be_resumed(tmp_path, capsys):
    files = ["--checkpoint", str(tmp_path / "run.npz")]
    assert cli.main([*RUN, *files, "--shards", "2"]) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == "2 shards of 8 images on 1 rank; batch norm normalises each shard by itself (ghost batch norm)"
    assert last.endswith("(resnext_small on digits, seed 0, 2 shards)")
    assert cli.main([*RUN, *files, "--shards", "4", "--resume"]) == 2
    assert "--shards was 2 and is 4" in capsys.readouterr().err
    assert cli.main([*RUN, *files, "--resume"]) == 2
    assert "--shards was 2 and is None" in capsys.readouterr().err


@pytest.mark.parametrize(
    "count, message",
    [("0", "must be at least 1, but is 0"), ("3", "must be a divisor of the batch size, 16, but is 3")],
)
def test_an_impossible_number_of_shards_is_a_mistake(count, message, capsys):
    assert cli.main([*RUN, "--shards", count]) == 2
    assert capsys.readouterr().err == f"npresnext: error: argument --shards: {message}\n"


def test_ranks_without_shards_are_refused_and_rank_0_says_so(monkeypatch, capsys):
    monkeypatch.setenv("PMI_SIZE", "4")
    monkeypatch.setenv("PMI_RANK", "0")
    assert cli.main(RUN) == 2
    line = capsys.readouterr().err
    assert line == (
        "npresnext: error: this is one of 4 ranks: pass --shards V, a multiple of 4, so that they share one training\n"
    )
    monkeypatch.setenv("PMI_RANK", "2")
    with pytest.raises(SystemExit) as ended:
        cli.main(RUN)
    assert ended.value.code == 2 and capsys.readouterr().err == ""


def failing(*ranks, error, begun=False):
    """A command that fails on some ranks, before or after all have begun."""

    def run(communicator):
        with Ranks(communicator) as guard:
            if begun:
                guard.begin()
            if communicator.rank in ranks:
                raise error
            if begun:
                communicator.share("the next step")
            else:
                guard.begin()

    return run


def codes(results):
    """The exit codes of ranks that ended silently, and the errors of the others."""
    return [result.code if isinstance(result, SystemExit) else result for result in results]


def test_an_error_before_the_run_is_reported_by_the_first_rank_that_has_it(capsys):
    error = InvalidValueError("no such folder")
    assert codes(on_ranks(3, failing(0, 1, 2, error=error))) == [error, 2, 2]
    assert capsys.readouterr().err == ""
    assert codes(on_ranks(3, failing(1, 2, error=error))) == [2, error, 2]
    assert "rank 1 of 3 on " in capsys.readouterr().err


def test_an_error_of_all_ranks_in_the_run_is_reported_by_rank_0(capsys):
    error = NonFiniteLossError("the loss is nan")
    assert codes(on_ranks(3, failing(0, 1, 2, error=error, begun=True))) == [error, 1, 1]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "error, code, message",
    [
        (OSError("no space left"), 1, "OSError: no space left; this ends all ranks"),
        (InvalidValueError("bad"), 1, ": bad; this ends all ranks"),
        (ZeroDivisionError("a bug"), 1, "Traceback"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_an_error_of_one_rank_in_the_run_aborts_all(error, code, message, capsys):
    assert codes(on_ranks(3, failing(2, error=error, begun=True))) == ["killed", "killed", code]
    written = capsys.readouterr().err
    assert message in written and bool(message) == bool(written)


def test_a_process_without_shards_is_alone():
    with join_ranks(None) as ranks:
        ranks.begin()
    assert type(ranks.communicator) is Communicator and ranks.is_first

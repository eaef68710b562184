"""The command: what it prints and writes, what it refuses, and that several of it share one folder."""

import json
import re
import sys
import threading

import pytest

from npresnext import cli
from npresnext.studies import collect, read_study, run_folders, shard_of

from tests.studies.test_locks import leave_lock
from tests.support.sweeps import tables, undisturbed, write_study


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A study of four runs, the folder of its sweep, and the tables."""
    folder = tmp_path_factory.mktemp("swept")
    study = write_study(folder, seeds=2, epochs=1)
    return study, folder / "runs", undisturbed(study, folder / "runs")


def lines_of(capsys):
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out.splitlines()


def test_a_sweep_prints_a_line_for_each_run_and_the_next_command(swept, tmp_path, capsys):
    study, _, expected = swept
    runs = tmp_path / "runs"
    assert cli.main(["sweep", str(study), "-o", str(runs)]) == 0
    first, *each, states, advice = lines_of(capsys)
    assert first == "tiny networks: 4 runs"
    assert [re.sub(r"[0-9a-f]{12}|\d+\.\d+", "#", line) for line in each] == [
        f"[{number}/4] #  design={design} seed={seed}  test accuracy #%, loss #"
        for number, (design, seed) in enumerate([("1x8d", 0), ("1x8d", 1), ("4x2d", 0), ("4x2d", 1)], 1)
    ]
    assert states == f"in {runs}: 4 runs: 4 done"
    assert advice == f"npresnext sweep collect {runs} -o table.csv    writes a table"
    assert tables(runs) == expected
    assert cli.main(["sweep", str(study), "-o", str(runs), "--again"]) == 0
    assert [line.rpartition("  ")[2] for line in lines_of(capsys)[1:5]] == ["same: 4 files with the same bytes"] * 4
    run_folders(runs)[0].file("history.csv").write_text("")
    assert cli.main(["sweep", str(study), "-o", str(runs), "--again"]) == 1
    lines = lines_of(capsys)
    assert sum("different: other bytes in history.csv;" in line for line in lines) == 1
    assert lines[-1] == "1 run gave other bytes the second time"


def test_parts_in_any_order_and_two_sweeps_at_once_give_the_same_tables(swept, tmp_path):
    study, _, expected = swept
    for part in ("3/3", "1/3", "2/3"):
        assert cli.main(["sweep", str(study), "-o", str(tmp_path / "parts"), "--shard", part]) == 0
    assert tables(tmp_path / "parts") == expected
    codes = []
    argv = ["sweep", str(study), "-o", str(tmp_path / "twice")]
    threads = [threading.Thread(target=lambda: codes.append(cli.main(argv))) for _ in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert codes == [0, 0] and tables(tmp_path / "twice") == expected


def test_processes_of_joblib_give_the_same_tables(swept, tmp_path):
    pytest.importorskip("joblib")
    study, _, expected = swept
    assert cli.main(["sweep", str(study), "-o", str(tmp_path / "runs"), "--jobs", "2"]) == 0
    assert tables(tmp_path / "runs") == expected


def test_a_dask_cluster_gives_the_same_tables(swept, tmp_path, capsys):
    distributed = pytest.importorskip("distributed")
    study, _, expected = swept
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=tmp_path
    ) as cluster:
        address = cluster.scheduler_address
        assert cli.main(["sweep", str(study), "-o", str(tmp_path / "runs"), "--dask", address]) == 0
    assert tables(tmp_path / "runs") == expected
    capsys.readouterr()
    assert cli.main(["sweep", str(study), "-o", str(tmp_path / "runs"), "--dask", "tcp://127.0.0.1:9"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:9: expected an address such as" in captured.err


def test_status_shows_runs_of_every_state(swept, tmp_path, capsys):
    study, _, _ = swept
    runs = tmp_path / "runs"
    assert cli.main(["sweep", str(study), "-o", str(runs), "--shard", "1/4"]) == 0
    done, failed, stopped, running = sorted(run_folders(runs), key=lambda run: run.state != "done")
    failed.file("error.json").write_text(json.dumps({"message": "the loss is nan"}))
    leave_lock(stopped.path, 1)
    leave_lock(running.path, 1, host="cluster-7", pid=4711, step=12, steps=40)
    capsys.readouterr()
    assert cli.main(["sweep", "status", str(runs)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("4 runs: 1 done, 1 failed, 1 running, 1 stopped\n\nrunning ")
    assert re.search(
        rf"^{running.name}  design=\S+ seed=\d  step 12 of 40  process 4711 on cluster-7, \d s ago$", text, re.M
    )
    assert re.search(rf"^{failed.name}  design=\S+ seed=\d  the loss is nan$", text, re.M)


def test_retry_makes_the_failed_runs_again_and_no_others(swept, tmp_path, capsys):
    study, _, _ = swept
    runs = tmp_path / "runs"
    cli.main(["sweep", str(study), "-o", str(runs), "--shard", "1/4"])
    waiting = [run for run in run_folders(runs) if run.state == "waiting"]
    waiting[0].file("error.json").write_text(json.dumps({"message": "no such folder"}))
    assert cli.main(["sweep", str(study), "-o", str(runs), "--shard", "1/1"]) == 1
    assert f"npresnext sweep retry {runs} " in capsys.readouterr().out
    assert cli.main(["sweep", "retry", str(runs)]) == 0
    assert {run.state for run in run_folders(runs)} == {"done"}
    assert cli.main(["sweep", "retry", str(runs)]) == 0
    assert capsys.readouterr().out.endswith(f"no run in {runs} has failed\n")


def test_a_table_has_a_row_for_each_run_in_the_order_of_the_settings(swept):
    _, runs, _ = swept
    rows = collect([runs])
    assert [(row["cardinality"], row["width"], row["seed"]) for row in rows] == [
        (1, 8, 0),
        (1, 8, 1),
        (4, 2, 0),
        (4, 2, 1),
    ]
    assert rows[0]["blocks"] == "1" and rows[0]["measure"] == "gradnorms history" and rows[0]["steps"] == 4
    norms = collect([runs], "gradnorms")
    assert {(row["layer"], row["groups"]) for row in norms if row["run"] == rows[-1]["run"]} >= {("layer1.0.conv2", 4)}
    assert collect([runs, runs]) == rows


def test_tables_in_every_format_hold_the_same_rows(swept, tmp_path, capsys):
    _, runs, _ = swept
    rows = collect([runs])
    assert cli.main(["sweep", "collect", str(runs), "-o", str(tmp_path / "table.jsonl")]) == 0
    assert capsys.readouterr().out == f"4 rows of 4 runs in {tmp_path / 'table.jsonl'}\n"
    assert [json.loads(line) for line in (tmp_path / "table.jsonl").read_text().splitlines()] == rows
    parquet = pytest.importorskip("pyarrow.parquet")
    assert cli.main(["sweep", "collect", str(runs), "-o", str(tmp_path / "table.parquet")]) == 0
    assert parquet.read_table(tmp_path / "table.parquet").to_pylist() == rows


def test_a_run_with_two_results_is_not_collected(swept, tmp_path):
    study, runs, _ = swept
    assert cli.main(["sweep", str(study), "-o", str(tmp_path / "other"), "--shard", "1/4"]) == 0
    (done,) = [run for run in run_folders(tmp_path / "other") if run.state == "done"]
    assert len(collect([runs, tmp_path / "other"])) == 4
    done.file("results.json").write_text("{}")
    with pytest.raises(ValueError, match="are results of one run and differ"):
        collect([runs, tmp_path / "other"])


def test_parts_are_every_nth_run():
    names = [str(number) for number in range(7)]
    parts = [shard_of(names, f"{part}/3") for part in (1, 2, 3)]
    assert parts[0] == ["0", "3", "6"] and sorted(sum(parts, [])) == names
    for wrong in ("0/3", "4/3", "1", "a/b", "1/0", "-1/2"):
        with pytest.raises(ValueError, match="shard must be i/n with i from 1 to n"):
            shard_of(names, wrong)


@pytest.mark.parametrize(
    "argv, words",
    [
        (["{study}"], "-o DIR is missing"),
        (["{study}", "runs", "-o", "{new}"], "runs is one word too many"),
        (["{folder}/absent.toml", "-o", "{new}"], "absent.toml: No such file"),
        (["{study}", "-o", "{folder}"], "holds other files and no runs"),
        (["{study}", "-o", "{study}"], "is a file: give the name of a folder"),
        (["{study}", "-o", "{new}/deeper/runs"], "cannot be made: the folder .* does not exist"),
        (
            ["{study}", "-o", "{new}", "--jobs", "2", "--dask", "tcp://host:1"],
            "--jobs and --dask contradict each other",
        ),
        (["{study}", "-o", "{new}", "--shard", "3/2"], "shard must be i/n with i from 1 to n, .* but is '3/2'"),
        (["{study}", "-o", "{new}", "--what", "history"], "--what does not go with a study"),
        (["status", "{new}"], "there is no folder .*: give the folder of a sweep"),
        (["status", "{folder}"], "holds no runs: npresnext sweep STUDY.toml -o"),
        (["status"], "status needs one folder"),
        (["status", "{folder}", "--jobs", "2"], "--jobs does not go with status"),
        (["collect", "{folder}"], "-o FILE is missing"),
        (["collect", "-o", "{new}.csv"], "collect needs the folder of a sweep"),
        (["collect", "{runs}", "-o", "{new}.xls"], "none of .csv, .jsonl, .parquet"),
        (
            ["collect", "{runs}", "-o", "{new}.csv", "--what", "norms"],
            "what must be one of results, history, steps",
        ),
        (["collect", "{runs}", "-o", "{study}"], "the extension of .*study.toml is none of"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_file(swept, tmp_path, argv, words, capsys):
    study = write_study(tmp_path, seeds=1, epochs=1)
    places = {"study": study, "folder": tmp_path, "new": tmp_path / "new", "runs": swept[1]}
    before = sorted(path.name for path in tmp_path.iterdir())
    assert cli.main(["sweep", *(word.format(**places) for word in argv)]) == cli.MISTAKE
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert re.search(words, captured.err), captured.err
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("module, option", [("joblib", ["--jobs", "2"]), ("distributed", ["--dask", "tcp://host:1"])])
def test_a_missing_package_is_named_before_anything_is_written(tmp_path, capsys, monkeypatch, module, option):
    monkeypatch.setitem(sys.modules, module, None)
    study = write_study(tmp_path, seeds=1, epochs=1)
    assert cli.main(["sweep", str(study), "-o", str(tmp_path / "runs"), *option]) == cli.MISTAKE
    extra = {"joblib": "sweep", "distributed": "dask"}[module]
    assert f"needs {module}: pip install 'npresnext[{extra}]'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_missing_images_are_found_before_anything_is_written(tmp_path, capsys):
    study = tmp_path / "study.toml"
    study.write_text('data_dir = "absent"\n[[run]]\ndata = "fashion-mnist"\n')
    assert cli.main(["sweep", str(study), "-o", str(tmp_path / "runs")]) == cli.MISTAKE
    assert f"there is no folder {tmp_path / 'absent'} with the files of fashion-mnist" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert len(read_study(study).runs) == 1

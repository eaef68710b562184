"""Rows that were written are rows that are read; files that are no rows are refused by line."""

import json
import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npresnext as nx
from npresnext.errors import FileFormatError, InvalidValueError
from npresnext.gradients import COLUMNS, open_rows, read_rows
from npresnext.gradients.files import INTEGER_COLUMNS

from tests.support.rows import ENDINGS

NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8) | st.sampled_from(
    ["0", "1e5", "nan", "None", "layer1.0.conv2", 'a,"b"', "-1"]
)
NUMBERS = st.none() | st.floats()


@st.composite
def written_rows(draw):
    rows = []
    for _ in range(draw(st.integers(1, 5))):
        groups = draw(st.integers(1, 40))
        row = {name: draw(NUMBERS) for name in COLUMNS}
        row |= {name: draw(st.none() | st.integers(0, 2**62)) for name in ("step", "epoch", "numel")}
        rows.append(row | {"layer": draw(NAMES), "groups": groups, "conv_group": draw(st.integers(0, groups - 1))})
    return rows


def as_stored(value, name, ending):
    """What a file can hold of a value: JSON Lines no NaN, NPZ no None among floats."""
    if name in INTEGER_COLUMNS or name == "layer":
        return value
    if ending == ".jsonl" and value is not None and not math.isfinite(value):
        return None
    return math.nan if ending == ".npz" and value is None else value


@settings(max_examples=60)
@given(rows=written_rows(), ending=st.sampled_from(ENDINGS))
def test_what_was_written_is_read(rows, ending):
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / f"norms{ending}")
        with open_rows(path, COLUMNS) as file:
            file.write(rows)
        found = read_rows(path)
    expected = [{name: as_stored(row[name], name, ending) for name in COLUMNS} for row in rows]
    assert [list(row) for row in found] == [list(row) for row in expected]
    for got, wanted in zip(found, expected):
        for name in COLUMNS:
            assert type(got[name]) is type(wanted[name])
            assert got[name] == wanted[name] or math.isnan(got[name]) and math.isnan(wanted[name])


@pytest.mark.parametrize("ending", ENDINGS)
def test_rows_of_numpys_numbers_are_written_as_numbers(tmp_path, ending):
    row = {"step": np.int64(3), "layer": np.str_("0"), "conv_group": np.int32(0), "groups": 1, "l2": np.float32(0.5)}
    with open_rows(str(tmp_path / f"norms{ending}"), list(row)) as file:
        file.write([row])
    assert read_rows(tmp_path / f"norms{ending}") == [
        {"step": 3, "layer": "0", "conv_group": 0, "groups": 1, "l2": 0.5}
    ]


def test_tables_of_other_programs_are_read(tmp_path):
    """As pandas writes them: an index without a name, integers as floats, a column more; and a byte order mark."""
    path = tmp_path / "norms.csv"
    path.write_text("\ufeff,layer,conv_group,groups,l2,note\n0,7,0.0,2.0,0.5,first\n1,7,1.0,2.0,,\n", "utf-8")
    assert read_rows(path) == [
        {"": 0, "layer": "7", "conv_group": 0, "groups": 2, "l2": 0.5, "note": "first"},
        {"": 1, "layer": "7", "conv_group": 1, "groups": 2, "l2": None, "note": None},
    ]
    (tmp_path / "norms.dat").write_text('{"layer": 7, "conv_group": 1.0, "groups": 2, "l2": NaN}\n\n')
    (row,) = read_rows(tmp_path / "norms.dat", format="jsonl")
    assert (row["layer"], row["conv_group"], math.isnan(row["l2"])) == ("7", 1, True)


HEAD = "layer,conv_group,groups,l2\n"
GOOD = {"layer": "a", "conv_group": 0, "groups": 1}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "a.csv has no rows"),
        ("a.csv", HEAD, "a.csv has no rows"),
        ("a.csv", "step,l2\n1,2\n", "has no column layer, conv_group, groups: .* here are step, l2"),
        ("a.csv", "step;layer;conv_group;groups\n", "has no column layer"),
        ("a.csv", HEAD + "a,0,1,2\nb,0\n", "line 3, has 2 fields, but the first line has 4"),
        ("a.csv", HEAD + "a\n", "line 2, has 1 field, but the first line has 4"),
        ("a.csv", HEAD + "a,x,1,2\n", "line 2, has conv_group='x': expected an integer"),
        ("a.csv", HEAD + "a,0.5,1,2\n", "line 2, has conv_group='0.5'"),
        ("a.csv", HEAD + "a,inf,1,2\n", "line 2, has conv_group='inf'"),
        ("a.csv", HEAD + "a,,1,2\n", "line 2, has no conv_group"),
        ("a.csv", HEAD + ",0,1,2\n", "line 2, has no layer"),
        ("a.csv", HEAD + "a,3,2,2\n", "line 2, has conv_group=3 and groups=2"),
        ("a.csv", HEAD + 'a,"0', "line 2, is not CSV"),
        ("a.csv", HEAD.encode() + b"\xff,0,1,2\n", "a.csv is not UTF-8 text"),
        ("a.jsonl", "", "a.jsonl has no rows"),
        ("a.jsonl", json.dumps(GOOD) + '\n{"layer"', "line 2, is not JSON"),
        ("a.jsonl", "[" * 100_000, "line 1, is not JSON"),
        ("a.jsonl", "[1]", "line 1, is not a JSON object"),
        ("a.jsonl", "{}", "line 1, has no column layer, conv_group, groups"),
        ("a.jsonl", json.dumps({**GOOD, "groups": True}), "has groups=True: expected an integer"),
        ("a.jsonl", json.dumps({**GOOD, "groups": [1]}), r"has groups=\[1\]: expected an integer"),
        ("a.npz", b"no archive", "a.npz is not an NPZ file$"),
        ("a.npz", b"", "a.npz is not an NPZ file$"),
    ],
)
def test_what_is_no_file_of_rows_is_refused_by_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(FileFormatError, match=message):
        read_rows(tmp_path / name)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"layer": ["a", "b"], "conv_group": [0], "groups": [1]}, "expected one axis and one length"),
        ({"layer": "a", "conv_group": 0, "groups": 1}, "expected one axis"),
        ({"layer": np.array(["a"], object), "conv_group": [0], "groups": [1]}, "is not an NPZ file of columns"),
        ({"layer": ["a"]}, "has no column conv_group, groups"),
        ({"layer": ["a"], "conv_group": [-1], "groups": [1]}, "row 0, has no conv_group"),
    ],
)
def test_npz_files_of_other_arrays_are_refused(tmp_path, columns, message):
    np.savez(tmp_path / "a.npz", **columns)
    with pytest.raises(FileFormatError, match=message):
        read_rows(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("record", "place", "byte"),
    [
        (b"PK\x01\x02", 6, 0xCF),  # the version of ZIP that is needed: NotImplementedError
        (b"PK\x03\x04", 59, 0xFF),  # the compressed values: zlib.error
        (b"PK\x01\x02", 8, 0x01),  # the flag of an encrypted entry: RuntimeError
    ],
)
def test_a_damaged_npz_file_is_refused(tmp_path, record, place, byte):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, layer=np.array(["a"] * 99), conv_group=np.zeros(99, int), groups=np.ones(99, int))
    content = bytearray(path.read_bytes())
    content[content.index(record) + place] = byte
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="is not an NPZ file of columns"):
        read_rows(path)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "npz", "parquet"])
def test_columns_of_text_of_another_program_are_written_and_read(tmp_path, ending):
    if ending == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    rows = [{**GOOD, "run": "a", "note": None, "l2": 0.5}, {**GOOD, "run": None, "note": "x", "l2": None}]
    with open_rows(tmp_path / f"norms.{ending}", list(rows[0])) as file:
        file.write(rows)
    found = read_rows(tmp_path / f"norms.{ending}")
    if ending == "npz":
        assert math.isnan(found[1].pop("l2"))
        del rows[1]["l2"]
    assert found == rows


def test_an_npy_file_and_a_format_that_nobody_knows_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(FileFormatError, match="is not an NPZ file"):
        read_rows(tmp_path / "a.npy", format="npz")
    with pytest.raises(InvalidValueError, match=r"a\.npy is none of \.csv, \.jsonl, \.npz, \.parquet"):
        read_rows(tmp_path / "a.npy")
    with pytest.raises(FileNotFoundError):
        read_rows(tmp_path / "absent.csv")


def test_it_is_a_public_name():
    assert nx.gradients.read_rows is read_rows

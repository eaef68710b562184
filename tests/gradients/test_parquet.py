"""Parquet files of rows, read by pyarrow alone, and as other programs write them."""

import math

import numpy as np
import pytest

from npresnext.errors import FileFormatError, InvalidValueError
from npresnext.gradients import COLUMNS, PROVENANCE, open_rows, read_rows

from tests.support.rows import rows_of_a_run

arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
pytestmark = pytest.mark.oracle


def test_pyarrow_reads_the_rows_with_their_types(tmp_path):
    rows = rows_of_a_run()
    rows[0] |= {"epoch": None, "ratio": None, "rms": math.nan, "loss": None}
    with open_rows(tmp_path / "norms.parquet", [*COLUMNS, *PROVENANCE]) as file:
        file.write(rows[:5])
        file.write(rows[5:])
    table = parquet.read_table(tmp_path / "norms.parquet")
    found = table.to_pylist()
    assert found[1:] == rows[1:] and math.isnan(found[0].pop("rms")) and math.isnan(rows[0].pop("rms"))
    assert found[0] == rows[0]
    kinds = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert {kinds[name] for name in ("step", "conv_group", "accumulated")} == {"int64"}
    assert {kinds[name] for name in ("l2", "ratio")} == {"double"}
    assert {kinds[name] for name in ("layer", "clipped")} == {"string"}


def test_tables_of_other_programs_are_read(tmp_path):
    """Integers in other types, a column more, text in another type."""
    layers = arrow.array(["7", "7"]).dictionary_encode()
    table = {"layer": layers, "conv_group": np.array([0.0, 1.0]), "groups": arrow.array([2, 2], arrow.int8())}
    parquet.write_table(arrow.table({**table, "l2": [0.5, None], "note": ["a", None]}), tmp_path / "norms.parquet")
    assert read_rows(tmp_path / "norms.parquet") == [
        {"layer": "7", "conv_group": 0, "groups": 2, "l2": 0.5, "note": "a"},
        {"layer": "7", "conv_group": 1, "groups": 2, "l2": None, "note": None},
    ]


def test_nothing_is_written_before_the_file_is_closed_or_if_that_fails(tmp_path):
    file = open_rows(tmp_path / "norms.parquet", COLUMNS)
    file.write(rows_of_a_run())
    assert list(tmp_path.iterdir()) == []
    file.write([{"step": "many"}])
    with pytest.raises(arrow.ArrowException):
        file.close()
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_rows_are_refused(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(FileFormatError, match="a.parquet is not a Parquet file"):
        read_rows(tmp_path / "a.parquet")
    parquet.write_table(arrow.table({"layer": ["a"], "conv_group": [None], "groups": [1]}), tmp_path / "b.parquet")
    with pytest.raises(FileFormatError, match="row 0, has no conv_group"):
        read_rows(tmp_path / "b.parquet")
    parquet.write_table(arrow.table({"layer": ["a"]}), tmp_path / "c.parquet")
    with pytest.raises(FileFormatError, match="has no column conv_group, groups"):
        read_rows(tmp_path / "c.parquet")
    with pytest.raises(FileNotFoundError):
        read_rows(tmp_path / "absent.parquet")
    with pytest.raises(InvalidValueError, match="Parquet cannot be streamed"):
        open_rows("-", COLUMNS, format="parquet")

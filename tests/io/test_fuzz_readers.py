"""The short version of scripts/fuzz_readers.py."""

import os
import subprocess
import sys

import pytest

from tests.support.paths import SCRIPTS

SCRIPT = SCRIPTS / "fuzz_readers.py"


def test_mutated_files_give_arrays_or_a_format_error_and_execute_nothing(tmp_path):
    pytest.importorskip("safetensors")
    pytest.importorskip("ml_dtypes")
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, SCRIPT, "--files", "500", "--seed", "3", "--keep", tmp_path / "findings"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": 500 files, ") == 4 and done.stdout.count(" 0 findings") == 4

"""Freed memory stays with the process inside keep_freed_memory(), and goes back to the system at its end."""

import subprocess
import sys

import pytest

from npresnext.training import keep_freed_memory, memory

MEASURE = """
import contextlib, resource
import numpy as np
from npresnext.training import keep_freed_memory

def pages():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

def faults(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        arrays = [np.ones(2**18, "f") for _ in range(64)]  # 64 MiB
        del arrays
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def step():
    faults(2)
    print(faults(3), pages())

step()
with keep_freed_memory():
    step()
    with keep_freed_memory():
        pass
    step()
print(0, pages())
"""


@pytest.mark.skipif(memory._glibc() is None, reason="only glibc's memory can be kept")
def test_memory_is_kept_inside_the_block_and_given_back_at_its_end():
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, timeout=60, check=True)
    usual, kept, after_an_inner_block, (_, pages_at_end) = (map(int, line.split()) for line in done.stdout.splitlines())
    resource = pytest.importorskip("resource")
    usual_faults, usual_pages = usual
    a_round = 64 * 2**20 // resource.getpagesize()
    assert usual_faults > a_round
    for faults, pages in (kept, after_an_inner_block):
        assert faults < a_round // 10
        assert pages > usual_pages + a_round // 2
    assert pages_at_end < usual_pages + a_round // 4


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(memory, "_glibc", lambda: None)
    with keep_freed_memory():
        pass

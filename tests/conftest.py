"""Profiles, the engines under test, and a guard against leaked global state."""

import importlib
import os

if "PYTEST_XDIST_WORKER" in os.environ:  # one core a worker: set before NumPy loads its BLAS
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import npresnext as nx
from npresnext.engines import CpuEngine, engines_for

settings.register_profile(
    "ci", derandomize=True, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("dev", parent=settings.get_profile("ci"), derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(params=[*engines_for("numpy"), "cpu, tiny too"], scope="session")
def engine(request):
    """Every engine that takes NumPy arrays: ``with nx.use_engine(engine)``.

    Examples are tiny, and the CPU engine hands tiny convolutions to the lesson. The last engine takes them all.
    """
    return CpuEngine(least_macs=0) if request.param == "cpu, tiny too" else request.param


@pytest.fixture(params=["numpy", "array_api_strict", "cupy"], scope="session")
def xp(request):
    """Every array library: NumPy, the strict one that guards the CUDA path on any machine, CuPy where a device is."""
    if request.param == "cupy":
        try:
            nx.backend._namespace("cupy")
        except nx.errors.BackendError as error:
            pytest.skip(str(error))
    return importlib.import_module(request.param)


@pytest.fixture(autouse=True)
def no_leaked_state():
    """Fail the test that leaves a backend behind or draws from NumPy's global generator."""
    backend, state = nx.get_backend(), np.random.get_state()[1].copy()
    yield
    assert nx.get_backend() == backend, "the test left another backend behind"
    assert (np.random.get_state()[1] == state).all(), "the test drew from NumPy's global generator"

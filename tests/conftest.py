"""Profiles, the engines under test, and a guard against leaked global state."""

import importlib
import os

if "PYTEST_XDIST_WORKER" in os.environ:  # one core a worker: set before NumPy loads its BLAS
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import npresnext as nx
from npresnext.engines import engines_for
from npresnext.engines.cpu import convolution as cpu

settings.register_profile(
    "ci", derandomize=True, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("dev", parent=settings.get_profile("ci"), derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# examples are tiny: let the fast engine take them rather than hand them to the lesson
cpu.SMALL = 0


@pytest.fixture(params=engines_for("numpy"), scope="session")
def engine(request):
    """Every engine that takes NumPy arrays, by name: ``with nx.use_engine(engine)``."""
    return request.param


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

"""``npresnext info``: the facts about this installation that belong in a bug report."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
from collections.abc import Iterator

from .. import __version__, get_backend, use_backend
from ..errors import BackendError

HELP = "show versions, backend, devices, BLAS and its threads, and the available data sets"

FASHION_MNIST = "/usr/share/datasets/fashion-mnist"  # where Debian and Ubuntu put it

OPTIONAL = {
    "tqdm": "train",
    "matplotlib": "plot",
    "hypothesis": "testing",
    "onnx": "onnx",
    "safetensors": "safetensors",
    "ml_dtypes": "bfloat16",
    "Pillow": "images",
    "pyarrow": "parquet",
    "tensorboardX": "tensorboard",
    "joblib": "sweep",
    "distributed": "dask",
    "mpi4py": "mpi",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = "example:\n  npresnext info        paste this into a bug report"


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    for name, value in facts():
        print(f"{name:<14}{value}")
    return 0


def facts() -> Iterator[tuple[str, str]]:
    """Yield the facts as pairs of a name and a value."""
    yield "npresnext", __version__
    yield "Python", f"{platform.python_version()} on {platform.platform()}, {os.cpu_count()} CPUs"
    yield "NumPy", importlib.metadata.version("numpy")
    yield from _blas()
    yield "backend", get_backend()
    yield "CUDA", _cuda()
    for package, extra in OPTIONAL.items():
        yield package, _version(package) or f"not installed: pip install 'npresnext[{extra}]'"
    yield from _data()


def _blas() -> Iterator[tuple[str, str]]:
    """Yield the loaded thread pools, as threadpoolctl finds them."""
    import numpy.linalg  # noqa: F401  (so that the BLAS is loaded)
    from threadpoolctl import threadpool_info

    for pool in threadpool_info():
        architecture = pool.get("architecture", "")
        yield (
            pool["user_api"].upper(),
            (f"{pool['internal_api']} {pool['version'] or ''} {architecture}, threads: {pool['num_threads']}"),
        )


def _cuda() -> str:
    """Return the devices that CuPy finds, or the reason why there is none."""
    try:
        with use_backend("cupy"):
            import cupy
    except BackendError as error:
        return str(error)
    names = [
        cupy.cuda.runtime.getDeviceProperties(index)["name"].decode()
        for index in range(cupy.cuda.runtime.getDeviceCount())
    ]
    return f"CuPy {cupy.__version__} on {', '.join(names)}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _data() -> Iterator[tuple[str, str]]:
    """Yield the data sets that are available."""
    from ..data import load_digits
    from ..data.idx import FASHION_MNIST_HELP

    train, test = load_digits()
    yield "digits", f"{len(train)} + {len(test)} images, inside the package"
    found = os.path.isdir(FASHION_MNIST)
    yield "Fashion-MNIST", f"in {FASHION_MNIST}" if found else f"not found. {FASHION_MNIST_HELP}"

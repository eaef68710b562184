"""What the code asks of CuPy, held to the CuPy that is installed; no device is needed, but CuPy is."""

import ast
import importlib
import inspect
import re
import types
from pathlib import Path

import numpy as np
import pytest

import npresnext as nx
from npresnext import backend
from npresnext.engines.cuda import launch as cuda_launch
from npresnext.engines.cuda import matmul as cuda_matmul

from tests.support.cuda_on_cpu import INSTANCES

ROOT = Path(nx.__file__).parent


@pytest.fixture
def cupy():
    return pytest.importorskip("cupy", reason="CuPy is not installed")


@pytest.fixture
def cublas(cupy):
    try:
        return importlib.import_module("cupy.cuda").cublas
    except ImportError as error:
        pytest.skip(f"CUDA's libraries are not installed: {error}")


def uses_of_xp():
    """Every ``xp.NAME`` and the keywords of its calls, in all code that computes with any array library."""
    for path in sorted(ROOT.rglob("*.py")):
        if path.name.startswith("cpu") or path.parent.name == "testing":
            continue
        tree = ast.parse(path.read_text("utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        keywords = {id(call.func): [keyword.arg for keyword in call.keywords] for call in calls}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "xp":
                yield f"{path.name}:{node.lineno}", node.attr, keywords.get(id(node), [])


def test_the_search_for_names_finds_them():
    found = {name for _, name, _ in uses_of_xp()}
    assert {"reshape", "matmul", "astype", "where", "sqrt", "permute_dims", "float32"} <= found


def test_cupy_has_every_name_and_keyword_that_the_code_asks_of_an_array_library(cupy):
    for place, name, keywords in uses_of_xp():
        if name in ("vecdot", "__name__"):  # asked for with hasattr
            continue
        assert hasattr(cupy, name), f"{place}: cupy has no {name}"
        try:
            known = inspect.signature(getattr(cupy, name)).parameters
        except (TypeError, ValueError):  # written in C
            continue
        missing = [key for key in keywords if key not in known]
        assert not missing, f"{place}: cupy.{name} takes no {', '.join(missing)}"


def test_cupy_has_every_name_below_it_that_the_code_uses(cupy):
    """``cupy.a.b.c`` in the package, the tests and the benchmark."""
    files = [*ROOT.rglob("*.py"), *Path(__file__).parent.glob("test_device.py")]
    found = {chain for path in files for chain in re.findall(r"\b(cupyx?(?:\.[a-zA-Z_]\w*)+)", path.read_text("utf-8"))}
    chains = {chain for chain in found if not chain.startswith("cupy.cuda.cublas")}
    assert {"cupy.RawModule", "cupy.cuda.compiler.CompileException", "cupy.cuda.runtime.getDeviceCount"} <= chains
    importlib.import_module("cupyx")
    for chain in sorted(chains - {"cupy.show_config"}):
        thing = importlib.import_module(chain.partition(".")[0])
        for name in chain.split(".")[1:]:
            assert hasattr(thing, name), f"there is no {chain}"
            thing = getattr(thing, name)


def test_arrays_of_cupy_are_known_by_their_type_and_have_what_the_launches_read(cupy):
    assert cupy.ndarray.__module__.partition(".")[0] == cupy.__name__ == "cupy"
    for name in ("get", "data", "device", "flags", "conj", "__cuda_array_interface__"):
        assert hasattr(cupy.ndarray, name)


def test_running_out_of_memory_is_a_memory_error_in_cupy(cupy):
    assert issubclass(cupy.cuda.memory.OutOfMemoryError, MemoryError)


def test_a_raw_module_takes_what_it_is_given(cupy):
    module = cupy.RawModule(code="", options=("-std=c++17",), name_expressions=("f<1>",))  # compiles at first use
    assert module.code == "" and module.name_expressions == ("f<1>",)


def test_what_hinders_cupy_here_is_said_in_one_of_our_errors(cupy):
    if cupy.cuda.is_available():
        pytest.skip("nothing hinders CuPy here")
    with pytest.raises(nx.errors.NoDeviceError, match=f"CuPy {cupy.__version__} is installed but finds no CUDA device"):
        backend._namespace("cupy")


def test_cublas_and_its_constants_are_where_the_products_look_for_them(cupy, cublas):
    runtime, device = cupy.cuda.runtime, cupy.cuda.device
    for kind, compute, _ in cuda_matmul._TYPES.values():
        assert isinstance(getattr(runtime, kind), int) and isinstance(getattr(cublas, compute), int)
    assert (cublas.CUBLAS_COMPUTE_32F_FAST_TF32, cublas.CUBLAS_GEMM_DEFAULT) == (77, -1)
    assert callable(device.get_cublas_handle) and callable(device.get_device_id)


def test_cublas_takes_the_arguments_of_a_product_in_this_order(cublas, monkeypatch):
    declared = re.search(r"\((.*)\)", cublas.gemmStridedBatchedEx.__doc__).group(1)
    order = [argument.split()[-1] for argument in declared.split(",")]
    names = """handle transa transb m n k alpha A Atype lda strideA B Btype ldb strideB beta C Ctype ldc strideC
    batchCount computeType algo"""
    assert order == names.split()
    given = []
    fake = types.SimpleNamespace(
        **{name: getattr(cublas, name) for name in dir(cublas) if name.startswith("CUBLAS")},
        gemmStridedBatchedEx=lambda *arguments: given.append(arguments),
    )
    cuda = importlib.import_module("cupy.cuda")
    monkeypatch.setattr(cuda, "cublas", fake)
    monkeypatch.setattr(cuda.device, "get_cublas_handle", lambda: 1)
    monkeypatch.setattr(cuda_matmul, "check_device", lambda array: None)
    shapes = (1, 4, 6), (3, 6, 5), (3, 4, 5)
    pointers = (
        types.SimpleNamespace(shape=shape, dtype=np.dtype("float32"), data=types.SimpleNamespace(ptr=number))
        for number, shape in enumerate(shapes)
    )
    cuda_matmul.product(*pointers)
    call = dict(zip(order, given[0], strict=True))
    assert (call["m"], call["n"], call["k"], call["batchCount"]) == (5, 4, 6, 3)  # columns first: outᵀ = bᵀ·aᵀ
    assert (call["A"], call["strideA"], call["B"], call["strideB"], call["C"]) == (1, 30, 0, 0, 2)
    assert (call["lda"], call["ldb"], call["ldc"], call["computeType"]) == (5, 6, 5, 68)


@pytest.mark.parametrize("file", INSTANCES)
def test_the_kernels_compile_as_cupy_compiles_them(cupy, file):
    """By NVRTC, with the options that CuPy 14 adds (cupy/cuda/compiler.py), for an H100."""
    try:
        from cuda.pathfinder import find_nvidia_header_directory

        folder = find_nvidia_header_directory("cudart")
        compiler = importlib.import_module("cupy.cuda.compiler")
        compiler._get_nvrtc_version()
    except Exception as error:  # each library has its own
        pytest.skip(f"NVRTC is not installed: {error}")
    if folder is None:
        pytest.skip("CUDA's headers are not installed")
    names = [name for name in INSTANCES[file] if re.search("float(>|, 8)|bfloat16(>|, 8)|double(>|, 4)", name)]
    program = compiler._NVRTCProgram(cuda_launch.source(file), file, name_expressions=names, method="cubin")
    options = ("-std=c++17", f"-I{folder}", "-ftz=true", "-arch=sm_90", "--device-as-default-execution-space")
    binary, mapping = program.compile(options, None)
    assert set(mapping) == set(names) and all(mangled.encode() in binary for mangled in mapping.values())

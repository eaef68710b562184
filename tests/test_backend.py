"""The toggle: scoped and process-wide, seen by threads, restored on error; arrays decide; clear errors."""

import operator
import re
import subprocess
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import array_api_strict
import numpy as np
import pytest

import npresnext as nx
from npresnext import backend
from npresnext.engines import ENGINES, Engine
from npresnext.errors import (
    BackendMixError,
    BackendNotInstalledError,
    InvalidTypeError,
    InvalidValueError,
    NoDeviceError,
)


@pytest.fixture
def fake_cupy(monkeypatch):
    """A stand-in for CuPy with a device: enough for the toggle."""
    module = types.ModuleType("cupy")
    module.__version__ = "14.2"
    module.cuda = types.SimpleNamespace(is_available=lambda: True)
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr(backend, "_of_process", None)
    return module


def test_the_toggle_is_scoped_and_restored_on_error(fake_cupy):
    with nx.use_backend("cupy"):
        assert nx.get_backend() == "cupy"
        with nx.use_backend("numpy"):
            assert nx.get_backend() == "numpy"
        assert nx.get_backend() == "cupy"
    with pytest.raises(RuntimeError), nx.use_backend("cupy"):
        raise RuntimeError
    assert nx.get_backend() == "numpy"


def test_set_backend_is_seen_by_every_thread(fake_cupy):  # thinc#548, thinc#469
    seen = []
    nx.set_backend("cupy")
    try:
        thread = threading.Thread(target=lambda: seen.append(nx.get_backend()))
        thread.start()
        thread.join()
    finally:
        nx.set_backend("numpy")
    assert seen == ["cupy"]


def test_use_backend_stays_in_its_thread(fake_cupy):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()  # born outside: what is born inside inherits the block in free-threaded Python
        with nx.use_backend("cupy"):
            assert pool.submit(nx.get_backend).result() == "numpy"


def test_a_missing_cupy_and_a_missing_device_are_two_errors(fake_cupy, monkeypatch):
    fake_cupy.cuda = types.SimpleNamespace(is_available=lambda: False)
    with pytest.raises(NoDeviceError, match="CuPy 14.2 is installed but finds no CUDA device"):
        nx.set_backend("cupy")
    monkeypatch.setitem(sys.modules, "cupy", None)  # makes the import fail
    with pytest.raises(BackendNotInstalledError, match=r"pip install 'npresnext\[cuda12\]'"):
        nx.set_backend("cupy")
    assert nx.get_backend() == "numpy"


def test_an_unknown_backend_says_what_there_is():
    with pytest.raises(InvalidValueError, match="backend must be one of numpy, cupy, but is 'torch'"):
        nx.set_backend("torch")


def test_the_environment_is_read_at_first_use_not_at_import():
    code = "import os, npresnext as nx; os.environ['NPRESNEXT_BACKEND'] = 'tpu'; print(nx.get_backend()); nx.asarray(1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "tpu\n" and "backend must be one of numpy, cupy, but is 'tpu'" in done.stderr


def test_a_mixture_of_libraries_names_both_arguments():
    x, weight = np.zeros((1, 1, 2, 2)), array_api_strict.zeros((1, 1, 2, 2))
    with pytest.raises(BackendMixError, match="x is an array of numpy and weight one of array_api_strict"):
        nx.conv2d(x, weight)


MAPS, CHANNELS, MATRIX = np.ones((2, 3, 4, 4)), np.ones(3), np.ones((3, 3))
CONVOLUTION = {"x": MAPS, "weight": np.ones((3, 3, 1, 1))}
STATISTICS = {"x": MAPS, "mean": CHANNELS, "var": CHANNELS, "weight": CHANNELS}
OPERATIONS = {  # every operation: its floating arrays, which must be of one library and dtype, and what else it needs
    "conv2d": (CONVOLUTION | {"bias": CHANNELS}, {}),
    "conv2d_backward": (CONVOLUTION | {"grad_output": MAPS}, {}),
    "conv2d_input_grad": ({"grad_output": MAPS, "weight": np.ones((3, 3, 1, 1))}, {"x_shape": MAPS.shape}),
    "conv2d_weight_grad": ({"grad_output": MAPS, "x": MAPS}, {"weight_shape": (3, 3, 1, 1)}),
    "conv.conv2d_relu": (CONVOLUTION | {"bias": CHANNELS, "shortcut": MAPS}, {}),
    "im2col": ({"x": MAPS}, {"kernel_size": 2}),
    "col2im": ({"columns": np.ones((2, 12, 9))}, {"x_shape": MAPS.shape, "kernel_size": 2}),
    "linear": ({"x": MATRIX, "weight": MATRIX, "bias": CHANNELS}, {}),
    "linear_backward": ({"grad_output": MATRIX, "x": MATRIX, "weight": MATRIX}, {}),
    "batch_norm": (STATISTICS | {"bias": CHANNELS}, {}),
    "batch_norm_backward": (STATISTICS | {"grad_output": MAPS}, {}),
    "batch_norm_relu": (STATISTICS | {"bias": CHANNELS, "shortcut": MAPS}, {}),
    "batch_norm_relu_backward": (STATISTICS | {"grad_output": MAPS, "output": MAPS}, {}),
    "relu": ({"x": MAPS}, {}),
    "relu_backward": ({"grad_output": MAPS, "output": MAPS}, {}),
    "activation.relu_": ({"x": MAPS, "shortcut": MAPS}, {}),
    "add": ({"x": MAPS, "y": MAPS}, {}),
    "residual.add_": ({"x": MAPS, "y": MAPS}, {}),
    "add_backward": ({"grad_output": MAPS}, {}),
    "max_pool2d": ({"x": MAPS}, {"kernel_size": 1}),
    "max_pool2d_backward": ({"grad_output": MAPS, "x": MAPS, "output": MAPS}, {"kernel_size": 1}),
    "avg_pool2d": ({"x": MAPS}, {"kernel_size": 1}),
    "avg_pool2d_backward": ({"grad_output": MAPS}, {"x_shape": MAPS.shape, "kernel_size": 1}),
    "global_avg_pool2d": ({"x": MAPS}, {}),
    "global_avg_pool2d_backward": ({"grad_output": np.ones((2, 3, 1, 1))}, {"x_shape": MAPS.shape}),
    "cross_entropy": ({"logits": MATRIX, "weight": CHANNELS}, {"target": np.arange(3)}),
    "cross_entropy_backward": ({"logits": MATRIX, "weight": CHANNELS}, {"grad_output": None, "target": np.arange(3)}),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_array_of_every_operation_is_of_the_same_library_and_floating_dtype(operation):
    function = operator.attrgetter(operation)(nx.functional)
    arrays, others = OPERATIONS[operation]
    copies = {name: array.copy() for name, array in arrays.items()}
    function(**copies, **others)
    integers = {name: array.astype(int) for name, array in arrays.items()}
    with pytest.raises(InvalidTypeError, match="has dtype int64: expected"):
        function(**integers, **others)
    for name, array in arrays.items() if len(arrays) > 1 else ():
        with pytest.raises(BackendMixError, match=rf"\b{name}\b.* array_api_strict\b"):
            function(**copies | {name: array_api_strict.asarray(array)}, **others)
        with pytest.raises(InvalidTypeError, match=rf"\b{name} has dtype float32"):
            function(**copies | {name: array.astype("float32")}, **others)
    for name in arrays:
        with pytest.raises(InvalidTypeError, match=f"{name} must be an array, but is of type str"):
            function(**copies | {name: "image"}, **others)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_convolution_linear_layers_and_averages_take_complex_numbers_and_nothing_else_does(operation):
    arrays, others = OPERATIONS[operation]
    arrays = {name: array.astype(complex) for name, array in arrays.items()}
    function = operator.attrgetter(operation)(nx.functional)
    if re.match("(conv2d|im2col|col2im|linear|avg_pool2d|global_avg_pool2d)", operation):
        results = function(**arrays, **others)
        assert all(result.dtype == complex for result in (results if isinstance(results, tuple) else [results]))
    else:
        with pytest.raises(InvalidTypeError, match="has dtype complex128: expected a real floating dtype"):
            function(**arrays, **others)


@pytest.mark.parametrize("bad", [[[1.0]], "image", 3.0, None], ids=repr)
def test_things_that_are_no_arrays_are_refused(bad):
    came = "None$" if bad is None else "of type .*: asarray makes one$"
    with pytest.raises(InvalidTypeError, match=f"x must be an array, but is {came}"):
        nx.conv2d(bad, np.zeros((1, 1, 1, 1)))
    with pytest.raises(InvalidTypeError, match=f"weight must be an array, but is {came}"):
        nx.functional.linear_backward(np.zeros((1, 1)), np.zeros((1, 1)), bad)


def test_a_parameter_in_the_place_of_its_array_is_named():
    with pytest.raises(InvalidTypeError, match="weight must be .* is a Parameter: its array is weight.data$"):
        nx.conv2d(np.zeros((1, 1, 2, 2)), nx.nn.Parameter(np.zeros((1, 1, 1, 1))))


def test_arrays_with_a_mask_or_an_arithmetic_of_their_own_are_refused():
    masked = np.ma.masked_array(np.ones((1, 1, 2, 2)), mask=True)
    with pytest.raises(InvalidTypeError, match="x is a MaskedArray, .* to_numpy makes it an array"):
        nx.conv2d(masked, np.ones((1, 1, 1, 1)))
    with pytest.raises(InvalidTypeError, match="target is a MaskedArray"):
        nx.functional.cross_entropy(np.ones((2, 3)), np.ma.masked_array([0, 1], mask=[False, True]))
    matrix = np.ones((2, 2)).view(np.matrix)
    with pytest.raises(InvalidTypeError, match="output is a matrix"):
        nx.functional.relu_backward(np.ones((2, 2)), matrix)
    assert nx.functional.relu(nx.to_numpy(matrix)).tolist() == [[1, 1], [1, 1]]


def test_integer_images_and_mixed_dtypes_are_type_errors():
    weight = np.zeros((1, 1, 1, 1), np.float32)
    with pytest.raises(TypeError, match="x has dtype uint8: expected a floating or complex dtype"):
        nx.conv2d(np.zeros((1, 1, 2, 2), np.uint8), weight)
    with pytest.raises(TypeError, match="x has dtype float64 and weight has dtype float32"):
        nx.conv2d(np.zeros((1, 1, 2, 2)), weight)
    with pytest.raises(TypeError, match="x has dtype float32 and bias has dtype float16"):
        nx.conv2d(np.zeros((1, 1, 2, 2), np.float32), weight, np.zeros(1, np.float16))


def test_to_numpy_takes_what_speaks_array_or_dlpack():
    class OnlyDlpack:
        def __init__(self, values):
            self.values = values

        def __dlpack__(self, **options):
            return self.values.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.values.__dlpack_device__()

    values = np.arange(3.0)
    assert nx.to_numpy(OnlyDlpack(values)).tolist() == nx.asarray(OnlyDlpack(values)).tolist() == [0, 1, 2]
    assert nx.to_numpy(array_api_strict.asarray(values)).tolist() == [0, 1, 2]
    assert nx.asarray(array_api_strict.asarray(values), dtype="float32").dtype == np.float32


def test_cupys_arrays_are_told_by_their_type_and_fetched_by_their_own_method(fake_cupy):
    members = {"__module__": "cupy", "__cuda_array_interface__": {}, "get": lambda self: np.arange(2)}
    array = type("ndarray", (), members)()
    assert backend.array_module(x=array) is fake_cupy
    assert nx.to_numpy(array).tolist() == [0, 1]


ENGINE_OPERATIONS = {name for name in dir(Engine) if not name.startswith("_") and callable(getattr(Engine(), name))}


def test_every_engine_has_every_operation_and_none_of_its_own():
    assert len(ENGINE_OPERATIONS) > 30
    for engine in ENGINES.values():
        own = {name for name in dir(engine) if not name.startswith("_") and callable(getattr(engine, name))}
        assert own == ENGINE_OPERATIONS


def test_an_engine_of_ones_own_is_used_and_falls_back_to_the_lesson():
    class Loud(Engine):
        name = "loud"

        def relu(self, x):
            return 100 * super().relu(x)

    with nx.use_engine(Loud()):
        assert nx.functional.relu(np.array([-1.0, 2.0])).tolist() == [0, 200]
        assert nx.functional.add(np.ones(2), np.ones(2)).tolist() == [2, 2]
    assert nx.functional.relu(np.array([-1.0, 2.0])).tolist() == [0, 2]


def test_an_engine_refuses_arrays_of_other_libraries():
    x = array_api_strict.ones((1, 1, 2, 2))
    with nx.use_engine("cpu"), pytest.raises(InvalidTypeError, match="engine cpu cannot take arrays of array_api_str"):
        nx.conv2d(x, x)

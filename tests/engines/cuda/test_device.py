"""On a CUDA device: every engine against the definition and the kit, networks against NumPy's, no hidden traffic.

All are skipped, with the reason, where there is none.
"""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npresnext as nx
from npresnext import data, models, nn, reference
from npresnext import functional as F
from npresnext.engines import engines_for
from npresnext.engines.cuda import columns as cuda_columns
from npresnext.errors import AllocationError, BackendError, BackendMixError
from npresnext.io import load, save
from npresnext.testing import check_conv
from npresnext.testing.strategies import conv_cases
from npresnext.training import Trainer, schedules

ENGINES = engines_for("cupy")
DTYPES = ["float32", "float64", "float16", "bfloat16"]


@pytest.fixture(autouse=True, scope="module")
def cupy():
    try:
        with nx.use_backend("cupy"):
            return nx.backend.get_array_module()
    except BackendError as error:
        pytest.skip(str(error))


def as_dtype(dtype):
    return pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else np.dtype(dtype)


def on_device(array):
    with nx.use_backend("cupy"):
        return None if array is None else nx.asarray(np.ascontiguousarray(array), array.dtype)


def of_device(function):
    """Let a function of CuPy arrays take and return NumPy's."""

    def call(*arrays, **options):
        results = function(*map(on_device, arrays), **options)
        return tuple(map(nx.to_numpy, results)) if isinstance(results, tuple) else nx.to_numpy(results)

    return call


conv2d, conv2d_backward = of_device(nx.conv2d), of_device(nx.conv2d_backward)


@pytest.mark.parametrize("engine", ENGINES)
@given(case=conv_cases(), dtype=st.sampled_from(DTYPES))
@settings(max_examples=150)
def test_integers_come_out_as_defined(engine, case, dtype):
    dtype = as_dtype(dtype)
    operands = case.x(dtype), case.weight(dtype), case.bias(dtype)
    exact = [None if array is None else array.astype(float) for array in operands]
    grad = case.grad_output(dtype)
    with nx.use_engine(engine):
        y = conv2d(*operands, **case.kwargs)
        dx, dweight, _ = conv2d_backward(grad, *operands[:2], **case.kwargs)
    assert (y.astype(float) == reference.conv2d(*exact, **case.kwargs)).all()
    expected = reference.conv2d_input_grad(grad.astype(float), case.x_shape, exact[1], **case.kwargs)
    assert (dx.astype(float) == expected).all()
    expected = reference.conv2d_weight_grad(grad.astype(float), exact[0], case.weight_shape, **case.kwargs)
    assert (dweight.astype(float) == expected).all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_engine_passes_the_conformance_kit(engine, dtype):
    as_dtype(dtype)
    with nx.use_engine(engine):
        report = check_conv(conv2d, conv2d_backward, dtype=dtype, cases=100)
    assert report.passed, str(report)


# channels, groups, size, stride of ResNeXt-50's grouped convolutions; two dense ones
LAYERS = [
    (128, 32, 56, 1),
    (256, 32, 56, 2),
    (256, 32, 28, 1),
    (512, 32, 14, 1),
    (1024, 32, 14, 2),
    (1024, 32, 7, 1),
    (64, 1, 56, 1),
    (256, 1, 14, 2),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_the_layers_of_the_networks_equal_the_cpu_on_integers_and_themselves_on_every_run(layer):
    channels, groups, size, stride = layer
    rng, window = np.random.default_rng(0), dict(stride=stride, padding=1, groups=groups)
    x = rng.integers(-3, 4, (4, channels, size, size)).astype(np.float32)
    weight = rng.integers(-3, 4, (channels, channels // groups, 3, 3)).astype(np.float32)
    y = nx.conv2d(x, weight, **window)
    grad = rng.integers(-3, 4, y.shape).astype(np.float32)
    dx, dweight, _ = nx.conv2d_backward(grad, x, weight, **window)
    assert (conv2d(x, weight, **window) == y).all()
    got = conv2d_backward(grad, x, weight, **window)
    assert (got[0] == dx).all() and (got[1] == dweight).all()
    x, weight, grad = (rng.standard_normal(a.shape).astype(np.float32) for a in (x, weight, grad))
    first, second = (conv2d_backward(grad, x, weight, **window) for _ in range(2))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, second))


def test_columns_in_bounded_memory_equal_columns_at_once(monkeypatch):
    rng = np.random.default_rng(1)
    x, weight = rng.integers(-3, 4, (6, 80, 9, 9)).astype("f4"), rng.integers(-3, 4, (80, 80, 3, 3)).astype("f4")
    whole = conv2d(x, weight, padding=1)
    monkeypatch.setattr(cuda_columns, "WORKSPACE", 2 * 80 * 9 * 81 * 4)
    assert (conv2d(x, weight, padding=1) == whole).all()


def test_tf32_is_less_exact_and_only_where_it_is_allowed():
    rng = np.random.default_rng(2)
    x, weight = rng.standard_normal((8, 512, 14, 14)).astype("f4"), rng.standard_normal((512, 512, 1, 1)).astype("f4")
    exact = nx.conv2d(x.astype(float), weight.astype(float))
    plain = np.abs(conv2d(x, weight) - exact).max()
    with nx.use_engine("cuda", allow_tf32=True):
        short = np.abs(conv2d(x, weight) - exact).max()
    assert plain < 1e-3 and plain <= short < 1


@pytest.mark.parametrize("shape", [(64, 5, 7, 7), (4, 300, 14, 14), (2, 3, 130, 130)], ids=str)
def test_batch_norm_and_pooling_kernels_equal_the_cpu(shape):
    rng = np.random.default_rng(3)
    x, grad = (rng.standard_normal(shape).astype("f4") for _ in range(2))
    weight, bias = (rng.standard_normal(shape[1]).astype("f4") for _ in range(2))
    y, mean, var = expected = F.batch_norm(x, weight, bias)
    for a, b in zip(of_device(F.batch_norm)(x, weight, bias), expected):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    expected = F.batch_norm_backward(grad, x, mean, var, weight)
    for a, b in zip(of_device(F.batch_norm_backward)(grad, x, mean, var, weight), expected):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    pooled = F.max_pool2d(x, 3, stride=2, padding=1)
    assert (of_device(F.max_pool2d)(x, 3, stride=2, padding=1) == pooled).all()
    upstream = rng.integers(-4, 5, pooled.shape).astype("f4")
    gradient = of_device(F.max_pool2d_backward)(upstream, x, pooled, 3, stride=2, padding=1)
    assert (gradient == F.max_pool2d_backward(upstream, x, pooled, 3, stride=2, padding=1)).all()


def trainer(dtype="float64"):
    images, _ = data.load_digits()
    model = models.resnext_small(rng=0, dtype=dtype)
    optimizer = nn.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4, nesterov=True)
    return Trainer(model, optimizer, images, batch_size=16, schedule=schedules.constant(0.05))


def test_training_takes_the_steps_that_numpy_takes_and_moves_over_with_its_momentum(tmp_path):
    host, device = trainer(), trainer()
    host.run(steps=6)
    device.run(steps=3)
    device.model.to(backend="cupy")
    with nx.use_backend("cupy"):
        device.run(steps=6)
    save(tmp_path / "moved.npz", {name: nx.to_numpy(array) for name, array in device.model.state_dict().items()})
    for name, array in load(tmp_path / "moved.npz").items():
        np.testing.assert_allclose(array, host.model.state_dict()[name], rtol=1e-6, atol=1e-9, err_msg=name)


def test_a_training_step_does_not_wait_for_the_device():
    cupyx = pytest.importorskip("cupyx")
    running = trainer("float32")
    running.model.to(backend="cupy")
    with nx.use_backend("cupy"):
        running.run(steps=2)  # compiles, and makes the momentum buffers
        x, target = (on_device(a) for a in (np.ones((16, 1, 8, 8), "f4"), np.arange(16) % 10))
        running.model.train()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # CuPy warns that it may miss something
            unsynchronized = cupyx.allow_synchronize(False)
            unsynchronized.__enter__()  # from here on, waiting raises
        try:
            running.learn(x, target)
        finally:
            unsynchronized.__exit__(None, None, None)
        running.meter.read()


def test_arrays_of_numpy_and_cupy_do_not_mix():
    with pytest.raises(BackendMixError, match="x is an array of cupy and weight one of numpy"):
        nx.conv2d(on_device(np.ones((1, 1, 2, 2))), np.ones((1, 1, 1, 1)))


def test_after_too_large_a_request_the_next_call_works(cupy):
    x = cupy.broadcast_to(cupy.ones((1, 1, 1, 1), dtype="float32"), (64, 64, 200_000, 2_000))
    weight = cupy.ones((64, 64, 3, 3), dtype="float32")
    with pytest.raises(AllocationError, match="bytes, more than can be allocated here"):
        nx.conv2d(x, weight)
    assert nx.conv2d(x[:1, :, :8, :8], weight).shape == (1, 64, 6, 6)


def test_float32_gradients_are_as_exact_as_numpys():
    rng = np.random.default_rng(4)
    x, target = rng.standard_normal((4, 3, 64, 64)), rng.integers(0, 1000, 4)
    gradients, runs = {}, (("exact", "numpy", "float64"), ("numpy", "numpy", "float32"), ("cupy", "cupy", "float32"))
    for key, backend, dtype in runs:
        model, criterion = models.resnext50_32x4d(rng=0, dtype=dtype).to(backend=backend), nn.CrossEntropyLoss()
        with nx.use_backend(backend):
            criterion(model(nx.asarray(x, dtype=dtype)), nx.asarray(target))
            model.backward(criterion.backward())
        gradients[key] = {name: nx.to_numpy(p.grad).astype(float) for name, p in model.named_parameters()}
    for name, exact in gradients["exact"].items():
        ours, theirs = (np.linalg.norm(gradients[key][name] - exact) for key in ("cupy", "numpy"))
        assert ours <= 4 * theirs + 1e-7 * np.linalg.norm(exact), name

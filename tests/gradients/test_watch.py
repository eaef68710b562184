"""Hooks on PyTorch networks give the rows of group_grad_norms, and say where the gradients come from."""

import copy
import json
import math

import numpy as np
import pytest

import npresnext as nx
from npresnext.errors import BackwardError, ConfigurationError, InvalidTypeError, InvalidValueError, OutputExistsError
from npresnext.gradients import COLUMNS, PROVENANCE, read_rows, watch

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.oracle

NORMS = COLUMNS[COLUMNS.index("l2") :]


def network(*, groups=(1, 4, 8), dtype="float64", layout=torch.contiguous_format, seed=0):
    """A network with a convolution for each number of groups; weights and gradients are small integers."""
    torch.manual_seed(seed)
    layers = [torch.nn.Conv2d(8, 16 if G < 8 else 8, 3, groups=G, bias=False) for G in groups]
    for layer in layers:
        layer.weight.data = torch.randint(-3, 4, layer.weight.shape).to(getattr(torch, dtype))
    model = torch.nn.ModuleList(layers).to(memory_format=layout)
    model.forward = lambda x: sum(layer(x).sum((1, 2, 3)) for layer in layers)  # (N, 8, H, W) -> (N,)
    return model


def backward(model, x):
    """One backward pass with an upstream gradient of random integers."""
    y = model(x)
    y.backward(torch.randint(-3, 4, y.shape).to(y.dtype))


def images(dtype="float64", layout=torch.contiguous_format):
    return torch.randint(-3, 4, (2, 8, 5, 5)).to(getattr(torch, dtype)).to(memory_format=layout)


def norms_of(rows):
    return [{name: row[name] for name in COLUMNS} for row in rows]


def assert_close(rows, expected):
    """Norms of numbers that are no integers differ in their last digits, since they are added in another order."""
    assert len(rows) == len(expected) > 0
    for row, wanted in zip(norms_of(rows), expected):
        assert row == {
            name: pytest.approx(value, rel=1e-13) if name in NORMS else value for name, value in wanted.items()
        }


def expected_rows(model, **where):
    """The rows of group_grad_norms, which copies whole gradients to NumPy."""
    layers = {name: m for name, m in model.named_modules() if isinstance(m, torch.nn.Conv2d)}
    grads = {name: m.weight.grad.numpy().copy() for name, m in layers.items() if m.weight.grad is not None}
    weights = {name: layers[name].weight.detach().numpy().copy() for name in grads}
    return nx.group_grad_norms(grads, {name: layers[name].groups for name in grads}, weights, **where)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_rows_are_those_of_group_grad_norms_exactly(layout):
    model, expected = network(layout=layout), []
    with watch(model, layers="all", read_every=2) as watched:
        for step in range(3):
            backward(model, images(layout=layout))
            expected += expected_rows(model, step=step, epoch=step // 2)
            watched.step(epoch=step // 2)
            model.zero_grad()
            with torch.no_grad():
                model[1].weight += 1  # so that weight_l2 changes, and is that of its own step
    assert norms_of(watched.rows) == expected
    assert len(expected) == 3 * (1 + 4 + 8) and all(row["l2"] > 0 for row in expected)
    assert tuple(watched.rows[0]) == (*COLUMNS, *PROVENANCE)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_rows_of_smaller_dtypes_are_close(dtype):
    model = network(dtype=dtype)
    with watch(model, layers="all") as watched:
        torch.manual_seed(1)
        for layer in model:
            layer.weight.data.normal_()
            layer.weight.grad = torch.zeros_like(layer.weight)
        y = model(torch.randn(2, 8, 5, 5).to(layer.weight.dtype))
        y.backward(torch.randn_like(y))
        watched.step()
    expected = expected_rows(model.double(), step=0)
    assert [row["max_abs"] for row in watched.rows] == [row["max_abs"] for row in expected]
    for name in ("l2", "rms", "weight_l2", "ratio", "l2_weight_l2"):
        assert [row[name] for row in watched.rows] == pytest.approx([row[name] for row in expected], rel=1e-6), name


def test_gradients_of_micro_batches_are_added_and_counted():
    model, expected = network(groups=(4,)), []
    with watch(model) as watched:
        for step in range(2):
            for _ in range(3):
                backward(model, images())
            expected += expected_rows(model, step=step)
            watched.step()
            model.zero_grad()
    assert norms_of(watched.rows) == expected
    assert {row["accumulated"] for row in watched.rows} == {3}


def test_a_gradient_that_was_there_before_is_not_counted():
    """Zeros of an earlier step, or an earlier gradient that nobody removed, look the same to a hook."""
    model = network(groups=(4,))
    with watch(model) as watched:
        for _ in range(2):
            backward(model, images())
            watched.step()
            model.zero_grad(set_to_none=False)
    assert [row["accumulated"] for row in watched.rows] == [1] * 4 + [None] * 4
    with watch(model) as watched:
        backward(model, images())
        watched.step()
    assert {row["accumulated"] for row in watched.rows} == {None}


def test_without_an_optimizer_gradients_are_read_before_they_are_clipped():
    model = network(groups=(4,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with watch(model, loss="sum", scaled=False) as watched:
        backward(model, images())
        expected = expected_rows(model, step=0)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        optimizer.step()
        optimizer.zero_grad()
        watched.step()  # after the update: weight_l2 is still that before it
    assert norms_of(watched.rows) == expected
    said = {"taken": "after backward", "clipped": "no", "scaled": "no", "accumulated": 1, "loss": "sum"}
    assert all(row | said | {"world_size": 1, "reduced": "no"} == row for row in watched.rows)


def test_with_an_optimizer_gradients_are_those_that_it_uses():
    model, expected = network(groups=(4,)), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with watch(model, optimizer=optimizer, clipped=True, loss="mean") as watched:
        for step in range(2):
            for _ in range(2):
                backward(model, images())
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            expected += expected_rows(model, step=step)
            optimizer.step()
            optimizer.zero_grad()
    assert_close(watched.rows, expected)
    assert math.hypot(*[row["l2"] for row in watched.rows[:4]]) == pytest.approx(1.0)
    said = {"taken": "before the optimizer step", "clipped": "yes", "scaled": "unknown", "accumulated": 2}
    assert all(row | said == row for row in watched.rows) and watched.steps_done == 2


@pytest.mark.parametrize(("with_optimizer", "fused"), [(False, False), (True, False), (True, True)])
def test_the_factor_of_a_scaler_is_divided_out(with_optimizer, fused):
    """A scaler divides the gradients before the step of an optimizer; a fused optimizer divides them itself."""
    model, plain = network(groups=(4,), dtype="float32"), []
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=1)  # 8, then 16
    with watch(model, scaler=scaler, optimizer=optimizer if with_optimizer else None) as watched:
        for step in range(2):
            x = images("float32")
            model(x).sum().backward()  # what the gradient is without a factor
            plain += expected_rows(model, step=step)
            model.zero_grad()
            scaler.scale(model(x).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            if not with_optimizer:
                watched.step()
    for name in ("l2", "max_abs", "ratio"):
        assert [row[name] for row in watched.rows] == pytest.approx([row[name] for row in plain], rel=1e-6), name
    assert {row["scaled"] for row in watched.rows} == {"divided out"}


@pytest.mark.parametrize("with_optimizer", [False, True])
def test_a_scaler_that_is_switched_off_scales_nothing(with_optimizer):
    model = network(groups=(4,))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    with watch(model, scaler=scaler, optimizer=optimizer if with_optimizer else None) as watched:
        scaler.scale(model(images()).sum()).backward()
        expected = expected_rows(model, step=0)
        scaler.step(optimizer)
        if not with_optimizer:
            watched.step()
    assert norms_of(watched.rows) == expected and {row["scaled"] for row in watched.rows} == {"no"}


def test_a_hook_that_changes_gradients_makes_clipping_unknown():
    model = network(groups=(4,))
    model[0].weight.register_hook(lambda grad: grad.clamp(-1, 1))
    with watch(model) as watched:
        backward(model, images())
        watched.step()
    assert {row["clipped"] for row in watched.rows} == {"unknown"} and watched.rows[0]["max_abs"] == 1


def test_two_backward_passes_through_one_graph_are_two():
    model = network(groups=(4,))
    with watch(model) as watched:
        loss = model(images()).sum()
        loss.backward(retain_graph=True)
        loss.backward()
        expected = expected_rows(model, step=0)
        watched.step()
    assert norms_of(watched.rows) == expected and {row["accumulated"] for row in watched.rows} == {2}


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True")
def test_a_penalty_on_gradients_does_not_count_as_a_backward_pass():
    model = network(groups=(4,))
    x = images().requires_grad_()
    with watch(model) as watched:
        (grad,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
        grad.square().sum().backward()
        expected = expected_rows(model, step=0)
        watched.step()
    assert_close(watched.rows, expected)
    assert {row["accumulated"] for row in watched.rows} == {1}
    with watch(model) as watched:
        model.zero_grad()
        model(images()).square().sum().backward(create_graph=True)
        watched.step()
    assert {row["accumulated"] for row in watched.rows} == {None}
    model.zero_grad()  # the graph and its gradients refer to each other


def test_a_shared_module_has_one_set_of_rows():
    conv = torch.nn.Conv2d(8, 8, 3, padding=1, groups=2).double()
    model = torch.nn.Sequential(conv, torch.nn.ReLU(), conv)
    tied = torch.nn.Conv2d(8, 8, 3, padding=1, groups=2)
    tied.weight = conv.weight
    model.append(tied.double())
    with watch(model) as watched:
        model(images()).square().sum().backward()
        expected = expected_rows(torch.nn.Sequential(conv), step=0)
        watched.step()
    assert_close(watched.rows, expected)
    assert {row["accumulated"] for row in watched.rows} == {1}


def test_frozen_layers_and_layers_without_a_gradient_have_no_rows():
    model = network(groups=(4, 4, 4))
    model[0].weight.requires_grad_(False)
    with watch(model) as watched:
        backward(model, images())
        watched.step()
        model[1].weight.requires_grad_(False)
        backward(model, images())
        watched.step()
    assert [(row["step"], row["layer"]) for row in watched.rows[::4]] == [(0, "1"), (0, "2"), (1, "2")]


def test_every_and_the_number_of_the_step():
    model = network(groups=(4,))
    with watch(model, every=2) as watched:
        for step in range(5):
            backward(model, images())
            watched.step(100 + step)
    assert [row["step"] for row in watched.rows[::4]] == [100, 102, 104]


def test_no_step_waits_for_the_device(monkeypatch):
    """Tensors become Python numbers, or move to the CPU, only where rows are read."""
    model, copies = network(groups=(4,)), []
    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda self, *args, f=original, name=name: copies.append(name) or f(self, *args)
        )
    with watch(model, read_every=4) as watched:
        for step in range(7):
            y = model(images())
            y.backward(torch.ones_like(y))
            watched.step()
            model.zero_grad()
            assert copies == ([] if step < 3 else ["cpu", "tolist"])
            assert len(watched.rows) == (0 if step < 3 else 16)
    assert len(watched.rows) == 28


def test_a_watched_network_trains_as_before_and_is_left_as_it_was():
    def trained(is_watched):
        model = network(dtype="float32", groups=(4, 8))
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
        watched = watch(model) if is_watched else None
        for _ in range(3):
            backward(model, images("float32"))
            if watched:
                watched.step()
            optimizer.step()
            optimizer.zero_grad()
        if watched:
            watched.close()
            watched.close()  # a second time does nothing
            assert not any(p._backward_hooks or p._post_accumulate_grad_hooks for p in model.parameters())
            assert not optimizer._optimizer_step_pre_hooks
            backward(model, images("float32"))
            assert len(watched.rows) == 3 * 12
        return copy.deepcopy(model.state_dict())

    with_hooks, without = trained(True), trained(False)
    assert list(with_hooks) == list(without)
    assert all(torch.equal(with_hooks[name], without[name]) for name in without)


@pytest.mark.parametrize("wrap", [lambda model: torch.compile(model, backend="eager"), torch.nn.DataParallel])
def test_wrappers_do_not_change_the_names(wrap):
    model = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3, groups=2)).double()
    wrapped = wrap(model)
    with watch(wrapped) as watched:
        wrapped(images()).square().sum().backward()
        expected = expected_rows(model, step=0)
        watched.step()
    assert_close(watched.rows, expected)
    assert expected[0]["layer"] == "0"


@pytest.mark.slow
def test_data_parallel_training_reads_local_or_averaged_gradients(tmp_path):
    torch.multiprocessing.spawn(_train_in_parallel, args=(str(tmp_path / "rendezvous"),), nprocs=2)


def _train_in_parallel(rank, rendezvous):
    distributed = torch.distributed
    distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    model = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3, groups=2, bias=False)).double()
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    torch.manual_seed(rank)
    x = images()
    local = copy.deepcopy(model)
    local(x).square().sum().backward()
    with watch(parallel) as before, watch(parallel, optimizer=optimizer) as after:
        parallel(x).square().sum().backward()
        average = expected_rows(model, step=0)
        before.step()
        optimizer.step()
    assert_close(before.rows, expected_rows(local, step=0))
    assert_close(after.rows, average)
    assert before.rows[0]["l2"] != pytest.approx(after.rows[0]["l2"], rel=1e-3)
    assert {(row["world_size"], row["reduced"]) for row in before.rows} == {(2, "no")}
    assert {(row["world_size"], row["reduced"]) for row in after.rows} == {(2, "yes")}
    distributed.destroy_process_group()


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".npz"])
def test_the_file_holds_the_rows_and_the_second_file_how_they_came_about(tmp_path, ending):
    path, found = tmp_path / f"norms{ending}", []
    for target in (path, None):
        model = network(groups=(4,))
        with watch(model, target, loss="mean", read_every=1) as watched:
            if target:
                assert json.loads((tmp_path / f"norms{ending}.meta.json").read_text())["ended"] == "not yet, or killed"
            for _ in range(2):
                backward(model, images())
                watched.step()
        found.append(read_rows(path) if target else watched.rows)
    assert found[0] == [{**row, "epoch": None} for row in found[1]]
    record = json.loads((tmp_path / f"norms{ending}.meta.json").read_text())
    assert (record["ended"], record["steps_done"], record["rows"]) == ("finished", 2, 8)
    assert record["layers"] == {"0": {"groups": 4, "weight": [16, 2, 3, 3], "dtype": "torch.float64"}}
    assert record["gradients"]["loss"] == "mean" and record["versions"]["torch"] == str(torch.__version__)
    with pytest.raises(OutputExistsError):
        watch(network(groups=(4,)), path)
    watch(network(groups=(4,)), path, overwrite=True).close(KeyboardInterrupt())
    assert json.loads((tmp_path / f"norms{ending}.meta.json").read_text())["ended"] == "interrupted"


def test_an_error_in_the_training_ends_the_record_and_is_passed_on(tmp_path):
    model = network(groups=(4,))
    with pytest.raises(ZeroDivisionError), watch(model, tmp_path / "norms.csv") as watched:
        backward(model, images())
        watched.step()
        1 / 0  # noqa: B018
    assert len(read_rows(tmp_path / "norms.csv")) == 4
    record = json.loads((tmp_path / "norms.csv.meta.json").read_text())
    assert record["ended"].startswith("failed: ZeroDivisionError") and not model[0].weight._post_accumulate_grad_hooks


def test_a_gradient_that_is_no_number_is_recorded():
    model = network(groups=(4,))
    with watch(model) as watched:
        (model(images()) * math.nan).sum().backward()
        watched.step()
    assert all(math.isnan(row["l2"]) and math.isnan(row["max_abs"]) for row in watched.rows)


def test_steps_without_backward_are_refused():
    model = network(groups=(4,))
    with pytest.raises(BackwardError, match="nothing was recorded: 0 backward passes ran, but step"), watch(model):
        pass
    with pytest.raises(BackwardError, match="1 backward pass ran, but step\\(\\) was never called"), watch(model):
        backward(model, images())
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with (
        pytest.raises(BackwardError, match="the optimizer made no step"),
        watch(model, optimizer=optimizer) as watched,
    ):
        with pytest.raises(
            BackwardError, match=r"call loss.backward\(\) before optimizer.step\(\), and watch\(\) after"
        ):
            optimizer.step()
        backward(model, images())
        with pytest.raises(BackwardError, match="called by the optimizer"):
            watched.step()
    with watch(model) as watched:
        with pytest.raises(BackwardError, match="call loss.backward\\(\\) before step"):
            watched.step()
        backward(model, images())
        watched.step()
        with pytest.raises(BackwardError, match="since the last step"):
            watched.step()
    with pytest.raises(BackwardError, match="is closed"):
        watched.step()


def parametrized():
    layer = torch.nn.Conv2d(4, 4, 3, groups=2)
    return torch.nn.utils.parametrizations.weight_norm(layer)


def spectral():
    """Its weight is a tensor without a gradient until the first forward pass."""
    return torch.nn.utils.spectral_norm(torch.nn.Conv2d(4, 4, 3, groups=2))


@pytest.mark.parametrize(
    ("model", "arguments", "error", "message"),
    [
        (lambda: nx.models.resnext_small(rng=0), {}, InvalidTypeError, "use nx.gradients.GradNormWriter"),
        (lambda: torch.nn.Linear(2, 2), {}, InvalidValueError, "Linear has no torch.nn.Conv2d"),
        (lambda: network(groups=(1,)), {}, InvalidValueError, "no grouped convolution: .* to watch 1 convolution"),
        (lambda: network(), {"layers": "conv2"}, InvalidTypeError, "is the string 'conv2'"),
        (lambda: network(), {"layers": ["conv*"]}, InvalidValueError, "no convolution matches 'conv\\*'"),
        (lambda: network().requires_grad_(False), {}, InvalidValueError, "a frozen layer has no gradient"),
        (lambda: torch.nn.LazyConv2d(4, 3, groups=2), {}, InvalidValueError, "compute one batch first"),
        (parametrized, {}, InvalidValueError, "is computed from other parameters"),
        (spectral, {}, InvalidValueError, "is computed from other parameters"),
        (lambda: torch.nn.Conv2d(4, 4, 3, groups=2, dtype=torch.complex64), {}, InvalidTypeError, "complex64"),
        (lambda: network(), {"every": 0}, InvalidValueError, "every must be at least 1"),
        (lambda: network(), {"read_every": 1.5}, InvalidTypeError, "read_every must be an integer"),
        (lambda: network(), {"loss": "median"}, ConfigurationError, "loss must be one of 'mean', 'sum', 'unknown'"),
        (lambda: network(), {"clipped": True}, InvalidValueError, "clipped goes with optimizer="),
        (lambda: network(), {"scaled": True}, InvalidValueError, "pass the scaler"),
        (lambda: network(), {"scaled": False, "scaler": torch.amp.GradScaler("cpu")}, InvalidValueError, "one of them"),
        (lambda: network(), {"optimizer": 1}, InvalidTypeError, "expected a torch.optim.Optimizer"),
        (lambda: network(), {"scaler": 1}, InvalidTypeError, "expected a torch.amp.GradScaler"),
        (lambda: network(), {"path": "norms.txt"}, InvalidValueError, "the extension of norms.txt"),
    ],
)
def test_what_cannot_be_watched_is_refused_by_name(model, arguments, error, message):
    with pytest.raises(error, match=message):
        watch(model(), **arguments)


def test_rows_of_a_watch_are_drawn():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    model = network()
    with watch(model, layers="all") as watched:
        for _ in range(2):
            backward(model, images())
            watched.step()
    figure = nx.gradients.draw_grad_norms(watched.rows)
    assert [ax.get_title(loc="left") for ax in figure.axes[:2]] == ["layer 1", "layer 2"]
    assert np.isfinite([row["l2"] for row in watched.rows]).all()

"""The training loop, its watchers, and what it says of losses that are no numbers."""

import contextlib
import io
import re
import sys
import types

import array_api_strict
import numpy as np
import pytest

from npresnext import models, nn
from npresnext.data import Augment, ImageSet, load_digits
from npresnext.errors import MissingExtraError, NonFiniteLossError
from npresnext.training import Meter, Trainer, Watcher, evaluate, progress, schedules
from npresnext.training import loop as training

from tests.support.training import state_bytes, tiny_trainer


class Losses(Watcher):
    """Keeps the loss of every step, as a float."""

    def __init__(self):
        self.seen = []

    def after_backward(self, trainer):
        self.seen.append(float(trainer.meter._unread[-1][2]))


@pytest.mark.slow
def test_three_epochs_of_the_digits_recipe_reach_95_percent():
    train, test = load_digits()
    model = models.resnext_small(rng=0)
    optimizer = nn.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    trainer = Trainer(
        model, optimizer, train, test, batch_size=32, schedule=schedules.cosine(0.1, 3), augment=Augment(crop=1)
    )
    trainer.run(3 * trainer.steps_per_epoch)
    assert trainer.history[-1]["test_accuracy"] >= 0.95


def test_a_rate_in_place_of_a_schedule_is_refused():
    model = models.resnext_small(rng=0)
    with pytest.raises(TypeError, match=r"schedule must be callable, such as schedules.constant\(0.1\), but is 0.1"):
        Trainer(model, nn.SGD(model.parameters()), load_digits()[0], batch_size=16, schedule=0.1)


def test_training_lowers_the_loss():
    trainer = tiny_trainer(lr=0.2)
    trainer.run(20 * trainer.steps_per_epoch)
    losses = [record["loss"] for record in trainer.history]
    assert len(losses) == 20 and losses[-1] < losses[0] / 2


def test_a_seed_gives_the_same_bytes_on_every_run_and_another_seed_others():
    first, again, other = tiny_trainer(seed=3), tiny_trainer(seed=3), tiny_trainer(seed=4)
    for trainer in (first, again, other):
        trainer.run(5)
    assert state_bytes(first) == state_bytes(again) != state_bytes(other)
    assert first.history == again.history


def test_running_in_pieces_is_running_at_once():
    pieces, whole = tiny_trainer(), tiny_trainer()
    for steps in (1, 3, 4, 7):
        pieces.run(steps)
    whole.run(7)
    assert state_bytes(pieces) == state_bytes(whole) and pieces.history == whole.history


def test_an_epoch_ends_after_its_last_step():
    class Calls(Watcher):
        def __init__(self):
            self.seen = []

        def after_backward(self, trainer):
            self.seen.append(("backward", trainer.step, len(trainer.history)))

        def after_step(self, trainer):
            self.seen.append(("step", trainer.step, len(trainer.history)))

        def after_epoch(self, trainer):
            self.seen.append(("epoch", trainer.step, len(trainer.history)))

    calls = Calls()
    tiny_trainer(images=32, watchers=[calls]).run(3)  # two steps per epoch
    assert calls.seen == [
        ("backward", 0, 0),
        ("step", 1, 0),
        ("backward", 1, 0),
        ("step", 2, 0),
        ("epoch", 2, 1),
        ("backward", 2, 1),
        ("step", 3, 1),
    ]


class Gradients(Watcher):
    """Keeps the bytes of every parameter's gradient, and whether the gradient of the images was asked for."""

    def __init__(self):
        self.seen, self.needs_input_grad = [], set()

    def after_backward(self, trainer):
        self.seen.append([parameter.grad.tobytes() for parameter in trainer.model.parameters()])
        self.needs_input_grad.add(trainer.model.needs_input_grad)


def test_without_the_gradient_of_the_images_all_other_gradients_are_the_same_to_the_bit(monkeypatch):
    without, with_it = Gradients(), Gradients()
    tiny_trainer(watchers=[without]).run(5)
    monkeypatch.setattr(training, "_without_input_grad", lambda model: contextlib.nullcontext())
    tiny_trainer(watchers=[with_it]).run(5)
    assert without.seen == with_it.seen
    assert (without.needs_input_grad, with_it.needs_input_grad) == ({False}, {True})


def test_training_never_computes_the_gradient_of_the_images(monkeypatch):
    trainer, returned = tiny_trainer(), []
    backward = trainer.model.backward
    monkeypatch.setattr(trainer.model, "backward", lambda grad: returned.append(backward(grad)))
    trainer.run(2)
    assert returned == [None, None]


@pytest.mark.parametrize("before", [True, False])
def test_the_network_needs_the_gradient_of_its_input_after_training_as_it_did_before(before):
    trainer = tiny_trainer()
    trainer.model.needs_input_grad = before
    trainer.run(2)
    assert trainer.model.needs_input_grad == before
    trainer.watchers = [Interrupting()]
    with pytest.raises(KeyboardInterrupt):
        trainer.run(3)
    assert trainer.model.needs_input_grad == before


class Interrupting(Watcher):
    def after_step(self, trainer):
        raise KeyboardInterrupt


class Sum(nn.Module):
    """A network whose first module ignores ``needs_input_grad``."""

    def __init__(self):
        self.first, self.last = nn.Flatten(), nn.Linear(64, 10, rng=0)

    def forward(self, x):
        return self.last(self.first(x))

    def backward(self, grad_output):
        return self.first.backward(self.last.backward(grad_output))


def test_a_network_that_ignores_the_attribute_is_trained_all_the_same():
    model = Sum()
    trainer = Trainer(
        model,
        nn.SGD(model.parameters(), lr=0.1),
        load_digits()[0].first(64),
        batch_size=32,
        schedule=schedules.constant(0.1),
    )
    trainer.run(8)
    losses = [record["loss"] for record in trainer.history]
    assert losses[-1] < losses[0] and model.needs_input_grad


def test_the_rate_of_each_step_is_the_schedules():
    class Rates(Watcher):
        seen = []

        def after_step(self, trainer):
            self.seen.append(trainer.optimizer.lr)

    trainer = tiny_trainer(watchers=[Rates()])
    trainer.run(7)
    assert Rates.seen == [schedules.cosine(0.05, 40)(step / 3) for step in range(7)]


@pytest.mark.parametrize("steps_between_reads", [1, 3, 1000])
def test_a_loss_that_is_no_number_stops_training_and_names_its_step(steps_between_reads, monkeypatch):
    monkeypatch.setattr(training, "STEPS_BETWEEN_READS", steps_between_reads)
    losses = Losses()
    trainer = tiny_trainer(lr=1e30, watchers=[losses])
    with pytest.raises(NonFiniteLossError) as caught:
        trainer.run(30)
    first = next(step for step, loss in enumerate(losses.seen) if not np.isfinite(loss))
    assert f"is {losses.seen[first]} at step {first} " in str(caught.value)
    assert not trainer.history


@pytest.mark.parametrize("steps", [2, 4])
def test_a_run_that_ends_within_an_epoch_notices_a_loss_that_is_no_number(steps):
    trainer = tiny_trainer(images=160)
    trainer.model.fc.bias.data[0] = np.nan
    with pytest.raises(NonFiniteLossError, match="the loss is nan at step 0"):
        trainer.run(steps)


def test_an_evaluation_that_gives_no_number_speaks_of_its_images_and_of_no_step():
    trainer = tiny_trainer(images=32)
    trainer.run(2)
    trainer.model.fc.bias.data[0] = np.nan
    with pytest.raises(NonFiniteLossError, match="the loss on digits test is NaN or infinite") as caught:
        evaluate(trainer.model, load_digits()[1].first(20))
    assert "step" not in str(caught.value)


def test_losses_are_fetched_now_and_then_and_at_the_end(monkeypatch):
    trainer, fetched = tiny_trainer(images=400), []

    def fetch(array):
        fetched.append(trainer.step)
        return np.asarray(array)

    monkeypatch.setattr(training, "to_numpy", fetch)
    trainer.run(training.STEPS_BETWEEN_READS + 3)
    assert set(fetched) == {training.STEPS_BETWEEN_READS, training.STEPS_BETWEEN_READS + 3}


@pytest.mark.parametrize("xp", [np, array_api_strict], ids=["numpy", "strict"])
def test_a_meter_weighs_batches_by_their_images(xp):
    meter = Meter()
    logits = xp.asarray([[0.0, 2.0], [1.0, 0.0], [0.0, 1.0]])
    meter.add(0, xp.asarray(1.0), logits, xp.asarray([1, 0, 0]))
    meter.add(1, xp.asarray(5.0), logits[:1, :], xp.asarray([0]))
    assert meter.read() == (2.0, 0.5)
    assert meter.read() == (2.0, 0.5)


def test_a_step_and_the_evaluation_run_on_strict_arrays(monkeypatch):
    from npresnext.data import batches

    from tests.support.strict import to_strict

    expected, got = tiny_trainer(dtype="float64"), tiny_trainer(dtype="float64")
    expected.run(2)
    to_strict(got.model)
    strict = array_api_strict.asarray
    monkeypatch.setattr(batches, "asarray", lambda values, dtype=None: strict(np.asarray(values, dtype)))
    got.run(2)
    assert got.meter.read() == pytest.approx(expected.meter.read(), rel=1e-9)
    test = load_digits()[1].first(20)
    loss, accuracy = evaluate(got.model, test)
    monkeypatch.undo()
    assert (loss, accuracy) == pytest.approx(evaluate(expected.model, test), rel=1e-9)


def test_a_network_given_in_evaluation_mode_is_trained_all_the_same():
    trained, other = tiny_trainer(), tiny_trainer()
    other.model.eval()
    for trainer in (trained, other):
        trainer.run(2)
    assert state_bytes(other) == state_bytes(trained)


def test_after_an_epoch_the_network_is_evaluated_in_its_dtype():
    trainer = tiny_trainer(dtype="float64", test=load_digits()[1].first(20))
    trainer.run(3)
    record = trainer.history[0]
    expected = evaluate(trainer.model, trainer.test_set)
    assert (record["test_loss"], record["test_accuracy"]) == expected


def test_evaluation_counts_what_is_right_and_leaves_the_network_in_its_mode():
    trainer = tiny_trainer()
    trainer.run(6)
    test = load_digits()[1].first(50)
    for mode in (True, False):
        trainer.model.train(mode)
        loss, accuracy = evaluate(trainer.model, test, batch_size=7)
        assert all(module.training == mode for module in trainer.model.modules())
    trainer.model.eval()
    x = ((test.images / 16 - test.mean) / test.std).astype("float32")
    logits = np.concatenate([trainer.model(x[i : i + 1]) for i in range(50)]).astype("float64")
    picked = logits[np.arange(50), test.labels]
    assert accuracy == (logits.argmax(1) == test.labels).mean()
    assert loss == pytest.approx((np.log(np.exp(logits).sum(1)) - picked).mean(), rel=1e-5)


def test_evaluation_leaves_a_frozen_norm_frozen():
    model = tiny_trainer().model.train()
    model.bn1.eval()
    evaluate(model, load_digits()[1].first(20))
    assert [name for name, module in model.named_modules() if not module.training] == ["bn1"]


def test_evaluation_changes_nothing_in_the_network():
    trainer = tiny_trainer()
    before = state_bytes(trainer)
    evaluate(trainer.model, load_digits()[1].first(20))
    assert state_bytes(trainer) == before


def test_plain_lines_show_loss_accuracy_and_rate_of_each_epoch():
    lines = io.StringIO()
    trainer = tiny_trainer(test=load_digits()[1].first(20), watchers=[progress.Progress(2, lines)])
    trainer.run(6)
    number = r"\d+\.\d+"
    pattern = (
        rf"epoch (\d)/2  loss {number}  accuracy {number}%  test loss {number}  test accuracy {number}%  "
        r"lr 0\.\d+  \d+ images/s"
    )
    assert [re.fullmatch(pattern, line)[1] for line in lines.getvalue().splitlines()] == ["1", "2"]


def test_the_rate_is_that_of_the_images_since_the_epoch_began(monkeypatch):
    clock = types.SimpleNamespace(now=7.0, monotonic=lambda: clock.now)

    class Tick(Watcher):
        def after_backward(self, trainer):
            clock.now += 1 + trainer.epoch

    monkeypatch.setattr(progress, "time", clock)
    lines = io.StringIO()
    tiny_trainer(watchers=[Tick(), progress.Progress(2, lines)]).run(6)  # 3 steps of 16 images an epoch
    assert [line.rpartition("  ")[2] for line in lines.getvalue().splitlines()] == ["16 images/s", "8 images/s"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_bar_and_the_lines(monkeypatch):
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_UPDATES", 0)
    lines = io.StringIO()
    tiny_trainer(watchers=[progress.Progress(1, lines)]).run(3)
    bar = sys.stderr.getvalue()
    assert "epoch 1/1" in bar and "2/3" in bar and "loss " in bar and "accuracy " in bar and "lr " in bar
    assert bar.split("\r")[-2].isspace()  # and is gone at the end
    assert lines.getvalue().count("\n") == 1


def test_a_terminal_without_tqdm_gets_lines(monkeypatch):
    def missing(*args):
        raise MissingExtraError("no tqdm")

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress, "load_extra", missing)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    lines = io.StringIO()
    tiny_trainer(watchers=[progress.Progress(1, lines)]).run(3)
    assert sys.stderr.getvalue() == ""
    assert [line.split()[:2] for line in lines.getvalue().splitlines()] == [
        ["step", "1/3"],
        ["step", "2/3"],
        ["step", "3/3"],
        ["epoch", "1/1"],
    ]


class Bar:
    """Stands for the bar of tqdm in a notebook."""

    made = []

    def __init__(self, **options):
        self.options, self.updates, self.closed = options, 0, False
        self.made.append(self)

    def update(self):
        self.updates += 1

    def set_postfix_str(self, text):
        self.text = text

    def close(self):
        self.closed = True


@pytest.mark.parametrize("widgets, module", [(True, "tqdm.auto"), (None, "tqdm")], ids=["widgets", "no widgets"])
def test_a_notebook_gets_a_bar_although_its_standard_error_is_no_terminal(monkeypatch, widgets, module):
    """Without ipywidgets a bar of text: tqdm.auto would warn."""
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(progress, "find_spec", {"ipywidgets": widgets}.get)
    monkeypatch.setattr(progress, "load_extra", lambda name, *_: {module: types.SimpleNamespace(tqdm=Bar)}[name])
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    Bar.made.clear()
    tiny_trainer(watchers=[progress.Progress(2, io.StringIO())]).run(6)
    assert [(bar.options["desc"], bar.updates, bar.closed) for bar in Bar.made] == [
        ("epoch 1/2", 3, True),
        ("epoch 2/2", 3, True),
    ]


@pytest.mark.parametrize("shell", [None, types.SimpleNamespace(config={})])
def test_ipython_on_no_terminal_gets_lines(shell, monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(progress, "load_extra", lambda *_: types.SimpleNamespace(tqdm=Bar))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    Bar.made.clear()
    tiny_trainer(watchers=[progress.Progress(1, io.StringIO())]).run(3)
    assert Bar.made == []


def test_labels_outside_the_classes_never_reach_the_loss():
    with pytest.raises(ValueError, match="label 9"):
        ImageSet("cut", load_digits()[0].images, load_digits()[0].labels, num_classes=9)

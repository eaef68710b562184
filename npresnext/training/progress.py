"""The progress of a training run: a bar on a terminal or in a notebook, and plain lines."""

from __future__ import annotations

import sys
import time
from importlib.util import find_spec
from typing import Any, TextIO

from .._support.extras import load_extra
from ..errors import MissingExtraError
from .loop import Trainer, Watcher

SECONDS_BETWEEN_LINES = 30.0
SECONDS_BETWEEN_UPDATES = 0.2


class Progress(Watcher):
    """Prints a line after each epoch; during an epoch, it shows a bar or prints a line every half minute.

    The bar is tqdm's (the extra ``train``). It appears where standard error is a terminal, and in a notebook. If a run
    ends in the middle of an epoch, or by an error, :meth:`close` removes it.

    Parameters
    ----------
    epochs : int
        The number of epochs of the run, as the lines show it.
    stream : text file, optional
        Where the lines are printed; standard output if None. The bar goes to standard error.

    Examples
    --------
    >>> import io
    >>> from npresnext.training import TrainingConfiguration
    >>> configuration = TrainingConfiguration.for_data("digits", limit=64)
    >>> train, test = configuration.load_data()
    >>> lines = io.StringIO()
    >>> configuration.build(train, watchers=[Progress(epochs=1, stream=lines)]).run(steps=2)
    >>> lines.getvalue().split()[:3]
    ['epoch', '1/1', 'loss']
    """

    def __init__(self, epochs: int, stream: TextIO | None = None) -> None:
        self._epochs = epochs
        self._stream = stream
        on_terminal = sys.stderr is not None and sys.stderr.isatty()  # a process without a console has None
        self._tqdm = _tqdm() if on_terminal or _in_notebook() else None
        self._bar: Any = None
        self._epoch_began = self._shown = time.monotonic()
        self._first_step: int | None = None

    def after_backward(self, trainer: Trainer) -> None:
        """Start the bar in the first step of an epoch, or in the first step after a resume."""
        if self._first_step is None:
            self._first_step = trainer.step
            if self._tqdm is not None:
                self._bar = self._tqdm(
                    total=trainer.steps_per_epoch,
                    initial=trainer.step % trainer.steps_per_epoch,
                    desc=f"epoch {trainer.epoch + 1}/{self._epochs}",
                    leave=False,
                    dynamic_ncols=True,
                )

    def after_step(self, trainer: Trainer) -> None:
        """Show the loss and the accuracy so far, but not too often."""
        if self._bar is not None:
            self._bar.update()
        now = time.monotonic()
        if now - self._shown < (SECONDS_BETWEEN_LINES if self._bar is None else SECONDS_BETWEEN_UPDATES):
            return
        self._shown = now
        loss, accuracy = trainer.meter.read()
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.4f}, accuracy {accuracy:.2%}, lr {trainer.optimizer.lr:.3g}")
        else:
            done = (trainer.step - 1) % trainer.steps_per_epoch + 1
            self._print(
                f"  step {done}/{trainer.steps_per_epoch}  loss {loss:.4f}  accuracy {accuracy:.2%}  "
                f"{self._rate(trainer):.0f} images/s"
            )

    def after_epoch(self, trainer: Trainer) -> None:
        """Print the results of the epoch."""
        self.close()
        record = trainer.history[-1]
        line = f"epoch {record['epoch'] + 1}/{self._epochs}"
        line += f"  loss {record['loss']:.4f}  accuracy {record['accuracy']:.2%}"
        if "test_loss" in record:
            line += f"  test loss {record['test_loss']:.4f}  test accuracy {record['test_accuracy']:.2%}"
        self._print(f"{line}  lr {record['lr']:.3g}  {self._rate(trainer):.0f} images/s")
        self._first_step = None
        self._epoch_began = self._shown = time.monotonic()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _rate(self, trainer: Trainer) -> float:
        """Return the training images per second since the epoch began, evaluation included."""
        steps = trainer.step - (self._first_step or 0)
        return steps * trainer.batch_size / max(time.monotonic() - self._epoch_began, 1e-9)

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


def _tqdm() -> Any:
    """Return tqdm's class for a terminal or a notebook, or None where it is not installed."""
    module = "tqdm.auto" if find_spec("ipywidgets") else "tqdm"  # without ipywidgets, tqdm.auto warns in a notebook
    try:
        return load_extra(module, "train", "the progress bar").tqdm
    except MissingExtraError:
        return None


def _in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")  # loaded by the kernel, and never by us
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config

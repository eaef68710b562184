"""Progress of a training run: a bar where a person watches, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from .._support.extras import load_extra
from ..errors import MissingExtraError
from .loop import Trainer, Watcher

SECONDS_BETWEEN_LINES = 30.0
SECONDS_BETWEEN_UPDATES = 0.2


class Progress(Watcher):
    """Prints a line for each epoch, and in between a bar (tqdm, on a terminal) or a line every half minute.

    Parameters
    ----------
    epochs
        How many there will be, for the lines.
    stream
        Where the lines go. The bar goes to standard error.
    """

    def __init__(self, epochs: int, stream: TextIO | None = None) -> None:
        self._epochs = epochs
        self._stream = stream
        self._tqdm = _tqdm() if sys.stderr.isatty() else None
        self._bar: Any = None
        self._epoch_began = self._shown = time.monotonic()
        self._first_step: int | None = None

    def after_backward(self, trainer: Trainer) -> None:
        """Start a bar with the first step that there is of an epoch."""
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
        """Show loss and accuracy so far, now and then."""
        if self._first_step is None:  # the epoch has just ended
            return
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
            batch = trainer.step % trainer.steps_per_epoch
            self._print(
                f"  step {batch}/{trainer.steps_per_epoch}  loss {loss:.4f}  accuracy {accuracy:.2%}  "
                f"{self._rate(trainer):.0f} images/s"
            )

    def after_epoch(self, trainer: Trainer) -> None:
        """Print what came of the epoch."""
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
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _rate(self, trainer: Trainer) -> float:
        """Return the images a second of this epoch, evaluation included."""
        steps = trainer.step - (self._first_step or 0)
        return steps * trainer.batch_size / max(time.monotonic() - self._epoch_began, 1e-9)

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


def _tqdm() -> Any:
    """Return tqdm's class, or None where it is not installed: lines serve as well."""
    try:
        return load_extra("tqdm", "train", "the progress bar").tqdm
    except MissingExtraError:
        return None

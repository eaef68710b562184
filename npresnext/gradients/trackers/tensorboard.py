"""TensorBoard: event files, written by tensorboardX without TensorFlow or PyTorch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..._support.extras import load_extra
from ..._support.files import atomic_path
from .tracker import as_png


class TensorBoardTracker:
    """Writes event files for ``tensorboard --logdir FOLDER``.

    Parameters
    ----------
    folder : str or path
        The folder of the run. Event files of other runs in it stay.

    Examples
    --------
    >>> tracker = TensorBoardTracker("runs/norms")                                     # doctest: +SKIP
    >>> tracker.scalars({"gradient_l2/conv1": 0.5}, step=0)                            # doctest: +SKIP
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        module = load_extra("tensorboardX", "tensorboard", "TensorBoard")
        self._folder = Path(folder)
        self._writer = module.SummaryWriter(os.fspath(folder))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers by name, of one training step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, name: str, figure: Any, step: int) -> None:
        """Log a figure under a name."""
        image = load_extra("PIL.Image", "images", "a picture for TensorBoard").open(as_png(figure)).convert("RGB")
        self._writer.add_image(name, np.asarray(image), step, dataformats="HWC")
        self._writer.flush()

    def file(self, path: str | os.PathLike[str]) -> None:
        """Copy a file into the folder of the run: TensorBoard itself shows no files."""
        with atomic_path(self._folder / Path(path).name) as temporary:
            shutil.copyfile(path, temporary)

    def close(self) -> None:
        """Write what is not yet written."""
        self._writer.close()

"""Gradient norms of a PyTorch network while it trains, without waiting for the device at every step."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from ..._support.arguments import as_int
from ..._support.extras import load_extra
from ..._support.plurals import counted
from ...errors import BackwardError, InvalidTypeError, InvalidValueError
from ..norms import COLUMNS, Row
from ..provenance import PROVENANCE, TAKEN, UNKNOWN, Provenance
from ..recording import Recording
from ..trackers.summaries import log_picture, log_scalars
from ..trackers.tracker import Tracker
from .convolutions import GROUPED, Convolution, unwrapped, watched_convolutions
from .layer_gradient import LayerGradient


def watch(
    model: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    layers: str | Sequence[str] = GROUPED,
    every: int = 1,
    read_every: int = 50,
    optimizer: Any = None,
    scaler: Any = None,
    scaled: bool | None = None,
    clipped: bool | None = None,
    loss: str = UNKNOWN,
    trackers: Sequence[Tracker] = (),
    format: str | None = None,
    overwrite: bool = False,
) -> ModuleWatch:
    """Record the gradient norm of every conv group of a PyTorch network while it trains.

    Use it in a ``with`` block, and call ``step()`` once per training step, after ``loss.backward()``. The rows have
    the columns of :func:`npresnext.group_grad_norms`, followed by those that say where a gradient comes from. The
    norms are computed on the device of the network; they are copied to the CPU every `read_every` steps, so that no
    step waits for the device.

    Parameters
    ----------
    model : torch.nn.Module
        A network with ``torch.nn.Conv2d`` modules. It may be wrapped by ``torch.compile`` or
        ``DistributedDataParallel``. Frozen layers are left out.
    path : str or path, optional
        A new file for the rows, in a format of :func:`npresnext.gradients.open_rows`. ``FILE.meta.json`` beside it
        records how they were produced. Without it, the rows are kept in memory.
    layers : "grouped", "all" or sequence of str
        Which convolutions: those with more than one group, all, or those whose names match a pattern.
    every : int
        The number of steps from one set of rows to the next.
    read_every : int
        The number of steps from one copy to the CPU to the next.
    optimizer : torch.optim.Optimizer, optional
        If given, gradients are read just before each ``optimizer.step()``: accumulated, clipped and averaged over
        processes, as the optimizer uses them. ``step()`` is then called for you. Without it, they are read as soon as
        ``backward`` has added them to ``weight.grad``, before they are clipped.
    scaler : torch.amp.GradScaler, optional
        The scaler of training with mixed precision. Norms are divided by its factor.
    scaled : bool, optional
        False if the loss is multiplied by no factor. None if you do not say; with a scaler, it is known.
    clipped : bool, optional
        With an optimizer: whether gradients are clipped before its step. None if you do not say.
    loss : "mean", "sum" or "unknown"
        Whether the loss is the mean or the sum over the images of a batch.
    trackers : sequence of Tracker
        Experiment trackers of :mod:`npresnext.gradients.trackers`. Five numbers per layer and recorded step are logged
        whenever rows are read; one heat map, and the file of rows, at the end.
    format : str, optional
        The format of the file; by the extension of `path` if None.
    overwrite : bool
        Whether existing files may be replaced.

    Returns
    -------
    ModuleWatch
        With ``step()``, ``close()`` and ``rows``.

    Raises
    ------
    TypeError
        `model` is no ``torch.nn.Module``, or another argument has the wrong type.
    ValueError
        No convolution is chosen, none of the chosen ones is trained, or the file exists.

    Examples
    --------
    >>> import torch                                                                   # doctest: +SKIP
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(4, 8, 3, groups=2))                # doctest: +SKIP
    >>> with nx.gradients.watch(model, loss="mean") as watched:                        # doctest: +SKIP
    ...     for images in batches:
    ...         model(images).square().mean().backward()
    ...         watched.step()
    ...         optimizer.step()
    ...         optimizer.zero_grad()
    >>> nx.gradients.draw_grad_norms(watched.rows)                                     # doctest: +SKIP
    """
    torch = sys.modules.get("torch")  # whoever has a network of PyTorch has imported it
    if torch is None or not isinstance(model, torch.nn.Module):
        raise InvalidTypeError(
            f"model is of type {type(model).__name__}: expected a torch.nn.Module. For a network of npresnext use "
            "nx.gradients.GradNormWriter, for JAX nx.gradients.tree_grad_norms"
        )
    every, read_every = as_int(every, "every", 1), as_int(read_every, "read_every", 1)
    if optimizer is not None and not hasattr(optimizer, "register_step_pre_hook"):
        raise InvalidTypeError(f"optimizer is of type {type(optimizer).__name__}: expected a torch.optim.Optimizer")
    if scaler is not None and not hasattr(scaler, "is_enabled"):
        raise InvalidTypeError(f"scaler is of type {type(scaler).__name__}: expected a torch.amp.GradScaler")
    if optimizer is None and clipped is not None:
        raise InvalidValueError(
            "clipped goes with optimizer=: without an optimizer, gradients are read before they can be clipped"
        )
    if scaled is not None and scaler is not None:
        raise InvalidValueError("scaled says what the scaler knows: pass one of them")
    if scaled:
        raise InvalidValueError("scaled=True: pass the scaler, so that norms can be divided by its factor")
    provenance = _provenance(torch, model, optimizer, scaler, scaled, clipped, loss)
    convolutions = watched_convolutions(model, layers)
    if trackers:
        load_extra("matplotlib", "plot", "the picture of a tracker")
    recording = None
    if path is not None:
        columns = [*COLUMNS, *PROVENANCE]
        record = _record(torch, model, convolutions, provenance, every)
        recording = Recording(path, columns, record, format=format, overwrite=overwrite)
    return ModuleWatch(convolutions, provenance, every, read_every, optimizer, scaler, recording, trackers)


@dataclasses.dataclass(frozen=True)
class _Step:
    """A step whose norms are still on the device."""

    number: int
    epoch: int | None
    scale: Any  # the factor of the loss, on the device; None if there is none
    layers: list[tuple[LayerGradient, Any, int | None]]  # with norms, and the number of backward passes


class ModuleWatch:
    """The gradient norms of a PyTorch network while it trains: what :func:`npresnext.gradients.watch` returns.

    Attributes
    ----------
    rows : list of dict
        The rows read so far, if no file was given; with a file they are written there, and this list stays empty.
    steps_done : int
        How often ``step()`` was called.
    """

    def __init__(
        self,
        convolutions: Sequence[Convolution],
        provenance: Provenance,
        every: int,
        read_every: int,
        optimizer: Any,
        scaler: Any,
        recording: Recording | None,
        trackers: Sequence[Tracker],
    ) -> None:
        self.rows: list[Row] = []
        self.steps_done = 0
        self._layers = [LayerGradient(convolution) for convolution in convolutions]
        self._provenance, self._every, self._read_every = provenance, every, read_every
        self._optimizer, self._scaler, self._recording, self._trackers = optimizer, scaler, recording, list(trackers)
        self._scale: Any = None  # the factor of the loss in this step, on the device
        self._unread: list[_Step] = []
        self._closed = False
        self._handles = [
            layer.weight.register_post_accumulate_grad_hook(functools.partial(self._after_backward, layer))
            for layer in self._layers
        ]
        if optimizer is not None:
            self._handles.append(optimizer.register_step_pre_hook(self._before_optimizer_step))

    def __enter__(self) -> ModuleWatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(error)

    def step(self, number: int | None = None, *, epoch: int | None = None) -> None:
        """End a training step; call it once per step, after the last ``backward`` of the step.

        Parameters
        ----------
        number : int, optional
            The number of the step, for the rows; counted from 0 if None.
        epoch : int, optional
            The number of the epoch, for the rows.

        Raises
        ------
        BackwardError
            No gradient of a watched layer was computed since the last call, or the watch is closed.
        """
        if self._optimizer is not None:
            raise BackwardError("step() is called by the optimizer that was passed to watch: do not call it again")
        self._end_step(number, epoch)

    def close(self, error: BaseException | None = None) -> None:
        """Read what was not read, finish the file, and remove every hook; the network is then as it was before.

        Parameters
        ----------
        error : exception, optional
            What ended the training, for the second file.

        Raises
        ------
        BackwardError
            Nothing was recorded: no step ended between ``watch`` and now. The hooks are removed all the same. Not
            raised if there is an `error`.
        """
        if self._closed:
            return
        if error is not None:
            self._finish("interrupted" if isinstance(error, KeyboardInterrupt) else f"failed: {error!r}")
            return
        self._finish("finished")
        if not self.steps_done:
            ended = "step() was never called" if self._optimizer is None else "the optimizer made no step"
            passes = counted(max(layer.backwards for layer in self._layers), "backward pass", "backward passes")
            raise BackwardError(f"nothing was recorded: {passes} ran, but {ended}")

    def _finish(self, ended: str) -> None:
        """Remove the hooks; write the last rows and how the run ended."""
        self._closed = True
        for handle in self._handles:
            handle.remove()
        try:
            self._read()
        finally:
            if self._recording is not None:
                self._recording.close(ended, steps_done=self.steps_done)
        if self._trackers:
            self._log_run()

    def _log_run(self) -> None:
        """Log the heat map and the file of the whole run."""
        rows = self.rows if self._recording is None else self._recording.read()
        has_numbers = any(math.isfinite(row["l2"]) for row in rows if row["l2"] is not None)
        for tracker in self._trackers:
            if has_numbers:
                log_picture(tracker, rows)
            if self._recording is not None:
                tracker.file(self._recording.path)

    def _after_backward(self, layer: LayerGradient, weight: Any) -> None:
        """Count a backward pass of a layer, and compute its norms, unless the optimizer's step is awaited."""
        if weight.grad is None:  # an optimizer in the backward pass has used and removed it
            return
        layer.count(weight.grad)
        if self._optimizer is None and self.steps_done % self._every == 0:
            if self._scaler is not None and self._scale is None:
                self._scale = _copy(getattr(self._scaler, "_scale", None))  # without get_scale, which waits
            layer.compute()

    def _before_optimizer_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Compute the norms of what the optimizer is about to use."""
        if self.steps_done % self._every == 0:
            self._scale = _copy(getattr(optimizer, "grad_scale", None))  # a fused optimizer divides by it itself
            for layer in self._layers:
                if layer.weight.grad is not None:
                    layer.compute()
        self._end_step(None, None)

    def _end_step(self, number: int | None, epoch: int | None) -> None:
        if self._closed:
            raise BackwardError("the watch is closed: no step can follow")
        if not any(layer.backwards for layer in self._layers):
            call = "step()" if self._optimizer is None else "optimizer.step()"
            raise BackwardError(
                f"no gradient of a watched layer was computed since the last step: call loss.backward() before {call}, "
                "and watch() after weights are replaced or frozen"
            )
        norms = [(layer, layer.norms, layer.accumulated) for layer in self._layers if layer.norms is not None]
        if norms:
            shown = self.steps_done if number is None else as_int(number, "number", 0)
            self._unread.append(_Step(shown, epoch, self._scale, norms))
        self._scale = None
        for layer in self._layers:
            layer.end_step()
        self.steps_done += 1
        if self.steps_done % self._read_every == 0:
            self._read()

    def _read(self) -> None:
        """Copy all unread norms to the CPU, and make their rows."""
        unread, self._unread = self._unread, []
        numbers = iter(_to_lists([norms for step in unread for _, norms, _ in step.layers]))
        factors = iter(_to_lists([step.scale for step in unread if step.scale is not None]))
        rows: list[Row] = []
        for step in unread:
            factor = 1.0 if step.scale is None else next(factors)[0]
            for layer, _, accumulated in step.layers:
                first = {"step": step.number, "epoch": step.epoch, "layer": layer.name}
                last = self._about(layer, accumulated, is_divided=step.scale is not None)
                rows.extend({**first, **row, **last} for row in layer.rows(next(numbers), factor))
        if self._recording is None:
            self.rows.extend(rows)
        elif rows:
            self._recording.write(rows)
        for tracker in self._trackers:
            log_scalars(tracker, rows)

    def _about(self, layer: LayerGradient, accumulated: int | None, *, is_divided: bool) -> dict[str, Any]:
        """Return the columns that say where the gradient of a layer comes from."""
        columns = {**self._provenance.columns(), "accumulated": accumulated}
        if is_divided:
            columns["scaled"] = "divided out"
        if layer.is_changed_by_hooks():
            columns["clipped"] = UNKNOWN
        return columns


def _copy(scale: Any) -> Any:
    """Return a copy of a factor that stays on its device, as one number in an axis; None for None."""
    return None if scale is None else scale.detach().reshape(1).clone()


def _to_lists(tensors: Sequence[Any]) -> list[list[float]]:
    """Return the numbers of each tensor; the tensors of one device are copied to the CPU at once."""
    import torch

    lists: list[list[float]] = [[] for _ in tensors]
    for device in {tensor.device for tensor in tensors}:
        places = [place for place, tensor in enumerate(tensors) if tensor.device == device]
        numbers = torch.cat([tensors[place] for place in places]).cpu().tolist()
        start = 0
        for place in places:
            stop = start + tensors[place].numel()
            lists[place], start = numbers[start:stop], stop
    return lists


def _provenance(
    torch: Any, model: Any, optimizer: Any, scaler: Any, scaled: bool | None, clipped: bool | None, loss: str
) -> Provenance:
    """Return what the arguments say and what the moment of reading implies."""
    distributed = torch.distributed
    world_size = distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
    is_parallel = isinstance(model, torch.nn.parallel.DistributedDataParallel)
    if optimizer is None:  # after backward: nothing is clipped yet, and each process has the gradient of its own images
        taken, is_clipped, reduced = TAKEN[0], "no", "no"
    else:
        taken = TAKEN[1]
        is_clipped = UNKNOWN if clipped is None else "yes" if clipped else "no"
        reduced = "no" if world_size == 1 else "yes" if is_parallel else UNKNOWN
    return Provenance(
        taken=taken,
        clipped=is_clipped,
        scaled=_scaled(optimizer, scaler, scaled),
        loss=loss,
        world_size=world_size,
        reduced=reduced,
    )


def _scaled(optimizer: Any, scaler: Any, scaled: bool | None) -> str:
    """Return what is known of the factor of the loss before a step; a factor that is found later counts more."""
    if scaler is not None and scaler.is_enabled():
        return UNKNOWN if optimizer is None else "divided out"  # by scaler.step(optimizer), before its step
    return UNKNOWN if scaled is None and scaler is None else "no"


def _record(
    torch: Any, model: Any, convolutions: Sequence[Convolution], provenance: Provenance, every: int
) -> dict[str, Any]:
    """Return what the second file says before the first step."""
    network = unwrapped(model)
    layers = {
        layer.name: {"groups": layer.groups, "weight": list(layer.weight.shape), "dtype": str(layer.weight.dtype)}
        for layer in convolutions
    }
    return {
        "arguments": {"every": every},
        "model": {
            "name": type(network).__name__,
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
        },
        "layers": layers,
        "gradients": {name: value for name, value in provenance.columns().items() if name != "accumulated"},
        "devices": sorted({str(layer.weight.device) for layer in convolutions}),
        "versions": {"torch": str(torch.__version__)},
    }

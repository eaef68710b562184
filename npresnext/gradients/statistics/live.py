"""Statistics of each conv group of a network on data: signal, classes, similarity, importance, activity, rank."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from ..._support.arguments import as_int
from ..._support.integers import chunks
from ..._support.memory import allocating
from ..._support.plurals import counted
from ..._support.typing import Array, NumPyArray
from ...backend import array_module, to_numpy
from ...errors import InvalidTypeError, InvalidValueError, ShapeError
from ...nn import BatchNorm2d, Conv2d, ConvReLU2d, CrossEntropyLoss, Module, no_grad
from ...nn.module import calls_through
from ..norms import Row, conv_layers
from .classes import mean_cosine
from .features import Moments, group_cka, group_effective_rank, group_fraction
from .noise import example_gradients, signal_to_noise_of_sums
from .recording import Recorded, output_gradients, record

OF_GRADIENTS = ("l2", "snr", "class_cosine")
OF_FEATURES = ("cka", "dead", "saturated", "effective_rank")
STATISTICS = (*OF_GRADIENTS, *OF_FEATURES, "knockout")
STATISTIC_COLUMNS = ("step", "epoch", "layer", "conv_group", "groups", "numel", *STATISTICS)

BYTES_AT_ONCE = 2**26  # of the gradients of single examples


def group_statistics(
    model: Module,
    x: Array,
    target: Any,
    *,
    statistics: Collection[str] | None = None,
    layers: Collection[str] | None = None,
    batch_size: int = 32,
    step: int | None = None,
    epoch: int | None = None,
) -> list[Row]:
    """Return a row for each conv group of each grouped convolution, with statistics of what it does on data.

    The network runs in evaluation mode, so that batch norm uses its running statistics: then the loss of an example
    does not depend on the other examples, and each example has a gradient of its own. Modes, gradients and running
    statistics of the network are afterwards what they were before.

    Parameters
    ----------
    model : Module
    x : array (N, C, H, W)
        Images, of at least two examples.
    target : array of integers (N,)
        Their classes. The loss is the cross-entropy, in nats.
    statistics : collection of str, optional
        Which of ``STATISTICS`` to compute; all if None. "knockout" takes one forward pass per group of each layer, and
        is by far the slowest.
    layers : collection of str, optional
        The names of the convolutions to use; all that have more than one group if None.
    batch_size : int
        How many examples go through the network at a time. It bounds the memory, and changes no result but by rounding.
    step, epoch : int, optional
        Written into each row.

    Returns
    -------
    list of dict
        With the keys of ``STATISTIC_COLUMNS``, without those of statistics that were not chosen. None of the numbers
        except `l2` changes if the weight is scaled and a batch norm follows with its running statistics scaled alike.

        ================== ==========================================================================================
        ``l2``             norm of the gradient of the mean loss; the squares of all groups add up to the layer's
        ``snr``            :func:`~npresnext.gradients.statistics.signal_to_noise` of the gradients of single examples
        ``class_cosine``   :func:`~npresnext.gradients.statistics.mean_cosine` of the gradients of classes
        ``cka``            mean :func:`~npresnext.gradients.statistics.linear_cka` with each of the other groups
        ``dead``           fraction of its channels that are 0 for every example and position
        ``saturated``      fraction of its channels that are above 0 for every example and position, where the
                           rectifier passes everything on and the channel is linear
        ``effective_rank`` :func:`~npresnext.gradients.statistics.effective_rank` of its features, in directions
        ``knockout``       change of the mean loss, in nats, if the output channels of the group are set to 0
        ================== ==========================================================================================

        Features are the output channels of the group, after the batch norm and the rectifier that follow it. `dead`
        and `saturated` are NaN where no rectifier follows directly, `cka` is NaN with one group or constant features,
        `class_cosine` with one class. The knock-out is that of Morcos et al. 2018, "On the importance of single
        directions for generalization", arXiv:1803.06959, section 2.2, for groups in place of single channels, and
        before the batch norm: as if all weights of the group were 0.

    Raises
    ------
    ValueError
        There is no grouped convolution, `layers` or `statistics` names something unknown, shapes do not fit, or a batch
        norm has no running statistics.
    TypeError
        `model` is no Module, or fused.

    Examples
    --------
    >>> import npresnext as nx
    >>> images, _ = nx.data.load_digits()
    >>> x, target = next(nx.data.training_batches(images, 40, seed=0, epoch=0))
    >>> rows = nx.gradients.group_statistics(nx.models.resnext_small(rng=0), x, target, statistics=["snr", "dead"])
    >>> len(rows), list(rows[0])
    (24, ['step', 'epoch', 'layer', 'conv_group', 'groups', 'numel', 'snr', 'dead'])
    """
    chosen = _chosen(statistics)
    convs = _chosen_convs(model, layers)
    classes, target = _checked_data(x, target)
    batches = chunks(len(target), as_int(batch_size, "batch_size", 1))
    columns: dict[str, dict[str, NumPyArray]] = {name: {} for name in convs}  # layer -> statistic -> (G,)
    with _as_it_was(model):
        if chosen & {*OF_GRADIENTS, *OF_FEATURES}:
            _run(model, convs, x, target, classes, batches, chosen, columns)
        if "knockout" in chosen:
            for name, changes in knockouts(model, convs, x, target, batches).items():
                columns[name]["knockout"] = changes
    return [
        {
            "step": step,
            "epoch": epoch,
            "layer": name,
            "conv_group": group,
            "groups": conv.groups,
            "numel": math.prod(conv.weight.shape) // conv.groups,
            **{each: float(columns[name][each][group]) for each in STATISTICS if each in chosen},
        }
        for name, conv in convs.items()
        for group in range(conv.groups)
    ]


def knockouts(
    model: Module, convs: Mapping[str, Conv2d], x: Array, target: NumPyArray, batches: Collection[slice]
) -> dict[str, NumPyArray]:
    """Return, for each convolution, by how much the mean loss changes if each of its groups is knocked out.

    The output channels of the group are set to 0, as if all its weights and biases were 0. A network is a chain of
    different layers, so each group takes a forward pass of its own.

    Parameters
    ----------
    model : Module
        In evaluation mode.
    convs : mapping of str to Conv2d
    x : array (N, C, H, W)
    target : array (N,)
    batches : collection of slice
        How to cut the examples.

    Returns
    -------
    dict of str to array (G,)
        In nats.
    """

    def loss_without(removed: Conv2d | None, group: int) -> float:
        def visit(module: Module, *inputs: Array) -> Array:
            output = module.forward(*inputs)
            if module is not removed:
                return output
            xp = array_module(output=output)
            size = removed.out_channels // removed.groups
            kept = np.repeat(np.arange(removed.groups) != group, size)[:, None, None]  # (C_out, 1, 1)
            return output * xp.asarray(kept, dtype=output.dtype)

        with no_grad(), calls_through(visit):
            losses = [float(CrossEntropyLoss(reduction="sum")(model(x[part, ...]), target[part])) for part in batches]
        return math.fsum(losses) / len(target)

    whole = loss_without(None, 0)
    return {
        name: np.array([loss_without(conv, group) - whole for group in range(conv.groups)])
        for name, conv in convs.items()
    }


class _GradientSums:
    """Sums over examples of the weight gradients of one convolution, and of their squares."""

    def __init__(self, conv: Conv2d, classes: int) -> None:
        self.conv = conv
        shape = (classes, conv.groups, math.prod(conv.weight.shape) // conv.groups)
        with allocating("the sum of gradients of each class", shape, np.dtype("float64")):
            self.of_classes = np.zeros(shape)  # (K, G, m)
        self.of_squares = np.zeros(conv.groups)  # (G,)

    def add(self, grad_output: Array, x: Array, classes: NumPyArray) -> None:
        """Add the examples of one batch; `classes` (N,) are numbered from 0."""
        geometry = self.conv.geometry(tuple(x.shape))
        bytes_of_one = 8 * math.prod(self.conv.weight.shape)
        for part in chunks(len(classes), max(1, BYTES_AT_ONCE // max(bytes_of_one, 1))):
            one_hot = classes[part] == np.arange(len(self.of_classes))[:, None]  # (K, n)
            grads = example_gradients(grad_output[part, ...], x[part, ...], geometry).reshape(
                one_hot.shape[1], *self.of_classes.shape[1:]
            )  # (n, G, m)
            self.of_squares += np.einsum("ngm,ngm->g", grads, grads)
            self.of_classes += np.tensordot(one_hot.astype(np.float64), grads, axes=1)

    def statistics(self, examples: int) -> dict[str, NumPyArray]:
        """Return the statistics of gradients."""
        square_of_sum = np.sum(self.of_classes.sum(axis=0) ** 2, axis=-1)  # (G,)
        return {
            "l2": np.sqrt(square_of_sum) / examples,
            "snr": signal_to_noise_of_sums(square_of_sum, self.of_squares, examples),
            "class_cosine": mean_cosine(self.of_classes),
        }


def _run(
    model: Module,
    convs: Mapping[str, Conv2d],
    x: Array,
    target: NumPyArray,
    classes: NumPyArray,
    batches: Collection[slice],
    chosen: Collection[str],
    columns: dict[str, dict[str, NumPyArray]],
) -> None:
    """Run the network forward, and backward if a statistic needs it, and write the statistics to `columns`."""
    backward = bool(set(chosen) & set(OF_GRADIENTS))
    criterion = CrossEntropyLoss(reduction="sum")  # so that the gradient of an example does not depend on N
    sums = {name: _GradientSums(conv, int(classes.max()) + 1) for name, conv in convs.items()} if backward else {}
    moments = {name: Moments(conv.out_channels) for name, conv in convs.items()}
    rectified: dict[str, bool] = {}
    for part in batches:
        with contextlib.nullcontext() if backward else no_grad():
            logits, found = record(model, convs, x[part, ...])
        for name, recorded in found.items():
            rectified[name] = recorded.rectified
            if set(chosen) & set(OF_FEATURES):
                moments[name].add(to_numpy(recorded.features))
        if backward:
            receive = functools.partial(_add_gradients, sums, found, classes[part])
            with output_gradients(convs, receive):
                criterion(logits, target[part])
                model.backward(criterion.backward())
    for name, conv in convs.items():
        if backward:
            columns[name] |= sums[name].statistics(len(target))
        columns[name] |= _of_features(moments[name], conv.groups, rectified[name])


def _add_gradients(
    sums: Mapping[str, _GradientSums],
    found: Mapping[str, Recorded],
    classes: NumPyArray,
    name: str,
    grad_output: Array,
) -> None:
    sums[name].add(grad_output, found[name].input, classes)


def _of_features(moments: Moments, groups: int, rectified: bool) -> dict[str, NumPyArray]:
    """Return the statistics of features."""
    unknown = np.full(groups, np.nan)
    if not moments.count:
        return dict.fromkeys(OF_FEATURES, unknown)
    covariance = moments.covariance()
    similarity = group_cka(covariance, groups)
    np.fill_diagonal(similarity, np.nan)
    there = np.isfinite(similarity)
    others = np.where(there, similarity, 0).sum(axis=1)
    return {
        "cka": np.divide(others, there.sum(axis=1), out=unknown.copy(), where=there.any(axis=1)),
        "dead": group_fraction(moments.largest <= 0, groups) if rectified else unknown,
        "saturated": group_fraction(moments.smallest > 0, groups) if rectified else unknown,
        "effective_rank": group_effective_rank(covariance, groups),
    }


@contextlib.contextmanager
def _as_it_was(model: Module) -> Iterator[None]:
    """Switch to evaluation inside the ``with`` block, and put back modes and gradients after it."""
    modes = [(module, module.training) for module in model.modules()]
    grads = [(parameter, parameter.grad) for parameter in model.parameters()]
    model.eval()
    model.zero_grad()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, grad in grads:
            parameter.grad = grad


def _chosen(statistics: Collection[str] | None) -> set[str]:
    if statistics is None:
        return set(STATISTICS)
    if isinstance(statistics, str):
        raise InvalidTypeError(f"statistics must be a collection of names, but is the string {statistics!r}")
    unknown = sorted(set(statistics) - set(STATISTICS))
    if unknown or not statistics:
        raise InvalidValueError(f"statistics names {', '.join(unknown) or 'none'}: expected {', '.join(STATISTICS)}")
    return set(statistics)


def _chosen_convs(model: Module, layers: Collection[str] | None) -> dict[str, Conv2d]:
    if not isinstance(model, Module):
        raise InvalidTypeError(f"model is of type {type(model).__name__}: expected a npresnext.nn.Module")
    if isinstance(layers, str):
        raise InvalidTypeError(f"layers must be a collection of names, but is the string {layers!r}")
    convs = conv_layers(model)
    if layers is not None:
        unknown = sorted(set(layers) - set(convs))
        if unknown:
            raise InvalidValueError(f"layers names {', '.join(unknown)}: expected some of {', '.join(convs)}")
    found = {name: conv for name, conv in convs.items() if (conv.groups > 1 if layers is None else name in layers)}
    if not found:
        raise InvalidValueError(f"{type(model).__name__} has no grouped convolution: pass layers=[...] for others")
    for name, module in model.named_modules():
        if isinstance(module, ConvReLU2d):
            raise InvalidTypeError(f"{name} is a ConvReLU2d: expected the network before it was fused")
        if isinstance(module, BatchNorm2d) and not module.track_running_stats:
            raise InvalidValueError(f"{name} has no running statistics, so an example has no gradient of its own")
    return found


def _checked_data(x: Array, target: Any) -> tuple[NumPyArray, NumPyArray]:
    """Return the classes, numbered from 0 without gaps, and the targets as a NumPy array."""
    array_module(x=x)
    target = to_numpy(target)
    if target.ndim != 1 or target.dtype.kind not in "iu":
        raise InvalidTypeError(f"target must be integers (N,), but has shape {target.shape} and dtype {target.dtype}")
    if len(x.shape) != 4 or x.shape[0] != len(target):
        raise ShapeError(f"x has shape {tuple(x.shape)} and target {target.shape}: expected (N, C, H, W) and (N,)")
    if len(target) < 2:
        raise InvalidValueError(f"x has {counted(len(target), 'example')}: expected two or more")
    return np.unique(target, return_inverse=True)[1], target

"""Statistics of each conv group of a network on data: signal, classes, similarity, importance, activity, rank."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from ..._support.arguments import as_int
from ..._support.integers import chunks
from ..._support.plurals import counted
from ..._support.typing import Array, NumPyArray
from ...backend import array_module, to_numpy
from ...errors import InvalidTypeError, InvalidValueError, ShapeError
from ...nn import BatchNorm2d, Conv2d, ConvReLU2d, CrossEntropyLoss, Module, no_grad
from ..norms import Row, conv_layers
from .features import Moments, feature_statistics
from .gradient_sums import GradientSums
from .knockouts import knockouts
from .recording import Recorded, borrowed, output_gradients, record

OF_GRADIENTS = ("l2", "snr", "class_cosine")
OF_FEATURES = ("cka", "dead", "saturated", "effective_rank")
STATISTICS = (*OF_GRADIENTS, *OF_FEATURES, "knockout")
STATISTIC_COLUMNS = ("step", "epoch", "layer", "conv_group", "groups", "numel", *STATISTICS)


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
        `class_cosine` with one class. The knock-out takes place before the batch norm, as if all weights of the group
        were 0 (after Morcos et al. 2018, arXiv:1803.06959).

    Raises
    ------
    ValueError
        There is no grouped convolution, `layers` or `statistics` names something unknown, shapes do not fit, a batch
        norm has no running statistics, or outputs are not finite.
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
    target = _checked_target(x, target)
    batches = chunks(len(target), as_int(batch_size, "batch_size", 1))
    with borrowed(model):
        columns = _measured(model, convs, x, target, batches, chosen)
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


def _measured(
    model: Module,
    convs: Mapping[str, Conv2d],
    x: Array,
    target: NumPyArray,
    batches: Collection[slice],
    chosen: set[str],
) -> dict[str, dict[str, NumPyArray]]:
    """Run the network on all examples, and return layer -> statistic -> array (G,)."""
    criterion = CrossEntropyLoss(reduction="sum")  # so that the gradient of an example does not depend on N
    labels, classes = np.unique(target, return_inverse=True)
    of_gradients, of_features = bool(chosen & set(OF_GRADIENTS)), bool(chosen & set(OF_FEATURES))
    sums = {name: GradientSums(conv, len(labels)) for name, conv in convs.items()} if of_gradients else {}
    moments = {name: Moments(conv.out_channels) for name, conv in convs.items()} if of_features else {}
    for part in batches:
        with contextlib.nullcontext() if of_gradients else no_grad():
            logits, found = record(model, convs, x[part, ...])
        for name in moments:
            moments[name].add(to_numpy(found[name].features))
            if not np.isfinite(moments[name].largest - moments[name].smallest).all():
                raise InvalidValueError(
                    f"{name} has outputs that are not finite: x or the weights hold NaN or infinity"
                )
        if of_gradients:
            with output_gradients(convs, functools.partial(_add_gradients, sums, found, classes[part])):
                criterion(logits, target[part])
                model.backward(criterion.backward())
    results: dict[str, dict[str, NumPyArray]] = {name: {} for name in convs}
    for name in sums:
        results[name] |= sums[name].statistics(len(target))
    for name in moments:
        results[name] |= feature_statistics(moments[name], convs[name].groups, rectified=found[name].rectified)
    return results


def _add_gradients(
    sums: Mapping[str, GradientSums],
    found: Mapping[str, Recorded],
    classes: NumPyArray,
    name: str,
    grad_output: Array,
) -> None:
    """Add the gradients of one batch in one layer."""
    sums[name].add(grad_output, found[name].input, classes)


def _chosen(statistics: Collection[str] | None) -> set[str]:
    if statistics is None:
        return set(STATISTICS)
    if isinstance(statistics, str):
        raise InvalidTypeError(f"statistics must be a collection of names, but is the string {statistics!r}")
    if not isinstance(statistics, Collection):
        raise InvalidTypeError(f"statistics must be a collection of names, but is of type {type(statistics).__name__}")
    unknown = [str(name) for name in statistics if name not in STATISTICS]
    if unknown or not statistics:
        raise InvalidValueError(f"statistics names {', '.join(unknown) or 'none'}: expected {', '.join(STATISTICS)}")
    return set(statistics)


def _chosen_convs(model: Module, layers: Collection[str] | None) -> dict[str, Conv2d]:
    if not isinstance(model, Module):
        raise InvalidTypeError(f"model is of type {type(model).__name__}: expected a npresnext.nn.Module")
    if isinstance(layers, str):
        raise InvalidTypeError(f"layers must be a collection of names, but is the string {layers!r}")
    if layers is not None and not isinstance(layers, Collection):
        raise InvalidTypeError(f"layers must be a collection of names, but is of type {type(layers).__name__}")
    convs = conv_layers(model)
    if layers is not None:
        unknown = [str(name) for name in layers if name not in convs]
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


def _checked_target(x: Array, target: Any) -> NumPyArray:
    """Return the targets as a NumPy array."""
    array_module(x=x)
    target = to_numpy(target)
    if target.ndim != 1 or target.dtype.kind not in "iu":
        raise InvalidTypeError(f"target must be integers (N,), but has shape {target.shape} and dtype {target.dtype}")
    if len(x.shape) != 4 or x.shape[0] != len(target):
        raise ShapeError(f"x has shape {tuple(x.shape)} and target {target.shape}: expected (N, C, H, W) and (N,)")
    if len(target) < 2:
        raise InvalidValueError(f"x has {counted(len(target), 'example')}: expected two or more")
    return target

"""The convolution of the CPU engine, on arrays of float32 or float64 that are not empty.

Its idea and its words are explained in engines/cpu/__init__.py.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ..._support.integers import ceil_div, chunks
from ..._support.typing import NumPyArray as Array
from ...geometry import ConvGeometry
from . import pointwise, thresholds
from .blocks import for_each_block
from .correlation import Correlation, forward_correlations, input_grad_correlations
from .elementwise import finish_results
from .layout import channel_rows, empty_images
from .sweep import Sweep
from .threads import Tasks, run_tasks
from .tiles import Tile
from .workspace import get_workspace_limit


def forward(x: Array, weight: Array, bias: Array | None, geometry: ConvGeometry) -> Array:
    """Convolve."""
    return _forward(x, weight, bias, geometry, None, False)


def forward_relu(x: Array, weight: Array, bias: Array | None, geometry: ConvGeometry, shortcut: Array | None) -> Array:
    """Convolve, add the shortcut (an array like y) if there is one, and rectify."""
    return _forward(x, weight, bias, geometry, shortcut, True)


def _forward(
    x: Array, weight: Array, bias: Array | None, geometry: ConvGeometry, shortcut: Array | None, rectified: bool
) -> Array:
    """Return y."""
    others = (x,) if shortcut is None else (x, shortcut)
    if pointwise.applies(geometry, *others):
        return pointwise.forward(x, weight, bias, geometry, shortcut, rectified)
    y, G = empty_images(geometry.output_shape, x.dtype), geometry.groups
    _gather(forward_correlations(geometry), _split(x, G), _split_weight(weight, G), _split(y, G), geometry.macs)
    if bias is not None or shortcut is not None or rectified:
        _finish(y, bias, shortcut, rectified)
    return y


def _finish(y: Array, bias: Array | None, shortcut: Array | None, rectified: bool) -> None:
    """Add the bias and the shortcut to y and rectify it, in place: whole channels, which are contiguous."""
    results = channel_rows(y)  # (C_out, P)

    def work(channels: slice) -> None:
        added = None if shortcut is None else channel_rows(shortcut[:, channels])
        finish_results(results[channels], None if bias is None else bias[channels, None], added, rectified)

    for_each_block(work, y, len(results))


def input_grad(grad_output: Array, weight: Array, geometry: ConvGeometry) -> Array:
    """Gradient of the input: dx from copies of grad_output."""
    if pointwise.applies(geometry, grad_output):
        return pointwise.input_grad(grad_output, weight, geometry)
    dx, G = _blank(geometry, grad_output.dtype), geometry.groups
    transposed = _split_weight(weight, G).swapaxes(1, 2)  # (G, C_in/G, C_out/G, kh, kw)
    _gather(input_grad_correlations(geometry), _split(grad_output, G), transposed, _split(dx, G), geometry.macs)
    return dx


def weight_grad(grad_output: Array, x: Array, geometry: ConvGeometry) -> Array:
    """Gradient of the weight: grad_output times copies of x."""
    if pointwise.applies(geometry, grad_output, x):
        return pointwise.weight_grad(grad_output, x, geometry)
    dweight, G = np.empty(geometry.weight_shape, x.dtype), geometry.groups
    kernels = _split_weight(dweight, G)
    parts = _parts(geometry, geometry.in_channels // G, x.itemsize)
    with _weight_grad_tasks(
        forward_correlations(geometry), _split(x, G), _split(grad_output, G), kernels, parts
    ) as tasks:
        run_tasks(tasks, geometry.macs)
    return dweight


def gradients(grad_output: Array, x: Array, weight: Array, geometry: ConvGeometry) -> tuple[Array, Array]:
    """Both gradients: from the same copies of grad_output, unless there are strides or the weight gradient is large."""
    if pointwise.applies(geometry, grad_output, x):
        dx = pointwise.input_grad(grad_output, weight, geometry)
        return dx, pointwise.weight_grad(grad_output, x, geometry)
    dx, dweight, G = _blank(geometry, x.dtype), np.empty(geometry.weight_shape, x.dtype), geometry.groups
    upstream, images, target = _split(grad_output, G), _split(x, G), _split(dx, G)
    dkernels, transposed = _split_weight(dweight, G), _split_weight(weight, G).swapaxes(1, 2)
    parts, backward = _parts(geometry, geometry.out_channels // G, x.itemsize), input_grad_correlations(geometry)
    if parts.channels == 1 and len(backward) == 1:
        results = (transposed, target)
        with _weight_grad_tasks(backward, upstream, images, dkernels.swapaxes(1, 2), parts, results) as tasks:
            run_tasks(tasks, geometry.macs)
    else:
        parts = _parts(geometry, geometry.in_channels // G, x.itemsize)
        with _weight_grad_tasks(forward_correlations(geometry), images, upstream, dkernels, parts) as tasks:
            _gather(backward, upstream, transposed, target, geometry.macs, other_tasks=tasks)
    return dx, dweight


def _gather(
    correlations: tuple[Correlation, ...],
    source: Array,
    weight: Array,
    target: Array,
    macs: int,
    other_tasks: Tasks = (),
) -> None:
    """Write into `target` (G, out, H, N, W) what `weight` (G, out, in, kh, kw) makes of `source` (G, in, H, N, W).

    A task computes a tile of every column phase: together they write whole rows of the target, which stay in the cache
    until then. `other_tasks` run with the last of them, so that the threads wait for each other once and not twice.
    `macs`, the multiply-adds of the convolution, decides whether there are several threads. Packed weights take half of
    the workspace at most: otherwise some output channels come after the others.
    """
    fewest = 1 if macs < thresholds.SINGLE_THREAD else 2
    parts = ceil_div(weight.nbytes, max(1, get_workspace_limit() // 2))
    for outputs in chunks(weight.shape[1], ceil_div(weight.shape[1], parts)):
        kernels, results = weight[:, outputs], target[:, outputs]
        tasks: list[Callable[[], None]] = []
        for _, column_phases in itertools.groupby(correlations, lambda each: each.rows):
            sweeps = [Sweep(each, source, weight=kernels, target=results) for each in column_phases]
            workloads = tuple(sweep.workload for sweep in sweeps)
            tiles = itertools.zip_longest(*(sweep.tiles(fewest=fewest, beside=workloads) for sweep in sweeps))
            tasks += [functools.partial(_write_results, sweeps, together) for together in tiles]
        run_tasks([*tasks, *(other_tasks if outputs.stop == weight.shape[1] else ())], macs)


def _write_results(sweeps: list[Sweep], tiles: tuple[Tile | None, ...]) -> None:
    """Write one tile of each sweep; a sweep of fewer tiles than another has None in its place."""
    for sweep, tile in zip(sweeps, tiles):
        if tile is not None:
            sweep.write_results(tile)


class _Parts(NamedTuple):
    """Into how many parts a weight gradient is cut, along four axes. Rows and images have partial sums."""

    groups: int
    rows: int
    images: int
    channels: int


def _parts(geometry: ConvGeometry, channels: int, itemsize: int) -> _Parts:
    """Cut a weight gradient along its groups; where these are few, along rows and images; if it is large, channels.

    Partial sums, each as large as the gradient, may take a quarter of the workspace. The gradient of one group is held
    twice in a task, and may take half of it.
    """
    limit, G, gradient_bytes = get_workspace_limit(), geometry.groups, itemsize * math.prod(geometry.weight_shape)
    fewest = ceil_div(4 * gradient_bytes // G, limit)  # so that the channels of one task fit in the workspace
    if fewest > 1:
        return _Parts(G, 1, 1, min(channels, max(fewest, thresholds.MAX_PARTS)))
    if geometry.macs < thresholds.SINGLE_THREAD:
        return _Parts(max(1, min(G, ceil_div(8 * gradient_bytes, limit))), 1, 1, 1)
    if G >= thresholds.MAX_PARTS:
        return _Parts(max(thresholds.MAX_PARTS, min(G, ceil_div(8 * gradient_bytes, limit))), 1, 1, 1)
    images = min(thresholds.MAX_PARTS, max(1, geometry.batch * geometry.out_width // thresholds.LONG_ROW))
    rows = min(thresholds.MAX_PARTS // images, ceil_div(geometry.out_height, thresholds.ROWS_PER_PART))
    images = ceil_div(geometry.batch, ceil_div(geometry.batch, max(images, thresholds.MAX_PARTS // rows)))
    if rows * images * gradient_bytes <= limit // 4:
        return _Parts(G, rows, images, 1)
    inner = channels * geometry.kernel[0] * geometry.kernel[1]
    return _Parts(G, 1, 1, min(channels, thresholds.MAX_PARTS, max(2, inner // thresholds.INNER_SIZE_PER_PART)))


@contextlib.contextmanager
def _weight_grad_tasks(
    correlations: tuple[Correlation, ...],
    source: Array,
    multiplier: Array,
    dweight: Array,
    parts: _Parts,
    results: tuple[Array, Array] | None = None,
) -> Iterator[Tasks]:
    """Yield the tasks that write into `dweight` (G, out, in, kh, kw) `multiplier` times copies of `source`.

    They run inside the block; then the partial sums are added up, in a fixed order. `results` are a weight and a
    target: the same copies also give the results. No two tasks add to the same number, so the sums are the same bits
    for any number of threads.
    """
    G, channels, _, N, _ = source.shape
    count = parts.rows * parts.images
    partial_sums = np.empty((count, *dweight.shape), dweight.dtype) if count > 1 else dweight[None]
    if sum(each.tap_count for each in correlations) < math.prod(dweight.shape[3:]):
        partial_sums[...] = 0  # the other taps meet padding alone

    def compute(groups: slice, number: int, images: slice, of_channels: slice) -> None:
        row_part = number % parts.rows
        for correlation in correlations:
            rows = range(correlation.rows.count)[_part(correlation.rows.count, parts.rows, row_part)]
            sweep = Sweep(
                correlation,
                source[groups, of_channels, :, images],
                weight=results and results[0][groups],
                target=results and results[1][groups, :, :, images],
                multiplier=multiplier[groups, :, :, images],
            )
            gradient = partial_sums[number][groups, :, of_channels]  # (g, out, in, kh, kw)
            if rows:
                sweep.unpack(sweep.weight_grad(sweep.tiles(rows)), gradient)
            else:
                gradient[:, :, :, *correlation.taps] = 0

    yield [
        functools.partial(compute, groups, number, _part(N, parts.images, number // parts.rows), of_channels)
        for groups in chunks(G, ceil_div(G, parts.groups))
        for number in range(count)
        for of_channels in chunks(channels, ceil_div(channels, parts.channels))
    ]
    if count > 1:
        partial_sums.sum(axis=0, out=dweight)


def _part(total: int, count: int, number: int) -> slice:
    """Return one of `count` parts of ``range(total)``, which may be empty."""
    size = ceil_div(total, count)
    return slice(min(total, number * size), min(total, (number + 1) * size))


def _blank(geometry: ConvGeometry, dtype: np.dtype) -> Array:
    """Return the array for dx: zeros where strides leave pixels that no window reads."""
    every = min(geometry.stride[0], geometry.height) * min(geometry.stride[1], geometry.width)
    dx = empty_images(geometry.x_shape, dtype)
    if len(input_grad_correlations(geometry)) < every:
        rows = dx.transpose(1, 2, 0, 3)  # (C, H, N, W)
        for_each_block(lambda channels: rows[channels].fill(0), dx, len(rows))
    return dx


def _split(images: Array, groups: int) -> Array:
    """View (N, C, H, W) as (G, C/G, H, N, W)."""
    N, C, H, W = images.shape
    return images.reshape(N, groups, C // groups, H, W).transpose(1, 2, 3, 0, 4)


def _split_weight(weight: Array, groups: int) -> Array:
    """View (C_out, C_in/G, kh, kw) as (G, C_out/G, C_in/G, kh, kw)."""
    return weight.reshape(groups, -1, *weight.shape[1:])

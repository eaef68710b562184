"""Gradient norms of networks of JAX: of trees of gradients, as Flax, Haiku and Equinox make them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..._support.arguments import as_int
from ..._support.typing import NumPyArray
from ...errors import ConfigurationError, InvalidTypeError, InvalidValueError, MissingExtraError, ShapeError
from ..norms import Row, group_grad_norms
from ..provenance import Provenance

KERNEL_NAMES = ("kernel", "w", "weight")  # of Flax, Haiku and Equinox, for the leaf that holds the weights of a layer


@dataclasses.dataclass(frozen=True)
class Kernel:
    """How the weights of a convolution are stored.

    Parameters
    ----------
    groups : int
        The number of groups, which JAX calls ``feature_group_count``.
    output_axis : int
        The axis of the output channels: 3 in HWIO, 0 in OIHW.
    """

    groups: int
    output_axis: int


def jax_convolutions(function: Callable[..., Any], params: Any, *inputs: Any) -> dict[str, Kernel]:
    """Find the convolutions of a JAX network: which leaves of its parameters are kernels, and of how many groups.

    The function is traced by ``jax.make_jaxpr``, and computes nothing. A leaf is found if it reaches a convolution as
    it is, cast to another dtype, or transposed; one that is computed with first, as by weight standardisation, is not.

    Parameters
    ----------
    function : callable
        ``function(params, *inputs)`` computes the network.
    params : tree of arrays
        Its parameters.
    *inputs : arrays or jax.ShapeDtypeStruct
        What it is called with.

    Returns
    -------
    dict of str to Kernel
        For :func:`npresnext.gradients.tree_grad_norms`. A name is the path to the leaf, joined by dots, without a last
        part ``kernel``, ``w`` or ``weight``.

    Raises
    ------
    ValueError
        No leaf reaches a convolution.

    Examples
    --------
    >>> import jax                                                                     # doctest: +SKIP
    >>> params = network.init(jax.random.key(0), images)                               # doctest: +SKIP
    >>> jax_convolutions(network.apply, params, images)                                # doctest: +SKIP
    {'params.Conv_0': Kernel(groups=4, output_axis=3)}
    """
    jax = _jax()
    names = list(_leaves(params))
    jaxpr = jax.make_jaxpr(function)(params, *inputs).jaxpr
    arrays = {
        variable: _Use(name, tuple(range(len(variable.aval.shape)))) for name, variable in zip(names, jaxpr.invars)
    }
    found: dict[str, Kernel] = {}
    _find_kernels(jaxpr, arrays, found)
    if not found:
        raise InvalidValueError(
            f"no leaf of params reaches a convolution unchanged: there are {', '.join(names) or 'no leaves'}. Pass a "
            "mapping from layer to number of groups to tree_grad_norms instead"
        )
    return {name: found[name] for name in names if name in found}


def tree_grad_norms(
    grads: Any,
    convolutions: Mapping[str, Kernel | int],
    params: Any = None,
    *,
    layout: str = "HWIO",
    step: int | None = None,
    epoch: int | None = None,
    provenance: Provenance | None = None,
) -> list[Row]:
    """Return a row for each conv group of each convolution, from a tree of gradients of JAX.

    The rows are those of :func:`npresnext.group_grad_norms`. The gradients of the convolutions are copied to the CPU,
    so on an accelerator call it every n-th step.

    Parameters
    ----------
    grads : tree of arrays
        What ``jax.grad`` returns: nested dictionaries, or any other tree that JAX knows, such as an Equinox module.
    convolutions : mapping of str to Kernel or int
        The convolutions by name: as from :func:`npresnext.gradients.jax_convolutions`, or the number of groups of
        each. Names as there.
    params : tree of arrays, optional
        The weights, for the columns weight_l2, ratio and l2_weight_l2, which are None without them.
    layout : str
        The axes of a kernel whose number of groups is given: "HWIO" as in Flax and Haiku, "OIHW" as in Equinox, or the
        same letters in another order. O are the output channels.
    step, epoch : int, optional
        Written into each row.
    provenance : Provenance, optional
        What was done to the gradients before; unknown if None.

    Returns
    -------
    list of dict
        With the keys ``COLUMNS`` and ``PROVENANCE`` of :mod:`npresnext.gradients`.

    Raises
    ------
    ValueError
        A name is that of no leaf, `layout` has other letters, or G does not divide the output channels.
    TypeError
        A number of groups is no integer.

    Examples
    --------
    >>> import jax.numpy as jnp                                                        # doctest: +SKIP
    >>> grads = {"Conv_0": {"kernel": jnp.ones((3, 3, 1, 4)), "bias": jnp.ones(4)}}    # doctest: +SKIP
    >>> [row["l2"] for row in tree_grad_norms(grads, {"Conv_0": 4})]                   # doctest: +SKIP
    [3.0, 3.0, 3.0, 3.0]
    """
    if not isinstance(layout, str) or sorted(layout) != sorted("HWIO"):
        raise ConfigurationError("layout", layout, 'the letters of "HWIO" in some order')
    if not isinstance(convolutions, Mapping) or not convolutions:
        raise InvalidTypeError(f"convolutions must map names of layers to numbers of groups, but is {convolutions!r}")
    given = {
        name: kernel if isinstance(kernel, Kernel) else Kernel(kernel, layout.index("O"))
        for name, kernel in convolutions.items()
    }
    kernels = {name: Kernel(as_int(kernel.groups, name, 1), kernel.output_axis) for name, kernel in given.items()}
    rows = group_grad_norms(
        _kernels_of(grads, "grads", kernels),
        {name: kernel.groups for name, kernel in kernels.items()},
        None if params is None else _kernels_of(params, "params", kernels),
        step=step,
        epoch=epoch,
    )
    about = (provenance or Provenance(world_size=None, reduced="unknown")).columns()
    return [{**row, **about} for row in rows]


@dataclasses.dataclass(frozen=True)
class _Use:
    """A leaf of the parameters inside a traced function; axis i of the value is axis ``axes[i]`` of the leaf."""

    name: str
    axes: tuple[int, ...]


def _find_kernels(jaxpr: Any, arrays: dict[Any, _Use], found: dict[str, Kernel]) -> None:
    """Follow the leaves through the equations of a traced function, and add those that are kernels to `found`."""
    for equation in jaxpr.eqns:
        uses = [None if hasattr(variable, "val") else arrays.get(variable) for variable in equation.invars]
        if not any(uses):
            continue
        name, settings = equation.primitive.name, equation.params
        if name == "conv_general_dilated":
            if uses[1] is not None and settings["batch_group_count"] == 1:
                output_axis = settings["dimension_numbers"].rhs_spec[0]
                found[uses[1].name] = Kernel(settings["feature_group_count"], uses[1].axes[output_axis])
        elif name in ("convert_element_type", "copy") and uses[0] is not None:
            arrays[equation.outvars[0]] = uses[0]
        elif name == "transpose" and uses[0] is not None:
            axes = tuple(uses[0].axes[axis] for axis in settings["permutation"])
            arrays[equation.outvars[0]] = _Use(uses[0].name, axes)
        else:
            for inner in _functions_in(equation):
                own = {
                    variable: use
                    for variable, outer, use in zip(inner.invars, equation.invars, uses)
                    if use is not None and variable.aval.shape == outer.aval.shape
                }
                _find_kernels(inner, own, found)
                for variable, outer in zip(inner.outvars, equation.outvars):
                    if not hasattr(variable, "val") and variable in own:
                        arrays[outer] = own[variable]


def _functions_in(equation: Any) -> list[Any]:
    """Return the traced functions that an equation calls with its own arguments, as ``jax.jit`` does."""
    functions = [getattr(value, "jaxpr", value) for value in equation.params.values()]
    return [
        function for function in functions if hasattr(function, "eqns") and len(function.invars) == len(equation.invars)
    ]


def _kernels_of(tree: Any, label: str, kernels: Mapping[str, Kernel]) -> dict[str, NumPyArray]:
    """Return the named leaves of a tree as NumPy arrays with the output channels first."""
    leaves = _leaves(tree)
    unknown = [name for name in kernels if name not in leaves]
    if unknown:
        raise InvalidValueError(
            f"{label} has no leaf for {', '.join(unknown)}: expected some of {', '.join(leaves) or '(no leaves)'}"
        )
    arrays = {}
    for name, kernel in kernels.items():
        array = np.asarray(leaves[name])
        if not -array.ndim <= kernel.output_axis < array.ndim:
            raise ShapeError(f"{label}: {name} has shape {array.shape}, and no axis {kernel.output_axis}")
        if array.shape[kernel.output_axis] % kernel.groups:
            raise ShapeError(
                f"{label}: {name} has shape {array.shape} and groups={kernel.groups}: groups must divide axis "
                f"{kernel.output_axis}, the output channels"
            )
        arrays[name] = np.moveaxis(array, kernel.output_axis, 0)  # (C_out, ...)
    return arrays


def _leaves(tree: Any) -> dict[str, Any]:
    """Return name -> leaf. The name of a leaf is its path without a last part that all kernels have."""
    flat, _ = _jax().tree_util.tree_flatten_with_path(tree)
    paths = [[_part(key) for key in path] for path, _ in flat]
    paths = [path[:-1] if path[-1:] == ["value"] else path for path in paths]  # the variables of Flax's nnx
    short = [".".join(path[:-1] if path[-1:] and path[-1] in KERNEL_NAMES else path) for path in paths]
    times = Counter(short)
    names = [name if name and times[name] == 1 else ".".join(path) for name, path in zip(short, paths)]
    return dict(zip(names, (leaf for _, leaf in flat)))


def _part(key: Any) -> str:
    """Return one key of a path of JAX as text."""
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def _jax() -> Any:
    try:
        import jax
    except ImportError as error:
        raise MissingExtraError("gradients of JAX need jax: pip install jax") from error
    return jax

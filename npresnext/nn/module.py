"""Module: what a network is made of, without any mathematics.

The protocol has two calls. ``module(x)`` runs forward and saves what the backward pass will need;
``module.backward(grad_output)`` takes it away, adds the gradient of every parameter to ``Parameter.grad``
and returns the gradient of the input. A module made of others calls theirs, in order and then in
reverse; that is all of backpropagation.

As in PyTorch, whatever Module or Parameter is assigned to an attribute belongs to the module.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Self

import numpy as np

from .._support.arguments import as_bool
from .._support.scopes import Scope
from .._support.typing import Array
from ..errors import BackwardError, InvalidTypeError, InvalidValueError, ModuleError
from .parameter import Parameter
from .saved import Saved
from .state import IncompatibleKeys, StateEntry, load_state, move_state, state_entries

Shape = tuple[int, ...]
Mask = np.ndarray[Any, Any] | None

_COLLECTIONS = (list, tuple, dict, set, frozenset, deque)

_saving: ContextVar[bool] = ContextVar("npresnext_saving", default=True)
_visitor: ContextVar[Callable[..., Array] | None] = ContextVar("npresnext_visitor", default=None)


def no_grad() -> Scope[bool]:
    """Save nothing for a backward pass in the ``with`` block, or in the function or generator function so decorated.

    Use it around inference: otherwise every layer holds its last input until its backward pass or its next forward
    pass, in evaluation mode as in training mode.

    >>> from npresnext import nn
    >>> import numpy as np
    >>> layer = nn.ReLU()
    >>> with no_grad():
    ...     y = layer(np.ones(3))
    >>> layer.backward(y)
    Traceback (most recent call last):
    ...
    npresnext.errors.BackwardError: ReLU().backward() without a forward pass to go with: call the layer first, \
outside no_grad(); each forward pass serves one backward pass
    """
    return Scope(_saving, False)


def calls_through(visitor: Callable[..., Array]) -> Scope[Callable[..., Array] | None]:
    """Let ``visitor(module, *inputs)`` answer every call of a module inside the ``with`` block.

    >>> from npresnext import nn
    >>> import numpy as np
    >>> def timed(module, *inputs):
    ...     print(f"a call of {module!r}")
    ...     return module.forward(*inputs)
    >>> with calls_through(timed):
    ...     y = nn.ReLU()(np.ones(3))
    a call of ReLU()
    """
    return Scope(_visitor, visitor)


class Module:
    """Base of layers and networks: write ``forward`` and ``backward``, and assign the parts to attributes.

    A layer does the computing. Its forward calls :meth:`save_for_backward`, its backward :meth:`pop_saved`. What
    else there is to know of a layer it states itself: the shape of its output (:meth:`output_shape`), its
    multiply-adds (:meth:`macs`) and which channels it connects (:meth:`channel_masks`, or ``channelwise = True``).

    >>> import numpy as np
    >>> from npresnext import nn
    >>> class Scale(nn.Module):
    ...     def __init__(self, features):
    ...         self.weight = nn.Parameter(np.ones(features, dtype="float32"))
    ...     def forward(self, x):
    ...         self.save_for_backward(x)
    ...         return x * self.weight.data
    ...     def backward(self, grad_output):
    ...         (x,) = self.pop_saved()
    ...         self.weight.add_grad((grad_output * x).sum(axis=0))
    ...         return grad_output * self.weight.data
    ...     def output_shape(self, input_shape):
    ...         return input_shape

    A module made of others calls their forward and backward.

    >>> class Double(nn.Module):
    ...     def __init__(self):
    ...         self.linear = nn.Linear(3, 2, rng=0)
    ...     def forward(self, x):
    ...         return 2 * self.linear(x)
    ...     def backward(self, grad_output):
    ...         return self.linear.backward(2 * grad_output)
    >>> double = Double()
    >>> double(np.ones((5, 3), dtype="float32")).shape, list(double.state_dict())
    ((5, 2), ['linear.weight', 'linear.bias'])

    Attributes
    ----------
    training : bool
        Whether the module is in training or in evaluation mode; see :meth:`train`.
    needs_input_grad : bool
        True. Set it to False where nobody asks for the gradient of the input, as in training, where nobody asks for
        that of the images: ``backward`` may then return None. :class:`Conv2d` and :class:`Linear` skip the
        computation, :class:`Sequential` passes the value on to its first module and a ResNet to its first
        convolution; other modules compute the gradient all the same.
    channelwise : bool
        False. True in a layer whose output channel c depends on channel c of each input and on no other.
    buffer_names, optional_buffer_names : tuple of str
        Attributes that hold arrays which belong to the state and do not learn. A state that is loaded may lack the
        optional ones; these then keep their values.
    """

    training = True
    needs_input_grad = True
    channelwise = False
    buffer_names: tuple[str, ...] = ()
    optional_buffer_names: tuple[str, ...] = ()
    _saved: Saved | None = None

    def forward(self, *inputs: Array) -> Array:
        """Compute the output, and save what backward needs."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, grad_output: Array) -> Array:
        """Add the gradient of each parameter to its ``grad`` and return the gradient of the input."""
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def __call__(self, *inputs: Array) -> Array:
        """Run forward, or the function that :func:`calls_through` has put in its place.

        Where it raises an error, nothing stays saved: a backward pass could only mix this forward pass with earlier
        ones. The message of a TypeError or ValueError of this package begins with the name of the layer.

        >>> from npresnext import nn
        >>> import numpy as np
        >>> nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())(np.ones((1, 3, 9, 9)))
        Traceback (most recent call last):
        ...
        npresnext.errors.InvalidTypeError: 0: x has dtype float64 and weight has dtype float32: all arrays of a call \
share one dtype
        """
        visitor = _visitor.get()
        try:
            return self.forward(*inputs) if visitor is None else visitor(self, *inputs)
        except BaseException as error:
            self._drop_saved()
            if visitor is None and isinstance(error, (InvalidTypeError, InvalidValueError)):
                self._name_layer(error)
            raise

    def save_for_backward(self, *values: Any, **named_values: Any) -> None:
        """Save values for the next :meth:`pop_saved`, in place of earlier ones; save nothing under ``no_grad()``.

        They are not copied. An array that is changed in place before the backward pass would make the gradients wrong,
        so :meth:`pop_saved` compares about 64 values of each NumPy array, spread evenly over it, with what they were.
        This finds an operation on a whole array, such as ``y += x`` or ``x[...] = next_batch``. It may miss a change
        of a few values. Arrays inside a list or tuple, and arrays of other libraries, are not compared: reading from a
        GPU would wait for it.

        Copies of the module (``copy.deepcopy``, pickle) do not contain saved values.

        Parameters
        ----------
        *values, **named_values
            The names appear in the error message.
        """
        vars(self)["_saved"] = Saved(values, named_values) if _saving.get() else None  # a quarter of a setattr's time

    def pop_saved(self) -> tuple[Any, ...]:
        """Return what forward saved, and take it away: each forward pass serves one backward pass.

        Returns
        -------
        tuple
            The values in the order in which they were saved.

        Raises
        ------
        BackwardError
            Nothing is saved: there was no forward pass, or one under ``no_grad()``, or a backward pass has taken it.
            Or a saved array was changed in place after the forward pass.

        Examples
        --------
        >>> from npresnext import nn
        >>> import numpy as np
        >>> layer, x = nn.ReLU(), np.ones(3)
        >>> y = layer(x)
        >>> y += x                                                         # right: y = y + x
        >>> layer.backward(x)
        Traceback (most recent call last):
        ...
        npresnext.errors.BackwardError: the output that ReLU() saved was changed in place after the forward pass, \
which would make the gradients wrong: change a copy instead, or call backward first
        """
        saved = self._saved
        vars(self)["_saved"] = None
        if saved is None:
            raise BackwardError(
                f"{self!r}.backward() without a forward pass to go with: call the layer first, outside no_grad(); "
                "each forward pass serves one backward pass"
            )
        changed = saved.changed()
        if changed is not None:
            raise BackwardError(
                f"the {changed} that {self!r} saved was changed in place after the forward pass, which would make the "
                "gradients wrong: change a copy instead, or call backward first"
            )
        return saved.values

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes for a copy or a pickle, without what forward saved."""
        return {name: value for name, value in vars(self).items() if name != "_saved"}

    def _name_layer(self, error: Exception) -> None:
        """Begin the message of an error with the dotted name, below this module, of the layer that raised it."""
        layer, message = vars(error).setdefault("_raised_by", (self, str(error)))
        for path, part in self._parts():
            if part is layer and path:
                error.args = (f"{path}: {message}",)

    def _drop_saved(self) -> None:
        for _, part in self._parts():
            if isinstance(part, Module):
                part._saved = None

    # What a layer states of itself. An argument is the shape of one input, with N; most layers have one input

    def output_shape(self, *input_shapes: Any) -> Shape | None:
        """Return the shape of the output for inputs of these shapes, computed from integers alone.

        None, as here, stands for a module made of others: :func:`~npresnext.nn.trace` then follows its forward. A
        layer returns a shape and raises the errors that its forward raises.
        """
        return None

    def macs(self, *input_shapes: Any) -> int:
        """Return the multiply-adds of one forward pass: 0, unless it is a convolution or a linear layer."""
        return 0

    def channel_masks(self, *input_shapes: Any) -> list[Mask]:
        """Return, for each input, which output channels depend on which of its channels: a bool array (C_out, C_in).

        None in place of an array stands for "output channel c on channel c", as in a layer that is ``channelwise``.

        Raises
        ------
        TypeError
            The layer does not state it.
        """
        if self.channelwise:
            return [None] * len(input_shapes)
        raise InvalidTypeError(
            f"it is not known which channels {type(self).__name__} connects: give it a method "
            "channel_masks(input_shape), or channelwise = True if no channel reaches another"
        )

    def example_shape(self) -> Shape | None:
        """Return the shape of one input that the layer accepts, or None if the channels may be any number."""
        return None

    # The tree

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, (Module, Parameter)):
            placed = {id(part): path for path, part in self._parts() if path.partition(".")[0] != name}
            for path, part in value._parts(name) if isinstance(value, Module) else [(name, value)]:
                if id(part) in placed:
                    raise self._second_place(path, part, placed[id(part)])
        elif value is not None and isinstance(held := vars(self).get(name), (Module, Parameter)):
            kind, hint = ("Module", "") if isinstance(held, Module) else ("Parameter", f"; its values are {name}.data")
            raise InvalidTypeError(
                f"{name} of {type(self).__name__} is a {kind}: expected another or None, but got an object of type "
                f"{type(value).__name__}{hint}"
            )
        super().__setattr__(name, value)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules that are attributes of this one, with their names."""
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Module))

    def children(self) -> Iterator[Module]:
        """Yield the modules that are attributes of this one."""
        return (child for _, child in self.named_children())

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Yield this module (named "") and all below it, with dotted names."""
        return ((path, part) for path, part in self._distinct_parts() if isinstance(part, Module))

    def modules(self) -> Iterator[Module]:
        """Yield this module and all below it."""
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield every parameter with its dotted name."""
        return ((path, part) for path, part in self._distinct_parts() if isinstance(part, Parameter))

    def parameters(self) -> Iterator[Parameter]:
        """Yield every parameter."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Array]]:
        """Yield every array that belongs to the state and does not learn, with its dotted name."""
        return ((path, entry.array) for path, entry in self._state().items() if entry.parameter is None)

    def buffers(self) -> Iterator[Array]:
        """Yield every array that belongs to the state and does not learn."""
        return (buffer for _, buffer in self.named_buffers())

    def _parts(self, path: str = "") -> Iterator[tuple[str, Module | Parameter]]:
        """Yield this module, its parameters, and the parts of its children, with dotted names."""
        yield path, self
        prefix = f"{path}." if path else ""
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield prefix + name, value
        for name, child in self.named_children():
            yield from child._parts(prefix + name)

    def _distinct_parts(self) -> Iterator[tuple[str, Module | Parameter]]:
        """Yield the parts, or raise where one has two places: an assignment deep down sees only what is below it.

        Raise too where a part stands in a list, dictionary or other collection only, where it would neither be trained
        nor saved.
        """
        placed: dict[int, str] = {}
        for path, part in self._parts():
            if id(part) in placed:
                raise self._second_place(path, part, placed[id(part)])
            placed[id(part)] = path
        for path, part in self._parts():
            if isinstance(part, Module):
                part._refuse_hidden_parts(path, placed)
            yield path, part

    def _refuse_hidden_parts(self, path: str, placed: Mapping[int, str]) -> None:
        """Raise where an attribute is a collection that holds, at any depth, a module or parameter without a place."""
        for name, value in vars(self).items():
            if isinstance(value, _COLLECTIONS):
                for item in _items(value):
                    if isinstance(item, (Module, Parameter)) and id(item) not in placed:
                        raise ModuleError(
                            f"{f'{path}.{name}'.lstrip('.')} is a {type(value).__name__} that holds a "
                            f"{type(item).__name__}, which would neither be trained nor saved: put modules into a "
                            "ModuleList or a Sequential, and assign each parameter to an attribute"
                        )

    def _second_place(self, path: str, part: Module | Parameter, first: str) -> ModuleError:
        return ModuleError(
            f"{path} would give {type(part).__name__} a second place in {type(self).__name__}: it is "
            f"{first or 'the module itself'} already, and holds what one backward pass needs; "
            "make a new one for each place"
        )

    # Modes

    def train(self, mode: bool = True) -> Self:
        """Switch this module and all below it to training; returns the module."""
        mode = as_bool(mode, "mode")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switch this module and all below it to evaluation; returns the module.

        Layers save for a backward pass in evaluation too, as in PyTorch; :func:`no_grad` is what saves memory.
        """
        return self.train(False)

    def zero_grad(self) -> None:
        """Set every gradient to None."""
        for parameter in self.parameters():
            parameter.grad = None

    # State

    def state_dict(self) -> dict[str, Array]:
        """Return name -> array of all parameters and buffers, in order: the arrays themselves, not copies.

        Training changes them in place, so the dictionary follows; :meth:`load_state_dict` and :meth:`to` put others in
        their place, and the dictionary keeps the earlier ones.
        """
        return {path: entry.array for path, entry in self._state().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Take over the arrays of `state_dict`, keeping this module's dtype and backend.

        Parameters
        ----------
        state_dict : mapping of str to array
            Arrays of any library that ``to_numpy`` reads. They are copied.
        strict : bool
            Whether missing and unexpected keys are errors. As in PyTorch, ``num_batches_tracked`` may be missing.

        Returns
        -------
        (missing_keys, unexpected_keys)
            Two lists of names.

        Raises
        ------
        ValueError
            Keys are missing or unexpected (if `strict`) or have another shape. The message lists all of them,
            and nothing has been loaded.
        """
        return load_state(type(self).__name__, self._state(), state_dict, strict)

    def to(self, backend: str | None = None, dtype: Any = None) -> Self:
        """Move parameters, gradients and buffers to a backend, a floating dtype, or both; returns the module.

        What an earlier forward pass saved is dropped, since it lies elsewhere.

        >>> from npresnext import nn
        >>> nn.Linear(3, 2).to(dtype="float64").weight
        Parameter(shape=(2, 3), dtype=float64)
        """
        move_state(self._state().values(), backend, dtype)
        self._drop_saved()
        return self

    def _state(self) -> dict[str, StateEntry]:
        return state_entries(self.named_modules())

    # Representation

    def extra_repr(self) -> str:
        """Return the constructor's arguments as PyTorch prints them."""
        return ""

    def __repr__(self) -> str:
        children = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        extra = self.extra_repr()
        if not children:
            return f"{type(self).__name__}({extra})"
        lines = [extra, *children] if extra else children
        return "\n  ".join([f"{type(self).__name__}(", *lines]) + "\n)"


def check_module(value: Any, name: str) -> None:
    """Raise, naming the argument `name`, unless `value` is a Module."""
    if not isinstance(value, Module):
        raise InvalidTypeError(f"{name} must be a Module, but is of type {type(value).__name__}")


def _items(collection: Any) -> Iterator[Any]:
    """Yield what a collection holds, and what the collections in it hold; each collection once."""
    seen, waiting = {id(collection)}, [collection]
    while waiting:
        current = waiting.pop()
        for item in current.values() if isinstance(current, dict) else current:
            if not isinstance(item, _COLLECTIONS):
                yield item
            elif id(item) not in seen:
                seen.add(id(item))
                waiting.append(item)

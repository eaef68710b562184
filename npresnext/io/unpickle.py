"""A pickle machine that builds tensors, dictionaries and plain containers, and only names everything else.

A pickle is a program for a small stack machine. Python's own machine imports and calls whatever the program
names; this one knows no import and no call. It reads the opcodes (``pickletools.genops``), keeps names as names,
and has a table of the few that it answers itself. Training scripts save more than tensors: arguments, paths, dates,
NumPy's numbers. An object of any other class comes out as a :class:`Placeholder`, which has the name of the class and
nothing else. Names that only an attack asks for, such as ``os.system``, are refused.

Tensors come out as descriptions (:class:`TensorRef`), so nothing is read before the whole program has been understood.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

from ..errors import FileFormatError
from .dtypes import ITEMSIZE, OF_TORCH_STORAGE

_MOST_OPCODES = 2_000_000
_MALFORMED = (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError)


class StorageRef(NamedTuple):
    """A run of elements in the file: of the storage `key` with `numel` elements, `length` from `start` on."""

    key: str
    dtype: str
    numel: int
    start: int
    length: int


class TensorRef(NamedTuple):
    """A strided view of a storage; offset and strides count elements of `dtype`."""

    storage: StorageRef
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    conjugate: bool = False
    negative: bool = False


@dataclass(frozen=True)
class _Name:
    """A name that the pickle asked for; it is never looked up."""

    dotted: str


class Placeholder:
    """What stands for an object of another class: its name, and the items if it is a kind of dictionary."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.items: dict[Any, Any] = {}

    def __repr__(self) -> str:
        return f"<{self.name}>"


def unpickle(stream: IO[bytes]) -> tuple[Any, dict[str, StorageRef]]:
    """Run one pickle; return what it builds and every storage it names. `stream` is left at its end.

    Raises
    ------
    FileFormatError
        The pickle asks for what only an attack needs (the message has its name), is malformed or truncated.
    """
    try:
        return _run(stream)
    except FileFormatError:
        raise
    except _MALFORMED as error:
        raise FileFormatError(f"the pickle is malformed or truncated ({type(error).__name__}: {error})") from error


def _run(stream: IO[bytes]) -> tuple[Any, dict[str, StorageRef]]:
    storages: dict[str, StorageRef] = {}
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def pop_to_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    arg: Any
    for count, (opcode, arg, _) in enumerate(pickletools.genops(stream), 1):
        if count > _MOST_OPCODES:
            raise FileFormatError(f"the pickle has more than {_MOST_OPCODES:,} opcodes: no state file needs as many")
        match opcode.name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case (
                "BININT"
                | "BININT1"
                | "BININT2"
                | "INT"
                | "LONG"
                | "LONG1"
                | "LONG4"
                | "BINFLOAT"
                | "FLOAT"
                | "BINUNICODE"
                | "SHORT_BINUNICODE"
                | "BINUNICODE8"
                | "UNICODE"
                | "STRING"
                | "BINSTRING"
                | "SHORT_BINSTRING"
                | "BINBYTES"
                | "SHORT_BINBYTES"
                | "BINBYTES8"
                | "BYTEARRAY8"
            ):
                stack.append(arg)
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(opcode.name == "NEWTRUE")
            case "MARK":
                marks.append(len(stack))
            case "POP":
                stack.pop()
            case "POP_MARK":
                pop_to_mark()
            case "FROZENSET":
                stack.append(frozenset(map(_key, pop_to_mark())))
            case "EMPTY_TUPLE" | "EMPTY_LIST" | "EMPTY_DICT" | "EMPTY_SET":
                stack.append({"TUPLE": (), "LIST": [], "DICT": {}, "SET": set()}[opcode.name[6:]])
            case "TUPLE":
                stack.append(tuple(pop_to_mark()))
            case "LIST":
                stack.append(pop_to_mark())
            case "DICT":
                stack.append(_fill({}, pop_to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                size = int(opcode.name[-1])
                stack[-size:] = [tuple(stack[-size:])]
            case "APPEND":
                item = stack.pop()
                if not isinstance(stack[-1], Placeholder):
                    _expect(stack[-1], list).append(item)
            case "APPENDS":
                items = pop_to_mark()
                if not isinstance(stack[-1], Placeholder):
                    _expect(stack[-1], list).extend(items)
            case "ADDITEMS":
                items = pop_to_mark()
                if not isinstance(stack[-1], Placeholder):
                    _expect(stack[-1], set).update(map(_key, items))
            case "SETITEM":
                items = [stack.pop(-2), stack.pop()]
                _fill(stack[-1], items)
            case "SETITEMS":
                items = pop_to_mark()
                _fill(stack[-1], items)
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[arg] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[arg])
            case "BINPERSID":
                stack.append(_storage(stack.pop(), storages))
            case "GLOBAL":
                stack.append(_named(arg.replace(" ", ".")))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_named(f"{module}.{name}"))
            case "REDUCE" | "NEWOBJ":
                args = stack.pop()
                stack.append(_call(stack.pop(), args))
            case "NEWOBJ_EX":
                _, args = stack.pop(), stack.pop()
                stack.append(_call(stack.pop(), args))
            case "BUILD":
                state = stack.pop()
                stack.append(_build(stack.pop(), state))
            case _:
                asked = f"the opcode {opcode.name}" if arg is None else f"{str(arg).replace(' ', '.')} ({opcode.name})"
                raise FileFormatError(f"the pickle asks for {asked}, which is no part of a state file: refused")
    return stack.pop(), storages


def _tensor(storage: Any, offset: int, shape: Any, strides: Any, dtype: str = "", metadata: Any = None) -> TensorRef:
    """Describe a strided view after checking that it stays inside its storage."""
    shape, strides = tuple(shape), tuple(strides)
    if not isinstance(storage, StorageRef):
        raise FileFormatError(f"a tensor is built on {type(storage).__name__} instead of a storage")
    if len(shape) != len(strides) or any(type(size) is not int or size < 0 for size in (offset, *shape, *strides)):
        raise FileFormatError(f"a tensor has offset {offset!r}, shape {shape!r} and strides {strides!r}")
    dtype = dtype or storage.dtype
    elements = storage.length * ITEMSIZE[storage.dtype] // ITEMSIZE[dtype]
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
    if 0 not in shape and last >= elements:
        raise FileFormatError(
            f"a tensor of shape {shape}, strides {strides} and offset {offset} reaches element {last} "
            f"of a storage that has {elements}"
        )
    flags = metadata or {}
    return TensorRef(storage, dtype, offset, shape, strides, bool(flags.get("conj")), bool(flags.get("neg")))


def _tensor_v2(storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, metadata: Any = None) -> Any:
    return _tensor(storage, offset, shape, strides, metadata=metadata)


def _tensor_v3(
    storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, dtype: Any, metadata: Any = None
) -> Any:
    return _tensor(storage, offset, shape, strides, _expect(dtype, _Name).dotted.removeprefix("torch."), metadata)


def _parameter(data: Any, *_: Any) -> Any:
    return _expect(data, TensorRef)


def _dictionary(pairs: Any = ()) -> dict[Any, Any]:
    """Build an OrderedDict or Counter, which Python 2 pickles with its items as argument."""
    if isinstance(pairs, dict):
        return dict(pairs)
    return _fill({}, [item for pair in pairs for item in (pair[0], pair[1])])


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1", "utf-8"):
        raise FileFormatError(f"the pickle asks for the codec {encoding!r}: refused")
    return text.encode(encoding)


def _member(owner: Any, name: str) -> Placeholder:
    """Answer the call by which Python 3.11.0 to 3.11.3 pickles a member of an enumeration."""
    if not (isinstance(owner, _Name) and isinstance(name, str)):
        raise FileFormatError("the pickle asks for builtins.getattr, which no state file needs: refused")
    return Placeholder(owner.dotted)


_ANSWERS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _dictionary,
    "collections.Counter": _dictionary,
    "builtins.getattr": _member,
    "builtins.set": lambda items=(): set(map(_key, items)),
    "builtins.complex": lambda real, imag: complex(float(real), float(imag)),
    "_codecs.encode": _encode,
    "torch.Size": lambda sizes=(): tuple(_expect(sizes, (list, tuple))),
    "torch.device": lambda *parts: ":".join(str(_key(part)) for part in parts),
    "torch._utils._rebuild_tensor": lambda storage, offset, shape, strides: _tensor(storage, offset, shape, strides),
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
}
# Modules whose functions act on the machine: a pickle that names one is an attack. Safety does not rest on this list,
# since nothing is ever called; the file is refused because whoever made it cannot be trusted.
_REFUSED = {"_io", "_pickle", "code", "commands", "ctypes", "importlib", "io", "marshal", "nt", "os", "pickle", "posix"}
_REFUSED |= {"pty", "runpy", "shutil", "socket", "subprocess", "sys", "webbrowser"}
# Of Python's own names, only types and getattr, which a member of an enumeration needs: not eval, exec, open
_HARMLESS = {"bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "range"}
_HARMLESS |= {"set", "slice", "str", "tuple"} | {"basestring", "long", "unicode", "xrange"}  # the latter are Python 2's
_HARMLESS |= {"getattr"}
# Until PyTorch 0.2 a tensor was pickled as an empty object of its class, to be filled by BUILD
_EMPTY_TENSORS = {f"torch.{storage.removesuffix('Storage')}Tensor" for storage in OF_TORCH_STORAGE}


def _named(dotted: str) -> _Name:
    """Return a name, or refuse one that no state file needs; either way nothing of that name is looked up."""
    dotted = dotted.replace("__builtin__.", "builtins.").replace("torch.cuda.", "torch.")
    module, _, name = dotted.rpartition(".")
    if module.partition(".")[0] in _REFUSED or (module == "builtins" and name not in _HARMLESS):
        raise FileFormatError(f"the pickle asks for {dotted}, which no state file needs: refused")
    return _Name(dotted)


def _call(target: Any, args: Any) -> Any:
    """Answer a call of one of the names in the table; of any other name, return a placeholder."""
    if isinstance(target, Placeholder):
        return Placeholder(target.name)
    name = _expect(target, _Name).dotted
    if name in _EMPTY_TENSORS and not args:
        return target
    if name in _ANSWERS:
        return _ANSWERS[name](*_expect(args, tuple))
    module, _, last = name.rpartition(".")
    if module == "torch" and (last in ITEMSIZE or last in OF_TORCH_STORAGE):
        raise FileFormatError(f"the pickle calls {name}: refused")
    if name in ("copyreg._reconstructor", "copy_reg._reconstructor") and args and isinstance(args[0], _Name):
        return Placeholder(args[0].dotted)  # how protocols 0 and 1 say that they make an object of a class
    return Placeholder(name)


def _build(target: Any, state: Any) -> Any:
    """Fill an empty tensor of old; the state of dictionaries and parameters (hooks, versions) is left out."""
    if isinstance(target, _Name) and target.dotted in _EMPTY_TENSORS:
        return _tensor(*_expect(state, tuple))
    if not isinstance(target, (dict, TensorRef, Placeholder)):
        raise FileFormatError(f"the pickle gives a state to {target!r:.80}: refused")
    return target


def _storage(saved: Any, storages: dict[str, StorageRef]) -> StorageRef:
    """Describe the storage that a persistent id names: ("storage", type, key, device, numel[, view])."""
    if not isinstance(saved, tuple) or len(saved) not in (5, 6) or _text(saved[0]) != "storage":
        raise FileFormatError(f"the pickle asks for the outside object {saved!r:.80}: only storages are admitted")
    kind = _expect(saved[1], _Name).dotted.rpartition(".")[2]
    key, numel = _text(saved[2]), saved[4]
    if type(numel) is not int or numel < 0:
        raise FileFormatError(f"the storage {key} has {numel!r} elements")
    if kind != "UntypedStorage" and kind not in OF_TORCH_STORAGE:
        raise FileFormatError(f"the storage {key} is a {saved[1].dotted}, whose elements no array can hold: refused")
    dtype = "uint8" if kind == "UntypedStorage" else OF_TORCH_STORAGE[kind]
    start, length = (saved[5][1], saved[5][2]) if len(saved) == 6 and saved[5] else (0, numel)
    if any(type(value) is not int or value < 0 for value in (start, length)) or start + length > numel:
        raise FileFormatError(f"a view from {start!r} over {length!r} elements leaves the storage {key} of {numel}")
    storage = StorageRef(key, dtype, numel, start, length)
    known = storages.setdefault(key, storage)
    if (known.dtype, known.numel) != (dtype, numel):
        raise FileFormatError(f"the storage {key} is named with {known.numel} {known.dtype} and with {numel} {dtype}")
    return storage


def _fill(target: Any, items: list[Any]) -> dict[Any, Any]:
    """Add the alternating keys and values to a dictionary."""
    target = target.items if isinstance(target, Placeholder) else target
    _expect(target, dict).update((_key(items[i]), items[i + 1]) for i in range(0, len(items), 2))
    return target


def _key(value: Any) -> Any:
    """Return a key after checking that it is a scalar or a placeholder: hashing a deep tuple exhausts the C stack."""
    return _expect(value, (str, int, float, bytes, type(None), Placeholder))


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(_key(value))


def _expect(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise FileFormatError(f"the pickle treats a {type(value).__name__} as something else")
    return value

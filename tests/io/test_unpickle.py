"""Hostile pickles: refused by the name of what they ask for, and nothing is executed."""

import datetime
import io
import os
import pickle
import subprocess

import pytest

from npresnext.errors import FileFormatError
from npresnext.io.unpickle import StorageRef, TensorRef, unpickle


class Calls:
    """Pickles to a call of `function`."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "function, args, name",
    [
        (os.system, ("touch MARK",), "posix.system|nt.system"),
        (eval, ("open('MARK', 'w')",), "builtins.eval"),
        (exec, ("open('MARK', 'w')",), "builtins.exec"),
        (open, ("MARK", "w"), "io.open|_io.open"),
        (getattr, ({}, "clear"), "builtins.getattr"),
        (__import__, ("os",), "builtins.__import__"),
        (subprocess.Popen, (["touch", "MARK"],), "(subprocess|commands).Popen"),  # the latter is Python 2's name
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_call_is_refused_by_name_and_not_made(tmp_path, function, args, name, protocol, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = pickle.dumps({"state_dict": Calls(function, *args)}, protocol)
    with pytest.raises(FileFormatError, match=f"asks for ({name})"):
        unpickle(io.BytesIO(program))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_member_of_an_enumeration_as_python_3_11_2_pickles_it_is_its_class_by_name(protocol):
    member = Calls(getattr, datetime.timezone, "utc")
    found, _ = unpickle(io.BytesIO(pickle.dumps({"zone": member, member: 1}, protocol)))
    assert repr(found["zone"]) == "<datetime.timezone>" and len(found) == 2
    with pytest.raises(FileFormatError, match=r"asks for builtins\.getattr"):
        unpickle(io.BytesIO(pickle.dumps(Calls(getattr, datetime.timezone, 1), protocol)))


@pytest.mark.parametrize(
    "program, message",
    [
        (b"(S'touch MARK'\nios\nsystem\n.", r"os.system \(INST\)"),
        (b"(cos\nsystem\nS'touch MARK'\no.", "os.system"),
        (b"\x80\x02\x82\x01.", "1 \\(EXT1\\)"),
        (b"Pmodule\n.", "module \\(PERSID\\)"),
        (b"\x80\x02ctorch\nFloatStorage\n)R.", "calls torch.FloatStorage"),
        (b"\x80\x02ctorch\nfloat32\n)R.", "calls torch.float32"),
        (b"\x80\x02ccollections\nOrderedDict\n}X\x05\x00\x00\x00clearNsb.", "gives a state"),
        (b"\x80\x02(U\x06modulectorch\nFloatStorage\nU\x01aU\x01bK\x01tQ.", "outside object"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.", "codec 'rot13'"),
        (b"\x80\x02}))s.", "treats a tuple"),
        (b"\x80\x02", "malformed or truncated"),
        (b"\x80\x02N", "malformed or truncated"),
        (b"\x80\x02h\x07.", "malformed or truncated"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor\n(NK\x00))tR.", "built on NoneType instead of a storage"),
        (b"\x80\x02K\x01K\x02a.", "treats a int"),
    ],
)
def test_other_ways_to_ask_are_refused(program, message):
    with pytest.raises(FileFormatError, match=message):
        unpickle(io.BytesIO(program))


def test_a_pickle_of_more_opcodes_than_a_state_file_needs_is_refused(monkeypatch):
    monkeypatch.setattr("npresnext.io.unpickle._MOST_OPCODES", 10)
    assert unpickle(io.BytesIO(b"]" * 9 + b".")) == ([], {})
    with pytest.raises(FileFormatError, match="more than 10 opcodes"):
        unpickle(io.BytesIO(b"]" * 10 + b"."))


def test_a_tower_of_tuples_cannot_be_a_key():
    """Hashing it would recurse in C without limit, and end the process."""
    with pytest.raises(FileFormatError, match="treats a tuple"):
        unpickle(io.BytesIO(b"\x80\x02})" + b"\x85" * 250_000 + b"Ns."))


def tensor(offset, shape, strides, numel=6, kind=b"FloatStorage"):
    """Pickle a tensor by hand."""
    ints = [b"(" + b"".join(pickle.dumps(value, 2)[2:-1] for value in row) + b"t" for row in (shape, strides)]
    storage = b"(X\x07\x00\x00\x00storagectorch\n%s\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" % kind
    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + pickle.dumps(numel, 2)[2:-1]
        + b"tQ"
        + pickle.dumps(offset, 2)[2:-1]
        + b"".join(ints)
        + b"\x89}tR."
    )


def test_a_tensor_is_described_and_not_read():
    described, storages = unpickle(io.BytesIO(tensor(1, (2, 2), (2, 1))))
    assert described == TensorRef(StorageRef("0", "float32", 6, 0, 6), "float32", 1, (2, 2), (2, 1))
    assert storages == {"0": described.storage}


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((3, (2, 2), (2, 1)), "reaches element 6 of a storage that has 6"),
        ((0, (2**62,), (1,)), "reaches element"),
        ((0, (3,), (-1,)), "strides"),
        ((-1, (3,), (1,)), "offset -1"),
        ((0, (2, 2), (1,)), "strides"),
        ((0, (True,), (1,)), "shape"),
        ((0, (2,), (1,), -6), "-6 elements"),
        ((0, (2,), (1,), 6, b"QInt8Storage"), "torch.QInt8Storage"),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(arguments, message):
    with pytest.raises(FileFormatError, match=message):
        unpickle(io.BytesIO(tensor(*arguments)))


def storage(kind, numel, view=b""):
    """Pickle the persistent id of the storage 0."""
    head = b"(X\x07\x00\x00\x00storagectorch\n%sStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" % kind
    return head + b"K%c" % numel + view + b"tQ"


def test_a_storage_may_be_a_view_of_a_part():
    described, _ = unpickle(io.BytesIO(b"\x80\x02" + storage(b"Float", 6, b"(X\x01\x00\x00\x001K\x02K\x03t") + b"."))
    assert described == StorageRef("0", "float32", 6, 2, 3)


@pytest.mark.parametrize(
    "program, message",
    [
        (storage(b"Float", 6, b"(X\x01\x00\x00\x001K\x02K\x05t"), "from 2 over 5 elements leaves the storage 0 of 6"),
        (storage(b"Float", 6) + storage(b"Float", 7), "named with 6 float32 and with 7 float32"),
        (storage(b"Float", 6) + storage(b"Int", 6), "named with 6 float32 and with 6 int32"),
    ],
)
def test_storages_at_odds_with_each_other_are_refused(program, message):
    with pytest.raises(FileFormatError, match=message):
        unpickle(io.BytesIO(b"\x80\x02" + program + b"."))


def test_a_dictionary_of_pythons_own_may_be_made_of_another():
    program = b"\x80\x02ccollections\nCounter\n}X\x01\x00\x00\x00aK\x02s\x85R."
    assert unpickle(io.BytesIO(program))[0] == {"a": 2} == dict(pickle.loads(program))


class Plain:
    """Pickled by copyreg._reconstructor at the protocols 0 and 1, by NEWOBJ from 2 on."""


class WithOptions:
    """Pickled by NEWOBJ_EX from protocol 4 on."""

    def __new__(cls, *, size=1):
        return super().__new__(cls)

    def __getnewargs_ex__(self):
        return (), {"size": 2}


@pytest.mark.parametrize(("kind", "protocol"), [*((Plain, number) for number in range(6)), (WithOptions, 4)])
def test_an_object_of_another_class_is_its_class_by_name(kind, protocol):
    found, _ = unpickle(io.BytesIO(pickle.dumps({"a": kind()}, protocol)))
    assert repr(found["a"]) == f"<{kind.__module__}.{kind.__name__}>"


def test_what_a_call_of_an_unknown_name_returns_may_be_called_again():
    found, _ = unpickle(io.BytesIO(b"\x80\x02cmodule\nName\n)R)R."))
    assert repr(found) == "<module.Name>"


def test_plain_containers_come_through_at_every_protocol():
    value = {"a": [1, 2.5, None, True, 2**70, -3], "b": {"c": (1, (2,), ())}, "d": {"x", "y"}, "e": b"\xff", "f": 1j}
    for protocol in range(2, 6):
        assert unpickle(io.BytesIO(pickle.dumps(value, protocol)))[0] == value
    for value in ([1, 2.5, None, -3], {"a": "text"}, (1, 2)):  # protocol 0: LIST and DICT
        assert unpickle(io.BytesIO(pickle.dumps(value, 0)))[0] == value
    assert unpickle(io.BytesIO(b"\x80\x02K\x01K\x020."))[0] == 1  # POP
    assert unpickle(io.BytesIO(b"\x80\x02K\x01(K\x02K\x031."))[0] == 1  # POP_MARK

"""Files are whole or not there, nobody's file is overwritten unasked, on every system."""

import errno
import os
import stat

import pytest

from npresnext.errors import InvalidValueError
from npresnext.io import atomic_path, check_writable


@pytest.fixture(params=["links", "no links"])
def file_system(request, monkeypatch):
    """With hard links, and without, as exFAT and many a mounted folder."""

    def refuses(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    if request.param == "no links":
        monkeypatch.setattr(os, "link", refuses)


def write(path, text, **options):
    with atomic_path(path, **options) as beside:
        beside.write_text(text)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_is_written_and_nothing_else_left(tmp_path, file_system):
    write(tmp_path / "new", "whole")
    assert (tmp_path / "new").read_text() == "whole" and os.listdir(tmp_path) == ["new"]


@pytest.mark.skipif(os.name == "nt", reason="Windows limits whole paths")
@pytest.mark.parametrize("name", ["n" * 255, "ä" * 127], ids=["ascii", "two bytes a letter"])
def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path, name):
    write(tmp_path / name, "whole")
    assert os.listdir(tmp_path) == [name]


def test_a_file_that_came_into_being_meanwhile_stays(tmp_path, file_system):
    with pytest.raises(FileExistsError), atomic_path(tmp_path / "note") as beside:
        beside.write_text("ours")
        (tmp_path / "note").write_text("theirs")
    assert (tmp_path / "note").read_text() == "theirs" and os.listdir(tmp_path) == ["note"]


def test_a_block_that_raises_leaves_what_was_there(tmp_path, file_system):
    (tmp_path / "note").write_text("old")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "note", overwrite=True) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert (tmp_path / "note").read_text() == "old" and os.listdir(tmp_path) == ["note"]


def test_a_new_file_has_the_permissions_of_the_umask_and_an_old_one_keeps_its_own(tmp_path, monkeypatch):
    before = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", None)  # asking for it would change it, for all threads
        write(tmp_path / "new", "a")
        (tmp_path / "old").touch(0o600)
        write(tmp_path / "old", "b", overwrite=True)
        with atomic_path(tmp_path / "replaced") as beside:  # as the package safetensors does
            (tmp_path / "its own").touch(0o600)
            os.replace(tmp_path / "its own", beside)
    finally:
        monkeypatch.undo()
        os.umask(before)
    assert [mode(tmp_path / name) for name in ("new", "old", "replaced")] == [0o640, 0o600, 0o640]


def test_what_is_flushed_to_the_disk_was_opened_for_writing(tmp_path, monkeypatch):
    """Windows flushes no other file."""
    fcntl = pytest.importorskip("fcntl")
    access, flush = [], os.fsync

    def watched(file):
        access.append(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE)
        flush(file)

    monkeypatch.setattr(os, "fsync", watched)
    (tmp_path / "read-only").touch(0o444)
    write(tmp_path / "read-only", "whole", overwrite=True)
    assert access == [os.O_RDWR] and mode(tmp_path / "read-only") == 0o444


def test_where_nothing_can_be_written_is_said_before(tmp_path, monkeypatch):
    with pytest.raises(InvalidValueError, match="is a directory"):
        check_writable(tmp_path, overwrite=True)
    with pytest.raises(InvalidValueError, match="does not exist"):
        check_writable(tmp_path / "nowhere" / "note")
    (tmp_path / "link").symlink_to("nothing")
    with pytest.raises(InvalidValueError, match="exists already"):
        check_writable(tmp_path / "link")
    monkeypatch.setattr(os, "access", lambda path, how: (path, how) != (tmp_path, os.W_OK))  # root may do everything
    with pytest.raises(InvalidValueError, match="no permission"):
        check_writable(tmp_path / "note")


def test_a_link_stays_a_link_to_what_is_written(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "note").write_text("old")
    for name in ("note", "yet to come"):
        (tmp_path / name).symlink_to(tmp_path / "far" / name)
        write(tmp_path / name, "new", overwrite=True)
        assert (tmp_path / name).is_symlink() and (tmp_path / "far" / name).read_text() == "new"
    assert sorted(path.name for path in (tmp_path / "far").iterdir()) == ["note", "yet to come"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_no_file_takes_the_place_of_a_device(tmp_path):
    """To root /dev/null would be lost, for the whole machine."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidValueError, match="pipe is a device or a pipe"):
        write(tmp_path / "pipe", "whole", overwrite=True)
    assert not (tmp_path / "pipe").is_file()

"""Archives made to do harm: bombs, overlaps, paths that lead out, lying sizes."""

import struct
import zipfile

import numpy as np
import pytest

from npresnext.errors import FileFormatError
from npresnext.io import load, save

from tests.support.archives import npy, zipped


def test_a_bomb_is_refused_before_it_unpacks(tmp_path):
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("w.npy", "w") as entry:
        entry.write(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (314572800,), }\n"))
        for _ in range(300):
            entry.write(bytes(2**20))
    assert path.stat().st_size < 400_000
    with pytest.raises(FileFormatError, match="zip bomb"):
        load(path)


def test_entries_that_share_bytes_are_refused(tmp_path):
    path = zipped(tmp_path / "overlap.npz", {"a.npy": b"x" * 500, "b.npy": b"x" * 500})
    raw = bytearray(path.read_bytes())
    second = raw.rindex(b"PK\x01\x02")
    raw[second + 42 : second + 46] = struct.pack("<I", 10)  # where the entry claims to begin
    path.write_bytes(raw)
    with pytest.raises(FileFormatError, match="overlaps"):
        load(path)


@pytest.mark.parametrize("name", ["../evil.npy", "/etc/evil.npy", "a/../../evil.npy", "..\\evil.npy", "C:evil.npy"])
def test_a_path_that_leads_out_is_refused(tmp_path, name):
    with pytest.raises(FileFormatError, match="leads out"):
        load(zipped(tmp_path / "evil.npz", {name: npy("")}))
    assert [entry.name for entry in tmp_path.iterdir()] == ["evil.npz"]


def test_two_entries_of_one_name_are_refused(tmp_path):
    with pytest.warns(UserWarning), zipfile.ZipFile(tmp_path / "twice.npz", "w") as archive:
        archive.writestr("w.npy", b"")
        archive.writestr("w.npy", b"")
    with pytest.raises(FileFormatError, match="same name"):
        load(tmp_path / "twice.npz")


def test_a_changed_byte_is_noticed(tmp_path):
    for ending in (".npz", ".pth"):
        path = tmp_path / f"state{ending}"
        save(path, {"w": np.arange(100.0)})
        raw = bytearray(path.read_bytes())
        raw[raw.index(np.float64(50.0).tobytes())] ^= 1
        path.write_bytes(raw)
        with pytest.raises(FileFormatError, match="CRC"):
            load(path)


def test_an_entry_that_claims_more_than_it_has_is_refused(tmp_path):
    content = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1000,), }\n", bytes(900))
    path = zipped(tmp_path / "short.npz", {"w.npy": content})
    raw = bytearray(path.read_bytes())
    place = raw.rindex(b"PK\x01\x02") + 24  # the size when unpacked
    raw[place : place + 4] = struct.pack("<I", len(content) + 100)
    path.write_bytes(raw)
    with pytest.raises(FileFormatError, match=r"w\.npy ends after 900 of its 1,000 bytes"):
        load(path)


def test_an_encrypted_entry_is_refused(tmp_path):
    path = zipped(tmp_path / "secret.npz", {"w.npy": npy("")})
    raw = bytearray(path.read_bytes())
    raw[raw.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(FileFormatError, match="encrypted"):
        load(path)

"""Give mutated weight files to every reader: each must return arrays or raise FileFormatError, and execute nothing.

    python scripts/fuzz_readers.py                     # 10,000 files of every kind, some minutes
    python scripts/fuzz_readers.py --files 200 --seed 7

Half of the mutated zip archives get correct checksums, so that the mutation reaches the contents. A file with any other
result (another exception, a hang, a call, an import, more than 3 GiB of memory) is kept in the folder --keep, and the
exit code is 1.
"""

from __future__ import annotations

import argparse
import codecs
import collections
import io
import pathlib
import random
import resource
import signal
import sys
import tempfile
import time
import zipfile

import numpy as np

from npresnext.errors import FileFormatError
from npresnext.io import load, save

CHECKPOINTS = pathlib.Path(__file__).parent.parent / "tests" / "golden"
SECONDS_PER_FILE = 5
MEMORY = 3 * 2**30
FORBIDDEN = ("pickle.find_class", "os.", "subprocess.", "import", "exec", "compile", "socket.", "ctypes.")
INTERESTING = (0, 1, 0x7F, 0xFF, 2**16, 2**31 - 1, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1)

asked: list[str] = []


def seeds(folder: pathlib.Path) -> dict[str, list[bytes]]:
    """Return unchanged files of every kind."""
    rng = np.random.default_rng(0)
    state = {"conv.weight": rng.standard_normal((4, 2, 3, 3)).astype("f4"), "n": np.array(3), "e": np.zeros((0, 2))}
    for ending in (".npz", ".safetensors", ".pth"):
        save(folder / f"seed{ending}", state, metadata={"epoch": "3"})
    np.savez_compressed(folder / "packed.npz", **state)
    written = {path.stem: path.read_bytes() for path in sorted(CHECKPOINTS.glob("torch_*.pth"))}
    return {
        "npz": [(folder / "seed.npz").read_bytes(), (folder / "packed.npz").read_bytes()],
        "safetensors": [(folder / "seed.safetensors").read_bytes()],
        "torch zip": [(folder / "seed.pth").read_bytes(), written["torch_zip"], written["torch_protocol4"]],
        "torch stream": [written["torch_stream"]],
    }


def mutate(content: bytes, draw: random.Random) -> bytes:
    """Return `content` with one to four changes."""
    raw = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(raw) + 1)
        match draw.randrange(8):
            case 0:
                raw[place : place + 1] = bytes([draw.randrange(256)])
            case 1:
                raw[place : place + 1] = bytes(value ^ 1 << draw.randrange(8) for value in raw[place : place + 1])
            case 2:
                raw[place:place] = draw.randbytes(draw.randint(1, 9))
            case 3:
                del raw[place : place + draw.randint(1, 40)]
            case 4:
                del raw[place:]
            case 5:
                raw[place:place] = raw[place : place + draw.randint(1, 80)]
            case 6:
                width = draw.choice((1, 2, 4, 8))
                value = draw.choice(INTERESTING) % 256**width
                raw[place : place + width] = value.to_bytes(width, draw.choice(("little", "big")))
            case 7:
                other = draw.randrange(len(raw) + 1)
                raw[place : place + 8] = raw[other : other + 8]
    return bytes(raw)


def mutate_inside(content: bytes, draw: random.Random) -> bytes:
    """Return a zip archive with one mutated entry, most often a pickle, and correct checksums."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(packed, "w") as new:
        pickles = [name for name in old.namelist() if name.endswith(".pkl")]
        chosen = draw.choice(pickles if pickles and draw.random() < 0.7 else old.namelist())
        for name in old.namelist():
            entry = old.read(name)
            new.writestr(zipfile.ZipInfo(name), mutate(entry, draw) if name == chosen else entry)
    return packed.getvalue()


def watch(event: str, args: tuple) -> None:
    """Record forbidden events of the interpreter while a file is read (an audit hook)."""
    if watching and event.startswith(FORBIDDEN):
        asked.append(f"{event} {args!r:.100}")


def outcome(path: pathlib.Path) -> str:
    """Read one file and return how it ended: "" for arrays, else the name of an exception or what was asked for."""
    global watching
    asked.clear()
    signal.alarm(SECONDS_PER_FILE)
    watching = True
    try:
        load(path)
        ended = ""
    except FileFormatError:
        ended = "FileFormatError"
    except BaseException as error:
        ended = f"{type(error).__name__}: {error}"
    finally:
        watching = False
        signal.alarm(0)
    return f"asked for {asked}" if asked else ended


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000, help="mutated files per kind (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--keep",
        type=pathlib.Path,
        default=pathlib.Path("fuzz-findings"),
        help="folder for files with another result (default: %(default)s)",
    )
    args = parser.parse_args()
    draw, findings = random.Random(args.seed), 0
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        files = seeds(folder)
        path = folder / "mutated"
        for codec in ("cp437", "raw_unicode_escape"):  # used for names in archives and text opcodes
            codecs.lookup(codec)
        for contents in files.values():  # so that the readers have imported everything they need
            for content in contents:
                path.write_bytes(content)
                load(path)
        for kind, contents in files.items():
            ends, began = collections.Counter(), time.perf_counter()
            for number in range(args.files):
                content = draw.choice(contents)
                inside = content.startswith(b"PK") and draw.random() < 0.5
                path.write_bytes((mutate_inside if inside else mutate)(content, draw))
                ended = outcome(path)
                ends[ended if ended in ("", "FileFormatError") else "finding"] += 1
                if ended not in ("", "FileFormatError"):
                    findings += 1
                    args.keep.mkdir(exist_ok=True)
                    kept = args.keep / f"{kind.replace(' ', '-')}-{args.seed}-{number}"
                    kept.write_bytes(path.read_bytes())
                    print(f"{kept}: {ended}")
            print(
                f"{kind}: {args.files} files, {ends['FileFormatError']} refused, {ends['']} read as arrays, "
                f"{ends['finding']} findings, {time.perf_counter() - began:.0f} s"
            )
    return 1 if findings else 0


watching = False

if __name__ == "__main__":
    sys.addaudithook(watch)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    sys.exit(main())

"""``npresnext classify``: the most likely classes of pictures."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._support.extras import load_extra
from .._support.plurals import counted
from ..errors import FileFormatError, InvalidValueError, MissingExtraError
from . import FAILED, MISTAKE
from ._network import is_onnx, network_from
from ._numbers import positive_int

if TYPE_CHECKING:
    from ..data.pictures import Preprocessing

HELP = "classify pictures: print the most likely classes with their probabilities"

EXAMPLES = """\
examples:
  npresnext classify cat.jpg --weights resnext50_32x4d-1a0047aa.pth      torchvision's file, read without PyTorch
  npresnext classify holiday/ --weights resnet18-f37072fd.pth --top 1    every picture in a folder
  npresnext classify cat.jpg --weights net.safetensors --json            for programs
  npresnext classify seven.png --weights digits                          weights that are bundled with npresnext
  npresnext classify cat.jpg --weights net.onnx                          a whole network, of PyTorch for example
"""

# Hashes in the names of torchvision's files whose preprocessing is v2: the V2 weights, and resnext101_64x4d
_HASHES_OF_V2 = {"11ad3fa6", "cd907fc2", "f82ba261", "1a0047aa", "110c445d", "173b62eb", "9ba9bcbe", "d733dc28"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EXAMPLES
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="picture files, or folders with picture files")
    parser.add_argument(
        "--weights", required=True, metavar="FILE", help="a file of weights, an .onnx file, or digits, or fashion_mnist"
    )
    parser.add_argument(
        "--preprocessing",
        metavar="v1|v2|FILE.json",
        help="torchvision's preprocessing of its V1 weights (resize to 256 pixels, crop to 224) or V2 weights (232, "
        "224), or a JSON file with resize, crop, mean and std (default: from the metadata of the weights or from "
        'torchvision\'s file name, otherwise v1). v1, v2, and a JSON file with "strict": true do exactly what '
        "torchvision does: the orientation that a camera stores is not applied, and transparency is dropped. Otherwise "
        "pictures are turned upright, and transparent parts are shown on white",
    )
    parser.add_argument(
        "--max-pixels",
        type=positive_int,
        metavar="N",
        help="refuse larger pictures, as a protection against files that claim a huge size (default: 160,000,000)",
    )
    parser.add_argument("--classes", metavar="FILE.txt", help="the names of the classes, one per line")
    parser.add_argument(
        "--strip-prefix", default="", metavar="TEXT", help="prefix to remove from the names in FILE, such as module."
    )
    parser.add_argument("--top", type=positive_int, default=5, metavar="K", help="classes to show (default: 5)")
    parser.add_argument(
        "--batch-size", type=positive_int, default=8, metavar="N", help="pictures per forward pass (default: 8)"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list")


def run(args: argparse.Namespace) -> int:
    """Classify every picture; report on standard error those that cannot be read, and what was done to others.

    The exit code is 1 if a picture cannot be read, and 2 if a picture does not exist.
    """
    from ..data.pictures import find_pictures
    from ..models import shipped_weights

    paths = [found for given in args.pictures for found in find_pictures(given)]
    weights = shipped_weights("resnext_small").get(args.weights, Path(args.weights))
    model, metadata = _network(weights, args.strip_prefix)
    preprocessing = _preprocessing(args, weights, metadata, model)
    names = _class_names(args, metadata, _count_classes(model, preprocessing))
    rows: list[dict[str, Any]] = []
    code = 0
    results = _classified(paths, model, preprocessing, args)
    if args.json or not sys.stdout.isatty():  # otherwise the lines on the terminal show the progress
        results = _progress(results, len(paths))
    for path, probabilities, remarks in results:
        for remark in remarks:
            print(f"npresnext: warning: {path}: {remark}", file=sys.stderr)
        if isinstance(probabilities, Exception):
            code = max(code, MISTAKE if isinstance(probabilities, FileNotFoundError) else FAILED)
            print(f"npresnext: error: {probabilities}", file=sys.stderr)
            rows.append({"picture": str(path), "error": str(probabilities)})
            continue
        best = (-probabilities).argsort(kind="stable")[: args.top]
        top = [{"class": int(k), "name": names[k], "probability": float(probabilities[k])} for k in best]
        rows.append({"picture": str(path), "top": top, **({"warnings": remarks} if remarks else {})})
        if not args.json:
            print(path, *(f"  {each['probability']:7.2%}  {each['name']}" for each in top), sep="\n", flush=True)
    if args.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    return code


def _network(weights: Path, strip_prefix: str) -> tuple[Any, dict[str, str]]:
    """Return the network that a file describes, and the metadata of the file."""
    from ..io import load
    from ..models import from_state

    if is_onnx(weights):
        model = network_from(str(weights))
        return model, model.metadata
    state = load(weights, strip_prefix=strip_prefix)
    return from_state(state), state.metadata


def _channels(model: Any) -> int | None:
    """Return the number of channels of the images that a network takes; None if its file leaves it open."""
    input_shape = getattr(model, "input_shape", None)
    return model.conv1.in_channels if input_shape is None else input_shape[1]


def _count_classes(model: Any, preprocessing: Preprocessing) -> int:
    """Return the number of classes, after checking that the network takes the images of a preprocessing."""
    from ..nn import trace

    shape = trace(model, (1, preprocessing.channels, preprocessing.crop, preprocessing.crop)).output.shape
    if len(shape) != 2:
        raise InvalidValueError(f"the network returns an array of shape {shape} for one picture: expected (1, classes)")
    return shape[1]


def _classified(
    paths: Sequence[Path], model: Any, preprocessing: Preprocessing, args: argparse.Namespace
) -> Iterator[tuple[Path, Any, list[str]]]:
    """Yield each path with the probabilities (classes,) of its picture or the error of reading it, and the warnings."""
    import numpy as np

    from .. import asarray, no_grad, to_numpy

    dtype = next((parameter.data.dtype for parameter in model.parameters()), "float32")
    for start in range(0, len(paths), args.batch_size):
        read = [_read(path, preprocessing, args.max_pixels) for path in paths[start : start + args.batch_size]]
        pictures = [each for _, each, _ in read if not isinstance(each, Exception)]
        if pictures:
            with no_grad(), np.errstate(all="ignore"):  # an overflow shows in the logits
                outputs = to_numpy(model(asarray(np.stack(pictures), dtype=dtype)))
            results = iter(_probabilities(outputs, getattr(model, "gives_probabilities", False)))
        for path, each, remarks in read:
            yield path, each if isinstance(each, Exception) else next(results), remarks


def _read(path: Path, preprocessing: Preprocessing, max_pixels: int | None) -> tuple[Path, Any, list[str]]:
    """Return the path, the prepared picture (C, H, W) or the error of reading it, and the warnings."""
    from ..data.pictures import MAX_PIXELS, PictureWarning, TooManyPixelsError, read_picture

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PictureWarning)
        try:
            prepared: Any = preprocessing(read_picture(path, max_pixels=max_pixels or MAX_PIXELS))
        except TooManyPixelsError as error:
            prepared = FileFormatError(f"{error}: pass --max-pixels {error.pixels} to read it all the same")
        except (InvalidValueError, OSError) as error:
            prepared = error
    return path, prepared, [str(each.message) for each in caught]


def _probabilities(outputs: Any, are_probabilities: bool) -> Any:
    """Return the outputs (N, classes) of a network in float64: their softmax, unless they are probabilities."""
    import numpy as np

    if not np.isfinite(outputs).all():
        raise InvalidValueError("the network returns NaN or infinity: these are not its trained weights")
    exponents = outputs.astype("float64")
    if are_probabilities:
        return exponents
    powers = np.exp(exponents - exponents.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)  # (N, classes)


def _preprocessing(args: argparse.Namespace, weights: Path, metadata: dict[str, str], model: Any) -> Preprocessing:
    """Return the preprocessing of ``--preprocessing``, or else that of the weights, or else torchvision's v1."""
    from ..data.pictures import TORCHVISION_PREPROCESSING, Preprocessing

    official = re.search(r"-([0-9a-f]{8})\.", weights.name)
    if args.preprocessing in TORCHVISION_PREPROCESSING:
        chosen = dataclasses.replace(TORCHVISION_PREPROCESSING[args.preprocessing], strict=True)
    elif args.preprocessing:
        if not Path(args.preprocessing).is_file():
            known = ", ".join(TORCHVISION_PREPROCESSING)
            raise InvalidValueError(
                f"argument --preprocessing: must be {known} or a JSON file, but is {args.preprocessing}"
            )
        chosen = Preprocessing.from_json(_text(args.preprocessing))
    elif "preprocessing" in metadata:
        chosen = Preprocessing.from_json(metadata["preprocessing"])
    else:
        chosen = TORCHVISION_PREPROCESSING["v2" if official and official[1] in _HASHES_OF_V2 else "v1"]
    advice = (
        "pass --preprocessing FILE.json, with content such as "
        '{"resize": 28, "crop": 28, "mean": [0.286], "std": [0.353]}'
    )
    channels, size = _channels(model), tuple(getattr(model, "input_shape", (None, None)))[2:]
    if channels not in (None, chosen.channels):
        raise InvalidValueError(
            f"the network takes {counted(channels, 'channel')} and the preprocessing gives {chosen.channels}: {advice}"
        )
    if any(side not in (None, chosen.crop) for side in size):
        raise InvalidValueError(
            f"the network takes images of {size[0]}x{size[1]} pixels and the preprocessing gives {chosen.crop}x"
            f"{chosen.crop}: {advice}"
        )
    return chosen


def _class_names(args: argparse.Namespace, metadata: dict[str, str], count: int) -> list[str]:
    """Return a name for each class."""
    from ..data.pictures import imagenet_classes

    names: Any = None
    if args.classes:
        names = _text(args.classes).splitlines()
    elif "classes" in metadata:
        with contextlib.suppress(ValueError, RecursionError):
            names = json.loads(metadata["classes"])
    elif count == 1000:
        names = imagenet_classes()
    else:
        names = [f"class {number}" for number in range(count)]
    if not isinstance(names, list) or len(names) != count:
        given = (
            f"the names given are {len(names)}"
            if isinstance(names, list)
            else "'classes' in its metadata is no JSON list"
        )
        raise InvalidValueError(f"the network has {counted(count, 'class', 'classes')}, but {given}")
    return [str(name) for name in names]


def _text(path: str) -> str:
    """Return the content of a text file."""
    try:
        return Path(path).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} is not UTF-8 text: {error}") from error


def _progress(results: Iterator[Any], total: int) -> Iterator[Any]:
    """Show a bar on standard error, if it is a terminal and there are several pictures."""
    if total > 1 and sys.stderr.isatty():
        with contextlib.suppress(MissingExtraError):
            tqdm = load_extra("tqdm", "train", "the progress bar").tqdm
            return tqdm(results, total=total, unit="picture", leave=False)
    return results

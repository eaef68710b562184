"""``npresnext classify``: what a network sees in pictures."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _recipe as recipe

if TYPE_CHECKING:
    from ..data.pictures import Preprocessing
    from ..models import ResNet

HELP = "say what is on pictures: the likeliest classes, with their probabilities"

EXAMPLES = """\
examples:
  npresnext classify cat.jpg --weights resnext50_32x4d-1a0047aa.pth      torchvision's file, read without PyTorch
  npresnext classify holiday/ --weights resnet18-f37072fd.pth --top 1    every picture of a folder
  npresnext classify cat.jpg --weights net.safetensors --json            for programs
  npresnext classify seven.png --weights digits                          weights that travel with npresnext
"""

# torchvision's files whose pictures are resized to 232 pixels: the V2 weights, and resnext101_64x4d
_OF_V2 = {"11ad3fa6", "cd907fc2", "f82ba261", "1a0047aa", "110c445d", "173b62eb", "9ba9bcbe", "d733dc28"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EXAMPLES
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="picture files, or folders of them")
    parser.add_argument("--weights", required=True, metavar="FILE", help="a state file, or digits, or fashion_mnist")
    parser.add_argument(
        "--preprocessing",
        metavar="v1|v2|FILE.json",
        help="torchvision's recipe V1 (256 to 224) or V2 (232 to 224), or a file with resize, crop, mean and std "
        "(default: what the weights say, by their metadata or torchvision's name for them; else v1)",
    )
    parser.add_argument("--classes", metavar="FILE.txt", help="the names of the classes, one a line")
    parser.add_argument("--strip-prefix", default="", metavar="TEXT", help="removed from state names, such as module.")
    parser.add_argument("--top", type=recipe.count, default=5, metavar="K", help="classes to show (default: 5)")
    parser.add_argument("--batch-size", type=recipe.count, default=8, metavar="N", help="pictures at once (default: 8)")
    parser.add_argument("--json", action="store_true", help="print a JSON list")


def run(args: argparse.Namespace) -> int:
    """Classify every picture; those that cannot be read are said on standard error, and the exit code is 1."""
    from ..data.pictures import find_pictures
    from ..io import load
    from ..models import from_state, shipped_weights

    paths = [found for given in args.pictures for found in find_pictures(given)]
    weights = shipped_weights("resnext_small").get(args.weights, Path(args.weights))
    state = load(weights, strip_prefix=args.strip_prefix)
    model = from_state(state)
    preprocessing = _preprocessing(args, weights, state.metadata, model)
    names = _class_names(args, state.metadata, model.fc.out_features)
    rows: list[dict[str, Any]] = []
    failed = False
    results = _classified(paths, model, preprocessing, args.batch_size)
    if args.json or not sys.stdout.isatty():  # on a terminal the lines themselves are the progress
        results = _progress(results, len(paths))
    for path, probabilities in results:
        if isinstance(probabilities, Exception):
            failed = True
            print(f"npresnext: error: {probabilities}", file=sys.stderr)
            rows.append({"picture": str(path), "error": str(probabilities)})
            continue
        best = (-probabilities).argsort(kind="stable")[: args.top]
        top = [{"class": int(k), "name": names[k], "probability": float(probabilities[k])} for k in best]
        rows.append({"picture": str(path), "top": top})
        if not args.json:
            print(path, *(f"  {each['probability']:7.2%}  {each['name']}" for each in top), sep="\n", flush=True)
    if args.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    return 1 if failed else 0


def _classified(
    paths: Sequence[Path], model: ResNet, preprocessing: Preprocessing, batch_size: int
) -> Iterator[tuple[Path, Any]]:
    """Yield each path with the probabilities (classes,) of its picture, or with what hinders reading it."""
    import numpy as np

    from .. import asarray, no_grad, to_numpy
    from ..data.pictures import read_picture
    from ..errors import InvalidValueError

    for start in range(0, len(paths), batch_size):
        read: list[tuple[Path, Any]] = []
        for path in paths[start : start + batch_size]:
            try:
                read.append((path, preprocessing(read_picture(path))))
            except (InvalidValueError, OSError) as error:
                read.append((path, error))
        pictures = [each for _, each in read if not isinstance(each, Exception)]
        if pictures:
            with no_grad(), np.errstate(all="ignore"):  # what goes wrong shows in the logits
                logits = to_numpy(model(asarray(np.stack(pictures), dtype=model.conv1.weight.data.dtype)))
            results = iter(_probabilities(logits))
        for path, each in read:
            yield path, each if isinstance(each, Exception) else next(results)


def _probabilities(logits: Any) -> Any:
    """Return the softmax of logits (N, classes), in float64."""
    import numpy as np

    from ..errors import InvalidValueError

    if not np.isfinite(logits).all():
        raise InvalidValueError("the network answers with NaN or infinity: these are no trained weights of it")
    exponents = logits.astype("float64")
    powers = np.exp(exponents - exponents.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)  # (N, classes)


def _preprocessing(args: argparse.Namespace, weights: Path, metadata: dict[str, str], model: ResNet) -> Preprocessing:
    """Return what the user chose, else what the weights say, else torchvision's first recipe."""
    from ..data.pictures import RECIPES, Preprocessing
    from ..errors import InvalidValueError

    official = re.search(r"-([0-9a-f]{8})\.", weights.name)
    if args.preprocessing in RECIPES:
        chosen = RECIPES[args.preprocessing]
    elif args.preprocessing:
        if not Path(args.preprocessing).is_file():
            known = ", ".join(RECIPES)
            raise InvalidValueError(f"--preprocessing {args.preprocessing}: expected {known} or a JSON file")
        chosen = Preprocessing.from_json(_text(args.preprocessing))
    elif "preprocessing" in metadata:
        chosen = Preprocessing.from_json(metadata["preprocessing"])
    else:
        chosen = RECIPES["v2" if official and official[1] in _OF_V2 else "v1"]
    if chosen.channels != model.conv1.in_channels:
        raise InvalidValueError(
            f"the network takes {model.conv1.in_channels} channels and the preprocessing gives {chosen.channels}: "
            "give --preprocessing FILE.json, which says something like "
            '{"resize": 28, "crop": 28, "mean": [0.286], "std": [0.353]}'
        )
    return chosen


def _class_names(args: argparse.Namespace, metadata: dict[str, str], count: int) -> list[str]:
    """Return a name for each class."""
    from ..data.pictures import imagenet_classes
    from ..errors import InvalidValueError

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
        given = f"{len(names)} names are given" if isinstance(names, list) else "its metadata classes are no JSON list"
        raise InvalidValueError(f"the network tells {count} classes apart, and {given}")
    return [str(name) for name in names]


def _text(path: str) -> str:
    """Return what a text file says."""
    from ..errors import FileFormatError

    try:
        return Path(path).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} is no UTF-8 text: {error}") from error


def _progress(results: Iterator[Any], total: int) -> Iterator[Any]:
    """Show a bar on standard error while a person waits for several pictures."""
    from .._support.extras import load_extra
    from ..errors import MissingExtraError

    if total > 1 and sys.stderr.isatty():
        with contextlib.suppress(MissingExtraError):
            tqdm = load_extra("tqdm", "train", "the progress bar").tqdm
            return tqdm(results, total=total, unit="picture", leave=False)
    return results

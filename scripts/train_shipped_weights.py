"""Train the weights that are bundled with the package, and write each with its card.

    python scripts/train_shipped_weights.py digits
    python scripts/train_shipped_weights.py fashion-mnist --data-dir /usr/share/datasets/fashion-mnist

The training is ``npresnext train`` with the arguments on the card. With --checkpoint FILE.npz, a run that was killed
continues when it is started again. On the same machine a seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import platform
import tempfile

import numpy as np

from npresnext import __version__, cli, data
from npresnext.io import load, save
from npresnext.models import from_state
from npresnext.training import evaluate

FOLDER = pathlib.Path(__file__).parent.parent / "npresnext" / "models" / "weights"
SETS = {
    "digits": {
        "weights": "digits",
        "epochs": 30,
        "classes": [str(digit) for digit in range(10)],
        "source": "the 1,797 digits of npresnext/data/digits.md (UCI, CC BY 4.0)",
    },
    "fashion-mnist": {
        "weights": "fashion_mnist",
        "epochs": 2,
        "classes": [
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ],
        "source": "Fashion-MNIST (Xiao, Rasul and Vollgraf, arXiv:1708.07747; MIT licence), 70,000 images",
    },
}

CARD = """# resnext_small, {weights}

`npresnext.models.resnext_small(weights="{weights}")`

| | |
|---|---|
| network | `resnext_small`: {parameters:,} parameters, cardinality 8 |
| data | {source} |
| command | `{command}`, run by `scripts/train_shipped_weights.py` |
| accuracy | {hits:,} of {images:,} test images: {accuracy:.2%} |
| date | {date} |
| made with | npresnext {version}, NumPy {numpy}, Python {python}, {machine} |
| input | grey images of {size}x{size}, from 0 to 1, minus {mean}, divided by {std} |
| licence | BSD-3-Clause, as the package |

The network was not trained on the test images. The accuracy is that of the last epoch; it did not decide which epoch
to keep.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=SETS)
    parser.add_argument("--data-dir", metavar="DIR", help="the folder with the IDX files of Fashion-MNIST")
    parser.add_argument("--epochs", type=int, help="passes over the training images")
    parser.add_argument(
        "--checkpoint", metavar="FILE.npz", help="write checkpoints, and continue from the one that is there"
    )
    parser.add_argument("--folder", type=pathlib.Path, default=FOLDER, help="the folder for weights and card")
    args = parser.parse_args()
    entry = SETS[args.data]
    epochs = args.epochs or entry["epochs"]
    command = f"npresnext train --data {args.data} --epochs {epochs}"
    with tempfile.TemporaryDirectory() as folder:
        trained = pathlib.Path(folder) / "trained.npz"
        more = ["--data-dir", args.data_dir] if args.data_dir else []
        if args.checkpoint:
            more += ["--checkpoint", args.checkpoint, "--checkpoint-every", "50"]
            more += ["--resume"] if os.path.exists(args.checkpoint) else []
        code = cli.main([*command.split()[1:], "--save", str(trained), *more])
        if code:
            return code
        state = load(trained)
    test = data.load_digits()[1] if args.data == "digits" else data.load_fashion_mnist(args.data_dir)[1]
    _, accuracy = evaluate(from_state(state), test)
    size = test.shape[-1]
    facts = {
        "weights": entry["weights"],
        "source": entry["source"],
        "command": command,
        "parameters": sum(array.size for name, array in state.items() if name.endswith((".weight", ".bias"))),
        "hits": round(accuracy * len(test)),
        "images": len(test),
        "accuracy": accuracy,
        "date": datetime.date.today().isoformat(),
        "version": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "size": size,
        "mean": test.mean,
        "std": test.std,
    }
    path = args.folder / f"resnext_small-{entry['weights']}.npz"
    save(
        path,
        state,
        overwrite=True,
        metadata={
            **state.metadata,
            "classes": json.dumps(entry["classes"]),
            "command": command,
            "date": facts["date"],
        },
    )
    path.with_suffix(".md").write_text(CARD.format(**facts), "utf-8")
    print(f"{path}: {path.stat().st_size:,} bytes, {facts['hits']} of {facts['images']} right ({accuracy:.2%})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Pictures from files, prepared as the network expects them: resized, cropped and normalised."""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import warnings
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from .._support.extras import load_extra
from ..errors import FileFormatError, InvalidValueError

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# Pillow's modes with 8 bits per channel, made for screens; converting them to RGB or L loses only transparency
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "YCbCr")
_MOST_ASPECT = 100
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error)


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the input of a network, as in torchvision's ``ImageClassification``.

    1. The shorter side is resized to `resize` pixels (bilinear, antialiased).
    2. A square of `crop` pixels is cut out of the centre.
    3. Values from 0 to 1 become ``(value − mean) / std``, channel by channel.

    Attributes
    ----------
    resize, crop : int
        Pixels.
    mean, std : tuple of float
        One number per channel: 3 for colour, 1 for grey.

    Raises
    ------
    ValueError
        `crop` is larger than `resize`, or the numbers are impossible.
    """

    resize: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 1 <= self.crop <= self.resize:
            raise InvalidValueError(f"crop={self.crop}, resize={self.resize}: expected 1 <= crop <= resize")
        if len(self.mean) not in (1, 3) or len(self.mean) != len(self.std) or not all(std > 0 for std in self.std):
            raise InvalidValueError(f"mean={self.mean}, std={self.std}: expected 1 or 3 of each, and std above 0")

    @property
    def channels(self) -> int:
        """3 for colour, 1 for grey."""
        return len(self.mean)

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """Read ``{"resize": ..., "crop": ..., "mean": [...], "std": [...]}``.

        >>> Preprocessing.from_json('{"resize": 28, "crop": 28, "mean": [0.286], "std": [0.353]}').channels
        1
        """
        try:
            given = json.loads(text)
            mean, std = (tuple(float(each) for each in given.pop(name)) for name in ("mean", "std"))
            return cls(**{name: int(value) for name, value in given.items()}, mean=mean, std=std)
        except InvalidValueError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise InvalidValueError(
                f"preprocessing must be JSON with resize, crop, mean and std, but is {text!r:.200} ({error})"
            ) from error

    def __call__(self, picture: Any) -> np.ndarray:
        """Return a picture (a Pillow image) as an array (C, crop, crop) of float32."""
        pillow = load_extra("PIL.Image", "images", "reading pictures")
        picture = picture.convert("RGB" if self.channels == 3 else "L")
        width, height = picture.size
        short, long = min(width, height), max(width, height)
        if long > _MOST_ASPECT * short:
            raise InvalidValueError(
                f"a picture of {width}x{height}: the longer side must be at most {_MOST_ASPECT} times the shorter"
            )
        sizes = self.resize, int(self.resize * long / short)
        picture = picture.resize(sizes if width <= height else sizes[::-1], pillow.Resampling.BILINEAR)
        left, top = (round((side - self.crop) / 2) for side in picture.size)
        picture = picture.crop((left, top, left + self.crop, top + self.crop))
        pixels = np.asarray(picture, np.float32).reshape(self.crop, self.crop, self.channels)  # (crop, crop, C)
        scaled = (pixels / np.float32(255) - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1))  # (C, crop, crop)


_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
# The preprocessing of torchvision's weights IMAGENET1K_V1 and IMAGENET1K_V2 (torchvision/models/resnet.py)
TORCHVISION_PREPROCESSING = {
    "v1": Preprocessing(resize=256, crop=224, mean=_MEAN, std=_STD),
    "v2": Preprocessing(resize=232, crop=224, mean=_MEAN, std=_STD),
}


def read_picture(path: str | os.PathLike[str]) -> Any:
    """Return a picture file as a Pillow image, with all of its pixels loaded.

    Raises
    ------
    ValueError
        The file is not a picture, is truncated, is animated, has 16 bits per channel, or is in CMYK.
    ImportError
        The extra ``images`` is missing.
    OSError
        The file cannot be opened.
    """
    pillow = load_extra("PIL.Image", "images", "reading pictures")
    with open(path, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", pillow.DecompressionBombWarning)
        try:
            picture = pillow.open(file)
            _check(picture, path)
            picture.load()
            picture.info.pop("transparency", None)  # converting drops it, and would warn about palettes
        except pillow.UnidentifiedImageError as error:
            raise FileFormatError(f"{path} is not an image file that Pillow can read") from error
        except (pillow.DecompressionBombWarning, pillow.DecompressionBombError) as error:
            raise FileFormatError(f"{path} claims to have more pixels than any photograph: {error}") from error
        except FileFormatError:
            raise
        except _DAMAGE as error:
            raise FileFormatError(f"{path} is a damaged or truncated picture: {error}") from error
    return picture


def find_pictures(path: str | os.PathLike[str]) -> list[Path]:
    """Return ``[path]`` for a file; for a folder, the paths of all pictures in it and in its subfolders, sorted.

    Raises
    ------
    ValueError
        The folder contains no picture.
    """
    path = Path(path)
    if not path.is_dir():
        return [path]
    found = sorted(each for each in path.rglob("*") if each.suffix.lower() in ENDINGS and each.is_file())
    if not found:
        raise InvalidValueError(f"the folder {path} contains no picture: no file that ends in {', '.join(ENDINGS)}")
    return found


def imagenet_classes() -> list[str]:
    """Return the names of the 1,000 classes of ImageNet; imagenet_classes.md names their source.

    >>> imagenet_classes()[281:283]
    ['tabby', 'tiger cat']
    """
    return resources.files(__package__).joinpath("imagenet_classes.txt").read_text("utf-8").splitlines()


def _check(picture: Any, path: str | os.PathLike[str]) -> None:
    """Raise if Pillow would silently change the picture: animations, CMYK, and more than 8 bits per channel."""
    if (
        getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO"
    ):  # MPO is a JPEG with previews or a stereo view appended
        raise FileFormatError(f"{path} has {picture.n_frames} frames: expected a still picture; save one of them")
    if picture.mode == "CMYK":
        raise FileFormatError(f"{path} is in CMYK, the colours for printing: convert it to RGB first")
    if picture.mode not in _MODES or ";16" in str(picture.tile):  # Pillow reduces 16-bit colour without a warning
        deep = picture.mode.startswith("I;16") or ";16" in str(picture.tile)
        bits = "16 bits per channel" if deep else f"the mode {picture.mode}"
        raise FileFormatError(f"{path} has {bits}: convert it to 8 bits per channel first")

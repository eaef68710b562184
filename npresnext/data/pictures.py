"""Pictures from files, made ready for a network as it was trained: resized, cropped, normalised."""

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
# Modes of Pillow that are 8-bit pictures on a screen; what converts them loses nothing but transparency
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "YCbCr")
_MOST_ASPECT = 100
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error)


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What a picture goes through before the network: torchvision's ``ImageClassification``, step by step.

    The shorter side is resized to `resize` pixels (bilinear, antialiased), a square of `crop` pixels is cut from
    the centre, and values from 0 to 1 become ``(value − mean) / std``, channel by channel.

    Attributes
    ----------
    resize, crop : int
    mean, std : tuple of float
        One for each channel: 3 for colour, 1 for grey.

    Raises
    ------
    ValueError
        The crop is larger than what is left after resizing, or the numbers make no sense.
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
        """Return a picture of Pillow as an array (C, crop, crop) of float32."""
        pillow = load_extra("PIL.Image", "images", "reading pictures")
        picture = picture.convert("RGB" if self.channels == 3 else "L")
        width, height = picture.size
        short, long = min(width, height), max(width, height)
        if long > _MOST_ASPECT * short:
            raise InvalidValueError(f"a picture of {width}x{height}: sides may differ at most {_MOST_ASPECT} times")
        sizes = self.resize, int(self.resize * long / short)
        picture = picture.resize(sizes if width <= height else sizes[::-1], pillow.Resampling.BILINEAR)
        left, top = (round((side - self.crop) / 2) for side in picture.size)
        picture = picture.crop((left, top, left + self.crop, top + self.crop))
        pixels = np.asarray(picture, np.float32).reshape(self.crop, self.crop, self.channels)  # (crop, crop, C)
        scaled = (pixels / np.float32(255) - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1))  # (C, crop, crop)


_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
# The transforms of torchvision's weights IMAGENET1K_V1 and IMAGENET1K_V2 (torchvision/models/resnet.py)
RECIPES = {
    "v1": Preprocessing(resize=256, crop=224, mean=_MEAN, std=_STD),
    "v2": Preprocessing(resize=232, crop=224, mean=_MEAN, std=_STD),
}


def read_picture(path: str | os.PathLike[str]) -> Any:
    """Return a picture file as a picture of Pillow, loaded whole.

    Raises
    ------
    ValueError
        The file is no picture, is truncated, is animated, has 16 bits a channel, or is meant for print (CMYK).
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
            picture.info.pop("transparency", None)  # which converting drops, with a warning for palettes
        except pillow.UnidentifiedImageError as error:
            raise FileFormatError(f"{path} is no picture that Pillow knows") from error
        except (pillow.DecompressionBombWarning, pillow.DecompressionBombError) as error:
            raise FileFormatError(f"{path} claims more pixels than a photograph has: {error}") from error
        except FileFormatError:
            raise
        except _DAMAGE as error:
            raise FileFormatError(f"{path} is a damaged or truncated picture: {error}") from error
    return picture


def find_pictures(path: str | os.PathLike[str]) -> list[Path]:
    """Return the picture itself, or all pictures in a folder and below it, sorted.

    Raises
    ------
    ValueError
        The folder has no picture.
    """
    path = Path(path)
    if not path.is_dir():
        return [path]
    found = sorted(each for each in path.rglob("*") if each.suffix.lower() in ENDINGS and each.is_file())
    if not found:
        raise InvalidValueError(f"the folder {path} has no picture: no file that ends in {', '.join(ENDINGS)}")
    return found


def imagenet_classes() -> list[str]:
    """Return the names of the 1,000 classes of ImageNet; imagenet_classes.md says where they come from.

    >>> imagenet_classes()[281:283]
    ['tabby', 'tiger cat']
    """
    return resources.files(__package__).joinpath("imagenet_classes.txt").read_text("utf-8").splitlines()


def _check(picture: Any, path: str | os.PathLike[str]) -> None:
    """Refuse what would be misread rather than read."""
    if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":  # a JPEG, with previews or a stereo view behind
        raise FileFormatError(f"{path} has {picture.n_frames} frames: expected a still picture; save one of them")
    if picture.mode == "CMYK":
        raise FileFormatError(f"{path} is in CMYK, the colours of print: convert it to RGB first")
    if picture.mode not in _MODES or ";16" in str(picture.tile):  # Pillow cuts 16-bit colour down without a word
        bits = "16 bits a channel" if picture.mode.startswith("I;16") or ";16" in str(picture.tile) else picture.mode
        raise FileFormatError(f"{path} is a picture of {bits}: convert it to 8 bits a channel first")

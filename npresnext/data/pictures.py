"""Pictures from files, prepared as the network expects them: resized, cropped and normalised."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import struct
import threading
import warnings
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from .._support.arguments import as_int
from .._support.extras import load_extra
from .._support.plurals import counted
from ..errors import FileFormatError, InvalidValueError

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
MAX_PIXELS = 160_000_000  # in colour 480 MB; cameras of medium format take 151 million
# Pillow's modes with 8 bits per channel, made for screens; converting them to RGB or L loses only transparency
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "YCbCr")
_MOST_ASPECT = 100
_pillow_limit = threading.Lock()  # Pillow's limit of pixels is one number for the whole process
_ORIENTATION = 0x0112  # the entry of EXIF: how to turn the stored pixels, by the name of Pillow's operation
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error)


class PictureWarning(UserWarning):
    """A picture was prepared, but not as it is stored, or it may not be what the network expects."""


class TooManyPixelsError(FileFormatError):
    """A picture has more pixels than the limit.

    Attributes
    ----------
    path : str or path
        The file.
    pixels : int
        The pixels of the picture, according to its file.
    max_pixels : int
        The limit.
    """

    def __init__(self, path: str | os.PathLike[str], pixels: int, max_pixels: int) -> None:
        super().__init__(f"{path} has {counted(pixels, 'pixel')}, more pixels than the limit of {max_pixels:,}")
        self.path, self.pixels, self.max_pixels = path, pixels, max_pixels

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the arguments to make a copy or pickle with; Python alone would pass the message."""
        return type(self), (self.path, self.pixels, self.max_pixels)


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the input of a network: torchvision's ``ImageClassification``, after two steps more.

    1. The picture is turned upright, by the orientation that a camera stores in it (EXIF).
    2. Transparent parts are laid on white.
    3. The shorter side is resized to `resize` pixels (bilinear, antialiased).
    4. A square of `crop` pixels is cut out of the centre.
    5. Values from 0 to 1 become ``(value − mean) / std``, channel by channel.

    Attributes
    ----------
    resize, crop : int
        Pixels.
    mean, std : tuple of float
        One number per channel: 3 for colour, 1 for grey.
    strict : bool
        Whether the first two steps are left out, as in torchvision: pixels are used as they are stored, and the colour
        that a file stores below its transparent parts shows.

    Raises
    ------
    ValueError
        `crop` is larger than `resize`, or the numbers are impossible.
    """

    resize: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    strict: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.crop <= self.resize:
            raise InvalidValueError(f"crop={self.crop}, resize={self.resize}: expected 1 <= crop <= resize")
        if len(self.mean) not in (1, 3) or len(self.mean) != len(self.std) or not all(std > 0 for std in self.std):
            raise InvalidValueError(f"mean={self.mean}, std={self.std}: expected 1 or 3 of each, and std above 0")
        if not isinstance(self.strict, bool):
            raise InvalidValueError(f"strict={self.strict!r}: expected true or false")

    @property
    def channels(self) -> int:
        """3 for colour, 1 for grey."""
        return len(self.mean)

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """Read ``{"resize": ..., "crop": ..., "mean": [...], "std": [...]}``, optionally with ``"strict": true``.

        >>> Preprocessing.from_json('{"resize": 28, "crop": 28, "mean": [0.286], "std": [0.353]}').channels
        1
        """
        try:
            given = json.loads(text)
            mean, std = (tuple(float(each) for each in given.pop(name)) for name in ("mean", "std"))
            strict = given.pop("strict", False)
            return cls(**{name: int(value) for name, value in given.items()}, mean=mean, std=std, strict=strict)
        except InvalidValueError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise InvalidValueError(
                f"preprocessing must be JSON with resize, crop, mean and std, but is {text!r:.200} ({error})"
            ) from error

    def __call__(self, picture: Any) -> np.ndarray:
        """Return a picture (a Pillow image) as an array (C, crop, crop) of float32.

        Warns
        -----
        PictureWarning
            Transparent parts are shown on white; `strict` ignores an orientation or transparent parts; or a grey
            picture looks inverted: its background is light and that of the training images is dark, or vice versa.
        """
        pillow = load_extra("PIL.Image", "images", "reading pictures")
        picture = self._without_transparency(self._upright(picture))
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
        values = pixels / np.float32(255)
        if self.channels == 1:
            self._warn_if_inverted(values[:, :, 0])
        scaled = (values - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1))  # (C, crop, crop)

    def _warn_if_inverted(self, values: np.ndarray) -> None:
        """Warn if a grey picture (crop, crop) is light where the training images are dark, or vice versa."""
        if _looks_inverted(values, self.mean[0]):
            light_on_dark = self.mean[0] < 0.5
            trained_on = (
                "light on dark, as white digits on black" if light_on_dark else "dark on light, as ink on paper"
            )
            _warn(
                f"the background is {'light' if light_on_dark else 'dark'}, but the training images are {trained_on}: "
                "invert the picture if its classes look wrong"
            )

    def _upright(self, picture: Any) -> Any:
        """Return the picture turned as its EXIF orientation says, unless `strict`."""
        pillow = load_extra("PIL.Image", "images", "reading pictures")
        try:
            turn = _TURNS.get(picture.getexif().get(_ORIENTATION))
        except _DAMAGE:  # viewers, too, show a picture whose EXIF is damaged as it is stored
            return picture
        if turn is None:
            return picture
        if self.strict:
            _warn("the orientation that the camera stored is not applied, as in torchvision")
            return picture
        return picture.transpose(pillow.Transpose[turn])

    def _without_transparency(self, picture: Any) -> Any:
        """Return the picture on white, or without its transparency if `strict`."""
        pillow = load_extra("PIL.Image", "images", "reading pictures")
        if not {"A", "a"} & set(picture.getbands()) and "transparency" not in picture.info:
            return picture
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, that this is how palettes must be converted
            coloured = picture.convert("RGBA")
        if coloured.getextrema()[3][0] < 255:
            if self.strict:
                _warn("transparent parts are shown in the colours that the file stores below them, as in torchvision")
            else:
                _warn("transparent parts are shown on white")
                return pillow.alpha_composite(pillow.new("RGBA", coloured.size, "white"), coloured)
        return coloured


_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
# The preprocessing of torchvision's weights IMAGENET1K_V1 and IMAGENET1K_V2 (torchvision/models/resnet.py)
TORCHVISION_PREPROCESSING = {
    "v1": Preprocessing(resize=256, crop=224, mean=_MEAN, std=_STD),
    "v2": Preprocessing(resize=232, crop=224, mean=_MEAN, std=_STD),
}


def read_picture(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Any:
    """Return a picture file as a Pillow image, with all of its pixels loaded, as they are stored.

    Parameters
    ----------
    path
        The file.
    max_pixels : int
        The largest number of pixels, width x height. The limit protects against small files that claim a huge
        picture.

    Raises
    ------
    TooManyPixelsError
        The picture has more than `max_pixels` pixels.
    ValueError
        The file is not a picture, is truncated, is animated, has 16 bits per channel, or is in CMYK.
    ImportError
        The extra ``images`` is missing.
    OSError
        The file cannot be opened.
    """
    pillow = load_extra("PIL.Image", "images", "reading pictures")
    max_pixels = as_int(max_pixels, "max_pixels", 1)
    with open(path, "rb") as file, _pillow_limit, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", pillow.DecompressionBombWarning)
        limit_before, pillow.MAX_IMAGE_PIXELS = pillow.MAX_IMAGE_PIXELS, max_pixels
        try:
            picture = pillow.open(file)
            _check(picture, path)
            picture.load()
        except pillow.UnidentifiedImageError as error:
            raise FileFormatError(f"{path} is not an image file that Pillow can read") from error
        except (pillow.DecompressionBombWarning, pillow.DecompressionBombError) as error:
            raise TooManyPixelsError(path, _pixels_in(str(error)), max_pixels) from error
        except FileFormatError:
            raise
        except _DAMAGE as error:
            raise FileFormatError(f"{path} is a damaged or truncated picture: {error}") from error
        finally:
            pillow.MAX_IMAGE_PIXELS = limit_before
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


def _warn(text: str) -> None:
    warnings.warn(PictureWarning(text), stacklevel=4)  # 4: where the preprocessing was called


def _looks_inverted(values: np.ndarray, mean: float) -> bool:
    """Return whether a grey picture (H, W) of values from 0 to 1 is light where the images of a data set are dark.

    Both the picture as a whole and its border, which is mostly background, lie on the other side of 0.5 than the mean
    of the data set. A mean near 0.5 says nothing about the background.
    """
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    sides = np.sign([np.median(border) - 0.5, values.mean() - 0.5])
    return abs(mean - 0.5) > 0.15 and bool((sides == np.sign(0.5 - mean)).all())


def _pixels_in(message: str) -> int:
    """Return the number of pixels that Pillow's message about its limit names first."""
    found = re.search(r"\d+", message)
    return int(found[0]) if found else 0


def _check(picture: Any, path: str | os.PathLike[str]) -> None:
    """Raise if Pillow would silently change the picture: animations, CMYK, and more than 8 bits per channel."""
    frames = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)  # MPO is a JPEG with previews behind it
    if frames > 1:
        raise FileFormatError(f"{path} has {frames} frames: expected a still picture; save one of them")
    if picture.mode == "CMYK":
        raise FileFormatError(f"{path} is in CMYK, the colours for printing: convert it to RGB first")
    if picture.mode not in _MODES or ";16" in str(picture.tile):  # Pillow reduces 16-bit colour without a warning
        deep = picture.mode.startswith("I;16") or ";16" in str(picture.tile)
        bits = "16 bits per channel" if deep else f"the mode {picture.mode}"
        raise FileFormatError(f"{path} has {bits}: convert it to 8 bits per channel first")

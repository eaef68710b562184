"""Pictures made ready as torchvision does it, and pictures that are refused."""

import numpy as np
import pytest

from npresnext.data.pictures import (
    TORCHVISION_PREPROCESSING,
    Preprocessing,
    find_pictures,
    imagenet_classes,
    read_picture,
)
from npresnext.errors import FileFormatError, InvalidValueError

Image = pytest.importorskip("PIL.Image")


def photograph(width, height, seed=0):
    """A picture with edges and smooth parts."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 7 + k) * np.cos(y / (5 + k)) for k in range(3)], -1) * 100 + 128
    waves[height // 3 : height // 2] = rng.integers(0, 256, (height // 2 - height // 3, width, 3))
    return Image.fromarray(waves.astype(np.uint8))


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (300, 300), (257, 1031), (100, 80), (224, 224)])
@pytest.mark.parametrize("recipe, resize", [("v1", 256), ("v2", 232)])
def test_sizes_and_the_place_of_the_crop_are_torchvisions(size, recipe, resize):
    """Resize(resize) then CenterCrop(224), as torchvision's functional.py computes them, in integers."""
    picture = photograph(*size)
    short, long = min(size), max(size)
    new = (resize, int(resize * long / short)) if size[0] <= size[1] else (int(resize * long / short), resize)
    left, top = int(round((new[0] - 224) / 2.0)), int(round((new[1] - 224) / 2.0))
    resized = np.asarray(picture.resize(new, Image.BILINEAR))
    expected = resized[top : top + 224, left : left + 224]
    values = TORCHVISION_PREPROCESSING[recipe](picture)
    assert values.shape == (3, 224, 224) and values.dtype == np.float32
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    back = values.transpose(1, 2, 0) * std + mean
    assert np.array_equal(np.rint(back * 255), expected)


@pytest.mark.oracle
def test_values_are_normalised_bit_for_bit_as_by_pytorch():
    torch = pytest.importorskip("torch")
    picture = photograph(256, 256)
    cropped = np.asarray(picture)[16:240, 16:240]
    tensor = torch.from_numpy(cropped.copy()).permute(2, 0, 1).to(torch.float32).div(255)
    mean, std = (torch.tensor(row).view(3, 1, 1) for row in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    assert np.array_equal(TORCHVISION_PREPROCESSING["v1"](picture), tensor.sub_(mean).div_(std).numpy())


@pytest.mark.oracle
def test_resizing_is_antialiased_bilinear():
    """PyTorch's antialiased interpolation is another implementation: it may round a grey level otherwise."""
    torch = pytest.importorskip("torch")
    picture = photograph(700, 512)
    tensor = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(tensor, (256, 350), mode="bilinear", antialias=True)[0]
    expected = resized[:, 16:240, 63:287].numpy().astype(int)
    values = TORCHVISION_PREPROCESSING["v1"](picture) * np.float32([0.229, 0.224, 0.225])[:, None, None]
    got = np.rint((values + np.float32([0.485, 0.456, 0.406])[:, None, None]) * 255)
    assert np.abs(got - expected).max() <= 1 and np.mean(got != expected) < 0.02


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_pictures_of_every_usual_mode_are_read(tmp_path, mode, ending):
    photograph(40, 30).convert(mode).save(tmp_path / f"picture.{ending}")
    picture = read_picture(tmp_path / f"picture.{ending}")
    assert Preprocessing(8, 8, (0.5,), (1.0,))(picture).shape == (1, 8, 8)
    assert TORCHVISION_PREPROCESSING["v1"](picture).shape == (3, 224, 224)


def test_transparency_of_a_palette_is_dropped_without_a_warning(tmp_path):
    picture = photograph(40, 30).quantize(16)
    picture.save(tmp_path / "plain.png")
    picture.save(tmp_path / "clear.png", transparency=bytes([0, 128]))
    plain, clear = (
        TORCHVISION_PREPROCESSING["v1"](read_picture(tmp_path / name)) for name in ("plain.png", "clear.png")
    )
    assert (plain == clear).all()


def test_of_a_cameras_jpeg_with_a_second_view_the_first_is_read(tmp_path):
    first, second = photograph(40, 30), photograph(40, 30, 1)
    first.save(tmp_path / "plain.jpg", quality=90)
    first.save(tmp_path / "camera.jpg", format="MPO", save_all=True, append_images=[second], quality=90)
    plain, camera = (
        TORCHVISION_PREPROCESSING["v1"](read_picture(tmp_path / name)) for name in ("plain.jpg", "camera.jpg")
    )
    assert (plain == camera).all()


def animated(path, frames=3):
    photograph(9, 9).save(path, save_all=True, append_images=[photograph(9, 9, seed) for seed in range(1, frames)])


REFUSED = {
    "none.jpg": (lambda path: path.write_text("no picture"), "is not an image file that Pillow can read"),
    "empty.png": (lambda path: path.write_bytes(b""), "is not an image file that Pillow can read"),
    "animated.gif": (animated, "frames: expected a still picture"),
    "animated.webp": (animated, "frames: expected a still picture"),
    "pages.tiff": (animated, "3 frames"),
    "two.tiff": (lambda path: animated(path, frames=2), "2 frames"),
    "print.jpg": (lambda path: photograph(9, 9).convert("CMYK").save(path), "CMYK, the colours for printing"),
    "grey16.png": (lambda path: Image.fromarray(np.full((9, 9), 60000, np.uint16)).save(path), "16 bits per channel"),
    "float.tiff": (lambda path: Image.fromarray(np.ones((9, 9), np.float32)).save(path), "has the mode F"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_still_8_bit_picture_is_refused(tmp_path, name):
    write, message = REFUSED[name]
    write(tmp_path / name)
    with pytest.raises(FileFormatError, match=f"{name} .*{message}"):
        read_picture(tmp_path / name)


def test_16_bit_colour_is_refused(tmp_path):
    """Pillow cannot write it, and reads it as 8 bits without a word."""
    import struct
    import zlib

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + bytes(range(12)) for _ in range(2))
    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(png)
    with pytest.raises(FileFormatError, match="16 bits per channel"):
        read_picture(tmp_path / "deep.png")


@pytest.mark.parametrize("name", ["picture.png", "picture.jpg", "picture.gif"])
def test_a_truncated_picture_is_refused(tmp_path, name):
    photograph(60, 40).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileFormatError, match="damaged or truncated"):
        read_picture(tmp_path / name)


def test_a_picture_of_absurd_size_is_refused(tmp_path):
    Image.new("1", (20_000, 10_000)).save(tmp_path / "huge.png")
    with pytest.raises(FileFormatError, match="more pixels"):
        read_picture(tmp_path / "huge.png")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"resize": 8, "crop": 9, "mean": [0], "std": [1]}',
        '{"resize": 8, "crop": 8, "mean": [0], "std": [0]}',
        '{"resize": 8, "crop": 8, "mean": [0, 0], "std": [1, 1]}',
        '{"resize": 8, "crop": 8, "mean": [0, 0, 0], "std": [1]}',
        '{"resize": 8, "crop": 8, "mean": 0, "std": 1}',
        '{"resize": 1e999, "crop": 8, "mean": [0], "std": [1]}',
        '{"resize": 8, "crop": 8, "mean": [0], "std": [1], "more": 1}',
    ],
)
def test_preprocessing_that_makes_no_sense_is_refused(text):
    with pytest.raises(InvalidValueError):
        Preprocessing.from_json(text)


def test_a_strip_of_pixels_is_refused():
    """To bring its shorter side to 256 would make a picture of gigabytes."""
    with pytest.raises(InvalidValueError, match="20000x1: the longer side must be at most 100 times"):
        TORCHVISION_PREPROCESSING["v1"](Image.new("RGB", (20_000, 1)))
    assert Preprocessing(resize=4, crop=4, mean=(0,), std=(1,))(Image.new("L", (1, 100))).shape == (1, 4, 4)


def test_folders_are_searched_in_order(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("z.png", "b/a.JPG", "notes.txt"):
        (tmp_path / name).touch()
    assert find_pictures(tmp_path) == [tmp_path / "b/a.JPG", tmp_path / "z.png"]
    assert find_pictures(tmp_path / "z.png") == [tmp_path / "z.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidValueError, match="contains no picture"):
        find_pictures(tmp_path / "empty")


def test_imagenets_classes_are_complete_and_in_order():
    names = imagenet_classes()
    assert len(names) == len(set(names)) == 1000
    assert [names[k] for k in (0, 281, 388, 517, 999)] == ["tench", "tabby", "giant panda", "crane", "toilet tissue"]

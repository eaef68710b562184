"""Pictures made ready as torchvision does it, and pictures that are refused."""

import contextlib
import dataclasses
import warnings

import numpy as np
import pytest

from npresnext.data import load_digits
from npresnext.data.pictures import (
    TORCHVISION_PREPROCESSING,
    PictureWarning,
    Preprocessing,
    TooManyPixelsError,
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


V1 = TORCHVISION_PREPROCESSING["v1"]
STRICT = dataclasses.replace(V1, strict=True)
GREY = Preprocessing(30, 30, (0.5,), (1.0,))


def half_clear(mode):
    """A picture of a mode with transparency, and the same picture on white, computed by hand."""
    rng = np.random.default_rng(0)
    colour = np.asarray(photograph(40, 30).convert("L" if mode == "LA" else "RGB")).reshape(30, 40, -1)
    alpha = rng.integers(0, 256, (30, 40, 1)).astype(np.uint8)
    on_white = (colour * (alpha / 255) + 255 * (1 - alpha / 255)).repeat(3 if mode == "LA" else 1, axis=2)
    return Image.fromarray(np.concatenate([colour, alpha], axis=2), mode), on_white


@pytest.mark.parametrize(
    ("mode", "ending"), [("RGBA", "png"), ("RGBA", "webp"), ("RGBA", "tiff"), ("LA", "png"), ("LA", "tiff")]
)
def test_transparent_parts_are_shown_on_white(tmp_path, mode, ending):
    picture, on_white = half_clear(mode)
    picture.save(tmp_path / f"picture.{ending}", **({"lossless": True, "exact": True} if ending == "webp" else {}))
    same_size = Preprocessing(30, 30, (0.0,) * 3, (1.0,) * 3)
    with pytest.warns(PictureWarning, match="transparent parts are shown on white") as caught:
        values = same_size(read_picture(tmp_path / f"picture.{ending}"))
    assert np.abs(values.transpose(1, 2, 0) * 255 - on_white[:, 5:35]).max() <= 1.01
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize(
    "name, picture, options",
    [
        ("palette.png", photograph(40, 30).quantize(16), {"transparency": bytes([0, 128])}),
        ("palette.gif", photograph(40, 30).quantize(16), {"transparency": 3}),
        ("colour.png", Image.new("RGB", (40, 30), (9, 8, 7)), {"transparency": (9, 8, 7)}),
        ("grey.png", Image.new("L", (40, 30), 9), {"transparency": 9}),
        ("bits.png", Image.new("1", (40, 30), 0), {"transparency": 0}),
    ],
)
@pytest.mark.parametrize("recipe", [V1, GREY])
def test_a_colour_that_a_file_declares_transparent_is_shown_on_white(tmp_path, name, picture, options, recipe):
    picture.save(tmp_path / name, **options)
    on_white = Image.new("RGBA", picture.size, "white")
    with Image.open(tmp_path / name) as opened:
        on_white.alpha_composite(opened.convert("RGBA"))
    with pytest.warns(PictureWarning, match="transparent parts are shown on white"):
        values = recipe(read_picture(tmp_path / name))
    assert np.array_equal(values, recipe(on_white.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_the_strict_recipe_drops_transparency_as_torchvision_and_says_so(tmp_path, mode):
    picture, _ = half_clear(mode)
    picture.save(tmp_path / "picture.png")
    with pytest.warns(PictureWarning, match="as in torchvision"):
        values = STRICT(read_picture(tmp_path / "picture.png"))
    assert np.array_equal(values, V1(picture.convert("RGB")))


def test_a_picture_with_an_opaque_alpha_channel_is_the_picture_without_it(tmp_path):
    picture = photograph(40, 30)
    picture.convert("RGBA").save(tmp_path / "opaque.png")
    for recipe in (V1, STRICT):  # and warns of nothing
        assert np.array_equal(recipe(read_picture(tmp_path / "opaque.png")), V1(picture))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tiff"])
def test_the_orientation_that_a_camera_stores_is_applied(tmp_path, orientation, ending):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo.{ending}"
    photograph(60, 40).save(path, exif=exif)
    with Image.open(path) as opened:
        upright = ImageOps.exif_transpose(opened).convert("RGB")
    assert np.array_equal(V1(read_picture(path)), V1(upright))
    stored = read_picture(path)
    is_turned = orientation > 1 and ending != "tiff"  # Pillow itself turns TIFF, and so does torchvision
    with pytest.warns(PictureWarning, match="not applied") if is_turned else contextlib.nullcontext():
        values = STRICT(stored)
    bare = Image.fromarray(np.asarray(stored))
    assert np.array_equal(values, V1(bare))


@pytest.mark.parametrize("exif", [b"", b"MM\0*\0\0\0\x08\xff\xff", b"rubbish" * 9])
@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_a_damaged_exif_is_no_reason_to_refuse_a_picture(tmp_path, exif, ending):
    photograph(60, 40).save(tmp_path / f"photo.{ending}", exif=b"Exif\0\0" + exif)
    photograph(60, 40).save(tmp_path / f"plain.{ending}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of the damage
        values = V1(read_picture(tmp_path / f"photo.{ending}"))
    assert np.array_equal(values, V1(read_picture(tmp_path / f"plain.{ending}")))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_ignored(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    photograph(60, 40).save(tmp_path / "photo.png", exif=exif)
    assert np.array_equal(V1(read_picture(tmp_path / "photo.png")), V1(photograph(60, 40)))


def digits_recipe():
    train, _ = load_digits()
    return train, Preprocessing(8, 8, (train.mean,), (train.std,))


def test_no_digit_looks_inverted_and_every_inverted_digit_does():
    train, recipe = digits_recipe()
    greys = np.rint(train.images[:200, 0] * (255 / train.white)).astype(np.uint8)
    for grey in greys:
        recipe(Image.fromarray(grey))
        with pytest.warns(PictureWarning, match="background is light, .* white digits on black"):
            recipe(Image.fromarray(255 - grey))


def test_a_light_data_set_finds_dark_pictures_and_a_mean_near_half_says_nothing():
    light = Preprocessing(8, 8, (0.8,), (0.3,))
    with pytest.warns(PictureWarning, match="background is dark, .* dark on light"):
        light(Image.new("L", (9, 9), 20))
    light(Image.new("L", (9, 9), 230))
    for mean in (0.4, 0.5, 0.6):
        for grey in (20, 230):
            Preprocessing(8, 8, (mean,), (0.3,))(Image.new("L", (9, 9), grey))


@pytest.mark.parametrize("turns", range(4))
def test_each_side_of_a_picture_belongs_to_its_border(turns):
    """One side is black and three are white: with the black side counted twice, black would be the median."""
    grey = np.full((8, 8), 255, np.uint8)
    grey[-1] = 0
    with pytest.warns(PictureWarning, match="background is light") as caught:
        Preprocessing(8, 8, (0.1,), (0.3,))(Image.fromarray(np.rot90(grey, turns)))
    assert [warning.filename for warning in caught] == [__file__]


def test_drawings_on_nothing_look_inverted_on_white(tmp_path):
    _, recipe = digits_recipe()
    ink = np.zeros((8, 8, 2), np.uint8)
    ink[2:6, 4, 1] = 255
    with pytest.warns(PictureWarning) as caught:
        recipe(Image.fromarray(ink, "LA"))
    assert [str(each.message).split(" ")[:2] for each in caught] == [["transparent", "parts"], ["the", "background"]]


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


@pytest.mark.parametrize("size", [(20_000, 10_000), (40_000, 10_000)])
def test_a_picture_of_absurd_size_is_refused(tmp_path, size):
    Image.new("1", size).save(tmp_path / "huge.png")
    pixels = size[0] * size[1]
    with pytest.raises(TooManyPixelsError, match=f"has {pixels:,} pixels, more pixels than .* 160,000,000") as caught:
        read_picture(tmp_path / "huge.png")
    assert caught.value.pixels == pixels


def test_the_limit_of_pixels_is_the_callers_and_pillows_own_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    photograph(60, 40).save(tmp_path / "photo.png")
    assert read_picture(tmp_path / "photo.png").size == read_picture(tmp_path / "photo.png", max_pixels=2400).size
    with pytest.raises(TooManyPixelsError, match=r"photo\.png has 2,400 pixels, more pixels than the limit of 2,399"):
        read_picture(tmp_path / "photo.png", max_pixels=2399)
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_a_photograph_of_108_million_pixels_is_read(tmp_path):
    Image.new("1", (12_000, 9_000)).save(tmp_path / "photo.png")
    assert read_picture(tmp_path / "photo.png").size == (12_000, 9_000)


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
        '{"resize": 8, "crop": 8, "mean": [0], "std": [1], "strict": 1}',
    ],
)
def test_preprocessing_that_makes_no_sense_is_refused(text):
    with pytest.raises(InvalidValueError):
        Preprocessing.from_json(text)


def test_a_strict_recipe_is_read_from_json():
    text = '{"resize": 8, "crop": 8, "mean": [0.5], "std": [1]%s}'
    assert [Preprocessing.from_json(text % extra).strict for extra in ("", ', "strict": true')] == [False, True]


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

"""What images of every kind mean: what is read has the mean that was meant."""

import io

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from solo_gedi.data import read_image, to_rgb
from solo_gedi.data.transforms import Channels
from solo_gedi.data.transforms import plain as plain_view
from solo_gedi.errors import DataError

GREY = 60


def mean(image):
    assert image.mode == "RGB"
    return np.asarray(image).reshape(-1, 3).mean(0)


def plain(mode):
    """An image in a mode, of a grey of 60 of 255."""
    rgb = Image.new("RGB", (4, 4), (GREY,) * 3)
    if mode == "LAB":
        from PIL import ImageCms

        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        return ImageCms.profileToProfile(rgb, srgb, lab, outputMode="LAB")
    if mode == "PA":
        return rgb.convert("P").convert("PA")
    if mode in ("La", "RGBa"):
        return rgb.convert(mode.upper()).convert(mode)
    return rgb.convert(mode)


@pytest.mark.parametrize(
    "mode",
    ["L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"],
)
def test_every_mode_of_8_bits_keeps_its_grey(mode):
    image = plain(mode)
    assert image.mode == mode
    # P has a palette of 216 colours, LAB rounds.
    assert mean(to_rgb(image)) == pytest.approx(GREY, abs=9 if mode in ("P", "PA") else 1)


@pytest.mark.parametrize("white", [0, 1])
def test_one_bit_is_black_or_white(white):
    assert mean(to_rgb(Image.new("1", (4, 4), white))) == pytest.approx(255 * white)


def palette_with_nothing():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.info["transparency"] = 0
    return image


def key(mode, colour):
    image = Image.new(mode, (4, 4), colour)
    image.info["transparency"] = colour
    return image


NOTHING = {
    "LA": lambda: Image.new("LA", (4, 4), (0, 0)),
    "La": lambda: Image.new("LA", (4, 4), (0, 0)).convert("La"),
    "PA": lambda: Image.new("RGBA", (4, 4), (0, 0, 0, 0)).convert("PA"),
    "RGBA": lambda: Image.new("RGBA", (4, 4), (0, 0, 0, 0)),
    "RGBa": lambda: Image.new("RGBA", (4, 4), (0, 0, 0, 0)).convert("RGBa"),
    "P": palette_with_nothing,
    "L": lambda: key("L", 0),
    "RGB": lambda: key("RGB", (0, 0, 0)),
    "I;16": lambda: key("I;16", 0),
}


@pytest.mark.parametrize("mode", NOTHING)
def test_nothing_is_white(mode):
    image = NOTHING[mode]()
    assert image.mode == mode
    assert mean(to_rgb(image)) == pytest.approx(255)


def test_half_of_black_over_white_is_grey():
    assert mean(to_rgb(Image.new("LA", (4, 4), (0, 128)))) == pytest.approx(127, abs=1)


def raw_tiff(path, pixels, order="<", photometric=1):
    """A TIFF of grey pixels of any type, as other programs write it."""
    kinds = {"u": 1, "i": 2, "f": 3}
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    height, width = pixels.shape
    tags = [
        *((256, width), (257, height), (258, pixels.dtype.itemsize * 8), (259, 1)),
        *((262, photometric), (273, 8), (277, 1), (278, height), (279, len(data))),
        (339, kinds[pixels.dtype.kind]),
    ]
    file = io.BytesIO()
    ends = {"<": "little", ">": "big"}[order]
    file.write((b"II" if order == "<" else b"MM") + (42).to_bytes(2, ends))
    file.write((8 + len(data)).to_bytes(4, ends) + data + len(tags).to_bytes(2, ends))
    for tag, value in tags:
        file.write(tag.to_bytes(2, ends) + (4).to_bytes(2, ends) + (1).to_bytes(4, ends))
        file.write(value.to_bytes(4, ends))
    file.write(bytes(4))
    path.write_bytes(file.getvalue())
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("uint8", 200, 200),
        ("uint16", 51400, 200),
        ("int16", 32767, 255),
        ("int16", 16384, 128),
        ("int32", 200, 200),
        ("float32", 0.2, 51),
        ("float32", 200.0, 200),
        ("uint16", 0, 0),
    ],
)
def test_integers_and_floats_of_tiff_have_their_grey(tmp_path, kind, value, expected, order):
    path = raw_tiff(tmp_path / "a.tif", np.full((4, 4), value, kind), order)
    assert mean(read_image(path)) == pytest.approx(expected)


def test_signed_bytes_of_tiff(tmp_path):
    assert mean(read_image(raw_tiff(tmp_path / "a.tif", np.full((4, 4), 127, np.int8)))) == (
        pytest.approx(255)
    )
    with pytest.raises(DataError, match="its int8 pixels are from -1 to -1, not from 0 to 127"):
        read_image(raw_tiff(tmp_path / "a.tif", np.full((4, 4), -1, np.int8)))


@pytest.mark.parametrize(("kind", "white"), [("uint8", 0), ("uint16", 0), ("float32", 0)])
def test_where_white_is_0_it_is(tmp_path, kind, white):
    pixels = np.full((4, 4), white, kind)
    path = raw_tiff(tmp_path / "a.tif", pixels, photometric=0)
    assert mean(read_image(path)) == pytest.approx(255)


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (np.full((4, 4), np.nan, np.float32), "float32 pixels are from nan to nan"),
        (np.full((4, 4), 256.0, np.float32), "from 256 to 256, not from 0 to 255"),
        (np.full((4, 4), -0.5, np.float32), "from -0.5 to -0.5"),
        (np.full((4, 4), 70000, np.int32), "int32 pixels are from 70000 to 70000"),
        (np.full((4, 4), 200, np.uint16), "uint16 pixels, from 0 to 200, would be black"),
        (np.full((4, 4), -1, np.int16), "from -1 to -1, not from 0 to 32767"),
    ],
)
def test_pixels_without_a_meaning_are_refused_with_their_range(tmp_path, pixels, says):
    with pytest.raises(DataError, match=f"image .*a.tif cannot be used: .*{says}"):
        read_image(raw_tiff(tmp_path / "a.tif", pixels))


@pytest.mark.parametrize("suffix", ["png", "pgm", "jp2", "tif"])
def test_sixteen_bits_of_other_formats(tmp_path, suffix):
    Image.fromarray(np.full((8, 8), 51400, np.uint16)).save(tmp_path / f"a.{suffix}")
    assert mean(read_image(tmp_path / f"a.{suffix}")) == pytest.approx(200)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_an_image_is_turned_as_its_camera_was_held(tmp_path, suffix):
    image = Image.new("RGB", (8, 4))
    image.paste("white", (0, 0, 4, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    image.save(tmp_path / f"a.{suffix}", exif=exif)
    read = read_image(tmp_path / f"a.{suffix}")
    assert read.size == (4, 8)
    assert read.getpixel((1, 1))[0] > 200
    assert read.getpixel((1, 6))[0] < 50


def test_of_an_animation_the_first_frame_is_read(tmp_path):
    frames = [Image.new("RGB", (4, 4), (value,) * 3) for value in (GREY, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert mean(read_image(tmp_path / "a.gif")) == pytest.approx(GREY, abs=3)


def test_channels_do_not_change_grey_or_lose_white():
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    assert np.array_equal(Channels(1)(grey), grey)
    assert np.array_equal(Channels(1)(Channels(3)(grey)), grey)
    assert Channels(1)(Image.new("RGBA", (1, 1), (0, 0, 0, 0))).getpixel((0, 0)) == 255


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_a_grey_tiff_is_turned_pixel_by_pixel(tmp_path, kind):
    """Uncompressed ones Pillow maps into memory, and takes their size after the turn for before."""
    pixels = np.arange(16, dtype=kind).reshape(2, 8) * np.array(np.iinfo(kind).max // 15, kind)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    Image.fromarray(pixels).save(tmp_path / "a.tif", exif=exif)
    read = np.asarray(read_image(tmp_path / "a.tif"))[..., 0]
    assert np.array_equal(read, np.rot90(np.arange(16).reshape(2, 8) * 17, -1))


@pytest.mark.parametrize("size", [(30_000, 1), (2, 60_000)])
def test_a_line_is_not_enlarged_whole(size):
    seen = []

    class Resize(transforms.Resize):
        def forward(self, image):
            seen.append(super().forward(image))
            return seen[-1]

    whole = plain_view(32, (0.5,) * 3, (0.5,) * 3)
    whole.transforms[2] = Resize(32)
    assert whole(Image.new("RGB", size)).shape == (3, 32, 32)
    assert max(seen[0].size) <= 3200

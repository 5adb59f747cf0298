"""Colours that a file states by a profile, or by a PNG's gamma: as a viewer shows them, in sRGB."""

import io
import itertools
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from exprgan.photo.alignment import crop_face
from exprgan.photo.colour_profile import in_srgb
from exprgan.photo.image_io import load_photo

D50 = struct.pack(">3i", *(round(value * 65536) for value in (0.9642, 1, 0.8249)))
LIGHTNESS = {"C": 60, "M": 80, "Y": 90, "K": 7}
"""L* of full ink of one colour in `cmyk_profile`. All are neutral, and inks multiply: all four give L* 3, the black of
perceptual intent (ICC.1:2022, Annex B), which therefore leaves light colours as they are."""


def icc_profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Builds an ICC profile, version 2."""
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4xI", start + len(body), 0x02400000) + kind + space + connection + bytes(12) + b"acsp"
    return (head + bytes(28) + D50).ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def cmyk_profile() -> bytes:
    """A printer whose cyan, magenta and yellow inks are greys."""
    nodes = b""
    for inks in itertools.product((0, 1), repeat=4):
        lightness = np.prod([value / 100 for value, ink in zip(LIGHTNESS.values(), inks, strict=True) if ink])
        nodes += bytes([round(255 * lightness), 128, 128])
    identity = struct.pack(">9i", *(np.eye(3, dtype=int).ravel() * 65536))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + bytes(range(256)) * 4 + nodes + bytes(range(256)) * 3
    return icc_profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": lut, b"wtpt": b"XYZ " + bytes(4) + D50})


def p3_profile() -> bytes:
    """Display P3, with gamma 2.2."""
    primaries = {"r": (0.5151, 0.2412, -0.0011), "g": (0.2920, 0.6922, 0.0419), "b": (0.1571, 0.0666, 0.7841)}
    curve = b"curv" + bytes(4) + struct.pack(">IH2x", 1, round(2.2 * 256))
    tags = {b"wtpt": b"XYZ " + bytes(4) + D50}
    for name, xyz in primaries.items():
        tags[f"{name}XYZ".encode()] = b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in xyz))
        tags[f"{name}TRC".encode()] = curve
    return icc_profile(b"mntr", b"RGB ", b"XYZ ", tags)


def grey_profile(gamma: float) -> bytes:
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    return icc_profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": curve, b"wtpt": b"XYZ " + bytes(4) + D50})


def srgb_level(light: float) -> float:
    return 255 * (12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055)


def as_file(image: Image.Image, file_format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
@pytest.mark.parametrize("ink", "CMY")  # perceptual intent moves dark colours such as K's
def test_cmyk_is_read_through_its_profile(file_format, ink):
    image = Image.new("CMYK", (32, 32), tuple(255 * (ink == name) for name in "CMYK"))
    photo = load_photo(as_file(image, file_format, icc_profile=cmyk_profile()))
    level = srgb_level(((LIGHTNESS[ink] + 16) / 116) ** 3)
    assert photo.getpixel((16, 16)) == pytest.approx((level,) * 3, abs=2)
    assert photo.info == {}  # the profile would be wrong for the RGB pixels


@pytest.mark.parametrize("make", [
    lambda profile: profile[:16] + b"CMYK" + bytes(200),
    lambda profile: profile[: len(profile) // 2],
    lambda profile: profile.replace(b"mft1", b"mpet"),
    lambda profile: profile.replace(b"CMYK", b"RGB "),
])  # fmt: skip
def test_a_profile_that_does_not_fit_is_ignored(make):
    image = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    photo = load_photo(as_file(image, "JPEG", icc_profile=make(cmyk_profile())))
    assert photo.getpixel((16, 16)) == pytest.approx((255, 0, 0), abs=5)


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_grey_is_read_through_its_profile(mode):
    values = np.full((20, 20), 55, np.uint8)
    image = Image.fromarray(values.astype(np.uint16) * 257 if mode == "I;16" else values)
    if mode == "LA":
        image.putalpha(Image.linear_gradient("L").resize((20, 20)).point(lambda level: 255 * (level > 127)))
    photo = load_photo(as_file(image, "PNG", icc_profile=grey_profile(1)))
    assert photo.getpixel((10, 18)) == pytest.approx((srgb_level(55 / 255),) * 3, abs=1)
    assert photo.info == {} and (mode != "LA" or photo.getpixel((10, 1)) == (255,) * 3)


def with_gamma(gamma: float, *chunks: tuple[bytes, bytes]) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for name, data in ((b"gAMA", struct.pack(">I", round(gamma * 100000))), *chunks):
        info.add(name, data)
    return info


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("gamma", [1.0, 1 / 1.8])
def test_a_png_is_shown_with_its_gamma(mode, gamma):
    image = Image.new("L", (20, 20), 55)
    image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    photo = load_photo(as_file(image, "PNG", pnginfo=with_gamma(gamma)))
    assert photo.getpixel((5, 5)) == pytest.approx((srgb_level((55 / 255) ** (1 / gamma)),) * 3, abs=0.5)
    assert load_photo(photo).tobytes() == photo.tobytes()  # not twice


def test_the_darkest_16_bit_levels_keep_their_differences():
    levels = np.repeat(np.arange(0, 257 * 4, 64, dtype=np.uint16)[None], 17, axis=0)
    data = as_file(Image.fromarray(levels), "PNG", pnginfo=with_gamma(1))
    assert len(np.unique(np.asarray(load_photo(data)))) == 17


@pytest.mark.parametrize("info", [
    with_gamma(0.45455),  # sRGB's
    with_gamma(1, (b"sRGB", b"\0")),
    with_gamma(0),
    with_gamma(20000),
])  # fmt: skip
def test_a_gamma_that_says_nothing_else_changes_nothing(info):
    image = Image.fromarray(np.arange(256 * 3, dtype=np.uint8).reshape(16, 16, 3))
    assert load_photo(as_file(image, "PNG", pnginfo=info)).tobytes() == image.tobytes()


def test_a_wide_photo_keeps_its_profile_in_crops_and_becomes_srgb_where_none_is_kept():
    photo = Image.new("RGB", (64, 64), (200, 40, 40))
    assert in_srgb(photo).getpixel((0, 0)) == (200, 40, 40)
    photo.info["icc_profile"] = p3_profile()
    crop = crop_face(photo, np.eye(2, 3), 32)
    assert crop.info == photo.info and crop.getpixel((9, 9)) == (200, 40, 40)
    red, green, blue = in_srgb(crop).getpixel((9, 9))
    assert red > 208 and green < 30 and blue < 40 and not in_srgb(crop).info
    photo.info["icc_profile"] += b"mpet"  # may take minutes
    assert in_srgb(photo).getpixel((9, 9)) == (200, 40, 40)


def test_a_colour_profile_is_converted_to_srgb():
    photo = Image.new("RGB", (32, 32), (200, 40, 40))
    wide = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))  # a profile that fits no RGB photo
    assert in_srgb(photo).getpixel((0, 0)) == (200, 40, 40)
    photo.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.abs(np.subtract(in_srgb(photo).getpixel((0, 0)), (200, 40, 40))).max() <= 1
    for broken in (b"no profile", wide.tobytes()):
        photo.info["icc_profile"] = broken
        assert in_srgb(photo).getpixel((0, 0)) == (200, 40, 40)
    assert not in_srgb(photo).info

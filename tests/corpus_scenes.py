"""Uploads that are whole files, and odd as pictures: the formats that cameras and programs write, and what is in them."""

import io
from functools import cache
from pathlib import Path

import numpy as np
from corpus import EDITED, NO_FACE, REFUSED, kind
from PIL import Image, ImageDraw, ImageFilter, ImageOps

ROOT = Path(__file__).parent.parent
PORTRAITS = [
    *sorted((ROOT / "tests" / "data").glob("*.jpg")),
    *sorted((ROOT / "exprgan" / "ui" / "examples").glob("*.jpg")),
]
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "TIFF": ".tif", "BMP": ".bmp", "AVIF": ".avif"}
ORIENTATION = 0x0112


@cache
def _portrait(i: int) -> Image.Image:
    return Image.open(PORTRAITS[i]).convert("RGB")


def person(rng, side: int | None = None) -> Image.Image:
    """Someone, seen from the front."""
    side = side or int(rng.integers(200, 400))
    return _portrait(int(rng.integers(len(PORTRAITS)))).resize((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)


def encoded(image: Image.Image, file_format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def photo(image: Image.Image, file_format: str = "PNG", **options) -> tuple[str, bytes]:
    return f"photo{SUFFIXES[file_format]}", encoded(image, file_format, **options)


def one_of(rng, *choices):
    return choices[int(rng.integers(len(choices)))]


# How the pixels are stored.


@kind(28, EDITED, few=3)
def plain(rng):
    return photo(person(rng), one_of(rng, *SUFFIXES))


@kind(40, EDITED, few=8)
def orientations(rng):
    """A camera's: what is stored is turned, and the EXIF says how."""
    turns = [None, *(Image.Transpose[name] for name in ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE",
                                                        "ROTATE_90", "TRANSVERSE", "ROTATE_270"))]  # fmt: skip
    turn = int(rng.integers(8))
    image, exif = person(rng), Image.Exif()
    exif[ORIENTATION] = turn + 1
    return photo(image.transpose(turns[turn]) if turn else image, one_of(rng, "JPEG", "PNG", "WEBP", "TIFF"), exif=exif)


@kind(16, EDITED)
def no_such_orientation(rng):
    exif = Image.Exif()
    exif[ORIENTATION] = one_of(rng, 0, 9, 255, 65535)
    return photo(person(rng), one_of(rng, "JPEG", "PNG", "WEBP"), exif=exif)


@kind(16, EDITED, few=2)
def sixteen_bit(rng):
    levels = np.asarray(person(rng).convert("L"), np.uint16) * 256 + int(rng.integers(0, 256))
    return photo(Image.fromarray(levels.astype(np.uint16)), one_of(rng, "PNG", "TIFF"))


@kind(16, EDITED, NO_FACE, few=2)
def palettes(rng):
    image = person(rng).quantize(int(one_of(rng, 16, 64, 256)))
    options = {"transparency": int(rng.integers(16))} if rng.random() < 0.5 else {}
    return photo(image, one_of(rng, "PNG", "GIF"), **options)


@kind(16, EDITED, NO_FACE, few=2)
def few_levels(rng):
    return photo(person(rng).convert(one_of(rng, "1", "L")), one_of(rng, "PNG", "TIFF", "BMP"))


@kind(16, EDITED, NO_FACE, few=2)
def transparent(rng):
    image = person(rng).convert("RGBA")
    image.putalpha(Image.radial_gradient("L").resize(image.size).point(lambda v: 255 - v))
    return photo(image if rng.random() < 0.7 else image.convert("LA"), "PNG")


@kind(16, EDITED, few=2)
def cmyk(rng):
    return photo(person(rng).convert("CMYK"), one_of(rng, "JPEG", "TIFF"))


@kind(8, few=2)
def other_colours(rng):
    mode = one_of(rng, "F", "LAB", "I", "YCbCr")
    image = person(rng)
    image = image.convert("L").convert(mode) if mode in "FI" else _lab(image) if mode == "LAB" else image.convert(mode)
    return photo(image, "TIFF")


def _lab(image: Image.Image) -> Image.Image:
    return Image.merge("LAB", image.split())


@kind(24, EDITED, few=3)
def animated(rng):
    first = person(rng, 240)
    later = [ImageOps.mirror(first), Image.new("RGB", first.size)][: int(rng.integers(1, 3))]
    return photo(first, one_of(rng, "GIF", "WEBP", "PNG", "TIFF"), save_all=True, append_images=later)


@kind(4, EDITED)
def phone_pairs(rng):
    first = person(rng, 240)
    return "photo.jpg", encoded(first, "MPO", save_all=True, append_images=[ImageOps.mirror(first)])


@kind(12, EDITED)
def progressive_and_coarse(rng):
    return photo(person(rng), "JPEG", progressive=True, quality=int(rng.integers(8, 95)), subsampling=int(rng.integers(3)))


# What is in the picture.


@kind(40, NO_FACE, few=4)
def no_face(rng):
    size = tuple(int(v) for v in rng.integers(16, 500, 2))
    what = int(rng.integers(4))
    if what == 0:
        image = Image.new("RGB", size, tuple(rng.integers(0, 256, 3).tolist()))
    elif what == 1:
        image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))
    elif what == 2:
        image = Image.linear_gradient("L").resize(size).convert("RGB")
    else:
        image = Image.effect_mandelbrot(size, (-2, -1.5, 1, 1.5), 100).convert("RGB")
    return photo(image, one_of(rng, "JPEG", "PNG", "WEBP"))


@kind(24, few=2)
def half_a_face(rng):
    image = person(rng, 320)
    box = one_of(rng, (0, 0, 160, 320), (160, 0, 320, 320), (0, 0, 320, 150), (0, 170, 320, 320), (0, 0, 200, 200))
    return photo(image.crop(box), "PNG")


@kind(24, EDITED, NO_FACE, few=2)
def at_the_border(rng):
    """Off the picture to some side, by up to half the face."""
    image, shift = person(rng, 320), rng.integers(-150, 151, 2)
    return photo(image.transform(image.size, Image.Transform.AFFINE, (1, 0, int(shift[0]), 0, 1, int(shift[1]))), "PNG")


@kind(16, EDITED, NO_FACE)
def upside_down_or_tilted(rng):
    return photo(person(rng).rotate(float(one_of(rng, 180, 90, -90, rng.uniform(-60, 60)))), "JPEG")


@kind(32, EDITED, NO_FACE, few=2)
def drawings(rng):
    image = Image.new("RGB", (300, 300), "white")
    draw, wide = ImageDraw.Draw(image), int(rng.integers(60, 130))
    draw.ellipse((150 - wide, 30, 150 + wide, 280), fill=one_of(rng, "bisque", "yellow", "green"), outline="black", width=3)
    for x in (150 - wide // 2, 150 + wide // 2):
        draw.ellipse((x - 16, 110, x + 16, 130), fill="white", outline="black", width=2)
        draw.ellipse((x - 6, 113, x + 6, 127), fill="black")
    draw.line((150, 130, 140, 185, 155, 185), fill="black", width=2)
    draw.arc((105, 180, 195, 240), *one_of(rng, (20, 160), (200, 340)), fill="firebrick", width=6)
    return photo(image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 3)))), one_of(rng, "PNG", "JPEG"))


@kind(32, EDITED, NO_FACE, few=4)
def badly_taken(rng):
    image = person(rng)
    what = one_of(rng, "dark", "bright", "blurred", "negative", "flat", "noisy", "squeezed", "bar", "tiny")
    noise = Image.fromarray(rng.integers(0, 256, (image.height, image.width, 3), np.uint8))
    if what == "bar":
        ImageDraw.Draw(image).rectangle((0, image.height * 0.35, image.width, image.height * 0.5), fill="black")
    elif what == "squeezed":
        image = image.resize(one_of(rng, (image.width, 60), (60, image.height), (1500, 90)))
    elif what == "tiny":
        image = image.resize((int(rng.integers(16, 60)),) * 2)
    else:
        change = {"dark": lambda v: v // 12, "bright": lambda v: min(255, 3 * v), "negative": lambda v: 255 - v,
                  "flat": lambda v: 120 + v // 30}  # fmt: skip
        image = image.point(change[what]) if what in change else image
        image = image.filter(ImageFilter.GaussianBlur(image.width / 40)) if what == "blurred" else image
        image = Image.blend(image, noise, 0.5) if what == "noisy" else image
    return photo(image, "JPEG")


@kind(3, EDITED, few=0)
def two_hundred_faces(rng):
    crowd, one = Image.new("RGB", (20 * 90, 10 * 90)), [person(rng, 90) for _ in range(8)]
    for i in range(200):
        crowd.paste(one_of(rng, *one), (i % 20 * 90, i // 20 * 90))
    return photo(crowd, "JPEG", quality=92)


@kind(3, few=0)
def thousands_of_faces(rng):
    """As small as they are sought, and smaller."""
    side = int(one_of(rng, 14, 22, 30))
    tiles = [np.asarray(person(rng, side)) for _ in range(6)]
    rows = [np.concatenate([one_of(rng, *tiles) for _ in range(1024 // side)], axis=1) for _ in range(1024 // side)]
    return photo(Image.fromarray(np.concatenate(rows)), "PNG")


@kind(8, few=1)
def faces_in_faces(rng):
    image = person(rng, 400)
    for eye in ((115, 140), (215, 140)):
        image.paste(image.resize((70, 70)), eye)
    return photo(image, "PNG")


# Large and thin.


@kind(16, NO_FACE, REFUSED, few=4)
def thin(rng):
    length, width = int(one_of(rng, 30_000, 12_345)), int(one_of(rng, 1, 15, 16, 17, 24))
    size = (length, width) if rng.random() < 0.5 else (width, length)
    return photo(Image.new("RGB", size, "tan"), one_of(rng, "PNG", "JPEG"))


@kind(8, REFUSED, few=2)
def one_pixel(rng):
    return photo(Image.new("RGB", (1, 1), "red"), one_of(rng, "PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"))


@kind(3, EDITED, few=0)
def huge(rng):
    """As large as is taken: nearly 80 megapixels."""
    image = person(rng, 8940)
    return photo(image, "JPEG", quality=90)


@kind(2, NO_FACE, few=0)
def huge_and_flat(rng):
    """80 megapixels in some hundred kilobytes."""
    return photo(Image.new("L", (8940, 8940), int(rng.integers(256))), one_of(rng, "PNG", "WEBP"))


@kind(2, EDITED, NO_FACE, few=0)
def heavy(rng):
    """Tens of megabytes of noise around a face."""
    image = Image.fromarray(rng.integers(0, 256, (3300, 3300, 3), np.uint8))
    image.paste(person(rng, 1200), (900, 900))
    return photo(image, "PNG", compress_level=1)

"""Uploads that are valid files of odd pictures: all formats that cameras and programs write, and odd scenes."""

import io
from functools import cache
from pathlib import Path

import numpy as np
from corpus import EDITED, NO_FACE, REFUSED, register_kind
from PIL import Image, ImageDraw, ImageFilter, ImageOps

ROOT = Path(__file__).parent.parent
PORTRAITS = [
    *sorted((ROOT / "tests" / "data").glob("*.jpg")),
    *sorted((ROOT / "exprgan" / "ui" / "examples").glob("*.jpg")),
]
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "TIFF": ".tif", "BMP": ".bmp", "AVIF": ".avif"}
ORIENTATION = 0x0112


@cache
def _load_portrait(i: int) -> Image.Image:
    return Image.open(PORTRAITS[i]).convert("RGB")


def face(rng, side: int | None = None) -> Image.Image:
    """Returns a face seen from the front."""
    side = side or int(rng.integers(200, 400))
    return _load_portrait(int(rng.integers(len(PORTRAITS)))).resize(
        (side, side), Image.Resampling.LANCZOS, reducing_gap=2.0
    )


def encoded(image: Image.Image, file_format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def photo(image: Image.Image, file_format: str = "PNG", **options) -> tuple[str, bytes]:
    return f"photo{SUFFIXES[file_format]}", encoded(image, file_format, **options)


def choose(rng, *choices):
    return choices[int(rng.integers(len(choices)))]


# Formats.


@register_kind(28, EDITED, quick=3)
def plain(rng):
    return photo(face(rng), choose(rng, *SUFFIXES))


@register_kind(40, EDITED, quick=8)
def orientations(rng):
    """As a camera writes them: the stored picture is rotated or flipped, and the EXIF says how."""
    names = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_90", "TRANSVERSE", "ROTATE_270")
    transposes = [None, *(Image.Transpose[name] for name in names)]
    orientation = int(rng.integers(8))
    image, exif = face(rng), Image.Exif()
    exif[ORIENTATION] = orientation + 1
    stored = image.transpose(transposes[orientation]) if orientation else image
    return photo(stored, choose(rng, "JPEG", "PNG", "WEBP", "TIFF"), exif=exif)


@register_kind(16, EDITED)
def no_such_orientation(rng):
    exif = Image.Exif()
    exif[ORIENTATION] = choose(rng, 0, 9, 255, 65535)
    return photo(face(rng), choose(rng, "JPEG", "PNG", "WEBP"), exif=exif)


@register_kind(16, EDITED, quick=2)
def sixteen_bit(rng):
    levels = np.asarray(face(rng).convert("L"), np.uint16) * 256 + int(rng.integers(0, 256))
    return photo(Image.fromarray(levels.astype(np.uint16)), choose(rng, "PNG", "TIFF"))


@register_kind(16, EDITED, NO_FACE, quick=2)
def palettes(rng):
    image = face(rng).quantize(int(choose(rng, 16, 64, 256)))
    options = {"transparency": int(rng.integers(16))} if rng.random() < 0.5 else {}
    return photo(image, choose(rng, "PNG", "GIF"), **options)


@register_kind(16, EDITED, NO_FACE, quick=2)
def few_levels(rng):
    return photo(face(rng).convert(choose(rng, "1", "L")), choose(rng, "PNG", "TIFF", "BMP"))


@register_kind(16, EDITED, NO_FACE, quick=2)
def transparent(rng):
    image = face(rng).convert("RGBA")
    image.putalpha(Image.radial_gradient("L").resize(image.size).point(lambda v: 255 - v))
    return photo(image if rng.random() < 0.7 else image.convert("LA"), "PNG")


@register_kind(16, EDITED, quick=2)
def cmyk(rng):
    return photo(face(rng).convert("CMYK"), choose(rng, "JPEG", "TIFF"))


@register_kind(8, quick=2)
def other_colours(rng):
    mode = choose(rng, "F", "LAB", "I", "YCbCr")
    image = face(rng)
    image = image.convert("L").convert(mode) if mode in "FI" else _lab(image) if mode == "LAB" else image.convert(mode)
    return photo(image, "TIFF")


def _lab(image: Image.Image) -> Image.Image:
    return Image.merge("LAB", image.split())


@register_kind(24, EDITED, quick=3)
def animated(rng):
    first = face(rng, 240)
    later = [ImageOps.mirror(first), Image.new("RGB", first.size)][: int(rng.integers(1, 3))]
    return photo(first, choose(rng, "GIF", "WEBP", "PNG", "TIFF"), save_all=True, append_images=later)


@register_kind(4, EDITED)
def phone_pairs(rng):
    first = face(rng, 240)
    return "photo.jpg", encoded(first, "MPO", save_all=True, append_images=[ImageOps.mirror(first)])


@register_kind(12, EDITED)
def progressive_and_coarse(rng):
    return photo(face(rng), "JPEG", progressive=True, quality=int(rng.integers(8, 95)), subsampling=int(rng.integers(3)))


# Odd scenes.


@register_kind(40, NO_FACE, quick=4)
def no_face(rng):
    size = tuple(int(v) for v in rng.integers(16, 500, 2))
    variant = int(rng.integers(4))
    if variant == 0:
        image = Image.new("RGB", size, tuple(rng.integers(0, 256, 3).tolist()))
    elif variant == 1:
        image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))
    elif variant == 2:
        image = Image.linear_gradient("L").resize(size).convert("RGB")
    else:
        image = Image.effect_mandelbrot(size, (-2, -1.5, 1, 1.5), 100).convert("RGB")
    return photo(image, choose(rng, "JPEG", "PNG", "WEBP"))


@register_kind(24, quick=2)
def half_a_face(rng):
    image = face(rng, 320)
    box = choose(rng, (0, 0, 160, 320), (160, 0, 320, 320), (0, 0, 320, 150), (0, 170, 320, 320), (0, 0, 200, 200))
    return photo(image.crop(box), "PNG")


@register_kind(24, EDITED, NO_FACE, quick=2)
def at_the_border(rng):
    """Shifted beyond the picture's edge by up to half the face."""
    image, shift = face(rng, 320), rng.integers(-150, 151, 2)
    return photo(image.transform(image.size, Image.Transform.AFFINE, (1, 0, int(shift[0]), 0, 1, int(shift[1]))), "PNG")


@register_kind(16, EDITED, NO_FACE)
def upside_down_or_tilted(rng):
    return photo(face(rng).rotate(float(choose(rng, 180, 90, -90, rng.uniform(-60, 60)))), "JPEG")


@register_kind(32, EDITED, NO_FACE, quick=2)
def drawings(rng):
    image = Image.new("RGB", (300, 300), "white")
    draw, wide = ImageDraw.Draw(image), int(rng.integers(60, 130))
    draw.ellipse((150 - wide, 30, 150 + wide, 280), fill=choose(rng, "bisque", "yellow", "green"), outline="black", width=3)
    for x in (150 - wide // 2, 150 + wide // 2):
        draw.ellipse((x - 16, 110, x + 16, 130), fill="white", outline="black", width=2)
        draw.ellipse((x - 6, 113, x + 6, 127), fill="black")
    draw.line((150, 130, 140, 185, 155, 185), fill="black", width=2)
    draw.arc((105, 180, 195, 240), *choose(rng, (20, 160), (200, 340)), fill="firebrick", width=6)
    return photo(image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 3)))), choose(rng, "PNG", "JPEG"))


@register_kind(32, EDITED, NO_FACE, quick=4)
def badly_taken(rng):
    image = face(rng)
    defect = choose(rng, "dark", "bright", "blurred", "negative", "flat", "noisy", "squeezed", "bar", "tiny")
    noise = Image.fromarray(rng.integers(0, 256, (image.height, image.width, 3), np.uint8))
    if defect == "bar":
        ImageDraw.Draw(image).rectangle((0, image.height * 0.35, image.width, image.height * 0.5), fill="black")
    elif defect == "squeezed":
        image = image.resize(choose(rng, (image.width, 60), (60, image.height), (1500, 90)))
    elif defect == "tiny":
        image = image.resize((int(rng.integers(16, 60)),) * 2)
    else:
        change = {"dark": lambda v: v // 12, "bright": lambda v: min(255, 3 * v), "negative": lambda v: 255 - v,
                  "flat": lambda v: 120 + v // 30}  # fmt: skip
        image = image.point(change[defect]) if defect in change else image
        image = image.filter(ImageFilter.GaussianBlur(image.width / 40)) if defect == "blurred" else image
        image = Image.blend(image, noise, 0.5) if defect == "noisy" else image
    return photo(image, "JPEG")


@register_kind(3, EDITED, quick=0)
def two_hundred_faces(rng):
    crowd, people = Image.new("RGB", (20 * 90, 10 * 90)), [face(rng, 90) for _ in range(8)]
    for i in range(200):
        crowd.paste(choose(rng, *people), (i % 20 * 90, i // 20 * 90))
    return photo(crowd, "JPEG", quality=92)


@register_kind(3, quick=0)
def thousands_of_faces(rng):
    """As small as the detector's smallest face, and smaller."""
    side = int(choose(rng, 14, 22, 30))
    tiles = [np.asarray(face(rng, side)) for _ in range(6)]
    rows = [np.concatenate([choose(rng, *tiles) for _ in range(1024 // side)], axis=1) for _ in range(1024 // side)]
    return photo(Image.fromarray(np.concatenate(rows)), "PNG")


@register_kind(8, quick=1)
def faces_in_faces(rng):
    image = face(rng, 400)
    for eye in ((115, 140), (215, 140)):
        image.paste(image.resize((70, 70)), eye)
    return photo(image, "PNG")


# Large and thin.


@register_kind(16, NO_FACE, REFUSED, quick=4)
def thin(rng):
    length, width = int(choose(rng, 30_000, 12_345)), int(choose(rng, 1, 15, 16, 17, 24))
    size = (length, width) if rng.random() < 0.5 else (width, length)
    return photo(Image.new("RGB", size, "tan"), choose(rng, "PNG", "JPEG"))


@register_kind(8, REFUSED, quick=2)
def one_pixel(rng):
    return photo(Image.new("RGB", (1, 1), "red"), choose(rng, "PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"))


@register_kind(3, EDITED, quick=0)
def huge(rng):
    """Just below the limit of 80 megapixels."""
    image = face(rng, 8940)
    return photo(image, "JPEG", quality=90)


@register_kind(2, NO_FACE, quick=0)
def huge_and_flat(rng):
    """80 megapixels in some hundred kilobytes."""
    return photo(Image.new("L", (8940, 8940), int(rng.integers(256))), choose(rng, "PNG", "WEBP"))


@register_kind(2, EDITED, NO_FACE, quick=0)
def heavy(rng):
    """Tens of megabytes of noise around a face."""
    image = Image.fromarray(rng.integers(0, 256, (3300, 3300, 3), np.uint8))
    image.paste(face(rng, 1200), (900, 900))
    return photo(image, "PNG", compress_level=1)

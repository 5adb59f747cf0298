"""Uploads whose file is invalid: damaged, forged, with a false size, or no picture at all."""

import io
import json
import os
import pickle
import struct
import zipfile
import zlib

from corpus import EDITED, READABLE, REFUSED, register_kind
from corpus_scenes import ORIENTATION, SUFFIXES, choose, encoded, face
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin

XMP = b"http://ns.adobe.com/xap/1.0/\0"
PAYLOAD = b"<script>alert('payload')</script>"
"""Contained in the polyglots; no edited photo may contain it."""
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP")


class Bomb:
    """Unpickling it would create the file whose name is in the environment."""

    def __reduce__(self):
        return os.system, ('touch "$BOMB"',)


def random_photo(rng) -> tuple[str, bytearray]:
    file_format = choose(rng, *FORMATS)
    return f"photo{SUFFIXES[file_format]}", bytearray(encoded(face(rng, int(rng.integers(120, 280))), file_format))


def noise(rng, length: int) -> bytes:
    return rng.bytes(length)


# Damaged.


@register_kind(120, quick=16)
def truncated(rng):
    name, data = random_photo(rng)
    return name, bytes(data[: int(len(data) * rng.random() ** choose(rng, 0.2, 1, 4))])


@register_kind(160, quick=12)
def bits_flipped(rng):
    name, data = random_photo(rng)
    for position in rng.integers(0, len(data), 2 ** int(rng.integers(0, 8))):
        data[position] ^= 1 << int(rng.integers(8))
    return name, bytes(data)


@register_kind(120, quick=16)
def header_flipped(rng):
    name, data = random_photo(rng)
    for position in rng.integers(0, 96, int(rng.integers(1, 12))):
        data[position] = int(rng.integers(256))
    return name, bytes(data)


@register_kind(60, quick=7)
def spliced(rng):
    """A part is missing, zero, doubled, or from another file."""
    name, data = random_photo(rng)
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 3000))
    part = data[start : start + length]
    data[start : start + length] = choose(rng, b"", bytes(len(part)), part + part, random_photo(rng)[1][:length])
    return name, bytes(data)


@register_kind(16, REFUSED, quick=3)
def almost_nothing(rng):
    """Up to 16 bytes of a magic number."""
    name, data = random_photo(rng)
    return name, bytes(data[: int(rng.integers(0, 17)) * int(rng.integers(2))])


@register_kind(40, REFUSED, quick=5)
def magic_and_noise(rng):
    name, data = random_photo(rng)
    head = bytes(data[: int(choose(rng, 4, 12, 20))]) if rng.random() < 0.8 else b""
    return name, head + noise(rng, int(rng.integers(0, 4000)))


@register_kind(24, *READABLE, quick=2)
def something_appended(rng):
    name, data = random_photo(rng)
    return name, bytes(data) + choose(rng, noise(rng, 5000), b"\0" * 9999, bytes(random_photo(rng)[1]))


# No picture, or another format than the name says.


@register_kind(32, *READABLE, quick=3)
def wrong_extension(rng):
    return f"photo{choose(rng, *SUFFIXES.values(), '.jfif', '.heic', '.jxl')}", bytes(random_photo(rng)[1])


@register_kind(64, REFUSED, quick=14)
def no_picture(rng):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("../../evil.py", PAYLOAD)
        file.writestr("zeros", bytes(2_000_000))
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="99" height="99"><script>alert(1)</script></svg>'
    entities = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "%s"><!ENTITY c "%s">]><a>&c;</a>' % (b"x" * 999, b"&b;" * 99)
    kinds = (
        svg, entities, b"<!DOCTYPE html><html><body>" + PAYLOAD, b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n%%EOF\n",
        pickle.dumps(Bomb()), pickle.dumps(Bomb(), protocol=0), archive.getvalue(), b"\x7fELF\x02" + noise(rng, 900),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n(x) run\n", b"MZ" + noise(rng, 900), b"#!/bin/sh\ntouch x\n",
        json.dumps({"path": "/etc/passwd"}).encode(), b"\0\0\0\x18ftypheic" + noise(rng, 900), b"\x1f\x8b" + noise(rng, 99),
        b"\0\0\0\x0cJXL \r\n\x87\n" + noise(rng, 900), b"\0\0\0 ftypisom" + noise(rng, 900), b"RIFF\x10\0\0\0WAVEfmt ",
        b"8BPS\0\1" + noise(rng, 900), b"P6 99999 99999 255\n", b"\x93NUMPY\x01\0v\0{'descr': '|O', 'shape': (1,)}\n",
        "sch\u00f6ne Gr\u00fc\u00dfe".encode(), "sch\u00f6n".encode("utf-16"), b"\xff\xd8\xff", bytes(5000),
    )  # fmt: skip
    return f"photo{choose(rng, '.jpg', '.png', '.webp', '.tif')}", choose(rng, *kinds)


@register_kind(40, EDITED, quick=6)
def polyglots(rng):
    """A photo that is also a valid file of another type."""
    image, variant = face(rng), int(rng.integers(6))
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", PAYLOAD.decode())
    exif = Image.Exif()
    exif[0x010E] = PAYLOAD.decode()
    if variant == 0:
        return "photo.png", encoded(image, "PNG", pnginfo=text)
    if variant == 1:
        return "photo.jpg", encoded(image, "JPEG", comment=PAYLOAD, exif=exif)
    if variant == 2:
        return "photo.gif", encoded(image, "GIF", comment=PAYLOAD)
    if variant == 3:
        archive = io.BytesIO(encoded(image, "JPEG"))
        with zipfile.ZipFile(archive, "a") as file:
            file.writestr("index.html", PAYLOAD)
        return "photo.jpg", archive.getvalue()
    if variant == 4:
        return "photo.webp", encoded(image, "WEBP", exif=exif, xmp=PAYLOAD)
    return "photo.jpg", encoded(image, "JPEG") + pickle.dumps(Bomb()) + PAYLOAD


@register_kind(24, EDITED, quick=4)
def odd_names(rng):
    names = ("-rf.jpg", "..jpg", "a b\tc.jpg", "li\nne.jpg", "%00.jpg", "😀.jpg", "me.JPG", "\u202egpj.jpg",
             "x" * 250 + ".jpg", "'\";`ls`$(ls).jpg", "<img src=x onerror=alert(1)>.jpg", "é" * 120 + ".jpg", "con.jpg",
             "a.tar.gz.jpg", "=1+1.jpg", "..\\..\\me.jpg", " .jpg", "{0}%s.jpg", "*?.jpg", "noröm.jpeg")  # fmt: skip
    return choose(rng, *names), encoded(face(rng, 240), "JPEG")


# Metadata.


def jpeg_with(rng, segment: int, content: bytes) -> bytes:
    data = encoded(face(rng), "JPEG")
    return data[:2] + struct.pack(">BBH", 0xFF, segment, len(content) + 2) + content + data[2:]


def png_with(data: bytes, name: bytes, content: bytes) -> bytes:
    """Inserts a chunk behind a PNG's header."""
    chunk = name + content
    return data[:33] + struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]


def ifd(rng) -> bytes:
    """Returns an invalid TIFF directory: loops, offsets beyond the file, absurd counts, wrong types."""
    entries = [struct.pack("<HHII", int(choose(rng, ORIENTATION, 0x8769, 0x8825, 0x014A, 0x927C, rng.integers(65536))),
                           int(rng.integers(0, 20)), int(choose(rng, 0, 1, 2, 2**31, 2**32 - 1)),
                           int(choose(rng, 0, 8, 10**6, 2**32 - 1)))
               for _ in range(int(rng.integers(1, 40)))]  # fmt: skip
    count = int(choose(rng, len(entries), 65535))
    last = struct.pack("<I", int(choose(rng, 0, 8, 2**31)))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", count) + b"".join(entries) + last


@register_kind(64, EDITED, quick=6)
def broken_exif(rng):
    content = choose(rng, ifd(rng), ifd(rng), noise(rng, 300), b"II*\0\xff\xff\xff\xff", b"MM", b"")
    if rng.random() < 0.6:
        return "photo.jpg", jpeg_with(rng, 0xE1, b"Exif\0\0" + content)
    if rng.random() < 0.5:
        return "photo.png", png_with(encoded(face(rng), "PNG"), b"eXIf", content)
    return "photo.webp", encoded(face(rng), "WEBP", exif=content)


@register_kind(24, EDITED, REFUSED, quick=3)
def broken_segments(rng):
    """APPn segments whose content does not fit their names."""
    name = choose(rng, b"JFIF\0", b"JFXX\0", b"Adobe\0", b"MPF\0", b"Photoshop 3.0\0", XMP, b"FPXR\0")
    segment = {b"JFIF\0": 0xE0, b"JFXX\0": 0xE0, b"Adobe\0": 0xEE, b"MPF\0": 0xE2, b"Photoshop 3.0\0": 0xED}.get(name, 0xE1)
    return "photo.jpg", jpeg_with(rng, segment, name + noise(rng, int(choose(rng, 0, 1, 30, 2000))))


@register_kind(48, EDITED, quick=5)
def broken_icc(rng):
    broken = bytearray(SRGB)
    for position in rng.integers(0, len(broken), int(rng.integers(1, 60))):
        broken[position] = int(rng.integers(256))
    profile = choose(rng, bytes(broken), SRGB[:200], noise(rng, 900), b"\0" * 16 + b"RGB " + noise(rng, 99), b"x",
                     SRGB[:16] + b"GRAY" + SRGB[20:], SRGB[:16] + b"CMYK" + SRGB[20:])  # fmt: skip
    file_format = choose(rng, "JPEG", "PNG", "WEBP", "TIFF")
    return f"photo{SUFFIXES[file_format]}", encoded(face(rng), file_format, icc_profile=profile)


@register_kind(3, EDITED, quick=1)
def huge_icc(rng):
    """A colour profile of 20 MB: more than a JPEG can hold."""
    name = choose(rng, "photo.jpg", "photo.webp")
    return name, encoded(face(rng), "WEBP", icc_profile=SRGB + bytes(20_000_000))


@register_kind(24, quick=5)
def tiff_tags(rng):
    """Tags of another type than they have: a colour profile that is a number, a size that is text."""
    image = encoded(face(rng, 200), "TIFF", icc_profile=SRGB)
    data, (start,) = bytearray(image), struct.unpack("<I", image[4:8])
    (count,) = struct.unpack("<H", data[start : start + 2])
    for _ in range(int(rng.integers(1, 3))):
        entry = start + 2 + 12 * int(choose(rng, count - 1, rng.integers(count)))
        struct.pack_into("<HI", data, entry + 2, int(rng.integers(0, 15)), int(choose(rng, 0, 1, 2, 2**20, 2**32 - 1)))
    return "photo.tif", bytes(data)


@register_kind(8, EDITED)
def profile_is_a_number(rng):
    """A TIFF whose colour profile is a SHORT, a FLOAT, or text."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.tagtype[34675], tags[34675] = choose(rng, (3, 7), (11, 1.5), (2, "text"), (12, (1.0, 2.0)))
    return "photo.tif", encoded(face(rng, 200), "TIFF", tiffinfo=tags)


# Small files that are expensive to decode.


def jpeg_that_claims(data: bytes, width: int, height: int) -> bytes:
    at = next(i for marker in (b"\xff\xc0", b"\xff\xc2") if (i := data.find(marker)) > 0)
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


@register_kind(40, quick=6)
def claims(rng):
    """A small file whose header says that it is a large picture: up to the limit, and beyond it."""
    width, height = (int(choose(rng, 1, 5000, 8944, 16383, 65535)) for _ in range(2))
    small = face(rng, 64)
    variant = int(rng.integers(5))
    if variant == 0:
        data = encoded(small, "PNG")
        head = data[12:16] + struct.pack(">II", width, height) + data[24:29]
        return "photo.png", data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]
    if variant == 1:
        return "photo.jpg", jpeg_that_claims(encoded(small, "JPEG", progressive=rng.random() < 0.5), width, height)
    if variant == 2:
        data = encoded(small, "GIF")
        return "photo.gif", data[:6] + struct.pack("<HH", width, height) + data[10:]
    if variant == 3:
        data = encoded(small, "BMP")
        return "photo.bmp", data[:18] + struct.pack("<ii", width, height * int(choose(rng, 1, -1))) + data[26:]
    return "photo.tif", encoded(small, "TIFF").replace(
        struct.pack("<HHI", 256, 4, 1) + struct.pack("<I", 64), struct.pack("<HHI", 256, 4, 1) + struct.pack("<I", 2**31)
    )


@register_kind(12, REFUSED, quick=2)
def animated_canvas(rng):
    """A WebP or GIF of a few bytes over a canvas of gigabytes."""
    side = int(choose(rng, 10_000, 16_384))
    vp8x = b"VP8X" + struct.pack("<IB3x", 10, 2) + struct.pack("<I", side - 1)[:3] * 2
    frame = encoded(face(rng, 64), "WEBP")[12:]
    anmf = bytes(6) + struct.pack("<I", 63)[:3] * 2 + b"\x64\0\0\0" + frame
    body = b"WEBP" + vp8x + b"ANIM" + struct.pack("<I", 6) + bytes(6) + b"ANMF" + struct.pack("<I", len(anmf)) + anmf
    return "photo.webp", b"RIFF" + struct.pack("<I", len(body)) + body


@register_kind(16, quick=2)
def packed_text(rng):
    """A PNG with megabytes of compressed text, profile or unknown chunks."""
    content = zlib.compress(bytes(int(choose(rng, 500_000, 50_000_000))))
    name = choose(rng, b"zTXt", b"iCCP", b"iTXt", b"anCy")
    lead = b"k\0\1\0\0\0" if name == b"iTXt" else b"k\0\0"
    return "photo.png", png_with(encoded(face(rng), "PNG"), name, lead + content)


@register_kind(4, REFUSED, quick=1)
def many_chunks(rng):
    data, chunks = encoded(face(rng, 200), "PNG"), bytearray()
    for i in range(20_000):
        chunk = b"tEXt" + b"k%d\0v" % i
        chunks += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return "photo.png", data[:33] + bytes(chunks) + data[33:]


@register_kind(3, quick=1)
def many_frames(rng):
    """A GIF of thousands of frames, of which one is needed."""
    data = encoded(face(rng, 200), "GIF")
    dot = b",\0\0\0\0\1\0\1\0\0\x02\x02D\x01\0"
    return "photo.gif", data[:-1] + dot * 30_000 + b";"


@register_kind(8, REFUSED, quick=2)
def many_scans(rng):
    """A progressive JPEG whose last scan is repeated: each takes 6 bytes and goes over the whole picture."""
    side = int(choose(rng, 400, 1200))
    data = encoded(Image.new("L", (side, side), 99), "JPEG", progressive=True)
    last = data[data.rfind(b"\xff\xda") : -2]
    return "photo.jpg", data[:-2] + last * 100_000 + b"\xff\xd9"


@register_kind(16, REFUSED, quick=4)
def many_pieces(rng):
    """Millions of bytes in nearly empty segments, chunks, blocks or strips."""
    image, many = face(rng, 200), 200_000
    variant = int(rng.integers(6))
    if variant < 2:
        data = encoded(image, "JPEG")
        return "photo.jpg", data[:2] + choose(rng, b"\xff\xfe\0\2", b"\xff\xe1\0\3x") * many * 8 + data[2:]
    if variant < 4:
        data = encoded(image, "GIF")
        head = data[: 13 + 3 * 2 ** (1 + (data[10] & 7))]
        comment = b"!\xfe" + b"\1x" * many * 8 + b"\0" if variant == 2 else b"!\xfe\1x\0" * many * 4
        return "photo.gif", head + comment + data[len(head) :]
    if variant == 4:
        data = encoded(image, "PNG")
        return "photo.png", data[:33] + png_with(data, b"anCy", b"")[33:45] * many * 4 + data[33:]
    tags = {256: (4, 1, 200), 257: (4, 1, 200), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: (4, many * 4, 138),
            277: (3, 1, 1), 278: (4, 1, 1), 279: (4, many * 4, 138)}  # fmt: skip
    table = b"".join(struct.pack("<HHII", tag, *entry) for tag, entry in tags.items())
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + table
    return "photo.tif", head.ljust(138, b"\0") + struct.pack("<I", 8) * many * 4


@register_kind(8, quick=1)
def noise_for_text(rng):
    """A picture whose every metadata field is noise."""
    text = PngImagePlugin.PngInfo()
    for i in range(50):
        text.add_text(f"k{i}", noise(rng, 200).decode("latin-1").replace("\0", " "))
    return "photo.png", encoded(face(rng), "PNG", pnginfo=text, icc_profile=noise(rng, 300))

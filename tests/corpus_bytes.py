"""Uploads in which something is wrong with the file: damaged, forged, lying about its size, or no picture at all."""

import io
import json
import os
import pickle
import struct
import zipfile
import zlib

from corpus import EDITED, REFUSED, SEEN, kind
from corpus_scenes import ORIENTATION, SUFFIXES, encoded, one_of, person
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin

XMP = b"http://ns.adobe.com/xap/1.0/\0"
PAYLOAD = b"<script>alert('payload')</script>"
"""What polyglots carry, and no edited photo may."""
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
WHOLE = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP")


class Bomb:
    """Unpickled it would write a file, whose name is in the environment."""

    def __reduce__(self):
        return os.system, ('touch "$BOMB"',)


def some_file(rng) -> tuple[str, bytearray]:
    file_format = one_of(rng, *WHOLE)
    return f"photo{SUFFIXES[file_format]}", bytearray(encoded(person(rng, int(rng.integers(120, 280))), file_format))


def noise(rng, length: int) -> bytes:
    return rng.bytes(length)


# Damaged.


@kind(120, few=16)
def truncated(rng):
    name, data = some_file(rng)
    return name, bytes(data[: int(len(data) * rng.random() ** one_of(rng, 0.2, 1, 4))])


@kind(160, few=12)
def bits_flipped(rng):
    name, data = some_file(rng)
    for place in rng.integers(0, len(data), 2 ** int(rng.integers(0, 8))):
        data[place] ^= 1 << int(rng.integers(8))
    return name, bytes(data)


@kind(120, few=16)
def header_flipped(rng):
    name, data = some_file(rng)
    for place in rng.integers(0, 96, int(rng.integers(1, 12))):
        data[place] = int(rng.integers(256))
    return name, bytes(data)


@kind(60, few=7)
def spliced(rng):
    """A stretch is gone, zero, there twice, or another file's."""
    name, data = some_file(rng)
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 3000))
    part = data[start : start + length]
    data[start : start + length] = one_of(rng, b"", bytes(len(part)), part + part, some_file(rng)[1][:length])
    return name, bytes(data)


@kind(16, REFUSED, few=3)
def almost_nothing(rng):
    """Up to 16 bytes of a magic number."""
    name, data = some_file(rng)
    return name, bytes(data[: int(rng.integers(0, 17)) * int(rng.integers(2))])


@kind(40, REFUSED, few=5)
def magic_and_noise(rng):
    name, data = some_file(rng)
    head = bytes(data[: int(one_of(rng, 4, 12, 20))]) if rng.random() < 0.8 else b""
    return name, head + noise(rng, int(rng.integers(0, 4000)))


@kind(24, *SEEN, few=2)
def something_appended(rng):
    name, data = some_file(rng)
    return name, bytes(data) + one_of(rng, noise(rng, 5000), b"\0" * 9999, bytes(some_file(rng)[1]))


# No picture, or one by another name.


@kind(32, *SEEN, few=3)
def wrong_extension(rng):
    return f"photo{one_of(rng, *SUFFIXES.values(), '.jfif', '.heic', '.jxl')}", bytes(some_file(rng)[1])


@kind(64, REFUSED, few=14)
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
    return f"photo{one_of(rng, '.jpg', '.png', '.webp', '.tif')}", one_of(rng, *kinds)


@kind(40, EDITED, few=6)
def polyglots(rng):
    """A photo that is something else as well."""
    image, way = person(rng), int(rng.integers(6))
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", PAYLOAD.decode())
    exif = Image.Exif()
    exif[0x010E] = PAYLOAD.decode()
    if way == 0:
        return "photo.png", encoded(image, "PNG", pnginfo=text)
    if way == 1:
        return "photo.jpg", encoded(image, "JPEG", comment=PAYLOAD, exif=exif)
    if way == 2:
        return "photo.gif", encoded(image, "GIF", comment=PAYLOAD)
    if way == 3:
        archive = io.BytesIO(encoded(image, "JPEG"))
        with zipfile.ZipFile(archive, "a") as file:
            file.writestr("index.html", PAYLOAD)
        return "photo.jpg", archive.getvalue()
    if way == 4:
        return "photo.webp", encoded(image, "WEBP", exif=exif, xmp=PAYLOAD)
    return "photo.jpg", encoded(image, "JPEG") + pickle.dumps(Bomb()) + PAYLOAD


@kind(24, EDITED, few=4)
def odd_names(rng):
    names = ("-rf.jpg", "..jpg", "a b\tc.jpg", "li\nne.jpg", "%00.jpg", "😀.jpg", "me.JPG", "\u202egpj.jpg",
             "x" * 250 + ".jpg", "'\";`ls`$(ls).jpg", "<img src=x onerror=alert(1)>.jpg", "é" * 120 + ".jpg", "con.jpg",
             "a.tar.gz.jpg", "=1+1.jpg", "..\\..\\me.jpg", " .jpg", "{0}%s.jpg", "*?.jpg", "noröm.jpeg")  # fmt: skip
    return one_of(rng, *names), encoded(person(rng, 240), "JPEG")


# What lies beside the pixels.


def jpeg_with(rng, segment: int, content: bytes) -> bytes:
    data = encoded(person(rng), "JPEG")
    return data[:2] + struct.pack(">BBH", 0xFF, segment, len(content) + 2) + content + data[2:]


def png_with(data: bytes, name: bytes, content: bytes) -> bytes:
    """A PNG with one more chunk behind its header."""
    chunk = name + content
    return data[:33] + struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]


def ifd(rng) -> bytes:
    """A TIFF directory of nonsense: loops, offsets out of the file, absurd counts, wrong types."""
    entries = [struct.pack("<HHII", int(one_of(rng, ORIENTATION, 0x8769, 0x8825, 0x014A, 0x927C, rng.integers(65536))),
                           int(rng.integers(0, 20)), int(one_of(rng, 0, 1, 2, 2**31, 2**32 - 1)),
                           int(one_of(rng, 0, 8, 10**6, 2**32 - 1)))
               for _ in range(int(rng.integers(1, 40)))]  # fmt: skip
    count = int(one_of(rng, len(entries), 65535))
    last = struct.pack("<I", int(one_of(rng, 0, 8, 2**31)))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", count) + b"".join(entries) + last


@kind(64, EDITED, few=6)
def broken_exif(rng):
    content = one_of(rng, ifd(rng), ifd(rng), noise(rng, 300), b"II*\0\xff\xff\xff\xff", b"MM", b"")
    if rng.random() < 0.6:
        return "photo.jpg", jpeg_with(rng, 0xE1, b"Exif\0\0" + content)
    if rng.random() < 0.5:
        return "photo.png", png_with(encoded(person(rng), "PNG"), b"eXIf", content)
    return "photo.webp", encoded(person(rng), "WEBP", exif=content)


@kind(24, EDITED, REFUSED, few=3)
def broken_segments(rng):
    """APPn segments that are not what their names say."""
    name = one_of(rng, b"JFIF\0", b"JFXX\0", b"Adobe\0", b"MPF\0", b"Photoshop 3.0\0", XMP, b"FPXR\0")
    segment = {b"JFIF\0": 0xE0, b"JFXX\0": 0xE0, b"Adobe\0": 0xEE, b"MPF\0": 0xE2, b"Photoshop 3.0\0": 0xED}.get(name, 0xE1)
    return "photo.jpg", jpeg_with(rng, segment, name + noise(rng, int(one_of(rng, 0, 1, 30, 2000))))


@kind(48, EDITED, few=5)
def broken_icc(rng):
    broken = bytearray(SRGB)
    for place in rng.integers(0, len(broken), int(rng.integers(1, 60))):
        broken[place] = int(rng.integers(256))
    profile = one_of(rng, bytes(broken), SRGB[:200], noise(rng, 900), b"\0" * 16 + b"RGB " + noise(rng, 99), b"x",
                     SRGB[:16] + b"GRAY" + SRGB[20:], SRGB[:16] + b"CMYK" + SRGB[20:])  # fmt: skip
    file_format = one_of(rng, "JPEG", "PNG", "WEBP", "TIFF")
    return f"photo{SUFFIXES[file_format]}", encoded(person(rng), file_format, icc_profile=profile)


@kind(3, EDITED, few=1)
def huge_icc(rng):
    """A colour profile of 20 MB: more than a JPEG can hold."""
    name = one_of(rng, "photo.jpg", "photo.webp")
    return name, encoded(person(rng), "WEBP", icc_profile=SRGB + bytes(20_000_000))


@kind(24, few=5)
def tiff_tags(rng):
    """Tags of another type than they have: a colour profile that is a number, a size that is text."""
    image = encoded(person(rng, 200), "TIFF", icc_profile=SRGB)
    data, (start,) = bytearray(image), struct.unpack("<I", image[4:8])
    (count,) = struct.unpack("<H", data[start : start + 2])
    for _ in range(int(rng.integers(1, 3))):
        entry = start + 2 + 12 * int(one_of(rng, count - 1, rng.integers(count)))
        struct.pack_into("<HI", data, entry + 2, int(rng.integers(0, 15)), int(one_of(rng, 0, 1, 2, 2**20, 2**32 - 1)))
    return "photo.tif", bytes(data)


@kind(8, EDITED)
def profile_is_a_number(rng):
    """A TIFF whose colour profile is a SHORT, a FLOAT, or text."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.tagtype[34675], tags[34675] = one_of(rng, (3, 7), (11, 1.5), (2, "text"), (12, (1.0, 2.0)))
    return "photo.tif", encoded(person(rng, 200), "TIFF", tiffinfo=tags)


# Larger than they look.


def jpeg_that_claims(data: bytes, width: int, height: int) -> bytes:
    at = next(i for marker in (b"\xff\xc0", b"\xff\xc2") if (i := data.find(marker)) > 0)
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


@kind(40, few=6)
def claims(rng):
    """A small file that says it is a large picture: up to the limit, and beyond it."""
    width, height = (int(one_of(rng, 1, 5000, 8944, 16383, 65535)) for _ in range(2))
    small = person(rng, 64)
    way = int(rng.integers(5))
    if way == 0:
        data = encoded(small, "PNG")
        head = data[12:16] + struct.pack(">II", width, height) + data[24:29]
        return "photo.png", data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]
    if way == 1:
        return "photo.jpg", jpeg_that_claims(encoded(small, "JPEG", progressive=rng.random() < 0.5), width, height)
    if way == 2:
        data = encoded(small, "GIF")
        return "photo.gif", data[:6] + struct.pack("<HH", width, height) + data[10:]
    if way == 3:
        data = encoded(small, "BMP")
        return "photo.bmp", data[:18] + struct.pack("<ii", width, height * int(one_of(rng, 1, -1))) + data[26:]
    return "photo.tif", encoded(small, "TIFF").replace(
        struct.pack("<HHI", 256, 4, 1) + struct.pack("<I", 64), struct.pack("<HHI", 256, 4, 1) + struct.pack("<I", 2**31)
    )


@kind(12, REFUSED, few=2)
def animated_canvas(rng):
    """A WebP or GIF of a few bytes over a canvas of gigabytes."""
    side = int(one_of(rng, 10_000, 16_384))
    vp8x = b"VP8X" + struct.pack("<IB3x", 10, 2) + struct.pack("<I", side - 1)[:3] * 2
    frame = encoded(person(rng, 64), "WEBP")[12:]
    anmf = bytes(6) + struct.pack("<I", 63)[:3] * 2 + b"\x64\0\0\0" + frame
    body = b"WEBP" + vp8x + b"ANIM" + struct.pack("<I", 6) + bytes(6) + b"ANMF" + struct.pack("<I", len(anmf)) + anmf
    return "photo.webp", b"RIFF" + struct.pack("<I", len(body)) + body


@kind(16, few=2)
def packed_text(rng):
    """A PNG with megabytes of compressed text, profile or unknown chunks."""
    content = zlib.compress(bytes(int(one_of(rng, 500_000, 50_000_000))))
    name = one_of(rng, b"zTXt", b"iCCP", b"iTXt", b"anCy")
    lead = b"k\0\1\0\0\0" if name == b"iTXt" else b"k\0\0"
    return "photo.png", png_with(encoded(person(rng), "PNG"), name, lead + content)


@kind(4, REFUSED, few=1)
def many_chunks(rng):
    data, few = encoded(person(rng, 200), "PNG"), bytearray()
    for i in range(20_000):
        chunk = b"tEXt" + b"k%d\0v" % i
        few += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return "photo.png", data[:33] + bytes(few) + data[33:]


@kind(3, few=1)
def many_frames(rng):
    """A GIF of thousands of frames, of which one is wanted."""
    data = encoded(person(rng, 200), "GIF")
    dot = b",\0\0\0\0\1\0\1\0\0\x02\x02D\x01\0"
    return "photo.gif", data[:-1] + dot * 30_000 + b";"


@kind(8, REFUSED, few=2)
def many_scans(rng):
    """A progressive JPEG whose last scan comes again and again: each goes over the whole picture, for 6 bytes."""
    side = int(one_of(rng, 400, 1200))
    data = encoded(Image.new("L", (side, side), 99), "JPEG", progressive=True)
    last = data[data.rfind(b"\xff\xda") : -2]
    return "photo.jpg", data[:-2] + last * 100_000 + b"\xff\xd9"


@kind(16, REFUSED, few=4)
def many_pieces(rng):
    """Millions of bytes in segments, chunks, blocks or strips of almost nothing."""
    image, many = person(rng, 200), 200_000
    way = int(rng.integers(6))
    if way < 2:
        data = encoded(image, "JPEG")
        return "photo.jpg", data[:2] + one_of(rng, b"\xff\xfe\0\2", b"\xff\xe1\0\3x") * many * 8 + data[2:]
    if way < 4:
        data = encoded(image, "GIF")
        head = data[: 13 + 3 * 2 ** (1 + (data[10] & 7))]
        comment = b"!\xfe" + b"\1x" * many * 8 + b"\0" if way == 2 else b"!\xfe\1x\0" * many * 4
        return "photo.gif", head + comment + data[len(head) :]
    if way == 4:
        data = encoded(image, "PNG")
        return "photo.png", data[:33] + png_with(data, b"anCy", b"")[33:45] * many * 4 + data[33:]
    tags = {256: (4, 1, 200), 257: (4, 1, 200), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: (4, many * 4, 138),
            277: (3, 1, 1), 278: (4, 1, 1), 279: (4, many * 4, 138)}  # fmt: skip
    table = b"".join(struct.pack("<HHII", tag, *entry) for tag, entry in tags.items())
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + table
    return "photo.tif", head.ljust(138, b"\0") + struct.pack("<I", 8) * many * 4


@kind(8, few=1)
def noise_for_text(rng):
    """A picture whose every metadata field is noise."""
    text = PngImagePlugin.PngInfo()
    for i in range(50):
        text.add_text(f"k{i}", noise(rng, 200).decode("latin-1").replace("\0", " "))
    return "photo.png", encoded(person(rng), "PNG", pnginfo=text, icc_profile=noise(rng, 300))

"""What a photo may be passed as: pipes, files in any state, PIL's modes, numpy's byte orders, HEIC."""

import io
import os
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from exprgan.errors import BadImageError
from exprgan.photo import decode_limits
from exprgan.photo.image_io import load_photo


@pytest.fixture
def data(data_dir) -> bytes:
    return (data_dir / "portrait2.jpg").read_bytes()


@pytest.fixture
def pixels(data) -> bytes:
    return load_photo(data).tobytes()


@pytest.fixture
def pipe(tmp_path):
    """Returns a function that makes a named pipe which delivers some bytes."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")

    def make(content: bytes):
        os.mkfifo(path := tmp_path / "pipe")
        threading.Thread(target=path.write_bytes, args=[content], daemon=True).start()
        return path

    return make


def test_a_pipe_is_read(data, pixels, pipe):
    assert load_photo(pipe(data)).tobytes() == pixels


def test_an_empty_pipe_is_reported_as_empty(pipe):
    with pytest.raises(BadImageError, match=r"pipe is empty"):
        load_photo(pipe(b""))


def test_a_pipe_without_end_is_refused(data, monkeypatch):
    monkeypatch.setattr(decode_limits, "MAX_STREAM_BYTES", 5_000_000)

    class Endless(io.RawIOBase):
        def read(self, size=-1):
            return bytes(size)

    with pytest.raises(BadImageError, match=r"more than 5 MB"):
        load_photo(Endless())


def test_an_open_file_is_read_from_its_start(data, pixels, data_dir):
    with open(data_dir / "portrait2.jpg", "rb") as opened:
        for file in (io.BytesIO(data), opened):
            file.read(1000)
            assert load_photo(file).tobytes() == pixels
            assert load_photo(file).tobytes() == pixels  # at its end


def test_a_closed_file_and_a_closed_picture_are_called_closed(data, data_dir):
    file, lazy, loaded = io.BytesIO(data), Image.open(data_dir / "portrait.jpg"), Image.open(data_dir / "portrait.jpg")
    with Image.open(data_dir / "portrait.jpg") as left:
        pass
    file.close(), lazy.close(), loaded.load(), loaded.close()
    with open(data_dir / "portrait.jpg", "rb") as opened:
        unloaded = Image.open(opened)
    for source in (file, opened, lazy, loaded, left, unloaded):
        with pytest.raises(ValueError, match="is closed"):
            load_photo(source)


def test_a_damaged_picture_is_not_called_closed(data, tmp_path):
    Image.open(io.BytesIO(data)).save(tmp_path / "whole.tif", compression="tiff_lzw")
    tiff = (tmp_path / "whole.tif").read_bytes()
    (tmp_path / "half.tif").write_bytes(tiff[: len(tiff) // 4] + b"\xff" * (len(tiff) // 2) + tiff[len(tiff) * 3 // 4 :])
    (tmp_path / "half.jpg").write_bytes(data[: len(data) // 2])
    for path in (tmp_path / "half.tif", tmp_path / "half.jpg"):
        with Image.open(path) as image:
            for source in (path, image):
                with pytest.raises(BadImageError, match="damaged or cut off"):
                    load_photo(source)


def test_a_file_open_as_text_is_a_type_error(data_dir):
    with open(data_dir / "portrait.jpg") as file, pytest.raises(TypeError, match="mode 'rb'"):
        load_photo(file)


@pytest.mark.parametrize("factor", [1, 257])
def test_mode_i_has_8_or_16_bits(data, factor):
    grey = Image.open(io.BytesIO(data)).convert("L")
    levels = Image.fromarray(np.asarray(grey).astype(np.int32) * factor)
    assert levels.mode == "I" and load_photo(levels).tobytes() == grey.convert("RGB").tobytes()


@pytest.mark.parametrize("level", [-1, 70_000])
def test_other_levels_of_mode_i_are_refused(level):
    with pytest.raises(BadImageError, match=rf"levels go from {min(level, 9)} to {max(level, 9)}"):
        load_photo(Image.fromarray(np.array([[9, level] * 10] * 20, np.int32)))


@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_uint16_is_read_in_either_byte_order(data, pixels, order):
    array = (np.asarray(load_photo(data)).astype(np.uint16) * 257).astype(order)
    assert load_photo(array).tobytes() == pixels


@pytest.mark.parametrize(("mode", "plain"), [("La", "LA"), ("RGBa", "RGBA")])
def test_premultiplied_alpha_is_read(data, mode, plain):
    image = Image.open(io.BytesIO(data)).convert(plain)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    premultiplied = image.convert(mode)
    assert load_photo(premultiplied).tobytes() == load_photo(premultiplied.convert(plain)).tobytes()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("data:image/png;base64," + "B" * 90_000, "is an address"),
        ("https://example.com/" + "b" * 90_000, "is an address"),
        ("b" * 90_000, "cannot be opened: File name too long"),
        ("/".join(["b" * 100] * 20), "There is no file"),
    ],
)
def test_a_long_text_is_not_repeated(text, sentence):
    with pytest.raises(BadImageError, match=sentence) as caught:
        load_photo(text)
    assert len(str(caught.value)) < 220


# HEIC.


def heic(image: Image.Image, **options) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=95, **options)
    return file.getvalue()


def test_heic_is_read_where_pillow_heif_is_installed(data, tmp_path):
    photo = load_photo(data)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned, as a phone stores it
    content = heic(photo.transpose(Image.Transpose.ROTATE_90), exif=exif.tobytes())
    (tmp_path / "me.heic").write_bytes(content)
    for source in (content, tmp_path / "me.heic", io.BytesIO(content)):
        read = load_photo(source)
        assert read.size == photo.size
        assert np.abs(np.asarray(read, int) - np.asarray(photo, int)).mean() < 4
    with pytest.raises(BadImageError, match="damaged or cut off"):
        load_photo(content[: len(content) // 2])


def test_heic_without_pillow_heif_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(BadImageError, match="JPEG first, or let pillow-heif read it: pip install pillow-heif"):
        load_photo(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    with pytest.raises(BadImageError, match="not a photo that can be read"):
        load_photo(b"\0\0\0\x18ftypcrx \0\0\0\0crx isom" + bytes(100))

"""Reading and writing photos: every format becomes upright RGB, and saved files are marked as edited by AI."""

import io
import struct
import zlib
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from exprgan.errors import BadImageError, ExprGANError
from exprgan.photo.ai_metadata import SOFTWARE, SOFTWARE_GENERATED, mark_edited, mark_generated
from exprgan.photo.decode_limits import MAX_PIXELS
from exprgan.photo.image_io import is_marked, load_photo, save_photo, to_image, to_tensor

ORIENTATION, SOFTWARE_TAG, GPS = 0x0112, 0x0131, 0x8825
RGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture
def four_colors() -> Image.Image:
    """48 x 32 px, another colour in each corner: all its rotations and flips differ."""
    image = Image.new("RGB", (48, 32), "white")
    for corner, color in {(0, 0): "red", (36, 0): "green", (0, 24): "blue", (36, 24): "yellow"}.items():
        image.paste(color, (*corner, corner[0] + 12, corner[1] + 8))
    return image


def as_file(image: Image.Image, file_format: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def same(a: Image.Image, b: Image.Image) -> bool:
    return a.mode == b.mode and a.size == b.size and a.tobytes() == b.tobytes()


def png_that_claims(width: int, height: int) -> bytes:
    """Returns a PNG of 1 x 1 px whose header has another size."""
    data = bytearray(as_file(Image.new("L", (1, 1))))
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


# Reading.


def test_a_photo_is_read_from_a_path_bytes_a_file_an_image_and_an_array(four_colors, tmp_path):
    path, data = tmp_path / "photo.png", as_file(four_colors)
    path.write_bytes(data)
    for source in (path, str(path), data, io.BytesIO(data), four_colors, np.asarray(four_colors)):
        assert same(load_photo(source), four_colors)


@pytest.mark.parametrize("file_format", ["JPEG", "MPO", "WEBP", "BMP", "GIF", "TIFF"])
def test_the_usual_formats_are_read(four_colors, file_format):
    photo = load_photo(as_file(four_colors, file_format))
    assert photo.mode == "RGB" and photo.size == four_colors.size


UNDO = {  # orientation -> what a camera did to the upright picture
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", UNDO)
def test_every_exif_orientation_comes_out_upright(four_colors, orientation):
    stored = four_colors if UNDO[orientation] is None else four_colors.transpose(UNDO[orientation])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = as_file(stored, exif=exif)

    assert same(load_photo(data), four_colors)
    assert same(load_photo(Image.open(io.BytesIO(data))), four_colors)  # a PIL image is turned, too
    assert same(load_photo(load_photo(data)), four_colors)  # but not twice


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # PIL's
def test_unreadable_exif_does_not_spoil_the_photo(four_colors):
    data = as_file(four_colors, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert load_photo(data).size == four_colors.size


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_become_white(mode):
    image = Image.new(mode, (20, 20), (0, 0, 0, 255)[-len(mode) :])
    image.putalpha(Image.new("L", (20, 10), 0).resize((20, 20)))
    image.paste((0, 0, 0, 255)[-len(mode) :], (0, 10, 20, 20))
    photo = load_photo(as_file(image))
    assert photo.getpixel((5, 5)) == (255, 255, 255) and photo.getpixel((5, 15)) == (0, 0, 0)


def test_a_palette_with_a_transparent_entry_gets_white_there(four_colors):
    image = four_colors.convert("P")
    image.paste(image.getpixel((0, 0)), (0, 0, 12, 8))
    photo = load_photo(as_file(image, transparency=image.getpixel((0, 0))))
    assert photo.getpixel((5, 5)) == (255, 255, 255) and photo.getpixel((40, 28)) == (255, 255, 0)


def test_grey_becomes_rgb():
    assert load_photo(as_file(Image.new("L", (20, 20), 77))).getpixel((3, 3)) == (77, 77, 77)


def test_a_cmyk_jpeg_becomes_rgb():
    data = as_file(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "JPEG")
    assert b"\xff\xee\x00\x0eAdobe" in data  # Adobe's way: PIL wrote it inverted, and turns it back
    red, green, blue = load_photo(data).getpixel((16, 16))
    assert red > 250 and green < 5 and blue < 5


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_16_bits_are_scaled_to_8(file_format):
    levels = np.full((20, 20), 65535, np.uint16)
    levels[:10] = 128 * 257
    photo = load_photo(as_file(Image.fromarray(levels), file_format))
    assert photo.getpixel((5, 5)) == (128,) * 3 and photo.getpixel((5, 15)) == (255,) * 3
    assert same(load_photo(levels), photo)
    assert same(load_photo(Image.fromarray(levels.astype(np.int32))), photo)  # mode I


def test_the_first_frame_of_an_animation_is_read(four_colors):
    later = [Image.new("RGB", four_colors.size, "black")]
    data = as_file(four_colors, "GIF", save_all=True, append_images=later)
    assert load_photo(data).getpixel((2, 2)) == (255, 0, 0)


def test_only_an_rgb_profile_is_kept(four_colors):
    data = as_file(four_colors, icc_profile=RGB_PROFILE, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")
    assert load_photo(data).info == {"icc_profile": RGB_PROFILE}
    cmyk_profile = RGB_PROFILE[:16] + b"CMYK" + RGB_PROFILE[20:]
    assert load_photo(as_file(four_colors.convert("CMYK"), "JPEG", icc_profile=cmyk_profile)).info == {}


def test_the_photo_is_a_copy(four_colors):
    photo = load_photo(four_colors)
    photo.paste("black", (0, 0, 48, 32))
    assert four_colors.getpixel((0, 0)) == (255, 0, 0)


# Refusing.


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_truncated_file_is_reported_as_cut_off(file_format):
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    data = as_file(noise, file_format)
    with pytest.raises(BadImageError, match=r"cut off|cannot|can be read"):
        load_photo(data[: len(data) // 2])


def test_an_empty_file_is_reported_as_empty(tmp_path):
    (tmp_path / "empty.jpg").touch()
    for source in (b"", io.BytesIO(), tmp_path / "empty.jpg"):
        with pytest.raises(BadImageError, match="empty"):
            load_photo(source)


@pytest.mark.parametrize(
    "data",
    [b"Dear diary, today I smiled.", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n"],
    ids=["text", "EPS"],
)
def test_a_file_that_is_no_photo_is_refused(data, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(data)
    for source in (data, tmp_path / "photo.jpg"):
        with pytest.raises(BadImageError, match="not a photo that can be read"):
            load_photo(source)


@pytest.mark.parametrize("side", [int(MAX_PIXELS**0.5) + 1, 50_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side):
    with pytest.raises(BadImageError, match="megapixels"):
        load_photo(png_that_claims(side, side))


def test_a_photo_of_a_few_pixels_is_refused():
    with pytest.raises(BadImageError, match="only 15 x 40 px"):
        load_photo(Image.new("RGB", (15, 40)))


def test_a_missing_file_and_a_folder_are_named_in_the_error(tmp_path):
    with pytest.raises(BadImageError, match=r"no file .*nobody\.jpg"):
        load_photo(tmp_path / "nobody.jpg")
    with pytest.raises(BadImageError, match="is a folder"):
        load_photo(tmp_path)


def test_a_wrong_argument_is_a_type_or_value_error():
    with pytest.raises(TypeError, match="NoneType"):
        load_photo(None)
    with pytest.raises(ValueError, match="float64"):
        load_photo(np.zeros((20, 20, 3)))
    with pytest.raises(ValueError, match=r"\(3, 20, 20\)"):
        load_photo(np.zeros((3, 20, 20), np.uint8))


# Tensors.


def test_all_levels_survive_the_conversion_to_a_tensor_and_back():
    image = Image.fromarray(np.arange(256 * 3, dtype=np.uint8).reshape(16, 16, 3))
    tensor = to_tensor(image)
    assert tensor.shape == (3, 16, 16) and tensor.dtype == torch.float32
    assert tensor.min() == -1 and tensor.max() == 1
    assert same(to_image(tensor), image)


def test_a_tensor_beyond_the_range_is_clipped():
    assert to_image(torch.full((3, 2, 2), 1.5)).getpixel((0, 0)) == (255,) * 3
    assert to_image(torch.full((3, 2, 2), -1.5)).getpixel((0, 0)) == (0,) * 3


def test_a_batch_is_no_image():
    with pytest.raises(ValueError, match=r"\(1, 3, 8, 8\)"):
        to_image(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="mode L"):
        to_tensor(Image.new("L", (8, 8)))


# Saving.


NAMESPACES = {
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": "Iptc4xmpExt:",
    "http://ns.adobe.com/xap/1.0/": "xmp:",
}
EDITED_XMP = {
    "Iptc4xmpExt:DigitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia",
    "Iptc4xmpExt:AISystemUsed": "ExprGAN",
    "xmp:CreatorTool": SOFTWARE,
}
GENERATED_XMP = EDITED_XMP | {
    "Iptc4xmpExt:DigitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
    "xmp:CreatorTool": SOFTWARE_GENERATED,
}


def read_xmp(data: bytes) -> dict[str, str]:
    """Reads the XMP of a file of any format as a general program does: from its packet, parsed as XML."""
    packet = data[data.index(b"<?xpacket begin=") : data.index(b'<?xpacket end="w"?>')]
    (description,) = ElementTree.fromstring(packet).iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    properties = {}
    for property in description:
        space, name = property.tag[1:].split("}")
        properties[NAMESPACES[space] + name] = property.text
    return properties


@pytest.fixture
def phone_photo(four_colors) -> bytes:
    """A JPEG with all the metadata of a phone: location, camera, date, orientation, and a thumbnail."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[0x010F], exif[0x0110], exif[0x0132] = "Maker", "Camera 7", "2024:05:06 07:08:09"
    exif.get_ifd(0x8769)[0x927C] = b"the maker's note"
    exif.get_ifd(GPS).update({1: "N", 2: (48.0, 51.0, 29.0), 3: "E", 4: (2.0, 17.0, 40.0)})
    photo = as_file(four_colors, "JPEG", exif=exif, icc_profile=RGB_PROFILE, comment=b"at home")
    thumbnail = as_file(four_colors.resize((24, 16)), "JPEG")
    iptc = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", 11) + b"\x1c\x02\x5a\0\x06Geneva\0"
    others = b"".join(
        b"\xff" + marker + struct.pack(">H", len(body) + 2) + body
        for marker, body in (
            (b"\xed", iptc),
            (b"\xe2", b"MPF\0" + thumbnail),  # a second picture, as phones put it behind the first
            (b"\xe1", b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x="adobe:ns:meta/">Lake Geneva</x:xmpmeta>'),
        )
    )
    return photo[:2] + others + photo[2:]


@pytest.mark.filterwarnings("ignore:Image appears to be a malformed MPO")  # PIL's
@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".png", ".webp"])
@pytest.mark.parametrize(
    ("mark", "expected"), [(None, EDITED_XMP), (mark_edited, EDITED_XMP), (mark_generated, GENERATED_XMP)]
)
def test_a_saved_photo_is_marked_keeps_its_profile_and_drops_other_metadata(phone_photo, tmp_path, suffix, mark, expected):
    assert b"Camera 7" in phone_photo and b"Geneva" in phone_photo
    photo = load_photo(phone_photo)
    assert not is_marked(phone_photo) and not is_marked(photo)

    path = tmp_path / f"edited{suffix}"
    save_photo(mark(photo) if mark else photo, path)
    data = path.read_bytes()
    assert is_marked(path) and read_xmp(data) == expected
    for trace in (b"Camera 7", b"Maker", b"2024:", b"Geneva", b"at home", b"maker's note", b"MPF"):
        assert trace not in data
    assert data.count(b"JFIF") <= 1  # no thumbnail
    with Image.open(path) as saved:
        assert is_marked(saved)
        assert saved.size == photo.size == (32, 48)  # upright, and without an orientation tag
        assert saved.info["icc_profile"] == RGB_PROFILE
        assert "comment" not in saved.info
        assert dict(saved.getexif()) == {SOFTWARE_TAG: expected["xmp:CreatorTool"]}
        assert not saved.getexif().get_ifd(GPS) and not saved.getexif().get_ifd(0x8769)
    assert np.abs(np.asarray(load_photo(path), int) - np.asarray(photo, int)).mean() < 3


@pytest.mark.parametrize(("mark", "expected"), [(mark_edited, EDITED_XMP), (mark_generated, GENERATED_XMP)])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF"])
def test_pils_own_save_marks_it_too_however_the_format_is_given(four_colors, tmp_path, file_format, mark, expected):
    picture = mark(load_photo(as_file(four_colors, icc_profile=RGB_PROFILE)))
    named = tmp_path / f"a.{file_format.lower()}"
    picture.save(named)
    with open(tmp_path / f"b.{file_format.lower()}", "wb") as file:
        picture.save(file)  # PIL goes by the file's name
    smaller = picture.resize((24, 16)).convert("L").transpose(Image.Transpose.ROTATE_90)
    for data in (named.read_bytes(), (tmp_path / f"b.{file_format.lower()}").read_bytes(),
                 as_file(picture, file_format.lower()), as_file(smaller, file_format)):  # fmt: skip
        assert is_marked(data)
        if file_format == "GIF":
            assert expected["Iptc4xmpExt:DigitalSourceType"].encode() in data
        else:
            assert read_xmp(data) == expected
            assert Image.open(io.BytesIO(data)).getexif()[SOFTWARE_TAG] == expected["xmp:CreatorTool"]


def test_an_edited_picture_is_marked_before_it_is_saved(four_colors):
    picture = mark_edited(four_colors)
    assert is_marked(picture) and is_marked(picture.copy()) and is_marked(picture.crop((0, 0, 20, 20)))
    assert not is_marked(four_colors) and not is_marked(Image.fromarray(np.asarray(picture)))


def test_an_existing_file_stays_unless_it_may_be_replaced(four_colors, tmp_path, monkeypatch):
    path = tmp_path / "photo.png"
    save_photo(four_colors, path, replace=False)
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(FileExistsError):
            save_photo(four_colors.rotate(90), path, replace=False)
        assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]

        def no_links(*_):
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr("os.link", no_links)  # the second time, as on a disk without them
    save_photo(four_colors, tmp_path / "other.png", replace=False)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "other.png", path]


def test_an_unknown_suffix_is_refused_with_the_known_ones(four_colors, tmp_path):
    with pytest.raises(ValueError, match=r"'photo\.gif'.*\.jpg, \.jpeg, \.png, \.webp"):
        save_photo(four_colors, tmp_path / "photo.gif")


def test_a_failed_save_leaves_the_old_file_and_nothing_else(four_colors, tmp_path, monkeypatch):
    path = tmp_path / "photo.png"
    path.write_bytes(b"old")

    def disk_fills_up(self, file, format=None, **options):
        file.write(b"half a pict")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", disk_fills_up)
    with pytest.raises(ExprGANError, match="No space left"):
        save_photo(four_colors, path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_reported(four_colors, tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(ExprGANError, match="Cannot write"):
            save_photo(four_colors, folder / "photo.jpg")

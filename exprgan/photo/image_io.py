"""Reads and writes photos, and converts them to tensors and back: pixel range and layout change nowhere else.

A photo is an upright 8-bit RGB PIL image; a tensor is (3, H, W) in [-1, 1]. All other code takes one of these two.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..atomic_write import atomic_write
from ..errors import BadImageError
from .ai_metadata import EditedImage, has_ai_marker, marker_options
from .colour_profile import apply_gamma, apply_profile, gamma_table, read_gamma
from .decode_limits import (
    MAX_PIXELS,
    MAX_PROFILE_BYTES,
    MIN_SIDE_PX,
    BoundedReader,
    check_piece_counts,
    read_stream,
)

if TYPE_CHECKING:
    from torch import Tensor

Source = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | np.ndarray

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "GIF", "TIFF")
"""Formats that are read: only those that PIL decodes by itself; EPS, for one, it hands to another program. (MPO, the
JPEG of some phones, counts as JPEG.) HEIC is read as well where pillow-heif is installed."""
SUFFIXES = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
"""Formats that are written: suffix -> PIL's name."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in brightness (ITU-R BT.601)."""

_UNKNOWN = "This is not a photo that can be read. Use a JPEG, PNG or WebP file; save HEIC as JPEG first."
_HEIC = "This is a HEIC photo. Save it as JPEG first, or let pillow-heif read it: pip install pillow-heif."
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_ADDRESS = re.compile(r"(data|file|ftp|https?):", re.IGNORECASE)
_DAMAGED = "The photo is damaged or cut off. Send or save it once more and try again."
_TOO_LARGE = f"The photo has more than {MAX_PIXELS // 10**6} megapixels. Make it smaller and try again."


def load_photo(source: Source) -> Image.Image:
    """Reads a photo from a file, bytes, an image or an array, and turns it upright.

    Transparent parts become white, 16 bits become 8; the first frame of an animation is taken. An RGB colour profile
    stays in `info["icc_profile"]`, its colours unconverted, and no other metadata does. CMYK and grey become sRGB, through
    their own profile if they have one, and so does a PNG whose gAMA chunk is the only statement of its colours.

    Args:
        source: a path (also of a pipe), the bytes of a file, an open binary file, which is read from its start, a PIL
            image (its EXIF orientation is applied too), or an array (H, W) or (H, W, 1 | 3 | 4), uint8 or uint16 over
            its full range, in either byte order. A PIL image of mode I has levels 0..65535, or 0..255 if none is
            higher. The source is copied.

    Raises:
        BadImageError: no such file, not an image, damaged, or beyond the limits of `decode_limits`: under 16 px a
            side, over 80 megapixels, a pipe over 640 MB, or of so many segments that reading it would take minutes.
        TypeError: `source` is none of these.
        ValueError: an array of another shape or type, or a file or PIL image that is closed.
    """
    if isinstance(source, np.ndarray):
        return _decode(_from_array(source))
    if isinstance(source, Image.Image):
        return _decode(source)
    with _open_image(source) as image:
        return _decode(image)


def from_bytes(pixels: Tensor) -> Tensor:
    """Converts pixels in 0..255, of any shape and device, to float32 in [-1, 1], the networks' range."""
    return pixels.float() / 127.5 - 1


def to_tensor(image: Image.Image) -> Tensor:
    """Converts an image, which must be RGB, to (3, H, W) float32 in [-1, 1], on the CPU."""
    import torch

    _require_rgb(image)
    return from_bytes(torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous())


def to_image(tensor: Tensor) -> Image.Image:
    """Converts (3, H, W) in [-1, 1] to an RGB image: clipped to the range, rounded to the nearest of 256 levels."""
    if tensor.ndim != 3 or tensor.shape[0] != 3:
        raise ValueError(f"expected a tensor (3, H, W), got {tuple(tensor.shape)}; pass one image at a time")
    levels = (tensor.detach().cpu().float().clamp(-1, 1) + 1) * 127.5
    return Image.fromarray(levels.round().byte().permute(1, 2, 0).contiguous().numpy())


def encode_image(image: Image.Image, file_format: str, **options: Any) -> bytes:
    """Encodes an image as the content of a file; `file_format` and `options` are those of `PIL.Image.Image.save`.

    Written as bytes, it is complete or fails; PIL reports no error where a full disk cuts a JPEG short.
    """
    content = BytesIO()
    image.save(content, format=file_format, **options)
    return content.getvalue()


def save_photo(image: Image.Image, path: str | os.PathLike[str], *, quality: int = 95, replace: bool = True) -> None:
    """Writes an edited photo, marked as edited by AI, or a `GeneratedImage`, marked as generated.

    The marker is EXIF's Software and XMP's DigitalSourceType (see `ai_metadata`). A colour profile in `image.info` is
    kept; all other metadata (location, camera, thumbnail) is dropped. The file is written completely or not at all.

    Args:
        path: ends in .jpg, .jpeg, .png or .webp, which chooses the format.
        quality: 1..100, for JPEG and WebP.
        replace: whether an existing file may be replaced.

    Raises:
        ValueError: another suffix, or `image` is not RGB.
        ExprGANError: the file cannot be written there.
        FileExistsError: it exists already, and `replace` is off.
    """
    path = Path(path)
    file_format = SUFFIXES.get(path.suffix.lower())
    if file_format is None:
        raise ValueError(f"cannot write {path.name!r}: choose a name that ends in {', '.join(SUFFIXES)}")
    _require_rgb(image)
    bare = EditedImage.from_image(image)  # shares the pixels
    bare.info = {}  # PIL writes some of it unasked, such as a JPEG's comment
    options = marker_options(file_format, image) | {"icc_profile": image.info.get("icc_profile"), "quality": quality}
    options["subsampling"] = 0  # a JPEG's colours keep the full resolution: lips are small and red
    with atomic_write(path, replace=replace) as part:
        part.write_bytes(encode_image(bare, file_format, **options))


def is_marked(source: Source) -> bool:
    """Tests whether a picture carries the marker that AI edited or generated it; raises BadImageError if it is none."""
    if isinstance(source, Image.Image):
        return has_ai_marker(source)
    with _open_image(source) as image, _report_bad_image():
        return has_ai_marker(image)


@contextmanager
def _open_image(source: Source) -> Iterator[Image.Image]:
    """Opens the source with decoding limits; closes the file afterwards if it was opened here."""
    with ExitStack() as stack:
        name = "The photo"
        if isinstance(source, (str, os.PathLike)):
            name, file = f"The file {_short_name(source)}", stack.enter_context(_open_file(source))
            if not file.seekable():  # a pipe
                file = BytesIO(read_stream(file))
        elif hasattr(source, "read"):
            file = BytesIO(read_stream(cast(IO[bytes], source)))
        elif isinstance(source, (bytes, bytearray, memoryview)):
            file = BytesIO(source)
        else:
            kinds = "a path, bytes, a binary file, a PIL image or an array"
            raise TypeError(f"cannot read a photo from {type(source).__name__}; pass {kinds}")
        if not file.read(1):
            raise BadImageError(f"{name} is empty: it has no bytes. Send or save it once more.")
        file.seek(0)
        check_piece_counts(file)
        reader = BoundedReader(file)
        with _report_bad_image():
            try:
                image: Image.Image = Image.open(reader, formats=FORMATS)
            except UnidentifiedImageError:
                image = _open_heic(file)
            reader.allow_pixels()
        yield image


def _open_file(path: str | os.PathLike[str]) -> IO[bytes]:
    try:
        return open(path, "rb")
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        name = _short_name(path)
        if _ADDRESS.match(name):
            message = f"{name} is an address, not a file, and none is fetched. Pass a path, or the bytes of the photo."
        elif isinstance(error, FileNotFoundError):
            message = f"There is no file {name}. Check its name and folder."
        elif isinstance(error, IsADirectoryError):
            message = f"{name} is a folder. Name a photo in it."
        else:
            message = f"The file {name} cannot be opened: {getattr(error, 'strerror', None) or error}. Choose another."
        raise BadImageError(message) from error


def _short_name(path: str | os.PathLike[str]) -> str:
    name = os.fsdecode(path)
    return name if len(name) <= 200 else f"{name[:40]}...{name[-40:]}"


def _open_heic(file: IO[bytes]) -> Image.Image:
    """Opens what PIL alone does not identify, if it is HEIC; raises UnidentifiedImageError if it is not."""
    file.seek(0)
    head = file.read(12)
    if head[4:8] != b"ftyp" or head[8:] not in _HEIC_BRANDS:
        raise UnidentifiedImageError
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise BadImageError(_HEIC) from error
    file.seek(0)
    return HeifImageFile(file)


@contextmanager
def _report_bad_image() -> Iterator[None]:
    """Raises a BadImageError for whatever a decoder raises: OSError, SyntaxError, struct.error and more."""
    try:
        yield
    except BadImageError:
        raise
    except UnidentifiedImageError as error:
        raise BadImageError(_UNKNOWN) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImageError(_TOO_LARGE) from error
    except Exception as error:
        raise BadImageError(_DAMAGED) from error


def _decode(image: Image.Image) -> Image.Image:
    """Checks the size, decodes, applies the EXIF orientation and converts to RGB."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadImageError(_TOO_LARGE)
    if min(width, height) < MIN_SIDE_PX:
        raise BadImageError(f"The photo is only {width} x {height} px. Use a larger one.")
    file = getattr(image, "fp", None)
    is_open = file is not None and not getattr(file, "closed", False)  # a decoder closes it
    try:
        image.load()
    except Exception as error:
        if not is_open:
            raise ValueError("the picture is closed; pass it while it is open, or pass its path") from error
        with _report_bad_image():
            raise
    try:
        upright = ImageOps.exif_transpose(image)
    except Exception:  # unreadable EXIF does not make the pixels unreadable
        upright = image.copy()
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or len(profile) > MAX_PROFILE_BYTES:
        profile = b""
    photo = _to_rgb(upright, profile)
    photo.info = {"icc_profile": profile} if profile[16:20] == b"RGB " else {}
    return photo


def _to_rgb(image: Image.Image, profile: bytes) -> Image.Image:
    if image.mode in ("F", "LAB"):
        raise BadImageError(f"The photo's colours are stored as {image.mode}. Save it as 8-bit RGB.")
    gamma, is_grey = read_gamma(image.info), image.mode[0] in "1LI"  # 1, L, LA, La, I, I;16
    if image.mode.startswith("I"):  # I;16 in its byte orders, and 32 bits
        levels = _check_levels(np.asarray(image))
        table = None if gamma is None else gamma_table(gamma, 1 << 8 * levels.itemsize)
        image, gamma = Image.fromarray(_eight_bits(levels) if table is None else table[levels]), None
    elif image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    if profile[16:20] == (b"GRAY" if is_grey else b"CMYK" if image.mode == "CMYK" else None):
        image = apply_profile(image, profile)
    elif gamma is not None:
        image = apply_gamma(image, gamma)
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2 and (array.ndim != 3 or array.shape[2] not in (3, 4)):
        raise ValueError(f"expected an array (H, W) or (H, W, 1 | 3 | 4), got shape {array.shape}")
    if array.dtype.kind != "u" or array.dtype.itemsize > 2:
        raise ValueError(f"expected uint8 (0..255) or uint16 (0..65535), got {array.dtype}; convert it first")
    if array.size == 0:
        raise BadImageError(f"The photo is empty: {array.shape[1]} x {array.shape[0]} px.")
    return Image.fromarray(np.ascontiguousarray(_eight_bits(array)))


def _check_levels(levels: np.ndarray) -> np.ndarray:
    """Returns levels of 16 bits as they are, and those of 32 as uint8 or uint16, whichever holds them."""
    if levels.itemsize == 2:
        return levels
    low, high = levels.min(), levels.max()
    if low < 0 or high > 65535:
        raise BadImageError(f"The photo's levels go from {low} to {high}, not from 0 to 65535. Save it as 8-bit RGB.")
    return levels.astype(np.uint8 if high <= 255 else np.uint16)


def _eight_bits(levels: np.ndarray) -> np.ndarray:
    """Rounds uint16 to uint8, 65535 = 255 * 257; returns uint8 as it is."""
    return levels if levels.itemsize == 1 else ((levels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _require_rgb(image: Image.Image) -> None:
    if image.mode != "RGB":
        raise ValueError(f"expected an RGB image, got mode {image.mode}; read it with load_photo")

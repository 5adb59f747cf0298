"""Reads and writes photos, and converts them to tensors and back: pixel range and layout change nowhere else.

A photo is an upright 8-bit RGB PIL image; a tensor is (3, H, W) in [-1, 1]. All other code takes one of these two.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..atomic_write import atomic_write
from ..errors import BadImageError
from .ai_metadata import has_ai_marker, marker_options
from .decode_limits import MAX_PIXELS, MAX_PROFILE_BYTES, MIN_SIDE_PX, BoundedReader, check_piece_counts

if TYPE_CHECKING:
    from torch import Tensor

Source = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | np.ndarray

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "GIF", "TIFF")
"""Formats that are read: only those that PIL decodes by itself; EPS, for one, it hands to another program. (MPO, the
JPEG of some phones, counts as JPEG.)"""
SUFFIXES = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
"""Formats that are written: suffix -> PIL's name."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in brightness (ITU-R BT.601)."""

_UNKNOWN = "This is not a photo that can be read. Use a JPEG, PNG or WebP file; save HEIC as JPEG first."
_DAMAGED = "The photo is damaged or cut off. Send or save it once more and try again."
_TOO_LARGE = f"The photo has more than {MAX_PIXELS // 10**6} megapixels. Make it smaller and try again."


def load_photo(source: Source) -> Image.Image:
    """Reads a photo from a file, bytes, an image or an array, and turns it upright.

    Transparent parts become white, grey and CMYK become RGB, 16 bits become 8; the first frame of an animation is
    taken. Colours are not converted: an RGB colour profile stays in `info["icc_profile"]`, and no other metadata does.

    Args:
        source: a path, the bytes of a file, an open binary file, a PIL image (its EXIF orientation is applied too), or
            an array (H, W) or (H, W, 1 | 3 | 4), uint8 or uint16 over its full range. It is copied.

    Raises:
        BadImageError: no such file, not an image, damaged, or beyond the limits of `decode_limits`: under 16 px a
            side, over 80 megapixels, or of so many segments that reading it would take minutes.
        TypeError: `source` is none of these.
        ValueError: an array of another shape or type.
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
    bare = image.copy()  # PIL writes some of `info` unasked, such as a JPEG's comment
    bare.info = {}
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
        if isinstance(source, (str, os.PathLike)):
            try:
                file: IO[bytes] = stack.enter_context(open(source, "rb"))
            except FileNotFoundError as error:
                raise BadImageError(f"There is no file {source}. Check its name and folder.") from error
            except IsADirectoryError as error:
                raise BadImageError(f"{source} is a folder. Name a photo in it.") from error
            except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
                raise BadImageError(f"The file {source} cannot be opened: {error}. Choose another.") from error
            if os.fstat(file.fileno()).st_size == 0:
                raise BadImageError(f"The file {source} is empty. Send or save the photo once more.")
        else:
            content = source.read() if hasattr(source, "read") else source
            if not isinstance(content, (bytes, bytearray, memoryview)):
                kinds = "a path, bytes, a binary file, a PIL image or an array"
                raise TypeError(f"cannot read a photo from {type(content).__name__}; pass {kinds}")
            if len(content) == 0:
                raise BadImageError("The photo is empty: it has no bytes. Send or save it once more.")
            file = BytesIO(content)
        check_piece_counts(file)
        reader = BoundedReader(file)
        with _report_bad_image():
            image = Image.open(reader, formats=FORMATS)
            reader.allow_pixels()
        yield image


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
    with _report_bad_image():
        image.load()
    profile = image.info.get("icc_profile")
    try:
        upright = ImageOps.exif_transpose(image)
    except Exception:  # unreadable EXIF does not make the pixels unreadable
        upright = image.copy()
    photo = _to_rgb(upright)
    valid = isinstance(profile, bytes) and profile[16:20] == b"RGB " and len(profile) <= MAX_PROFILE_BYTES
    photo.info = {"icc_profile": profile} if valid else {}
    return photo


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("F", "LAB"):
        raise BadImageError(f"The photo's colours are stored as {image.mode}. Save it as 8-bit RGB.")
    if image.mode.startswith("I"):  # I;16 in its byte orders; older PIL reads 16-bit PNG as I
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    elif image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2 and (array.ndim != 3 or array.shape[2] not in (3, 4)):
        raise ValueError(f"expected an array (H, W) or (H, W, 1 | 3 | 4), got shape {array.shape}")
    if array.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"expected uint8 (0..255) or uint16 (0..65535), got {array.dtype}; convert it first")
    if array.size == 0:
        raise BadImageError(f"The photo is empty: {array.shape[1]} x {array.shape[0]} px.")
    return Image.fromarray(np.ascontiguousarray(array if array.dtype == np.uint8 else _eight_bits(array)))


def _eight_bits(levels: np.ndarray) -> np.ndarray:
    """Rounds 0..65535 to 0..255: 65535 = 255 * 257."""
    return ((levels.clip(0, 65535).astype(np.uint32) + 128) // 257).astype(np.uint8)


def _require_rgb(image: Image.Image) -> None:
    if image.mode != "RGB":
        raise ValueError(f"expected an RGB image, got mode {image.mode}; read it with load_photo")

"""Photos in and out: the only place where pixel range and layout change.

A photo is an upright 8-bit RGB PIL image; a tensor is (3, H, W) in [-1, 1]. Nothing else travels onwards.
"""

from __future__ import annotations

import os
import uuid
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import BadImageError, ExprGANError
from .ai_metadata import EditedImage, mark_edited, encode_image, marker_options, has_ai_marker  # noqa: F401, the first two for those above
from .decode_limits import BoundedReader, check_piece_counts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    Source = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | np.ndarray

MAX_PIXELS = 80_000_000
"""Larger photos are refused before they are decoded: a few bytes can claim to be a picture that fills the
memory. Just below the size at which PIL itself begins to warn."""

MIN_SIDE_PX = 16

MAX_PROFILE_BYTES = 16_000_000
"""A larger colour profile is left out: a JPEG could not hold it."""

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "GIF", "TIFF")
"""What we decode: only what PIL reads by itself. EPS, say, it would hand to another program. (MPO, the
JPEG of some phones, counts as JPEG.)"""

LUMA = (0.299, 0.587, 0.114)
"""What red, green and blue count for in brightness (ITU-R BT.601)."""

SUFFIXES = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
"""What we write: suffix -> PIL's format."""


def load_photo(source: Source) -> Image.Image:
    """Read a photo from wherever it is and turn it upright.

    Transparent parts become white, grey and CMYK become RGB, 16 bits become 8, of an animation the first
    frame is taken. Colours are not converted: an RGB colour profile stays in `info["icc_profile"]`, and no
    other metadata does.

    Args:
        source: a path, the bytes of a file, an open binary file, a PIL image (its EXIF orientation is
            applied too), or an array (H, W) or (H, W, 1 | 3 | 4), uint8 or uint16 over its full range.

    Returns:
        The photo, mode RGB, a copy.

    Raises:
        BadImageError: no such file, not an image, damaged, under 16 px a side, over `MAX_PIXELS`, or of so many tiny
            pieces that reading it would take minutes.
        TypeError: `source` is none of these.
        ValueError: an array of another shape or type.
    """
    if isinstance(source, np.ndarray):
        return _finished(_from_array(source))
    if isinstance(source, Image.Image):
        return _finished(source)
    with _opened(source) as file:
        try:
            image = Image.open(file, formats=FORMATS)
            file.allow_pixels()
        except BadImageError:
            raise
        except UnidentifiedImageError as error:
            raise BadImageError(_UNKNOWN) from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise BadImageError(_too_large()) from error
        except Exception as error:  # a hostile header can make a decoder raise anything
            raise BadImageError(_DAMAGED) from error
        return _finished(image)


def from_bytes(pixels: Tensor) -> Tensor:
    """Pixels of 0..255, of any shape and device -> float32 in [-1, 1], as the networks take them."""
    return pixels.float() / 127.5 - 1


def to_tensor(image: Image.Image) -> Tensor:
    """RGB image -> (3, H, W) float32 in [-1, 1], on the CPU.

    Raises:
        ValueError: `image` is not RGB.
    """
    import torch

    _require_rgb(image)
    return from_bytes(torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous())


def to_image(tensor: Tensor) -> Image.Image:
    """(3, H, W) in [-1, 1] -> RGB image: clipped to the range, rounded to the nearest of 256 levels.

    Raises:
        ValueError: `tensor` has another shape.
    """
    if tensor.ndim != 3 or tensor.shape[0] != 3:
        raise ValueError(f"expected a tensor (3, H, W), got {tuple(tensor.shape)}; pass one image at a time")
    levels = (tensor.detach().cpu().float().clamp(-1, 1) + 1) * 127.5
    return Image.fromarray(levels.round().byte().permute(1, 2, 0).contiguous().numpy())


def save_photo(image: Image.Image, path: str | os.PathLike[str], *, quality: int = 95, replace: bool = True) -> None:
    """Write an edited photo, marked as edited by AI; a `GeneratedImage`, as made by it.

    The mark is EXIF's Software and XMP's DigitalSourceType (see `marking`). A colour profile in `image.info` is
    kept; all else a photo may carry (place, camera, thumbnail) is dropped. The file appears whole or not at all.

    Args:
        image: mode RGB.
        path: ends in .jpg, .jpeg, .png or .webp, which chooses the format.
        quality: 1..100, for JPEG and WebP.
        replace: whether a file that is there already may be replaced.

    Raises:
        ValueError: another suffix, another mode.
        ExprGANError: the file cannot be written there.
        FileExistsError: it is there already, and `replace` is off.
    """
    path = Path(path)
    file_format = SUFFIXES.get(path.suffix.lower())
    if file_format is None:
        raise ValueError(f"cannot write {path.name!r}: choose a name that ends in {', '.join(SUFFIXES)}")
    _require_rgb(image)
    bare = image.copy()  # PIL writes some of `info` unasked, a JPEG's comment for one
    bare.info = {}
    options = marker_options(file_format, image) | {"icc_profile": image.info.get("icc_profile")}
    if file_format == "JPEG":
        options |= {"quality": quality, "subsampling": 0}  # full colour resolution: lips are small and red
    elif file_format == "WEBP":
        options["quality"] = quality
    half_written = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with open(half_written, "xb") as file:
            file.write(encode_image(bare, file_format, **options))
        if replace:
            os.replace(half_written, path)
        else:
            _put_beside(half_written, path)
    except FileExistsError:
        raise
    except (OSError, ValueError) as error:  # ValueError: larger than the format allows
        reason = getattr(error, "strerror", None) or error
        raise ExprGANError(f"Cannot write {path}: {reason}. Choose another folder or name.") from error
    finally:
        with suppress(OSError):  # there is none after success
            half_written.unlink()


def is_marked(source: Source) -> bool:
    """Whether a picture says of itself that AI edited or made it, as those of `save_photo` do.

    Raises:
        BadImageError: `source` is no picture.
    """
    if isinstance(source, Image.Image):
        return has_ai_marker(source)
    with _opened(source) as file:
        try:
            with Image.open(file, formats=FORMATS) as image:
                return has_ai_marker(image)
        except Exception as error:
            raise BadImageError(_UNKNOWN) from error


_UNKNOWN = "This is not a photo that can be read. Use a JPEG, PNG or WebP file; save HEIC as JPEG first."
_DAMAGED = "The photo is damaged or cut off. Send or save it once more and try again."


def _too_large() -> str:
    return f"The photo has more than {MAX_PIXELS // 10**6} megapixels. Make it smaller and try again."


@contextmanager
def _opened(source: str | os.PathLike[str] | bytes | IO[bytes]) -> Iterator[BoundedReader]:
    """The source as an open binary file, looked through for bombs; closed afterwards if we opened it."""
    if isinstance(source, (str, os.PathLike)):
        try:
            file = open(source, "rb")  # noqa: SIM115, closed below
        except FileNotFoundError as error:
            raise BadImageError(f"There is no file {source}. Check its name and folder.") from error
        except IsADirectoryError as error:
            raise BadImageError(f"{source} is a folder. Name a photo in it.") from error
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
            raise BadImageError(f"The file {source} cannot be opened: {error}. Choose another.") from error
        with file:
            if os.fstat(file.fileno()).st_size == 0:
                raise BadImageError(f"The file {source} is empty. Send or save the photo once more.")
            check_piece_counts(file)
            yield BoundedReader(file)
        return
    if hasattr(source, "read"):
        source = source.read()
    if not isinstance(source, (bytes, bytearray, memoryview)):
        kinds = "a path, bytes, a binary file, a PIL image or an array"
        raise TypeError(f"cannot read a photo from {type(source).__name__}; pass {kinds}")
    if len(source) == 0:
        raise BadImageError("The photo is empty: it has no bytes. Send or save it once more.")
    file = BytesIO(source)
    check_piece_counts(file)
    yield BoundedReader(file)


def _finished(image: Image.Image) -> Image.Image:
    """Check the size, then decode, turn upright, and make it RGB."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadImageError(_too_large())
    if min(width, height) < MIN_SIDE_PX:
        raise BadImageError(f"The photo is only {width} x {height} px. Use a larger one.")
    try:
        image.load()
    except BadImageError:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, and more
        raise BadImageError(_DAMAGED) from error
    profile = image.info.get("icc_profile")
    photo = _to_rgb(_upright(image))
    kept = isinstance(profile, bytes) and profile[16:20] == b"RGB " and len(profile) <= MAX_PROFILE_BYTES
    photo.info = {"icc_profile": profile} if kept else {}
    return photo


def _upright(image: Image.Image) -> Image.Image:
    """A copy with the EXIF orientation applied."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # unreadable EXIF says nothing about the picture
        return image.copy()


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("F", "LAB"):
        raise BadImageError(f"The photo's colours are stored as {image.mode}. Save it as 8-bit RGB.")
    if image.mode.startswith("I"):  # I;16 in its byte orders; older PIL reads 16-bit PNG as I
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    elif image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise ValueError(f"expected an array (H, W) or (H, W, 1 | 3 | 4), got shape {array.shape}")
    if array.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"expected uint8 (0..255) or uint16 (0..65535), got {array.dtype}; convert it first")
    if array.size == 0:
        raise BadImageError(f"The photo is empty: {array.shape[1]} x {array.shape[0]} px.")
    return Image.fromarray(np.ascontiguousarray(array if array.dtype == np.uint8 else _eight_bits(array)))


def _eight_bits(levels: np.ndarray) -> np.ndarray:
    """0..65535 -> 0..255: 65535 = 255 * 257."""
    return ((levels.clip(0, 65535).astype(np.uint32) + 128) // 257).astype(np.uint8)


def _put_beside(file: Path, path: Path) -> None:
    """Gives a file its name; one that has the name already stays, and FileExistsError is raised."""
    try:
        os.link(file, path)  # the one step that both makes a name and refuses a taken one
    except FileExistsError:
        raise
    except OSError:  # a disk without links, such as exFAT
        if path.exists():
            raise FileExistsError(path) from None
        os.replace(file, path)


def _require_rgb(image: Image.Image) -> None:
    if image.mode != "RGB":
        raise ValueError(f"expected an RGB image, got mode {image.mode}; read it with load_photo")

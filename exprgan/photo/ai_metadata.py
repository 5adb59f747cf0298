"""What a picture made here says of itself, in its file: that AI edited it, or made all of it.

In XMP: IPTC's DigitalSourceType and AISystemUsed, and CreatorTool; in EXIF: Software. (IPTC's older IIM block has no field
for it.) GIF has room for neither and gets a comment.
"""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from PIL import Image, PngImagePlugin

from ..atomic_write import atomic_write

SOFTWARE = "ExprGAN (expression edited by AI)"
"""The EXIF tag Software, and XMP's CreatorTool, of every edited photo."""
SOFTWARE_MADE = "ExprGAN (picture made by AI)"
"""The same of a person who does not exist."""

SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
DIGITAL_SOURCE = SOURCES + "compositeWithTrainedAlgorithmicMedia"
"""IPTC's word for a photo edited by generative AI, https://cv.iptc.org/newscodes/digitalsourcetype/"""
DIGITAL_SOURCE_MADE = SOURCES + "trainedAlgorithmicMedia"
"""IPTC's word for a picture that was made by a trained model, of no photo in particular."""

_SOFTWARE_TAG, _XMP_TAG = 0x0131, 0x02BC
_PNG_XMP = "XML:com.adobe.xmp"


class EditedImage(Image.Image):
    """A picture that says of itself that AI edited it, also when PIL's own `save` writes it.

    Made by `mark_edited`. What PIL makes of it (a copy, a smaller one) says so too. JPEG, PNG, WebP, AVIF, TIFF and GIF can
    carry the mark; BMP and the like cannot.
    """

    software, digital_source = SOFTWARE, DIGITAL_SOURCE

    def save(self, fp, format=None, **params) -> None:
        """As `PIL.Image.Image.save`, with the mark of `save_photo` unless the same options are given.

        Raises:
            ExprGANError: a file of that name cannot be written; what stood there stands.
        """
        form = format or _format_of(fp)
        if not form or not isinstance(fp, (str, os.PathLike)):
            return super().save(fp, format, **(marker_options(form, self) | params))
        content = encode_image(self, form, **params)
        with atomic_write(Path(fp)) as part:
            part.write_bytes(content)

    def _new(self, core) -> Image.Image:  # through which PIL makes a picture of a picture
        picture = super()._new(core)
        picture.__class__ = type(self)
        return picture


class GeneratedImage(EditedImage):
    """A picture that says of itself that AI made all of it: a person who does not exist. Made by `mark_generated`."""

    software, digital_source = SOFTWARE_MADE, DIGITAL_SOURCE_MADE


def mark_edited(image: Image.Image) -> EditedImage:
    """The same picture as an `EditedImage`, without what the photo's `info` carried but its colour profile."""
    return _as(EditedImage, image)


def mark_generated(image: Image.Image) -> GeneratedImage:
    """The same picture as a `GeneratedImage`."""
    return _as(GeneratedImage, image)


def marker_options(file_format: str, image: Image.Image | None = None) -> dict:
    """PIL's save options that write the mark.

    Args:
        file_format: PIL's name of it; of one that cannot carry a mark the options are empty.
        image: a `GeneratedImage` is marked as made by AI, everything else as edited.
    """
    kind = type(image) if isinstance(image, EditedImage) else EditedImage
    packet, file_format = xmp_packet(kind), file_format.upper()
    if file_format == "TIFF":
        return {"tiffinfo": {_SOFTWARE_TAG: kind.software, _XMP_TAG: packet.encode()}}
    if file_format == "GIF":
        return {"comment": f"{kind.software}; {kind.digital_source}".encode()}
    exif = Image.Exif()
    exif[_SOFTWARE_TAG] = kind.software
    if file_format == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt(_PNG_XMP, packet)
        return {"exif": exif, "pnginfo": text}
    return {"exif": exif, "xmp": packet.encode()} if file_format in ("JPEG", "MPO", "WEBP", "AVIF") else {}


def xmp_packet(kind: type[EditedImage] = EditedImage) -> str:
    """The XMP packet itself, to be written as UTF-8."""
    properties = {
        "Iptc4xmpExt:DigitalSourceType": kind.digital_source,
        "Iptc4xmpExt:AISystemUsed": "ExprGAN",
        "xmp:CreatorTool": kind.software,
    }
    lines = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in properties.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        f'xmlns:xmp="http://ns.adobe.com/xap/1.0/">{lines}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )


def has_ai_marker(image: Image.Image) -> bool:
    """Whether the file that a picture was opened from says that AI edited or made it; one made here does so always."""
    info = image.info
    texts = [info.get(name) for name in ("xmp", _PNG_XMP, "comment")]
    texts.append(getattr(image, "tag_v2", {}).get(_XMP_TAG))
    plain = [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text or "") for text in texts]
    return isinstance(image, EditedImage) or any(
        word in text for text in plain for word in (DIGITAL_SOURCE, DIGITAL_SOURCE_MADE)
    )


def encode_image(image: Image.Image, file_format: str, **options: Any) -> bytes:
    """A picture as the content of a file: PIL itself takes a JPEG for written that a full disk cut short.

    Args:
        image: any picture.
        file_format: PIL's name of it.
        options: as `PIL.Image.Image.save` takes them.
    """
    content = BytesIO()
    image.save(content, format=file_format, **options)
    return content.getvalue()


def _as(kind: type[EditedImage], image: Image.Image) -> EditedImage:
    made = image.copy()
    made.info = {"icc_profile": image.info["icc_profile"]} if "icc_profile" in image.info else {}
    made.__class__ = kind
    return made


def _format_of(fp) -> str:
    """The format that PIL will choose by the file's name; empty where it will say itself that there is none."""
    name = fp if isinstance(fp, (str, os.PathLike)) else getattr(fp, "name", None)
    suffix = Path(name).suffix.lower() if isinstance(name, (str, os.PathLike)) else ""
    return Image.registered_extensions().get(suffix, "")

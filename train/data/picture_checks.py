"""Checks of a training folder's pictures: whether each can be trained on, and whether some are the same picture."""

import hashlib
from collections import defaultdict
from pathlib import Path

from PIL import Image, ImageStat

from exprgan.expressions import canonical

from ..core.train_errors import DataError
from .metadata import METADATA_NAME, Findings

SIDES = ("split", "fold")
"""Columns that divide people into training and test."""

MIN_CONTRAST = 2.0
"""A picture whose grey levels (0..255) have a smaller standard deviation is of one colour, but for noise. In the published
set it is 23.9 or more."""


def open_picture(path: Path) -> Image.Image:
    """Decodes one picture of a training folder, in RGB.

    Raises:
        DataError: it is missing, broken, not square, or of one colour.
    """
    try:
        image = Image.open(path).convert("RGB")
    except FileNotFoundError as error:
        raise DataError(f"{path} cannot be read as a picture: there is no such file") from error
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, and more
        raise DataError(f"{path} cannot be read as a picture: {error}") from error
    if image.width != image.height:
        raise DataError(
            f"{path} is {image.width} x {image.height} px and would be distorted to a square; make aligned crops of the "
            "photos by `python -m train prepare`"
        )
    if ImageStat.Stat(image.convert("L")).stddev[0] < MIN_CONTRAST:
        raise DataError(f"{path} is of one colour and shows no face; delete its row from {METADATA_NAME}")
    return image


def picture_digest(path: Path) -> bytes | DataError:
    """A hash of a picture's pixels; if it cannot be trained on, the error that says why."""
    try:
        return pixel_digest(open_picture(path))
    except DataError as error:
        return error


def pixel_digest(image: Image.Image) -> bytes:
    """A hash of a picture's size and pixels."""
    return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).digest()


def find_copies(
    rows: list[dict[str, str]], digests: dict[str, bytes | DataError], expressions: tuple[str, ...]
) -> Findings:
    """Finds pictures of the same pixels in two splits or folds, or with two expressions or subjects."""
    copies = defaultdict(list)
    for row in {row["file_name"]: row for row in rows}.values():
        if isinstance(digest := digests.get(row["file_name"]), bytes):
            copies[digest].append(row)
    errors: list[str] = []
    warnings: list[str] = []
    for group in (group for group in copies.values() if len(group) > 1):
        differing = {}
        for column in (*SIDES, "expression", "subject"):
            values = dict.fromkeys(_cell(row, column, expressions) for row in group)
            values.pop("", None)
            if len(values) > 1:
                differing[column] = values
        if differing:
            distinct = {tuple(_cell(row, column, expressions) for column in differing): row["file_name"] for row in group}
            names = list(distinct.values())
            more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
            how = " and ".join(f"{column} ({', '.join(map(repr, list(some)[:3]))})" for column, some in differing.items())
            listed = errors if differing.keys() & set(SIDES) else warnings
            listed.append(f"{', '.join(names[:3])}{more} are the same picture, but differ in {how}; keep the right one")
    return Findings(errors, warnings)


def _cell(row: dict[str, str], column: str, expressions: tuple[str, ...]) -> str:
    """A cell without spaces around it; an expression by its canonical name, if it has one."""
    text = (row.get(column) or "").strip()
    try:
        return canonical(text, expressions) if column == "expression" else text
    except ValueError:
        return text

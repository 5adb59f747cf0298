"""Edits of several faces of one photo, and a preview that numbers them.

Each edit is applied to the result of the one before, so that neighbouring faces do not overwrite each other.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor
from numbers import Integral
from typing import cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..photo.ai_metadata import mark_edited
from ..photo.alignment import transform
from ..photo.blending import Box
from ..photo.detection import Face
from ..photo.image_io import Source, load_photo
from .results import EditResult, Subject
from .value import Value

ExpressionMix = str | Mapping[str, float]  # an expression, or a mix of several: {"happy": 0.6, "surprise": 0.4}
EditRequest = ExpressionMix | tuple[ExpressionMix | None, float]
"""An expression or a mix, or a pair of it and its intensity: ("sad", 0.6). None: no expression, for units alone."""
EditRequests = EditRequest | Mapping[int, EditRequest]
"""One request for all faces, or one each for some of them, by index into the list of `find`."""

PATCH_SCALE = 1.8
"""Side of a face patch in sides of the crop: it contains all pixels that an edit changes, and all that they come from."""
LABEL_HEIGHT = 0.22  # height of a number in widths of its face
MIN_LABEL_HEIGHT, MAX_LABEL_HEIGHT = 0.03, 0.08  # its limits in long sides of the photo


@dataclass(frozen=True, eq=False)
class GroupResult(Value):
    """Edits of several faces of one photo. The edited photos are computed on first access and marked as edited by AI.

    Compared, hashed and pickled as its edits are.
    """

    edits: dict[int, EditResult]
    """By index into the list of `find`, from left to right; each as if it were the only one."""

    @cached_property
    def image(self) -> Image.Image:
        """The full photo, at its own resolution, with every edited face in place."""
        return paste_all(list(self.edits.values()))

    @cached_property
    def preview(self) -> Image.Image:
        """The same on a copy of at most 1,024 px."""
        edits = list(self.edits.values())
        small = [dataclasses.replace(edit, subject=edit.subject.preview) for edit in edits]
        return paste_all(small) if len(small) > 1 else edits[0].preview


@dataclass(frozen=True)
class FacePatch:
    """A face with the part of its photo that an edit needs."""

    box: Box  # position of the part in the photo
    subject: Subject  # the face, with the part as its photo

    @classmethod
    def cut_out(cls, subject: Subject) -> "FacePatch":
        """Cuts the patch out of the subject's photo."""
        size, photo = subject.crop.width, subject.photo
        ends = size * (0.5 - PATCH_SCALE / 2), size * (0.5 + PATCH_SCALE / 2)
        corners = transform(subject.photo_from_crop, [(x, y) for x in ends for y in ends])
        left, top = (min(max(0, floor(v)), end - 1) for v, end in zip(corners.min(0), photo.size, strict=True))
        right, bottom = (max(min(ceil(v), end), start + 1)
                         for v, end, start in zip(corners.max(0), photo.size, (left, top), strict=True))  # fmt: skip
        matrix = subject.photo_from_crop - np.array([[0, 0, left], [0, 0, top]])
        box = (left, top, right, bottom)
        return cls(box, dataclasses.replace(subject, photo=photo.crop(box), photo_from_crop=matrix))


def requests_by_face(
    requests: EditRequests | None, intensity: float
) -> dict[int | None, tuple[ExpressionMix | None, float]]:
    """Expressions and intensities by face; the key None stands for all faces. `intensity` is that of requests without one.

    Without requests no face gets an expression.

    Raises:
        ValueError: no request, or indices of faces mixed with names of expressions.
    """
    if not isinstance(requests, Mapping):
        return {None: _with_intensity(requests, intensity)}
    if not requests:
        raise ValueError('requests names no face; pass an expression for all, or one each: {0: "happy", 2: ("sad", 0.6)}')
    by_index: dict = {int(key): request for key, request in requests.items() if isinstance(key, Integral)}
    if not by_index:
        return {None: (cast(ExpressionMix, requests), intensity)}
    if len(by_index) < len(requests):
        raise ValueError(f"requests must name faces or expressions, not both: {', '.join(map(repr, requests))}")
    return {face: _with_intensity(request, intensity) for face, request in sorted(by_index.items())}


def paste_all(edits: Sequence[EditResult]) -> Image.Image:
    """Applies edits of different faces to their photo: RGB, unchanged where no edit reaches. The first edit is on top."""
    if len(edits) == 1:
        return edits[0].image
    parts = [FacePatch.cut_out(edit.subject) for edit in edits]
    local = [dataclasses.replace(edit, subject=part.subject) for edit, part in zip(edits, parts, strict=True)]
    return composite(edits[0].subject.photo, edit_patches([part.box for part in parts], local))


def edit_patches(boxes: Sequence[Box], edits: Sequence[EditResult]) -> list[tuple[Box, Image.Image]]:
    """Applies edits to patches of a photo, the last edit first, each to the result of those before: boxes and pictures."""
    pasted: list[tuple[Box, Image.Image]] = []
    for box, edit in zip(reversed(boxes), reversed(edits), strict=True):
        overlapping = [patch for patch in pasted if _overlap(patch[0], box)]
        if overlapping:
            photo = edit.subject.photo.copy()
            for (left, top, *_), picture in overlapping:
                photo.paste(picture, (left - box[0], top - box[1]))
            edit = dataclasses.replace(edit, subject=dataclasses.replace(edit.subject, photo=photo))
        pasted.append((box, edit.image))
    return pasted


def composite(photo: Image.Image, patches: Iterable[tuple[Box, Image.Image]]) -> Image.Image:
    """A copy of the photo with the patches pasted in order, marked as edited by AI."""
    result = mark_edited(photo)
    for box, patch in patches:
        result.paste(patch, box)
    return result


def draw_numbers(photo: Source, faces: Sequence[Face], first: int = 1, chosen: Iterable[int] = ()) -> Image.Image:
    """A copy of the photo with a frame and a number at every face: upright, RGB.

    Args:
        photo: what the faces were found in, as `ExpressionEditor.find` takes it.
        faces: in the order of their numbers.
        first: the first number.
        chosen: indices, from 0, of faces whose frames have another colour.

    Raises:
        BadImageError: the photo cannot be read.
    """
    chosen, drawn = set(chosen), load_photo(photo).copy()
    pen, long = ImageDraw.Draw(drawn), max(drawn.size)
    line = max(1, round(long / 400))
    for i, face in enumerate(faces):
        height = min(max(LABEL_HEIGHT * face.width, MIN_LABEL_HEIGHT * long), MAX_LABEL_HEIGHT * long)
        paper, ink = ("#0f766e", "white") if i in chosen else ("white", "#1c1917")
        x0, y0, x1, y1 = (round(v) for v in face.box)
        for grow, colour in ((line, "#1c1917"), (0, paper)):  # two colours: one of them contrasts with any photo
            pen.rectangle((x0 - grow, y0 - grow, x1 + grow, y1 + grow), outline=colour, width=line)
        _label(pen, str(first + i), (x0, y0), height, line, paper, ink)
    return drawn


def _label(pen: ImageDraw.ImageDraw, text: str, corner: tuple[int, int], height: float, line: int, paper: str,
           ink: str) -> None:  # fmt: skip
    """Draws a number on a plate above a corner, or below it at the top of the photo."""
    font = ImageFont.load_default(max(8, 0.8 * height))
    width = max(height, pen.textlength(text, font) + 0.4 * height)
    photo_width, photo_height = pen.im.size
    left = min(max(0, corner[0]), max(0, photo_width - 1 - width))
    top = corner[1] - height if corner[1] >= height else corner[1]
    top = min(max(0, top), max(0, photo_height - 1 - height))
    pen.rectangle((left, top, left + width, top + height), fill=paper, outline="#1c1917", width=line)
    pen.text((left + width / 2, top + height / 2), text, fill=ink, font=font, anchor="mm")


def _with_intensity(request: EditRequest | None, intensity: float) -> tuple[ExpressionMix | None, float]:
    if isinstance(request, tuple) and len(request) != 2:
        raise ValueError(f'a request must be an expression, or that and its intensity, ("sad", 0.6), not {request!r}')
    return request if isinstance(request, tuple) else (request, intensity)


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]

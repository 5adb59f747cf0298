"""Several faces of one photo: numbered for somebody to choose from, and edited together.

Each edit goes onto what the one before it left, so that faces beside each other do not undo each other.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..photo.ai_metadata import mark_edited
from ..photo.alignment import Box, transform
from ..photo.detection import Face
from .results import EditResult, Subject

ExpressionMix = str | Mapping[str, float]
"""An expression, or a mix of several: {"happy": 0.6, "surprise": 0.4}."""
EditRequest = ExpressionMix | tuple[ExpressionMix, float]
"""A look, or one and how strong it is to be: ("sad", 0.6)."""
EditRequests = EditRequest | Mapping[int, EditRequest]
"""One for all faces, or one each for some of them, by their places in `find`'s list."""

AROUND = 1.8
"""Side of the part of a photo that an edit needs to see, in sides of the crop: what it changes, and what it moves there."""
LABEL = 0.22
"""A number's height in widths of its face, unless that is too small to read or too large for the photo."""
LABEL_LEAST, LABEL_MOST = 0.03, 0.08
"""Its least and its largest height in long sides of the photo."""


@dataclass(frozen=True)
class GroupResult:
    """Edits of several faces of one photo. The pasted photos are made when asked for, and say that AI edited them."""

    edits: dict[int, EditResult]
    """By the face's place in `find`'s list, the largest first; each as if it were the only one."""

    @cached_property
    def image(self) -> Image.Image:
        """The full photo, at its own resolution, with every edited face in place."""
        return paste_all(list(self.edits.values()))

    @cached_property
    def preview(self) -> Image.Image:
        """The same on a copy of at most 1,024 px."""
        small = [dataclasses.replace(edit, subject=edit.subject.preview) for edit in self.edits.values()]
        return paste_all(small) if len(small) > 1 else next(iter(self.edits.values())).preview


@dataclass(frozen=True)
class FacePatch:
    """A face with as much of its photo as an edit of it needs."""

    box: Box
    """(x0, y0, x1, y1) in whole px of the photo."""
    subject: Subject
    """The face in that part alone."""

    @classmethod
    def of(cls, subject: Subject) -> "FacePatch":
        """The face cut out, with what is around it."""
        size, photo = subject.crop.width, subject.photo
        ends = size * (0.5 - AROUND / 2), size * (0.5 + AROUND / 2)
        corners = transform(subject.photo_from_crop, [(x, y) for x in ends for y in ends])
        left, top = (min(max(0, floor(v)), end - 1) for v, end in zip(corners.min(0), photo.size, strict=True))
        right, bottom = (max(min(ceil(v), end), start + 1)
                         for v, end, start in zip(corners.max(0), photo.size, (left, top), strict=True))  # fmt: skip
        matrix = subject.photo_from_crop - np.array([[0, 0, left], [0, 0, top]])
        box = (left, top, right, bottom)
        return cls(box, dataclasses.replace(subject, photo=photo.crop(box), photo_from_crop=matrix))


def requests_by_face(wishes: EditRequests, intensity: float) -> dict[int | None, tuple[ExpressionMix, float]]:
    """Looks and their strengths by face; {None: ...} is one for all.

    Args:
        wishes: one for all, or by face.
        intensity: of those that say none.

    Raises:
        ValueError: no wish at all, or places of faces mixed with names of expressions.
    """
    if not isinstance(wishes, Mapping):
        return {None: _strong(wishes, intensity)}
    if not wishes:
        raise ValueError('wishes names no face; pass an expression for all, or one each: {0: "happy", 2: ("sad", 0.6)}')
    faces = [isinstance(key, int) for key in wishes]
    if not any(faces):
        return {None: (wishes, intensity)}
    if not all(faces):
        raise ValueError(f"wishes must name faces or expressions, not both: {', '.join(map(repr, wishes))}")
    return {face: _strong(wish, intensity) for face, wish in sorted(wishes.items())}


def paste_all(edits: Sequence[EditResult]) -> Image.Image:
    """Edits of different faces of one photo, all in it.

    Args:
        edits: at least one; their photos are the same. Where two meet, the first lies over the later ones.

    Returns:
        RGB, the size of the photo; where no edit reaches it has the photo's very pixels.
    """
    if len(edits) == 1:
        return edits[0].image
    photo = edits[0].subject.photo
    parts = [FacePatch.of(edit.subject) for edit in edits]
    local = [dataclasses.replace(edit, subject=part.subject) for edit, part in zip(edits, parts, strict=True)]
    return composite(photo, patches([part.box for part in parts], local))


def patches(boxes: Sequence[Box], edits: Sequence[EditResult]) -> list[tuple[Box, Image.Image]]:
    """What to lay over a photo, in this order: the last edit comes first, and the others see what it left.

    Args:
        boxes: of `FacePatch`s, in px of the photo.
        edits: of these parts.
    """
    made: list[tuple[Box, Image.Image]] = []
    for box, edit in zip(reversed(boxes), reversed(edits), strict=True):
        below = [one for one in made if _meet(one[0], box)]
        if below:
            under = edit.subject.photo.copy()
            for (left, top, *_), patch in below:
                under.paste(patch, (left - box[0], top - box[1]))
            edit = dataclasses.replace(edit, subject=dataclasses.replace(edit.subject, photo=under))
        made.append((box, edit.image))
    return made


def composite(photo: Image.Image, patches: Iterable[tuple[Box, Image.Image]]) -> Image.Image:
    """A copy of the photo, with patches on it one after the other."""
    result = mark_edited(photo)
    for box, patch in patches:
        result.paste(patch, box)
    return result


def draw_numbers(photo: Image.Image, faces: Sequence[Face], first: int = 0, chosen: Iterable[int] = ()) -> Image.Image:
    """The photo with a frame and a number at every face.

    Args:
        photo: RGB.
        faces: as `find` gives them.
        first: the number of the first face. 0 makes the numbers places in `find`'s list.
        chosen: places of faces to set off from the others.

    Returns:
        RGB, the size of `photo`: something to look at, not an edited photo.
    """
    chosen, drawn = set(chosen), photo.copy()
    pen, long = ImageDraw.Draw(drawn), max(photo.size)
    line = max(1, round(long / 400))
    for i, face in enumerate(faces):
        height = min(max(LABEL * face.width, LABEL_LEAST * long), LABEL_MOST * long)
        paper, ink = ("#0f766e", "white") if i in chosen else ("white", "#1c1917")
        x0, y0, x1, y1 = (round(v) for v in face.box)
        for grow, colour in ((line, "#1c1917"), (0, paper)):  # two colours: one of them is seen on any photo
            pen.rectangle((x0 - grow, y0 - grow, x1 + grow, y1 + grow), outline=colour, width=line)
        _label(pen, str(first + i), (x0, y0), height, line, paper, ink)
    return drawn


def _label(pen: ImageDraw.ImageDraw, text: str, corner: tuple[int, int], height: float, line: int, paper: str,
           ink: str) -> None:  # fmt: skip
    """A number on a plate above a corner, or below it where the photo ends."""
    font = ImageFont.load_default(max(8, 0.8 * height))
    width = max(height, pen.textlength(text, font) + 0.4 * height)
    photo_width, photo_height = pen.im.size
    left = min(max(0, corner[0]), max(0, photo_width - 1 - width))
    top = corner[1] - height if corner[1] >= height else corner[1]
    top = min(max(0, top), max(0, photo_height - 1 - height))
    pen.rectangle((left, top, left + width, top + height), fill=paper, outline="#1c1917", width=line)
    pen.text((left + width / 2, top + height / 2), text, fill=ink, font=font, anchor="mm")


def _strong(wish: EditRequest, intensity: float) -> tuple[ExpressionMix, float]:
    return wish if isinstance(wish, tuple) else (wish, intensity)


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]

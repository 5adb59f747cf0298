"""The words of the page: names of expressions, styles and methods, sentences on readings and faces, names of files."""

import re
from collections.abc import Mapping
from math import dist
from typing import Any

from ..editing.dials import split_side
from ..editing.results import MIN_CERTAINTY, Reading, Subject
from ..expressions import NEUTRAL
from ..photo.alignment import crop_from_photo, transform
from ..photo.detection import Face

ADJECTIVES = {"disgust": "disgusted", "fear": "afraid", "surprise": "surprised"}
"""How an expression is called in a sentence, where its name is no adjective."""
OPENINGS = ("least", "less", "middle", "more", "most")
"""The five styles of the bundled weights: how far the mouth opens."""
METHODS = {"detail": "Keep all detail of the photo", "tuned": "Keep it, after fitting to this face (some seconds)",
           "model": "Draw the face anew, 128 pixels wide"}  # fmt: skip
"""Fidelity -> what it does."""

AS_IT_IS = "As it is"
"""The face without an expression, apart from what is fine-tuned."""
DIAL_WORDS = {
    "lids": "Eyelids: closed to wide", "squint": "Squint", "brows_inner": "Inner brows up",
    "brows_outer": "Outer brows up", "brows_lower": "Brows down", "cheeks": "Cheeks up", "nose": "Nose wrinkled",
    "smile": "Smile", "frown": "Mouth corners down", "lips_apart": "Lips apart", "jaw": "Mouth open",
    "stretch": "Mouth wide", "pucker": "Lips puckered", "press": "Lips pressed",
}  # fmt: skip
"""Dial -> its label."""
UNCHANGED = "This is your photo, unchanged."
DRAWN = "This is the network's own drawing, 128 pixels wide, as in the paper; the other methods keep the photo's pixels."
MAX_TURN = 0.2
"""How far the nose may lie beside the middle of the eyes, in eye distances; 0.05 in the example photos."""
MIN_WIDTH_PX = 60
"""The width of the smallest face that is edited without a remark."""
MAX_NAME, MAX_NAME_BYTES = 60, 90
"""The longest part of a photo's name, in characters and in bytes, that a result's name repeats. A file's name has at most
255 bytes, and some results repeat the names of two photos."""


def adjective(expression: str) -> str:
    """The expression as a word of a sentence: "afraid" for "fear"."""
    return ADJECTIVES.get(expression, expression.replace("_", " "))


def title(expression: str) -> str:
    """The expression as a label: "Afraid" for "fear"."""
    return adjective(expression).capitalize()


def style_choices(count: int) -> list[tuple[str, int]]:
    """(label, value) of the styles: 0 is all together, others count from 1."""
    words = (
        [word.capitalize() for word in OPENINGS] if count == len(OPENINGS) else [f"Variant {n + 1}" for n in range(count)]
    )
    return [("As usual", 0), *((word, n) for n, word in enumerate(words, 1))]


def style_label(count: int) -> str:
    """What the styles vary."""
    return "How far the mouth opens" if count == len(OPENINGS) else "Variant of the expression"


def describe(reading: Reading, subject: str = "The face") -> str:
    """A sentence on the expression; a certainty is no number here, as it was measured on the renderer's pictures only."""
    perhaps = "" if reading.certainties[reading.expression] >= MIN_CERTAINTY else "perhaps "
    return f"{subject} reads as {perhaps}**{adjective(reading.expression)}**."


def face_notes(face: Face | None) -> list[str]:
    """Sentences on what may go wrong with a face in a full-size photo; none for one that is seen well."""
    if face is None:
        return []
    left, right, nose, *_ = transform(crop_from_photo(face.landmarks, 1), face.landmarks)
    notes = [face.warning] if face.warning else []
    if abs(nose[0] - (left[0] + right[0]) / 2) > MAX_TURN * dist(left, right):
        notes.append("This face is turned to the side: the mouth and the far cheek may come out bent.")
    if (width := face.width) < MIN_WIDTH_PX:
        notes.append(f"This face is only {width:.0f} pixels wide: the change will be soft.")
    return notes


def subject_notes(subject: Subject) -> list[str]:
    """`face_notes`, and a sentence on a mouth that is covered."""
    covered = subject.mouth is not None and subject.mouth.is_covered
    return face_notes(subject.face) + (["The mouth is covered or cannot be made out: only eyes and brows "
                                                     "will change."] if covered else [])  # fmt: skip


def chips(settings: Mapping[str, Any], num_styles: int, scope: str, num_others: int) -> list[tuple[str, str]]:
    """(setting, words) of all that is set beyond expression and intensity."""
    found = []
    if settings["second"] and settings["second"] != settings["expression"]:
        found.append(("second", f"mixed with {adjective(settings['second'])}, {settings['part']:.0%}"))
    if settings["style"]:
        word = dict((value, label) for label, value in style_choices(num_styles)).get(settings["style"], "")
        found.append(("style", f"mouth open: {word.lower()}" if num_styles == len(OPENINGS) else word.lower()))
    if moved := [name for name, value in settings["units"].items() if value]:
        words = dict.fromkeys(DIAL_WORDS[split_side(name)[0]].partition(":")[0].lower() for name in moved)
        found.append(("units", f"fine-tuned: {', '.join(words) if len(words) < 3 else f'{len(words)} parts'}"))
    if settings["fidelity"] != "detail":
        found.append(("fidelity", {"tuned": "fitted to this face", "model": "the network's drawing"}[settings["fidelity"]]))
    if scope == "all":
        found.append(("scope", "all faces the same"))
    if scope == "each":
        found.append(("scope", f"faces separately ({num_others + 1} changed)"))
    return found


def result_name(photo: str, settings: Mapping[str, Any], count: int = 1) -> str:
    """The name of a result without suffix, such as me-happy-80, or us-3-faces-happy-80."""
    words = []
    if settings["intensity"] and settings["expression"]:
        words.append(settings["expression"])
        if settings["second"] and settings["second"] != settings["expression"]:
            words.append(settings["second"])
        if settings["expression"] != NEUTRAL:
            words.append(f"{100 * settings['intensity']:.0f}")
    if any(settings["units"].values()):
        words.append("adjusted")
    words = words or ["unchanged"]
    faces = [f"{count}-faces"] if count > 1 else []
    return "-".join([short_name(photo), *faces, *words])


def short_name(path: str) -> str:
    """The name of a file without suffix and without what a file system may refuse, at most `MAX_NAME` characters."""
    stem = re.split(r"[\\/]", path)[-1].rpartition(".")[0]
    name = re.sub(r"[^\w\- ]+", "_", stem)[:MAX_NAME].encode()[:MAX_NAME_BYTES]
    return name.decode(errors="ignore").strip() or "photo"

"""Frames of a film in which one person gets another expression."""

from functools import partial

import numpy as np
from PIL import Image

from .clip_reader import Frame
from .face_tracker import FaceTracker
from .frame_editor import ExpressionReader, FrameEditor
from .keyframes import AimOverTime


class EditPainter:
    """Follows one person and edits her or his face; frames without it stay as they are.

    Args:
        aim_at: what the face is to show.
        face: as in `FaceTracker`.
    """

    def __init__(self, editor: ExpressionReader, aim_at: AimOverTime, face: int | None = None):
        self._editor, self._aim_at = FrameEditor(editor), aim_at
        self._tracker = FaceTracker(self._editor.encode, face)
        self._has_begun = self._had_face = False

    def paint(self, frame: Frame) -> tuple[Image.Image, bool]:
        """The frame with the face edited, and whether it was found."""
        track, is_cut = self._tracker.update(frame.image, frame.time)
        begins, appears = is_cut or not self._has_begun, track is not None and not self._had_face
        self._has_begun, self._had_face = True, track is not None
        if begins or appears:
            self._editor.reset()
            if not begins:
                self._editor.appear()
        if track is None:
            return frame.image, False
        return self._editor.edit(frame.image, track, partial(self._aim_at, frame.time), frame.time), not track.is_held

    def state(self) -> dict[str, np.ndarray]:
        """All that the next `paint` depends on, as arrays by name."""
        parts = {"tracker": self._tracker.state(), "editor": self._editor.state()}
        state = {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}
        return state | {"had_face": np.array(self._had_face)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continues from a `state`."""
        self._has_begun, self._had_face = True, bool(state["had_face"])
        self._tracker.restore(part_of(state, "tracker"))
        self._editor.restore(part_of(state, "editor"))


def part_of(state: dict[str, np.ndarray], part: str) -> dict[str, np.ndarray]:
    """The arrays of one part of a state, by their names in it."""
    prefix = f"{part}."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

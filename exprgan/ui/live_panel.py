"""The Live tab: its handler. Frames of the visitor's camera come one at a time, and none is stored."""

import base64
import binascii
import time
from typing import Any

from ..editor import ExpressionEditor
from ..errors import BadImageError
from ..expressions import NEUTRAL
from ..photo.ai_metadata import mark_edited
from ..photo.image_io import encode_image, load_photo
from ..video.clip_reader import Frame
from ..video.edit_painter import EditPainter
from ..video.keyframes import aim_over_time

PREFIX = "data:image/jpeg;base64,"
MAX_SIDE_PX = 640
"""The longer side of the largest frame that is taken; the page sends 480 px."""
PAUSE_S = 10.0
"""After a longer pause between two frames the face is searched for anew."""
NO_FRAME = "The picture of the camera did not arrive. Start the camera again."
NOT_SEEN = "No face is seen. Look into the camera, with light from the front."


class LiveFace:
    """The visitor's face between two frames."""

    def __init__(self, editor: ExpressionEditor):
        self.aim = aim_over_time(editor.model, NEUTRAL)
        self.start = self.last = time.monotonic()
        self.painter = EditPainter(editor, lambda time, reading: self.aim(time, reading))


def edit_live(editor: ExpressionEditor, frame: str | None, expression: str, intensity: float,
              face: LiveFace | None) -> tuple[dict[str, Any], LiveFace]:  # fmt: skip
    """Gives the face in a frame of the camera another expression.

    Args:
        frame: a JPEG as a data: URL, at most 640 px.
        expression: target expression.
        intensity: 0 to 1.
        face: what the last frame left behind.

    Returns:
        The picture, as a data: URL, and a sentence if no face is seen; and what the next frame needs.
    """
    if not frame or not frame.startswith(PREFIX):
        raise BadImageError(NO_FRAME)
    try:
        photo = load_photo(base64.b64decode(frame[len(PREFIX) :], validate=True))
    except binascii.Error as error:
        raise BadImageError(NO_FRAME) from error
    if max(photo.size) > MAX_SIDE_PX:
        raise BadImageError(f"The picture of the camera has {max(photo.size)} px; at most {MAX_SIDE_PX} are taken.")
    now = time.monotonic()
    if face is None or now - face.last > PAUSE_S:
        face = LiveFace(editor)
    face.last = now
    face.aim = aim_over_time(editor.model, expression, 1.0 if intensity is None else intensity)
    picture, is_edited = face.painter.paint(Frame(photo, 0, 0, now - face.start))
    data = encode_image(mark_edited(picture), "JPEG", quality=85)
    return {"picture": PREFIX + base64.b64encode(data).decode(), "note": "" if is_edited else NOT_SEEN}, face

"""The direction of gaze, and how far it moves the irises in the image."""

from dataclasses import dataclass
from random import Random

import numpy as np

from ..face_model.canonical_frame import EYE_DISTANCE_PX

EYEBALL_RADIUS_PX = EYE_DISTANCE_PX * 12 / 63  # the eyeball's radius is about 12 mm where pupils lie 63 mm apart
MAX_DEG = 15.0  # beyond it people turn the head
SAMPLED_RANGE_DEG = (15.0, 12.0)  # yaw, pitch
UPPER_LID_FOLLOWS, LOWER_LID_FOLLOWS = 0.6, 0.25  # of the vertical motion of the iris


@dataclass(frozen=True)
class Gaze:
    """The gaze relative to that in the photo.

    Attributes:
        yaw_deg: to the subject's left, the right of the image; in -15..15.
        pitch_deg: up; in -15..15.

    Raises:
        ValueError: an angle is beyond 15 degrees.
    """

    yaw_deg: float = 0.0
    pitch_deg: float = 0.0

    def __post_init__(self):
        for name in ("yaw_deg", "pitch_deg"):
            if not abs(angle := getattr(self, name)) <= MAX_DEG:
                raise ValueError(f"a gaze with {name} {angle} cannot be rendered; choose -{MAX_DEG:g} to {MAX_DEG:g}")

    @classmethod
    def sample(cls, generator: Random) -> "Gaze":
        """Samples a gaze up to 15 degrees sideways and 12 up or down; half of the angles are below a quarter of that."""
        sides = [generator.uniform(-1, 1) for _ in SAMPLED_RANGE_DEG]
        return cls(*(round(high * side * abs(side), 3) for high, side in zip(SAMPLED_RANGE_DEG, sides, strict=True)))

    @property
    def direction(self) -> np.ndarray:
        """(2,): the tangent-plane components of the unit vector of gaze, x to the right and y down the image."""
        yaw, pitch = np.radians([self.yaw_deg, self.pitch_deg])
        return np.array([np.sin(yaw) * np.cos(pitch), -np.sin(pitch)])

    @property
    def shift_px(self) -> np.ndarray:
        """(2,): how far the centre of an iris moves, patch px."""
        return EYEBALL_RADIUS_PX * self.direction

    @property
    def lid_shift_px(self) -> tuple[float, float]:
        """How far the middles of the upper and the lower lid follow, px down the image."""
        down = float(self.shift_px[1])
        return UPPER_LID_FOLLOWS * down, LOWER_LID_FOLLOWS * down

"""The conditions of a picture other than the expression: head pose, gaze and light."""

import json
from dataclasses import asdict, dataclass, field
from random import Random

import numpy as np

from .head_pose import HeadPose
from .shading.gaze import Gaze
from .shading.scene_light import Light

POSE_SHARE, GAZE_SHARE, LIGHT_SHARE = 0.75, 0.5, 0.6  # of varied pictures; the other ones keep that of the photo


@dataclass(frozen=True)
class Scene:
    """Head pose, gaze and light of a picture; the defaults are those of the photo."""

    pose: HeadPose = field(default=HeadPose())
    gaze: Gaze = field(default=Gaze())
    light: Light = field(default=Light())

    @classmethod
    def sample(cls, generator: Random) -> "Scene":
        """Draws a scene."""
        # all is drawn in any case, so that one choice does not change the others
        shares = [generator.random() for _ in range(3)]
        pose, gaze, light = HeadPose.sample(generator), Gaze.sample(generator), Light.sample(generator)
        return cls(
            HeadPose() if shares[0] >= POSE_SHARE else pose,
            Gaze() if shares[1] >= GAZE_SHARE else gaze,
            Light() if shares[2] >= LIGHT_SHARE else light,
        )

    def to_columns(self) -> dict[str, str]:
        """Returns the columns of metadata.csv: yaw and pitch in degrees, gaze and light as JSON, each empty by default."""
        return {
            "yaw": f"{self.pose.yaw_deg:.1f}" if self.pose.yaw_deg else "",
            "pitch": f"{self.pose.pitch_deg:.1f}" if self.pose.pitch_deg else "",
            "gaze": _to_json(self.gaze) if self.gaze != Gaze() else "",
            "light": _to_json(self.light) if self.light != Light() else "",
        }


def _to_json(value: Gaze | Light) -> str:
    rounded = {name: np.round(item, 3).tolist() for name, item in asdict(value).items()}
    return json.dumps(rounded, separators=(",", ":"))

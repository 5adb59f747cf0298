"""Where pictures come from. Everything ends in one format: a folder of images with metadata.csv (see `folder`)."""

from .face_folder import FaceFolder
from .transforms import augment

__all__ = ["FaceFolder", "augment"]

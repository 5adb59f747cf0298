"""Where pictures come from. Everything ends in one format: a folder of images with metadata.csv (see `folder`)."""

from .augment import augment
from .folder import FaceFolder

__all__ = ["FaceFolder", "augment"]

"""Training data. Every source ends in one format: a folder of pictures with metadata.csv (see `face_folder`)."""

from .face_folder import FaceFolder

__all__ = ["FaceFolder"]

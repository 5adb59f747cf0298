"""Converts colours to sRGB as a viewer does: through an ICC profile, or from the gamma of a PNG."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageCms

SRGB_GAMMA, GAMMA_TOLERANCE = 1 / 2.2, 0.05
"""The gamma that PNG writers give sRGB, and the relative difference up to which libpng leaves levels as they are."""
GAMMA_RANGE = 0.00016, 6250
"""Values that libpng accepts."""


def apply_profile(image: Image.Image, profile: bytes) -> Image.Image:
    """Converts CMYK, or grey (L or RGBA of equal channels), to sRGB with perceptual intent; alpha is kept.

    A damaged profile is ignored, as by viewers: the image is returned as it is. So is a profile of multiprocess elements,
    which printers' profiles do without: one of 260 kB can take minutes to evaluate.
    """
    if b"mpet" in profile:
        return image
    colours = image if image.mode == "CMYK" else image.getchannel(0).convert("L")
    try:
        converted = ImageCms.profileToProfile(colours, ImageCms.ImageCmsProfile(BytesIO(profile)),
                                              ImageCms.createProfile("sRGB"), outputMode="RGB")  # fmt: skip
    except (ImageCms.PyCMSError, OSError):
        return image
    assert converted is not None
    if image.mode == "RGBA":
        converted.putalpha(image.getchannel("A"))
    return converted


def in_srgb(photo: Image.Image) -> Image.Image:
    """An RGB photo converted from its colour profile, if it has a valid one, to sRGB: for videos and sheets."""
    profile = photo.info.get("icc_profile")
    result = photo.copy()
    if profile and b"mpet" not in profile:  # as in `apply_profile`
        with suppress(ImageCms.PyCMSError, OSError):  # an unreadable profile is ignored
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            result = ImageCms.profileToProfile(photo, source, ImageCms.createProfile("sRGB")) or result
    result.info = {}
    return result


def read_gamma(info: Mapping[str | tuple[int, int], Any]) -> float | None:
    """Returns the gamma of a PNG's gAMA chunk; None if it is sRGB's, or if a colour profile or sRGB chunk overrides it."""
    gamma = info.get("gamma")
    if info.get("icc_profile") or "srgb" in info or not isinstance(gamma, float):
        return None
    valid = GAMMA_RANGE[0] <= gamma <= GAMMA_RANGE[1] and abs(gamma / SRGB_GAMMA - 1) > GAMMA_TOLERANCE
    return gamma if valid else None


def gamma_table(gamma: float, count: int) -> np.ndarray:
    """Computes sRGB's levels, (count,) uint8, of the levels 0..count-1 that are light to the power of `gamma`."""
    light = np.linspace(0, 1, count) ** (1 / gamma)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)  # IEC 61966-2-1
    return np.rint(255 * encoded).astype(np.uint8)


def apply_gamma(image: Image.Image, gamma: float) -> Image.Image:
    """Converts an image of any 8-bit mode from a gamma to sRGB; returns RGB, or RGBA, whose alpha is kept."""
    image = image if image.mode == "RGBA" else image.convert("RGB")
    table = gamma_table(gamma, 256).tolist() * 3
    return image.point(table + list(range(256)) if image.mode == "RGBA" else table)

"""What can go wrong outside the program. A wrong argument is a ValueError; everything here says what to do about it."""


class ExprGANError(Exception):
    """Base of every error whose message may be shown to a visitor as it stands: what is wrong, and what to do."""


class BadImageError(ExprGANError):
    """The photo cannot be read: not an image, cut off, or too large."""


class NoFaceError(ExprGANError):
    """No face was found in the photo, or not the one asked for."""


class WeightsError(ExprGANError):
    """A model folder or repository is missing, damaged, or of another format."""

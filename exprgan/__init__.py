"""ExprGAN: edits the expression of a face in a photo, and how strong it is."""

from .controller import Controller
from .editor import ExpressionEditor
from .errors import BadImageError, ExprGANError, NoFaceError, WeightsError
from .expressions import EXPRESSIONS, NEUTRAL
from .faces import Face
from .model import ExprGAN, ExprGANConfig
from .retrieval import Match
from .subject import EditResult, Reading, Subject

__all__ = [
    "EXPRESSIONS",
    "NEUTRAL",
    "BadImageError",
    "Controller",
    "EditResult",
    "ExprGAN",
    "ExprGANConfig",
    "ExprGANError",
    "ExpressionEditor",
    "Face",
    "Match",
    "NoFaceError",
    "Reading",
    "Subject",
    "WeightsError",
]
__version__ = "0.1.0"

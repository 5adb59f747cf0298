"""ExprGAN: edits the expression of a face in a photo, and how strong it is."""

from .animation import Animation
from .batch import Report, edit_folder
from .controller import Controller
from .editor import ExpressionEditor
from .errors import BadImageError, ExprGANError, NoFaceError, WeightsError
from .export import export_onnx
from .expressions import EXPRESSIONS, NEUTRAL
from .faces import Face
from .group import GroupResult, draw_numbers
from .model import ExprGAN, ExprGANConfig
from .retrieval import Match
from .subject import EditResult, Reading, Subject

__all__ = [
    "EXPRESSIONS",
    "NEUTRAL",
    "Animation",
    "BadImageError",
    "Controller",
    "EditResult",
    "ExprGAN",
    "ExprGANConfig",
    "ExprGANError",
    "ExpressionEditor",
    "Face",
    "GroupResult",
    "Match",
    "NoFaceError",
    "Reading",
    "Report",
    "Subject",
    "WeightsError",
    "draw_numbers",
    "edit_folder",
    "export_onnx",
]
__version__ = "0.1.0"

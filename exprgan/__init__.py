"""ExprGAN: edits the expression of a face in a photo, and how strong it is."""

from .batch.folder import Report, edit_folder
from .editing.animation import Animation
from .editing.multi_face import GroupResult, draw_numbers
from .editing.results import EditResult, Reading, Subject
from .editing.retrieval import Match
from .editor import ExpressionEditor
from .errors import BadImageError, ExprGANError, NoFaceError, WeightsError
from .expressions import EXPRESSIONS, NEUTRAL
from .models.controller import Controller
from .models.exprgan import ExprGAN, ExprGANConfig
from .models.onnx_export import export_onnx
from .photo.detection import Face

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

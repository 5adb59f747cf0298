"""ExprGAN: edits the expression of a face in a photo, with controllable intensity (AAAI 2018, in PyTorch).

Example:
    from exprgan import ExprGAN, ExpressionEditor

    editor = ExpressionEditor(ExprGAN.from_pretrained("weights"))  # a folder, or "org/name" on the Hub
    subject = editor.read("me.jpg")                                # finds, aligns and reads the largest face
    result = editor.edit(subject, "happy", intensity=0.8)
    result.image.save("me-happy.png")                              # the whole photo, marked as edited by AI

Editing photos:
    ExpressionEditor   all edits of one model: find, read, edit, edit_many, transfer, animate, edit_video, drive, ...
    Look               what a face is to show, saved as a small JSON file: expression, intensity, style and units
    edit_folder        edits all photos of a folder in several processes; a stopped run can be continued
    draw_numbers       draws a frame and a number at every face of a photo
    is_marked          whether a file or picture says in its metadata that AI made or edited it

What the edits return:
    Subject            a face that was found, aligned and read; every edit takes it in place of a photo
    Face               where a face is in a photo: box, five landmarks, score
    Reading            which expression the classifier reads, and how certainly
    EditResult         an edited face; `.image` is the whole photo, `.preview` a small copy
    GroupResult        edits of several faces of one photo
    FilmResult         what became of a film: frames, how many were edited, seconds
    Animation          the frames of an animated edit, computed on demand; `.save` writes MP4, GIF or WebP
    Match              a picture found by `ExpressionEditor.retrieve`, and its distance
    Report             the outcome of `edit_folder`

The model:
    ExprGAN            the networks; `from_pretrained`, `save_pretrained` and `push_to_hub` as in huggingface_hub
    ExprGANConfig      sizes and names that define a model (config.json)
    Controller         expression and intensity -> expression code c
    export_onnx        writes the networks as ONNX files
    EXPRESSIONS        the six expressions of the paper
    NEUTRAL            the name of intensity 0

Errors:
    ExprGANError       base of all; its message tells the user what to do
    BadImageError      a photo that cannot be read
    BadVideoError      a film that cannot be read
    NoFaceError        no face in the photo, or not as many as asked for
    WeightsError       a model that cannot be loaded

Subpackages: `models` (networks, weights, ONNX), `photo` (reading, face detection, alignment, writing), `editing` (what
`editor` is made of), `video` (films), `batch` (folders), `ui` (the web page; needs the extra `app`), `cli` (the commands of
`exprgan`).
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "EXPRESSIONS", "NEUTRAL", "Animation", "BadImageError", "BadVideoError", "Controller", "EditResult", "ExprGAN",
    "ExprGANConfig", "ExprGANError", "ExpressionEditor", "Face", "FilmResult", "GroupResult", "Look", "Match",
    "NoFaceError", "Reading", "Report", "Subject", "WeightsError", "draw_numbers", "edit_folder", "export_onnx",
    "is_marked",
]  # fmt: skip

if TYPE_CHECKING:
    from .batch.folder import Report, edit_folder
    from .editing.animation import Animation
    from .editing.look import Look
    from .editing.multi_face import GroupResult, draw_numbers
    from .editing.results import EditResult, Reading, Subject
    from .editing.retrieval import Match
    from .editor import ExpressionEditor
    from .errors import BadImageError, BadVideoError, ExprGANError, NoFaceError, WeightsError
    from .export.onnx_files import export_onnx
    from .expressions import EXPRESSIONS, NEUTRAL
    from .models.controller import Controller
    from .models.exprgan import ExprGAN, ExprGANConfig
    from .photo.detection import Face
    from .photo.image_io import is_marked
    from .video.film import FilmResult
else:
    # A public name is imported when it is used (PEP 562), so that `import exprgan` does not load torch. `dir` does not list
    # the names: pydoc documents in full all that is in both `dir` and `__all__`, and help(exprgan) would be 3,500 lines.
    _EXPORTS = {
        "batch.folder": "Report edit_folder",
        "editing.animation": "Animation",
        "editing.look": "Look",
        "editing.multi_face": "GroupResult draw_numbers",
        "editing.results": "EditResult Reading Subject",
        "editing.retrieval": "Match",
        "editor": "ExpressionEditor",
        "errors": "BadImageError BadVideoError ExprGANError NoFaceError WeightsError",
        "expressions": "EXPRESSIONS NEUTRAL",
        "models.controller": "Controller",
        "models.exprgan": "ExprGAN ExprGANConfig",
        "export.onnx_files": "export_onnx",
        "photo.detection": "Face",
        "photo.image_io": "is_marked",
        "video.film": "FilmResult",
    }
    _MODULES = {name: module for module, names in _EXPORTS.items() for name in names.split()}

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)

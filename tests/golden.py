"""The pictures that the bundled weights make of fixed faces with a fixed code. `python tests/golden.py` writes them."""

from pathlib import Path

import torch
from PIL import Image

from exprgan import EditResult, ExpressionEditor, ExprGAN, Subject

HERE = Path(__file__).parent
GOLDEN = HERE / "data" / "golden.png"
"""The decoder's picture."""
GOLDEN_PHOTO = HERE / "data" / "golden-photo.png"
"""A whole edited photo: found, aligned, encoded, moved, pasted."""


def golden_picture(editor: ExpressionEditor) -> Image.Image:
    """The first neutral test face, happy by a code that no calibration changes: the decoder's picture."""
    return _happy(editor, editor.read_crop(min((HERE / "data" / "faces" / "test").glob("*/neutral*.jpg")))).crop


def golden_photo(editor: ExpressionEditor) -> Image.Image:
    """A portrait of 300 px that lies on its side, as its EXIF says, happy by the same code."""
    exif, portrait = Image.Exif(), Image.open(HERE / "data" / "portrait2.jpg").resize((300, 300), Image.Resampling.BOX)
    exif[0x0112] = 6
    lying = portrait.transpose(Image.Transpose.ROTATE_90)
    lying.info = {"exif": exif.tobytes()}
    return _happy(editor, editor.read(lying)).image


def _happy(editor: ExpressionEditor, subject: Subject) -> EditResult:
    code = torch.full((len(editor.model.config.expressions), editor.model.config.code_dim_each), -1.0)
    code[editor.model.config.expressions.index("happy")] = 0.8
    return editor.decode(subject, code.flatten())


if __name__ == "__main__":
    editor = ExpressionEditor(ExprGAN.from_pretrained(HERE.parent / "weights"))
    for path, made in ((GOLDEN, golden_picture(editor)), (GOLDEN_PHOTO, golden_photo(editor))):
        made.save(path)
        print(path)

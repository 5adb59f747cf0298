"""The picture that the bundled weights make of a fixed face with a fixed code. `python tests/golden.py` writes it anew."""

from pathlib import Path

import torch
from PIL import Image

from exprgan import ExpressionEditor, ExprGAN

HERE = Path(__file__).parent
GOLDEN = HERE / "data" / "golden.png"


def golden_picture(editor: ExpressionEditor) -> Image.Image:
    """The first neutral test face, happy by a code that no calibration changes: the decoder's picture."""
    subject = editor.read_crop(min((HERE / "data" / "faces" / "test").glob("*/neutral*.jpg")))
    code = torch.full((len(editor.model.config.expressions), editor.model.config.code_dim_each), -1.0)
    code[editor.model.config.expressions.index("happy")] = 0.8
    return editor.decode(subject, code.flatten()).crop


if __name__ == "__main__":
    golden_picture(ExpressionEditor(ExprGAN.from_pretrained(HERE.parent / "weights"))).save(GOLDEN)
    print(GOLDEN)

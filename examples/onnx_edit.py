"""Edits an aligned face with the ONNX files alone: numpy and onnxruntime, no torch (and Pillow, for the pictures' files).

    python -m exprgan export onnx                                     # once, where torch is: encoder, decoder, config, mark
    python examples/onnx_edit.py onnx face.png happy 0.8 happy.jpg    # anywhere

face.png is an aligned face, as `editor.read("me.jpg").crop.save("face.png")` writes it.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image


def code(config: dict, expression: str, intensity: float) -> np.ndarray:
    """c (1, K * d) in [-1, 1]: the d numbers of the expression rise along its path, all others are -1 (paper, eq. 3)."""
    names, d = config["expressions"], config["code_dim_each"]
    c = np.full((len(names), d), -1.0, np.float32)
    if expression != "neutral":
        i = names.index(expression)
        path = np.array(config["intensity_path"])[i]  # (P, d): c_i at P evenly spaced intensities
        c[i] = [np.interp(intensity, np.linspace(0, 1, len(path)), path[:, j]) for j in range(d)]
    return c.reshape(1, -1)


def edit(folder: str, face: Image.Image, expression: str, intensity: float) -> Image.Image:
    """The decoder's picture of an aligned face with another expression; intensity 0 (neutral) to 1."""
    config = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))
    encoder, decoder = (onnxruntime.InferenceSession(Path(folder, f"{name}.onnx")) for name in ("encoder", "decoder"))
    pixels = np.asarray(face.convert("RGB").resize((config["image_size"],) * 2, Image.Resampling.LANCZOS), np.float32)
    x = pixels.transpose(2, 0, 1)[None] / 127.5 - 1  # (1, 3, S, S) in [-1, 1]
    (z,) = encoder.run(None, {"x": x})  # (1, z_dim)
    (x_hat,) = decoder.run(None, {"z": z, "c": code(config, expression, intensity)})  # (1, 3, S, S) in [-1, 1]
    return Image.fromarray(np.rint((x_hat[0].transpose(1, 2, 0).clip(-1, 1) + 1) * 127.5).astype(np.uint8))


if __name__ == "__main__":
    folder, face, expression, intensity, out = sys.argv[1:]
    edited = edit(folder, Image.open(face), expression, float(intensity))
    edited.save(out, "JPEG", quality=95, xmp=Path(folder, "mark.xmp").read_bytes())  # says that AI edited it

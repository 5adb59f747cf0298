"""Writes the small photo, its template and the reduced mesh of this folder: python make.py PHOTO TEMPLATE FACEKIT."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from train.render.face_model.action_units import ACTION_UNITS, SIDEWAYS

HERE = Path(__file__).parent
SIDE_PX = 400
STEP = 1 / 32  # mesh units, 0.3 mm: rounded numbers pack better
MODES = 4
KEPT = ("face", "mouth", "teeth")
REGIONS = ("face", "head", "mouth", "eyesocket", "gums", "teeth", "eyeball")


def main(photo: str, template: str, facekit: str) -> None:
    image = Image.open(photo).convert("RGB")
    scale = SIDE_PX / image.width
    image.resize((SIDE_PX, round(image.height * scale)), Image.Resampling.LANCZOS).save(
        HERE / "london_001.jpg", quality=88, subsampling=0
    )
    lines = Path(template).read_text(encoding="utf-8").splitlines()
    points = [[(float(value) + 0.5) * scale - 0.5 for value in line.split()] for line in lines[1:190]]
    (HERE / "london_001.tem").write_text("189\n" + "".join(f"{x:.2f}\t{y:.2f}\n" for x, y in points), encoding="utf-8")

    with np.load(facekit) as whole:
        parts = whole["parts"].astype(int)
        spans = {name: (parts[n], parts[n + 1]) for n, name in enumerate(REGIONS)}
        kept = np.concatenate([np.arange(*spans[name]) for name in KEPT])
        new = np.full(len(whole["neutral"]), -1)
        new[kept] = np.arange(len(kept))
        sizes = [spans[name][1] - spans[name][0] if name in KEPT else 0 for name in REGIONS]
        shapes = {
            name for shapes in ACTION_UNITS.values() for shape in shapes for name in (shape, *SIDEWAYS.get(shape, ()))
        }
        names = [str(name) for name in whole["expr_names"]]
        used = [n for n, name in enumerate(names) if name in shapes or name[:-2] in shapes]
        faces = new[whole["faces"]]
        np.savez_compressed(
            HERE / "mesh.npz",
            neutral=(whole["neutral"][kept].astype(np.float32) * 128).round() / 128,
            identity=_rounded(whole["identity"][:MODES, kept]),
            expr=_rounded(whole["expr"][used][:, kept]),
            expr_names=np.array([names[n] for n in used]),
            faces=faces[(faces >= 0).all(axis=1)].astype(np.int16),
            lm68=new[whole["lm68"]].astype(np.int32),
            parts=np.r_[0, np.cumsum(sizes)].astype(np.int32),
        )


def _rounded(shapes: np.ndarray) -> np.ndarray:
    return (np.round(shapes.astype(np.float32) / STEP) * STEP).astype(np.float16)


if __name__ == "__main__":
    main(*sys.argv[1:])

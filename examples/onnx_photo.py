"""Edits a photo with the ONNX files alone: numpy, onnxruntime and Pillow, no torch.

    python -m exprgan export onnx                                      # once, where torch is
    python examples/onnx_photo.py onnx me.jpg happy 0.8 me-happy.jpg   # anywhere

It edits the largest face as `ExpressionEditor.edit` does with the fidelity "detail", with these differences: a face on its
side is not found, what is drawn has no grain, and colours in a grey photo too, and a strength between two of 0.4, 0.6, 0.8
and 1 is predicted instead of interpolated.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

EYES = np.array([[0.345, 0.28], [0.655, 0.28]])  # pupils in every aligned crop, in its sides
WIDE = 32 / 27  # side of the wide crop, T's input, in sides of the aligned crop
SURE, WEAK, WEAK_EXPONENT = 0.75, 0.4, 1.6  # certainty that counts as an expression; below WEAK edits are interpolated
DRAWN = 0.3  # opacity of a mouth from which it shows
FROM_LIPS, ON_CHIN = 0.05, 0.13  # its largest distance from the lips, and that of a second one, in crops


def main(folder: str, source: str, expression: str, intensity: str, out: str) -> None:
    """Edits a file into a JPEG, marked as edited by AI."""
    photo = ImageOps.exif_transpose(Image.open(source)).convert("RGB")
    networks = {path.stem: onnxruntime.InferenceSession(path) for path in Path(folder).glob("*.onnx")}
    config = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))
    edited = edit(photo, expression, float(intensity), networks, config)
    edited.save(out, "JPEG", quality=95, subsampling=0, xmp=Path(folder, "mark.xmp").read_bytes())


def edit(photo: Image.Image, expression: str, intensity: float, networks: dict, config: dict) -> Image.Image:
    """The photo with another expression of its largest face; intensity 0 (neutral) to 1."""
    size, landmarks = config["image_size"], find_face(photo, networks)
    corners = photo_from_crop(landmarks, 1, 2) @ [[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]]
    border = int(max(0, *-corners.min(1), *(corners.max(1) - photo.size)))  # what of the crops lies outside the photo
    photo, landmarks = repeat_edges(photo, border), landmarks + border
    photo_from_wide = photo_from_crop(landmarks, 2 * size, WIDE)
    x = to_input(crop(photo, photo_from_crop(landmarks, size, 1), size))
    wide = to_input(crop(photo, photo_from_wide, 2 * size))
    certainties, units, covered = networks["reader"].run(None, {"x": x})
    best, neutral = int(certainties[0].argmax()), len(config["expressions"])
    shows_expression = best != neutral and certainties[0, best] >= SURE

    def predict(c: np.ndarray, emphasis: float) -> dict:
        inputs = {"x": wide, "c": c, "emphasis": np.array([emphasis], np.float32)}
        if config["warp_units"]:  # what the photo shows, and what the expression usually shows
            read = [config["action_units"].index(unit) for unit in config["warp_units"]]
            inputs |= {"now": units[:, read], "target": usual_units(config, c)}
        names = [output.name for output in networks["warp"].get_outputs()]
        return dict(zip(names, networks["warp"].run(None, inputs), strict=True))

    c = code(config, expression, intensity)
    strength, none, emphasis = (c.max() + 1) / 2, np.full_like(c, -1), 1.0
    if strength > 0 and not shows_expression:
        emphasis = config["warp_emphasis"][config["expressions"].index(expression)]
    if strength >= WEAK:
        warp = predict(c, emphasis)
    else:  # between neutral and the weakest edit that T is asked for
        warp = predict(np.where(c > -1, np.float32(2 * WEAK - 1), c), emphasis)
        start = predict(none, 1.0) if shows_expression else {}
        weight = np.float32((strength / WEAK) ** WEAK_EXPONENT)
        for name in ("flow", "gain", "mask"):
            warp[name] = start.get(name, 0) * (1 - weight) + warp[name] * weight
    lips = np.linalg.inv(photo_from_wide[:, :2]) @ (landmarks[3:] - photo_from_wide[:, 2]).T / (2 * size)
    mask, is_on_chin = at_lips(warp["mask"][0, 0], warp["flow"][0], lips.T)
    is_hidden = covered[0] >= 0.5 or (is_on_chin and mask.max() <= DRAWN)
    warp |= {"mask": mask[None, None], "lower_face": np.float32([not is_hidden])}
    edited = paint(photo, photo_from_wide, 2 * size, warp, networks)
    return edited.crop((border, border, photo.width - border, photo.height - border))


def at_lips(mask: np.ndarray, flow: np.ndarray, lips: np.ndarray) -> tuple[np.ndarray, bool]:
    """The mask (R, R) without parts beside the lips, corners (2, 2) in wide crops, and whether one is on the chin."""
    unseen, kept, is_on_chin = mask > DRAWN, mask.copy(), False
    rows, columns = np.nonzero(unseen)
    points = (np.stack([columns, rows], 1) + 0.5) / len(mask) + flow[:, rows, columns].T  # where the pixels come from
    line, distance = lips[1] - lips[0], np.zeros_like(mask)
    along = ((points - lips[0]) @ line / (line @ line)).clip(0, 1)
    distance[rows, columns] = np.linalg.norm(points - lips[0] - along[:, None] * line, axis=1) * WIDE
    while unseen.any():
        part = np.zeros_like(unseen)
        part.flat[unseen.argmax()] = True
        while (grown := neighbours(part) & unseen).sum() > part.sum():
            part = grown
        unseen &= ~part
        if distance[part].mean() > FROM_LIPS:
            kept[part], is_on_chin = 0, is_on_chin or distance[part].mean() <= ON_CHIN
    return kept, is_on_chin


def neighbours(part: np.ndarray) -> np.ndarray:
    """A set of pixels (H, W), and all that touch one of them."""
    padded = np.pad(part, 1)
    return np.any([padded[y : y + len(part), x : x + part.shape[1]] for y in range(3) for x in range(3)], axis=0)


def usual_units(config: dict, c: np.ndarray) -> np.ndarray:
    """The action units of a code, as `UnitTable`: (1, U, 2)."""
    strength = (c.reshape(len(config["expressions"]), -1) + 1) / 2
    common = strength.min(1, keepdims=True)
    parts = np.concatenate((common, strength - common), axis=1)[..., None]
    return np.repeat((parts * np.array(config["unit_table"])).sum(1).max(0)[None, :, None], 2, axis=2).astype(np.float32)


def code(config: dict, expression: str, intensity: float) -> np.ndarray:
    """c (1, K * d) in [-1, 1]: the d numbers of the expression rise along its path, all others are -1 (paper, eq. 3)."""
    names, d = config["expressions"], config["code_dim_each"]
    c = np.full((len(names), d), -1.0, np.float32)
    if expression != "neutral":
        i = names.index(expression)
        path = np.array(config["intensity_path"])[i]  # (P, d): c_i at P evenly spaced intensities
        c[i] = [np.interp(intensity, np.linspace(0, 1, len(path)), path[:, j]) for j in range(d)]
    return c.reshape(1, -1)


# The crop and the paste. A matrix (2, 3) maps px to px; (0.5, 0.5) is the middle of the first pixel.


def repeat_edges(photo: Image.Image, border: int) -> Image.Image:
    """The photo with a border of edge pixels."""
    return Image.fromarray(np.pad(np.asarray(photo), ((border, border), (border, border), (0, 0)), "edge"))


def photo_from_crop(landmarks: np.ndarray, side: int, scale: float) -> np.ndarray:
    """The matrix to the photo from a crop of `side` px, `scale` times as wide as the one with its eyes at EYES."""
    start, end = ((EYES - 0.5) / scale + 0.5) * side
    turn = complex(*(landmarks[1] - landmarks[0])) / complex(*(end - start))
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.column_stack([linear, landmarks[0] - linear @ start])


def crop(photo: Image.Image, matrix: np.ndarray, side: int) -> Image.Image:
    """Cuts out a crop of `side` px; a larger face is sampled four times as densely first. `matrix`: photo from crop."""
    step = np.hypot(matrix[0, 0], matrix[1, 0])
    dense, shrink = (4 if step > 1 else 1), max(1, round(step / 4))
    data = (matrix * [1 / dense, 1 / dense, 1] / shrink).ravel()
    large = (dense * side, dense * side)
    part = photo.reduce(shrink).transform(large, Image.Transform.AFFINE, data, Image.Resampling.BICUBIC)
    return part.resize((side, side), Image.Resampling.LANCZOS)


def to_input(picture: Image.Image) -> np.ndarray:
    """(1, 3, H, W) in [-1, 1]."""
    return np.asarray(picture, np.float32).transpose(2, 0, 1)[None] / 127.5 - 1


def paint(photo: Image.Image, matrix: np.ndarray, side: int, warp: dict, networks: dict) -> Image.Image:
    """Applies T's prediction over a crop of `side` px; `matrix`: photo from crop."""
    corners = matrix @ [[0, side, 0, side], [0, 0, side, side], [1, 1, 1, 1]]
    left, top = np.maximum(0, np.floor(corners.min(1))).astype(int)
    right, bottom = np.minimum(photo.size, np.ceil(corners.max(1))).astype(int)
    linear = np.linalg.inv(matrix[:, :2])
    field_from_part = np.column_stack([linear, linear @ ([left, top] - matrix[:, 2])]).astype(np.float32)
    part = np.asarray(photo.crop((left, top, right, bottom)), np.float32).transpose(2, 0, 1)[None]
    (edited,) = networks["painter"].run(None, {"part": part, "field_from_part": field_from_part} | warp)
    result = photo.copy()
    result.paste(Image.fromarray(np.rint(edited[0].transpose(1, 2, 0)).astype(np.uint8)), (left, top))
    return result


# The face finder, MTCNN: three networks, from coarse to fine.


def find_face(photo: Image.Image, networks: dict) -> np.ndarray:
    """The widest face: pupils, nose and corners of the mouth, (5, 2) in px, those on the picture's left first."""
    scale = min(1, 1024 / max(photo.size))
    small = photo.resize([round(side * scale) for side in photo.size], Image.Resampling.BILINEAR, reducing_gap=2)
    border = round(min(small.size) / 8)
    found = search(repeat_edges(small, border), max(20, 0.04 * min(small.size)), networks)
    if not len(found):
        raise SystemExit("no face was found")
    landmarks = (found - border) * np.divide(photo.size, small.size)
    for _ in range(3):  # a leaning face is found again upright, where the landmarks are better
        x, y = landmarks[1] - landmarks[0]
        if abs(np.degrees(np.arctan2(y, x))) <= 8:
            break
        matrix = photo_from_crop(landmarks, 192, 1.6)
        if not len(found := search(crop(photo, matrix, 192), 48, networks)):
            break
        landmarks = found @ matrix[:, :2].T + matrix[:, 2]
    return landmarks


def search(picture: Image.Image, min_face: float, networks: dict) -> np.ndarray:
    """The landmarks of the widest face of at least `min_face` px, (5, 2), or none, (0, 2)."""
    boxes, zoom = [], 12 / min_face
    while min(picture.size) * zoom >= 12:
        scores, corrections = networks["pnet"].run(None, {"x": look(picture, [int(s * zoom + 1) for s in picture.size])})
        rows, columns = np.nonzero(scores[0, 1] >= 0.6)
        corner = np.stack([columns, rows], 1) * 2 + 1
        cells = np.concatenate([corner // zoom, (corner + 11) // zoom, scores[0, 1, rows, columns][:, None]], 1)
        boxes.append(distinct(np.concatenate([cells, corrections[0, :, rows, columns]], 1), 0.5))
        zoom *= 0.709
    boxes = distinct(np.concatenate(boxes), 0.7)
    boxes = square(move(boxes[:, :5], boxes[:, 5:], 0))
    for name, side in (("rnet", 24), ("onet", 48)):
        whole = boxes.astype(int)
        corners = np.concatenate([np.maximum(1, whole[:, :2]) - 1, np.minimum(picture.size, whole[:, 2:4])], 1)
        inside = (corners[:, 2:] > corners[:, :2]).all(1)
        boxes, corners = boxes[inside], corners[inside]
        if not len(boxes):
            return np.zeros((0, 2))
        windows = np.concatenate([look(picture.crop(tuple(corner)), (side, side)) for corner in corners])
        scores, corrections, *landmarks = networks[name].run(None, {"x": windows})
        passed = scores[:, 1] > 0.7
        boxes, corrections = np.column_stack([boxes[passed, :4], scores[passed, 1]]), corrections[passed]
        if name == "rnet":
            kept = distinct(np.column_stack([boxes, corrections]), 0.7)
            boxes = square(move(kept[:, :5], kept[:, 5:], 1))
    points = landmarks[0][passed].reshape(-1, 2, 5).transpose(0, 2, 1)
    points = (boxes[:, None, 2:4] - boxes[:, None, :2] + 1) * points + boxes[:, None, :2] - 1
    faces = distinct(np.column_stack([move(boxes, corrections, 1), points.reshape(-1, 10)]), 0.5)
    faces = faces[faces[:, 4] >= 0.9]
    if not len(faces):
        return np.zeros((0, 2))
    return faces[(faces[:, 2] - faces[:, 0]).argmax(), 5:].reshape(5, 2) - 0.5


def look(picture: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """A picture as the networks see it: (1, 3, H, W)."""
    return (np.asarray(picture.resize(size, Image.Resampling.BOX), np.float32).transpose(2, 0, 1)[None] - 127.5) / 128


def move(boxes: np.ndarray, corrections: np.ndarray, last: int) -> np.ndarray:
    """Moves the sides of boxes (N, 5) by corrections (N, 4) in sides of the box, which count their last pixel or not."""
    sides = np.tile(boxes[:, 2:4] - boxes[:, :2] + last, 2)
    return np.column_stack([boxes[:, :4] + corrections * sides, boxes[:, 4]])


def square(boxes: np.ndarray) -> np.ndarray:
    """Boxes (N, 5) with the same centre and equal sides, those of the longer one."""
    half = (boxes[:, 2:4] - boxes[:, :2]).max(1, keepdims=True) / 2
    centre = (boxes[:, 2:4] + boxes[:, :2]) / 2
    return np.column_stack([centre - half, centre + half, boxes[:, 4]])


def distinct(boxes: np.ndarray, overlap: float) -> np.ndarray:
    """The boxes (N, 5 or more) without a better one that overlaps them by more (intersection over union), best first."""
    boxes, kept = boxes[np.argsort(-boxes[:, 4], kind="stable")], []
    while len(boxes):
        best, boxes = boxes[0], boxes[1:]
        kept.append(best)
        sides = np.minimum(best[2:4], boxes[:, 2:4]) - np.maximum(best[:2], boxes[:, :2])
        common = sides.clip(0).prod(1)
        union = (best[2:4] - best[:2]).prod() + (boxes[:, 2:4] - boxes[:, :2]).prod(1) - common
        boxes = boxes[common <= overlap * np.maximum(union, 1e-9)]
    return np.array(kept).reshape(len(kept), -1) if kept else np.zeros((0, 9))


if __name__ == "__main__":
    main(*sys.argv[1:])

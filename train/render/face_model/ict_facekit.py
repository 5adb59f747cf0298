"""`prepare mesh`: converts the .obj files of ICT-FaceKit light to one file for `render`. No mesh comes with this code."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ...core.files import durable_write
from ...core.train_errors import DataError

NEUTRAL = "generic_neutral_mesh"
NUM_VERTICES = 26719
PARTS = {"face": 0, "head": 9409, "mouth": 11248, "eyesocket": 13294, "gums": 14062, "teeth": 17039, "eyeball": 21451}
"""The first vertex of each part, from the README of ICT-FaceKit; lashes and tears follow from `PARTS_END`."""
PARTS_END = 24591
# fmt: off
LANDMARKS = (
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443, 268, 493,
    1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360, 1507, 1542,
    1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732, 5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461,
    5518, 5957, 5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966,
)
"""Vertices of the 68 Multi-PIE landmarks, from the same README."""
# fmt: on
LICENCE_PHRASES = ("MIT License", "USC Institute for Creative Technologies", "Permission is hereby granted, free of charge")
CREDIT = "ICT-FaceKit light, ICT-VGL/ICT-FaceKit, MIT, copyright 2020 USC Institute for Creative Technologies"


def prepare_mesh(src: str, out: str) -> None:
    """Reads the .obj files and writes one compressed .npz, atomically.

    Args:
        src: the unpacked ICT-FaceKit, or its folder FaceXModel; the licence lies there or one folder above.
        out: the file to write, .npz.

    Raises:
        DataError: the licence is missing or another one, or the mesh is incomplete or another one.
        RunError: `out` cannot be written.
    """
    if not out.endswith(".npz"):
        raise DataError(f"the mesh goes to a file that ends in .npz, not {out}")
    folder = next((path for path in (Path(src, "FaceXModel"), Path(src)) if (path / f"{NEUTRAL}.obj").is_file()), None)
    if folder is None:
        repository = "https://github.com/ICT-VGL/ICT-FaceKit"
        raise DataError(f"{src} holds no {NEUTRAL}.obj; name the folder of ICT-FaceKit ({repository})")
    _check_licence(folder)
    mesh = read_mesh(folder)
    with durable_write(Path(out)) as part, part.open("wb") as file:  # given a name, numpy would add .npz to it
        np.savez_compressed(file, **mesh)
    shapes = f"{len(mesh['identity'])} identity shapes, {len(mesh['expr'])} expressions"
    print(f"{out}: {len(mesh['neutral']):,} vertices, {len(mesh['faces']):,} triangles, {shapes}")
    print(f"keep this credit with the pictures that are made with it: {CREDIT}")


def read_mesh(folder: Path) -> dict[str, np.ndarray]:
    """Reads the arrays of the file from the folder FaceXModel.

    Returns:
        neutral (V, 3) float32; identity (M, V, 3) and expr (E, V, 3) float16, differences from neutral; expr_names (E,);
        faces (T, 3) int32, quads as two triangles; mats (T,) int16, rows of mat_names; lm68 (68,) int32; parts (P + 1,)
        int32, where each of part_names (P,) begins and the last ends. The unit is about a centimetre.

    Raises:
        DataError: a shape is missing, cannot be read, or has another number of vertices.
    """
    neutral = _read_vertices(folder / f"{NEUTRAL}.obj")
    faces, materials, material_names = _read_faces(folder / f"{NEUTRAL}.obj")
    paths = {path.stem: path for path in sorted(folder.glob("*.obj")) if not path.stem.startswith("generic")}
    identities = [name for name in paths if re.fullmatch(r"identity\d+", name)]
    expressions = [name for name in paths if name not in identities]
    if [int(name.removeprefix("identity")) for name in identities] != list(range(len(identities))) or not identities:
        raise DataError(f"{folder} lacks some of identity000.obj, identity001.obj, ...; unpack ICT-FaceKit again")
    if "jawOpen" not in expressions:
        raise DataError(f"{folder} lacks jawOpen.obj; unpack ICT-FaceKit again")
    shapes = {}
    with tqdm(paths.items(), desc="mesh", unit="shape") as progress:  # closed before an error is printed
        for name, path in progress:
            shapes[name] = (_read_vertices(path) - neutral).astype(np.float16)
    return {
        "neutral": neutral.astype(np.float32),
        "identity": np.array([shapes[name] for name in identities]),
        "expr": np.array([shapes[name] for name in expressions]),
        "expr_names": np.array(expressions),
        "faces": faces,
        "mats": materials,
        "mat_names": np.array(material_names),
        "lm68": np.array(LANDMARKS, np.int32),
        "parts": np.array([*PARTS.values(), PARTS_END], np.int32),
        "part_names": np.array(list(PARTS)),
    }


def _check_licence(folder: Path) -> None:
    """Checks that the licence that permits the use of the mesh lies beside it."""
    path = next((path for path in (folder / "LICENSE", folder.parent / "LICENSE") if path.is_file()), None)
    if path is None:
        remedy = "put ICT-FaceKit's there: its terms are what allows the mesh's use"
        raise DataError(f"{folder.parent} holds no LICENSE; {remedy}")
    text = " ".join(path.read_text(encoding="utf-8", errors="replace").split())
    if missing := [phrase for phrase in LICENCE_PHRASES if phrase not in text]:
        raise DataError(f"{path} does not say {missing[0]!r}, as ICT-FaceKit's MIT licence does; put that licence there")


def _read_vertices(path: Path) -> np.ndarray:
    """Reads the lines "v x y z" of an .obj file: (V, 3) float64."""
    try:
        with path.open(encoding="utf-8") as file:
            vertices = np.array([line.split()[1:4] for line in file if line.startswith("v ")], np.float64)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a mesh ({error}); unpack ICT-FaceKit again") from error
    if vertices.shape != (NUM_VERTICES, 3) or not np.isfinite(vertices).all():
        expected = f"{NUM_VERTICES:,} as ICT-FaceKit light"
        raise DataError(f"{path} has {len(vertices):,} vertices, not {expected}; unpack it again")
    return vertices


def _read_faces(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Reads the lines "f a/.. b/.. c/.. [d/..]": triangles (T, 3) int32, their materials (T,) int16, and material names."""
    triangles, materials, names, material = [], [], {}, -1
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("usemtl"):
            material = names.setdefault(line.split()[1], len(names))
        elif line.startswith("f "):
            try:
                first, *others = (int(word.split("/")[0]) - 1 for word in line.split()[1:])
            except ValueError as error:
                raise DataError(f"{path} has no face in the line {line!r}; unpack it again") from error
            triangles += [(first, *pair) for pair in pairwise(others)]
            materials += [material] * (len(others) - 1)
    faces = np.array(triangles, np.int32).reshape(-1, 3)
    if not len(faces) or faces.min() < 0 or faces.max() >= NUM_VERTICES:
        raise DataError(f"{path} has no faces, or faces of vertices that it does not have; unpack ICT-FaceKit again")
    return faces, np.array(materials, np.int16), list(names)

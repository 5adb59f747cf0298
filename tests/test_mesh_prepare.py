"""`prepare mesh` converts .obj files to one file, and refuses a mesh without its licence."""

import numpy as np
import pytest

from train.__main__ import main
from train.render.face_model.ict_facekit import LANDMARKS, NUM_VERTICES, PARTS_END

LICENCE = """MIT License

Copyright (c) 2020 USC Institute for Creative Technologies

Permission is hereby granted, free of charge, to any person obtaining a copy
"""
SHAPES = ("identity000", "identity001", "jawOpen", "browDown_L")


def write_obj(path, vertices: np.ndarray, faces: str = "") -> None:
    with path.open("w") as file:
        file.write("mtllib material.mtl\n")
        np.savetxt(file, vertices, fmt="v %.6f %.6f %.6f")
        file.write("vt 0 0\nvn 0 0 1\n" + faces)


@pytest.fixture(scope="module")
def facekit(tmp_path_factory):
    """A folder with a mesh of the real one's size, of noise, and its shapes."""
    root = tmp_path_factory.mktemp("ict")
    (root / "FaceXModel").mkdir()
    (root / "LICENSE").write_text(LICENCE)
    noise = np.random.default_rng(0)
    shapes = {name: noise.normal(size=(NUM_VERTICES, 3)).round(6) for name in ("generic_neutral_mesh", *SHAPES)}
    faces = "usemtl M_Face\nf 1/1/1 2/2/2 3/3/3 4/4/4\nusemtl M_Teeth\nf 5/1 6/1 7/1\nusemtl M_Face\nf 8 9 10\n"
    for name, vertices in shapes.items():
        write_obj(root / "FaceXModel" / f"{name}.obj", vertices, faces if name.startswith("generic") else "")
    return root, shapes


@pytest.fixture
def broken_kit(facekit, tmp_path):
    """A copy of the folder, by links, to be broken by the test."""
    (tmp_path / "kit" / "FaceXModel").mkdir(parents=True)
    for path in facekit[0].rglob("*.*"):
        (tmp_path / "kit" / path.relative_to(facekit[0])).symlink_to(path)
    (tmp_path / "kit" / "LICENSE").write_text(LICENCE)
    return tmp_path / "kit"


def test_shapes_become_differences_and_quads_become_triangles(facekit, tmp_path, capsys):
    root, shapes = facekit
    assert main(["prepare", "mesh", str(root), str(tmp_path / "mesh.npz")]) == 0
    assert "2 identity shapes, 2 expressions" in (output := capsys.readouterr().out) and "keep this credit" in output
    mesh = np.load(tmp_path / "mesh.npz", allow_pickle=False)
    kinds = {name: (mesh[name].dtype.str[1:], mesh[name].shape) for name in mesh.files}
    assert kinds.items() >= {
        "neutral": ("f4", (NUM_VERTICES, 3)), "identity": ("f2", (2, NUM_VERTICES, 3)),
        "expr": ("f2", (2, NUM_VERTICES, 3)), "faces": ("i4", (4, 3)),
        "mats": ("i2", (4,)), "lm68": ("i4", (68,)), "parts": ("i4", (8,)),
    }.items()  # fmt: skip
    assert set(kinds) - {"neutral", "identity", "expr", "faces", "mats", "lm68", "parts"} == {
        "expr_names",
        "mat_names",
        "part_names",
    }
    assert mesh["expr_names"].tolist() == ["browDown_L", "jawOpen"]
    assert np.allclose(mesh["neutral"] + mesh["expr"][1].astype(np.float32), shapes["jawOpen"], atol=4e-3)  # float16
    assert mesh["faces"].tolist() == [[0, 1, 2], [0, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert [mesh["mat_names"][row] for row in mesh["mats"]] == ["M_Face", "M_Face", "M_Teeth", "M_Face"]
    assert mesh["lm68"].tolist() == list(LANDMARKS) and mesh["parts"][-1] == PARTS_END < NUM_VERTICES
    assert main(["prepare", "mesh", str(root / "FaceXModel"), str(tmp_path / "again.npz")]) == 0
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "mesh.npz").read_bytes()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda kit: (kit / "LICENSE").unlink(), "holds no LICENSE"),
        (lambda kit: (kit / "LICENSE").write_text("All rights reserved."), "does not say 'MIT License'"),
        (lambda kit: (kit / "LICENSE").write_text("MIT License, by me"), "USC Institute"),
        (lambda kit: (kit / "FaceXModel" / "identity000.obj").unlink(), "lacks some of identity000.obj"),
        (lambda kit: (kit / "FaceXModel" / "jawOpen.obj").unlink(), "lacks jawOpen.obj"),
        (lambda kit: (kit / "FaceXModel" / "generic_neutral_mesh.obj").unlink(), "holds no generic_neutral_mesh.obj"),
        (lambda kit: replace_file(kit / "FaceXModel" / "jawOpen.obj", "v 0 0 0\n"), "has 1 vertices, not 26,719"),
        (lambda kit: replace_file(kit / "FaceXModel" / "jawOpen.obj", "v 0 zero 0\n"), "cannot be read as a mesh"),
    ],
)
def test_a_broken_mesh_or_licence_is_refused(broken_kit, tmp_path, capsys, damage, message):
    damage(broken_kit)
    assert main(["prepare", "mesh", str(broken_kit), str(tmp_path / "mesh.npz")]) == 1
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and message in error[0]
    assert not list(tmp_path.glob("*.npz")) and not list(tmp_path.glob(".*.part"))


def replace_file(path, text: str) -> None:
    path.unlink()
    path.write_text(text)


def test_options_for_photos_and_other_file_names_are_refused(tmp_path, capsys):
    assert main(["prepare", "mesh", str(tmp_path), str(tmp_path / "mesh.npz"), "--test-share", "0.2"]) == 1
    assert "takes no options" in capsys.readouterr().err
    assert main(["prepare", "mesh", str(tmp_path), str(tmp_path / "mesh.obj")]) == 1
    assert "ends in .npz" in capsys.readouterr().err

"""Variation of the mouth interior, and the action units of lips, cheeks and jaw."""

import json
from collections import Counter
from dataclasses import asdict, replace
from random import Random

import numpy as np
import pytest

pytest.importorskip("cv2")
pytest.importorskip("scipy")

from exprgan.models.teeth_texture import HALF_ROW_CM, ROW_TOP_CM, tooth_rows
from exprgan.photo.image_io import load_photo
from train.render.face_model.action_units import ACTION_UNITS, SIDEWAYS, Anatomy, compute_displacement
from train.render.face_model.canonical_frame import Patch
from train.render.face_model.mesh import Mesh
from train.render.face_model.webmorph_template import read_template
from train.render.face_renderer import FaceRenderer
from train.render.shading.dental_arch import build_rows, follow_jaw
from train.render.shading.mouth_look import TEETH_KINDS, TONGUE_POSES, MouthLook, TeethLook, TongueLook
from train.render.shading.teeth_drawing import draw_rows
from train.render.shading.tongue import build_surface

SHOUT = {unit: (weight, weight) for unit, weight in ((9, 0.3), (10, 0.85), (16, 1.1), (20, 0.35), (25, 0.4), (26, 0.28))}
BARED = {unit: (weight, weight) for unit, weight in ((9, 0.3), (10, 0.6), (25, 0.8), (16, 0.8), (20, 0.15))}
DROP = {26: (0.9, 0.9), 10: (0.15, 0.15)}
LEVEL = 2
TEETH = {
    "braces": TeethLook(braces="metal"),
    "ceramic": TeethLook(braces="ceramic"),
    "crooked": TeethLook(irregularity=1.0),
    "gap": TeethLook(gap_cm=0.2),
    "missing": TeethLook(missing=1),
    "worn": TeethLook(wear=1.0, stain=1.0),
    "underbite": TeethLook(lower_advance_cm=0.5, lower_rise_cm=0.3),
    "gums": TeethLook(upper_drop_cm=0.25, height=0.8, gum_pigment=1.0),
}
LOOKS = {
    **{name: MouthLook(teeth) for name, teeth in TEETH.items()},
    **{pose: MouthLook(tongue=TongueLook(pose)) for pose in TONGUE_POSES},
    "dark": MouthLook(light=0.2),
}
DEFAULT_ROWS = (  # mean levels across the mouth from its upper to its lower border, before looks could vary
    139.6,
    178.2,
    9.0,
    9.3,
    38.0,
    183.8,
    173.6,
)


@pytest.fixture(scope="module")
def mesh(request):
    return Mesh.load(request.path.parent / "data" / "render" / "mesh.npz")


@pytest.fixture(scope="module")
def face(request, mesh):
    data = request.path.parent / "data" / "render"
    return FaceRenderer(mesh, Patch.from_photo(load_photo(data / "london_001.jpg"), read_template(data / "london_001.tem")))


@pytest.fixture(scope="module")
def shout(face):
    return face.render(SHOUT)


def select_texels(u, v, px_per_cm):
    """Row and column of a texel at (u, v) in cm."""
    return int((v - ROW_TOP_CM) * px_per_cm), int((u + HALF_ROW_CM) * px_per_cm)


# The look.


def test_the_default_is_the_mouth_of_the_texture_that_t_uses(face, shout):
    inside = shout.inside.alpha > 0.999
    rows = np.flatnonzero(inside.sum(axis=1) > 20)[::10]
    np.testing.assert_allclose([shout.image[row][inside[row]].mean() for row in rows], DEFAULT_ROWS, atol=0.5)
    assert np.array_equal(shout.image, face.render(SHOUT, mouth=MouthLook()).image)
    assert draw_rows(TeethLook(), LEVEL) is tooth_rows(LEVEL)


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_look_changes_pixels_inside_the_mouth_only(face, shout, look):
    rendered = face.render(SHOUT, mouth=look)
    changed = np.abs(rendered.image.astype(int) - shout.image).max(axis=2)
    assert np.array_equal(rendered.inside.alpha, shout.inside.alpha) and np.array_equal(rendered.flow, shout.flow)
    assert not changed[shout.inside.alpha == 0].any()
    assert (changed[shout.inside.alpha > 0.99] > 20).sum() > 100
    assert np.array_equal(rendered.image, face.render(SHOUT, mouth=look).image)
    assert np.array_equal(face.render({}, mouth=look).image, face.render({}).image)


def test_the_uv_coordinates_follow_a_row_that_is_moved(face, shout):
    moved = face.render(SHOUT, mouth=MouthLook(TeethLook(upper_drop_cm=0.2, lower_rise_cm=0.2))).inside
    for row, shift in ((0, 0.2), (1, 0.2)):
        known = moved.known[..., row] & shout.inside.known[..., row]
        difference = (moved.uv - shout.inside.uv)[known][:, 2 * row : 2 * row + 2]
        np.testing.assert_allclose(np.median(difference, axis=0), (0, shift), atol=0.03)
    coloured = face.render(SHOUT, mouth=MouthLook(TeethLook(yellowness=1.0, braces="metal"))).inside
    assert np.array_equal(coloured.uv, shout.inside.uv) and np.array_equal(coloured.known, shout.inside.known)


# Teeth.


@pytest.mark.parametrize("teeth", TEETH.values(), ids=TEETH)
def test_a_texture_has_the_layout_of_the_default_one(teeth):
    texture, default = draw_rows(teeth, LEVEL), tooth_rows(LEVEL - 1)
    assert texture.shape == default.shape and texture.dtype == default.dtype
    assert texture.min() >= 0 and (texture[:, :3] <= texture[:, 3:] + 1e-6).all()  # premultiplied


def test_a_regular_row_has_its_teeth_where_the_default_one_has_them():
    regular = draw_rows(TeethLook(brightness=0.999), LEVEL)
    difference = (regular - tooth_rows(LEVEL - 1)).abs()
    assert difference[:, 3, : regular.shape[2] // 2].mean() < 0.02 and difference[:, :3].mean() < 0.03


def test_gaps_and_missing_teeth_show_what_is_behind_them():
    px_per_cm = 64
    between, first_right = select_texels(0.0, 0.5, px_per_cm), select_texels(0.43, 0.5, px_per_cm)
    alpha = {name: draw_rows(teeth, LEVEL)[0, 3].numpy() for name, teeth in TEETH.items()}
    assert alpha["gap"][between] == 0 and alpha["gap"][first_right] == 1 and alpha["crooked"][first_right] == 1
    assert alpha["missing"][first_right] == 0 and alpha["missing"][select_texels(-0.43, 0.5, px_per_cm)] == 1
    mirrored = draw_rows(TeethLook(missing=-1), LEVEL)[0, 3].numpy()
    assert mirrored[first_right] == 1 and mirrored[select_texels(-0.43, 0.5, px_per_cm)] == 0
    edges = [alpha[name][: select_texels(0, 0.1, px_per_cm)[0]].mean() for name in ("worn", "braces")]
    assert edges[0] < 0.3 * edges[1]


def test_braces_are_grey_metal_on_both_rows_and_in_the_picture(face, shout):
    bare, braced = draw_rows(TeethLook(brightness=0.999), LEVEL).numpy(), draw_rows(TEETH["braces"], LEVEL).numpy()
    for row in (0, 1):
        wire = np.abs(braced[row, :3] - bare[row, :3]).max(axis=0) > 0.15
        heights, columns = np.nonzero(wire)
        assert columns.min() < 0.2 * wire.shape[1] and columns.max() > 0.8 * wire.shape[1]
        assert np.abs((heights + 0.5) / 64 + ROW_TOP_CM - 0.5).max() < 0.4  # midway between edges and gums
    upper = shout.inside.known[..., 0] & (shout.inside.alpha > 0.99)
    u, v = shout.inside.uv[..., 0], shout.inside.uv[..., 1]
    brackets = upper & (np.abs(np.abs(u) - 0.43) < 0.1) & (np.abs(v - 0.52) < 0.1)
    picture = face.render(SHOUT, mouth=LOOKS["braces"]).image
    assert brackets.sum() > 10 and picture[brackets].mean() < 0.8 * shout.image[brackets].mean()


@pytest.mark.slow
def test_an_underbite_is_drawn_over_the_upper_row(face):
    behind, before = (TeethLook(brightness=0.95, lower_rise_cm=0.3, lower_advance_cm=advance) for advance in (0.0, 0.5))
    first, second = (face.render(BARED, mouth=MouthLook(teeth)) for teeth in (behind, before))
    uv, both = second.inside.uv, second.inside.known.all(axis=2) & (second.inside.alpha > 0.99)
    seams = both & (np.abs(np.abs(uv[..., 2]) - 0.55) < 0.03) & (uv[..., 3] > 0.1) & (uv[..., 1] > 0.15)
    assert seams.sum() > 5 and second.image[seams].mean() < first.image[seams].mean() - 8  # between two lower teeth


# The tongue.


@pytest.mark.parametrize("pose", TONGUE_POSES)
def test_the_tongue_moves_with_the_jaw_and_is_symmetric(mesh, pose):
    vertices, coordinates, triangles = build_surface(TongueLook(pose))
    assert triangles.max() < len(vertices) == len(coordinates)
    mirrored = vertices.reshape(-1, 33, 3)[:, ::-1] * [-1, 1, 1]
    np.testing.assert_allclose(mirrored.reshape(-1, 3), vertices, atol=1e-9)
    still, _ = follow_jaw(mesh, mesh.neutral, vertices)
    np.testing.assert_allclose(still, vertices, atol=1e-6)
    dropped, _ = follow_jaw(mesh, mesh.neutral + compute_displacement(mesh, {26: (1.0, 1.0)}, Anatomy()), vertices)
    tip = vertices[:, 2].argmax()
    assert (dropped - vertices)[tip, 1] < -2


def test_a_tongue_that_comes_forward_hides_lower_teeth_and_a_resting_one_does_not(face, shout):
    lower = shout.inside.known[..., 1] & ~shout.inside.known[..., 0] & (shout.inside.alpha > 0.99)
    teeth = lower & (np.abs(shout.inside.uv[..., 2]) < 0.8) & (np.abs(shout.inside.uv[..., 3] - 0.2) < 0.1)
    assert teeth.sum() > 100
    redness = {}
    for pose in TONGUE_POSES:
        picture = face.render(SHOUT, mouth=LOOKS[pose]).image.astype(float)
        redness[pose] = (picture[..., 0] / picture[..., 1])[teeth].mean()
    assert redness["forward"] > 1.4 > 1.2 > redness["rest"]


def test_the_tongue_is_red_and_brighter_than_the_cavity_behind_it(face):
    look = MouthLook(tongue=TongueLook("raised", coating=0.0))
    inside, picture = face.render(DROP).inside, face.render(DROP, mouth=look).image.astype(float)
    y, x = np.argwhere(inside.alpha > 0.99).mean(axis=0).round().astype(int)
    tongue = picture[y : y + 10, x - 15 : x + 15].mean(axis=(0, 1))
    assert tongue[0] > 90 and tongue[0] > 1.5 * tongue[1]
    groove = [face.render(DROP, mouth=replace(look, tongue=TongueLook("raised", groove=depth))).image[y, x].mean()
              for depth in (0.0, 1.0)]  # fmt: skip
    assert groove[1] < groove[0]


def test_an_unknown_pose_is_refused():
    with pytest.raises(ValueError, match="no pose 'out' of the tongue; choose one of rest, raised, forward"):
        TongueLook("out")


# Sampling.


def test_the_same_generator_gives_the_same_mouth_which_is_numbers_and_names():
    first, again, other = (MouthLook.sample(Random(seed)) for seed in ("a", "a", "b"))
    assert first == again != other
    assert json.loads(json.dumps(asdict(first))) == asdict(first)
    assert MouthLook.sample(Random("c"), first.teeth).teeth == first.teeth


def test_kinds_of_teeth_and_poses_are_sampled_by_their_shares():
    looks = [MouthLook.sample(generator) for generator in (Random(f"look {n}") for n in range(2000))]
    teeth = [look.teeth for look in looks]
    found = {
        "braces": sum(one.braces != "none" for one in teeth),
        "crooked": sum(one.irregularity >= 0.6 and one.braces == "none" for one in teeth),
        "gap": sum(one.gap_cm > 0 for one in teeth),
        "bite": sum(one.lower_advance_cm > 0 or abs(one.lower_rise_cm) > 0.1 for one in teeth),
        "worn": sum(one.wear > 0 for one in teeth),
        "missing": sum(one.missing != 0 for one in teeth),
    }
    found["plain"] = len(looks) - sum(found.values())
    for name, share in TEETH_KINDS.items():
        assert found[name] / len(looks) == pytest.approx(share, abs=0.02), name
    poses = Counter(look.tongue.pose for look in looks)
    for name, share in TONGUE_POSES.items():
        assert poses[name] / len(looks) == pytest.approx(share, abs=0.035), name
    assert {abs(one.missing) for one in teeth} == set(range(6))
    assert all(0 < one.brightness <= 1.01 and abs(one.yellowness) <= 1 for one in teeth)
    assert sum(look.light < 0.5 for look in looks) / len(looks) == pytest.approx(0.08, abs=0.02)


# Action units.


@pytest.fixture(scope="module")
def complete_mesh(mesh):
    """The mesh with every shape that a unit needs; those that it lacks each move one side, or all, along one axis."""
    side = mesh.neutral[:, :1]
    shapes = dict(mesh.expressions)
    for number in ACTION_UNITS:
        for shape in ACTION_UNITS[number]:
            if shape in SIDEWAYS:
                shapes |= {name: np.full_like(mesh.neutral, sign) * [1, 0, 0]
                           for name, sign in zip(SIDEWAYS[shape], (-1, 1), strict=True)}  # fmt: skip
            elif shape not in shapes and f"{shape}_R" not in shapes:
                halves = {f"{shape}_R": side < 0, f"{shape}_L": side >= 0}
                shapes |= {name: (half * [0, 0, 1]).astype(np.float32) for name, half in halves.items()}
    return replace(mesh, expressions=shapes)


@pytest.mark.parametrize("number", ACTION_UNITS)
def test_each_unit_moves_both_sides_alike(complete_mesh, number):
    moved = compute_displacement(complete_mesh, {number: (1.0, 1.0)}, Anatomy())
    right, left = (
        compute_displacement(complete_mesh, {number: weights}, Anatomy()) for weights in ((1.0, 0.0), (0.0, 1.0))
    )
    strengths = [np.linalg.norm(one) for one in (right, left)]
    assert strengths[0] == pytest.approx(strengths[1], rel=0.05) and strengths[0] > 0
    if number == 30:
        assert np.abs(moved).max() < 1e-6  # opposite directions
    elif number not in (1, 4):  # the corrugator depends on both sides
        np.testing.assert_allclose(right + left, moved, atol=1e-6)


def test_the_jaw_moves_to_the_side_with_the_larger_weight(complete_mesh):
    for weights, sign in (((1.0, 0.0), -1), ((0.0, 1.0), 1), ((0.3, 0.8), 1)):  # the subject's right is at -x
        moved = compute_displacement(complete_mesh, {30: weights}, Anatomy())
        assert (np.sign(moved[:, 0]) == sign).all()


@pytest.mark.parametrize(("weights", "side"), [((1.2, 0.0), 0), ((0.0, 1.2), 1)])
def test_a_one_sided_smile_raises_one_corner(face, weights, side):
    neutral, smile = (face.render(units).landmarks for units in ({}, {12: weights, 6: weights}))
    rise = (neutral - smile)[[48, 54], 1]  # the subject's right is on the left of the image
    assert rise[side] > 8 and abs(rise[1 - side]) < 0.4 * rise[side]


def test_sucked_in_lips_are_thinner_and_pursed_ones_narrower(face):
    neutral, sucked, pursed = (face.render(units).landmarks for units in ({}, {28: (1.0, 1.0)}, {18: (1.3, 1.3)}))
    height = [np.ptp(points[48:60, 1]) for points in (neutral, sucked)]
    width = [points[54, 0] - points[48, 0] for points in (neutral, pursed)]
    assert height[1] < 0.8 * height[0] and width[1] < 0.85 * width[0]


def test_the_rows_of_teeth_are_those_of_the_skull_and_of_the_jaw(mesh):
    upper, lower = build_rows(mesh)
    dropped = mesh.neutral + compute_displacement(mesh, {26: (1.0, 1.0)}, Anatomy())
    moved = [np.linalg.norm(row.follow(mesh, dropped) - row.vertices, axis=1) for row in (upper, lower)]
    assert moved[0].max() < 0.1 < 2 < moved[1].min()

"""From one photo, its template and a reduced mesh to pictures: what `python -m train render` promises of a face."""

import numpy as np
import pytest
from PIL import Image
from train.render.shading.wrinkles import Creases

from exprgan.expressions import EXPRESSIONS
from exprgan.photo.alignment import EYES
from exprgan.photo.image_io import load_photo
from train.data.metadata import DataError
from train.render.face_model.action_units import UNITS, Anatomy, displacement
from train.render.face_model.canonical_frame import EYE_DISTANCE, Patch
from train.render.face_model.emfacs import RECIPES, exact, intensities, styles, varied
from train.render.face_model.mesh import Mesh
from train.render.face_model.rasterizer import rasterise
from train.render.face_model.template_regression import derive_template
from train.render.face_model.webmorph_template import POINTS, PUPILS, along, read_template
from train.render.face_renderer import Face
from train.render.pixel_fields import pixels, warp
from train.render.training_crop import Jitter, cut, cut_flow, frame


@pytest.fixture(scope="module")
def here(request):
    return request.path.parent / "data" / "render"


@pytest.fixture(scope="module")
def mesh(here):
    return Mesh.load(here / "mesh.npz")


@pytest.fixture(scope="module")
def photo(here):
    return load_photo(here / "london_001.jpg")


@pytest.fixture(scope="module")
def face(here, mesh, photo):
    return Face(mesh, Patch.of(photo, read_template(here / "london_001.tem")), Creases("L001", 24))


@pytest.fixture(scope="module")
def shouting(face):
    return face.render(exact("surprise", "drop"))


# The face.


def test_without_action_units_the_photo_stays_as_it_is(face):
    still = face.render({})
    assert np.abs(still.image.astype(int) - face.patch.image).max() <= 1
    assert np.abs(still.flow).max() < 0.01 and still.invented.max() == 0


def test_movement_grows_with_intensity(face):
    moved = [np.abs(face.render(exact("angry", "bared", t)).flow).mean() for t in (0.1, 0.5, 1.0)]
    assert moved == sorted(moved) and moved[-1] > 4 * moved[0] > 0
    corner = [face.render(exact("happy", "closed", t)).landmarks[48, 0] for t in (0, 0.5, 1.0)]
    assert corner[0] > corner[1] + 2 > corner[2] + 4  # to the picture's left


@pytest.mark.parametrize(("expression", "style"), [("fear", "tense"), ("sad", "closed")])
def test_irises_stay_round_and_where_they_are(face, expression, style):
    """What is seen of an iris, lids and their shadows apart, is the photo's own or completes its disc."""
    made = face.render(exact(expression, style))
    moved = face.vertices + displacement(face.mesh, exact(expression, style), face.anatomy)
    for eye in face.eyes:
        (x, y), r = np.round(eye.centre).astype(int), int(eye.radius)
        window = slice(y - r, y + r + 1), slice(x - r, x + r + 1)
        before, after = (image[window].mean(axis=2) for image in (face.patch.image, made.image))
        lids = face.lids(face.fit.project(moved), eye.side)
        top, bottom = (np.interp(np.arange(x - r, x + r + 1), lid[:, 0], lid[:, 1]) for lid in lids)
        rows, disc = np.arange(y - r, y + r + 1)[:, None], np.hypot(*np.mgrid[-r : r + 1, -r : r + 1]) < r * 0.9
        shown = disc & (rows > top + 7) & (rows < bottom - 7) & (rows > y - r / 2)
        assert shown.sum() > 50
        assert np.abs(after - before)[shown].mean() < 12
    assert np.array_equal(made.pupils, face.pupils)


def test_the_flow_is_where_the_pixels_came_from(face, shouting):
    known = (shouting.invented == 0) & (np.linalg.norm(shouting.flow, axis=2) > 4)
    carried = warp(face.patch.image, pixels(known.shape) + shouting.flow)
    assert known.sum() > 5000
    assert np.abs(carried - shouting.image)[known].mean() < 12  # shading and folds are all that is between them
    assert np.abs(face.patch.image - shouting.image)[known].mean() > 1.3 * np.abs(carried - shouting.image)[known].mean()


def test_an_open_mouth_is_invented_and_a_closed_one_is_not(face, shouting):
    lips = shouting.landmarks[[62, 66]]
    x, y = np.round(lips.mean(axis=0)).astype(int)
    assert shouting.invented[y, x] == 1 and lips[1, 1] - lips[0, 1] > 25
    closed = face.render(exact("angry", "closed"))
    assert closed.invented[y - 40 : y + 40, x - 60 : x + 60].max() < 0.5


def test_in_an_open_mouth_both_rows_of_teeth_are_where_they_belong(face, shouting):
    places, known = shouting.inside.places, shouting.inside.known
    assert known.any(axis=(0, 1)).all() and not places[~known[..., 0]][:, :2].any()
    nose, lips = shouting.landmarks[33], shouting.landmarks[[62, 66]]
    for row in (0, 1):
        across, deep = places[..., 2 * row], places[..., 2 * row + 1]
        both = known[:, 1:, row] & known[:, :-1, row]
        assert (np.diff(across, axis=1)[both] > 0).all()  # to the picture's right
        middle = np.argwhere(known[..., row] & (np.abs(across) < 0.03))
        assert np.abs(middle[:, 1] - nose[0]).max() < 14
        gums = middle[np.argmax(deep[tuple(middle.T)])][0]
        assert (gums < lips[0, 1]) if row == 0 else (gums > lips[1, 1] - 12)
    grin = face.render(exact("happy", "teeth")).inside  # the jaw hardly dropped
    edges = [np.argwhere(one.known[..., 1] & (np.abs(one.places[..., 3] - 0.1) < 0.03))[:, 0].min()
             for one in (grin, shouting.inside)]  # fmt: skip
    assert edges[1] > edges[0] + 25
    assert not face.render({}).inside.known.any()


def test_teeth_are_bright_and_what_lies_behind_them_is_dark(face):
    made = face.render(exact("angry", "shout"))
    across, deep = made.inside.places[..., 0], made.inside.places[..., 1]
    seen = made.inside.cover > 0.99
    incisor = made.inside.known[..., 0] & seen & (np.abs(np.abs(across) - 0.43) < 0.2) & (np.abs(deep - 0.4) < 0.2)
    behind = seen & (made.inside.known[..., 0] & (deep < -0.15)) & ~made.inside.known[..., 1]
    assert incisor.sum() > 30 and behind.sum() > 30
    assert made.image[incisor].mean() > 2 * made.image[behind].mean()


def test_a_mouth_that_turns_up_at_rest_is_pulled_down_farther(mesh):
    units = exact("sad", "closed")
    corner, fixed = mesh.landmarks[48], mesh.landmarks[33]
    straight, up = (displacement(mesh, units, Anatomy(corners_up=rise)) for rise in (0.0, 0.05))
    assert up[corner, 1] < 1.25 * straight[corner, 1] < 0
    assert np.allclose(up[fixed], straight[fixed], atol=0.1)


def test_the_backdrop_and_the_collar_do_not_move(shouting):
    assert np.abs(shouting.flow[:, :40]).max() < 3 and np.abs(shouting.flow[-40:]).max() < 3


def test_the_same_action_units_give_the_same_pixels(face):
    units = exact("disgust", "open")
    assert np.array_equal(face.render(units).image, face.render(units).image)


def test_folds_differ_between_people_but_not_for_one():
    units = exact("angry", "closed")
    one, again, other, old = (Creases(name, age).map(units) for name, age in (("a", 24), ("a", 24), ("b", 24), ("a", 60)))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert old.max() > one.max() > 0
    assert Creases("a", 24).map({}).max() == 0


def test_the_fit_lies_on_the_template(face):
    """Lids, lips and nose, after the smooth correction: within a px at a pupil distance of 200."""
    assert face.fit.misfit_px < 0.05 * EYE_DISTANCE
    paths = face.mesh.paths
    for name, line in (("upper_lid_R", (18, 19, 20, 21, 22)), ("lower_lip_outer", (87, 104, 105, 106, 107, 108, 93))):
        target = along(face.patch.points[list(line)], np.linspace(0, 1, 400))
        seen = face.seen[paths[name], :2]
        assert np.linalg.norm(seen[:, None] - target[None], axis=2).min(axis=1).max() < 1.5


# Recipes.


def test_every_recipe_is_of_known_units_and_every_shape_is_in_the_mesh(mesh):
    assert tuple(RECIPES) == EXPRESSIONS
    for expression, by_style in RECIPES.items():
        assert len(by_style) == 3
        for style in by_style:
            assert np.abs(displacement(mesh, exact(expression, style), Anatomy())).max() > 0.1
    assert all(unit.name for unit in UNITS.values())


def test_displacement_is_linear_and_knows_right_from_left(mesh):
    one, half = (displacement(mesh, {12: (w, w)}, Anatomy()) for w in (1.0, 0.5))
    assert np.allclose(one, 2 * half)
    right = np.linalg.norm(displacement(mesh, {12: (1.0, 0.0)}, Anatomy()), axis=1)
    x = mesh.neutral[:, 0]
    assert right[x < -1].sum() > 20 * right[x > 1].sum()  # the subject's right is at -x


def test_intensities_cover_their_range_and_styles_are_shared_out():
    from random import Random

    drawn = intensities(4, Random("a"), 0.2)
    assert [int((t - 0.2) / 0.2) for t in drawn] == [0, 1, 2, 3]
    assert sorted(styles("happy", 6, Random("b"))) == ["closed"] * 2 + ["laugh"] * 2 + ["teeth"] * 2
    assert varied("fear", "open", 0.5, Random("c")) == varied("fear", "open", 0.5, Random("c"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda mesh: exact("bored", "mild"), "no recipe for 'bored'; choose one of angry"),
        (lambda mesh: exact("sad", "wild"), "sad has no style 'wild'; choose one of closed, droop, cry"),
        (lambda mesh: displacement(mesh, {3: (1.0, 1.0)}, Anatomy()), "no action unit 3 here; choose among 1, 2, 4"),
    ],
)
def test_unknown_names_are_told(mesh, call, message):
    with pytest.raises(ValueError, match=message):
        call(mesh)


# The crop.


def test_the_pupils_lie_where_every_crop_has_them(face):
    matrix = frame(face.pupils, 128)
    assert np.allclose(face.pupils @ matrix[:, :2].T + matrix[:, 2] + 0.5, np.array(EYES) * 128)
    picture = cut(face.patch.image.astype(np.uint8), matrix, 128)
    assert picture.size == (128, 128)
    eye = np.asarray(picture)[33:39, 41:47].mean()  # dark, amid lighter skin
    assert eye < np.asarray(picture)[48:54, 41:47].mean() - 30


def test_the_crops_flow_is_in_its_own_pixels(face, shouting):
    for jitter in (None, Jitter(4, 1.05, (0.02, -0.02))):
        matrix = frame(face.pupils, 64, jitter)
        flow, invented = cut_flow(shouting.flow, shouting.invented, matrix, 64)
        before, after = (
            np.asarray(cut(image, matrix, 64), np.float32) for image in (face.patch.image.astype(np.uint8), shouting.image)
        )
        known = (invented < 0.01) & (np.linalg.norm(flow, axis=2) > 1)
        led = np.abs(warp(before, pixels((64, 64)) + flow) - after)[known].mean()
        assert known.sum() > 100 and led < np.abs(before - after)[known].mean()


# What may be wrong with what is given.


def test_a_template_is_read_as_it_stands(here):
    points = read_template(here / "london_001.tem")
    assert points.shape == (POINTS, 2) and points[PUPILS[0], 0] < points[PUPILS[1], 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "says '' points; 189 are needed"),
        ("68\n1 2\n", "says '68' points; 189 are needed"),
        ("189\n1 2\n3 4\n", "ends after 2 of 189"),
        ("189\n1 2\nx\n", "'x' in line 3, not x and y"),
        ("189\n" + "5 5\n" * 189, "fix no face"),
        ("189\n" + "nan 5\n" * 189, "fix no face"),
    ],
)
def test_a_broken_template_is_told(tmp_path, text, message):
    (tmp_path / "a.tem").write_text(text)
    with pytest.raises(DataError, match=message):
        read_template(tmp_path / "a.tem")


def test_a_missing_or_foreign_mesh_is_told(here, tmp_path):
    with pytest.raises(DataError, match="there is no mesh"):
        Mesh.load(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"cannot be read as a mesh.*prepare mesh"):
        Mesh.load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", neutral=np.zeros((3, 3)))
    with pytest.raises(DataError, match="lacks identity, expr, expr_names"):
        Mesh.load(tmp_path / "b.npz")
    with np.load(here / "mesh.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "c.npz", **(arrays | {"lm68": arrays["lm68"] + 20000}))
    with pytest.raises(DataError, match="names vertices that it does not have"):
        Mesh.load(tmp_path / "c.npz")


def test_a_photo_without_a_template_gets_one_near_enough(here, photo):
    derived, known = derive_template(photo), read_template(here / "london_001.tem")
    scale = np.linalg.norm(known[1] - known[0])
    off = np.linalg.norm(derived - known, axis=1) / scale
    assert off[:34].max() < 0.1 and off[87:109].max() < 0.12  # eyes, lips


def test_a_photo_without_a_face_and_a_template_is_told():
    with pytest.raises(DataError, match=r"no face was found in a\.jpg.*add a \.tem"):
        derive_template(Image.new("RGB", (200, 200), "grey"), "a.jpg")


def test_a_pixel_shows_the_nearest_triangle_that_faces_it():
    square = np.array([(0, 0, 0), (9, 0, 0), (0, 9, 0), (0, 0, 5), (9, 0, 5), (0, 9, 5)], float)
    facing, away = np.array([(0, 2, 1), (3, 5, 4)], np.int32), np.array([(0, 1, 2)], np.int32)
    raster = rasterise(square, facing, (10, 10))
    assert raster.triangle[2, 2] == 1 and raster.triangle[9, 9] == -1
    assert np.allclose(raster.interpolate(square)[2, 3], (3, 2, 5))
    assert not rasterise(square, away, (10, 10)).covered.any()

"""The renderer of `python -m train render`, on one photo, its template and a reduced mesh."""

from random import Random

import numpy as np
import pytest
from PIL import Image

from exprgan.expressions import EXPRESSIONS
from exprgan.photo.alignment import EYES
from exprgan.photo.image_io import load_photo
from train.core.train_errors import DataError
from train.render.face_model.action_units import ACTION_UNITS, Anatomy, compute_displacement
from train.render.face_model.canonical_frame import EYE_DISTANCE_PX, Patch
from train.render.face_model.emfacs import EMFACS_TABLE, get_units, sample_intensities, sample_styles, sample_units
from train.render.face_model.mesh import Mesh
from train.render.face_model.rasterizer import rasterise
from train.render.face_model.template_regression import predict_template
from train.render.face_model.webmorph_template import FEATURE_LINES, NUM_POINTS, PUPILS, read_template, sample_line
from train.render.face_renderer import FaceRenderer
from train.render.pixel_fields import pixel_grid, warp
from train.render.shading.wrinkle_maps import Wrinkles
from train.render.training_crop import Jitter, crop_flow, crop_image, crop_matrix


@pytest.fixture(scope="module")
def data(request):
    return request.path.parent / "data" / "render"


@pytest.fixture(scope="module")
def mesh(data):
    return Mesh.load(data / "mesh.npz")


@pytest.fixture(scope="module")
def photo(data):
    return load_photo(data / "london_001.jpg")


@pytest.fixture(scope="module")
def face(data, mesh, photo):
    return FaceRenderer(mesh, Patch.from_photo(photo, read_template(data / "london_001.tem")), Wrinkles("L001", 24))


@pytest.fixture(scope="module")
def surprised(face):
    return face.render(get_units("surprise", "drop"))


# The rendered face.


def test_without_action_units_the_photo_is_unchanged(face):
    rendered = face.render({})
    assert np.abs(rendered.image.astype(int) - face.patch.image).max() <= 1
    assert np.abs(rendered.flow).max() < 0.01 and rendered.inpaint_mask.max() == 0


def test_movement_grows_with_intensity(face):
    motion = [np.abs(face.render(get_units("angry", "bared", t)).flow).mean() for t in (0.1, 0.5, 1.0)]
    assert motion == sorted(motion) and motion[-1] > 4 * motion[0] > 0
    corner_x = [face.render(get_units("happy", "closed", t)).landmarks[48, 0] for t in (0, 0.5, 1.0)]
    assert corner_x[0] > corner_x[1] + 2 > corner_x[2] + 4  # towards the left of the image


@pytest.mark.parametrize(("expression", "style"), [("fear", "tense"), ("sad", "closed")])
def test_irises_stay_round_and_fixed(face, expression, style):
    """The visible part of an iris, away from lids and their shadows, is the photo's or completes its disc."""
    rendered = face.render(get_units(expression, style))
    vertices = face.vertices + compute_displacement(face.mesh, get_units(expression, style), face.anatomy)
    for eye in face.eyes:
        (x, y), r = np.round(eye.centre).astype(int), int(eye.radius)
        window = slice(y - r, y + r + 1), slice(x - r, x + r + 1)
        before, after = (image[window].mean(axis=2) for image in (face.patch.image, rendered.image))
        lids = face.select_lids(face.fit.project(vertices), eye.side)
        top, bottom = (np.interp(np.arange(x - r, x + r + 1), lid[:, 0], lid[:, 1]) for lid in lids)
        rows, disc = np.arange(y - r, y + r + 1)[:, None], np.hypot(*np.mgrid[-r : r + 1, -r : r + 1]) < r * 0.9
        visible = disc & (rows > top + 7) & (rows < bottom - 7) & (rows > y - r / 2)
        assert visible.sum() > 50
        assert np.abs(after - before)[visible].mean() < 12
    assert np.array_equal(rendered.pupils, face.pupils)


def test_warping_the_photo_by_the_flow_gives_the_rendered_image(face, surprised):
    known = (surprised.inpaint_mask == 0) & (np.linalg.norm(surprised.flow, axis=2) > 4)
    warped = warp(face.patch.image, pixel_grid(known.shape) + surprised.flow)
    assert known.sum() > 5000
    error, change = (np.abs(image - surprised.image)[known].mean() for image in (warped, face.patch.image))
    assert error < 12 and change > 1.3 * error  # only shading and wrinkles differ


def test_an_open_mouth_is_marked_as_invented_and_a_closed_one_is_not(face, surprised):
    lips = surprised.landmarks[[62, 66]]
    x, y = np.round(lips.mean(axis=0)).astype(int)
    assert surprised.inpaint_mask[y, x] == 1 and lips[1, 1] - lips[0, 1] > 25
    closed = face.render(get_units("angry", "closed"))
    assert closed.inpaint_mask[y - 40 : y + 40, x - 60 : x + 60].max() < 0.5


def test_both_rows_of_teeth_have_uv_coordinates_in_an_open_mouth(face, surprised):
    uv, known = surprised.inside.uv, surprised.inside.known
    assert known.any(axis=(0, 1)).all() and not uv[~known[..., 0]][:, :2].any()
    nose, lips = surprised.landmarks[33], surprised.landmarks[[62, 66]]
    for row in (0, 1):
        u, v = uv[..., 2 * row], uv[..., 2 * row + 1]
        neighbours = known[:, 1:, row] & known[:, :-1, row]
        assert (np.diff(u, axis=1)[neighbours] > 0).all()  # u grows to the right of the image
        midline = np.argwhere(known[..., row] & (np.abs(u) < 0.03))
        assert np.abs(midline[:, 1] - nose[0]).max() < 14
        gums_y = midline[np.argmax(v[tuple(midline.T)])][0]
        assert (gums_y < lips[0, 1]) if row == 0 else (gums_y > lips[1, 1] - 12)
    grin = face.render(get_units("happy", "teeth")).inside  # with the jaw hardly dropped
    edges_y = [np.argwhere(inside.known[..., 1] & (np.abs(inside.uv[..., 3] - 0.1) < 0.03))[:, 0].min()
               for inside in (grin, surprised.inside)]  # fmt: skip
    assert edges_y[1] > edges_y[0] + 25
    assert not face.render({}).inside.known.any()


def test_teeth_are_bright_and_the_cavity_behind_them_is_dark(face):
    rendered = face.render(
        {unit: (weight, weight) for unit, weight in {10: 0.85, 16: 1.1, 20: 0.35, 25: 0.4, 26: 0.28}.items()}
    )
    inside, visible = rendered.inside, rendered.inside.alpha > 0.99
    u, v = inside.uv[..., 0], inside.uv[..., 1]
    incisors = inside.known[..., 0] & visible & (np.abs(np.abs(u) - 0.43) < 0.2) & (np.abs(v - 0.4) < 0.2)
    cavity = visible & (inside.known[..., 0] & (v < -0.15)) & ~inside.known[..., 1]
    assert incisors.sum() > 30 and cavity.sum() > 30
    assert rendered.image[incisors].mean() > 2 * rendered.image[cavity].mean()


def test_a_mouth_that_turns_up_at_rest_is_pulled_down_farther(mesh):
    units = get_units("sad", "closed")
    corner, fixed = mesh.landmarks[48], mesh.landmarks[33]
    straight, raised = (compute_displacement(mesh, units, Anatomy(mouth_corner_rise=rise)) for rise in (0.0, 0.05))
    assert raised[corner, 1] < 1.25 * straight[corner, 1] < 0
    assert np.allclose(raised[fixed], straight[fixed], atol=0.1)


def test_the_backdrop_and_the_collar_do_not_move(surprised):
    assert np.abs(surprised.flow[:, :40]).max() < 3 and np.abs(surprised.flow[-40:]).max() < 3


def test_the_same_action_units_give_the_same_pixels(face):
    units = get_units("disgust", "open")
    assert np.array_equal(face.render(units).image, face.render(units).image)


def test_wrinkles_depend_on_the_person_and_deepen_with_age():
    units, people = get_units("angry", "closed"), (("a", 24), ("a", 24), ("b", 24), ("a", 60))
    first, again, other, old = (Wrinkles(name, age).compute_map(units) for name, age in people)
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert old.max() > first.max() > 0
    assert Wrinkles("a", 24).compute_map({}).max() == 0


def test_the_fitted_mesh_lies_on_the_template(face):
    """Lids and lips are within 1.5 px after the smooth correction, at a pupil distance of 200 px."""
    assert face.fit.misfit_px < 0.05 * EYE_DISTANCE_PX
    for name in ("upper_lid_R", "lower_lip_outer"):
        target = sample_line(face.patch.points[FEATURE_LINES[name]], np.linspace(0, 1, 400))
        line = face.projected[face.mesh.feature_lines[name], :2]
        assert np.linalg.norm(line[:, None] - target[None], axis=2).min(axis=1).max() < 1.5


# Action units and the EMFACS table.


def test_the_emfacs_table_has_known_units_whose_shapes_are_in_the_mesh(mesh):
    assert tuple(EMFACS_TABLE) == EXPRESSIONS
    for expression, styles in EMFACS_TABLE.items():
        assert len(styles) == 3
        for style, weights in styles.items():
            assert weights.keys() <= ACTION_UNITS.keys()
            assert np.abs(compute_displacement(mesh, get_units(expression, style), Anatomy())).max() > 0.1


def test_displacement_is_linear_and_distinguishes_right_from_left(mesh):
    full, half = (compute_displacement(mesh, {12: (weight, weight)}, Anatomy()) for weight in (1.0, 0.5))
    assert np.allclose(full, 2 * half)
    right = np.linalg.norm(compute_displacement(mesh, {12: (1.0, 0.0)}, Anatomy()), axis=1)
    x = mesh.neutral[:, 0]
    assert right[x < -1].sum() > 20 * right[x > 1].sum()  # the subject's right is at -x


def test_intensities_are_stratified_and_styles_equally_frequent():
    intensities = sample_intensities(4, Random("a"), 0.2)
    assert [int((t - 0.2) / 0.2) for t in intensities] == [0, 1, 2, 3]
    assert sorted(sample_styles("happy", 6, Random("b"))) == ["closed"] * 2 + ["laugh"] * 2 + ["teeth"] * 2
    assert sample_units("fear", "open", 0.5, Random("c")) == sample_units("fear", "open", 0.5, Random("c"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda mesh: get_units("bored", "mild"), "no action units for 'bored'; choose one of angry"),
        (lambda mesh: get_units("sad", "wild"), "sad has no style 'wild'; choose one of closed, droop, cry"),
        (
            lambda mesh: compute_displacement(mesh, {3: (1.0, 1.0)}, Anatomy()),
            "no action unit 3 here; choose among 1, 2, 4",
        ),
    ],
)
def test_unknown_names_raise_errors_that_list_the_known_ones(mesh, call, message):
    with pytest.raises(ValueError, match=message):
        call(mesh)


# The crop.


def test_the_pupils_lie_where_every_crop_has_them(face):
    matrix = crop_matrix(face.pupils, 128)
    assert np.allclose(face.pupils @ matrix[:, :2].T + matrix[:, 2] + 0.5, np.array(EYES) * 128)
    crop = crop_image(face.patch.image.astype(np.uint8), matrix, 128)
    assert crop.size == (128, 128)
    eye = np.asarray(crop)[33:39, 41:47].mean()  # dark, amid lighter skin
    assert eye < np.asarray(crop)[48:54, 41:47].mean() - 30


def test_the_flow_of_a_crop_is_in_px_of_the_crop(face, surprised):
    for jitter in (None, Jitter(4, 1.05, (0.02, -0.02))):
        matrix = crop_matrix(face.pupils, 64, jitter)
        flow, inpaint_mask = crop_flow(surprised.flow, surprised.inpaint_mask, matrix, 64)
        images = face.patch.image.astype(np.uint8), surprised.image
        before, after = (np.asarray(crop_image(image, matrix, 64), np.float32) for image in images)
        known = (inpaint_mask < 0.01) & (np.linalg.norm(flow, axis=2) > 1)
        error = np.abs(warp(before, pixel_grid((64, 64)) + flow) - after)[known].mean()
        assert known.sum() > 100 and error < np.abs(before - after)[known].mean()


# Input files.


def test_a_template_is_read(data):
    points = read_template(data / "london_001.tem")
    assert points.shape == (NUM_POINTS, 2) and points[PUPILS[0], 0] < points[PUPILS[1], 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "declares '' points; 189 are needed"),
        ("68\n1 2\n", "declares '68' points; 189 are needed"),
        ("189\n1 2\n3 4\n", "ends after 2 of 189"),
        ("189\n1 2\nx\n", "'x' in line 3, not x and y"),
        ("189\n" + "5 5\n" * 189, "fix no face"),
        ("189\n" + "nan 5\n" * 189, "fix no face"),
    ],
)
def test_a_broken_template_is_refused(tmp_path, text, message):
    (tmp_path / "a.tem").write_text(text)
    with pytest.raises(DataError, match=message):
        read_template(tmp_path / "a.tem")


def test_a_missing_or_foreign_mesh_is_refused(data, tmp_path):
    with pytest.raises(DataError, match="there is no mesh"):
        Mesh.load(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"cannot be read as a mesh.*prepare mesh"):
        Mesh.load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", neutral=np.zeros((3, 3)))
    with pytest.raises(DataError, match="lacks identity, expr, expr_names"):
        Mesh.load(tmp_path / "b.npz")
    with np.load(data / "mesh.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "c.npz", **(arrays | {"lm68": arrays["lm68"] + 20000}))
    with pytest.raises(DataError, match="names vertices that it does not have"):
        Mesh.load(tmp_path / "c.npz")


def test_a_predicted_template_is_near_the_real_one(data, photo):
    predicted, real = predict_template(photo), read_template(data / "london_001.tem")
    error = np.linalg.norm(predicted - real, axis=1) / np.linalg.norm(real[1] - real[0])
    assert error[:34].max() < 0.1 and error[87:109].max() < 0.12  # eyes, lips


def test_no_template_is_predicted_for_a_photo_without_a_face():
    with pytest.raises(DataError, match=r"no face was found in a\.jpg.*add a \.tem"):
        predict_template(Image.new("RGB", (200, 200), "grey"), "a.jpg")


def test_a_pixel_shows_the_nearest_triangle_that_faces_the_viewer():
    vertices = np.array([(0, 0, 0), (9, 0, 0), (0, 9, 0), (0, 0, 5), (9, 0, 5), (0, 9, 5)], float)
    facing, turned = np.array([(0, 2, 1), (3, 5, 4)], np.int32), np.array([(0, 1, 2)], np.int32)
    raster = rasterise(vertices, facing, (10, 10))
    assert raster.triangle[2, 2] == 1 and raster.triangle[9, 9] == -1
    assert np.allclose(raster.interpolate(vertices)[2, 3], (3, 2, 5))
    assert not rasterise(vertices, turned, (10, 10)).covered.any()

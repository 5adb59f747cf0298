"""Depth of a patch, and pictures turned by it."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from exprgan.photo.image_io import load_photo
from train.render.face_model.action_units import compute_displacement
from train.render.face_model.canonical_frame import PATCH_SHAPE, Patch
from train.render.face_model.emfacs import get_units
from train.render.face_model.mesh import Mesh
from train.render.face_model.webmorph_template import read_template
from train.render.face_renderer import FaceRenderer
from train.render.head_pose import MAX_PITCH_DEG, MAX_ROLL_DEG, MAX_YAW_DEG, PIVOT, HeadPose, project, turn, turn_face
from train.render.pixel_fields import pixel_grid, sample, warp
from train.render.training_crop import crop_matrix, write_fields

GRID = pixel_grid(PATCH_SHAPE)
EXTREMES = [HeadPose(25, 15), HeadPose(25, -15), HeadPose(-25, 15), HeadPose(-25, -15)]


@pytest.fixture(scope="module")
def face(request):
    data = request.path.parent / "data" / "render"
    photo, points = load_photo(data / "london_001.jpg"), read_template(data / "london_001.tem")
    return FaceRenderer(Mesh.load(data / "mesh.npz"), Patch.from_photo(photo, points))


@pytest.fixture(scope="module")
def surprised(face):
    return face.render(get_units("surprise", "drop"))


# Depth.


def test_depth_is_the_meshs_on_the_face(face):
    raster = face.rasterise_skin(face.projected)
    x, y = np.meshgrid(np.arange(280, 480, 10), np.arange(330, 560, 10))
    difference = face.depth[y, x] - raster.depth[y, x]
    assert np.median(np.abs(difference[raster.covered[y, x]])) < 2
    nose = np.unravel_index(face.depth.argmax(), PATCH_SHAPE)
    assert np.abs(nose - face.projected[face.mesh.landmarks[30], 1::-1]).max() < 25


def test_depth_recedes_around_the_face_and_is_gentle_everywhere(face, surprised):
    right_eye, chin = face.pupils[0].astype(int), face.projected[face.mesh.landmarks[8], :2].astype(int)
    eye_depth = face.depth[right_eye[1], right_eye[0]]
    assert (face.depth[right_eye[1], [5, -5]] < eye_depth - 120).all()
    assert face.depth[chin[1] + 90, chin[0]] < face.depth[chin[1], chin[0]] - 60
    for pose in EXTREMES:  # one to one, if the slope is below the cotangent of the angle between the two views
        cosine = pose.rotation[2, 2]
        for depth in (face.depth, surprised.depth):
            assert np.hypot(*np.gradient(depth)).max() < cosine / np.sqrt(1 - cosine**2)


def test_depth_follows_the_expression(face, surprised):
    assert surprised.neutral_depth is face.depth and np.isfinite(surprised.depth).all()
    assert np.array_equal(face.render({}).depth, face.depth)
    vertices = face.vertices + compute_displacement(face.mesh, get_units("surprise", "drop"), face.anatomy)
    lower_lip = face.fit.project(vertices)[face.mesh.landmarks[57]]
    assert lower_lip[1] > face.projected[face.mesh.landmarks[57], 1] + 30
    assert sample(surprised.depth, lower_lip[None, None, :2])[0, 0] == pytest.approx(lower_lip[2], abs=8)
    assert np.abs(surprised.depth - face.depth)[:40].max() < 10  # far from the mouth


def test_fields_of_a_picture_hold_both_depths_in_px_of_the_crop(face, surprised, tmp_path):
    size = 128
    matrix = crop_matrix(surprised.pupils, size)
    write_fields(tmp_path / "x.npz", surprised, matrix, size)
    scale = np.hypot(*matrix[:, 0])
    with np.load(tmp_path / "x.npz") as file:
        for name, depth in (("depth", surprised.depth), ("neutral_depth", face.depth)):
            assert file[name].shape == (64, 64) and file[name].dtype == np.float16
            x, y = np.linalg.solve(matrix[:, :2], np.array([2 * 32 + 0.5, 2 * 20 + 0.5]) - matrix[:, 2])
            assert file[name][20, 32] == pytest.approx(depth[round(y), round(x)] * scale, abs=0.6)


# Turning.


def sphere_depth(radius=220.0):
    """A sphere about the pivot in front of it, continued by a cone where it gets steep."""
    distance = np.linalg.norm(GRID - PIVOT[:2], axis=2)
    edge = 0.7 * radius
    rim = np.sqrt(radius**2 - edge**2)
    cone = rim - (distance - edge) * edge / rim
    return (PIVOT[2] + np.where(distance < edge, np.sqrt(np.maximum(radius**2 - distance**2, 1)), cone)).astype(np.float32)


@pytest.mark.parametrize("pose", [HeadPose(20), HeadPose(0, -12), HeadPose(-18, 8, 5)])
def test_a_sphere_turns_as_a_sphere(pose):
    depth = sphere_depth()
    image = np.zeros((*PATCH_SHAPE, 3), np.uint8)
    view = turn(image, depth, pose)
    inner = np.linalg.norm(GRID - PIVOT[:2], axis=2) < 70  # comes from within the part that is a sphere
    solid = np.dstack([GRID, depth]) - PIVOT
    expected = (solid @ pose.rotation)[..., :2] + PIVOT[:2]  # the inverse rotation
    assert np.abs(view.sources - expected)[inner].max() < 0.15
    assert np.abs(view.depth - depth)[inner].max() < 0.5


def test_directions_of_the_angles():
    depth, nose = sphere_depth(), PIVOT[:2][None]
    assert project(nose, depth, HeadPose(yaw_deg=15))[0, 0] > PIVOT[0] + 40
    assert project(nose, depth, HeadPose(pitch_deg=15))[0, 1] < PIVOT[1] - 40
    below = project(nose + np.array([100, 0]), depth, HeadPose(roll_deg=15))[0]
    assert below[1] > PIVOT[1] + 20 and below[0] > PIVOT[0]


def test_pixels_and_points_land_in_the_same_place(face):
    points = np.round(face.projected[face.mesh.landmarks[[30, 36, 45, 48, 54, 8]], :2])
    for pose in (HeadPose(25, 0), HeadPose(-15, 10, 4)):
        for point in points:
            spot = np.exp(-((GRID - point) ** 2).sum(axis=2) / 18).astype(np.float32)
            view = turn(np.dstack([spot] * 3), face.depth, pose, [spot], point[None])
            weights = view.fields[0]
            centre = (GRID * weights[..., None]).sum((0, 1)) / weights.sum()
            assert np.abs(centre - view.points[0]).max() < 1.5
            assert np.abs(view.image[..., 0] - weights).max() < 0.05


def test_what_is_seen_at_a_pixel_projects_to_it(face, surprised):
    for depth in (face.depth, surprised.depth):
        for pose in EXTREMES:
            view = turn(face.patch.image, depth, pose)
            assert np.abs(project(view.sources, depth, pose) - GRID).max() < 1
            assert np.isfinite(view.image).all() and np.isfinite(view.depth).all()


def test_the_neutral_pose_changes_nothing(face, surprised):
    image = face.patch.image.astype(np.uint8)
    view = turn(image, face.depth, HeadPose(), [surprised.inpaint_mask], face.pupils)
    assert np.array_equal(view.image, image) and np.array_equal(view.depth, face.depth)
    assert np.array_equal(view.fields[0], surprised.inpaint_mask) and np.array_equal(view.points, face.pupils)
    assert turn_face(surprised, HeadPose()) is surprised


def test_the_turned_flow_leads_to_the_turned_neutral_photo(face, surprised):
    """Turning and warping commute: the turned neutral photo, warped by the turned flow, is the turned expression."""
    neutral = face.patch.image
    unshaded = replace(surprised, image=warp(neutral, GRID + surprised.flow))
    pose = HeadPose(20, -10, 3)
    turned = turn_face(unshaded, pose)
    warped = warp(turn(neutral, face.depth, pose).image, GRID + turned.flow)
    inner = (slice(120, 720), slice(120, 640))
    error = np.abs(warped - turned.image)[inner]
    assert error.mean() < 1.2 and np.percentile(error, 99) < 12
    untouched = turn(neutral, face.depth, pose).image
    assert np.abs(untouched - turned.image)[inner].mean() > 4 * error.mean()


def test_a_turned_face_is_cropped_by_the_neutral_photos_pupils(face, surprised):
    pose = HeadPose(25, 5)
    turned, neutral = turn_face(surprised, pose), turn_face(face.render({}), pose)
    np.testing.assert_allclose(turned.neutral_eyeballs, neutral.eyeballs, atol=1e-5)
    for pupil in turned.pupils.round().astype(int):  # the eyeballs turn with the head
        assert turned.eyeballs[pupil[1] + 4, pupil[0]] > 0.9
    assert np.array_equal(turned.pupils, neutral.pupils)
    distance = np.linalg.norm(np.diff(neutral.pupils, axis=0))
    assert 0.8 < distance / 200 < 0.97
    assert np.abs(neutral.flow).max() < 0.7  # neither moves against the other
    inside = turned.inside
    assert inside.known.dtype == bool and inside.known.any(axis=(0, 1)).all()
    assert not inside.uv[~inside.known[..., 0]][:, :2].any()
    assert 0.8 < turned.inpaint_mask.sum() / surprised.inpaint_mask.sum() < 1.2


def test_poses_are_drawn_within_their_limits_and_alike_for_a_seed():
    poses = [HeadPose.sample(Random(seed)) for seed in range(200)]
    assert poses[7] == HeadPose.sample(Random(7))
    angles = np.array([(pose.yaw_deg, pose.pitch_deg, pose.roll_deg) for pose in poses])
    limits = np.array([MAX_YAW_DEG, MAX_PITCH_DEG, MAX_ROLL_DEG])
    assert (np.abs(angles) <= limits).all() and (np.abs(angles).max(axis=0) > 0.9 * limits).all()

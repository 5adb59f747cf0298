"""Gaze, lids and lashes of the renderer, on one photo, its template and a reduced mesh."""

from random import Random

import cv2
import numpy as np
import pytest

from exprgan.photo.image_io import load_photo
from train.render.face_model.canonical_frame import EYE_DISTANCE_PX, Patch
from train.render.face_model.emfacs import get_units
from train.render.face_model.mesh import Mesh
from train.render.face_model.webmorph_template import FEATURE_LINES, read_template, sample_line
from train.render.face_renderer import FaceRenderer
from train.render.pixel_fields import pixel_grid, polygon_mask, warp
from train.render.shading.gaze import Gaze


@pytest.fixture(scope="module")
def face(request):
    data = request.path.parent / "data" / "render"
    patch = Patch.from_photo(load_photo(data / "london_001.jpg"), read_template(data / "london_001.tem"))
    return FaceRenderer(Mesh.load(data / "mesh.npz"), patch)


@pytest.fixture(scope="module")
def apertures(face):
    """The openings of the subject's right and left eye in the photo, (H, W) bool each."""
    return [_mask_aperture(face, side) for side in "RL"]


def _mask_aperture(face, side):
    upper, lower = (
        sample_line(face.patch.points[FEATURE_LINES[f"{lid}_lid_{side}"]], np.linspace(0, 1, 40))
        for lid in ("upper", "lower")
    )
    return polygon_mask(np.vstack([upper, lower[::-1]]), face.patch.image.shape[:2]) > 0.5


def _sources_in(rendered, aperture):
    """Where pixels of the aperture come from is an eye again: bool for each of them."""
    x, y = np.moveaxis(np.rint(pixel_grid(aperture.shape) + rendered.flow).astype(int), 2, 0)
    inner = cv2.erode(aperture.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return inner[y, x][inner]


def test_looking_as_in_the_photo_gives_the_same_bits(face):
    for units in ({}, get_units("fear", "open")):
        default, forward = face.render(units), face.render(units, gaze=Gaze(0.0, 0.0))
        for field in ("image", "flow", "inpaint_mask"):
            assert np.array_equal(getattr(default, field), getattr(forward, field))
    neutral = face.render({})
    assert np.array_equal(neutral.image, np.rint(face.patch.image.clip(0, 255)).astype(np.uint8))
    assert not neutral.inpaint_mask.any()


@pytest.mark.parametrize(("yaw", "pitch"), [(12.0, 0.0), (-12.0, 0.0), (6.0, 0.0)])
def test_gaze_moves_the_iris_by_the_radius_of_the_eyeball_times_the_sine(face, apertures, yaw, pitch):
    rendered = face.render({}, gaze=Gaze(yaw, pitch))
    expected = EYE_DISTANCE_PX * 12 / 63 * np.sin(np.radians(yaw))
    for eye, aperture in zip(face.eyes, apertures, strict=True):
        x, y = np.round(eye.centre).astype(int)
        rows, columns = slice(y, y + 7), slice(x - 27, x + 28)  # below highlights and lashes
        centroids = []
        for image in (face.patch.image, rendered.image):
            darkness = np.clip(0.7 * eye.white.mean() - image[rows, columns].mean(axis=2), 0, None)
            darkness *= aperture[rows, columns]
            centroids.append((darkness * np.arange(-27, 28)).sum() / darkness.sum())
        assert centroids[1] - centroids[0] == pytest.approx(expected, abs=2.0)
    assert np.array_equal(rendered.pupils, face.pupils)


def test_the_flow_of_an_iris_follows_it_and_uncovered_white_is_marked_as_inpainted(face):
    gaze = Gaze(12.0, -5.0)
    rendered = face.render({}, gaze=gaze)
    for eye in face.eyes:
        x, y = np.round(eye.centre + gaze.shift_px + np.array([0, 5])).astype(int)
        assert np.allclose(rendered.flow[y, x], -gaze.shift_px, atol=1.0)
        x, y = np.round(eye.centre + np.array([-0.8 * eye.radius, 2])).astype(int)
        assert rendered.inpaint_mask[y, x] > 0.9


@pytest.mark.parametrize(
    ("units", "gaze"),
    [
        ({}, Gaze(10.0, -8.0)),
        ({43: (0.5, 0.5)}, Gaze()),
        ({5: (1.5, 1.5)}, Gaze()),
        ({43: (1.0, 0.0), 7: (0.5, 0.0)}, Gaze()),
    ],
)
def test_warping_the_photo_by_the_flow_gives_the_eyes_where_nothing_is_inpainted(face, units, gaze):
    rendered = face.render(units, gaze=gaze)
    around = np.zeros(rendered.inpaint_mask.shape, bool)
    for eye in face.eyes:
        around[eye.window] = True
    explained = around & (rendered.inpaint_mask == 0)
    warped = warp(face.patch.image, pixel_grid(around.shape) + rendered.flow)
    changed = around & (np.abs(rendered.image - face.patch.image).max(axis=2) > 20)
    error = np.abs(warped - rendered.image).mean(axis=2)
    assert changed.sum() > 300
    assert error[explained].mean() < 3 and error[explained & changed].mean() < 16


def test_closed_eyes_show_lids_alone(face, apertures):
    closed = face.render({43: (1.0, 1.0)})
    half = face.render({43: (0.5, 0.5)})
    for aperture in apertures:
        assert not _sources_in(closed, aperture).any()
        assert 0.2 < _sources_in(half, aperture).mean() < 0.8


def test_the_landmarks_of_the_lids_lie_on_their_edges(face):
    for units, gap in (({}, 0.9), ({43: (0.5, 0.5)}, 0.45), ({43: (1.0, 1.0)}, 0.0)):
        now = face.render(units).landmarks
        rest = face.projected[face.mesh.landmarks, :2]
        for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46)):
            assert now[lower, 1] - now[upper, 1] == pytest.approx(gap * (rest[lower, 1] - rest[upper, 1]), abs=4)


def test_a_wink_closes_one_eye(face, apertures):
    wink = face.render({43: (1.0, 0.0)})
    assert not _sources_in(wink, apertures[0]).any()
    assert np.array_equal(wink.image[apertures[1]], np.rint(face.patch.image.clip(0, 255))[apertures[1]])


def test_lids_open_above_the_iris_up_to_a_limit(face):
    rises = []
    for weight in (0.5, 1.0, 2.0, 4.0):
        rendered = face.render({5: (weight, weight)})
        eye = face.eyes[0]
        x, y = np.round(eye.centre).astype(int)
        shown = rendered.inpaint_mask[: y - int(eye.radius), x] > 0.5
        rises.append(int(shown.sum()))
    assert rises[0] < rises[1] < rises[2] <= rises[3] < EYE_DISTANCE_PX / 8
    assert rises[1] > 0.03 * EYE_DISTANCE_PX


def test_upper_lids_follow_the_gaze_down(face):
    up, down = (face.render({}, gaze=Gaze(0.0, pitch)) for pitch in (12.0, -12.0))
    for line in ("upper_lid_R", "upper_lid_L"):
        x, y = np.round(face.patch.points[FEATURE_LINES[line]][2]).astype(int)
        assert up.flow[y - 8, x, 1] > 2 and down.flow[y, x, 1] < -2


def test_gazes_are_sampled_alike_from_the_same_seed_and_most_are_small():
    first, again = ([Gaze.sample(generator) for _ in range(400)] for generator in (Random("a"), Random("a")))
    angles = np.abs([(gaze.yaw_deg, gaze.pitch_deg) for gaze in first])
    assert first == again
    assert (np.median(angles, axis=0) < (5, 4)).all()
    assert (angles.max(axis=0) <= (15, 12)).all() and (angles.max(axis=0) > (12, 9)).all()


def test_a_gaze_that_eyes_do_not_reach_is_refused():
    with pytest.raises(ValueError, match="pitch_deg -20 cannot be rendered; choose -15 to 15"):
        Gaze(0.0, -20)


def test_the_visible_eyeballs_are_those_between_the_lids(face, apertures):
    rest, wide, wink = (face.render(units).eyeballs for units in ({}, {5: (1.0, 1.0)}, {43: (1.0, 0.0)}))
    assert np.array_equal(rest, face.eyeballs) and rest.dtype == np.float32 and rest.min() == 0 and rest.max() <= 1
    for side, aperture in enumerate(apertures):
        window = face.eyes[side].window
        overlap = (rest[window] * aperture[window]).sum()
        assert overlap > 0.85 * max(rest[window].sum(), aperture[window].sum())
        assert wide[window].sum() > 1.15 * rest[window].sum()
    right, left = (face.eyes[side].window for side in (0, 1))
    assert wink[right].max() < 0.1 and np.array_equal(wink[left], rest[left])
    beside = rest.copy()
    beside[right] = beside[left] = 0
    assert not beside.any()

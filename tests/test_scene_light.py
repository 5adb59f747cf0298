"""Light of everyday scenes on studio photos."""

from random import Random

import numpy as np
import pytest

from exprgan.photo.image_io import LUMA
from train.render.face_model.canonical_frame import PATCH_SHAPE
from train.render.pixel_fields import pixel_grid
from train.render.shading.scene_light import (
    SHADOW_LIGHT,
    Light,
    black_body_colour,
    compute_visibility,
    find_backdrop,
    relight,
)

GREY = np.full((*PATCH_SHAPE, 3), 128, np.uint8)
CENTRE = np.array([380, 380])
DISTANCE = np.linalg.norm(pixel_grid(PATCH_SHAPE) - CENTRE, axis=2)


@pytest.fixture(scope="module")
def head():
    """A cap of a sphere on a flat backdrop; and grey skin on a green backdrop."""
    depth = np.sqrt(np.maximum(300.0**2 - DISTANCE**2, 200.0**2)) - 200
    image = np.where((DISTANCE < 224)[..., None], GREY, np.uint8([90, 200, 90]))
    return image, (depth * 2).astype(np.float32)


def brightness(image, x, y):
    return float(image[CENTRE[1] + y - 5 : CENTRE[1] + y + 5, CENTRE[0] + x - 5 : CENTRE[0] + x + 5].mean())


def test_no_light_changes_nothing(head):
    image, depth = head
    assert np.array_equal(relight(image, depth, Light()), image)


@pytest.mark.parametrize(
    ("light", "bright", "dark"),
    [
        (Light(60, 0, 1), (120, 0), (-120, 0)),
        (Light(-60, 0, 1), (-120, 0), (120, 0)),
        (Light(0, 45, 1), (0, -120), (0, 120)),
        (Light(0, -45, 1), (0, 120), (0, -120)),
    ],
)
def test_the_side_towards_the_light_is_bright(head, light, bright, dark):
    lit = relight(*head, light)
    assert brightness(lit, *bright) > 1.4 * brightness(lit, *dark)


def test_a_hill_casts_a_shadow_away_from_the_light():
    rise = np.maximum(80 - DISTANCE, 0)  # a cone on a plane, in px of its own grid
    light = Light(70, 0, 1, softness_deg=4)
    visibility = compute_visibility(rise.astype(np.float32) * 1.5, light)
    x, y = CENTRE
    assert visibility[y, x - 110] < SHADOW_LIGHT + 0.05  # beside the foot, on the far side
    assert visibility[y, x + 110] > 0.95 and visibility[y, x - 350] > 0.95  # on the lit side, and beyond the shadow
    assert compute_visibility(rise.astype(np.float32), Light()).min() == 1  # from the front there is none
    soft = compute_visibility(rise.astype(np.float32) * 1.5, Light(70, 0, 1, softness_deg=30))
    hard_width, soft_width = (((row > 0.3) & (row < 0.9)).sum() for row in (visibility[y, : x - 90], soft[y, : x - 90]))
    assert soft_width > hard_width + 10


def test_light_on_the_face_keeps_its_mean(head):
    image, depth = head
    skin = DISTANCE < 180
    before = np.square(image[skin] / 255.0).mean()
    for seed in range(12):
        light = Light.sample(Random(seed))
        after = np.square(relight(image, depth, light)[skin] / 255.0) @ LUMA
        expected = 1 + light.strength * (light.exposure - 1)
        assert 0.6 * expected < after.mean() / before < 1.2 * expected


def test_the_backdrop_has_a_light_of_its_own(head):
    image, depth = head
    corner = (slice(0, 60), slice(0, 60))
    dark, bright = (relight(image, depth, Light(60, 10, 1, backdrop=factor)) for factor in (0.3, 1.0))
    assert dark[corner].mean() < 0.7 * bright[corner].mean()
    row = CENTRE[1], slice(CENTRE[0] - 100, CENTRE[0] + 100)
    assert np.array_equal(dark[row], bright[row])
    assert np.ptp(bright[corner].astype(int), axis=(0, 1)).max() <= 2  # evenly lit


def test_no_backdrop_is_found_behind_curls(head):
    noise = np.random.default_rng(0).integers(0, 255, (*PATCH_SHAPE, 3), np.uint8)
    image = np.where((DISTANCE < 224)[..., None], GREY, noise)
    assert find_backdrop(image, head[1]).max() == 0 and find_backdrop(*head)[10, 10] == pytest.approx(1)


def test_colours_of_light(head):
    warm, cold = black_body_colour(370), black_body_colour(110)
    assert warm[0] > warm[1] > warm[2] and cold[2] > cold[0]
    assert np.dot(warm, LUMA) == pytest.approx(1) and np.dot(cold, LUMA) == pytest.approx(1)
    lit = relight(*head, Light(50, 0, 1, colour=warm, ambient_colour=cold)).astype(float)
    red_over_blue = lit[..., 0] / lit[..., 2]
    assert red_over_blue[CENTRE[1], CENTRE[0] + 120] > 1.2 > red_over_blue[CENTRE[1], CENTRE[0] - 150]


def test_white_and_black_stay_within_range(head):
    _, depth = head
    for level in (0, 255):
        image = np.full((*PATCH_SHAPE, 3), level, np.uint8)
        lit = relight(image, depth, Light(30, 20, 1, exposure=1.15))
        assert lit.dtype == np.uint8 and (lit.max() == 0 if level == 0 else lit.max() == 255)


def test_lights_are_drawn_from_all_sides_and_alike_for_a_seed(head):
    lights = [Light.sample(Random(seed)) for seed in range(300)]
    assert lights[5] == Light.sample(Random(5))
    assert np.array_equal(relight(*head, lights[5]), relight(*head, lights[5]))
    directions = np.array([light.direction for light in lights])
    assert np.allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-5) and (directions[:, 2] > 0.15).all()
    for axis, low, high in ((0, -0.6, 0.6), (1, -0.6, 0.6)):
        assert (directions[:, axis] < low).sum() > 15 and (directions[:, axis] > high).sum() > 5
    colours = np.array([light.colour for light in lights])
    assert np.allclose(colours @ LUMA, 1) and (colours.max(axis=1) > 1.8).sum() > 10

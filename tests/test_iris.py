"""Irises: found where they are, under lids and catchlights, and continued where a lid hides them."""

import math

import pytest
import torch
from test_warp_training import seeded

from exprgan.models.eye_network import at_eyes, find_tint
from exprgan.models.iris import (
    IRIS_RADIUS,
    PUPIL,
    RIM,
    find_irises,
    iris_coordinates,
    iris_opacity,
    iris_sources,
    lid_source,
)
from exprgan.models.warp_network import WIDE_CROP_SCALE
from exprgan.photo.alignment import EYES

SIDE = 64


def eye(x, y, radius, iris=(0.25, 0.2, 0.15), skin=(0.7, 0.5, 0.4), lid=-0.7, catchlight=False):
    """A drawn eye, (1, 3, SIDE, SIDE) in [-1, 1]; the upper lid ends `lid` radii below the middle of the iris."""
    grid = (torch.arange(SIDE) + 0.5) / SIDE
    u, v = (grid - x) / radius, ((grid - y) / radius)[:, None]
    u, v = u.expand(SIDE, SIDE), v.expand(SIDE, SIDE)
    distance = torch.hypot(u, v)

    def over(picture, color, opacity):
        return torch.lerp(picture, torch.tensor(color)[:, None, None], opacity.clamp(0, 1))

    pixels = radius * SIDE  # in a radius: edges are one pixel wide
    picture = torch.tensor(skin)[:, None, None].expand(3, SIDE, SIDE)
    opening = torch.minimum(1 - torch.hypot(u / 2.4, (v - 0.1) / 1.1), v - lid) * pixels + 0.5
    ball = over(picture, (0.85, 0.82, 0.8), torch.ones(SIDE, SIDE))
    ball = over(ball, iris, (1 - distance) * pixels + 0.5)
    ball = over(ball, (0.03, 0.03, 0.03), (0.35 - distance) * pixels + 0.5)
    if catchlight:
        ball = over(ball, (1.0, 1.0, 1.0), (0.15 - torch.hypot(u - 0.25, v + 0.3)) * pixels + 0.5)
    picture = torch.lerp(picture, ball, opening.clamp(0, 1))
    picture = over(picture, (0.1, 0.08, 0.07), 1 - ((v - lid + 0.12).abs() * 8))  # lashes
    return picture[None] * 2 - 1


@pytest.mark.parametrize("shift_x", [-0.05, 0.0, 0.04])
@pytest.mark.parametrize("shift_y", [-0.03, 0.05])
@pytest.mark.parametrize("factor", [0.93, 1.1])
@pytest.mark.parametrize("iris", [(0.1, 0.07, 0.05), (0.45, 0.55, 0.65)])
def test_an_iris_is_found_to_a_fraction_of_a_pixel(shift_x, shift_y, factor, iris):
    x, y, radius = PUPIL[0] + shift_x, PUPIL[1] + shift_y, IRIS_RADIUS * factor
    found = find_irises(torch.cat([eye(x, y, radius, iris, catchlight=light) for light in (False, True)]))[0]
    error = (found - torch.tensor([x, y, radius])).abs() * SIDE
    assert error[:, :2].max() < 0.8 and error[:, 2].max() < 0.7, found


def test_dark_skin_and_a_half_closed_lid_do_not_mislead():
    dark = find_irises(eye(*PUPIL, IRIS_RADIUS, (0.1, 0.07, 0.05), skin=(0.3, 0.2, 0.15), lid=-0.3))[0][0]
    assert ((dark - torch.tensor([*PUPIL, IRIS_RADIUS])).abs() * SIDE).max() < 1.2


def test_without_an_iris_the_usual_place_is_near():
    found, visible = find_irises(torch.zeros(1, 3, SIDE, SIDE))
    assert visible == 0 and find_irises(eye(*PUPIL, IRIS_RADIUS))[1] == 1
    assert (found - torch.tensor([*PUPIL, IRIS_RADIUS])).abs().max() < 0.02
    random, _ = find_irises(torch.rand(4, 3, SIDE, SIDE, generator=seeded()) * 2 - 1)
    assert (random[:, :2] - torch.tensor(PUPIL)).abs().max() < 0.14 and (random[:, 2] / IRIS_RADIUS - 1).abs().max() < 0.2


def test_pupils_of_aligned_faces_lie_where_irises_are_looked_for():
    for k, (at_x, at_y) in enumerate(EYES):
        x, y = ((at - 0.5) / WIDE_CROP_SCALE + 0.5 for at in (at_x, at_y))
        window = (x - 0.25) * 4 - k, (y - 3 / 16) * 4
        assert (1 - window[0] if k else window[0], window[1]) == pytest.approx(PUPIL, abs=1e-3)
    assert at_eyes(torch.zeros(1, 1, 256, 256)).shape[2] == SIDE


def test_positions_are_in_radii_from_the_middle():
    u, v, radius = iris_coordinates(torch.tensor([[0.5, 0.25, 0.1]]), 20)[0]
    assert u[3, 11] == pytest.approx(0.75) and v[3, 11] == pytest.approx(-0.75) and (radius == 0.1).all()


def test_hidden_points_are_copied_from_the_sides_at_their_distance():
    grid = torch.linspace(-0.95, 0.95, 39)
    u, v = grid.expand(39, 39), grid[:, None].expand(39, 39)
    inside = torch.hypot(u, v) < 1
    left, right, down, weight = iris_sources(u, v)
    for across, sign in ((left, -1), (right, 1)):
        x, y = (u + across)[inside], (v + down)[inside]
        torch.testing.assert_close(torch.hypot(x, y), torch.hypot(u, v)[inside] * 0.97, atol=1e-5, rtol=0)
        assert (y >= -1e-6).all() and (y <= math.sin(math.radians(45.1))).all() and (x * sign >= y - 1e-5).all()
    assert (weight[:, 32:] == 1).all() and (weight[:, :6] == 0).all() and weight[0, 19] == pytest.approx(0.5)
    assert iris_opacity(u, v)[torch.hypot(u, v) < 1 - RIM].min() == 1
    assert (
        iris_opacity(torch.tensor(1.0), torch.tensor(0.0)) == 0.5
        and iris_opacity(torch.tensor(0.0), torch.tensor(1.2)) == 0
    )


def test_the_skin_of_a_lid_is_copied_from_below_the_eye():
    v = torch.linspace(-2.5, 1.4, 9)
    there = v + lid_source(v)
    assert there.min() > 1.4 and there.max() < 3 and (there.diff() < 0).all()


def test_a_lid_has_the_colour_of_the_skin_about_it():
    window = torch.full((1, 3, SIDE, SIDE), 0.2)
    lid, opacity = torch.tensor([0.2, -0.2, -0.4])[:, None, None], torch.zeros(1, 1, SIDE, SIDE)
    skin = torch.rand(1, 3, SIDE, SIDE, generator=seeded())
    opacity[..., 24:40, 16:48] = 1
    skin = torch.where(opacity > 0, skin, lid)
    skin[..., 23, 16:48:2] = -0.98  # lashes
    tint = find_tint(window, skin, opacity, iris_coordinates(torch.tensor([[*PUPIL, IRIS_RADIUS]]), SIDE))
    expected = (torch.tensor([1.2, 0.8, 0.6]) / 1.2).log()[:, None, None].expand(3, 12, 24)
    torch.testing.assert_close(tint[0, :, 26:38, 20:44], expected, atol=0.06, rtol=0)

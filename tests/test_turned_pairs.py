"""Turned pairs: the flow between both pictures stays exact, the pupils stay where an editor puts them."""

import math

import pytest
import torch
import torch.nn.functional as F

from exprgan.models.backward_warp import backward_warp
from train.warp.turned_pairs import MAX_PITCH_DEG, MAX_YAW_DEG, PUPILS, TURNED_SHARE, TurnedView, random_turns, sample

SIDE = 96
IDENTITY = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])
MIRRORED = torch.tensor([[[-0.95, 0.05, 0.02], [0.04, 1.05, -0.03]]])


def grid() -> torch.Tensor:
    """(1, S, S, 2) in 0..1."""
    return (F.affine_grid(IDENTITY, [1, 1, SIDE, SIDE], align_corners=False) + 1) / 2


def bump(height: float, x: float = 0.5, width: float = 0.3) -> torch.Tensor:
    """A depth of one round hill: (1, S, S)."""
    return height * (-(grid() - torch.tensor([x, 0.5])).square().sum(-1) / width**2).exp()


def picture_of(places: torch.Tensor) -> torch.Tensor:
    """A smooth pattern seen at places (1, S, S, 2): (1, 3, S, S)."""
    x, y = places.unbind(-1)
    return torch.stack([(6 * x + k).sin() * (5 * y - k).cos() for k in range(3)], dim=1)


def angles(yaw: float, pitch: float) -> torch.Tensor:
    return torch.tensor([[math.radians(yaw), math.radians(pitch)]])


@pytest.mark.parametrize("affine", [IDENTITY, MIRRORED])
def test_without_a_turn_a_view_is_the_affine_one(affine):
    view = TurnedView(angles(0, 0), torch.stack((bump(0.3), bump(0.2), bump(0.25)), dim=1), affine)
    expected = (F.affine_grid(affine, [1, 1, SIDE, SIDE], align_corners=False) + 1) / 2
    torch.testing.assert_close(view.sources(0, SIDE), expected, atol=1e-5, rtol=0)
    flow = torch.tensor([0.03, -0.02]).view(1, 2, 1, 1).expand(1, 2, SIDE, SIDE)
    moved = torch.linalg.inv(affine[0, :, :2]) @ torch.tensor([0.03, -0.02])
    torch.testing.assert_close(view.flow(flow, SIDE), moved.view(1, 2, 1, 1).expand(1, 2, SIDE, SIDE), atol=1e-5, rtol=0)


@pytest.mark.parametrize("yaw, pitch", [(25, 15), (-25, 8), (0, -15), (12, 0)])
@pytest.mark.parametrize("affine", [IDENTITY, MIRRORED])
def test_the_turned_source_moved_by_the_turned_flow_is_the_turned_target(yaw, pitch, affine):
    flow = 0.03 * torch.stack([(4 * grid()[..., 1]).sin(), (3 * grid()[..., 0]).cos()], dim=1)
    source, target = picture_of(grid()), picture_of(grid() + flow.permute(0, 2, 3, 1))
    view = TurnedView(angles(yaw, pitch), torch.stack((bump(0.3), bump(0.28, 0.52), bump(0.3)), dim=1), affine)
    source, target = sample(source, view.sources(0, SIDE)), sample(target, view.sources(1, SIDE))
    moved, inner = backward_warp(source, view.flow(flow, SIDE)), (..., slice(12, -12), slice(12, -12))
    error, before = ((x - target)[inner].abs().mean() for x in (moved, source))
    assert error < 0.004 and before > 0.05


@pytest.mark.parametrize("yaw, pitch", [(25, 15), (-20, -10)])
def test_the_neutral_pupils_stay_in_place_and_the_nose_moves(yaw, pitch):
    depth = bump(0.3)
    view = TurnedView(angles(yaw, pitch), torch.stack((depth, depth, depth), dim=1), IDENTITY)
    at = view.sources(2, SIDE).permute(0, 3, 1, 2)
    pupils = sample(at, torch.tensor(PUPILS)[None, :, None])[0, :, :, 0].T
    torch.testing.assert_close(pupils, torch.tensor(PUPILS), atol=0.004, rtol=0)
    center = sample(at, torch.tensor([[[[0.5, 0.5]]]]))[0, :, 0, 0]
    assert (center - 0.5).norm() > 0.03


def test_a_share_of_all_pairs_is_turned_within_the_limits():
    turns = random_turns(2000, torch.Generator().manual_seed(1)).rad2deg()
    assert (turns != 0).any(1).float().mean().item() == pytest.approx(TURNED_SHARE, abs=0.03)
    assert turns[:, 0].abs().max() <= MAX_YAW_DEG and turns[:, 1].abs().max() <= MAX_PITCH_DEG
    assert turns[:, 0].min() < -20 and turns[:, 0].max() > 20

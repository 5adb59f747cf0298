"""Eq. 5-10: every loss against its formula in NumPy, and the player that minimises it."""

import numpy as np
import pytest
import torch

from train.gan.gan_losses import (
    LOSSES,
    PLAYERS,
    PlayerLoss,
    TrainBatch,
    _mean_distance,
    is_active,
    stage_weights,
    total_loss,
)
from train.gan.train_config import STAGES

B, K, D, SIDE, Z = 4, 6, 5, 32, 8


@pytest.fixture
def batch(tiny_model):
    tiny_model.train().classifier.eval()
    generator = torch.Generator().manual_seed(3)
    y = torch.eye(K)[[0, 3, 5, 1]]
    x = torch.rand(B, 3, SIDE, SIDE, generator=generator) * 2 - 1
    c = tiny_model.F_ctrl.random(y, generator)
    return TrainBatch(tiny_model, tiny_model.classifier.maps, x, y, c, torch.rand(B, Z, generator=generator) * 2 - 1)


def softplus(v):
    return np.log1p(np.exp(-np.abs(v))) + np.maximum(v, 0)


def numpy(tensor):
    return tensor.detach().double().numpy()


def expected_losses(batch: TrainBatch) -> dict[str, float]:
    """The losses as the paper and its notes write them, in plain NumPy."""
    x, x_hat, c, c_hat = (numpy(t) for t in (batch.x, batch.x_hat, batch.c, batch.c_hat))
    error = ((c_hat - c) ** 2).reshape(B, K, D).mean(axis=(0, 2)).sum()
    maps = zip(batch.phi(batch.x_hat), batch.phi(batch.x), strict=True)
    fake, real, z, prior = (numpy(t) for t in (batch.fake_logits, batch.real_logits, batch.z_logits, batch.prior_logits))
    squares = (np.diff(x_hat, axis=2) ** 2).sum(axis=(1, 2, 3)) + (np.diff(x_hat, axis=3) ** 2).sum(axis=(1, 2, 3))
    return {
        "pixel": np.abs(x_hat - x).mean(),
        "edges": sum(np.abs(np.diff(x_hat, axis=a) - np.diff(x, axis=a)).mean() for a in (2, 3)),
        "identity": sum(np.abs(numpy(a) - numpy(b)).mean() for a, b in maps),
        "code": error,
        "adversarial_img": softplus(-fake).mean(),
        "adversarial_z": softplus(-z).mean(),
        "total_variation": (squares / SIDE).mean(),
        "discriminate_img": softplus(-real).mean() + softplus(fake).mean(),
        "read_code": error,
        "discriminate_z": softplus(-prior).mean() + softplus(z).mean(),
    }


def test_every_loss_equals_its_formula(batch):
    expected = expected_losses(batch)
    assert expected.keys() == LOSSES.keys()
    for name, loss in LOSSES.items():
        assert loss.function(batch).item() == pytest.approx(expected[name], rel=2e-5), name


def test_the_weights_are_the_papers():
    assert {name: tuple(loss.weights.values()) for name, loss in LOSSES.items() if not loss.optional} == {
        "pixel": (0, 1, 1),
        "identity": (0, 1, 1),
        "code": (1, 0.1, 1),
        "adversarial_img": (1, 0, 0.01),
        "adversarial_z": (0, 0, 0.01),
        "total_variation": (0, 0, 0.001),
        "discriminate_img": (1, 0, 1),
        "read_code": (1, 0.1, 1),
        "discriminate_z": (0, 0, 1),
    }


def test_the_total_is_the_weighted_sum_of_the_named_losses(batch):
    weights = stage_weights("refine")
    total, losses = total_loss("G", weights, batch)
    assert set(losses) == {name for name, loss in LOSSES.items() if loss.player == "G" and not loss.optional}
    assert total.item() == pytest.approx(sum(weights[name] * loss.item() for name, loss in losses.items()), rel=1e-5)


def test_the_loss_of_edges_sees_a_grid_and_no_shift_of_colour(batch):
    batch.x_hat = batch.x + 0.3
    assert total_loss("G", {name: float(name == "edges") for name in LOSSES}, batch)[0].item() == pytest.approx(0, abs=1e-5)
    grid = torch.zeros_like(batch.x)
    grid[..., ::2] = 0.2
    batch.x_hat = batch.x + grid
    assert total_loss("G", {name: float(name == "edges") for name in LOSSES}, batch)[0].item() == pytest.approx(
        0.2, abs=1e-5
    )


def test_a_loss_of_weight_zero_costs_nothing(batch):
    total_loss("G", stage_weights("reconstruct"), batch)
    assert not {"z_logits", "real_logits", "prior_logits"} & vars(batch).keys()
    from_noise = TrainBatch(batch.model, batch.phi, batch.x, batch.y, batch.c, batch.z_prior, encode=False)
    total_loss("G", stage_weights("controller"), from_noise)
    assert from_noise.z is batch.z_prior


def test_a_weight_can_be_changed_but_not_misspelt():
    assert stage_weights("refine", {"total_variation": 0.1})["total_variation"] == 0.1
    assert stage_weights("controller", {"total_variation": 0.1})["total_variation"] == 0
    assert "edges" not in {name for name, weight in stage_weights("refine").items() if weight}
    assert (
        stage_weights("refine", {"edges": 0.5})["edges"] == 0.5 and not stage_weights("controller", {"edges": 1})["edges"]
    )
    with pytest.raises(ValueError, match="no loss term is called 'tv'"):
        stage_weights("refine", {"tv": 0.1})


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("player", PLAYERS)
def test_a_player_minimises_its_own_losses_in_the_stages_that_have_any(stage, player, batch):
    weights = stage_weights(stage)
    assert is_active(player, weights) == (player != "D_z" or stage == "refine")
    if is_active(player, weights):
        total, losses = PlayerLoss(player, batch.model)(batch, weights)
        assert total.isfinite() and losses and all(LOSSES[name].player == player for name in losses)


def test_a_players_loss_has_only_its_own_networks_as_children(tiny_model):
    for player, names in PLAYERS.items():
        assert dict(PlayerLoss(player, tiny_model).networks) == {name: getattr(tiny_model, name) for name in names}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_mean_distance_does_not_overflow_in_16_bits(dtype):
    a, b = torch.full((1, 1, 64, 64), 40.0, dtype=dtype), torch.zeros(1, 1, 64, 64, dtype=dtype)
    assert _mean_distance(a, b).item() == pytest.approx(40, rel=0.01)  # the sum, 163,840, is too large for float16

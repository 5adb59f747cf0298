"""Eq. 5-10: every term against a NumPy oracle, and who is moved by what."""

import numpy as np
import pytest
import torch

from train.gan.gan_losses import PLAYERS, TERMS, Loss, Nets, Pass, _mean_distance, plays, total, weights_of
from train.gan.train_config import STAGES

B, K, D, SIDE, Z = 4, 6, 5, 32, 8


@pytest.fixture
def nets(tiny_model):
    tiny_model.train()
    return Nets(tiny_model.G_enc, tiny_model.G_dec, tiny_model.D_img, tiny_model.D_z, tiny_model.classifier.eval().maps)


@pytest.fixture
def p(nets, tiny_model):
    chance = torch.Generator().manual_seed(3)
    y = torch.eye(K)[[0, 3, 5, 1]]
    x = torch.rand(B, 3, SIDE, SIDE, generator=chance) * 2 - 1
    return Pass(nets, x, y, tiny_model.F_ctrl.random(y, chance), torch.rand(B, Z, generator=chance) * 2 - 1)


def softplus(v):
    return np.log1p(np.exp(-np.abs(v))) + np.maximum(v, 0)


def numpy(tensor):
    return tensor.detach().double().numpy()


def oracles(p: Pass) -> dict[str, float]:
    """The losses as the paper and its notes write them, in plain NumPy."""
    x, x_hat, c, c_hat = (numpy(t) for t in (p.x, p.x_hat, p.c, p.c_hat))
    error = ((c_hat - c) ** 2).reshape(B, K, D).mean(axis=(0, 2)).sum()
    maps = zip(p.nets.phi(p.x_hat), p.nets.phi(p.x), strict=True)
    fake, real, z, prior = (numpy(t) for t in (p.fake_logits, p.real_logits, p.z_logits, p.prior_logits))
    squares = (np.diff(x_hat, axis=2) ** 2).sum(axis=(1, 2, 3)) + (np.diff(x_hat, axis=3) ** 2).sum(axis=(1, 2, 3))
    return {
        "pixel": np.abs(x_hat - x).mean(),
        "identity": sum(np.abs(numpy(a) - numpy(b)).mean() for a, b in maps),
        "code": error,
        "adversarial_img": softplus(-fake).mean(),
        "adversarial_z": softplus(-z).mean(),
        "total_variation": (squares / SIDE).mean(),
        "discriminate_img": softplus(-real).mean() + softplus(fake).mean(),
        "read_code": error,
        "discriminate_z": softplus(-prior).mean() + softplus(z).mean(),
    }


def test_every_term_equals_its_oracle(p):
    expected = oracles(p)
    assert expected.keys() == TERMS.keys()
    for name, row in TERMS.items():
        assert row.function(p).item() == pytest.approx(expected[name], rel=2e-5), name


def test_the_weights_are_the_papers():
    assert {name: tuple(row.weight.values()) for name, row in TERMS.items()} == {
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


def test_total_weighs_and_names_its_parts(p):
    weights = weights_of("refine")
    loss, parts = total("G", weights, p)
    assert set(parts) == {name for name, row in TERMS.items() if row.player == "G"}
    assert loss.item() == pytest.approx(sum(weights[name] * part.item() for name, part in parts.items()), rel=1e-5)


def test_a_term_of_weight_zero_costs_nothing(p):
    total("G", weights_of("reconstruct"), p)
    assert not {"z_logits", "real_logits", "prior_logits"} & vars(p).keys()
    noise = Pass(p.nets, p.x, p.y, p.c, p.z_prior, encodes=False)
    total("G", weights_of("controller"), noise)
    assert noise.z is p.z_prior


def test_a_weight_can_be_changed_but_not_misspelt():
    assert weights_of("refine", {"total_variation": 0.1})["total_variation"] == 0.1
    assert weights_of("controller", {"total_variation": 0.1})["total_variation"] == 0
    with pytest.raises(ValueError, match="no loss term is called 'tv'"):
        weights_of("refine", {"tv": 0.1})


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("player", PLAYERS)
def test_a_term_of_every_stage_knows_its_player(stage, player, p):
    weights = weights_of(stage)
    assert plays(player, weights) == (player != "D_z" or stage == "refine")
    if plays(player, weights):
        loss, parts = Loss(player, p.nets)(p, weights)
        assert loss.isfinite() and parts and all(TERMS[name].player == player for name in parts)


def test_a_player_owns_its_networks_alone(nets):
    for player, names in PLAYERS.items():
        assert dict(Loss(player, nets).owned) == {name: getattr(nets, name) for name in names}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_mean_distance_survives_short_types(dtype):
    a, b = torch.full((1, 1, 64, 64), 40.0, dtype=dtype), torch.zeros(1, 1, 64, 64, dtype=dtype)
    assert _mean_distance(a, b).item() == pytest.approx(40, rel=0.01)  # the sum, 163,840, is too large for float16

"""Where new people's z comes from."""

import dataclasses

import pytest
import torch

from exprgan import ExpressionEditor, ExprGAN
from exprgan.models.latent_prior import LatentPrior, fit_latent_prior
from train.gan.gan_trainer import new_model
from train.gan.train_config import TrainConfig


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def people_of_two_kinds(count=4000):
    """g(x) of a narrow crowd whose third number follows from the first two."""
    x = torch.randn(count, 3, generator=seeded()) * torch.tensor([0.3, 0.1, 0.01])
    x[:, 2] += x[:, 0] - 2 * x[:, 1] + 0.4
    return torch.tanh(x)


def test_before_it_was_measured_and_where_asked_z_is_drawn_from_the_papers_p_z():
    for people, prior in (
        (LatentPrior(3), "people"),
        (LatentPrior(3, *fit_latent_prior(people_of_two_kinds())), "uniform"),
    ):
        z = people.draw(4000, seeded(), prior)
        assert z.abs().max() <= 1 and z.mean(0).abs().max() < 0.05
        torch.testing.assert_close(z.var(0), torch.full((3,), 1 / 3), atol=0.03, rtol=0)


def test_new_people_lie_where_those_lie_who_were_measured():
    known = people_of_two_kinds()
    new = LatentPrior(3, *fit_latent_prior(known)).draw(4000, seeded(1))
    assert new.abs().max() < 1
    torch.testing.assert_close(new.mean(0), known.mean(0), atol=0.02, rtol=0)
    torch.testing.assert_close(torch.corrcoef(new.T), torch.corrcoef(known.T), atol=0.05, rtol=0)


def test_a_number_that_never_changes_and_one_at_its_end_are_no_trouble():
    known = people_of_two_kinds()
    known[:, 1], known[:, 0] = 1.0, 0.5
    mean, spread = fit_latent_prior(known)
    new = LatentPrior(3, mean, spread).draw(50, seeded())
    assert new.isfinite().all() and (new[:, 1] > 0.99).all() and (new[:, 0] - 0.5).abs().max() < 0.05


def test_the_same_seed_gives_the_same_people_of_either_kind(tiny_config):
    mean, spread = fit_latent_prior(torch.rand(200, tiny_config.z_dim, generator=seeded()) * 0.4)
    editor = ExpressionEditor(ExprGAN(dataclasses.replace(tiny_config, people_mean=mean, people_spread=spread)))
    one, again, other = (editor.generate(2, "happy", seed=3, prior=prior) for prior in ("people", "people", "uniform"))
    assert [picture.tobytes() for picture in one] == [picture.tobytes() for picture in again]
    assert one[0].tobytes() != other[0].tobytes()
    with pytest.raises(ValueError, match="prior must be people or uniform, not 'nobody'"):
        editor.generate(1, prior="nobody")


def test_a_run_that_goes_on_with_weights_forgets_where_people_were(tiny_config, tmp_path):
    mean, spread = fit_latent_prior(torch.rand(200, tiny_config.z_dim, generator=seeded()))
    ExprGAN(dataclasses.replace(tiny_config, people_mean=mean, people_spread=spread)).save_pretrained(tmp_path)
    assert ExprGAN.from_pretrained(tmp_path).config.people_mean == mean
    assert new_model(TrainConfig(init=str(tmp_path))).config.people_mean == ()

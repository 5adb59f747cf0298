"""The prior of z for new people."""

import pytest
import torch

from exprgan import ExpressionEditor, ExprGAN
from exprgan.models.latent_prior import LatentPrior
from train.gan.gan_trainer import new_model
from train.gan.train_config import TrainConfig


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def correlated_codes(count=4000):
    """g(x) with a narrow distribution, whose third number depends on the first two."""
    x = torch.randn(count, 3, generator=seeded()) * torch.tensor([0.3, 0.1, 0.01])
    x[:, 2] += x[:, 0] - 2 * x[:, 1] + 0.4
    return torch.tanh(x)


def fitted(z):
    prior = LatentPrior(z.shape[1])
    prior.fit(z)
    return prior


def test_without_a_fit_and_where_asked_z_is_uniform():
    for latent_prior, prior in ((LatentPrior(3), "people"), (fitted(correlated_codes()), "uniform")):
        z = latent_prior.sample(4000, seeded(), prior)
        assert z.abs().max() <= 1 and z.mean(0).abs().max() < 0.05
        torch.testing.assert_close(z.var(0), torch.full((3,), 1 / 3), atol=0.03, rtol=0)


def test_samples_have_the_mean_and_the_correlations_that_were_fitted():
    z = correlated_codes()
    samples = fitted(z).sample(4000, seeded(1))
    assert samples.abs().max() < 1
    torch.testing.assert_close(samples.mean(0), z.mean(0), atol=0.02, rtol=0)
    torch.testing.assert_close(torch.corrcoef(samples.T), torch.corrcoef(z.T), atol=0.05, rtol=0)


def test_a_constant_number_and_one_at_its_bound_can_be_fitted():
    z = correlated_codes()
    z[:, 1], z[:, 0] = 1.0, 0.5
    samples = fitted(z).sample(50, seeded())
    assert samples.isfinite().all() and (samples[:, 1] > 0.99).all() and (samples[:, 0] - 0.5).abs().max() < 0.05


def test_the_same_seed_gives_the_same_people_of_either_prior(tiny_config):
    torch.manual_seed(0)  # with some random weights all people look alike
    editor = ExpressionEditor(ExprGAN(tiny_config))
    editor.model.latent_prior.fit(torch.rand(200, tiny_config.z_dim, generator=seeded()) * 0.4)
    one, again, other = (editor.generate(2, "happy", seed=3, prior=prior) for prior in ("people", "people", "uniform"))
    assert [picture.tobytes() for picture in one] == [picture.tobytes() for picture in again]
    assert one[0].tobytes() != other[0].tobytes()
    for count in (1, 2, 5):  # the same people, however many
        few, many = (editor.model.latent_prior.sample(n, seeded(), "people") for n in (count, 12))
        assert torch.equal(few, many[:count])
    with pytest.raises(ValueError, match="prior must be one of people, uniform, not 'nobody'"):
        editor.generate(1, prior="nobody")


def test_the_fit_is_published_exactly_and_training_on_forgets_it(tiny_config, tmp_path):
    model = ExprGAN(tiny_config)
    model.latent_prior.fit(torch.rand(200, tiny_config.z_dim, generator=seeded()))
    model.save_pretrained(tmp_path)
    loaded = ExprGAN.from_pretrained(tmp_path, dtype=torch.bfloat16).latent_prior
    assert torch.equal(loaded.mean, model.latent_prior.mean) and torch.equal(loaded.cholesky, model.latent_prior.cholesky)
    assert not new_model(TrainConfig(init=str(tmp_path))).latent_prior.is_fitted

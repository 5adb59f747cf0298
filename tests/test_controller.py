"""F_ctrl: eq. 3 and the codes of editing."""

import pytest
import torch

from exprgan import EXPRESSIONS, Controller

HAPPY = slice(15, 20)


def test_a_random_code_is_positive_for_its_class_and_its_negative_elsewhere():
    y = torch.eye(6)[[3, 0]]
    c = Controller().random(y, torch.Generator().manual_seed(1)).view(2, 6, 5)
    assert (c[0, 3] > 0).all() and (c[1, 0] > 0).all()
    others = torch.tensor([i for i in range(6) if i != 3])
    torch.testing.assert_close(c[0, others], -c[0, 3].expand(5, 5))


def test_a_random_code_covers_its_range():
    c = Controller().random(torch.eye(6)[[2]].expand(2000, 6)).view(-1, 6, 5)[:, 2]
    assert 0 <= c.min() < 0.01 and 0.99 < c.max() <= 1
    assert abs(c.mean() - 0.5) < 0.02


def test_full_intensity_is_one_for_the_expression_and_minus_one_elsewhere():
    c = Controller().code("happy")
    assert (c[HAPPY] == 1).all() and c.sum() == 5 - 25


def test_zero_intensity_is_the_neutral_code():
    controller = Controller()
    for name in (*EXPRESSIONS, "neutral"):
        assert torch.equal(controller.code(name, 0.0), controller.neutral())
    assert torch.equal(controller.code("neutral", 1.0), torch.full((30,), -1.0))


def test_intensity_moves_all_elements_and_a_style_moves_one():
    assert torch.equal(Controller().code("happy", 0.75)[HAPPY], torch.full((5,), 0.5))
    assert torch.equal(Controller().code("happy", 0.75, style=2)[HAPPY], torch.tensor([-1, -1, 0.5, -1, -1]))


def test_a_mix_has_each_expression_at_its_own_intensity():
    c = Controller().mix({"joy": 1.0, "Surprised": 0.5})
    assert (c[HAPPY] == 1).all() and (c[25:] == 0).all() and (c[:15] == -1).all()


def test_a_calibrated_path_is_followed_between_its_knots():
    controller = Controller(knots=3)
    controller.path.fill_(-1.0)
    controller.path[:, 1, 0], controller.path[:, 2] = 1.0, 1.0
    assert torch.equal(controller.code("happy", 0.25)[HAPPY], torch.tensor([0.0, -1, -1, -1, -1]))
    assert torch.equal(controller.code("happy", 0.75)[HAPPY], torch.tensor([1.0, 0, 0, 0, 0]))
    assert torch.equal(controller.code("happy", 1.0)[HAPPY], torch.ones(5))


@pytest.mark.parametrize("intensity", [-0.01, 1.01, float("nan"), float("inf")])
def test_an_intensity_outside_its_range_is_refused(intensity):
    with pytest.raises(ValueError, match=r"between 0 .* and 1"):
        Controller().code("happy", intensity)


def test_an_unknown_expression_or_style_is_refused():
    with pytest.raises(ValueError, match="unknown expression 'hapy'; choose one of angry, disgust"):
        Controller().code("hapy")
    with pytest.raises(ValueError, match=r"0\.\.4, not 5"):
        Controller().code("happy", style=5)


def test_a_known_intensity_sets_the_mean_of_z_y_and_leaves_the_rest_random():
    y = torch.eye(7)[[0, 3, 5, 6], :6]  # the last row is neutral
    intensity = torch.tensor([0.2, 1.0, float("nan"), 0.0])
    c = Controller().random(y, torch.Generator().manual_seed(0), intensity).view(4, 6, 5)
    drawn = Controller().random(y, torch.Generator().manual_seed(0)).view(4, 6, 5)

    assert c.abs().mean(dim=2)[0].allclose(torch.tensor(0.2))
    assert c[0, 0].std() > 0.01 and (c[0, 0] >= 0).all() and (c[0, 1:] <= 0).all()
    assert (c[1, 3] == 1).all() and (c[1, 0] == -1).all()
    assert torch.equal(c[2], drawn[2])  # unknown: as the paper draws it
    assert (c[3] == -1).all()

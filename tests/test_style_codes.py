"""What a code stands for: one element a style at its strength, all of them the usual style, and neutral all -1."""

import math
from collections import Counter

import pytest
import torch

from exprgan.models.controller import Controller
from train.data.style_codes import MAX_LIFTED, STYLES, USUAL_STYLE, Label, code_for, style_of_elements

F_ctrl = Controller()


def draw(label: Label, number: int) -> list[torch.Tensor]:
    """Codes of a label, each (K, d)."""
    return [code_for(label, F_ctrl, torch.Generator().manual_seed(i)).view(6, 5) for i in range(number)]


def test_styles_are_spread_over_the_elements_of_a_code():
    assert style_of_elements(3, 5) == [(0, 1.0), (1, 0.7), (1, 1.0), (2, 0.7), (2, 1.0)]
    assert style_of_elements(3, 3) == [(0, 1.0), (1, 1.0), (2, 1.0)] and style_of_elements(3, 1) == [(0, 1.0)]
    assert all(USUAL_STYLE[name] in styles for name, styles in STYLES.items())


def test_the_usual_style_has_codes_of_all_elements_random_ones_and_its_own_element():
    kinds: Counter[str] = Counter()
    for c in draw(Label("happy", "teeth", 0.9), 400):
        c_i, absent = c[3], c[[0, 1, 2, 4, 5]]
        if c_i.std() < 1e-6:
            kinds["all"] += 1
            torch.testing.assert_close(c_i, torch.full((5,), 0.8))
        elif c_i.min() > 0:  # eq. 3
            kinds["random"] += 1
            assert c_i.mean().item() == pytest.approx(0.9, abs=1e-5) and torch.equal(absent, -c_i.expand(5, 5))
        else:
            kinds["one"] += 1
            assert c_i.argmax() == 2 and c_i[2].item() == pytest.approx(0.8) and c_i[[0, 1, 3, 4]].max() <= MAX_LIFTED
            assert (absent == -1).all()
    assert 130 <= kinds["all"] <= 190 and 75 <= kinds["random"] <= 130 and 105 <= kinds["one"] <= 175


@pytest.mark.parametrize("intensity", [0.2, 0.6, 1.0])
def test_another_style_is_one_element_at_its_strength(intensity):
    lifted, elements = 0, set()
    for c in draw(Label("surprise", "drop", intensity), 200):
        c_i = c[5]
        k = int(c_i.argmax())
        elements.add(k)
        strength = {3: 0.7, 4: 1.0}[k]
        assert c_i[k].item() == pytest.approx(2 * intensity / strength - 1, abs=1e-5)
        others = c_i[torch.arange(5) != k]
        lifted += bool((others > -1).any())
        assert others.max() <= min(MAX_LIFTED, c_i[k]) + 1e-6 and (c[:5] == -1).all()
    assert 55 <= lifted <= 105 and elements == ({3, 4} if intensity <= 0.7 else {4})


def test_an_unknown_style_or_intensity_and_neutral():
    assert all((c == -1).all() for c in draw(Label("neutral", "real", 0.0), 3))
    unknown = draw(Label("sad", "mine", 1.0), 60)
    assert all(torch.allclose(c[4], torch.ones(5)) for c in unknown)  # eq. 3 with a mean of 1 is all 1 as well
    half = [c[4] for c in draw(Label("sad", "", 0.5), 200)]
    equal = sum(bool(c_i.std() < 1e-6) for c_i in half)
    assert 120 <= equal <= 175 and all(
        c_i.mean() == pytest.approx(0 if c_i.std() < 1e-6 else 0.5, abs=1e-5) for c_i in half
    )
    drawn = [c[4] for c in draw(Label("sad", "cry", math.nan), 300)]
    assert torch.stack(drawn).mean() == pytest.approx(0.5, abs=0.05) and all((c_i.min() >= 0) for c_i in drawn)

"""Strengths between those at which T was asked."""

import dataclasses
import itertools

import pytest
import torch

from exprgan import EXPRESSIONS, ExpressionEditor, ExprGAN
from exprgan.editing.warp_cache import CACHE_SIZE, INTENSITIES, at_intensity, surrounding_codes
from exprgan.models.warp_network import DEFAULT_EMPHASIS


@pytest.fixture
def editor(tiny_config):
    """An editor whose model has a T that moves something."""
    torch.manual_seed(0)
    editor = ExpressionEditor(ExprGAN(dataclasses.replace(tiny_config, warp_width=0.25)))
    torch.nn.init.normal_(editor.model.T.head.weight, std=0.5)
    return editor


@pytest.fixture
def subject(editor, portrait, face):
    return editor.read(portrait, face)


@pytest.fixture
def asked(editor, monkeypatch):
    """How often the decoder was asked, and T."""
    calls = {"decoder": 0, "T": 0}

    def count(name, work):
        def counted(*seen):
            calls[name] += 1
            return work(*seen)

        return counted

    monkeypatch.setattr(editor.model.G_dec, "forward", count("decoder", editor.model.G_dec.forward))
    monkeypatch.setattr(editor.model.T, "predict_flow", count("T", editor.model.T.predict_flow))
    return calls


def test_a_code_lies_between_two_of_the_levels_and_all_of_one_look_between_the_same(editor):
    code = editor.model.F_ctrl.code
    for style in (None, 3):
        for strength in (0.45, 0.7, 0.85, 1.0):
            c = code("happy", strength, style=style)
            weaker, stronger, share = surrounding_codes(c)
            torch.testing.assert_close(torch.lerp(weaker, stronger, share), c)
            levels = [(end.max().item() + 1) / 2 for end in (weaker, stronger)]
            assert any(levels == pytest.approx(pair) for pair in itertools.pairwise(INTENSITIES))
    a, b = (surrounding_codes(code("sad", strength))[0] for strength in (0.62, 0.79))
    assert torch.equal(a, b)
    mixed = editor.model.F_ctrl.mix({"happy": 0.9, "surprise": 0.5})
    assert surrounding_codes(mixed)[1] is mixed and surrounding_codes(mixed)[2] == 1


def test_a_look_at_another_strength_keeps_its_kind():
    code = torch.tensor([-1.0, 0.2, 0.2, -1.0])
    torch.testing.assert_close(at_intensity(code, 0.4), torch.tensor([-1.0, -0.2, -0.2, -1.0]))
    mixed = torch.tensor([-1.0, 0.2, -0.4, -1.0])
    torch.testing.assert_close(at_intensity(mixed, 0.3), torch.tensor([-1.0, -0.4, -0.7, -1.0]))


def test_between_two_levels_neither_decoder_nor_t_is_asked_again(editor, subject, asked):
    asked.update(decoder=0, T=0)
    editor.edit(subject, "happy", 0.7)
    assert asked == {"decoder": 2, "T": 2}
    for strength in (0.65, 0.75, 0.61):
        editor.edit(subject, "happy", strength).image.load()
    assert asked == {"decoder": 2, "T": 2}
    editor.edit(subject, "happy", 0.9)
    assert asked == {"decoder": 3, "T": 3}
    editor.edit(subject, "sad", 1.0)
    assert asked == {"decoder": 4, "T": 4}  # at a level nothing is between


def test_what_was_shown_before_does_not_change_an_edit(editor, portrait, face):
    fresh = editor.edit(editor.read(portrait, face), "happy", 0.7).prediction
    used = editor.read(portrait, face)
    for expression in EXPRESSIONS:
        for strength in (1.0, 0.1, 0.65):
            editor.edit(used, expression, strength)
    again = editor.edit(used, "happy", 0.7).prediction
    assert all(torch.equal(a, b) for a, b in zip(fresh, again, strict=True))
    assert len(used.warp_cache) <= CACHE_SIZE


def test_flow_and_light_of_a_strength_between_are_mixed_and_at_a_level_they_are_ts_own(editor, subject):
    weak, middle, strong = (editor.edit(subject, "fear", strength).prediction for strength in (0.6, 0.7, 0.8))
    for a, b, c in zip(weak[:2], middle[:2], strong[:2], strict=True):
        torch.testing.assert_close(b, (a + c) / 2)
        assert (a - c).abs().max() > 1e-4
    result = editor.edit(subject, "fear", 0.8)
    inputs = (part[None] for part in (subject.wide_crop, subject.reconstruction, result.x_hat, result.code))
    torch.testing.assert_close(strong.flow, editor.model.T(*inputs, DEFAULT_EMPHASIS).flow.detach())


def test_a_tuned_face_starts_anew(editor, subject):
    editor.edit(subject, "happy", 0.7)
    tuned = editor.tune(subject)
    assert subject.warp_cache and not tuned.warp_cache


def test_another_emphasis_is_asked_for_anew(editor, subject, asked):
    asked.update(decoder=0, T=0)
    flows = []
    for emphasis in (1.0, 1.5):
        editor.model.warp_emphasis.per_expression.fill_(emphasis)
        flows.append(editor.edit(subject, "happy").prediction.flow)
    assert asked["T"] == 2 and flows[1].abs().max() > flows[0].abs().max()


def test_every_size_of_a_photo_shares_what_t_said(editor, portrait, face, asked):
    large = editor.read(portrait.resize([4 * side for side in portrait.size]))
    asked.update(decoder=0, T=0)
    editor.edit(large.preview, "happy", 0.7)
    editor.edit(large, "happy", 0.75)
    assert asked == {"decoder": 2, "T": 2}

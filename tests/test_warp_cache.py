"""Cached warps: predictions at a few intensities, and interpolation between them."""

import dataclasses
import itertools

import pytest
import torch

from exprgan import EXPRESSIONS, ExpressionEditor, ExprGAN
from exprgan.editing.warp_cache import CACHE_SIZE, CACHED_INTENSITIES, at_intensity, predict_warp, surrounding_codes
from exprgan.models.warp_network import DEFAULT_EMPHASIS


@pytest.fixture
def editor(tiny_config):
    """An editor whose model has a T with visible flow."""
    torch.manual_seed(0)
    editor = ExpressionEditor(ExprGAN(dataclasses.replace(tiny_config, warp_width=0.25)))
    torch.nn.init.normal_(editor.model.T.head.weight, std=0.5)
    return editor


@pytest.fixture
def subject(editor, portrait, face):
    return editor.read(portrait, face)


@pytest.fixture
def calls(editor, monkeypatch):
    """How often the decoder and T were called."""
    calls = {"decoder": 0, "T": 0}

    def count(name, function):
        def counted(*args):
            calls[name] += 1
            return function(*args)

        return counted

    monkeypatch.setattr(editor.model.G_dec, "forward", count("decoder", editor.model.G_dec.forward))
    monkeypatch.setattr(editor.model.T, "predict_flow", count("T", editor.model.T.predict_flow))
    return calls


def test_a_code_is_interpolated_between_the_two_nearest_intensities(editor):
    code = editor.model.F_ctrl.code
    for style in (None, 3):
        for intensity in (0.45, 0.7, 0.85, 1.0):
            c = code("happy", intensity, style=style)
            weaker, stronger, weight = surrounding_codes(c)
            torch.testing.assert_close(torch.lerp(weaker, stronger, weight), c)
            neighbours = [(end.max().item() + 1) / 2 for end in (weaker, stronger)]
            assert any(neighbours == pytest.approx(pair) for pair in itertools.pairwise(CACHED_INTENSITIES))
    a, b = (surrounding_codes(code("sad", intensity))[0] for intensity in (0.62, 0.79))
    assert torch.equal(a, b)
    mixed = editor.model.F_ctrl.mix({"happy": 0.9, "surprise": 0.5})
    assert surrounding_codes(mixed)[1] is mixed and surrounding_codes(mixed)[2] == 1


def test_a_code_at_another_intensity_keeps_its_proportions():
    code = torch.tensor([-1.0, 0.2, 0.2, -1.0])
    torch.testing.assert_close(at_intensity(code, 0.4), torch.tensor([-1.0, -0.2, -0.2, -1.0]))
    mixed = torch.tensor([-1.0, 0.2, -0.4, -1.0])
    torch.testing.assert_close(at_intensity(mixed, 0.3), torch.tensor([-1.0, -0.4, -0.7, -1.0]))


def test_between_two_intensities_neither_decoder_nor_t_runs_again(editor, subject, calls):
    calls.update(decoder=0, T=0)
    editor.edit(subject, "happy", 0.7)
    assert calls == {"decoder": 2, "T": 2}
    for intensity in (0.65, 0.75, 0.61):
        editor.edit(subject, "happy", intensity).image.load()
    assert calls == {"decoder": 2, "T": 2}
    editor.edit(subject, "happy", 0.9)
    assert calls == {"decoder": 3, "T": 3}
    editor.edit(subject, "sad", 1.0)
    assert calls == {"decoder": 4, "T": 4}  # at one of the intensities: no interpolation


def test_earlier_edits_do_not_change_an_edit(editor, portrait, face):
    fresh = editor.edit(editor.read(portrait, face), "happy", 0.7).prediction
    used = editor.read(portrait, face)
    for expression in EXPRESSIONS:
        for intensity in (1.0, 0.1, 0.65):
            editor.edit(used, expression, intensity)
    again = editor.edit(used, "happy", 0.7).prediction
    assert all(torch.equal(a, b) for a, b in zip(fresh, again, strict=True))
    assert len(used.warp_cache) <= CACHE_SIZE


def test_flow_and_gain_are_interpolated_between_the_predictions_of_t(editor, subject):
    weak, middle, strong = (editor.edit(subject, "fear", intensity).prediction for intensity in (0.6, 0.7, 0.8))
    for a, b, c in zip(weak[:2], middle[:2], strong[:2], strict=True):
        torch.testing.assert_close(b, (a + c) / 2)
        assert (a - c).abs().max() > 1e-4
    result = editor.edit(subject, "fear", 0.8)
    x, *decoded, c = (part[None] for part in (subject.wide_crop, subject.reconstruction, result.x_hat, result.code))
    torch.testing.assert_close(strong.flow, editor.model.T(x, decoded, c, DEFAULT_EMPHASIS).flow.detach())


def test_a_face_is_neither_encoded_nor_decoded_for_a_t_that_does_without(editor, portrait, face, calls, monkeypatch):
    monkeypatch.setattr(editor.model, "config", dataclasses.replace(editor.model.config, warp_decoded=False))
    encoded, encode = [], editor.model.G_enc.forward
    monkeypatch.setattr(editor.model.G_enc, "forward", lambda x: encoded.append(len(x)) or encode(x))
    subject = editor.read(portrait, face)
    edit = editor.edit(subject, "fear")
    assert subject.reconstruction is None and calls["decoder"] == 0 and calls["T"] == 1
    transferred = editor.transfer(subject, portrait, source_face=face)
    assert edit.image.size == edit.preview.size == transferred.image.size == portrait.size
    assert hash(subject) and not encoded and calls["decoder"] == 0
    assert edit.x_hat.shape == (3, 32, 32) and calls["decoder"] == 1
    copies = subject, dataclasses.replace(subject), edit.subject.preview, transferred.subject
    assert all(copy.z is subject.z for copy in copies) and encoded == [1]


def test_a_face_of_a_t_that_does_without_the_decoder_can_be_tuned(editor, portrait, face, monkeypatch):
    monkeypatch.setattr(editor.model, "config", dataclasses.replace(editor.model.config, warp_decoded=False))
    tuned = editor.tune(editor.read(portrait, face))
    assert tuned.reconstruction.shape == (3, 32, 32)
    assert editor.edit(tuned, "fear", fidelity="tuned").image.size == portrait.size


def test_a_t_that_does_without_the_decoder_sees_its_pictures_in_tuned_edits_only(subject, editor, monkeypatch):
    model = editor.model
    monkeypatch.setattr(model, "config", dataclasses.replace(model.config, warp_decoded=False))
    code, picture = model.F_ctrl.code("fear"), subject.reconstruction
    x, c, decoded = subject.wide_crop[None], code[None], (picture[None], -picture[None])
    subjects = [dataclasses.replace(subject, is_tuned=is_tuned, warp_cache={}) for is_tuned in (False, True)]
    edit, tuned = (predict_warp(model, one, code, lambda _: -picture) for one in subjects)
    emphasis = model.warp_emphasis(code, subject.reading.source_code)
    torch.testing.assert_close(edit.flow, model.T(x, None, c, emphasis).flow.detach())
    torch.testing.assert_close(tuned.flow, model.T(x, decoded, c, emphasis).flow.detach())
    assert (edit.flow - tuned.flow).abs().max() > 1e-5


def test_a_tuned_face_has_an_empty_cache(editor, subject):
    editor.edit(subject, "happy", 0.7)
    tuned = editor.tune(subject)
    assert subject.warp_cache and not tuned.warp_cache


def test_another_emphasis_is_predicted_anew(editor, subject, calls):
    calls.update(decoder=0, T=0)
    flows = []
    for emphasis in (1.0, 1.5):
        editor.model.warp_emphasis.per_expression.fill_(emphasis)
        flows.append(editor.edit(subject, "happy").prediction.flow)
    assert calls["T"] == 2 and flows[1].abs().max() > flows[0].abs().max()


def test_all_sizes_of_a_photo_share_the_cache(editor, portrait, face, calls):
    large = editor.read(portrait.resize([4 * side for side in portrait.size]))
    calls.update(decoder=0, T=0)
    editor.edit(large.preview, "happy", 0.7)
    editor.edit(large, "happy", 0.75)
    assert calls == {"decoder": 2, "T": 2}

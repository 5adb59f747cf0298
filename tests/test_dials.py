"""Dials: names, sides and limits of action units, and the edits that they make."""

import dataclasses

import numpy as np
import pytest
import torch
from test_unit_condition import unit_editor  # noqa: F401, a fixture

from exprgan import ExpressionEditor, ExprGAN
from exprgan.editing.dials import DIALS, check_dials, dials_of, turn_dials
from exprgan.editing.warp_cache import LIPS_START, NOSE_END, UnitChange
from exprgan.facs import ACTION_UNITS
from exprgan.models.unit_condition import swap_sides

UNITS = (5, 12, 43)
ALL = tuple(ACTION_UNITS)


@pytest.fixture
def subject(unit_editor, portrait, face):  # noqa: F811
    return unit_editor.read(portrait, face)


def turned(values, start=None, units=ALL):
    start = torch.zeros(len(units), 2) if start is None else start
    result = turn_dials(start, units, check_dials(values, dials_of(units, True)))
    return {unit: tuple(row) for unit, row in zip(units, result.tolist(), strict=True) if any(row)}


def test_a_dial_moves_its_unit_on_the_persons_own_sides():
    assert turned({"smile": 0.5}) == {12: (0.5, 0.5)}
    assert turned({"smile_left": 0.5}) == {12: (0, 0.5)} and turned({"smile_right": 0.5}) == {12: (0.5, 0)}
    assert turned({"smile": 0.5, "smile_left": 0}) == {12: (0.5, 0)}
    assert turned({"jaw": 1}) == {26: (0.5, 0.5)}
    assert set(DIALS) == set(dials_of(ALL, True)) and set(dials_of(UNITS, True)) == {"lids", "smile"}
    assert list(dials_of(UNITS, False)) == ["smile"] and not dials_of((), True)


def test_lids_go_from_closed_to_wide_and_a_negative_value_takes_away_what_is_there():
    wide = torch.zeros(len(ALL), 2)
    wide[ALL.index(5)], wide[ALL.index(12)] = 1.6, 0.8
    assert turned({"lids": 1}) == {5: (1, 1)} and turned({"lids": -1}) == {43: (1, 1)}
    wink = turned({"lids_left": -1}, wide)
    assert wink[5] == pytest.approx((1.6, 0)) and wink[43] == (0, 1)
    assert turned({"smile": -0.5}, wide)[12] == pytest.approx((0.4, 0.4)) and 12 not in turned({"smile": -1}, wide)
    asleep = torch.zeros(len(ALL), 2)
    asleep[ALL.index(43)] = 1.2  # further than the dial closes eyes, but they are not opened
    assert turned({"lids": -0.5}, asleep)[43] == pytest.approx((1.2, 1.2))
    assert turned({"lids": 1}, wide)[5] == (2, 2) and turned({"smile": -1}) == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"grin": 1}, "unknown unit 'grin'; there are lids, squint, .*press"),
        ({"smile_up": 1}, "unknown unit 'smile_up'"),
        ({"jaw_left": 1}, "jaw has no sides; leave _left out"),
        ({"smile": 1.5}, "smile must be a number from -1 to 1, not 1.5"),
        ({"smile": float("nan")}, "smile must be a number"),
        ({"smile": True}, "smile must be a number"),
        ({"smile": "1"}, "smile must be a number"),
        ({3: 1}, "unknown unit 3"),
        ([1], "units must be values by name"),
    ],
)
def test_wrong_dials_are_answered_with_a_sentence(values, message):
    with pytest.raises(ValueError, match=message):
        check_dials(values)


def flow(edit):
    return edit.prediction.flow


def test_dials_of_0_change_nothing(unit_editor, subject):  # noqa: F811
    unchanged = unit_editor.edit(subject, units={"smile": 0, "lids_left": 0})
    assert np.array_equal(np.asarray(unchanged.image), np.asarray(subject.photo))
    assert np.array_equal(np.asarray(unit_editor.edit(subject, units={}).image), np.asarray(subject.photo))
    plain = unit_editor.edit(subject, "happy", 0.7)
    for part, same in zip(plain.prediction, unit_editor.edit(subject, "happy", 0.7, units={"smile": 0}).prediction,
                          strict=True):  # fmt: skip
        assert torch.equal(part, same)


def test_a_dial_adds_the_difference_that_t_predicts_to_the_photo_or_to_an_expression(unit_editor, subject):  # noqa: F811
    model = unit_editor.model
    model.unit_table.full[model.config.expressions.index("happy"), :, UNITS.index(12)] = 0.9

    def alone(weights):  # as T itself sees them
        change = unit_editor.decode(subject, model.F_ctrl.neutral(), units=UnitChange(weights))
        return change.prediction.flow

    read = torch.tensor([subject.reading.units[unit] for unit in UNITS]).clamp(min=0)
    expected = alone(turn_dials(read, UNITS, {"smile": 0.4})) - alone(read)
    torch.testing.assert_close(flow(unit_editor.edit(subject, units={"smile": 0.8}, intensity=0.5)), expected)
    assert expected.abs().max() > 1e-4
    for name, start in (("happy", [[0, 0], [0.9, 0.9], [0, 0]]), ("neutral", [[0, 0]] * 3)):
        start = torch.tensor(start, dtype=torch.float32)
        step = alone(turn_dials(start, UNITS, {"lids_left": -1})) - alone(start)
        changed = flow(unit_editor.edit(subject, name, units={"lids_left": -1})) - flow(unit_editor.edit(subject, name))
        nose, lips = (round(height * step.shape[2]) for height in (NOSE_END - 0.04, LIPS_START + 0.04))
        torch.testing.assert_close(changed[..., :nose, :], step[..., :nose, :], atol=1e-6, rtol=1e-4)
        assert step[..., lips:, :].abs().max() > 1e-4 and changed[..., lips:, :].abs().max() < 1e-6  # lids move no lips


def test_the_mouth_is_drawn_only_if_a_dial_moves_it(unit_editor, subject):  # noqa: F811
    assert not unit_editor.edit(subject, units={"lids": -1}).prediction.mask.any()
    smile, weak = (unit_editor.edit(subject, units={"smile": value}).prediction for value in (0.5, 0.05))
    assert smile.mask.any() and weak.mask.max() < 0.21


def test_a_wink_of_the_mirrored_photo_is_the_other_wink_to_t(unit_editor):  # noqa: F811
    """Training mirrors pairs with `swap_sides`, so the two winks are one to it."""
    T, neutral = unit_editor.model.T, unit_editor.model.F_ctrl.neutral()[None]
    right, left = (turn_dials(torch.zeros(3, 2), UNITS, {f"lids_{side}": -1})[None] for side in ("right", "left"))
    assert right.any() and torch.equal(swap_sides(T.condition(neutral, None, right), 3), T.condition(neutral, None, left))


def test_moving_a_dial_predicts_one_flow_a_step(unit_editor, subject, monkeypatch):  # noqa: F811
    calls, predict = [], unit_editor.model.T.predict_flow
    monkeypatch.setattr(unit_editor.model.T, "predict_flow", lambda *args: calls.append(1) or predict(*args))
    unit_editor.edit(subject, "happy", 0.7, units={"smile": 0.1})
    first = len(calls)
    for step in range(3, 13):
        unit_editor.edit(subject, "happy", 0.7, units={"smile": step / 20})
    assert first == 4 and len(calls) == first + 10


def test_several_faces_and_animations_take_dials(unit_editor, subject):  # noqa: F811
    group = unit_editor.edit_many({0: subject}, units={"lids_left": -1})
    assert torch.equal(flow(group.edits[0]), flow(unit_editor.edit(subject, units={"lids_left": -1})))
    film = unit_editor.animate(subject, "sweep", None, units={"lids_left": -1}, seconds=1, fps=4)
    assert np.array_equal(np.asarray(film[0]), np.asarray(film.photo)) and len(film) == 4
    assert not np.array_equal(np.asarray(film[2]), np.asarray(film.photo))
    assert len(unit_editor.animate(subject, "tour", units={"smile": -1}, seconds=1, fps=2)) == 12


def test_units_need_a_t_that_takes_them_and_an_edit_needs_something(unit_editor, tiny_config, portrait, face):  # noqa: F811
    editor = ExpressionEditor(ExprGAN(dataclasses.replace(tiny_config, warp_width=0.25)))
    assert editor.dials == () and unit_editor.dials == ("lids", "smile")
    for arguments in ({"units": {"smile": 1}}, {"expression": "happy", "units": {"smile": 1}}, {"units": {}}):
        with pytest.raises(ValueError, match=r"this model takes no action units.*warp_units"):
            editor.edit(portrait, face=face, **arguments)
    with pytest.raises(ValueError, match="name an expression, or units"):
        unit_editor.edit(portrait, face=face)
    with pytest.raises(ValueError, match='fidelity "model"'):
        unit_editor.edit(portrait, units={"smile": 1}, face=face, fidelity="model")


def test_transfer_by_units_takes_each_side_alone_or_on_top(unit_editor, subject):  # noqa: F811
    def showing(weights):
        reading = dataclasses.replace(subject.reading, units=dict(zip(UNITS, weights, strict=True)))
        return dataclasses.replace(subject, reading=reading, warp_cache={})

    wink, target = showing([(0, 0), (0, 0.5), (1, 0)]), torch.tensor([[0, 0], [0, 0.5], [1, 0]])
    neutral = unit_editor.model.F_ctrl.neutral()
    expected = flow(unit_editor.decode(subject, neutral, units=UnitChange(target * 0.5)))
    assert torch.equal(flow(unit_editor.transfer(subject, wink, 0.5)), expected)
    face = showing([(0, 0), (0.2, 0.2), (0, 0)])
    start = torch.tensor([[0, 0], [0.2, 0.2], [0, 0]])
    added = unit_editor.decode(face, face.reading.source_code, units=UnitChange(start + target, start, on_photo=True))
    assert torch.equal(flow(unit_editor.transfer(face, wink, relative=True)), flow(added))
    closed = unit_editor.transfer(subject, showing([(0, 0), (0, 0.5), (1.4, 0)]))  # not further than T is used
    assert torch.equal(flow(closed), flow(unit_editor.transfer(subject, wink)))
    none = unit_editor.transfer(face, wink, 0, relative=True)
    assert np.array_equal(np.asarray(none.image), np.asarray(subject.photo))
    by_code = unit_editor.transfer(subject, wink, by="code")
    assert torch.equal(by_code.code, wink.reading.code)
    with pytest.raises(ValueError, match="relative needs"):
        unit_editor.transfer(subject, wink, by="code", relative=True)
    with pytest.raises(ValueError, match="by must be one of units, code"):
        unit_editor.transfer(subject, wink, by="pixels")
    with pytest.raises(ValueError, match="does not read the action unit 5"):
        unit_editor.transfer(subject, dataclasses.replace(wink, reading=dataclasses.replace(wink.reading, units={})))


def test_a_model_without_units_transfers_by_code(tiny_editor, portrait, face):
    subject = tiny_editor.read(portrait, face)
    assert torch.equal(tiny_editor.transfer(subject, subject).code, subject.reading.code)
    with pytest.raises(ValueError, match="takes no action units"):
        tiny_editor.transfer(subject, subject, by="units")

"""Action units as T's inputs: the condition, what training gives T, and edits of a T that takes them."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image
from test_warp_training import SIDE, fields, folder, seeded, soft_noise  # noqa: F401, a fixture

from exprgan import ExpressionEditor, ExprGAN, ExprGANConfig
from exprgan.editing.warp_cache import UnitChange, predict_warp
from exprgan.models.unit_condition import join_condition, swap_sides, units_as_tensor
from exprgan.models.unit_table import UnitTable
from exprgan.models.warp_network import DEFAULT_EMPHASIS, WarpNetwork
from train.core.train_errors import DataError
from train.data.metadata import read_metadata, write_metadata
from train.data.style_codes import Label
from train.warp import unit_inputs
from train.warp.pair_dataset import draw_pairs, load_people
from train.warp.unit_inputs import UnitInputs, load_widened
from train.warp.warp_trainer import WarpTrainConfig, WarpTrainer, augment_pairs

UNITS = (5, 12, 43)
C = torch.tensor([[0.5, -1.0], [1.0, 0.0]])


def test_a_condition_holds_what_is_given_and_a_flag_for_it():
    now = torch.tensor([[[0.1, 0.2], [0.3, 0.4], [0.0, 1.0]]]).repeat(2, 1, 1)
    target = now + 1
    target[1, 0, 0] = torch.nan  # one weight unknown: none is given
    condition = join_condition(C, 3, now, target)
    assert condition.shape == (2, 2 + 2 * 7)
    assert torch.equal(condition[:, :2], C) and torch.equal(condition[:, 2:8], now.flatten(1))
    assert condition[:, 8].tolist() == [1, 1] and condition[:, 15].tolist() == [1, 0]
    assert torch.equal(condition[0, 9:15], target[0].flatten()) and not condition[1, 9:].any()
    assert not join_condition(C, 3)[:, 2:].any() and join_condition(C, 0) is C
    mirrored = swap_sides(condition, 3)
    assert torch.equal(mirrored[0, 2:8].view(3, 2), now[0].flip(1)) and mirrored[0, 8] == 1
    assert torch.equal(swap_sides(mirrored, 3), condition) and torch.equal(mirrored[:, :2], C)


def test_weights_by_unit_become_a_row_for_each_unit():
    weights = units_as_tensor({12: (0.9, 0.4)}, UNITS, default=0.0)
    assert torch.equal(weights, torch.tensor([[0, 0], [0.9, 0.4], [0, 0]]))
    assert units_as_tensor({}, UNITS, default=torch.nan).isnan().all() and units_as_tensor({}, (), default=0).shape == (
        0,
        2,
    )


def test_a_t_with_units_begins_as_the_t_that_it_starts_from():
    torch.manual_seed(0)
    before = WarpNetwork(32, 30, width=0.25)
    with torch.no_grad():
        for parameter in before.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    after = WarpNetwork(32, 30, 0.25, UNITS)
    load_widened(after, before.state_dict())
    x, c = torch.rand(2, 3, 64, 64) * 2 - 1, torch.rand(2, 30) * 2 - 1
    condition = after.condition(c, torch.rand(2, 3, 2), torch.rand(2, 3, 2))
    for a, b in zip(before(x, None, c), after(x, None, condition), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
    with pytest.raises(RuntimeError):
        load_widened(WarpNetwork(32, 30, 0.5, UNITS), before.state_dict())


@pytest.fixture
def unit_weights(tiny_config, tmp_path):
    """Weights with a face network that reads UNITS, without a T."""
    torch.manual_seed(0)
    ExprGAN(dataclasses.replace(tiny_config, action_units=UNITS)).save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


@pytest.fixture
def unit_folder(folder):  # noqa: F811
    """The pairs of `folder` with the units of the smiles, and a random combination of A."""
    rows = read_metadata(folder)
    for row in rows:
        row["expression"] = row["expression"].replace("neutral", "Neutral")  # any word for it will do
        row["action_units"] = "" if row["kind"] == "photo" else json.dumps({"12": [0.9, 0.4], "25": [1, 1]})
    Image.fromarray(soft_noise(7)).save(folder / "A" / "wink.png")
    np.savez(folder / "A" / "wink.png.npz", **fields(np.zeros((SIDE, SIDE, 2), np.float16)))
    wink = {"file_name": "A/wink.png", "expression": "", "style": "combination", "intensity": "0"}
    rows.append(rows[1] | wink | {"action_units": json.dumps({"43": [1, 0]})})
    write_metadata(folder, rows)
    return folder


def test_pairs_carry_the_units_of_their_targets_and_mirrored_ones_exchange_sides(unit_folder):
    people = load_people(unit_folder, "train", ("happy",), UNITS)
    assert [label.style for label in people[0].labels] == ["real", "teeth", "combination"]
    assert people[0].units.tolist() == [[[0, 0]] * 3, [[0, 0], [pytest.approx(0.9), pytest.approx(0.4)], [0, 0]],
                                        [[0, 0], [0, 0], [1, 0]]]  # fmt: skip
    pairs = draw_pairs(people, 60, seeded())
    for label, units in zip(pairs.labels, pairs.units, strict=True):
        index = {"real": 0, "teeth": 1, "combination": 2}[label.style]
        assert torch.equal(units, people[0].units[index])
    drawn = [label.style for label in pairs.labels]
    assert 3 <= drawn.count("combination") <= 25 and pairs.labels[drawn.index("combination")].expression == "neutral"
    *_, units = augment_pairs(pairs, 64, seeded())
    winks = units[[i for i, style in enumerate(drawn) if style == "combination"], 2]
    assert {tuple(wink) for wink in winks.tolist()} == {(1.0, 0.0), (0.0, 1.0)}
    assert len(load_people(unit_folder, "train", ("happy",))[0].labels) == 2  # a T without units reads no combination


def test_units_that_cannot_be_read_are_named(unit_folder):
    rows = read_metadata(unit_folder)
    write_metadata(unit_folder, [row | {"action_units": "[3]" if row["kind"] == "rendered" else ""} for row in rows])
    with pytest.raises(DataError, match="A: "):
        load_people(unit_folder, "train", ("happy",), UNITS)


def test_units_are_given_in_their_shares(tiny_config):
    model = ExprGAN(dataclasses.replace(tiny_config, action_units=(12, 43, 5))).eval()
    inputs, count = UnitInputs(model, UNITS), 400
    assert inputs.is_read and not inputs.warning
    c = torch.full((count, model.F_ctrl.code_dim), 0.5)
    target = torch.ones(count, 3, 2)
    target[300:] = torch.nan
    labels = (
        [Label("happy", "teeth", 1.0)] * 200
        + [Label("neutral", "combination", 0.0)] * 100
        + [Label("happy", "morph")] * 100
    )
    crops = torch.rand(count, 3, 32, 32, generator=seeded()) * 2 - 1
    condition, codes = inputs.condition(c, target, labels, crops, seeded())
    now, has_now, target, has_target = condition[:, -14:].split((6, 1, 6, 1), dim=1)
    has_now, has_target = has_now[:, 0] > 0, has_target[:, 0] > 0
    assert has_now.float().mean().item() == pytest.approx(unit_inputs.NOW_SHARE, abs=0.06)
    assert has_target[:200].float().mean().item() == pytest.approx(unit_inputs.TARGET_SHARE, abs=0.1)
    assert has_target[200:300].all() and not has_target[300:].any() and not target[~has_target].any()
    alone = (codes == -1).all(1)
    assert not alone[~has_target].any() and alone[has_target].float().mean().item() == pytest.approx(0.5, abs=0.12)
    read = model.classifier(crops).units[:, [2, 0, 1]].flatten(1)  # in T's order
    torch.testing.assert_close(now[has_now], read[has_now])
    assert torch.equal(condition[:, : c.shape[1]], codes) and torch.equal(
        inputs.condition(c, target, labels, crops, seeded())[1][:200], codes[:200]
    )


def test_a_run_writes_a_t_that_takes_units_and_one_without_a_reader_warns(
    unit_folder, unit_weights, tiny_config, tmp_path, capsys
):
    settings = WarpTrainConfig(steps=2, batch_size=4, width=0.25, mixed_precision="no", cpu=True, out=str(tmp_path / "run"))
    WarpTrainer(str(unit_folder), str(unit_weights), settings).fit()
    before = ExprGAN.from_pretrained(unit_weights)
    assert before.config.warp_units == () and before.T.units == ()
    again = dataclasses.replace(settings, again=True, units=True, out=str(tmp_path / "again"))
    WarpTrainer(str(unit_folder), str(unit_weights), again).fit()
    after = ExprGAN.from_pretrained(unit_weights)
    assert after.config.warp_units == UNITS and json.loads((unit_weights / "training.json").read_text())["detail"]["units"]
    assert after.T.down_blocks[0].film.weight[:, 30:].any()
    trainer = WarpTrainer(
        str(unit_folder), str(unit_weights), dataclasses.replace(again, units=False, out=str(tmp_path / "c"))
    )
    assert trainer.config.units and trainer.T.units == UNITS
    assert "does not read" not in capsys.readouterr().err
    ExprGAN(tiny_config).save_pretrained(tmp_path / "unread")
    WarpTrainer(
        str(unit_folder), str(tmp_path / "unread"), dataclasses.replace(settings, units=True, out=str(tmp_path / "d"))
    )
    assert "the face network of the weights does not read all of T's action units" in capsys.readouterr().err


@pytest.fixture
def unit_editor(tiny_config):
    """An editor whose T takes units, with large random weights."""
    torch.manual_seed(0)
    model = ExprGAN(
        dataclasses.replace(
            tiny_config, warp_width=0.25, action_units=UNITS, warp_units=UNITS, warp_eyes=True, warp_decoded=False
        )
    )
    torch.nn.init.normal_(model.T.head.weight, std=0.5)
    for name, parameter in model.T.named_parameters():
        if "film" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return ExpressionEditor(model)


def test_an_edit_depends_on_what_the_photo_shows_and_on_the_units_that_are_asked_for(unit_editor, portrait, face):
    model, subject = unit_editor.model, unit_editor.read(portrait, face)
    model.unit_table.full.uniform_()
    code = model.F_ctrl.code("happy")
    flow = unit_editor.decode(subject, code).prediction.flow
    now = torch.tensor([subject.reading.units[unit] for unit in UNITS])[None]
    expected = model.T(subject.wide_crop[None], None, model.T.condition(code[None], now, model.unit_table(code)[None]),
                       model.warp_emphasis(code, subject.reading.source_code)).flow.detach()  # fmt: skip
    torch.testing.assert_close(flow, expected)
    other = dataclasses.replace(subject, warp_cache={}, reading=dataclasses.replace(subject.reading, units={}))
    assert (unit_editor.decode(other, code).prediction.flow - flow).abs().max() > 1e-4

    neutral, decode = model.F_ctrl.neutral(), lambda c: pytest.fail("T needs no decoder")
    wide, closed = (predict_warp(model, subject, neutral, decode, UnitChange(units_as_tensor(units, UNITS, default=0.0)))
                    for units in ({5: (1, 1)}, {43: (1, 1)}))  # fmt: skip
    target = torch.tensor([[[1.0, 1.0], [0, 0], [0, 0]]])
    condition = model.T.condition(neutral[None], now, target)
    expected = model.T(subject.wide_crop[None], None, condition, DEFAULT_EMPHASIS)
    torch.testing.assert_close(wide.flow, expected.flow.detach())
    assert (wide.flow - closed.flow).abs().max() > 1e-4


def test_units_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match=r"warp_units must be among 1, 2, .*, not 3"):
        ExprGANConfig(warp_units=[12, 3])


def test_the_unit_table_holds_what_pairs_of_each_expression_show(unit_weights, unit_folder):
    model = ExprGAN.from_pretrained(unit_weights)
    inputs, people = UnitInputs(model, UNITS), load_people(unit_folder, "train", ("happy",), UNITS)
    table = inputs.table(people)
    assert table.shape == (len(model.config.expressions), model.config.code_dim_each + 1, len(UNITS))
    happy = model.config.expressions.index("happy")
    intensity = people[0].labels[1].intensity
    expected = torch.tensor([0, 0.65, 0], dtype=torch.float64) / intensity
    torch.testing.assert_close(table[happy], expected.expand_as(table[happy]), atol=1e-6, rtol=0)
    assert not table[[i for i in range(len(table)) if i != happy]].any()


def test_units_of_a_code_grow_with_intensity_and_are_the_largest_of_its_expressions():
    table = UnitTable(2, 2, 3)
    table.full.copy_(torch.tensor([[[1, 0, 0.5], [0.5, 0, 0], [2, 0, 0]], [[0.2, 1, 0]] * 3]))

    def units(*c):
        return table(torch.tensor(c)).tolist()

    assert units(0.0, 0.0, -1, -1) == [[0.5, 0.5], [0, 0], [0.25, 0.25]]  # happy by half
    assert units(-1.0, 1, -1, -1) == [[2, 2], [0, 0], [0, 0]]  # its second style alone
    assert units(0.0, 1, -1, -1) == [[1.5, 1.5], [0, 0], [0.25, 0.25]]
    assert units(1.0, 1, 0, 0) == [[1, 1], [0.5, 0.5], [0.5, 0.5]]  # happy, and sad by half
    assert not table(torch.full((4,), -1.0)).any()

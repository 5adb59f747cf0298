"""Looks: JSON files and links, hostile ones too, and the six that come with the library."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from test_unit_condition import unit_editor  # noqa: F401, a fixture

from exprgan import EXPRESSIONS, ExprGANError, Look
from exprgan.cli import main
from exprgan.editing.dials import DIALS, check_dials
from exprgan.editing.look import LOOK_FOLDER, MAX_BYTES, bundled_looks, look_label

LOOKS = [
    Look("happy", 0.6, 2, {"lids_left": -1}, "Wink"),
    Look({"happy": 0.8, "surprise": 0.2}),
    Look(units={"smile_left": 0.75}),
]


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_comes_back_from_json_file_and_link(look, tmp_path):
    assert Look.from_json(look.to_json()) == look and Look.from_json(look.to_json().encode()) == look
    look.save(tmp_path / "mine.json")
    assert Look.load(tmp_path / "mine.json") == look and Look.load(str(tmp_path / "mine.json")) == look
    link = look.to_link()
    assert Look.from_link(link) == look and re.fullmatch(r"[\w-]+", link, re.ASCII)


def test_six_looks_come_with_the_library():
    assert bundled_looks() == ("delighted", "duck-face", "sceptical", "sleepy", "wink", "wry")
    for name in bundled_looks():
        look = Look.load(name)
        assert look.name and look == Look.from_link(name) and check_dials(look.units, DIALS) and look.settings["units"]
        mix = {look.expression: 1.0} if isinstance(look.expression, str) else look.expression or {}
        assert set(mix) <= set(EXPRESSIONS) and len(mix) <= 2 and sum(mix.values()) <= 1  # as the page shows them
        assert json.loads((LOOK_FOLDER / f"{name}.json").read_text())["version"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is no JSON"),
        ("[" * 5000, "it is no JSON"),
        ("[1]", "a look needs an expression or units"),
        ("{}", "its version is None, and this version reads 1"),
        ('{"version": 2, "expression": "happy"}', "its version is 2"),
        ('{"version": true, "expression": "happy"}', "its version is True"),
        ('{"version": 1}', "a look needs an expression or units"),
        ('{"version": 1, "units": {}}', "a look needs an expression or units"),
        ('{"version": 1, "expression": "happy", "script": "x"}', "'script' is unknown; a look has expression, intensity"),
        ('{"version": 1, "expression": 3}', "expression must be a name"),
        ('{"version": 1, "expression": ""}', "expression must be a name"),
        ('{"version": 1, "expression": {}}', "expression must name expressions"),
        ('{"version": 1, "expression": {"happy": "1"}}', "happy must be a number from 0 to 1, not '1'"),
        ('{"version": 1, "expression": "happy", "intensity": NaN}', "intensity must lie between 0"),
        ('{"version": 1, "expression": "happy", "intensity": true}', "intensity must be a number"),
        ('{"version": 1, "expression": "happy", "style": 1.5}', "style must be a whole number"),
        ('{"version": 1, "expression": "happy", "style": -1}', "style must be a whole number"),
        ('{"version": 1, "units": {"grin": 1}}', "unknown unit 'grin'"),
        ('{"version": 1, "units": {"smile": 1e999}}', "smile must be a number from -1 to 1"),
        ('{"version": 1, "units": [1]}', "units must be values by name"),
        ('{"version": 1, "expression": "happy", "name": "a\\u0000b"}', "name must be a text"),
        ('{"version": 1, "expression": "happy", "name": ["x"]}', "name must be a text"),
        (" " * (MAX_BYTES + 1), "it is larger than 10,000 bytes"),
    ],
)
def test_what_is_no_look_is_answered_with_a_sentence(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        Look.from_json(text)
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(ExprGANError, match=r"bad\.json cannot be used as a look"):
        Look.load(tmp_path / "bad.json")


def test_unknown_names_and_broken_links_are_answered_with_a_sentence(tmp_path):
    with pytest.raises(ExprGANError, match=r"There is no look grim \(No such file.* one of delighted, duck-face"):
        Look.load("grim")
    with pytest.raises(ExprGANError, match="There is no look"):
        Look.load(tmp_path)
    for link in ("%%%", "e30", "x" * 100_000, "ä"):
        with pytest.raises(ValueError, match="this link holds no look"):
            Look.from_link(link)


def test_a_look_names_files():
    assert look_label("wink") == "wink" and look_label("my looks/so so.json") == "so_so" and look_label("") == "look"


@pytest.fixture
def model(unit_editor, tmp_path):  # noqa: F811
    unit_editor.model.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def found(monkeypatch, face):
    """The detector finds the portrait's face everywhere."""
    for module in ("exprgan.editor", "exprgan.cli"):
        monkeypatch.setattr(f"{module}.find_faces", lambda photo: [face])


def test_units_and_looks_on_the_command_line(model, data_dir, tmp_path, found, capsys):
    photo, mine = tmp_path / "me.png", tmp_path / "mine.json"
    photo.write_bytes((data_dir / "portrait.jpg").read_bytes())
    Look("happy", 0.5, units={"lids_left": -1}).save(mine)

    def edit(*words):
        status = main(["edit", str(photo), *words, "--model", model])
        return status, capsys.readouterr()

    def made(label):
        return np.asarray(Image.open(tmp_path / f"me-{label}.png"))

    assert edit("--unit", "smile=0.4", "--unit", "lids_left=-1")[0] == 0 and made("adjusted").shape == (900, 900, 3)
    assert edit("happy", "--intensity", "0.25", "--unit", "lids_left=-1")[0] == 0
    assert edit("--look", str(mine), "--intensity", "0.5")[0] == 0
    assert np.array_equal(made("mine"), made("happy"))
    assert edit("--look", str(mine), "--unit", "lids_left=0")[0] == 0 and not np.array_equal(made("mine"), made("happy"))
    for words, message in (
        ((), "name an expression, such as happy, or --unit smile=0.4, or --look wry"),
        (("--unit", "smile"), "--unit smile must be a name and a value from -1 to 1"),
        (("--unit", "grin=1"), "unknown unit 'grin'"),
        (("--unit", "smile=2"), "smile must be a number from -1 to 1, not 2.0"),
        (("--unit", "jaw=1"), "unknown unit 'jaw'; there are lids, smile"),
        (("sad", "--look", str(mine)), "has its expression and style"),
        (("--look", "grim"), "There is no look grim"),
        (("--look", "duck-face"), "unknown unit 'pucker'"),
    ):
        status, output = edit(*words)
        assert status == 1 and message in output.err and "Traceback" not in output.err, words


def test_a_model_without_units_says_what_is_missing(tiny_model, data_dir, tmp_path, capsys):
    tiny_model.save_pretrained(tmp_path / "model")
    words = [str(data_dir / "portrait.jpg"), "--model", str(tmp_path / "model"), "--out", str(tmp_path / "out.png")]
    assert main(["edit", *words, "--look", "wink"]) == 1 and main(["edit", *words, "--unit", "smile=1"]) == 1
    assert capsys.readouterr().err.count("this model takes no action units") == 2 and not (tmp_path / "out.png").exists()
    assert main(["info", "--model", str(tmp_path / "model")]) == 0
    assert "units: none" in capsys.readouterr().out


def test_a_folder_takes_a_look_and_its_table_names_it(model, data_dir, tmp_path, found, capsys):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes((data_dir / "portrait.jpg").read_bytes())
    Look({"happy": 0.5}, units={"lids_left": -1}).save(tmp_path / "mine.json")
    line = ["edit", str(tmp_path / "photos"), "--out", str(tmp_path / "done"), "--model", model, "--jobs", "1"]
    assert main([*line, "--look", str(tmp_path / "mine.json")]) == 0
    table = (tmp_path / "done" / "edits.csv").read_text()
    assert "edited" in table and "happy 0.5 + lids_left -1" in table
    assert main([*line, "--look", str(tmp_path / "mine.json"), "--unit", "smile=1"]) == 1
    assert "was begun with units" in capsys.readouterr().err


def test_the_looks_are_listed(capsys):
    assert main(["looks"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and any(line.startswith("wink ") and "lids_left -1" in line for line in lines)
    assert sum("eyes" in line for line in lines) == 2


def test_transfer_on_the_command_line(model, data_dir, tmp_path, found, capsys):
    photos = [str(data_dir / "portrait.jpg"), str(data_dir / "portrait2.jpg")]
    line = ["transfer", *photos, "--model", model]
    results = []
    for i, flags in enumerate(((), ("--relative",), ("--by", "code"), ("--source-face", "1"))):
        assert main([*line, *flags, "--out", str(tmp_path / f"{i}.png")]) == 0, capsys.readouterr().err
        results.append(np.asarray(Image.open(tmp_path / f"{i}.png")))
    assert np.array_equal(results[0], results[3])
    assert not np.array_equal(results[0], results[1]) and not np.array_equal(results[0], results[2])
    assert main([*line, "--source-face", "2", "--out", str(tmp_path / "x.png")]) == 1
    assert main([*line, "--relative", "--by", "code", "--out", str(tmp_path / "x.png")]) == 1
    assert "relative needs" in capsys.readouterr().err

"""The paper's experiments: synthetic sets, Table 1, figures."""

import csv
import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image

from exprgan import EXPRESSIONS, ExpressionEditor, ExprGAN
from exprgan.models.networks import Encoder
from exprgan.photo.image_io import is_marked
from train.__main__ import _parser, main
from train.core.train_errors import RunError
from train.data import FaceFolder
from train.data.contact_sheets import contact_sheet
from train.paper import synthetic_set
from train.paper.figures import FIGURES, draw_figures
from train.paper.shards import Shard
from train.paper.synthetic_set import BATCH_SIZE, SyntheticConfig, make_set
from train.paper.table1 import ExpressionClassifier, Table1Config, table1


@pytest.fixture(autouse=True)
def fresh_process():
    """Resets the settings that accelerate keeps for the lifetime of a process."""
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def weights(tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path / "weights")
    return str(tmp_path / "weights")


def small_set(out, **changes):
    return SyntheticConfig(**{"out": str(out), "count": 40, "cpu": True} | changes)


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# augment


def test_a_set_is_balanced_labelled_marked_and_readable_as_training_data(weights, tmp_path):
    out = make_set(weights, small_set(tmp_path / "set"))
    faces = FaceFolder.load(out, "train", 32)
    assert len(faces) == 40 and faces.expression.tolist() == [i % 6 for i in range(40)]
    assert len(faces.subjects) == 7  # each new person shows all six
    assert faces.intensity.min() > 0 and faces.intensity.max() < 1 and len(faces.intensity.unique()) == 40
    assert len({picture.numpy().tobytes() for picture in faces.images}) == 40
    for name in faces.file_names:
        assert is_marked(out / name)
    with (out / "metadata.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file_name"] for row in rows] == sorted(row["file_name"] for row in rows)
    assert not list(out.rglob(".*"))


def test_intensities_are_those_of_the_class_that_is_shown_whatever_absent_classes_have(tiny_config, tmp_path):
    intensities = []
    for pooled in (False, True):
        folder = tmp_path / f"weights-{pooled}"
        ExprGAN(dataclasses.replace(tiny_config, pooled_codes=pooled)).save_pretrained(folder)
        intensities.append(FaceFolder.load(make_set(str(folder), small_set(tmp_path / f"{pooled}")), "train", 32).intensity)
    assert torch.equal(*intensities) and 0.3 < intensities[0].mean() < 0.7


def test_an_interrupted_set_is_continued_and_is_the_same_as_one_made_at_once(weights, tmp_path, monkeypatch):
    complete = make_set(weights, small_set(tmp_path / "complete", count=70))
    save, calls = synthetic_set.save_sheet, []

    def interrupted(picture, path):
        calls.append(path)
        if len(calls) > 20:
            raise KeyboardInterrupt
        save(picture, path)

    monkeypatch.setattr(synthetic_set, "save_sheet", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_set(weights, small_set(tmp_path / "part", count=70))
    part = tmp_path / "part"
    assert not (part / "metadata.csv").exists() and 0 < len(list(part.rglob("*.jpg"))) < 70
    (part / "train" / "000" / f".{'0' * 32}.part").write_bytes(b"half a picture")
    times = {path: path.stat().st_mtime_ns for path in part.rglob("*.jpg")}
    monkeypatch.setattr(synthetic_set, "save_sheet", save)
    make_set(weights, small_set(part, count=70))
    assert content(part) == content(complete)
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


def test_a_set_that_grows_or_is_made_in_shards_is_the_same(weights, tmp_path, capsys):
    complete = make_set(weights, small_set(tmp_path / "complete", count=70))
    grown = make_set(weights, small_set(tmp_path / "grown", count=33))
    make_set(weights, small_set(tmp_path / "grown", count=70))
    assert content(grown) == content(complete)
    for shard in ("2/3", "0/3"):
        make_set(weights, small_set(tmp_path / "shared", count=70, shard=shard))
    assert f"{BATCH_SIZE} of 70 pictures are left" in capsys.readouterr().out
    assert not (tmp_path / "shared" / "metadata.csv").exists()
    shared = make_set(weights, small_set(tmp_path / "shared", count=70, shard="1/3"))
    assert content(shared) == content(complete)


def test_edits_are_of_training_people_only(weights, tmp_path, faces_dir):
    out = make_set(weights, small_set(tmp_path / "edits", kind="edits", form="png"), str(faces_dir))
    people = {path.name for path in (faces_dir / "train").iterdir()}
    with (out / "metadata.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["subject"] for row in rows} <= people
    assert all(row["source"].startswith(f"train/{row['subject']}/") for row in rows)
    assert all(is_marked(out / row["file_name"]) and row["file_name"].endswith(".png") for row in rows)
    editor = ExpressionEditor(ExprGAN.from_pretrained(weights))
    z, c = synthetic_set._Sampler(editor, small_set(out, kind="edits"), str(faces_dir)).codes(0)
    source = faces_dir / rows[3]["source"]
    torch.testing.assert_close(z[3], editor.read_crop(source).z, atol=1e-4, rtol=1e-3)
    assert (c[3].view(6, 5)[3] > 0).all() and (c[3].view(6, 5)[:3] < 0).all()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"kind": "edits"}, ValueError, "kind edits needs --data"),
        ({"shard": "4/4"}, ValueError, "i from 0 to n - 1, not 4/4"),
        ({"shard": "first"}, ValueError, "shard needs i/n, such as 0/4, not 'first'"),
    ],
)
def test_impossible_sets_are_refused(weights, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        make_set(weights, small_set(tmp_path / "set", **changes))
    with pytest.raises(ValueError, match="count must be at least 1, not 0"):
        small_set(tmp_path, count=0)


def test_a_folder_with_a_set_of_other_settings_is_refused(weights, tmp_path):
    make_set(weights, small_set(tmp_path / "set", count=6))
    with pytest.raises(RunError, match="holds a set of another seed"):
        make_set(weights, small_set(tmp_path / "set", count=6, seed=1))


def test_a_shard_includes_every_nth_item():
    shard = Shard.from_process("", cpu=True)
    assert (shard.index, shard.count, shard.is_first) == (0, 1, True)
    second = Shard(1, 3, torch.device("cpu"))
    assert [i for i in range(9) if second.includes(i)] == [1, 4, 7] and not second.is_first


# Table 1


def test_the_classifier_has_the_layers_of_g_enc_and_one_more():
    classifier = ExpressionClassifier(32, 8, 4, 6)
    encoder = Encoder(32, 8, 4)
    assert classifier(torch.zeros(2, 3, 32, 32)).shape == (2, 6)
    extra = {"fc.weight", "fc.bias"}
    assert {f"layers.{name}" for name in encoder.state_dict()} | extra == set(classifier.state_dict())


def test_no_cell_of_table_1_is_measured_twice(weights, tmp_path, faces_dir, monkeypatch):
    synthetic = str(make_set(weights, small_set(tmp_path / "set")))
    out = tmp_path / "table"
    command = [
        "table1",
        weights,
        "--data",
        str(faces_dir),
        "--sets",
        synthetic,
        "--out",
        str(out),
        "--rows",
        "30,0",
        "--cpu",
    ]
    assert main([*command, "--seeds", "2", "--steps", "2", "--batch-size", "8", "--people", "2"]) == 0
    table = json.loads((out / "table1.json").read_text())
    assert [row["synthetic_pictures"] for row in table["rows"]] == [0, 30]
    assert all(len(row["runs"]) == 2 and row["deviation"] is not None for row in table["rows"])
    assert (table["real_pictures"], table["real_people"], table["test_pictures"]) == (12, 2, 12)
    text = (out / "table1.md").read_text()
    assert "| 0 | " in text and "77.78" in text and text.count("\n") == 4

    cells = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert len(cells) == 4
    next(iter(cells)).unlink()
    config = Table1Config(out=str(out), rows="0,30", seeds=2, steps=2, batch_size=8, people=2, cpu=True)
    assert table1(weights, str(faces_dir), synthetic, config) == table
    assert sum(path.stat().st_mtime_ns == time for path, time in cells.items()) == 3
    other = table1(weights, str(faces_dir), synthetic, dataclasses.replace(config, steps=1, seeds=1, real_share=0.5))
    assert other["settings"]["steps"] == 1 and other["rows"][0]["deviation"] is None


def test_processes_divide_the_cells_and_the_last_one_writes_the_table(weights, tmp_path, faces_dir, monkeypatch, capsys):
    config = Table1Config(out=str(tmp_path), rows="0", seeds=3, steps=1, batch_size=4, cpu=True)
    for index, left in ((0, "1 of 3 cells are left"), (1, "| 0 | ")):
        share = Shard(index, 2, torch.device("cpu"))
        monkeypatch.setattr(Shard, "from_process", lambda shard, cpu, share=share: share)
        assert bool(table1(weights, str(faces_dir), "no set is needed", config)) == bool(index)
        assert left in capsys.readouterr().out
    assert len(json.loads((tmp_path / "table1.json").read_text())["rows"][0]["runs"]) == 3


def test_the_classifier_of_table_1_learns(weights, tmp_path, faces_dir):
    data = tmp_path / "data"
    shutil.copytree(faces_dir, data)
    for name, colour in zip(EXPRESSIONS, ("red", "green", "blue", "yellow", "black", "white"), strict=True):
        for path in data.rglob(f"{name}_*.jpg"):
            Image.blend(Image.open(path).resize((32, 32)), Image.new("RGB", (32, 32), colour), 0.8).save(path)
    config = Table1Config(out=str(tmp_path / "t"), rows="0", seeds=1, steps=150, batch_size=12, lr=2e-3, width=8, cpu=True)
    synthetic = str(make_set(weights, small_set(tmp_path / "set", count=6)))
    assert table1(weights, str(data), synthetic, config)["rows"][0]["accuracy"] > 0.9


def test_impossible_tables_are_refused(weights, tmp_path, faces_dir):
    synthetic = str(make_set(weights, small_set(tmp_path / "set", count=6)))
    config = Table1Config(out=str(tmp_path / "table"), rows="0,12", seeds=1, steps=1, cpu=True)
    with pytest.raises(RunError, match=r"holds 6 pictures, the row of 12 needs more; .* --count 12 again"):
        table1(weights, str(faces_dir), synthetic, config)
    for wrong, message in (
        ({"rows": "0,few"}, "rows needs whole numbers"),
        ({"rows": "-3"}, "rows must not be negative"),
        ({"steps": 0}, "steps must be above 0"),
        ({"real_share": 1.0}, "real_share must lie in 0..1"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
    ):
        with pytest.raises(ValueError, match=message):
            Table1Config(**wrong)


# Figures


def test_the_figures_of_the_paper_are_drawn(weights, tmp_path, faces_dir, monkeypatch):
    transfers, transfer = [], ExpressionEditor.transfer
    monkeypatch.setattr(ExpressionEditor, "transfer", lambda *args, by=None: transfers.append(by) or transfer(*args, by=by))
    assert sorted(FIGURES) == [2, 3, 4, 5, 6, 7]
    command = ["figures", "--weights", weights, "--data", str(faces_dir), "--caae", weights]
    assert main([*command, "--out", str(tmp_path / "all")]) == 0
    for number in FIGURES:
        path = tmp_path / "all" / f"figure-{number}.png"
        with Image.open(path) as picture:
            assert min(picture.size) > 100
        assert is_marked(path)
    assert set(transfers) == {"code"}  # Figure 4 shows c, also for weights whose T transfers action units
    with_caae = Image.open(tmp_path / "all" / "figure-2.png")
    [path] = draw_figures([2], weights, str(faces_dir), str(tmp_path / "without"))
    assert Image.open(path).height == with_caae.height - 2 * 32  # one row per person less


def test_an_unknown_figure_is_refused(weights, faces_dir, tmp_path):
    with pytest.raises(ValueError, match="there is no figure 1; choose from 2, 3, 4, 5, 6, 7"):
        draw_figures([1], weights, str(faces_dir), str(tmp_path))


def test_a_contact_sheet_has_its_pictures_beside_their_names():
    red, blue = (Image.new("RGB", (40, 40), colour) for colour in ("red", "blue"))
    plain = contact_sheet([[red, blue], [blue, None]])
    assert plain.size == (80, 80) and plain.getpixel((79, 0)) == (0, 0, 255) and plain.getpixel((79, 79)) == (255,) * 3
    named = contact_sheet(
        [[red, blue], [blue, None]], row_names=["one", "two"], column_names=["a", "b"], title="t", gaps=[1]
    )
    assert named.width > 80 and named.height > 80 + 40 // 6
    assert named.getpixel((named.width - 1, named.height - 1)) == (255, 255, 255)
    assert named.getpixel((named.width - 41, named.height - 1)) == (0, 0, 255)
    assert (named.crop((0, 0, named.width, 10)).convert("L").getextrema())[0] < 128  # the title


def test_the_command_lines_in_the_documentation_are_valid():
    text = (Path(__file__).parent.parent / "docs" / "paper.md").read_text(encoding="utf-8")
    lines = re.findall(r"^python -m train ([^#\n]+)", text, re.M)
    assert len(lines) >= 4
    for line in lines:
        _parser().parse_args(line.split())

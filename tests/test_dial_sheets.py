"""`train dials`: pictures of people with each dial, and what is read in them."""

import csv
import shutil

from test_unit_condition import unit_editor  # noqa: F401, a fixture

from exprgan.photo.image_io import is_marked
from train.__main__ import main as train_main
from train.data.metadata import read_metadata, write_metadata


def test_sheets_of_dials_show_people_at_each_value_with_readings(unit_editor, faces_dir, tmp_path):  # noqa: F811
    unit_editor.model.save_pretrained(tmp_path / "weights")
    shutil.copytree(faces_dir, tmp_path / "data")
    rows = read_metadata(tmp_path / "data")
    for row in rows:
        row["subject"] = f"../../{row['subject']}"  # a name that would lead out of the folder
    write_metadata(tmp_path / "data", rows)
    line = [
        "dials",
        str(tmp_path / "weights"),
        "--data",
        str(tmp_path / "data"),
        "--out",
        str(tmp_path / "out"),
        "--people",
        "2",
    ]
    assert train_main(line) == 0
    out = tmp_path / "out"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out", "weights"]
    with open(out / "dials.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    names = {"lids", "lids_left", "smile", "smile_left"}
    assert len(rows) == 2 * 4 * 4 and {row["dial"] for row in rows} == names
    assert all(is_marked(out / row["file_name"]) and float(row["edit_left"]) == float(row["edit_left"]) for row in rows)
    assert {row["unit"] for row in rows if row["dial"] == "lids"} == {"5", "43"}
    assert len(list(out.glob("photo/*.png"))) == 2 and {path.stem for path in out.glob("*.png")} == names


def test_sheets_need_a_model_with_units(tiny_model, faces_dir, tmp_path, capsys):
    tiny_model.save_pretrained(tmp_path / "weights")
    line = ["dials", str(tmp_path / "weights"), "--data", str(faces_dir), "--out", str(tmp_path / "out")]
    assert train_main(line) == 1 and "takes no action units" in capsys.readouterr().err

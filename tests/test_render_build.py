"""`render` makes a training folder of a folder of photos, with the same bytes however often it was stopped."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from exprgan import EXPRESSIONS
from exprgan.models.backward_warp import backward_warp
from exprgan.models.warp_network import WIDE_CROP_SCALE
from train.__main__ import main
from train.core.train_errors import DataError
from train.data.validation import find_problems
from train.render.render_config import RenderConfig
from train.render.set_builder import build_set
from train.warp.pair_dataset import load_people

ROOT = Path(__file__).parent.parent
HERE = Path(__file__).parent / "data" / "render"
CREDIT = "Face Research Lab London Set, DeBruine & Jones 2017, doi:10.6084/m9.figshare.5047666"
COLUMNS = ["file_name", "subject", "parents", "sex", "age", "ethnicity", "expression", "style", "kind", "intensity",
           "action_units", "yaw", "pitch", "gaze", "light", "mouth", "split", "source", "licence", "credit"]  # fmt: skip


def make_photos(folder, **fields):
    """Makes a folder with a manifest: one person in train, and the same photo, darker, as another person in test."""
    folder.mkdir()
    rows = [{"subject": "L001", "split": "train"} | fields, {"subject": "copy", "split": "test"}]
    for row in rows:
        shutil.copy(HERE / "london_001.tem", folder / f"{row['subject']}.tem")
        shade = 0.95 if row["subject"] == "copy" else 1  # two people never have the same picture
        Image.open(HERE / "london_001.jpg").point(lambda level, shade=shade: level * shade).save(
            folder / f"{row['subject']}.jpg", quality=95
        )
        row |= {"photo": f"{row['subject']}.jpg", "template": f"{row['subject']}.tem", "sex": "female", "age": "24"}
        row |= {"source_set": "london"}
    columns = ("subject", "photo", "template", "smile", "sex", "age", "split", "source_set", "parents")
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    with (folder / "sources.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("name", "licence", "consent", "credit"), ("london", "CC-BY-4.0", "signed, altered form too", CREDIT)]
        )
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_photos(tmp_path_factory.mktemp("render") / "photos")


@pytest.fixture(scope="module")
def config(source):
    """Few and small pictures of two people, rendered in this process."""
    return RenderConfig(
        photos=str(source), mesh=str(HERE / "mesh.npz"), out=str(source.parent / "out"), number=1, neutral=1,
        varied=0, combinations=1, image_size=64, workers=1, smiles=False, flow=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def rendered(config):
    """The training folder."""
    build_set(config)
    return Path(config.out)


def read_files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def read_rows(folder):
    with (folder / "metadata.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_folder_is_a_training_folder(rendered):
    assert not find_problems(rendered)
    rows = read_rows(rendered)
    assert list(rows[0]) == COLUMNS and len(rows) == 2 * (1 + 6 + 1 + 1)
    assert {row["expression"] for row in rows} == {*EXPRESSIONS, "neutral", ""}
    for row in rows:
        picture = Image.open(rendered / row["file_name"])
        assert picture.size == (64, 64) and row["credit"] == CREDIT and row["licence"] == "CC-BY-4.0"
        assert row["split"] == row["file_name"].split("/")[0] and row["source"] == f"{row['subject']}.jpg"
        assert bool(row["action_units"]) == (row["kind"] == "rendered")
        assert bool(row["mouth"]) == (row["kind"] == "rendered") and not row["yaw"] + row["pitch"] + row["light"]
        assert (row["expression"] == "") == (row["style"] == "combination")
        if row["expression"] in EXPRESSIONS:
            assert 0.2 <= float(row["intensity"]) <= 1
            assert all(len(sides) == 2 for sides in json.loads(row["action_units"]).values())


def test_each_rendered_picture_has_its_flow(rendered):
    for row in read_rows(rendered):
        path = rendered / f"{row['file_name']}.npz"
        assert path.is_file() == (row["kind"] == "rendered")
        if path.is_file():
            with np.load(path) as fields:
                assert fields["flow"].shape == (64, 64, 2) and fields["flow"].dtype == np.float16
                assert fields["invented"].shape == (64, 64) and fields["invented"].dtype == np.uint8
                assert fields["depth"].shape == fields["neutral_depth"].shape == (32, 32)
                assert np.ptp(fields["depth"].astype(float)) > 10
                for name in ("eyeballs", "neutral_eyeballs"):
                    assert fields[name].shape == (64, 64) and fields[name].dtype == np.uint8
                assert 0.002 < fields["neutral_eyeballs"].mean() / 255 < 0.05


def test_a_stopped_run_can_be_continued_to_the_same_bytes(rendered, config):
    expected = read_files(rendered)
    (rendered / "metadata.csv").unlink()
    (rendered / ".people" / "copy.json").unlink()
    next((rendered / "test" / "copy").glob("fear*.jpg")).unlink()
    (rendered / "test" / "copy" / f".{'0' * 32}.part").write_bytes(b"half")
    finished = {name: (rendered / name).stat().st_mtime_ns for name in expected if "L001" in name}
    build_set(config)
    assert read_files(rendered) == expected
    assert finished == {name: (rendered / name).stat().st_mtime_ns for name in finished}  # they are not rendered again


def test_other_settings_are_refused(rendered, config):
    with pytest.raises(DataError, match="begun with other settings: seed 7, not 8"):
        build_set(replace(config, seed=8))


def test_without_jitter_a_persons_pictures_share_one_frame_and_the_seed_changes_the_action_units(config, source):
    units = []
    for seed in (7, 8):
        out = source.parent / f"still{seed}"
        build_set(replace(config, jitter=False, out=str(out), number=0, combinations=0, flow=False, seed=seed))
        photo, noise = (row for row in read_rows(out) if row["subject"] == "L001")
        before, after = (np.asarray(Image.open(out / row["file_name"]), int) for row in (photo, noise))
        assert np.abs(before - after).mean() < 2
        units.append(noise["action_units"])
    assert units[0] != units[1]


@pytest.mark.slow
def test_varied_pictures_are_turned_and_lit_as_their_columns_say(config, source):
    out = source.parent / "varied"
    build_set(replace(config, out=str(out), number=0, neutral=0, varied=2, combinations=0, flow=False, jitter=False))
    rows = [row for row in read_rows(out) if row["subject"] == "L001"]
    assert len(rows) == 1 + 7 * 2 and not find_problems(out)
    varied = rows[1:]
    assert any(row["yaw"] for row in varied) and any(row["light"] for row in varied) and any(row["gaze"] for row in varied)
    photo = np.asarray(Image.open(out / rows[0]["file_name"]), float)
    calm = [row for row in varied if row["expression"] == "neutral"]
    for row in calm:
        difference = np.abs(np.asarray(Image.open(out / row["file_name"]), float) - photo).mean()
        assert (difference > 4) == bool(row["yaw"] or row["light"])


def test_people_who_cannot_be_rendered_are_named(tmp_path, config):
    folder = make_photos(tmp_path / "photos")
    (folder / "L001.tem").write_text("68\n")
    Image.effect_noise((300, 300), 50).save(folder / "copy.jpg")
    (folder / "copy.tem").write_text("189\n" + "1000 1000\n1100 1000\n" + "1050 1000\n" * 187)
    out = tmp_path / "out"
    with pytest.raises(DataError) as raised:
        build_set(replace(config, photos=str(folder), out=str(out)))
    assert "2 problems" in str(raised.value) and "L001: the template" in str(raised.value)
    assert "lies outside" in str(raised.value) and not (out / "metadata.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name the photos: --photos DIR"),
        (("--photos", "x"), "name the mesh: --mesh FACEKIT"),
        (("--photos", "{photos}", "--mesh", "nothing.npz"), "the mesh nothing.npz cannot be read"),
        (("--photos", "nothing", "--mesh", "x"), "nothing is no folder"),
        (("--photos", "x", "--mesh", "x", "--number", "-1"), "number must be at least 0, not -1"),
    ],
)
def test_an_error_is_one_sentence(source, tmp_path, capsys, arguments, message):
    arguments = [text.format(photos=source) for text in arguments]
    assert main(["render", *arguments, "--out", str(tmp_path / "out")]) == 1
    stderr = capsys.readouterr().err
    assert stderr.startswith("error: ") and message in stderr
    assert not (tmp_path / "out" / "metadata.csv").exists()


@pytest.mark.slow
def test_a_killed_run_of_two_processes_ends_with_the_same_bytes(rendered, config, source):
    out = source.parent / "killed"
    line = [sys.executable, "-m", "train", "render", "--photos", config.photos, "--mesh", config.mesh, "--out", str(out)]
    line += [
        "--number",
        "1",
        "--neutral",
        "1",
        "--varied",
        "0",
        "--combinations",
        "1",
        "--image-size",
        "64",
        "--workers",
        "2",
        "--no-smiles",
        "--flow",
    ]
    process = subprocess.Popen(line, cwd=ROOT, start_new_session=True)
    while not list(out.rglob("*.jpg")) and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run(line, cwd=ROOT, check=True)
    assert read_files(out) == read_files(rendered)


def test_pairs_for_the_warp_network_share_one_frame_and_their_flow_is_correct(source, tmp_path):
    out = tmp_path / "pairs"
    build_set(
        RenderConfig(
            photos=str(source), mesh=str(HERE / "mesh.npz"), out=str(out), number=1, neutral=0, varied=0, combinations=1,
            smiles=False, jitter=False, flow=True, frame=WIDE_CROP_SCALE, image_size=128, workers=1,
        )
    )  # fmt: skip
    (person,) = load_people(out, "train", EXPRESSIONS)
    assert person.labels[0].expression == "neutral" and len(person.labels) == 7
    assert (out / "sources.csv").is_file()
    flow = torch.nn.functional.interpolate(person.flow.permute(0, 3, 1, 2).float(), (128, 128), mode="bilinear")
    known = 1 - person.mask[:, None].float() / 255
    pictures = person.images.permute(0, 3, 1, 2).float() / 127.5 - 1
    neutral = pictures[:1].expand_as(pictures)
    warped = backward_warp(neutral, flow)
    before, after = (((source - pictures).abs() * known)[1:].mean() for source in (neutral, warped))
    assert after < 0.5 * before

"""`reproduce`: every step once, continued after a stop, and a report."""

import dataclasses
import json
import re

import pytest
from accelerate.state import AcceleratorState
from fake_oulu import make_oulu
from PIL import Image

from train.__main__ import main
from train.core.train_errors import DataError, RunError
from train.paper import reproduce as reproduce_module
from train.paper.reproduce import STEPS, ReproduceConfig, reproduce

SMALL = {
    "steps": "1,1,1", "face_steps": 2, "face_width": 2, "batch_size": 4, "width": 0.0625, "z_dim": 8, "image_size": 32,
    "identity_size": 32, "rows": "0,12", "seeds": 1, "table_steps": 2, "mixed_precision": "no", "check_face": False,
    "cpu": True,
}  # fmt: skip


@pytest.fixture(autouse=True)
def fresh_process():
    """Resets the settings that accelerate keeps for the lifetime of a process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def calls(monkeypatch):
    """The names of the steps that ran; nothing else is done by them."""
    names = []
    for name, step in STEPS.items():
        monkeypatch.setitem(STEPS, name, dataclasses.replace(step, run=lambda job, name=name: names.append(name)))
    monkeypatch.setattr(reproduce_module, "write_report", lambda *args: names.append("report"))
    return names


def flags(values):
    switches = [
        f"--{'' if value else 'no-'}{name.replace('_', '-')}" for name, value in values.items() if type(value) is bool
    ]
    others = [(f"--{name.replace('_', '-')}", str(value)) for name, value in values.items() if type(value) is not bool]
    return [*switches, *(part for pair in others for part in pair)]


def test_every_step_comes_after_those_it_needs():
    names = list(STEPS)
    first, last = ["prepare", "facenet", "fit", "publish", "evaluate"], ["augment", "table1", "figures"]
    assert names == [*first, "caae", "evaluate_caae", *last]
    fields = {field.name for field in dataclasses.fields(ReproduceConfig)}
    for i, (name, step) in enumerate(STEPS.items()):
        assert set(step.needs) <= set(names[:i]) and set(step.settings) <= fields, name
    used = {setting for step in STEPS.values() for setting in step.settings}
    assert fields - used == {"cpu", "check_face"}  # these do not affect the result


def test_a_finished_step_is_skipped_and_a_stopped_one_is_run_again(calls, tmp_path, faces_dir, monkeypatch):
    def stopped(job):
        raise KeyboardInterrupt

    table1 = STEPS["table1"]
    monkeypatch.setitem(STEPS, "table1", dataclasses.replace(table1, run=stopped))
    with pytest.raises(KeyboardInterrupt):
        reproduce("folder", str(faces_dir), str(tmp_path), ReproduceConfig())
    assert calls == list(STEPS)[:8]
    monkeypatch.setitem(STEPS, "table1", table1)
    reproduce("folder", str(faces_dir), str(tmp_path), ReproduceConfig())
    assert calls[8:] == ["table1", "figures", "report"]
    reproduce("folder", str(faces_dir), str(tmp_path), ReproduceConfig())
    assert calls[11:] == ["report"]


def test_other_settings_repeat_cheap_steps_and_never_overwrite_costly_results(calls, tmp_path, faces_dir):
    first = ReproduceConfig()
    reproduce("folder", str(faces_dir), str(tmp_path), first)
    calls.clear()
    reproduce("folder", str(faces_dir), str(tmp_path), dataclasses.replace(first, rows="0,3000", cpu=True))
    assert calls == ["augment", "table1", "report"]
    with pytest.raises(RunError, match=r"holds a fit of other settings \(steps '4300,1350,1350' instead of '9,9,9'\)"):
        reproduce("folder", str(faces_dir), str(tmp_path), dataclasses.replace(first, steps="9,9,9"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"steps": "1,2"}, "steps needs three numbers"), ({"rows": "a"}, "rows needs whole"), ({"width": 0}, "width must be")],
)
def test_impossible_sizes_are_refused_before_any_step(wrong, message):
    with pytest.raises(ValueError, match=message):
        ReproduceConfig(**wrong)


def test_an_unprepared_folder_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"metadata\.csv does not exist"):
        reproduce("folder", str(tmp_path / "empty"), str(tmp_path / "out"), ReproduceConfig(**SMALL))


def assert_complete(out):
    """Every result exists and is in the report."""
    records = [json.loads(path.read_text()) for path in sorted((out / "steps").iterdir())]
    assert len(records) == len(STEPS) and all(record["seconds"] >= 0 for record in records)
    for name in ("weights", "caae"):
        assert json.loads((out / name / "results.json").read_text())["metrics"]
    assert json.loads((out / "caae" / "training.json").read_text())["steps"] == {"refine": 3}
    markdown, html = ((out / f"report.{suffix}").read_text() for suffix in ("md", "html"))
    for text in (markdown, html):
        for content in ("Table 1", "77.78", "identity cosine", "1,296", "Settings", "Figure 7"):
            assert content in text
    pictures = re.findall(r'<img src="([^"]+)"', html)
    assert pictures == re.findall(r"!\[.*?\]\((.*?)\)", markdown) == [f"figures/figure-{n}.png" for n in range(2, 8)]
    for picture in pictures:
        with Image.open(out / picture) as image:
            image.load()
    assert str(out) not in markdown + html


def test_the_whole_paper_from_a_prepared_folder(tmp_path, faces_dir, capsys):
    command = ["reproduce", "folder", str(faces_dir), str(tmp_path / "out"), *flags(SMALL)]
    assert main(command) == 0, capsys.readouterr().err
    assert_complete(tmp_path / "out")


@pytest.mark.slow
def test_the_whole_paper_from_photos_in_oulu_casias_form(tmp_path, capsys):
    source = make_oulu(tmp_path / "oulu", people=(71, 72, 73, 74), decoys=())
    command = ["reproduce", "oulu", str(source), str(tmp_path / "out"), "--allow-incomplete", *flags(SMALL)]
    assert main(command) == 0, capsys.readouterr().err
    assert_complete(tmp_path / "out")
    assert "Measured on Oulu-CASIA" in (tmp_path / "out" / "report.md").read_text()
    assert main(command) == 0
    assert capsys.readouterr().out.count("done before") == len(STEPS)

"""The paper in one command: every step once, on from where it stopped, and a report."""

import dataclasses
import json
import re

import pytest
from accelerate.state import AcceleratorState
from oulu import make_oulu
from PIL import Image

from train.__main__ import main
from train.core.files import RunError
from train.data.metadata import DataError
from train.paper import reproduce as module
from train.paper.reproduce import STEPS, ReproduceConfig, reproduce

SMALL = {
    "steps": "1,1,1", "face_steps": 2, "face_width": 2, "batch_size": 4, "width": 0.0625, "z_dim": 8, "image_size": 32,
    "identity_size": 32, "rows": "0,12", "seeds": 1, "table_steps": 2, "mixed_precision": "no", "cpu": True,
}  # fmt: skip


@pytest.fixture(autouse=True)
def fresh_process():
    """accelerate keeps its settings for a process's life; every test here is a process of its own."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def calls(monkeypatch):
    """Every step only notes that it ran."""
    done = []
    for name, one in STEPS.items():
        monkeypatch.setitem(STEPS, name, dataclasses.replace(one, run=lambda job, name=name: done.append(name)))
    monkeypatch.setattr(module, "write_report", lambda *args: done.append("report"))
    return done


def flags(values):
    typed = [(f"--{name.replace('_', '-')}", value) for name, value in values.items()]
    return [part for flag, value in typed for part in ([flag] if value is True else [flag, str(value)])]


def test_the_steps_come_in_an_order_in_which_each_has_what_it_needs():
    names = list(STEPS)
    begin, end = ["prepare", "facenet", "fit", "publish", "evaluate"], ["augment", "table1", "figures"]
    assert names == [*begin, "caae", "evaluate_caae", *end]
    fields = {field.name for field in dataclasses.fields(ReproduceConfig)}
    for i, (name, one) in enumerate(STEPS.items()):
        assert set(one.needs) <= set(names[:i]) and set(one.settings) <= fields, name
    used = {setting for one in STEPS.values() for setting in one.settings}
    assert fields - used == {"cpu"}  # where it is computed is no matter of the result


def test_a_finished_step_is_not_done_again_and_a_stopped_one_is(calls, tmp_path, faces_dir, monkeypatch):
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


def test_other_settings_repeat_what_is_cheap_and_never_overwrite_what_is_costly(calls, tmp_path, faces_dir):
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
def test_wrong_sizes_are_refused_before_anything_is_done(wrong, message):
    with pytest.raises(ValueError, match=message):
        ReproduceConfig(**wrong)


def test_a_folder_that_is_not_prepared_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"metadata\.csv does not exist"):
        reproduce("folder", str(tmp_path / "empty"), str(tmp_path / "out"), ReproduceConfig(**SMALL))


def assert_whole(out):
    """Every result is there, and told in the report."""
    stamps = [json.loads(path.read_text()) for path in sorted((out / "steps").iterdir())]
    assert len(stamps) == len(STEPS) and all(stamp["seconds"] >= 0 for stamp in stamps)
    for name in ("weights", "caae"):
        assert json.loads((out / name / "results.json").read_text())["metrics"]
    assert json.loads((out / "caae" / "training.json").read_text())["steps"] == {"refine": 3}
    markdown, html = ((out / f"report.{suffix}").read_text() for suffix in ("md", "html"))
    for text in (markdown, html):
        for told in ("Table 1", "77.78", "identity cosine", "1,296", "Settings", "Figure 7"):
            assert told in text
    pictures = re.findall(r'<img src="([^"]+)"', html)
    assert pictures == re.findall(r"!\[.*?\]\((.*?)\)", markdown) == [f"figures/figure-{n}.png" for n in range(2, 8)]
    for picture in pictures:
        with Image.open(out / picture) as image:
            image.load()
    assert str(out) not in markdown + html


def test_the_whole_paper_from_a_prepared_folder(tmp_path, faces_dir, capsys):
    command = ["reproduce", "folder", str(faces_dir), str(tmp_path / "out"), *flags(SMALL)]
    assert main(command) == 0, capsys.readouterr().err
    assert_whole(tmp_path / "out")


@pytest.mark.slow
def test_the_whole_paper_from_photos_in_oulu_casias_form(tmp_path, capsys):
    source = make_oulu(tmp_path / "oulu", people=(71, 72, 73, 74), decoys=())
    command = ["reproduce", "oulu", str(source), str(tmp_path / "out"), "--allow-incomplete", *flags(SMALL)]
    assert main(command) == 0, capsys.readouterr().err
    assert_whole(tmp_path / "out")
    assert "Measured on Oulu-CASIA" in (tmp_path / "out" / "report.md").read_text()
    assert main(command) == 0
    assert capsys.readouterr().out.count("done before") == len(STEPS)

"""The app's API, called as a program would call it, over loopback."""

import csv
import functools
import inspect
import io
import json
import re
import shutil
import subprocess
import urllib.request
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from app_calls import PARAMETERS, SETTINGS, call, pixels, two_people
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from exprgan import ExprGANError
from exprgan.photo.detection import Face, find_faces
from exprgan.photo.image_io import is_marked, load_photo
from exprgan.ui import animation_panel, endpoints, film_panel, handlers, looks, page, sheet, views, words
from exprgan.ui.photo_session import PhotoSession, example_faces

ROOT = Path(__file__).parent.parent
PLACES = handlers, animation_panel, sheet, looks, film_panel
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_an_edit_gives_the_photo_before_and_after(client, data_dir):
    (before, after), status = client.predict(handle_file(data_dir / "portrait.jpg"), **SETTINGS, api_name="/edit")
    assert Image.open(before).size == Image.open(after).size == (900, 900)
    change = np.abs(pixels(before) - pixels(after)).max(axis=2)
    assert change[300:700, 250:650].max() > 20  # the face
    assert change[:60].max() == 0  # the wall above it
    assert is_marked(after)
    assert re.fullmatch(r"The face now reads as (perhaps )?\*\*\w+\*\*\.", status)


def test_another_intensity_gives_another_picture(client, data_dir):
    photo = handle_file(data_dir / "portrait.jpg")
    (_, weak), _ = client.predict(photo, **SETTINGS | {"intensity": 0.2}, api_name="/edit")
    (_, strong), _ = client.predict(photo, **SETTINGS | {"intensity": 1}, api_name="/edit")
    assert np.abs(pixels(weak) - pixels(strong)).max() > 5  # the tiny model changes little


def test_the_chosen_one_of_two_faces_is_edited(client, data_dir, tmp_path):
    photo = handle_file(two_people(data_dir, tmp_path))
    (before, after), _ = client.predict(photo, **SETTINGS | {"face": 2}, api_name="/edit")
    change = np.abs(pixels(before) - pixels(after)).max(axis=(0, 2))  # at most 1,024 px wide
    assert change[: 850 * 1024 // 1500].max() == 0 and change[900 * 1024 // 1500 :].max() > 20


def halves_changed(before, after):
    """Whether the left person's half changed, and the right one's."""
    change = np.abs(pixels(before) - pixels(after)).max(axis=(0, 2))
    middle = 875 * change.size // 1500
    return change[:middle].max() > 20, change[middle:].max() > 20


def test_all_faces_get_the_same_expression_or_each_its_own(client, data_dir, tmp_path):
    photo = handle_file(two_people(data_dir, tmp_path))
    (before, after), status = client.predict(photo, **SETTINGS | {"scope": "all"}, api_name="/edit")
    assert halves_changed(before, after) == (True, True) and status.startswith("Face 1 now reads as")
    each = SETTINGS | {"scope": "each", "face": 2, "others": {"1": {"expression": "surprise", "intensity": 0.7}}}
    (_, after_each), status = client.predict(photo, **each, api_name="/edit")
    assert halves_changed(before, after_each) == (True, True) and status.startswith("Face 2 now reads as")
    left = pixels(after_each)[:, :550]
    assert np.abs(pixels(after_each) - pixels(after))[:, : 850 * 1024 // 1500].max() > 5  # another expression on the left
    only_left = SETTINGS | {"expression": "surprise", "intensity": 0.7}
    (_, after_left), _ = client.predict(photo, **only_left, api_name="/edit")
    assert np.abs(left - pixels(after_left)[:, :550]).mean() < 0.5
    full = client.predict(photo, **each, api_name="/download_edit")
    assert Image.open(full).size == (1500, 900) and halves_changed(tmp_path / "two.png", full) == (True, True)


@pytest.mark.parametrize(
    "wrong", [{"scope": "some"}, {"scope": "each", "others": {"5": {"expression": "sad"}}},
              {"scope": "each", "others": {"1": {"mood": "sad"}}}, {"scope": "each", "others": {"0": {}}},
              {"face": 3}, {"face": 1.5}]
)  # fmt: skip
def test_an_invalid_choice_of_faces_is_answered_with_a_sentence(client, data_dir, tmp_path, wrong):
    with pytest.raises(AppError) as error:
        client.predict(handle_file(two_people(data_dir, tmp_path)), **SETTINGS | wrong, api_name="/edit")
    assert endpoints.APOLOGY not in str(error.value) and "Traceback" not in str(error.value)


def test_faces_are_numbered_if_there_are_several(client, data_dir, tmp_path):
    numbered = client.predict(handle_file(two_people(data_dir, tmp_path)), 1, api_name="/number_faces")
    assert Image.open(numbered).size == (1024, 614)
    assert client.predict(handle_file(data_dir / "portrait.jpg"), 0, api_name="/number_faces") is None


def test_reading_gives_boxes_points_and_certainties_from_left_to_right(client, data_dir, tmp_path):
    photo = client.predict(handle_file(two_people(data_dir, tmp_path)), api_name="/read")
    assert (photo["width"], photo["height"]) == (1500, 900) and [face["face"] for face in photo["faces"]] == [1, 2]
    for face, (left, right) in zip(photo["faces"], ((0, 900), (900, 1500)), strict=True):
        x0, y0, x1, y1 = face["box"]
        assert left <= x0 < x1 <= right and 0 < y0 < y1 < 900
        eye, other_eye, nose, corner, _ = face["points"].values()
        assert x0 < eye[0] < nose[0] < other_eye[0] < x1 and eye[1] < nose[1] < corner[1]
        assert face["certainty"] > 0.99 and sum(face["certainties"].values()) == pytest.approx(1, abs=0.01)
        assert face["expression"] == max(face["certainties"], key=face["certainties"].get) and face["notes"] == []


def test_the_largest_face_is_the_default_wherever_it_stands(client, data_dir, tmp_path):
    mirrored = Image.open(two_people(data_dir, tmp_path)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    mirrored.save(tmp_path / "mirrored.png")
    (before, after), status = client.predict(handle_file(tmp_path / "mirrored.png"), **SETTINGS, api_name="/edit")
    change = np.abs(pixels(before) - pixels(after)).max(axis=(0, 2))
    assert status.startswith("Face 2 now") and change[: 600 * 1024 // 1500].max() == 0 < change[650 * 1024 // 1500 :].max()


def test_intensity_0_is_the_photo_itself(client, data_dir, tmp_path):
    photo = handle_file(data_dir / "portrait.jpg")
    (before, after), status = client.predict(photo, **SETTINGS | {"intensity": 0}, api_name="/edit")
    assert np.array_equal(pixels(before), pixels(after)) and status.startswith(words.UNCHANGED)
    full = client.predict(photo, **SETTINGS | {"intensity": 0}, api_name="/download_edit")
    assert Path(full).name == "portrait-unchanged.jpg"
    assert np.abs(pixels(full) - pixels(data_dir / "portrait.jpg")).mean() < 1
    (before, after), status = client.predict(photo, photo, 0, api_name="/transfer")
    assert np.array_equal(pixels(before), pixels(after)) and words.UNCHANGED in status


def test_a_sheet_shows_the_photo_and_all_expressions(client, data_dir):
    path = client.predict(handle_file(data_dir / "portrait.jpg"), api_name="/download_sheet")
    sheet = pixels(path)
    assert Path(path).name == "portrait-all-expressions.jpg" and sheet.shape == (800, 1440, 3) and is_marked(path)
    tiles = [sheet[y : y + 360, x : x + 360].tobytes() for y in (0, 400) for x in range(0, 1440, 360)]
    assert len(set(tiles)) == 8


def face(eyes=((30.0, 40.0), (70.0, 40.0)), nose=(50.0, 60.0), width=100.0, certain=True):
    return Face((0.0, 0.0, width, 100.0), (*eyes, nose, (35.0, 80.0), (65.0, 80.0)), 0.999, certain)


@pytest.mark.parametrize(
    ("seen", "notes"),
    [(face(), []), (face(nose=(62.0, 60.0)), ["turned"]), (face(width=40.0), ["40 pixels"]),
     (face(certain=False), ["no face"]), (face(nose=(40.0, 60.0), width=30.0), ["turned", "30 pixels"])],
)  # fmt: skip
def test_a_face_that_may_go_wrong_gets_a_sentence(seen, notes):
    found = words.face_notes(seen)
    assert len(found) == len(notes) and all(note in sentence for note, sentence in zip(notes, found, strict=True))


def test_the_models_drawing_says_what_it_is(client, data_dir):
    _, status = client.predict(handle_file(data_dir / "portrait.jpg"), **SETTINGS | {"fidelity": "model"}, api_name="/edit")
    assert words.DRAWN in status


@pytest.mark.parametrize(
    ("changes", "name"),
    [({}, "me-happy-80"), ({"intensity": 0.35, "second": "sad"}, "me-happy-sad-35"),
     ({"expression": "neutral"}, "me-neutral"), ({"intensity": 0}, "me-unchanged"),
     ({"units": {"smile": 0.5}}, "me-happy-80-adjusted"), ({"expression": "", "units": {"smile": 0.5}}, "me-adjusted")],
)  # fmt: skip
def test_a_result_is_named_after_what_was_done(changes, name):
    settings = {"expression": "happy", "intensity": 0.8, "second": "", "part": 0.5, "units": {}} | changes
    assert words.result_name("/somewhere/me.jpg", settings) == name
    assert words.result_name("/somewhere/" + "x" * 200 + ".jpg", settings).startswith("x" * 60 + "-")


@pytest.mark.parametrize(("kind", "file_format"), [("sweep", "mp4"), ("tour", "gif"), ("morph", "webp")])
def test_an_animation_is_small_and_quickly_made(client, data_dir, kind, file_format):
    moves = {"kind": kind, "file_format": file_format, "seconds": 0.5}
    job = client.submit(handle_file(data_dir / "portrait.jpg"), **SETTINGS, **moves, api_name="/animate")
    path = Path(job.result())
    assert path.name == f"portrait-{'tour' if kind == 'tour' else 'happy'}.{file_format}"
    if file_format == "mp4":
        assert b"moov" in path.read_bytes()
    else:
        moving = Image.open(path)
        assert max(moving.size) == animation_panel.MAX_SIDE_PX[file_format] and moving.n_frames > 3 and is_marked(path)


@pytest.mark.parametrize("wrong", [{"seconds": 90}, {"seconds": 0}, {"kind": "dance"}, {"file_format": "avi"}])
def test_an_invalid_animation_is_answered_with_a_sentence(client, data_dir, wrong):
    moves = {"kind": "sweep", "file_format": "mp4", "seconds": 1} | wrong
    with pytest.raises(AppError) as error:
        client.predict(handle_file(data_dir / "portrait.jpg"), **SETTINGS, **moves, api_name="/animate")
    assert endpoints.APOLOGY not in str(error.value) and str(next(iter(wrong.values()))) in str(error.value)


def test_a_slow_machine_makes_fewer_frames(monkeypatch):
    clock = iter((0.0, 3.0, 3.0, 8.0))
    monkeypatch.setattr(animation_panel, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    rates = []
    animation_panel.choose_frame_rate(lambda fps: rates.append(fps) or list(range(40)))
    assert rates == [animation_panel.MAX_FPS, animation_panel.MIN_FPS]
    with pytest.raises(ExprGANError, match="would take about 40 seconds, and 30 are allowed"):
        animation_panel.choose_frame_rate(lambda fps: list(range(40)))


def test_the_names_of_two_photos_fit_into_that_of_a_file():
    name = words.short_name(f"/tmp/{'写真' * 40}.jpg")
    assert name == "写真" * 15 and len(f"{name}-like-{name}.mp4".encode()) < 255
    assert words.short_name("a/me.jpg") == "me"


def test_a_transfer_says_which_expression_it_read(client, data_dir):
    photo, source = handle_file(data_dir / "portrait.jpg"), handle_file(data_dir / "portrait2.jpg")
    pair, status = client.predict(photo, source, 1, api_name="/transfer")
    assert [Image.open(path).size for path in pair] == [(900, 900)] * 2
    assert status.startswith("The other face reads as ") and "The face now reads as " in status


def test_a_mix_lies_between_its_two_expressions(client, data_dir):
    photo = handle_file(data_dir / "portrait.jpg")

    def after(**changes):
        (_, path), _ = client.predict(photo, **SETTINGS | {"intensity": 1} | changes, api_name="/edit")
        return pixels(path)

    happy, mixed, surprised = after(), after(second="surprise"), after(expression="surprise")
    assert min(np.abs(mixed - happy).max(), np.abs(mixed - surprised).max()) > 5
    assert np.array_equal(after(second="happy", part=0.9), happy)  # mixed with itself


def test_every_parameter_has_a_default(client, data_dir):
    photo = handle_file(data_dir / "portrait.jpg")
    (_, by_default), _ = client.predict(photo, api_name="/edit")
    (_, explicit), _ = client.predict(photo, **SETTINGS | {"intensity": 1}, api_name="/edit")
    assert np.array_equal(pixels(by_default), pixels(explicit))


def test_all_six_are_shown_at_a_glance(client, data_dir):
    row = client.predict(handle_file(data_dir / "portrait.jpg"), api_name="/all_expressions")
    assert [item["caption"] for item in row] == ["Angry", "Disgusted", "Afraid", "Happy", "Sad", "Surprised"]
    assert len({pixels(item["image"]).tobytes() for item in row}) == 6


def test_a_download_has_the_photos_size_format_and_name(client, data_dir, tmp_path):
    Image.open(data_dir / "portrait.jpg").resize((1500, 1500)).save(tmp_path / "Me.webp")
    photo, source = handle_file(tmp_path / "Me.webp"), handle_file(data_dir / "portrait2.jpg")
    names = []
    for path in (client.predict(photo, **SETTINGS, api_name="/download_edit"),
                 client.predict(photo, source, 1, api_name="/download_transfer")):  # fmt: skip
        assert is_marked(path) and Image.open(path).size == (1500, 1500)
        names.append(Path(path).name)
    assert names == ["Me-happy-80.webp", "Me-like-portrait2.webp"]


def test_the_same_seed_makes_the_same_people(client):
    def people(seed, expression="happy"):
        gallery = client.predict(seed, 3, expression, 1, api_name="/generate")
        return [pixels(item["image"]) for item in gallery]

    first, again, others = people(1), people(1), people(2)
    assert len(first) == 3 and first[0].shape == (32, 32, 3)
    assert np.array_equal(first, again) and not np.array_equal(first, others)
    rows = people(1, "all")
    assert len(rows) == 18 and np.array_equal(rows[3::6], first)  # happy is the fourth of six


def test_the_zip_of_people_is_labelled(client):
    path = client.predict(7, 2, "all", 0.5, api_name="/download_people")
    assert Path(path).name == "people-7-all.zip"
    with zipfile.ZipFile(path) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("metadata.csv").decode())))
        assert sorted(archive.namelist()) == sorted(["metadata.csv", *(row["file_name"] for row in rows)])
        for row in rows:
            data = archive.read(row["file_name"])
            assert Image.open(io.BytesIO(data)).size == (32, 32) and is_marked(data)
    assert len(rows) == 12 and {row["intensity"] for row in rows} == {"0.5"}
    assert [row["expression"] for row in rows[:6]] == ["angry", "disgust", "fear", "happy", "sad", "surprise"]
    assert [row["subject"] for row in rows[5:7]] == ["seed7-01", "seed7-02"]


@pytest.mark.parametrize(("count", "seed"), [(13, 1), (0, 1), (2, -1), (2, 2**40)])
def test_numbers_out_of_range_are_answered_with_a_sentence(client, count, seed):
    with pytest.raises(AppError) as error:
        client.predict(seed, count, "happy", 1, api_name="/generate")
    assert endpoints.APOLOGY not in str(error.value) and "Traceback" not in str(error.value)


def test_without_a_photo_there_are_no_faces_to_choose():
    _, face, faces, scope, session = views.read_photo(None, None)
    assert (face, faces["tiles"], scope["visible"], session) == (0, [], False, None)


def test_a_photo_without_a_face_is_answered_with_a_sentence(client, tmp_path):
    Image.new("RGB", (300, 300), "skyblue").save(tmp_path / "sky.png")
    for api_name, settings in (("/edit", SETTINGS), ("/read", {}), ("/all_expressions", {}), ("/download_edit", SETTINGS)):
        with pytest.raises(AppError) as error:
            client.predict(handle_file(tmp_path / "sky.png"), **settings, api_name=api_name)
        assert str(error.value).startswith("No face was found in this photo.")
        assert "Traceback" not in str(error.value)


def test_a_file_that_is_not_a_photo_is_answered_with_a_sentence(client, tmp_path):
    (tmp_path / "notes.png").write_text("not a picture")
    with pytest.raises(AppError, match=r"^This is not a photo that can be read\."):
        client.predict(handle_file(tmp_path / "notes.png"), **SETTINGS, api_name="/edit")


def test_the_api_is_the_one_promised_typed_and_documented(client):
    api = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    names = {name: [parameter["parameter_name"] for parameter in info["parameters"]] for name, info in api.items()}
    assert names == PARAMETERS
    for name, info in api.items():
        assert len(info["description"]) > 20, name
        for value in [*info["parameters"], *info["returns"]]:
            assert value["python_type"]["type"] not in ("", "Any"), (name, value)
        assert all(len(parameter["python_type"]["description"]) > 10 for parameter in info["parameters"]), name
        assert all(parameter["parameter_has_default"] for parameter in info["parameters"]), name
        documentation = inspect.getdoc(next(getattr(place, name[1:]) for place in PLACES if hasattr(place, name[1:])))
        for parameter in names[name]:
            assert len(re.findall(rf"^    {parameter}: .", documentation, re.M)) == 1, (name, parameter)
        assert "as `" not in documentation and documentation.index("Args:") < documentation.index("Returns:")


def test_the_api_keeps_nothing_between_two_calls(tiny_editor, visitors):
    config = page.build_app(tiny_editor).get_config_file()
    types = {component["id"]: component["type"] for component in config["components"]}
    public = [event for event in config["dependencies"] if event["api_visibility"] == "public"]
    assert {f"/{event['api_name']}" for event in public} == PARAMETERS.keys()
    assert "state" not in {types[component] for event in public for component in (*event["inputs"], *event["outputs"])}


@pytest.mark.parametrize(("name", "rest", "count"), [("read", (), 1), ("number_faces", (0,), 1)])
def test_the_api_returns_all_but_the_session(tiny_editor, data_dir, visitors, name, rest, count):
    photo = str(shutil.copy(data_dir / "portrait.jpg", visitors / "me.jpg"))
    results = endpoints.stateless(functools.partial(getattr(handlers, name), tiny_editor))(photo, *rest)
    assert not isinstance(results, PhotoSession)
    assert count == 1 or (len(results) == count and not any(isinstance(value, PhotoSession) for value in results))


def test_agents_md_describes_every_function_with_a_call_that_runs(app_url, client, capsys):
    text = urllib.request.urlopen(f"{app_url}agents.md").read().decode()
    for name, parameters in PARAMETERS.items():
        section = text.partition(f"## {name}\n")[2].partition("\n## ")[0]
        assert all(f"- `{parameter}` (" in section for parameter in parameters) and "Returns: " in section, name
    calls = dict(re.findall(r"```python\nresult = (client\.predict\(.*api_name=\"(.*)\"\))\n```", text))
    assert sorted(calls.values()) == sorted(PARAMETERS)
    results = {name: eval(call, {"client": client}) for call, name in calls.items()
               if name in ("/read", "/edit", "/transfer", "/generate")}  # fmt: skip
    assert (
        results["/read"]["faces"][0]["face"] == 1 and "reads as" in results["/edit"][1] and len(results["/generate"]) == 12
    )
    assert 'one of "angry"' in text and "from 0 to 1" in text


@pytest.mark.parametrize("wrong", [3, {"path": 7}, "/etc/passwd", ["me.jpg"], {"url": "me.jpg"}])
def test_what_is_no_sent_photo_is_refused_with_a_sentence(app_url, wrong):
    status, text = call(app_url, "read", wrong)
    assert status == "error" and "Traceback" not in text and re.search("add it again|must be an uploaded file", text), text


def readme_example(language):
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.S)
    return next(block for block in blocks if "127.0.0.1:7860" in block and "make app" not in block)


def test_the_readmes_python_call_works_as_it_stands(app_url, data_dir, tmp_path, monkeypatch):
    shutil.copy(data_dir / "portrait.jpg", tmp_path / "me.jpg")
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(readme_example("python").replace("http://127.0.0.1:7860", app_url.rstrip("/")), scope)
    assert Image.open(scope["after"]).size == Image.open(scope["before"]).size == (900, 900)
    assert "reads as" in scope["sentence"]


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl here")
def test_the_readmes_curl_call_works_as_it_stands(app_url, data_dir, tmp_path):
    shutil.copy(data_dir / "portrait.jpg", tmp_path / "me.jpg")
    script = readme_example("sh").replace("http://127.0.0.1:7860", app_url.rstrip("/"))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "event: complete" in done.stdout and "reads as" in done.stdout
    (before, after), *_ = json.loads(re.search(r"^data: (\[.*)$", done.stdout, re.M)[1])
    assert before["url"].startswith(app_url) and after["url"].startswith(app_url)


def test_faces_json_has_the_examples_faces_as_the_detector_finds_them():
    known = example_faces()
    assert sorted(known) == handlers.EXAMPLES
    for path, (face,) in known.items():
        (found,) = find_faces(load_photo(path))
        assert np.abs(np.subtract(face.landmarks, found.landmarks)).max() < 2, path
        assert np.abs(np.subtract(face.box, found.box)).max() < 4 and face.score == pytest.approx(found.score, abs=0.01)

"""A thousand odd uploads through library, command line and app: no traceback, hang, memory growth or leftover file."""

import csv
import io
import os
import re
import subprocess
import sys
import time
import warnings
from collections import Counter, defaultdict
from pathlib import Path

import gradio as gr
import pytest
import torch
from corpus import EDITED, NO_FACE, REFUSED, corpus, write
from corpus_bytes import PAYLOAD
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from exprgan import ExpressionEditor, ExprGAN
from exprgan.cli import main
from exprgan.errors import BadImageError, NoFaceError
from exprgan.models.controller import check_intensity
from exprgan.photo.image_io import SUFFIXES, is_marked, save_photo
from exprgan.ui import endpoints, handlers

ROOT = Path(__file__).parent.parent
MAX_CPU_S = 5
"""For one upload."""
MAX_GROWTH_MB, MAX_PEAK_MB = 20, 300
"""Memory growth of a process when it reads the same uploads a second time, and its peak."""
REMEDY = re.compile(r"\b(Use|Send|Save|save|Make|Choose|Open|Allow|Check|Name|Try|try)\b")
QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
SETTINGS = ("happy", 0.8, "", 0.5, 0, "detail", 0, "one", {}, {})


@pytest.fixture(scope="module")
def bundled():
    return ExpressionEditor(ExprGAN.from_pretrained(ROOT / "weights"))


@pytest.fixture
def visitors(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "visitors"))
    return tmp_path / "visitors"


def is_helpful(message: str) -> bool:
    """Tests whether a message is one sentence or two that say what to do."""
    return bool(REMEDY.search(message)) and "\n" not in message and len(message) < 400 and "Error" not in message


def edit_upload(editor, upload, out: Path) -> str:
    """Edits an upload with the library and returns the outcome; raises what no upload may cause."""
    target = out / f"edited{suffix if (suffix := Path(upload.name).suffix.lower()) in SUFFIXES else '.png'}"
    try:
        save_photo(editor.edit(upload.data, "happy").image, target)
    except (BadImageError, NoFaceError) as error:
        assert is_helpful(str(error)), (upload.path, str(error))
        return NO_FACE if isinstance(error, NoFaceError) else REFUSED
    assert is_marked(target) and PAYLOAD not in target.read_bytes(), upload.path
    return EDITED


def edit_all(editor, uploads, out: Path) -> dict[str, list]:
    """Edits uploads with the library; returns the outcome and CPU seconds of each, by kind."""
    results = defaultdict(list)
    editor.edit(ROOT / "tests" / "data" / "portrait.jpg", "happy")  # so that no upload's time includes what is loaded once
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        for upload in uploads:
            start = time.process_time()
            outcome = edit_upload(editor, upload, out)
            seconds = time.process_time() - start
            results[upload.kind.name].append((outcome, seconds))
            assert outcome in upload.kind.outcomes, (upload.path, outcome)
            assert seconds < MAX_CPU_S, (upload.path, seconds)
    assert [path.name for path in out.iterdir() if path.suffix == ".part"] == []
    return results


# Library.


@pytest.mark.slow
def test_a_slice_of_the_corpus_through_the_library(tiny_editor, tmp_path):
    results = edit_all(tiny_editor, corpus(quick=True), tmp_path)
    assert sum(map(len, results.values())) >= 150 and len(results) >= 40


@pytest.mark.slow
def test_all_of_the_corpus_through_the_library(bundled, tmp_path):
    results = edit_all(bundled, corpus(), tmp_path)
    assert sum(map(len, results.values())) >= 1000
    for kind, of_kind in results.items():  # the table of docs/reliability.md
        counts = Counter(outcome for outcome, _ in of_kind)
        print(f"| {kind.replace('_', ' ')} | {len(of_kind)} | {counts[EDITED] or ''} | {counts[NO_FACE] or ''} | "
              f"{counts[REFUSED] or ''} | {max(seconds for _, seconds in of_kind):.2f} |")  # fmt: skip


MEASURE_MEMORY = """
import sys, torch
sys.path[:0] = ["tests", "."]
from pathlib import Path
from corpus import corpus
from exprgan import ExpressionEditor, ExprGAN
from test_hostile import edit_upload
torch.set_num_threads(1)
def memory_mb(field):
    return int(next(line for line in open("/proc/self/status") if line.startswith(field)).split()[1]) / 1000
editor, out = ExpressionEditor(ExprGAN.from_pretrained("weights")), Path(sys.argv[1])
editor.edit("tests/data/portrait.jpg", "happy").image
start = memory_mb("VmRSS")
for _ in range(2):
    for upload in corpus(quick=True, kinds=frozenset(sys.argv[2:])):
        edit_upload(editor, upload, out)
    print(memory_mb("VmRSS") - start, memory_mb("VmHWM") - start)
"""


def list_leftovers(folder: Path) -> list[str]:
    """Lists a folder for temporary files, but for the empty folder that torchvision's import makes."""
    return [path.name for path in folder.iterdir() if not path.name.startswith("torchinductor")]


def measure_memory(tmp_path, *kinds: str) -> list[list[float]]:
    """Returns resident memory and its peak after each of two rounds, in MB above those of an editor after one edit."""
    (tmp_path / "tmp").mkdir()
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", MEASURE_MEMORY, str(tmp_path), *kinds], cwd=ROOT, text=True,
                         capture_output=True, env=os.environ | {"TMPDIR": str(tmp_path / "tmp")})  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert not list_leftovers(tmp_path / "tmp")
    return [[float(number) for number in line.split()] for line in run.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_stays_within_its_bound_and_no_file_is_left(tmp_path):
    (first, _), (second, peak) = measure_memory(tmp_path)
    print(f"resident memory: +{first:.0f} MB after one round, +{second:.0f} MB after two, +{peak:.0f} MB at the widest")
    assert second - first <= MAX_GROWTH_MB and peak <= MAX_PEAK_MB


# Command line.


def through_the_command_line(folder: Path, out: Path, *more: str) -> tuple[dict[str, dict], str]:
    """Edits a folder with the command line; returns the rows of edits.csv by file, and the output."""
    (out.parent / "tmp").mkdir()
    line = [sys.executable, "-m", "exprgan", "edit", str(folder), "happy", "--out", str(out), "--jobs", "1", *more]
    environment = os.environ | {"TMPDIR": str(out.parent / "tmp")}
    run = subprocess.run(line, cwd=ROOT, text=True, capture_output=True, env=environment)
    assert run.returncode == 0 and "Traceback" not in run.stderr and "Warning" not in run.stderr, run.stderr
    assert not list_leftovers(out.parent / "tmp") and not list(out.rglob("*.part"))
    with open(out / "edits.csv", encoding="utf-8", newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}, run.stdout


def check_rows(uploads, rows) -> None:
    wanted = {upload.path: upload for upload in uploads if not upload.name.startswith(".")}
    assert rows.keys() == wanted.keys()
    for path, row in rows.items():
        unsupported = path.endswith((".heic", ".jxl", ".jfif"))
        assert row["status"] in wanted[path].kind.outcomes or unsupported, (path, row)
        assert row["status"] == EDITED or is_helpful(row["message"]), row


CHEAP = frozenset({"header_flipped", "almost_nothing", "no_picture", "odd_names", "many_pieces", "profile_is_a_number"})


def test_a_folder_of_them_gives_rows_and_no_traceback(tmp_path, tiny_model):
    tiny_model.save_pretrained(tmp_path / "model")
    uploads = write(corpus(quick=True, kinds=CHEAP), tmp_path / "in")
    check_rows(uploads, through_the_command_line(tmp_path / "in", tmp_path / "out", "--model", str(tmp_path / "model"))[0])


@pytest.mark.slow
def test_all_of_them_in_one_folder(tmp_path):
    uploads = write((one for one in corpus() if one.kind.quick_count), tmp_path / "in")
    rows, output = through_the_command_line(tmp_path / "in", tmp_path / "out")
    check_rows(uploads, rows)
    print(output)


@pytest.mark.parametrize("verb", ["edit", "find", "animate", "transfer"])
def test_a_verb_refuses_a_photo_with_one_sentence(tmp_path, tiny_model, verb, capsys):
    tiny_model.save_pretrained(tmp_path / "model")
    kinds = frozenset({"no_picture", "animated_canvas", "many_scans"} if verb in ("edit", "find") else {"one_pixel"})
    for upload in write(corpus(quick=True, kinds=kinds), tmp_path / "in"):
        path = tmp_path / "in" / upload.path
        gif = ["--out", str(tmp_path / "x.gif")]
        arguments = {"edit": ["happy"], "find": [], "animate": gif, "transfer": [str(path)]}[verb]
        model = [] if verb == "find" else ["--model", str(tmp_path / "model")]
        assert main([verb, str(path), *arguments, *model]) == 1
        output = capsys.readouterr()
        assert output.err.startswith("error: ") and is_helpful(output.err.strip()), (upload.path, output)
        assert not output.out
        assert [one.name for one in path.parent.iterdir()] == [path.name]


# The app.


def through_the_app(editor, uploads, folder: Path) -> Counter:
    """Reads and edits uploads with the app's handlers; returns the number of each outcome."""
    read, edit = (endpoints.with_error_handling(handler, editor) for handler in (handlers.read, handlers.edit))
    counts = Counter()
    for upload in write(uploads, folder):
        path, outcome = str(folder / upload.path), EDITED
        try:
            edit(path, *SETTINGS, read(path)[-1])
        except gr.Error as error:
            assert is_helpful(error.message) and error.message != endpoints.APOLOGY, (upload.path, error.message)
            outcome = NO_FACE if "No face" in error.message else REFUSED
        assert outcome in upload.kind.outcomes, (upload.path, outcome)
        counts[outcome] += 1
    return counts


def test_a_slice_through_the_apps_actions(tiny_editor, visitors, tmp_path):
    kinds = CHEAP | {"tiff_tags", "thin"}
    counts = through_the_app(tiny_editor, corpus(quick=True, kinds=kinds), tmp_path / "in")
    assert counts.keys() == {EDITED, NO_FACE, REFUSED}
    suffixes = {path.suffix for path in visitors.rglob("*") if path.is_file()}
    assert suffixes == {".jpg"}  # the pictures shown, which gradio deletes


@pytest.mark.slow
def test_all_of_them_through_the_apps_actions(bundled, visitors, tmp_path):
    print(through_the_app(bundled, (one for one in corpus() if one.kind.quick_count), tmp_path / "in"))


def test_some_of_them_over_http(app_url, tmp_path):
    client, refused = Client(app_url, verbose=False), 0
    kinds = frozenset({"no_picture", "odd_names", "many_scans", "claims"})
    for upload in write(corpus(quick=True, kinds=kinds), tmp_path / "in"):
        if upload.number > 3:
            continue
        try:
            client.predict(handle_file(tmp_path / "in" / upload.path), api_name="/read")
        except AppError as error:
            assert is_helpful(str(error)) and "Sorry" not in str(error), (upload.path, str(error))
            refused += 1
    assert refused >= 6


ODD = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.lists(st.integers(), max_size=2)
NAMES = st.sampled_from(("expression", "intensity", "second", "part", "style", "fidelity"))


@pytest.fixture(scope="module")
def read_photo(tiny_config, tmp_path_factory):
    os.environ.setdefault("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("visitors")))
    torch.manual_seed(0)
    editor = ExpressionEditor(ExprGAN(tiny_config))
    path = tmp_path_factory.mktemp("photo") / "me.png"
    Image.open(ROOT / "tests" / "data" / "portrait.jpg").resize((200, 200)).save(path)
    return editor, str(path), handlers.read(editor, str(path))[-1]


ODD_SETTINGS = st.dictionaries(NAMES, ODD, max_size=2)


@settings(max_examples=30, deadline=None, suppress_health_check=QUIET)
@given(ODD_SETTINGS, st.dictionaries(st.sampled_from(("0", "1", "x")), ODD_SETTINGS))
def test_any_settings_of_the_app_give_a_picture_or_a_sentence(read_photo, wrong, others):
    editor, path, session = read_photo
    values = handlers.DEFAULTS | {"expression": "happy", "fidelity": "model", "face": 0} | wrong
    units = values.pop("units")
    try:
        endpoints.with_error_handling(handlers.edit, editor)(path, *values.values(), "each", others, units, session)
    except gr.Error as error:
        assert error.message != endpoints.APOLOGY, (wrong, others)


# Numbers.


@settings(max_examples=200, deadline=None)
@given(ODD | st.integers(min_value=10**300, max_value=10**400))
def test_any_intensity_is_in_range_or_a_value_error(value):
    try:
        assert 0 <= check_intensity(value) <= 1
    except ValueError as error:
        assert "must lie between 0 (neutral) and 1" in str(error)


@settings(max_examples=25, deadline=None, suppress_health_check=QUIET)
@given(st.lists(st.floats(-1, 1, width=32), min_size=30, max_size=30))
def test_any_code_gives_a_picture_and_changes_only_the_face(read_photo, numbers):
    editor, _, session = read_photo
    subject = session.subject(editor)
    edited = editor.decode(subject, torch.tensor(numbers)).image
    assert edited.size == subject.photo.size and edited.getpixel((0, 0)) == subject.photo.getpixel((0, 0))


MIXES = st.dictionaries(st.sampled_from(("happy", "sad", "neutral", "anger")), st.floats(0, 1))


@settings(max_examples=60, deadline=None)
@given(MIXES, st.integers(-9, 9) | st.none())
def test_any_mix_is_a_code_or_a_value_error(mix, style):
    from exprgan.models.controller import Controller

    try:
        code = Controller().mix(mix, style=style)
    except ValueError:
        assert style not in (None, *range(5))
    else:
        assert code.shape == (30,) and code.abs().max() <= 1


# Limits of decoding.


def test_valid_files_of_many_pieces_are_within_the_limits(data_dir):
    """A progressive JPEG in restart intervals, a PNG of tiny chunks of pixels, a TIFF of a strip for each row."""
    from exprgan.photo.image_io import load_photo

    picture = Image.open(data_dir / "portrait.jpg")
    for file_format, options in (("JPEG", {"progressive": True, "restart_marker_blocks": 1}), ("TIFF", {}), ("PNG", {})):
        file = io.BytesIO()
        picture.save(file, file_format, **options)
        data = file.getvalue()
        assert load_photo(data).size == load_photo(io.BytesIO(data)).size == picture.size

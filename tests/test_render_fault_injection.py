"""`render` and `virtual` on a full disk, in a read-only folder, killed, and twice at once in one folder."""

import random
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("cv2")
pytest.importorskip("scipy")

import test_render_build
import test_virtual
from fault_injection import fill_disk, find_half_written, locked_by_another_process, read_files, run_line

from train.__main__ import main
from train.data.validation import find_problems
from train.render.photo_manifest import read_manifest

RENDER = (
    "render --photos {photos}/london --mesh {mesh} --out {out} --number 1 --neutral 0 --varied 0 --combinations 0 "
    "--image-size 64 --no-smiles --flow"
)
VIRTUAL = "virtual --photos {photos}/drawn --out {out} --count 4 --test-share 0"
VERBS = {
    "render": f"{RENDER} --workers 1",
    "render by two": f"{RENDER} --workers 2",
    "virtual": f"{VIRTUAL} --workers 1",
    "virtual by two": f"{VIRTUAL} --workers 2",
}
FREE_BYTES = {"render": 120_000, "virtual": 24_000}
"""Free space for some of what a verb writes, not for all."""
LAST_FILE = {"render": "metadata.csv", "virtual": "manifest.csv"}
"""The file that is written when all others are."""
EACH = [pytest.param(verb, marks=pytest.mark.slow) if verb == "render by two" else verb for verb in VERBS]
"""All verbs; `render` by two processes is slow, as it starts them."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photos of two people for `render`, drawn ones for `virtual`."""
    folder = tmp_path_factory.mktemp("photos")
    test_render_build.make_photos(folder / "london")
    test_virtual.make_photos(folder / "drawn")
    return folder


@pytest.fixture(scope="module")
def expected(photos, tmp_path_factory):
    """The files that each verb writes if nothing fails: verb -> name -> content."""
    folder = tmp_path_factory.mktemp("expected")
    for verb in LAST_FILE:
        assert main(make_line(verb, photos, folder / verb).split()) == 0
    return {verb: read_files(folder / verb) for verb in LAST_FILE}


def make_line(verb, photos, out):
    return VERBS[verb].format(photos=photos, mesh=test_render_build.HERE / "mesh.npz", out=out)


@pytest.mark.parametrize("verb", EACH)
def test_a_full_disk_is_reported_and_the_same_line_works_once_there_is_room(verb, photos, expected, disk, capsys):
    (disk / "out").mkdir()
    fill_disk(disk, 0)
    status, errors = run_line(main, make_line(verb, photos, disk / "out"), capsys)
    assert status == 1 and len(errors) == 1 and "o space left" in errors[0], (status, errors)
    assert not read_files(disk / "out")
    (disk / "ballast").unlink()
    assert run_line(main, make_line(verb, photos, disk / "out"), capsys) == (0, [])
    assert read_files(disk / "out") == expected[verb.split()[0]]


@pytest.mark.parametrize("verb", EACH)
def test_a_disk_that_fills_up_is_reported_and_the_work_can_be_continued(verb, photos, expected, disk, capsys):
    fill_disk(disk, FREE_BYTES[verb.split()[0]])
    status, errors = run_line(main, make_line(verb, photos, disk / "out"), capsys)
    assert status == 1 and len(errors) == 1 and "Cannot write" in errors[0], (status, errors)
    written = read_files(disk / "out")
    assert written and not find_half_written(written) and LAST_FILE[verb.split()[0]] not in written
    assert all(expected[verb.split()[0]][name] == content for name, content in written.items())
    (disk / "ballast").unlink()
    assert run_line(main, make_line(verb, photos, disk / "out"), capsys) == (0, [])
    assert read_files(disk / "out") == expected[verb.split()[0]]


@pytest.mark.parametrize("verb", LAST_FILE)
def test_a_finished_folder_stays_unchanged_on_a_full_disk(verb, photos, disk, capsys):
    assert run_line(main, make_line(verb, photos, disk / "out"), capsys) == (0, [])
    before = read_files(disk / "out")
    fill_disk(disk, 0)
    line = make_line(verb, photos, disk / "out").replace("--count 4", "--count 5")
    status, errors = run_line(main, line, capsys)
    assert (status, len(errors)) in ((0, 0), (1, 1)), (status, errors)
    assert read_files(disk / "out") == before


@pytest.mark.parametrize("verb", LAST_FILE)
def test_the_old_files_of_a_growing_set_stay_unchanged_when_the_disk_fills_up(verb, photos, expected, disk, capsys):
    manifest = photos / "london" / "manifest.csv"
    (photos / "london" / "first.csv").write_text("".join(manifest.read_text().splitlines(True)[:2]))
    full = make_line(verb, photos, disk / "out")
    smaller = (
        full.replace("--count 4", "--count 2") if verb == "virtual" else f"{full} --manifest {photos}/london/first.csv"
    )
    assert run_line(main, smaller, capsys) == (0, [])
    before = read_files(disk / "out")
    fill_disk(disk, 24_000)
    status, errors = run_line(main, full, capsys)
    assert status == 1 and len(errors) == 1 and "Cannot write" in errors[0], (status, errors)
    after = read_files(disk / "out")
    assert len(after) > len(before) and {name: after.get(name) for name in before} == before
    (disk / "ballast").unlink()
    assert run_line(main, full, capsys) == (0, [])
    assert read_files(disk / "out") == expected[verb]


@pytest.mark.parametrize("verb", LAST_FILE)
def test_a_read_only_folder_is_reported_in_one_sentence(verb, photos, disk, capsys):
    assert run_line(main, make_line(verb, photos, disk / "out"), capsys) == (0, [])
    (disk / "new").mkdir()
    before = read_files(disk)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for out in ("out", "new"):
        status, errors = run_line(main, make_line(verb, photos, disk / out), capsys)
        assert status == 1 and len(errors) == 1 and "ead-only" in errors[0], (out, status, errors)
    assert read_files(disk) == before


@pytest.mark.parametrize("verb", LAST_FILE)
def test_a_file_in_place_of_the_folder_is_reported_in_one_sentence(verb, photos, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    status, errors = run_line(main, make_line(verb, photos, tmp_path / "out"), capsys)
    assert status == 1 and len(errors) == 1, (status, errors)
    assert read_files(tmp_path) == {"out": b"mine"}


@pytest.mark.parametrize("verb", LAST_FILE)
def test_a_second_process_reports_the_first_and_writes_nothing(verb, photos, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    with locked_by_another_process(out):
        status, errors = run_line(main, make_line(verb, photos, out), capsys)
        assert status == 1 and len(errors) == 1 and f"another process is writing {out}" in errors[0], errors
        assert not read_files(out)
    assert run_line(main, make_line(verb, photos, out), capsys) == (0, [])


@pytest.mark.slow
@pytest.mark.parametrize("verb", LAST_FILE)
def test_of_two_processes_at_once_one_makes_the_set_and_the_other_reports_or_finds_it(verb, photos, expected, tmp_path):
    command = [sys.executable, "-m", "train", *make_line(verb, photos, tmp_path / "out").split()]
    processes = [subprocess.Popen(command, cwd=test_render_build.ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        stderr = process.communicate(timeout=500)[1]
        assert process.returncode == 0 or "another process is writing" in stderr, stderr
    assert 0 in [process.returncode for process in processes]
    assert read_files(tmp_path / "out") == expected[verb]


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_killed_at_any_moment_ends_with_the_same_bytes_the_next_time(verb, photos, expected, tmp_path, capsys):
    generator = random.Random(verb)
    for kill in range(3):
        out = tmp_path / str(kill)
        command = [sys.executable, "-m", "train", *make_line(verb, photos, out).split()]
        process = subprocess.Popen(
            command, cwd=test_render_build.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while not out.exists() and process.poll() is None:  # imports
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert run_line(main, make_line(verb, photos, out), capsys) == (0, [])
        assert read_files(out) == expected[verb.split()[0]]
        assert not find_problems(out) if verb.split()[0] == "render" else len(read_manifest(out)) == 4

"""`render` and `virtual` on a full disk, in a folder that cannot be written, killed, and two of them at one folder."""

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
from trouble import fill, held_by_another, odd, outcome, state_of

from train.__main__ import main
from train.data.validation import problems
from train.render.photo_manifest import read_manifest

RENDER = (
    "render --photos {photos}/london --mesh {mesh} --out {out} --number 1 --neutral 0 --image-size 64 --no-smiles --flow"
)
VIRTUAL = "virtual --photos {photos}/drawn --out {out} --count 4 --test-share 0"
VERBS = {
    "render": f"{RENDER} --workers 1",
    "render by two": f"{RENDER} --workers 2",
    "virtual": f"{VIRTUAL} --workers 1",
    "virtual by two": f"{VIRTUAL} --workers 2",
}
HALF = {"render": 120_000, "virtual": 24_000}
"""Free space in bytes for some of what a verb writes, not for all."""
LAST = {"render": "metadata.csv", "virtual": "manifest.csv"}
"""What stands there once all does."""


def each(verbs):
    """Verbs to try; those of two processes start them anew, which takes long."""
    return [pytest.param(verb, marks=pytest.mark.slow) if verb == "render by two" else verb for verb in verbs]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two people's photos for `render`, drawn ones for `virtual`."""
    place = tmp_path_factory.mktemp("photos")
    test_render_build.photos(place / "london")
    test_virtual.people(place / "drawn")
    return place


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    """What each verb writes where nothing is in its way: name -> content, by verb."""
    place = tmp_path_factory.mktemp("whole")
    for verb in LAST:
        assert main(line(verb, photos, place / verb).split()) == 0
    return {verb: state_of(place / verb) for verb in LAST}


def line(verb, photos, out):
    return VERBS[verb].format(photos=photos, mesh=test_render_build.HERE / "mesh.npz", out=out)


def kind(verb):
    return verb.split()[0]


@pytest.mark.parametrize("verb", each(VERBS))
def test_on_a_full_disk_a_verb_says_so_and_the_same_line_works_once_there_is_room(verb, photos, whole, disk, capsys):
    (disk / "out").mkdir()
    fill(disk, 0)
    status, said = outcome(main, line(verb, photos, disk / "out"), capsys)
    assert status == 1 and len(said) == 1 and "o space left" in said[0], (status, said)
    assert not state_of(disk / "out")
    (disk / "ballast").unlink()
    assert outcome(main, line(verb, photos, disk / "out"), capsys) == (0, [])
    assert state_of(disk / "out") == whole[kind(verb)]


@pytest.mark.parametrize("verb", each(VERBS))
def test_a_disk_that_fills_up_on_the_way_is_one_sentence_and_the_work_goes_on(verb, photos, whole, disk, capsys):
    fill(disk, HALF[kind(verb)])
    status, said = outcome(main, line(verb, photos, disk / "out"), capsys)
    assert status == 1 and len(said) == 1 and "could not be written" in said[0], (status, said)
    begun = state_of(disk / "out")
    assert begun and not odd(begun) and LAST[kind(verb)] not in begun
    assert all(whole[kind(verb)][name] == content for name, content in begun.items())
    (disk / "ballast").unlink()
    assert outcome(main, line(verb, photos, disk / "out"), capsys) == (0, [])
    assert state_of(disk / "out") == whole[kind(verb)]


@pytest.mark.parametrize("verb", LAST)
def test_a_finished_folder_stands_where_there_is_no_room_to_change_it(verb, photos, disk, capsys):
    assert outcome(main, line(verb, photos, disk / "out"), capsys) == (0, [])
    before = state_of(disk / "out")
    fill(disk, 0)
    again = line(verb, photos, disk / "out").replace("--count 4", "--count 5")
    status, said = outcome(main, again, capsys)
    assert (status, len(said)) in ((0, 0), (1, 1)), (status, said)
    assert state_of(disk / "out") == before


@pytest.mark.parametrize("verb", LAST)
def test_a_set_that_grows_stands_as_it_was_where_the_room_runs_out(verb, photos, whole, disk, capsys):
    manifest = photos / "london" / "manifest.csv"
    (photos / "london" / "first.csv").write_text("".join(manifest.read_text().splitlines(True)[:2]))
    full = line(verb, photos, disk / "out")
    small = full.replace("--count 4", "--count 2") if verb == "virtual" else f"{full} --manifest {photos}/london/first.csv"
    assert outcome(main, small, capsys) == (0, [])
    before = state_of(disk / "out")
    fill(disk, 24_000)
    status, said = outcome(main, full, capsys)
    assert status == 1 and len(said) == 1 and "could not be written" in said[0], (status, said)
    after = state_of(disk / "out")
    assert len(after) > len(before) and {name: after.get(name) for name in before} == before
    (disk / "ballast").unlink()
    assert outcome(main, full, capsys) == (0, [])
    assert state_of(disk / "out") == whole[verb]


@pytest.mark.parametrize("verb", LAST)
def test_a_folder_that_cannot_be_written_is_one_sentence(verb, photos, disk, capsys):
    assert outcome(main, line(verb, photos, disk / "out"), capsys) == (0, [])
    (disk / "new").mkdir()
    before = state_of(disk)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for out in ("out", "new"):
        status, said = outcome(main, line(verb, photos, disk / out), capsys)
        assert status == 1 and len(said) == 1 and "ead-only" in said[0], (out, status, said)
    assert state_of(disk) == before


@pytest.mark.parametrize("verb", LAST)
def test_a_file_in_place_of_the_folder_is_one_sentence(verb, photos, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    status, said = outcome(main, line(verb, photos, tmp_path / "out"), capsys)
    assert status == 1 and len(said) == 1, (status, said)
    assert state_of(tmp_path) == {"out": b"mine"}


@pytest.mark.parametrize("verb", LAST)
def test_a_second_process_is_told_of_the_first_and_writes_nothing(verb, photos, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    with held_by_another(out):
        status, said = outcome(main, line(verb, photos, out), capsys)
        assert status == 1 and len(said) == 1 and f"another process is writing {out}" in said[0], said
        assert not state_of(out)
    assert outcome(main, line(verb, photos, out), capsys) == (0, [])


@pytest.mark.slow
@pytest.mark.parametrize("verb", LAST)
def test_of_two_that_start_at_once_one_makes_it_and_the_other_is_told_or_finds_it_made(verb, photos, whole, tmp_path):
    ours = [sys.executable, "-m", "train", *line(verb, photos, tmp_path / "out").split()]
    both = [subprocess.Popen(ours, cwd=test_render_build.ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        said = process.communicate(timeout=500)[1]
        assert process.returncode == 0 or "another process is writing" in said, said
    assert 0 in [process.returncode for process in both]
    assert state_of(tmp_path / "out") == whole[verb]


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_killed_at_any_moment_ends_at_the_same_bytes_the_next_time(verb, photos, whole, tmp_path, capsys):
    chance = random.Random(verb)
    for kill in range(3):
        out = tmp_path / str(kill)
        ours = [sys.executable, "-m", "train", *line(verb, photos, out).split()]
        process = subprocess.Popen(ours, cwd=test_render_build.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not out.exists() and process.poll() is None:  # imports
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert outcome(main, line(verb, photos, out), capsys) == (0, [])
        assert state_of(out) == whole[kind(verb)]
        assert not problems(out) if kind(verb) == "render" else len(read_manifest(out)) == 4

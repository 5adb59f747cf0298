"""Deadlines: every long computation of the library ends within a step of its deadline, and without one nothing changes."""

import threading
import time

import pytest
from PIL import Image

from exprgan import ExpressionEditor, ExprGANError, GroupResult
from exprgan.deadline import Deadline, StoppedError, check
from exprgan.photo.detection import find_faces

STEP_S = 1.0
"""Work ends within this time after its deadline is over."""


@pytest.fixture
def editor(warp_model):
    return ExpressionEditor(warp_model)


@pytest.fixture
def subject(editor, portrait, face):
    return editor.read(portrait, face)


def test_check_raises_only_inside_a_deadline_that_is_over():
    check()
    with Deadline(60, "outer").running():
        check()
        with Deadline(0, "over").running(), pytest.raises(StoppedError, match="over"):
            time.sleep(0.001)
            check()
        check()
    check()


def test_an_outer_deadline_ends_inner_work():
    outer = Deadline(60, "outer")
    with outer.running(), Deadline(60, "inner").running():
        outer.cancel("The visitor left.")
        with pytest.raises(ExprGANError, match="The visitor left"):
            check()


def test_a_deadline_starts_when_it_is_put_in_force():
    deadline = Deadline(0.2, "over")
    time.sleep(0.25)
    with deadline.running():
        check()
        assert 0 < deadline.seconds_left <= 0.2


WORK = {
    "find": lambda editor, subject: find_faces(subject.photo),
    "read": lambda editor, subject: editor.read(subject.photo, subject.face),
    "edit": lambda editor, subject: editor.edit(subject, "happy"),
    "tune": lambda editor, subject: editor.tune(subject),
    "generate": lambda editor, subject: editor.generate(40, "sad", seed=1),
    "animate": lambda editor, subject: list(editor.animate(subject, seconds=1)),
    "interpolate": lambda editor, subject: editor.interpolate(subject, subject),
}


@pytest.mark.parametrize("name", WORK)
def test_work_whose_time_is_over_does_not_begin(editor, subject, name):
    with Deadline(-1, "over").running(), pytest.raises(StoppedError, match="over"):
        WORK[name](editor, subject)


def test_results_are_computed_on_first_access_under_the_deadline_of_that_moment(editor, subject):
    edit = editor.edit(subject, "happy")
    for picture in ("image", "preview", "face"):
        with Deadline(-1, "over").running(), pytest.raises(StoppedError):
            getattr(edit, picture)
    assert edit.image.size == subject.photo.size
    two = GroupResult({0: edit, 1: editor.edit(subject, "sad")})
    with Deadline(-1, "over").running(), pytest.raises(StoppedError):
        _ = two.preview


@pytest.mark.parametrize("name", ["tune", "animate"])
def test_another_thread_ends_work_within_a_step(editor, subject, name, tmp_path):
    deadline, ended = Deadline(60, "over"), []

    def work():
        with deadline.running(), pytest.raises(StoppedError, match="cancelled"):
            while True:
                WORK[name](editor, subject)
        ended.append(time.monotonic())

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.3)
    cancelled = time.monotonic()
    deadline.cancel("cancelled")
    thread.join(20)
    assert ended and ended[0] - cancelled < STEP_S


def test_a_stopped_animation_leaves_no_file(editor, subject, tmp_path):
    animation = editor.animate(subject, seconds=1)
    for suffix in ("gif", "webp"):
        with Deadline(0.02, "over").running(), pytest.raises(StoppedError):
            animation.save(tmp_path / f"film.{suffix}")
    assert not list(tmp_path.iterdir())


def test_a_deadline_that_is_not_over_changes_no_pixel(editor, subject):
    free = editor.edit(editor.tune(subject), "sad").image
    with Deadline(600, "over").running():
        limited = editor.edit(editor.tune(subject), "sad").image
    assert free.tobytes() == limited.tobytes() and isinstance(free, Image.Image)

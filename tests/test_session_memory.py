"""What visitors' photos hold in memory is bounded; what was forgotten is read anew, and the results are the same."""

import gc
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from app_calls import SETTINGS, pixels, two_people
from PIL import Image

from exprgan import ExpressionEditor, ExprGANError
from exprgan.deadline import StoppedError
from exprgan.editing import pivotal_tuning
from exprgan.ui import handlers, photo_session, session_memory
from exprgan.ui.animation_panel import animate
from exprgan.ui.photo_session import PhotoSession
from exprgan.ui.session_memory import SessionMemory, forget_least_used

MB = 2**20


def no_progress(*_, **__):
    return None


@pytest.fixture
def editor(warp_model, monkeypatch):
    monkeypatch.setattr(pivotal_tuning, "STEPS", 3)
    return ExpressionEditor(warp_model)


@pytest.fixture
def two(data_dir, visitors):
    return str(two_people(data_dir, visitors))


def limits(monkeypatch, total=None, session=None):
    for name, value in (("MAX_BYTES", total), ("MAX_SESSION_BYTES", session)):
        if value is not None:
            monkeypatch.setattr(session_memory, name, value)


def filled(*names, nbytes=MB):
    memory = SessionMemory()
    for name in names:
        memory.recall(name, lambda: np.zeros(nbytes, np.uint8))
    return memory


def test_a_value_is_made_once_and_again_after_it_was_forgotten():
    memory, made = SessionMemory(), []
    for _ in range(2):
        memory.recall("a", lambda: made.append(1) or "value")
    assert memory.forget_one() and not memory.forget_one() and "a" not in memory
    assert memory.recall("a", lambda: made.append(2) or "value") == "value" and made == [1, 2]


def test_a_tuned_face_goes_first_and_then_what_was_used_least_recently():
    memory = filled("preview", ("face", 0), ("tuned", 0), ("tuned", 1), ("face", 1))
    memory.recall(("tuned", 0), lambda: None)
    memory.recall("preview", lambda: None)
    order = []
    while held := {key for key in ("preview", ("face", 0), ("face", 1), ("tuned", 0), ("tuned", 1)) if key in memory}:
        memory.forget_one()
        order += [key for key in held if key not in memory]
    assert order == [("tuned", 1), ("tuned", 0), ("face", 0), ("face", 1), "preview"]


def test_bytes_are_those_of_pictures_tensors_and_decoders_shared_ones_once(editor, two):
    session = PhotoSession(editor, two)
    subject = session.subject(editor)
    preview = 3 * session.preview.width * session.preview.height
    of_face = subject.wide_crop.nbytes + subject.z.nbytes + 3 * 32 * 32
    one, both = session._memory.nbytes, None
    assert preview + of_face < one < preview + of_face + 4 * 160 * 160 * 3 + 0.1 * MB
    session.subject(editor, 1)
    both = session._memory.nbytes
    assert of_face < both - one < of_face + 0.1 * MB  # the preview is shared
    editor.edit(subject, "happy")
    assert session._memory.nbytes > both  # T's predictions
    tuned = session.subjects(editor, {0: True})[0]
    weights = sum(p.nbytes for p in tuned.decoder.parameters())
    assert weights > MB and session._memory.nbytes > both + weights


def test_the_session_used_least_recently_is_forgotten_first(monkeypatch):
    first, second, third = (filled("x", "y") for _ in range(3))
    time.sleep(0.01)
    first.recall("x", lambda: None)
    monkeypatch.setattr(session_memory, "_memories", {first, second, third})
    limits(monkeypatch, total=3 * MB)
    forget_least_used()
    assert (second.nbytes, third.nbytes, first.nbytes) == (0, MB, 2 * MB)


def test_one_session_is_bounded_by_itself(monkeypatch):
    large, small = filled(*"abcde"), filled("a")
    monkeypatch.setattr(session_memory, "_memories", {large, small})
    limits(monkeypatch, session=2 * MB)
    forget_least_used()
    assert large.nbytes == 2 * MB and small.nbytes == MB and "e" in large and "a" not in large


def test_a_session_that_nobody_holds_counts_no_more(editor, two):
    session = PhotoSession(editor, two)
    number = len(session_memory._memories)
    assert session._memory in session_memory._memories
    del session
    gc.collect()
    assert len(session_memory._memories) < number


def edited(editor, path, session, scope="all", **changes):
    settings = SETTINGS | {"scope": scope} | changes
    (before, after), status, session = handlers.edit(editor, path, **settings, session=session, progress=no_progress)
    return pixels(before), pixels(after), status, session


@pytest.mark.parametrize("fidelity", ["detail", "tuned"])
def test_results_are_the_same_after_everything_was_forgotten(editor, two, fidelity, monkeypatch):
    before, after, status, session = edited(editor, two, None, fidelity=fidelity)
    numbered, thumbnails = pixels(session.save_numbered(1)), session.thumbnails
    full = pixels(handlers.download_edit(editor, two, **SETTINGS | {"fidelity": fidelity}, session=session))
    limits(monkeypatch, session=0)
    forget_least_used()
    assert session._memory.nbytes == 0
    Path(session._preview_path).unlink()
    again_before, again_after, again_status, same = edited(editor, two, session, fidelity=fidelity)
    assert same is session and again_status == status
    assert np.array_equal(before, again_before) and np.array_equal(after, again_after)
    forget_least_used()
    assert np.array_equal(pixels(session.save_numbered(1)), numbered)
    assert [(picture.tobytes(), name) for picture, name in session.thumbnails] == [
        (picture.tobytes(), name) for picture, name in thumbnails
    ]
    again = handlers.download_edit(editor, two, **SETTINGS | {"fidelity": fidelity}, session=session)
    assert np.array_equal(pixels(again), full)


def test_a_forgotten_photo_whose_file_was_deleted_is_asked_for_again(editor, data_dir, visitors, monkeypatch):
    shutil.copy(data_dir / "portrait.jpg", visitors / "me.jpg")
    session = PhotoSession(editor, str(visitors / "me.jpg"))
    limits(monkeypatch, session=0)
    forget_least_used()
    (visitors / "me.jpg").unlink()
    with pytest.raises(ExprGANError, match="add it again"):
        session.subject(editor)


# Tuning is bounded.


@pytest.fixture
def four(data_dir, visitors):
    """The path of a photo of four people."""
    photo, portrait = Image.new("RGB", (1600, 400), "grey"), Image.open(data_dir / "portrait.jpg").resize((400, 400))
    for i in range(4):
        photo.paste(portrait, (400 * i, 0))
    photo.save(visitors / "four.png")
    return str(visitors / "four.png")


def test_more_than_three_faces_are_not_tuned_at_once(editor, four, monkeypatch):
    monkeypatch.setattr(editor, "tune", lambda *_, **__: pytest.fail("tuned"))
    session = PhotoSession(editor, four)
    assert len(session.faces) == 4
    start = time.monotonic()
    with pytest.raises(ExprGANError, match=r"to 3 faces at a time, not to 4\. Choose one face"):
        edited(editor, four, session, fidelity="tuned")
    assert time.monotonic() - start < 0.5
    # The chosen fidelity is that of all faces of an animation.
    others = {str(i): {"expression": "sad"} for i in (1, 2, 3)}
    settings = SETTINGS | {"face": 4, "scope": "each", "others": others, "fidelity": "tuned"}
    with pytest.raises(ExprGANError, match="not to 4"):
        animate(
            editor, four, **settings, kind="sweep", file_format="gif", seconds=0.5, session=session, progress=no_progress
        )


def test_faces_that_were_tuned_before_do_not_count(editor, four, monkeypatch):
    session, tuned = PhotoSession(editor, four), []
    monkeypatch.setattr(editor, "tune", lambda subject, **_: tuned.append(1) or subject)
    session.subjects(editor, dict.fromkeys((0, 1, 2), True))
    session.subjects(editor, dict.fromkeys((0, 1, 2, 3), True))
    assert len(tuned) == 4


def test_tuning_one_face_is_limited_in_time_and_nothing_of_it_stays(editor, two, monkeypatch):
    monkeypatch.setattr(photo_session, "TUNING_S", 0)
    session = PhotoSession(editor, two)
    with pytest.raises(StoppedError, match="Fitting the model to a face took longer than 20 seconds"):
        session.subjects(editor, {0: True})
    assert ("tuned", 0) not in session._memory

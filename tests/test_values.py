"""Subjects, readings and results as values: compared and hashed by content, and pickled without networks."""

import copy
import dataclasses
import functools
import gc
import multiprocessing
import pickle
import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from exprgan import ExpressionEditor, ExprGAN, Face, Subject, is_marked
from exprgan.editing import pivotal_tuning
from exprgan.editing.latent import Latent

MB = 2**20


@pytest.fixture
def editor(warp_model):
    return ExpressionEditor(warp_model)


@pytest.fixture
def face(face):
    """The portrait's face at a third of the size."""
    return Face(tuple(v / 3 for v in face.box), tuple((x / 3, y / 3) for x, y in face.landmarks), 1.0)


@pytest.fixture
def people(portrait):
    """Two different photos."""
    small = portrait.resize((300, 300))
    return [small, small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]


@pytest.fixture
def calls(editor, people, face):
    """Calls that return a value, each for one of two people."""
    return {
        "subject": lambda i: editor.read(people[i], face),
        "tuned": lambda i: editor.tune(editor.read(people[i], face)),
        "reading": lambda i: editor.read(people[i], face).reading,
        "edit": lambda i: editor.edit(people[i], "sad", face=face),
        "model": lambda i: editor.edit(people[i], "sad", face=face, fidelity="model"),
        "group": lambda i: editor.edit_many({0: editor.read(people[i], face)}, "sad"),
        "match": lambda i: editor.retrieve(editor.read(people[i], face), [editor.read(people[0], face)], by="x")[0],
    }


VALUES = ["subject", "tuned", "reading", "edit", "model", "group", "match"]


@pytest.mark.parametrize("name", [name for name in VALUES if name != "tuned"])
def test_results_of_equal_calls_are_equal_and_others_are_not(calls, name):
    one, again, other = calls[name](0), calls[name](0), calls[name](1)
    assert one is not again and one == again and hash(one) == hash(again)
    assert one != other and other != one
    assert again in [other, one] and {one: 1}[again] == 1 and len({one, again, other}) == 2
    assert one not in ("sad", 0, None, [])
    cached = functools.lru_cache(lambda value: object())
    assert cached(one) is cached(again) is not cached(other)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: {"photo": s.photo.rotate(90)},
        lambda s: {"photo": s.photo.convert("L").convert("RGB")},
        lambda s: {"crop": s.crop.rotate(90)},
        lambda s: {"face": None},
        lambda s: {"photo_from_crop": s.photo_from_crop + 1e-9},
        lambda s: {"latent": Latent(s.z.double)},
        lambda s: {"latent": Latent(lambda: s.z[:-1])},
        lambda s: {"latent": Latent(s.z.bfloat16)},
        lambda s: {"reading": dataclasses.replace(s.reading, code=-s.reading.code)},
        lambda s: {"reading": dataclasses.replace(s.reading, certainties={"happy": 1.0})},
        lambda s: {"wide_crop": None},
        lambda s: {"is_tuned": True},
    ],
)
def test_a_subject_differs_by_any_of_its_parts(calls, change):
    subject = calls["subject"](0)
    other = dataclasses.replace(subject, **change(subject))
    assert other != subject and len({other, subject}) == 2
    assert dataclasses.replace(subject) == subject


def test_edits_differ_by_code_fidelity_and_model(editor, calls):
    subject = calls["subject"](0)
    edits = [editor.edit(subject, name, level) for name, level in (("sad", 1.0), ("sad", 0.9), ("happy", 1.0))]
    edits.append(editor.edit(subject, "sad", fidelity="model"))
    torch.manual_seed(1)
    edits.append(ExpressionEditor(ExprGAN(editor.model.config)).edit(subject, "sad"))
    assert len(set(edits)) == len(edits) and edits.index(editor.edit(subject, "sad")) == 0


def test_a_subject_does_not_change_when_it_is_used(editor, calls):
    subject, untouched = calls["subject"](0), calls["subject"](0)
    before = hash(subject)
    editor.edit(subject, "happy").preview.load()
    assert subject.warp_cache and not untouched.warp_cache
    assert subject == untouched and hash(subject) == before


@pytest.mark.parametrize("name", ["subject", "tuned"])
def test_an_edited_subject_is_freed_at_once(editor, calls, name, monkeypatch):
    """Not when the garbage collector happens to run: a tuned one holds a whole decoder."""
    monkeypatch.setattr(pivotal_tuning, "STEPS", 2)
    subject = calls[name](0)
    editor.edit(subject, "happy", fidelity="tuned" if name == "tuned" else "detail").preview.load()
    references = [weakref.ref(part) for part in (subject, subject.preview, subject.z, subject.decoder or subject.wide_crop)]
    gc.disable()
    try:
        del subject
        assert [reference() for reference in references] == [None] * len(references)
    finally:
        gc.enable()


def test_a_tuned_subject_holds_no_gradients(calls, monkeypatch):
    monkeypatch.setattr(pivotal_tuning, "STEPS", 2)
    assert all(parameter.grad is None for parameter in calls["tuned"](0).decoder.parameters())


@pytest.mark.parametrize("name", VALUES)
def test_a_pickled_value_is_equal_and_so_are_its_pictures(calls, name):
    value = calls[name](0)
    loaded = pickle.loads(pickle.dumps(value))
    assert loaded == value == copy.deepcopy(value)
    for picture in ("image", "preview", "crop", "face"):
        if isinstance(getattr(value, picture, None), Image.Image):
            made = getattr(loaded, picture)
            assert made.tobytes() == getattr(value, picture).tobytes() and type(made) is type(getattr(value, picture))
            assert name in ("subject", "tuned") or is_marked(made)


@pytest.mark.parametrize("fidelity", ["detail", "model", "tuned"])
def test_a_pickled_edit_is_as_large_as_its_pictures(editor, calls, fidelity):
    subject, weights = calls["subject"](0), sum(p.nbytes for p in editor.model.G_dec.parameters())
    photo = len(subject.photo.tobytes())
    edit = editor.edit(subject, "sad", fidelity=fidelity)
    small = len(pickle.dumps(edit))
    assert weights > MB and photo < small < photo + MB / 2  # at 32 px the prediction of T has 0.2 MB
    edit.image.load(), edit.preview.load(), edit.crop.load()
    assert small + photo < len(pickle.dumps(edit)) < small + 2 * photo + MB / 2
    assert len(pickle.dumps(subject)) < photo + MB / 2


def test_a_pickled_tuned_edit_can_be_edited_again(editor, calls):
    edit = editor.edit(calls["tuned"](0), "sad", fidelity="tuned")
    loaded = pickle.loads(pickle.dumps(edit))
    assert edit.subject.decoder is not None and loaded.subject.decoder is None
    for fidelity in ("tuned", "detail"):  # the decoder is fitted again, to the same
        again = editor.edit(loaded.subject, "happy", fidelity=fidelity)
        assert again.image.tobytes() == editor.edit(edit.subject, "happy", fidelity=fidelity).image.tobytes()
    subject = pickle.loads(pickle.dumps(edit.subject))
    assert all(map(torch.equal, subject.decoder.parameters(), edit.subject.decoder.parameters()))


@pytest.mark.parametrize("tuned", [False, True])
def test_a_pickled_animation_has_the_same_frames_without_a_network(editor, calls, tmp_path, tuned):
    subject = calls["tuned" if tuned else "subject"](0)
    animation = editor.animate(subject, "tour", seconds=0.2, fps=10, fidelity="tuned" if tuned else "detail")
    data = pickle.dumps(animation)
    frames = len(set(map(Image.Image.tobytes, animation)))
    assert len(data) < len(subject.photo.tobytes()) + frames * MB / 4
    loaded = pickle.loads(pickle.dumps(pickle.loads(data)))  # twice
    assert [frame.tobytes() for frame in loaded] == [frame.tobytes() for frame in animation]
    assert loaded.fps == animation.fps and loaded.seconds == animation.seconds
    for number, one in enumerate((animation, loaded)):
        one.save(tmp_path / f"{number}.gif", max_side=64)
    assert (tmp_path / "0.gif").read_bytes() == (tmp_path / "1.gif").read_bytes()


def test_results_come_back_from_another_process(editor, calls):
    subject = calls["subject"](0)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        edit = pool.apply(_same, (editor.edit(subject, "sad"),))
        animation = pool.apply(_same, (editor.animate(subject, "sweep", seconds=0.2, fps=10),))
    assert edit == editor.edit(subject, "sad") and isinstance(edit.subject, Subject)
    assert np.array_equal(edit.image, editor.edit(subject, "sad").image)
    assert len(animation) == 2 and animation[1].tobytes() != animation[0].tobytes()


def _same(value):
    return value

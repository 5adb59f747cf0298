"""Several faces of one photo: numbered, read together, edited together."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exprgan import ExpressionEditor, ExprGAN, NoFaceError
from exprgan.editing.multi_face import draw_numbers, paste_all, requests_by_face
from exprgan.photo.alignment import transform
from exprgan.photo.detection import Face
from exprgan.photo.image_io import is_marked

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "exprgan" / "ui" / "examples").glob("*.jpg"))


@pytest.fixture(scope="module")
def editor():
    return ExpressionEditor(ExprGAN.from_pretrained(ROOT / "weights"))


@pytest.fixture(scope="module")
def photo():
    """Three faces side by side, from left to right smaller and smaller."""
    canvas, left = Image.new("RGB", (1000, 450), "grey"), 0
    for path, side in zip(EXAMPLES, (400, 340, 260), strict=False):
        canvas.paste(Image.open(path).resize((side, side)), (left, 20))
        left += side
    return canvas


@pytest.fixture(scope="module")
def subjects(editor, photo):
    return editor.read_all(photo)


def pixels(image):
    return np.asarray(image, np.int16)


def changed(image, photo):
    return (pixels(image) != pixels(photo)).any(axis=2)


def reach(subject):
    """The photo's columns that an edit of a face may change: its crop, with some more for a dropped jaw."""
    size = subject.crop.width
    ends = -0.15 * size, 1.15 * size
    corners = transform(subject.photo_from_crop, [(x, y) for x in ends for y in ends])
    return int(corners[:, 0].min()), int(np.ceil(corners[:, 0].max()))


def test_faces_are_read_by_their_index_in_the_list_of_found_faces(editor, photo, subjects):
    assert [subject.face for subject in subjects.values()] == editor.find(photo) and list(subjects) == [0, 1, 2]
    assert len({id(subject.photo) for subject in subjects.values()}) == 1  # one photo, however many faces
    assert list(editor.read_all(subjects, [2, 0])) == [0, 2]
    alone = editor.read(photo, 2)
    assert np.array_equal(alone.crop, subjects[2].crop) and np.array_equal(
        alone.photo_from_crop, subjects[2].photo_from_crop
    )


def test_only_the_chosen_faces_change_each_to_its_expression(editor, photo, subjects):
    result = editor.edit_many(photo, {0: "happy", 2: ("sad", 0.6)})
    assert list(result.edits) == [0, 2] and result.image.size == photo.size
    columns = np.nonzero(changed(result.image, photo).any(axis=0))[0]
    inside = [reach(subjects[index]) for index in (0, 2)]
    assert all(any(start <= column < end for start, end in inside) for column in columns)
    for start, end in inside:
        assert changed(result.image, photo)[:, start:end].any()
    assert not changed(result.image, photo)[:, slice(*reach(subjects[1]))][:, 40:-40].any()


def test_a_group_edit_equals_the_edits_of_single_faces(editor, photo, subjects):
    requests = {0: "happy", 1: "surprise", 2: ("sad", 0.6)}
    together = pixels(editor.edit_many(subjects, requests).image)
    for index, request in requests.items():
        alone = pixels(editor.edit_many(subjects, {index: request}).image)
        start, end = reach(subjects[index])
        middle = slice(start + 60, end - 60)
        difference = np.abs(together[:, middle] - alone[:, middle])
        assert difference.max() <= 12 and difference.mean() < 0.1  # one may warp pixels that another has relit


@pytest.mark.parametrize("fidelity", ["detail", "model"])
def test_edits_of_overlapping_faces_do_not_undo_each_other(editor, subjects, fidelity):
    """One face twice, a little apart: each edit reaches into the other one, and both must be visible."""
    first = subjects[0]
    second = dataclasses.replace(first, photo_from_crop=first.photo_from_crop + np.array([[0, 0, 60], [0, 0, 0]]))
    edits = [editor.edit(subject, "surprise", fidelity=fidelity) for subject in (first, second)]
    both, (left, right) = changed(paste_all(edits), first.photo), (changed(edit.image, first.photo) for edit in edits)
    assert both[left & ~right].mean() > 0.9 and both[right & ~left].mean() > 0.9
    assert not both[~left & ~right].mean() > 0.02  # where the later one warped the result of the first


def test_one_request_is_for_all_faces(editor, photo, subjects):
    assert list(editor.edit_many(photo, "happy", 0.5).edits) == [0, 1, 2]
    mixed = editor.edit_many(subjects, {"happy": 0.6, "surprise": 0.4}, 0.5)
    assert np.array_equal(mixed.edits[1].code, editor.model.F_ctrl.mix({"happy": 0.3, "surprise": 0.2}))


def test_the_preview_is_a_smaller_copy_of_the_image(editor):
    large = Image.new("RGB", (1800, 900), "grey")
    for left, path in zip((0, 900), EXAMPLES, strict=False):
        large.paste(Image.open(path), (left, 0))
    result = editor.edit_many(large, "happy")
    assert result.preview.size == (1024, 512)
    small = result.image.resize((1024, 512), Image.Resampling.LANCZOS)
    assert np.abs(pixels(small) - pixels(result.preview)).mean() < 1


def test_the_picture_is_marked_as_edited_by_ai(editor, subjects, tmp_path):
    editor.edit_many(subjects, "happy").image.save(tmp_path / "group.jpg")
    assert is_marked(tmp_path / "group.jpg")


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ({}, "names no face"),
        ({0: "happy", "sad": 1.0}, "faces or expressions, not both"),
        ({0: "bored"}, "unknown expression 'bored'"),
        ({1: ("happy", 1.5)}, "must lie between 0 .* and 1"),
    ],
)
def test_an_invalid_request_is_named(tiny_editor, requests, message):
    with pytest.raises(ValueError, match=message):
        tiny_editor.edit_many("not even opened.jpg", requests)


def test_a_missing_face_is_named(editor, photo, subjects):
    with pytest.raises(NoFaceError, match=r"no face number 8 .* only 3"):
        editor.edit_many(photo, {7: "happy"})
    with pytest.raises(NoFaceError, match="Face 1 was not read, only 0, 2"):
        editor.edit_many(editor.read_all(subjects, [0, 2]), {1: "happy"})
    with pytest.raises(NoFaceError, match="No face was found"):
        editor.edit_many(Image.new("RGB", (300, 300)), "happy")


def test_requests_are_sorted_by_face():
    assert requests_by_face("happy", 0.5) == {None: ("happy", 0.5)}
    assert requests_by_face({"happy": 0.4}, 1) == {None: ({"happy": 0.4}, 1)}
    assert requests_by_face({1: ("sad", 0.2), 0: {"fear": 1.0}}, 0.7) == {0: ({"fear": 1.0}, 0.7), 1: ("sad", 0.2)}


@pytest.mark.parametrize("side", [120, 900, 4000])
def test_numbers_are_drawn_large_enough_to_read_at_any_size(side):
    box = (0.3 * side, 0.3 * side, 0.4 * side, 0.45 * side)  # a small face
    photo = Image.new("RGB", (side, side), "grey")
    marked = draw_numbers(photo, [Face(box, (), 1.0)], first=1)
    assert marked.size == photo.size and marked.tobytes() != photo.tobytes()
    rows = np.nonzero(changed(marked, photo))[0]
    above = rows[rows < box[1] - side / 200]
    assert above.max() - above.min() >= 0.022 * side  # the label is above the face, not in it
    assert changed(marked, photo)[:, int(0.42 * side) :].sum() == 0


def test_a_number_stays_inside_the_photo_and_differs_from_the_next(portrait):
    corner, next_to_it = Face((-20, -30, 200, 250), (), 1.0), Face((700, 10, 920, 300), (), 1.0)
    marked = draw_numbers(portrait, [corner, next_to_it])
    assert changed(marked, portrait)[:70, :70].any()
    assert draw_numbers(portrait, [corner], 0).tobytes() != draw_numbers(portrait, [corner], 1).tobytes()
    assert draw_numbers(portrait, [corner], 0, chosen={0}).tobytes() != draw_numbers(portrait, [corner], 0).tobytes()

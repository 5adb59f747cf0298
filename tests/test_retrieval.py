"""Retrieval of pictures similar to a photo, and interpolation from one person to another."""

import numpy as np
import pytest
import torch
from PIL import Image

from exprgan import BadImageError
from exprgan.editing.retrieval import distances, feature_vector, pictures_in


@pytest.fixture
def subjects(tiny_editor, faces_dir):
    return [tiny_editor.read_crop(path) for path in sorted(faces_dir.glob("test/*/*.jpg"))]


@pytest.mark.parametrize("by", ["c", "y", "x"])
def test_a_picture_is_its_own_nearest_and_the_others_follow_by_distance(tiny_editor, subjects, by):
    tiny_editor.model.classifier.expression.bias[3] = 100.0  # Q reads nothing of neutral faces
    subjects = [tiny_editor.read_crop(subject.crop) for subject in subjects]
    for i in (0, 5):
        matches = tiny_editor.retrieve(subjects[i], subjects, by=by, count=4)
        assert matches[0].distance == 0 and len(matches) == 4
        if by != "y":  # a classifier so certain gives all the same probabilities
            assert matches[0].index == i
        found = [match.distance for match in matches]
        assert found == sorted(found)
        for match in matches:
            expected = (feature_vector(subjects[i], by) - feature_vector(subjects[match.index], by)).norm().item()
            assert match.distance == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_codes_labels_or_pixels_are_compared(tiny_editor, subjects):
    subject = subjects[0]
    assert torch.equal(feature_vector(subject, "c"), subject.reading.code)
    assert feature_vector(subject, "y").tolist() == pytest.approx(list(subject.reading.certainties.values()))
    assert feature_vector(subject, "x").shape == (3 * 32 * 32,)
    assert (distances(torch.ones(2, 4), torch.zeros(3, 4)) == 2).all()


def test_a_folder_is_searched_with_its_subfolders_and_files_without_a_face_are_skipped(tiny_editor, portrait, tmp_path):
    (tmp_path / "people").mkdir()
    portrait.save(tmp_path / "people" / "b.png")
    portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "people" / "a.png")
    Image.new("RGB", (200, 200), "white").save(tmp_path / "wall.png")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("no picture either")
    matches = tiny_editor.retrieve(portrait, tmp_path, by="x")
    assert [match.path for match in matches] == [tmp_path / "people" / "b.png", tmp_path / "people" / "a.png"]
    assert matches[0].distance == 0 < matches[1].distance
    assert [pictures_in(tmp_path)[match.index] for match in matches] == [match.path for match in matches]
    again = tiny_editor.retrieve(tiny_editor.read(portrait), [str(matches[0].path)], by="x", count=1)
    assert again[0].path == matches[0].path and again[0].index == 0


def test_an_invalid_search_is_refused(tiny_editor, subjects, tmp_path):
    with pytest.raises(ValueError, match=r"by must be one of c, y, x .*, not 'z'"):
        tiny_editor.retrieve(subjects[0], subjects, by="z")
    with pytest.raises(ValueError, match="count must be at least 1, not 0"):
        tiny_editor.retrieve(subjects[0], subjects, count=0)
    with pytest.raises(BadImageError, match="There is no folder"):
        tiny_editor.retrieve(subjects[0], tmp_path / "none")
    with pytest.raises(BadImageError, match="holds no picture"):
        tiny_editor.retrieve(subjects[0], tmp_path)
    with pytest.raises(BadImageError, match="no face to choose from"):
        tiny_editor.retrieve(subjects[0], [])


def test_an_interpolation_begins_and_ends_with_the_two_people(tiny_editor, subjects):
    one, other = subjects[0], subjects[-1]
    pictures = tiny_editor.interpolate(one, other, 5, "happy", 0.7)
    assert len(pictures) == 5 and pictures[0].size == (32, 32)
    for picture, subject in ((pictures[0], one), (pictures[-1], other)):
        expected = np.asarray(tiny_editor.edit(subject, "happy", 0.7).crop, np.int16)
        assert np.abs(np.asarray(picture, np.int16) - expected).max() <= 1
    middle = tiny_editor.decode_many((one.z + other.z)[None] / 2, tiny_editor.model.F_ctrl.code("happy", 0.7))[0]
    assert np.abs(np.asarray(pictures[2], np.int16) - np.asarray(middle, np.int16)).max() <= 1
    with pytest.raises(ValueError, match="steps must be a whole number of at least 2"):
        tiny_editor.interpolate(one, other, 1)

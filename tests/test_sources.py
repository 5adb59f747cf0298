"""Sources of labelled photos: people and expressions by folders, file names and tables."""

import json
from collections import Counter

import numpy as np
import pytest
from labelled import photo, table

from train.core.train_errors import DataError
from train.data.photo_sources import SOURCES, LabelledPhoto, register_source
from train.data.prepare import PrepareConfig, _splits, prepare
from train.data.validation import find_problems

SOME = PrepareConfig(allow_incomplete=True)


def read(name, src, labels=None):
    return [
        (row.path.relative_to(src).as_posix(), row.subject, row.expression, row.split)
        if isinstance(row, LabelledPhoto)
        else row.text
        for row in SOURCES[name].read(src, labels)
    ]


def test_your_own_photos_are_labelled_by_their_folders(tmp_path, drawn, capsys):
    for name in ("Happy/a.jpg", "Happy/a.png", "ann/joy/b.jpg", "ann/none/c.JPG", "bob/contempt/d.jpg", "train/sad/e.jpg"):
        photo(tmp_path / "src" / name)
    (tmp_path / "src/ann/joy/._b.jpg").write_bytes(b"what a Mac leaves")
    prepare("folder", str(tmp_path / "src"), str(tmp_path / "out"), PrepareConfig())
    rows = table(tmp_path / "out")
    assert [(row["file_name"], row["subject"], row["expression"]) for row in rows] == [
        ("images/Happy/a.jpg.png", "Happy/a.jpg", "happy"),
        ("images/Happy/a.png.png", "Happy/a.png", "happy"),
        ("images/ann/joy/b.jpg.png", "ann", "happy"),
        ("images/ann/none/c.JPG.png", "ann", "neutral"),
        ("images/train/sad/e.jpg.png", "train/sad/e.jpg", "sad"),
    ]
    assert rows[4]["split"] == "train" and sum(row["split"] == "test" for row in rows) >= 1
    assert "fold" not in rows[0] and not find_problems(tmp_path / "out")
    assert "skipped: 1 labelled 'contempt'" in capsys.readouterr().out


def test_labels_come_from_a_table(tmp_path, drawn):
    for name in ("1.jpg", "deep/2.jpg", "3.jpg"):
        photo(tmp_path / "src" / name)
    labels = tmp_path / "labels.csv"
    lines = "1.jpg,joy,ann,0.5,train", "deep/2.jpg,fear,ann,,", "3.jpg,neutral,bob,1,test", "gone.jpg,sad,ann,,"
    labels.write_text("\n".join(["\ufefffile_name,expression,subject,intensity,split", *lines]), encoding="utf-8")
    config = PrepareConfig(labels=str(labels))
    with pytest.raises(DataError, match=r"labels\.csv lists 'gone\.jpg', which is no file below"):
        prepare("folder", str(tmp_path / "src"), str(tmp_path / "out"), config)
    config = PrepareConfig(labels=str(labels), allow_incomplete=True)
    prepare("folder", str(tmp_path / "src"), str(tmp_path / "out"), config)
    assert [tuple(row.values()) for row in table(tmp_path / "out")] == [
        ("images/1.jpg.png", "ann", "happy", "0.5", "train"),
        ("images/deep/2.jpg.png", "ann", "fear", "", "train"),  # as ann's other photo
        ("images/3.jpg.png", "bob", "neutral", "1", "test"),
    ]
    assert json.loads((tmp_path / "out/report.json").read_text())["missing"]


def test_a_table_that_contradicts_itself_is_refused_before_any_crop(tmp_path):
    for name in ("1.jpg", "2.jpg"):
        photo(tmp_path / "src" / name)
    (tmp_path / "labels.csv").write_text(
        "file_name,expression,subject,intensity,split\n1.jpg,joy,ann,7,train\n2.jpg,joy,ann,,test\n"
    )
    with pytest.raises(DataError) as caught:
        config = PrepareConfig(labels=str(tmp_path / "labels.csv"))
        prepare("folder", str(tmp_path / "src"), str(tmp_path / "out"), config)
    assert "intensity 7, which is outside 0..1" in str(caught.value)
    assert "person 'ann' is in split 'test' and 'train'" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_error_of_photos_without_our_labels_lists_the_labels_found(tmp_path):
    photo(tmp_path / "src/bored/a.jpg")
    with pytest.raises(DataError, match=r"holds no labelled photos in the form of folder.*the labels found are 'bored'"):
        prepare("folder", str(tmp_path / "src"), str(tmp_path / "out"), SOME)


def test_kdef_is_read_by_its_file_names(tmp_path):
    for name in ("AF01/AF01AFS.JPG", "AF01/AF01HAHL.JPG", "AF01/AF01NES.JPG", "BM35/BM35SUS.JPG", "BF01/BF01ANS.JPG"):
        photo(tmp_path / name)
    assert read("kdef", tmp_path) == [
        ("AF01/AF01AFS.JPG", "F01", "fear", None),
        ("AF01/AF01NES.JPG", "F01", "neutral", None),
        ("BF01/BF01ANS.JPG", "F01", "angry", None),
        ("BM35/BM35SUS.JPG", "M35", "surprise", None),
    ]


def test_rafd_is_read_by_its_file_names(tmp_path):
    for name in (
        "Rafd045_01_Caucasian_female_angry_frontal.jpg",
        "Rafd090_01_Caucasian_female_angry_frontal.jpg",
        "Rafd090_01_Caucasian_female_angry_left.jpg",
        "Rafd090_64_Kid_female_contemptuous_frontal.jpg",
        "Rafd090_70_Moroccan_male_fearful_frontal.jpg",
    ):
        photo(tmp_path / name)
    assert [row[1:3] for row in read("rafd", tmp_path)] == [("01", "angry"), ("64", "contemptuous"), ("70", "fearful")]


def test_ckplus_is_read_by_its_frames_and_label_files(tmp_path):
    for sequence, number, length in (
        ("S005/001", "3", 6),
        ("S010/002", "2", 5),
        ("S011/001", None, 5),
        ("S014/001", "5", 0),
    ):
        person, part = sequence.split("/")
        for index in range(1, length + 1):
            photo(tmp_path / "cohn-kanade-images" / sequence / f"{person}_{part}_{index:08d}.png")
        if number:
            path = tmp_path / "Emotion" / sequence / f"{person}_{part}_{length:08d}_emotion.txt"
            path.parent.mkdir(parents=True)
            path.write_text(f"   {number}.0000000e+00\n")
    rows = read("ckplus", tmp_path)
    assert [(row[0][-8:-4], *row[1:3]) for row in rows[:4]] == [
        ("0001", "S005", "neutral"),
        ("0004", "S005", "disgust"),
        ("0005", "S005", "disgust"),
        ("0006", "S005", "disgust"),
    ]
    assert [row[2] for row in rows[4:8]] == ["neutral", "contempt", "contempt", "contempt"]
    assert rows[8:] == ["sequence S014/001 has a label, but 0 of at least 4 frames"]


def test_affectnet_is_read_in_its_three_forms(tmp_path):
    new, old, sorted_out = tmp_path / "new", tmp_path / "old", tmp_path / "sorted"
    for split, name, number in (("train_set", "7", 1), ("val_set", "8", 6), ("train_set", "9", 7)):
        photo(new / split / "images" / f"{name}.jpg")
        (new / split / "annotations").mkdir(exist_ok=True)
        np.save(new / split / "annotations" / f"{name}_exp.npy", np.array(str(number)))
    assert [row[2:] for row in read("affectnet", new)] == [("happy", "train"), ("contempt", "train"), ("anger", "test")]
    photo(sorted_out / "train/0/a.jpg")
    photo(sorted_out / "val/4/b.jpg")
    assert [row[1:] for row in read("affectnet", sorted_out)] == [("", "neutral", "train"), ("", "fear", "test")]
    photo(old / "689/x.JPG")
    labels = tmp_path / "training.csv"
    labels.write_text("subDirectory_filePath,face_x,expression,valence\n689/x.JPG,1,3,0.1\n")
    assert read("affectnet", old, labels) == [("689/x.JPG", "", "surprise", None)]
    labels.write_text("subDirectory_filePath,expression\n689/x.JPG,11\n")
    with pytest.raises(DataError, match="'11', which is no label from 0 to 10"):
        read("affectnet", old, labels)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no array"])
def test_a_damaged_annotation_of_affectnet_is_named(content, tmp_path):
    photo(tmp_path / "train_set" / "images" / "7.jpg")
    (tmp_path / "train_set" / "annotations").mkdir()
    (tmp_path / "train_set" / "annotations" / "7_exp.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"7_exp\.npy is damaged \(.*\); unpack it again"):
        read("affectnet", tmp_path)


def test_a_new_source_is_one_function(tmp_path, drawn, monkeypatch):
    monkeypatch.setitem(SOURCES, "mine", None)  # taken out again at the end

    @register_source("mine")
    def mine(src, labels):
        """Two photos."""
        yield LabelledPhoto(src / "a.jpg", "ann", "happy", 0.25)
        yield LabelledPhoto(src / "b.jpg", "bob", "sad")

    for name in "ab":
        photo(tmp_path / "src" / f"{name}.jpg")
    prepare("mine", str(tmp_path / "src"), str(tmp_path / "out"), PrepareConfig())
    assert [row["intensity"] for row in table(tmp_path / "out")] == ["0.25", ""]


def test_the_split_of_a_person_depends_on_the_name_alone(tmp_path):
    people = [LabelledPhoto(tmp_path / f"{n}.jpg", f"person {n}", "happy") for n in range(1000)]
    split_of = _splits(tmp_path, people, 0.1)
    assert 80 < sum(split == "test" for split in split_of.values()) < 120
    fewer = _splits(tmp_path, people[::3], 0.1)
    assert all(split_of[name] == split for name, split in fewer.items())
    assert set(_splits(tmp_path, people, 0.0).values()) == {"train"}
    assert Counter(_splits(tmp_path, people[:2], 1e-9).values()) == {"train": 1, "test": 1}


def test_photos_behind_links_that_lead_out_are_read_only_on_request(tmp_path, drawn):
    for name in ("src/happy/own.jpg", "src/sad/own.jpg", "away/happy/linked.jpg"):
        photo(tmp_path / name)
    (tmp_path / "src" / "more").symlink_to(tmp_path / "away")
    (tmp_path / "src" / "same").symlink_to("sad")
    config = PrepareConfig(allow_incomplete=True)
    with pytest.raises(DataError, match=r"'more/happy/linked\.jpg' leads out of .* by a link; --follow-links reads it"):
        prepare("folder", str(tmp_path / "src"), str(tmp_path / "out"), PrepareConfig())
    prepare("folder", str(tmp_path / "src"), str(tmp_path / "out"), config)
    assert {row["file_name"] for row in table(tmp_path / "out")} == {"images/happy/own.jpg.png", "images/sad/own.jpg.png"}
    prepare("folder", str(tmp_path / "src"), str(tmp_path / "all"), PrepareConfig(follow_links=True))
    assert "images/more/happy/linked.jpg.png" in {row["file_name"] for row in table(tmp_path / "all")}


def test_a_table_of_labels_names_no_photos_elsewhere(tmp_path, drawn):
    for name in ("src/1.jpg", "away.jpg"):
        photo(tmp_path / name)
    (tmp_path / "src" / "link.jpg").symlink_to("../away.jpg")
    names = ("../away.jpg", str(tmp_path / "away.jpg"), "x/../1.jpg", "link.jpg")
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(["file_name,expression", *(f"{name},happy" for name in (*names, "1.jpg"))]))
    with pytest.raises(DataError) as caught:
        prepare("folder", str(tmp_path / "src"), str(tmp_path / "out"), PrepareConfig(labels=str(labels)))
    assert "4 problems" in str(caught.value) and all(repr(name) in str(caught.value) for name in names)

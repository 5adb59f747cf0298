"""Licences: no photo is used without stated licence, consent and credit; splits by person and family."""

import shutil
from dataclasses import fields
from pathlib import Path

import pytest

from exprgan.models.model_card import render_card
from train.__main__ import main
from train.core.train_errors import DataError
from train.data.fingerprint import fingerprint
from train.data.licences import SourceSet, add_sources, credit_lines, read_sources, write_sources
from train.data.splits import read_splits, split_families, split_people
from train.data.validation import find_row_problems
from train.publish.credits import END, START
from train.publish.publish_dataset import DATA_CARD
from train.render.manifest_layouts import CANADA, LONDON
from train.render.photo_manifest import EXAMPLE, Person, collect_source_sets, read_manifest, write_manifest

SOURCES = "name,licence,consent,credit\nours,CC-BY-4.0,signed,Our Lab 2026\n"


@pytest.fixture
def folder(tmp_path):
    """Photos of two people with a manifest; one of them has every optional file and cell."""
    root = tmp_path / "photos"
    (root / "a").mkdir(parents=True)
    for name in ("a/ann.jpg", "a/ann.tem", "a/ann2.jpg", "bob.jpg"):
        (root / name).touch()
    (root / "sources.csv").write_text(SOURCES)
    (root / "manifest.csv").write_text(
        "subject,photo,template,smile,sex,age,ethnicity,split,balance\n"
        "ann,a/ann.jpg,a/ann.tem,a/ann2.jpg,female,31,white,train,yes\nbob,bob.jpg,,,,,,,\n"
    )
    return root


def test_a_manifest_is_read_with_people_and_terms(folder):
    ann, bob = read_manifest(folder)
    ours = SourceSet("ours", "CC-BY-4.0", "signed", "Our Lab 2026")
    assert ann == Person(
        "ann", folder / "a/ann.jpg", folder / "a/ann.tem", folder / "a/ann2.jpg", "female", "31", "white", "train",
        "a/ann.jpg", "a/ann2.jpg", "CC-BY-4.0", "signed", "Our Lab 2026", (), True, (ours,),
    )  # fmt: skip
    assert (bob.template, bob.smile, bob.age, bob.split, bob.smile_source, bob.balance) == (None, None, "", "", "", False)
    assert collect_source_sets([ann, bob]) == [ours]


def test_the_manifest_may_lie_elsewhere_and_is_read_as_written(folder, tmp_path):
    people = read_manifest(folder)
    rows = [
        {"subject": one.subject, "photo": one.source, "smile": one.smile_source, "age": one.age, "split": one.split}
        | {"template": "a/ann.tem" if one.template else "", "balance": "yes" if one.balance else "", "source_set": "ours"}
        | {"sex": one.sex, "ethnicity": one.ethnicity}
        for one in people
    ]
    write_manifest(tmp_path / "else" / "people.csv", rows, collect_source_sets(people))
    (folder / "manifest.csv").unlink()
    assert read_manifest(folder, tmp_path / "else" / "people.csv") == people


def test_the_error_without_a_manifest_shows_a_valid_example(tmp_path, folder):
    (folder / "manifest.csv").unlink()
    with pytest.raises(DataError, match=r"manifest\.csv does not exist.*licence, consent and credit") as error:
        read_manifest(folder)
    assert str(error.value).endswith(EXAMPLE)
    people, sources = EXAMPLE.split("sources.csv beside it")  # and what it says to write is right
    for name, text in (("manifest.csv", people), ("sources.csv", sources)):
        (folder / name).write_text("\n".join(line.strip() for line in text.splitlines() if line.startswith("    ")))
    for name in ("ann.jpg", "ann.tem"):
        (folder / name).touch()
    assert [(one.subject, one.consent) for one in read_manifest(folder)] == [
        ("ann", "signed: use in original and altered form")
    ]
    with pytest.raises(DataError, match="is no folder"):
        read_manifest(tmp_path / "nowhere")


@pytest.mark.parametrize("column", ["licence", "consent", "credit"])
def test_unstated_terms_are_refused_and_any_wording_is_accepted(folder, column):
    stated = {"licence": "ask us first", "consent": "spoken", "credit": "nobody"}

    def write():
        (folder / "sources.csv").write_text(f"name,{','.join(stated)}\nours,{','.join(stated.values())}\n")

    write()
    assert read_manifest(folder)[0].licence == "ask us first"
    stated[column] = " "
    write()
    with pytest.raises(DataError, match=f"{column} of the set 'ours' is empty; state it"):
        read_manifest(folder)
    (folder / "sources.csv").write_text("\n".join(",".join(row) for row in [[k for k in ("name", *stated) if k != column]]))
    with pytest.raises(DataError, match=f"lacks the column '{column}'"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("ann,bob.jpg,,,,,,,", "the subject 'ann' has two rows"),
        ("Ann,a/gone.jpg,,,,,,,", "the subject 'Ann' has two rows"),
        ("eve,bob.jpg,,,,,,,", "the photo 'bob.jpg' is two people's"),
        ("eve,gone.jpg,,,,,,,", "photo 'gone.jpg' is no file"),
        ("eve,../out.jpg,,,,,,,", "photo '../out.jpg' leads out of"),
        ("eve,{out},,,,,,,", "out.jpg' leads out of"),
        ("eve,link.jpg,,,,,,,", "photo 'link.jpg' leads out of"),
        ("eve,a/ann2.jpg,gone.tem,,,,,,", "template 'gone.tem' is no file"),
        ("eve,,,,,,,,", "has no photo"),
        (",a/ann2.jpg,,,,,,,", "row 4 (without a subject)"),
        ("../eve,a/ann2.jpg,,,,,,,", "'../eve' is no name"),
        ("eve,a/ann2.jpg,,,,old,,,", "has the age 'old'"),
        ("eve,a/ann2.jpg,,,,,,val,", "has the split 'val'"),
        ("eve,a/ann2.jpg,,,,,,,perhaps", "has 'perhaps' in balance"),
    ],
)
def test_a_row_that_cannot_be_right_is_refused(folder, row, message):
    (folder.parent / "out.jpg").touch()
    (folder / "link.jpg").symlink_to(folder.parent / "out.jpg")
    with (folder / "manifest.csv").open("a") as file:
        file.write(row.format(out=folder.parent / "out.jpg") + "\n")
    with pytest.raises(DataError) as error:
        read_manifest(folder)
    assert message in str(error.value)


def test_people_of_several_sets_name_their_set(folder):
    (folder / "sources.csv").write_text(SOURCES + "theirs,CC0,signed,Them\n")
    with pytest.raises(DataError, match=r"ann.* has no source_set.*write ours or theirs"):
        read_manifest(folder)
    header = "subject,photo,parents,source_set\n"
    (folder / "manifest.csv").write_text(header + "ann,a/ann.jpg,,theirs\nkid,bob.jpg,ann eve,ours theirs\n")
    ann, kid = read_manifest(folder)
    assert (ann.licence, ann.credit) == ("CC0", "Them")
    assert (kid.parents, kid.licence, kid.consent) == (("ann", "eve"), "CC-BY-4.0; CC0", "signed")
    (folder / "manifest.csv").write_text(header + "ann,a/ann.jpg,,his\n")
    with pytest.raises(DataError, match=r"source_set 'his', which has no row in sources\.csv"):
        read_manifest(folder)


@pytest.mark.parametrize("package", [False, True])
def test_manifest_writes_the_tables_of_the_public_sets(tmp_path, capsys, package):
    """In the layout used here and in that of webmorphR.stim, with people missing."""
    neutral, smiling, info = (
        ("inst/neutral_front", "inst/smiling_front", "data-raw") if package else ("london", "london", ".")
    )
    canada = "inst/canada" if package else "canada"
    photos = [f"{neutral}/001_03.jpg", f"{neutral}/001_03.tem", f"{smiling}/001_08.jpg", f"{neutral}/002_03.jpg",
              f"{neutral}/002_03.tem", f"{canada}/008f.jpg", f"{canada}/008f.tem"]  # fmt: skip
    for name in photos:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / info).mkdir(exist_ok=True)
    (tmp_path / info / "london_info.csv").write_text(
        "face_id,face_age,face_gender,face_eth\n001,24,female,white\n002,NA,male,black\n004,30,male,white\n"
    )
    (tmp_path / info / "canada_info.csv").write_text("face_id,face_age,face_gender\n008f,18,female\n")
    out = tmp_path / "new" / "manifest.csv"
    assert main(["manifest", "webmorph", str(tmp_path), "--out", str(out)]) == 0
    assert "without a photo and its template: L004" in (output := capsys.readouterr().out) and "3 people" in output
    one, two, three = read_manifest(tmp_path, out)
    assert (one.subject, one.age, one.ethnicity, one.balance, one.credit) == ("L001", "24", "white", False, LONDON.credit)
    assert one.smile == tmp_path / smiling / "001_08.jpg" and two.smile is None and two.age == ""
    assert (three.subject, three.balance, three.consent, three.sets) == ("C008f", True, CANADA.consent, (CANADA,))
    assert main(["manifest", "webmorph", str(tmp_path), "--out", str(out)]) == 1
    assert "is there already" in capsys.readouterr().err


def test_the_manifest_of_own_photos_is_valid_only_when_filled_in(folder, capsys):
    for name in ("manifest.csv", "sources.csv"):
        (folder / name).unlink()
    assert main(["manifest", "own", str(folder)]) == 0
    assert "until then no photo is used" in capsys.readouterr().out
    with pytest.raises(DataError, match="licence of the set 'ours' is empty"):
        read_manifest(folder)
    (folder / "sources.csv").write_text(SOURCES)
    assert [(one.subject, bool(one.template)) for one in read_manifest(folder)] == [
        ("a-ann", True), ("a-ann2", False), ("bob", False),
    ]  # fmt: skip
    assert main(["manifest", "own", str(folder / "a" / "..")]) == 1
    assert main(["manifest", "webmorph", str(folder), "--out", str(folder / "m.csv")]) == 1
    assert "has neither london_info.csv" in capsys.readouterr().err


def test_every_field_of_the_public_sets_is_filled_and_credited():
    assert all(getattr(one, field.name) for one in (LONDON, CANADA) for field in fields(one))
    written = (Path(__file__).parent.parent / "CREDITS.md").read_text(encoding="utf-8")
    assert f"{START}\n{credit_lines((LONDON, CANADA))}\n{END}" in written


# Credits.


def test_credits_lists_what_the_manifests_state(folder, tmp_path, capsys):
    write_sources(tmp_path / "set" / "sources.csv", [LONDON, SourceSet("ours", "CC-BY-4.0", "signed", "Our Lab 2026")])
    assert main(["credits", str(folder / "manifest.csv"), str(tmp_path / "set")]) == 0
    ours, london = capsys.readouterr().out.splitlines()  # each once
    assert ours == "- Our Lab 2026. Licence: CC-BY-4.0. Consent: signed."
    assert london.endswith(f"<{LONDON.url}>")
    own = tmp_path / "CREDITS.md"
    for times in range(2):
        assert main(["credits", str(folder), "--out", str(own)]) == 0
        assert own.read_text() == f"# Credits\n\n{START}\n{ours}\n{END}\n", times
    own.write_text("# Mine\n")
    assert main(["credits", str(folder), "--out", str(own)]) == 1
    assert "lacks the markers for the credits; add the lines" in capsys.readouterr().err and own.read_text() == "# Mine\n"
    assert main(["credits", str(tmp_path)]) == 1
    assert "sources.csv cannot be read" in capsys.readouterr().err


def test_a_training_folder_collects_the_sets_of_its_photos(folder, tmp_path):
    path = tmp_path / "set" / "sources.csv"
    add_sources(path, collect_source_sets(read_manifest(folder)))
    add_sources(path, [LONDON, *collect_source_sets(read_manifest(folder))])
    assert list(read_sources(path)) == ["ours", "london"]
    before = path.read_bytes()
    with pytest.raises(DataError, match="the set 'ours' is there on other terms"):
        add_sources(path, [CANADA, SourceSet("ours", "CC0", "signed", "Us")])
    assert path.read_bytes() == before


def test_the_data_card_states_consent_and_the_mesh(folder, faces_dir, tmp_path):
    root = Path(shutil.copytree(faces_dir, tmp_path / "faces"))

    def card() -> str:
        known = fingerprint(root)
        sources = credit_lines(SourceSet(**one) for one in known["sources"])
        return render_card(DATA_CARD, repo="org/faces", data=known, licence="cc0", columns=["subject"], sources=sources)

    assert "- Face Research Lab London Set" in card() and "Consent:" not in card() and "ICT-FaceKit light" in card()
    (root / "sources.csv").write_text(SOURCES)
    assert "- Our Lab 2026. Licence: CC-BY-4.0. Consent: signed.\n" in card() and "London" not in card()


# Splits by person and family.


def test_virtual_people_have_the_split_of_their_parents():
    parents = {"ann": (), "bob": (), "eve": (), "kid": ("ann", "bob"), "odd": ("ann", "eve"), "grandkid": ("kid", "ann")}
    known = {"ann": "train", "bob": "train", "eve": "test"}
    split = split_families(parents, known, 0.1)
    assert split == {"ann": "train", "bob": "train", "eve": "test", "kid": "train", "grandkid": "train"}
    assert "kid" not in split_families(parents, known | {"kid": "test"}, 0.1)  # against its parents
    assert split_families({"kid": ("ann", "gone")}, {"ann": "test", "kid": "test"}, 0.1) == {"kid": "test"}
    alone = split_families({"kid": ("x", "y")}, {}, 0.0)
    assert alone == {"kid": "train"}
    assert split_families({"a": ("b",), "b": ("a",)}, {}, 0.1) == {}  # a circle is nobody's child


def test_a_hash_decides_where_no_split_is_known():
    names = [f"p{n}" for n in range(200)]
    split = split_people(names, {"p3": "test", "p4": "train"}, 0.2)
    assert split["p3"] == "test" and split["p4"] == "train" and 20 < list(split.values()).count("test") < 60
    fewer = split_people(names[::2], {}, 0.2)
    assert all(fewer[name] == split[name] for name in fewer if name not in ("p3", "p4"))


def test_the_splits_of_a_published_set_include_parents(tmp_path):
    path = tmp_path / "metadata.csv"
    path.write_text("file_name,subject,split,parents\na,ann,train,\nb,V0001,test,eve bob\nc,ann,train,\n")
    assert read_splits(path) == {"ann": "train", "V0001": "test", "eve": "test", "bob": "test"}
    path.write_text("subject,split,parents\nann,train,\nV0001,test,ann bob\n")
    with pytest.raises(DataError, match="'ann' in 'train' and in 'test'"):
        read_splits(path)


def test_a_virtual_person_across_the_split_is_a_problem():
    def row(name, subject, split, parents=""):
        cells = {"file_name": name, "subject": subject, "expression": "happy", "split": split, "parents": parents}
        return cells

    rows = [row("a", "ann", "train"), row("b", "bob", "test"), row("c", "V1", "train", "ann eve")]
    assert not find_row_problems(rows)
    (problem,) = find_row_problems([*rows, row("d", "V2", "train", "bob eve")])
    assert problem.startswith("person 'bob' is in split 'test' and 'train', by those who are mixed from them")
    (problem,) = find_row_problems([*rows, row("d", "V2", "test", "eve dan")])
    assert "person 'eve'" in problem

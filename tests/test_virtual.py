"""Virtual people: of whom they may be mixed, what is kept of each, and a folder that goes on after a stop."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

pytest.importorskip("cv2")
pytest.importorskip("scipy")

from train.__main__ import main
from train.core.files import RunError
from train.data.metadata import DataError
from train.render import requirements as needs
from train.render import virtual_people as virtual
from train.render.face_model.webmorph_template import BROW_UPPER, POINTS, read_template
from train.render.face_morph import AROUND, EDGE, FACE, FEATURES, HAIRLINE, between, mix
from train.render.photo_manifest import read_manifest
from train.render.virtual_people import VirtualConfig, make_virtual, mixtures, possible_parents

SIZE = (240, 200)
PEOPLE = ("ann", "eva", "ida", "bob", "tom")


def template(width: float = 1.0, seed: int = 0) -> np.ndarray:
    """Points as WebMorph's lie, roughly: a face of 100 x 130 px at the middle of the picture."""
    noise = np.random.default_rng(seed)
    points = np.zeros((POINTS, 2))

    def around(which, x, y, from_turn=0.0, to_turn=1.0):
        turn = 2 * np.pi * np.linspace(from_turn, to_turn, len(which), endpoint=to_turn - from_turn < 1)
        points[list(which)] = np.stack([-x * np.cos(turn), -y * np.sin(turn)], axis=1)

    inside = [n for n in FEATURES if n > 33]
    points[inside] = noise.uniform((-32, -10), (32, 45), (len(inside), 2))
    around(HAIRLINE, 48, 62, 0.02, 0.48)
    around((112, 113, 114, *range(133, 124, -1), 111, 110, 109), 50, 65, 0.52, 0.98)
    around([n for n in AROUND], 65, 85)
    for side, eye in (
        (-1, (0, *range(2, 10), *range(18, 23), *range(28, 31))),
        (1, (1, *range(10, 18), *range(23, 28), 31, 32, 33)),
    ):
        around(eye[1:], 7, 4)
        points[list(eye[1:])] += (side * 20, -12)
        points[eye[0]] = side * 20, -12
        points[list(BROW_UPPER["R" if side < 0 else "L"])] = [(side * 20 + x, -26) for x in np.linspace(-9, 9, 6)]
    return points * (width, 1) + (SIZE[1] / 2, SIZE[0] / 2) + noise.uniform(-1, 1, (POINTS, 2))


def drawn(points: np.ndarray, skin: tuple[int, int, int]) -> Image.Image:
    image = Image.new("RGB", SIZE[::-1], (205, 210, 215))
    pen = ImageDraw.Draw(image)
    pen.ellipse(
        (points[AROUND, 0].min(), points[AROUND, 1].min(), points[AROUND, 0].max(), points[AROUND, 1].max()), (60, 45, 40)
    )
    pen.polygon([tuple(points[n]) for n in (*HAIRLINE, 112, 113, 114, *range(133, 124, -1), 111, 110, 109)], skin)
    for x, y in points[:2]:
        pen.ellipse((x - 7, y - 4, x + 7, y + 4), (240, 240, 240))
        pen.ellipse((x - 3, y - 3, x + 3, y + 3), (70, 50, 30))
    return image


@pytest.fixture
def photos(tmp_path):
    return people(tmp_path / "photos")


def people(root):
    """A folder of five people: three women, two men; one man from elsewhere."""
    root.mkdir()
    rows = ["subject,photo,template,sex,age,ethnicity,source_set"]
    for n, name in enumerate(PEOPLE):
        points = template(0.9 + 0.05 * n, n)
        drawn(points, (200 - 20 * n, 150 - 10 * n, 130)).save(root / f"{name}.png")
        joined = "2\n0\n2\n0 1"  # what follows the points: which of them a line joins
        (root / f"{name}.tem").write_text("\n".join([str(POINTS), *(f"{x:.1f}\t{y:.1f}" for x, y in points), joined]))
        rows.append(
            f"{name},{name}.png,{name}.tem,{'female' if n < 3 else 'male'},{20 + n},,{'here' if n < 4 else 'there'}"
        )
    (root / "manifest.csv").write_text("\n".join(rows))
    (root / "sources.csv").write_text(
        "name,licence,consent,credit\nhere,CC-BY-4.0,signed,Here 2026\nthere,CC0,signed,There\n"
    )
    return root


def config(photos, out, **more) -> VirtualConfig:
    settings = {"photos": str(photos), "out": str(out), "count": 4, "test_share": 0.0, "workers": 1} | more
    return VirtualConfig(**settings)


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Two faces.


def test_nothing_of_the_second_leaves_the_first_as_it_is():
    points, other = template(1.0, 1), template(1.1, 2)
    first, second = (np.asarray(drawn(each, skin)) for each, skin in ((points, (200, 160, 140)), (other, (120, 80, 60))))
    picture, mixed = mix(first, points, second, other, shape=0.0, skin=0.0)
    assert np.array_equal(mixed, points) and np.array_equal(picture, first)


def test_a_mixed_face_has_the_shape_between_and_the_firsts_surroundings():
    points, other = template(0.85, 1), template(1.15, 1)
    first, second = (np.asarray(drawn(each, skin)) for each, skin in ((points, (200, 160, 140)), (other, (120, 80, 60))))
    picture, mixed = mix(first, points, second, other, shape=0.5, skin=0.5)
    assert picture.shape == first.shape and picture.dtype == np.uint8
    widths = [np.ptp(each[list(EDGE), 0]) for each in (points, mixed, other)]
    assert widths[0] < widths[1] < widths[2]
    assert np.array_equal(picture[:8], first[:8])  # the backdrop
    cheek = np.rint(mixed[list(FEATURES)].mean(0)).astype(int)[::-1]
    assert np.abs(picture[tuple(cheek)].astype(int) - (200, 160, 140)).max() < 20  # the second's skin, in the first's light
    wide = np.abs(picture.astype(int) - first).max(2) > 30  # where the face is wider now
    assert wide[100:140].any()


def test_what_is_around_a_face_gives_way_without_folding():
    points, other = template(0.9, 1), template(1.2, 1)
    mixed = between(points, other, 0.75)
    moved = np.linalg.norm(mixed - points, axis=1)
    assert 0 < moved[list(AROUND)].max() < moved[list(FACE)].max()
    far = points.copy()
    far[list(AROUND)] += (far[list(AROUND)] - (100, 120)) * 3
    assert np.abs(between(far, other, 0.75) - far)[list(AROUND)].max() < 0.01


def test_hair_over_the_seconds_forehead_casts_no_shadow():
    points = template(1.0, 1)
    bare, fringed = drawn(points, (200, 160, 140)), drawn(points, (200, 160, 140))
    ImageDraw.Draw(fringed).rectangle((85, 70, 115, 85), (30, 20, 20))
    picture, _ = mix(np.asarray(bare), points, np.asarray(fringed), points, shape=0.5, skin=0.5)
    assert np.abs(picture[72:84, 88:112].astype(int) - (200, 160, 140)).max() < 25


# Of whom.


def test_a_longer_list_begins_with_the_shorter(photos):
    parents = read_manifest(photos)
    short, long = mixtures(parents, 5, seed=3), mixtures(parents, 40, seed=3)
    assert long[:5] == short and mixtures(parents, 5, seed=4) != short
    assert [one.subject for one in short] == [f"V{n:04d}" for n in range(5)]
    assert all(one.first is not one.second for one in long)
    same = [one.first.sex == one.second.sex for one in mixtures(parents[:4], 200, seed=0)]
    assert 0.5 < sum(same) / len(same) < 0.95  # the one man of that set has women only
    assert {one.second.subject for one in long if one.first.subject != "tom"} <= {
        "ann",
        "eva",
        "ida",
        "bob",
    }  # one set's light
    assert len({frozenset(each.subject for each in one.parents) for one in long[:6]}) == 6


def test_test_people_have_no_children(photos):
    sitters = read_manifest(photos)
    assert len(possible_parents(sitters, {}, 0.0)) == 5
    assert [one.subject for one in possible_parents(sitters, {"ann": "test", "tom": "test"}, 0.0)] == ["eva", "ida", "bob"]
    assert 2 <= len(possible_parents(sitters, {}, 0.4)) < 5  # where nothing is said, a hash keeps some for testing
    with pytest.raises(DataError, match="of 5 people, 1 are real, in train"):
        possible_parents(sitters, dict.fromkeys(PEOPLE[1:], "test"), 0.0)


# The folder.


def test_the_folder_is_one_of_photos_with_a_manifest(photos, tmp_path, capsys):
    published = tmp_path / "metadata.csv"
    published.write_text("subject,split,parents\nann,test,\nV0007,train,x y\n")
    out = tmp_path / "out"
    flags = ["--count", "3", "--test-share", "0", "--workers", "1", "--split-from", str(published)]
    assert main(["virtual", "--photos", str(photos), "--out", str(out), *flags]) == 0
    assert "4 of 5 people may be parents" in (said := capsys.readouterr().out) and "3 virtual people, 0" in said
    people = read_manifest(out)
    assert [one.subject for one in people] == ["V0008", "V0009", "V0010"]  # nobody's name is given twice
    for one in people:
        assert len(one.parents) == 2 and not {*one.parents} - {"eva", "ida", "bob", "tom"} and one.split == "train"
        assert 20 <= float(one.age) <= 24 and one.sex and one.template and not one.smile
        with Image.open(one.photo) as image:
            assert image.size == SIZE[::-1] and image.format == "JPEG"
        assert read_template(one.template).shape == (POINTS, 2)
        assert one.template.read_text().endswith("2\n0\n2\n0 1\n")
        terms = {"tom": "There"}
        assert {*one.credit.split("; ")} == {terms.get(name, "Here 2026") for name in one.parents}


def test_a_stopped_run_goes_on_and_ends_at_the_same_bytes(photos, tmp_path, monkeypatch):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    make_virtual(config(photos, whole))
    make, calls = virtual._make, []

    def dies(one, out):
        calls.append(one)
        if len(calls) == 3:
            (out / f".{one.subject}.jpg.1.tmp").write_bytes(b"half")
            (out / f"{one.subject}.tem").write_bytes((whole / f"{one.subject}.tem").read_bytes())
            raise KeyboardInterrupt
        make(one, out)

    monkeypatch.setattr(virtual, "_make", dies)
    with pytest.raises(KeyboardInterrupt):
        make_virtual(config(photos, stopped))
    assert not (stopped / "manifest.csv").exists()
    make_virtual(config(photos, stopped))
    assert len(calls) == 5 and contents(stopped) == contents(whole)
    before = (stopped / "V0000.jpg").stat().st_mtime_ns
    make_virtual(config(photos, stopped, count=5))  # it grows
    assert len(read_manifest(stopped)) == 5 and (stopped / "V0000.jpg").stat().st_mtime_ns == before


def test_several_at_once_make_the_same(photos, tmp_path):
    for name, workers in (("one", 1), ("two", 3)):
        make_virtual(config(photos, tmp_path / name, workers=workers))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_what_is_wrong_is_said(photos, tmp_path, monkeypatch):
    make_virtual(config(photos, tmp_path / "out", count=1))
    with pytest.raises(RunError, match="another --seed; choose another --out"):
        make_virtual(config(photos, tmp_path / "out", count=1, seed=1))
    with pytest.raises(RunError, match="holds something else"):
        make_virtual(config(photos, photos))
    for wrong, message in (({"count": 0}, "count"), ({"photos": ""}, "--photos DIR"), ({"test_share": 1.0}, "test_share")):
        with pytest.raises(ValueError, match=message):
            config(**({"photos": photos, "out": tmp_path} | wrong))
    monkeypatch.setattr(needs, "find_spec", lambda module: None)
    with pytest.raises(RunError, match=r"needs opencv-python-headless and scipy and numba; install the extra"):
        make_virtual(config(photos, tmp_path / "new"))

"""Virtual people: which parents they may have, what the morph takes of each, and folders continued after a stop."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

pytest.importorskip("cv2")
pytest.importorskip("scipy")

from train.__main__ import main
from train.core.train_errors import DataError, RunError
from train.render import requirements, virtual_people
from train.render.face_model.webmorph_template import FEATURE_LINES, NUM_POINTS, read_template
from train.render.face_morph import (
    EDGE_POINTS,
    FACE_POINTS,
    FEATURE_POINTS,
    HAIRLINE_POINTS,
    SURROUNDING_POINTS,
    interpolate_points,
    morph_faces,
)
from train.render.photo_manifest import read_manifest
from train.render.virtual_people import VirtualConfig, draw_mixtures, make_virtual, select_parents

SIZE = (240, 200)
PEOPLE = ("ann", "eva", "ida", "bob", "tom")


def template(width: float = 1.0, seed: int = 0) -> np.ndarray:
    """Makes points roughly as WebMorph's: a face of 100 x 130 px at the middle of the picture."""
    generator = np.random.default_rng(seed)
    points = np.zeros((NUM_POINTS, 2))

    def set_ellipse(indices, x, y, start=0.0, end=1.0):
        """Distributes points over an ellipse of half axes x and y, from `start` to `end` in turns."""
        angles = 2 * np.pi * np.linspace(start, end, len(indices), endpoint=end - start < 1)
        points[list(indices)] = np.stack([-x * np.cos(angles), -y * np.sin(angles)], axis=1)

    inside = [n for n in FEATURE_POINTS if n > 33]
    points[inside] = generator.uniform((-32, -10), (32, 45), (len(inside), 2))
    set_ellipse(HAIRLINE_POINTS, 48, 62, 0.02, 0.48)
    set_ellipse((112, 113, 114, *range(133, 124, -1), 111, 110, 109), 50, 65, 0.52, 0.98)
    set_ellipse(SURROUNDING_POINTS, 65, 85)
    for side, eye in (
        (-1, (0, *range(2, 10), *range(18, 23), *range(28, 31))),
        (1, (1, *range(10, 18), *range(23, 28), 31, 32, 33)),
    ):
        set_ellipse(eye[1:], 7, 4)
        points[list(eye[1:])] += (side * 20, -12)
        points[eye[0]] = side * 20, -12
        brow = FEATURE_LINES["upper_brow_R" if side < 0 else "upper_brow_L"]
        points[brow] = [(side * 20 + x, -26) for x in np.linspace(-9, 9, 6)]
    return points * (width, 1) + (SIZE[1] / 2, SIZE[0] / 2) + generator.uniform(-1, 1, (NUM_POINTS, 2))


def draw_face(points: np.ndarray, skin: tuple[int, int, int]) -> Image.Image:
    image = Image.new("RGB", SIZE[::-1], (205, 210, 215))
    pen = ImageDraw.Draw(image)
    surroundings = points[SURROUNDING_POINTS]
    pen.ellipse((*surroundings.min(0), *surroundings.max(0)), (60, 45, 40))
    pen.polygon([tuple(points[n]) for n in (*HAIRLINE_POINTS, 112, 113, 114, *range(133, 124, -1), 111, 110, 109)], skin)
    for x, y in points[:2]:
        pen.ellipse((x - 7, y - 4, x + 7, y + 4), (240, 240, 240))
        pen.ellipse((x - 3, y - 3, x + 3, y + 3), (70, 50, 30))
    return image


@pytest.fixture
def photos(tmp_path):
    return make_photos(tmp_path / "photos")


def make_photos(root):
    """Makes a folder of five people, three women and two men, one of whom is of another source set."""
    root.mkdir()
    rows = ["subject,photo,template,sex,age,ethnicity,source_set"]
    for n, name in enumerate(PEOPLE):
        points = template(0.9 + 0.05 * n, n)
        draw_face(points, (200 - 20 * n, 150 - 10 * n, 130)).save(root / f"{name}.png")
        lines = "2\n0\n2\n0 1"  # between points, as they follow in the file
        (root / f"{name}.tem").write_text("\n".join([str(NUM_POINTS), *(f"{x:.1f}\t{y:.1f}" for x, y in points), lines]))
        rows.append(
            f"{name},{name}.png,{name}.tem,{'female' if n < 3 else 'male'},{20 + n},,{'here' if n < 4 else 'there'}"
        )
    (root / "manifest.csv").write_text("\n".join(rows))
    (root / "sources.csv").write_text(
        "name,licence,consent,credit\nhere,CC-BY-4.0,signed,Here 2026\nthere,CC0,signed,There\n"
    )
    return root


def make_config(photos, out, **other) -> VirtualConfig:
    settings = {"photos": str(photos), "out": str(out), "count": 4, "test_share": 0.0, "workers": 1} | other
    return VirtualConfig(**settings)


def read_files(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# The morph.


def test_with_zero_weights_the_first_face_is_unchanged():
    points, other = template(1.0, 1), template(1.1, 2)
    first, second = (
        np.asarray(draw_face(face, skin)) for face, skin in ((points, (200, 160, 140)), (other, (120, 80, 60)))
    )
    picture, mixed = morph_faces(first, points, second, other, shape=0.0, skin=0.0)
    assert np.array_equal(mixed, points) and np.array_equal(picture, first)


def test_a_morph_lies_between_the_two_shapes_and_keeps_the_first_backdrop():
    points, other = template(0.85, 1), template(1.15, 1)
    first, second = (
        np.asarray(draw_face(face, skin)) for face, skin in ((points, (200, 160, 140)), (other, (120, 80, 60)))
    )
    picture, mixed = morph_faces(first, points, second, other, shape=0.5, skin=0.5)
    assert picture.shape == first.shape and picture.dtype == np.uint8
    widths = [np.ptp(face[EDGE_POINTS, 0]) for face in (points, mixed, other)]
    assert widths[0] < widths[1] < widths[2]
    assert np.array_equal(picture[:8], first[:8])  # the backdrop
    x, y = np.rint(mixed[FEATURE_POINTS].mean(0)).astype(int)
    assert np.abs(picture[y, x].astype(int) - (200, 160, 140)).max() < 20  # the second one's skin in the first one's tone
    wide = np.abs(picture.astype(int) - first).max(2) > 30  # where the face is wider now
    assert wide[100:140].any()


def test_the_surroundings_follow_a_growing_face_less_with_distance():
    points, other = template(0.9, 1), template(1.2, 1)
    mixed = interpolate_points(points, other, 0.75)
    moved = np.linalg.norm(mixed - points, axis=1)
    assert 0 < moved[SURROUNDING_POINTS].max() < moved[FACE_POINTS].max()
    far = points.copy()
    far[SURROUNDING_POINTS] += (far[SURROUNDING_POINTS] - (100, 120)) * 3
    assert np.abs(interpolate_points(far, other, 0.75) - far)[SURROUNDING_POINTS].max() < 0.01


def test_hair_over_the_second_forehead_casts_no_shadow():
    points = template(1.0, 1)
    bare, fringed = draw_face(points, (200, 160, 140)), draw_face(points, (200, 160, 140))
    ImageDraw.Draw(fringed).rectangle((85, 70, 115, 85), (30, 20, 20))
    picture, _ = morph_faces(np.asarray(bare), points, np.asarray(fringed), points, shape=0.5, skin=0.5)
    assert np.abs(picture[72:84, 88:112].astype(int) - (200, 160, 140)).max() < 25


# The parents.


def test_a_longer_list_begins_with_the_shorter_one(photos):
    parents = read_manifest(photos)
    short, long = draw_mixtures(parents, 5, seed=3), draw_mixtures(parents, 40, seed=3)
    assert long[:5] == short and draw_mixtures(parents, 5, seed=4) != short
    assert [mixture.subject for mixture in short] == [f"V{n:04d}" for n in range(5)]
    assert all(mixture.first is not mixture.second for mixture in long)
    same = [mixture.first.sex == mixture.second.sex for mixture in draw_mixtures(parents[:4], 200, seed=0)]
    assert 0.5 < sum(same) / len(same) < 0.95  # the one man of that set has women only
    of_one_set = [mixture for mixture in long if mixture.first.subject != "tom"]
    assert {mixture.second.subject for mixture in of_one_set} <= {"ann", "eva", "ida", "bob"}
    assert len({frozenset(parent.subject for parent in mixture.parents) for mixture in long[:6]}) == 6


def test_test_people_are_not_parents(photos):
    people = read_manifest(photos)
    assert len(select_parents(people, {}, 0.0)) == 5
    parents = select_parents(people, {"ann": "test", "tom": "test"}, 0.0)
    assert [parent.subject for parent in parents] == ["eva", "ida", "bob"]
    assert 2 <= len(select_parents(people, {}, 0.4)) < 5  # without a stated split, a hash keeps some for testing
    with pytest.raises(DataError, match="of 5 people, 1 are real, in train"):
        select_parents(people, dict.fromkeys(PEOPLE[1:], "test"), 0.0)


# The folder.


def test_the_output_is_a_folder_of_photos_with_a_manifest(photos, tmp_path, capsys):
    published = tmp_path / "metadata.csv"
    published.write_text("subject,split,parents\nann,test,\nV0007,train,x y\n")
    out = tmp_path / "out"
    flags = ["--count", "3", "--test-share", "0", "--workers", "1", "--split-from", str(published)]
    assert main(["virtual", "--photos", str(photos), "--out", str(out), *flags]) == 0
    assert "4 of 5 people may be parents" in (printed := capsys.readouterr().out) and "3 virtual people, 0" in printed
    people = read_manifest(out)
    assert [person.subject for person in people] == ["V0008", "V0009", "V0010"]  # no name is used twice
    for person in people:
        assert len(person.parents) == 2 and not {*person.parents} - {"eva", "ida", "bob", "tom"} and person.split == "train"
        assert 20 <= float(person.age) <= 24 and person.sex and person.template and not person.smile
        with Image.open(person.photo) as image:
            assert image.size == SIZE[::-1] and image.format == "JPEG"
        assert read_template(person.template).shape == (NUM_POINTS, 2)
        assert person.template.read_text().endswith("2\n0\n2\n0 1\n")
        assert {*person.credit.split("; ")} == {"There" if name == "tom" else "Here 2026" for name in person.parents}


def test_a_stopped_run_can_be_continued_to_the_same_bytes(photos, tmp_path, monkeypatch):
    expected, stopped = tmp_path / "expected", tmp_path / "stopped"
    make_virtual(make_config(photos, expected))
    make_person, calls = virtual_people._make_person, []

    def stop_at_the_third(mixture, out):
        calls.append(mixture)
        if len(calls) == 3:
            (out / f".{'0' * 32}.part").write_bytes(b"half")
            (out / f"{mixture.subject}.tem").write_bytes((expected / f"{mixture.subject}.tem").read_bytes())
            raise KeyboardInterrupt
        make_person(mixture, out)

    monkeypatch.setattr(virtual_people, "_make_person", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        make_virtual(make_config(photos, stopped))
    assert not (stopped / "manifest.csv").exists()
    make_virtual(make_config(photos, stopped))
    assert len(calls) == 5 and read_files(stopped) == read_files(expected)
    before = (stopped / "V0000.jpg").stat().st_mtime_ns
    make_virtual(make_config(photos, stopped, count=5))  # the set grows
    assert len(read_manifest(stopped)) == 5 and (stopped / "V0000.jpg").stat().st_mtime_ns == before


def test_several_workers_make_the_same_bytes(photos, tmp_path):
    for name, workers in (("one", 1), ("two", 3)):
        make_virtual(make_config(photos, tmp_path / name, workers=workers))
    assert read_files(tmp_path / "one") == read_files(tmp_path / "two")


def test_errors_name_the_reason(photos, tmp_path, monkeypatch):
    make_virtual(make_config(photos, tmp_path / "out", count=1))
    with pytest.raises(RunError, match="another --seed; choose another --out"):
        make_virtual(make_config(photos, tmp_path / "out", count=1, seed=1))
    with pytest.raises(RunError, match="holds something else"):
        make_virtual(make_config(photos, photos))
    for wrong, message in (({"count": 0}, "count"), ({"photos": ""}, "--photos DIR"), ({"test_share": 1.0}, "test_share")):
        with pytest.raises(ValueError, match=message):
            make_config(**({"photos": photos, "out": tmp_path} | wrong))
    monkeypatch.setattr(requirements, "find_spec", lambda module: None)
    with pytest.raises(RunError, match=r"needs opencv-python-headless and scipy and numba; install the extra"):
        make_virtual(make_config(photos, tmp_path / "new"))

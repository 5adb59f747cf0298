"""Face detection, on portraits of virtual people."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from exprgan.errors import NoFaceError
from exprgan.photo.alignment import EYES, crop_face, crop_from_photo, invert, transform
from exprgan.photo.detection import Face, are_consistent, choose_face, find_faces

EXAMPLES = sorted((Path(__file__).parent.parent / "exprgan" / "ui" / "examples").glob("*.jpg"))
TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}


def eyes(face: Face) -> np.ndarray:
    return np.array(face.landmarks[:2])


def test_the_face_of_a_portrait_is_found(portrait):
    (face,) = find_faces(portrait)
    left, right, nose, mouth_left, mouth_right = face.landmarks
    assert face.score > 0.99
    assert left[0] < nose[0] < right[0] and mouth_left[0] < nose[0] < mouth_right[0]
    assert max(left[1], right[1]) < nose[1] < min(mouth_left[1], mouth_right[1])
    x0, y0, x1, y1 = face.box
    assert x0 < left[0] < right[0] < x1 and y0 < left[1] < mouth_left[1] < y1 < portrait.height


@pytest.mark.parametrize("size", [(200, 200), (3000, 3000)])
def test_the_eyes_are_the_same_at_any_size_of_the_photo(portrait, size):
    expected = eyes(find_faces(portrait)[0])
    resized = eyes(find_faces(portrait.resize(size, Image.Resampling.LANCZOS))[0]) * portrait.width / size[0]
    crop_side = np.hypot(*(expected[1] - expected[0])) / (EYES[1][0] - EYES[0][0])
    assert np.abs(expected - resized).max() < 0.02 * crop_side


@pytest.mark.parametrize("degrees", [-25, 25])
def test_a_tilted_head_is_found_where_it_is(portrait, degrees):
    expected = eyes(find_faces(portrait)[0])
    tilted = portrait.rotate(degrees, Image.Resampling.BICUBIC, fillcolor="grey")
    angle, middle = np.radians(degrees), np.array(portrait.size) / 2
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    assert np.abs(eyes(find_faces(tilted)[0]) - ((expected - middle) @ rotation.T + middle)).max() < 12


def test_a_crop_that_the_face_fills_has_its_eyes_at_their_positions(faces_dir):
    """Training crops: the eyes are at `EYES`, but for the jitter (4 degrees, 5 %, 2 %)."""
    offsets = []
    for path in sorted(faces_dir.glob("*/*/*.jpg")):
        with Image.open(path) as crop:
            found = find_faces(crop.convert("RGB"))
        assert found, f"no face in {path.name}"
        offsets.append(eyes(choose_face(found)) / crop.width - EYES)
    assert np.abs(offsets).max() < 0.07
    assert np.abs(np.mean(offsets, axis=0)).max() < 0.01


def test_finding_the_face_in_its_own_crop_gives_the_same_crop(portrait):
    crop = crop_face(portrait, crop_from_photo(find_faces(portrait)[0].landmarks, 256), 256)
    assert np.abs(eyes(find_faces(crop)[0]) / 256 - EYES).max() < 0.015


def test_faces_come_from_left_to_right_and_the_largest_is_the_default(data_dir, portrait):
    with Image.open(data_dir / "portrait2.jpg") as other:
        small = other.convert("RGB").resize((400, 400))
    canvas = Image.new("RGB", (1300, 900), "grey")
    canvas.paste(small, (0, 250))
    canvas.paste(portrait, (400, 0))
    left, right = find_faces(canvas)
    assert right.width > 1.5 * left.width
    assert right.landmarks[2][0] > 400 > left.landmarks[2][0]
    assert choose_face([left, right]) is choose_face([left, right], 1) is right
    assert choose_face([left, right], 0) is left


def test_a_distant_face_is_found_by_the_second_search(portrait):
    canvas = Image.new("RGB", (1024, 1024), "grey")
    canvas.paste(portrait.resize((70, 70), Image.Resampling.LANCZOS), (600, 300))
    (face,) = find_faces(canvas)
    assert 600 < face.landmarks[2][0] < 670 and face.width < 40


@pytest.mark.parametrize("size", [(16, 16), (400, 300), (2000, 20)])
def test_noise_has_no_face(size):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    assert find_faces(Image.fromarray(noise)) == []


def test_concurrent_threads_find_the_same(portrait):
    small = portrait.resize((300, 300))
    expected = find_faces(small)
    with ThreadPoolExecutor(4) as pool:
        assert all(found == expected for found in pool.map(find_faces, [small] * 8))


def test_a_photo_that_is_not_rgb_is_refused():
    with pytest.raises(ValueError, match="mode L"):
        find_faces(Image.new("L", (100, 100)))


def test_a_wrong_index_names_the_faces_that_there_are():
    face = Face((0, 0, 9, 9), ((2, 3), (6, 3), (4, 5), (3, 7), (6, 7)), 0.99)
    with pytest.raises(NoFaceError, match=r"No face was found.*Use one"):
        choose_face([])
    with pytest.raises(NoFaceError, match="no face number 2 from the left in this photo, only 1"):
        choose_face([face], 1)
    with pytest.raises(NoFaceError, match="no face number 0 from the left in this photo, only 2"):
        choose_face([face, face], -1)


@pytest.mark.parametrize("degrees", [-45, -30, 20, 42])
def test_a_leaning_head_is_detected_again_upright(portrait, degrees):
    upright = eyes(find_faces(portrait)[0])
    angle = np.radians(degrees)
    tilted = portrait.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=(190, 190, 190))
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    expected = (upright - np.divide(portrait.size, 2)) @ rotation.T + np.divide(tilted.size, 2)
    eye_distance = np.linalg.norm(upright[1] - upright[0])
    assert np.abs(eyes(find_faces(tilted)[0]) - expected).max() < 0.06 * eye_distance


def opened(path: Path, side: int) -> Image.Image:
    with Image.open(path) as photo:
        return photo.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)


def eye_errors(found: list[Face], expected: np.ndarray) -> float:
    """The larger error of the first face's two eyes, in eye distances."""
    distance = np.linalg.norm(expected[1] - expected[0])
    return np.linalg.norm(eyes(found[0]) - expected, axis=1).max() / distance


@pytest.mark.parametrize("degrees", TURNS)
@pytest.mark.parametrize("path", EXAMPLES[1:3], ids=lambda path: path.stem)
def test_a_photo_that_is_turned_by_a_quarter_or_two_has_its_face_there(path, degrees):
    photo = opened(path, 420)
    angle, upright = np.radians(degrees), eyes(find_faces(photo)[0])
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    (face,) = find_faces(photo.transpose(TURNS[degrees]))
    assert eye_errors([face], (upright - 210) @ rotation.T + 210) < 0.08
    x0, y0, x1, y1 = face.box
    assert face.is_certain and x0 < face.landmarks[2][0] < x1 and y0 < face.landmarks[2][1] < y1


def test_a_small_face_of_a_wide_photo_upside_down_is_found_in_its_place(portrait):
    canvas = Image.new("RGB", (1200, 700), (150, 160, 170))
    canvas.paste(portrait.resize((330, 330), Image.Resampling.LANCZOS), (700, 200))
    expected = [1200, 700] - eyes(find_faces(canvas)[0])
    assert eye_errors(find_faces(canvas.transpose(TURNS[180])), expected) < 0.06


@pytest.mark.parametrize("margin", [0.02, 0.1])
@pytest.mark.parametrize("path", EXAMPLES[:2], ids=lambda path: path.stem)
def test_a_face_that_fills_the_photo_from_the_brows_to_the_chin_is_found(path, margin):
    photo = opened(path, 700)
    landmarks = find_faces(photo)[0].landmarks
    matrix = crop_from_photo(landmarks, 1)  # brows at about y = 0.2, chin at 0.86
    ends = [(0.22 - margin, 0.2 - margin), (0.78 + margin, 0.86 + margin)]
    box = transform(invert(matrix), ends).round().astype(int).ravel().tolist()
    found = find_faces(photo.crop(box))
    assert eye_errors(found, np.array(landmarks[:2]) - box[:2]) < 0.1


@pytest.mark.parametrize("channel", range(3))
@pytest.mark.parametrize("path", EXAMPLES[1:3], ids=lambda path: path.stem)
def test_a_face_in_light_of_one_colour_is_found_where_it_is_in_grey(path, channel):
    photo = opened(path, 300)
    light = np.zeros((300, 300, 3), np.uint8)
    light[..., channel] = np.asarray(photo)[..., channel] // 2
    expected = eyes(find_faces(photo)[0])
    assert eye_errors(find_faces(Image.fromarray(light)), expected) < 0.06


def drawn_face(eye: int, blur: int) -> Image.Image:
    """Two eyes (`eye`: half their width in px), a nose and a mouth on a disc, blurred: MTCNN finds a face in it."""
    picture = Image.new("RGB", (240, 240), (90, 130, 160))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((50, 40, 190, 210), fill=(230, 190, 150), outline=(60, 40, 30), width=3)
    for x in (92, 148):
        pen.ellipse((x - eye, 98, x + eye, 112), fill="white")
        pen.ellipse((x - 6, 99, x + 6, 111), fill=(50, 30, 20))
    pen.polygon([(120, 115), (110, 145), (130, 145)], fill=(200, 150, 120))
    pen.arc((92, 140, 148, 185), 20, 160, fill=(160, 40, 40), width=6)
    return picture.filter(ImageFilter.GaussianBlur(blur))


@pytest.mark.parametrize(("eye", "blur"), [(8, 3), (12, 4), (16, 3)])
def test_a_drawn_face_is_uncertain(eye, blur):
    (face,) = find_faces(drawn_face(eye, blur))
    assert not face.is_certain and "may be no face" in face.warning


def test_faces_in_photos_are_certain_even_dark_and_noisy_ones(data_dir):
    noise = np.random.default_rng(2).normal(0, 8, (300, 300, 3))
    for name in ("portrait.jpg", "portrait2.jpg"):
        photo = opened(data_dir / name, 300)
        dark = Image.fromarray(np.uint8(np.clip(np.asarray(photo) * 0.25 + noise, 0, 255)))
        for picture in (photo, photo.convert("L").convert("RGB"), dark):
            (face,) = find_faces(picture)
            assert face.is_certain and face.warning == ""


def test_the_command_line_and_the_page_tell_that_a_face_is_uncertain(tmp_path, capsys, tiny_editor, visitors):
    from exprgan.cli import main
    from exprgan.ui.handlers import read

    path = tmp_path / "drawing.png"
    drawn_face(8, 3).save(path)
    assert main(["find", str(path)]) == 0 and "may be no face" in capsys.readouterr().out
    assert "may be no face" in read(tiny_editor, str(path))[0]["faces"][0]["notes"][0]


FRONTAL = [(30.0, 40.0), (70.0, 40.0), (50.0, 60.0), (35.0, 80.0), (65.0, 80.0)]


def test_landmarks_of_a_face_are_consistent_however_it_is_turned():
    for degrees in range(0, 360, 15):
        angle = np.radians(degrees)
        rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        assert are_consistent(np.array(FRONTAL) @ rotation)
    assert are_consistent([(30, 40), (60, 40), (62, 60), (38, 80), (60, 80)])  # a head turned aside


@pytest.mark.parametrize("changed", [
    {0: (70.0, 40.0), 1: (30.0, 40.0)},  # the eyes are exchanged
    {3: (65.0, 80.0), 4: (35.0, 80.0)},  # the mouth's corners are
    {3: (35.0, 20.0), 4: (65.0, 20.0)},  # the mouth is above the eyes
    {2: (50.0, 90.0)},  # the nose is below the mouth
    {2: (50.0, 30.0)},  # the nose is above the eyes
    {2: (90.0, 60.0)},  # the nose is beside the face
    {3: (75.0, 80.0), 4: (105.0, 80.0)},  # the mouth is
])  # fmt: skip
def test_landmarks_that_contradict_each_other_are_no_face(changed):
    assert not are_consistent([changed.get(i, point) for i, point in enumerate(FRONTAL)])


FIRST_CALLS = """
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from PIL import Image
from exprgan.photo.detection import find_faces
photo = Image.open({photo!r}).convert("RGB")
with ThreadPoolExecutor(8) as pool:
    print(*(len(faces) for faces in pool.map(find_faces, [photo] * 8)))
"""


def test_the_first_calls_of_several_threads_at_once_all_find_the_face(data_dir):
    code = FIRST_CALLS.format(photo=str(data_dir / "portrait.jpg"))
    for _ in range(2):
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        assert ran.stdout.split() == ["1"] * 8, ran.stderr

"""Animations: consistent frames, and files that play, loop and are marked."""

import dataclasses
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exprgan import ExprGANError, NoFaceError
from exprgan.editing.animation import Animation, num_frames, rise_and_fall
from exprgan.editing.target import Aim
from exprgan.models.warp_network import WIDE_CROP_SCALE
from exprgan.photo.ai_metadata import DIGITAL_SOURCE, SOFTWARE
from exprgan.photo.alignment import transform
from exprgan.photo.image_io import is_marked
from exprgan.photo.video_writer import write_gif, write_mp4, write_webp

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def editor():
    from exprgan import ExpressionEditor, ExprGAN

    return ExpressionEditor(ExprGAN.from_pretrained(ROOT / "weights"))


@pytest.fixture(scope="module")
def subject(editor):
    photo = Image.open(ROOT / "exprgan" / "ui" / "examples" / "V0042.jpg").resize((301, 301), Image.Resampling.LANCZOS)
    return editor.read(photo)


@pytest.fixture(scope="module")
def sweep(editor, subject):
    return editor.animate(subject, "sweep", "happy", seconds=1.6, fps=12.5)


def pixels(image):
    return np.asarray(image.convert("RGB"), np.int16)


def background(subject):
    """(H, W) bool: the pixels that no edit can reach, outside the wide crop."""
    ends = [subject.crop.width * (0.5 + side * WIDE_CROP_SCALE / 2) for side in (-1, 1)]
    corners = transform(subject.photo_from_crop, [(x, y) for x in ends for y in ends])
    (left, top), (right, bottom) = corners.min(0).clip(0).astype(int), corners.max(0).astype(int) + 1
    outside = np.ones(subject.photo.size[::-1], bool)
    outside[top:bottom, left:right] = False
    return outside


def ffmpeg(*arguments):
    from imageio_ffmpeg import get_ffmpeg_exe

    return subprocess.run([get_ffmpeg_exe(), "-v", "error", *map(str, arguments)], check=True, capture_output=True).stdout


def mp4_frames(path, width, height):
    raw = ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3).astype(np.int16)


# The frames.


def test_a_sweep_rises_from_neutral_to_the_expression_and_falls_back(editor, subject, sweep):
    assert len(sweep) == 20 and sweep.seconds == 1.6 and sweep.size == subject.photo.size
    frames = [pixels(frame) for frame in sweep.frames]
    assert np.array_equal(frames[0], pixels(editor.edit(subject, "neutral").image))
    assert np.array_equal(frames[10], pixels(editor.edit(subject, "happy").image))
    assert all(np.array_equal(frames[i], frames[20 - i]) for i in range(1, 20))
    from_neutral = [np.abs(frame - frames[0]).mean() for frame in frames[:11]]
    assert all(later >= sooner - 0.02 for sooner, later in pairwise(from_neutral))


def test_nothing_flickers(subject, sweep):
    frames = np.stack([pixels(frame) for frame in sweep.frames])
    changes = (frames != pixels(subject.photo)).any(axis=(0, 3))
    assert 0.02 < changes.mean() < 0.9
    still = (frames == frames[0]).all(axis=(0, 3))
    assert still[background(subject)].all() and still[:20].all()
    between = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    overall = np.abs(frames[10] - frames[0]).mean()
    assert between[:10].sum() < 1.8 * overall  # a straight path: a face that shook would move much farther
    assert between.max() < 0.4 * overall  # and no jump


def test_a_tour_shows_every_expression_through_neutral(editor, subject):
    tour = editor.animate(subject, "tour", intensity=0.8, seconds=0.5, fps=8)
    assert len(tour) == 24
    neutral = pixels(tour[0])
    for i, name in enumerate(editor.model.config.expressions):
        assert np.array_equal(pixels(tour[4 * i]), neutral)
        assert np.array_equal(pixels(tour[4 * i + 2]), pixels(editor.edit(subject, name, 0.8).image))


def test_a_morph_goes_from_one_expression_to_another(editor, subject):
    morph = editor.animate(subject, "morph", ("sad", 0.9), start={"happy": 0.5, "surprise": 0.5}, seconds=1, fps=10)
    first = editor.edit(subject, {"happy": 0.5, "surprise": 0.5})
    assert np.array_equal(pixels(morph[0]), pixels(first.image))
    assert np.array_equal(pixels(morph[5]), pixels(editor.edit(subject, "sad", 0.9).image))
    from_the_photo = editor.animate(subject, "morph", "happy", seconds=1, fps=10)
    assert np.array_equal(pixels(from_the_photo[0]), pixels(subject.photo))


def test_two_faces_are_animated_at_once_and_the_others_stay(editor):
    photo = Image.new("RGB", (900, 300), "grey")
    for i, name in enumerate(("V0018", "V0022", "V0049")):
        photo.paste(
            Image.open(ROOT / "exprgan" / "ui" / "examples" / f"{name}.jpg").resize((300 - 20 * i,) * 2), (300 * i, 0)
        )
    subjects = editor.read_all(photo)
    both = editor.animate(subjects, "sweep", {0: "happy", 2: ("surprise", 0.5)}, seconds=1, fps=4)
    moved = (pixels(both[0]) != pixels(both[2])).any(axis=(0, 2))
    middles = [(subject.face.box[0] + subject.face.box[2]) / 2 for subject in subjects.values()]
    assert [moved[int(x) - 40 : int(x) + 40].any() for x in middles] == [True, False, True]
    assert len(editor.animate(subjects, seconds=1, fps=4)._patches) == 3  # all that were read
    assert len(editor.animate(photo, face="all", seconds=1, fps=4)._patches) == 3
    assert len(editor.animate(photo, face=[0, 1], seconds=1, fps=4)._patches) == 2
    with pytest.raises(NoFaceError, match="no face number 6 from the left"):
        editor.animate(photo, face=5)


def test_frames_are_computed_one_at_a_time(editor, subject):
    decoded = []

    def decode(face, aim):
        decoded.append(aim)
        return editor.decode(face, aim.code)

    aims = [(Aim(editor.model.F_ctrl.code("happy", i / 600), None),) for i in range(600)]
    animation = Animation([subject], aims, 25, decode)
    frames = animation.frames
    assert not decoded and next(frames).size == subject.photo.size
    assert len(decoded) == 1
    next(frames), next(frames)
    assert len(decoded) == 3


def test_the_cache_of_edited_patches_is_limited(editor, subject, monkeypatch):
    monkeypatch.setattr("exprgan.editing.animation.CACHE_BYTES", 2 * 3 * subject.photo.width * subject.photo.height)
    animation = editor.animate(subject, "sweep", "happy", seconds=1, fps=10)
    for _ in animation.frames:
        assert 1 <= len(animation._cache) <= 2 + 1


def test_an_animation_can_be_scaled_down_before_it_is_edited(editor, subject, sweep):
    small = sweep.at_most(150)
    assert small.size == (150, 150) and sweep.at_most(400) is sweep
    shrunk = sweep[10].resize((150, 150), Image.Resampling.LANCZOS)
    assert np.abs(pixels(shrunk) - pixels(small[10])).mean() < 2


@pytest.mark.parametrize("frames", [2, 3, 25, 50])
def test_a_rise_and_fall_is_smooth_and_leads_into_itself(frames):
    weights = rise_and_fall(frames)
    assert len(weights) == frames and weights[0] == 0 and (max(weights) == 1 or frames % 2)
    steps = np.abs(np.diff([*weights, weights[0]]))
    assert frames < 10 or steps.max() < 5 / frames


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "dance"}, "kind must be one of sweep, tour, morph, not 'dance'"),
        ({"fps": 0}, "fps must be 1 to 50"),
        ({"fps": 60}, "not 60"),
        ({"seconds": 0}, "seconds must be more than 0"),
        ({"seconds": 10**6}, "at most 600"),
        ({"requests": "bored"}, "unknown expression 'bored'"),
        ({"intensity": -1}, "intensity must lie between"),
        ({"kind": "sweep", "start": "sad"}, "start is where a morph begins, and kind is 'sweep'"),
        ({"fps": "25"}, "seconds and fps must be numbers"),
        ({"kind": "morph", "start": "bored"}, "unknown expression 'bored'"),
        ({"style": 9}, "style must be one of"),
        ({"fidelity": "best"}, "fidelity must be one of"),
        ({"face": "some"}, "face must be a number"),
    ],
)
def test_a_wrong_argument_is_named_before_anything_slow(tiny_editor, wrong, message):
    with pytest.raises(ValueError, match=message):
        tiny_editor.animate("not even opened.jpg", **wrong)


# The files.


@pytest.fixture(scope="module")
def files(sweep, tmp_path_factory):
    """The sweep in all formats, and the reported progress."""
    folder, reports = tmp_path_factory.mktemp("files"), {}
    for suffix in (".mp4", ".gif", ".webp"):
        reports[suffix] = []
        sweep.save(folder / f"me{suffix}", progress=lambda done, total, log=reports[suffix]: log.append((done, total)))
    return folder, reports


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_progress_is_reported_to_the_end_and_no_partial_file_remains(files, suffix):
    folder, reports = files
    assert reports[suffix] == [(i + 1, 20) for i in range(20)]
    assert sorted(path.name for path in folder.iterdir()) == ["me.gif", "me.mp4", "me.webp"]


def test_an_mp4_has_the_frames_at_their_size_and_a_still_background(files, subject, sweep):
    shown = mp4_frames(files[0] / "me.mp4", 302, 302)  # one more row and column: the format asks for even numbers
    assert len(shown) == 20
    assert np.abs(shown[:, :, 301] - shown[:, :, 300]).mean() < 2
    for i in (0, 10):
        assert np.abs(shown[i, :301, :301] - pixels(sweep[i])).mean() < 2.5
    outside = background(subject)
    still = np.abs(np.diff(shown[:, :301, :301], axis=0))[:, outside]
    assert still.mean() < 0.2 and np.percentile(still, 99.9) <= 6


def test_an_mp4_can_be_streamed_and_is_marked(files):
    data = (files[0] / "me.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # playback can begin before the download ends
    assert DIGITAL_SOURCE.encode() in data[data.index(b"uuid") :]
    metadata = ffmpeg("-i", files[0] / "me.mp4", "-f", "ffmetadata", "-").decode()
    assert f"comment={SOFTWARE}" in metadata and f"description={DIGITAL_SOURCE}" in metadata


def test_a_gif_has_one_palette_and_a_still_background(files, sweep, subject):
    gif = Image.open(files[0] / "me.gif")
    assert gif.n_frames == 20 and gif.size == sweep.size and gif.info["loop"] == 0
    shown, duration = [], 0
    for i in range(20):
        gif.seek(i)
        shown.append(pixels(gif))
        duration += gif.info["duration"]
    assert duration == 1600
    shown = np.stack(shown)
    assert (shown == shown[0])[:, background(subject)].all()
    for i in (0, 10):
        assert np.abs(shown[i] - pixels(sweep[i])).mean() < 8
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) <= 255
    assert is_marked(files[0] / "me.gif") and DIGITAL_SOURCE.encode() in (files[0] / "me.gif").read_bytes()


def test_a_webp_moves_and_is_marked(files, sweep, subject):
    webp = Image.open(files[0] / "me.webp")
    assert webp.size == sweep.size and webp.info["loop"] == 0 and 15 <= webp.n_frames <= 20  # equal frames are merged
    shown = []
    for i in range(webp.n_frames):
        webp.seek(i)
        shown.append(pixels(webp))
    shown = np.stack(shown)
    assert np.abs(shown[0] - pixels(sweep[0])).mean() < 3
    assert np.abs(np.diff(shown, axis=0))[:, background(subject)].mean() < 0.1
    assert is_marked(files[0] / "me.webp")


def test_gif_and_webp_are_smaller_by_default(editor, subject, tmp_path):
    large = dataclasses.replace(subject, photo=subject.photo.resize((1300, 1300)),
                                photo_from_crop=subject.photo_from_crop * 1300 / 301)  # fmt: skip
    animation = editor.animate(large, seconds=0.3, fps=10)
    for name, options, side in (("a.gif", {}, 640), ("a.webp", {}, 1024), ("b.gif", {"max_side": 200}, 200)):
        animation.save(tmp_path / name, **options)
        assert Image.open(tmp_path / name).size == (side, side)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("write", [write_mp4, write_gif, write_webp])
def test_any_list_of_pictures_can_be_written(write, count, tmp_path):
    pictures = [Image.new("RGB", (33, 18), (10 * i, 99, 99)) for i in range(count)]
    path, progress = tmp_path / f"x.{write.__name__.split('_')[1]}", []
    write(pictures, path, 30, lambda *args: progress.append(args))
    assert path.stat().st_size > 300 and progress == [(i + 1, count) for i in range(count)]
    if path.suffix == ".mp4":
        assert mp4_frames(path, 34, 18).shape[0] == count
    else:
        assert Image.open(path).n_frames == count and is_marked(path)


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_an_interrupt_leaves_no_file(sweep, tmp_path, suffix):
    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep.save(tmp_path / f"me{suffix}", progress=stop)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_a_missing_folder_is_named(sweep, tmp_path, suffix):
    with pytest.raises(ExprGANError, match=r"Cannot write .*nowhere.* No such file"):
        sweep.save(tmp_path / "nowhere" / f"me{suffix}")


def test_an_unknown_suffix_or_side_is_named(sweep):
    with pytest.raises(ValueError, match=r"cannot write 'me.avi': choose a name that ends in .mp4, .gif, .webp"):
        sweep.save("me.avi")
    with pytest.raises(ValueError, match="max_side must be at least 16 px, not 3"):
        sweep.save("me.gif", max_side=3)


def test_the_error_of_ffmpeg_is_passed_on(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr("exprgan.photo.video_writer.CRF", "!")
    with pytest.raises(ExprGANError, match="ffmpeg says"):
        sweep.save(tmp_path / "me.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [None, "", "#!/bin/sh\nexit 0\n", "#!/bin/sh\nexit 3\n"])
def test_a_program_that_is_no_ffmpeg_is_named(sweep, tmp_path, monkeypatch, content):
    program = tmp_path / "ffmpeg"
    if content is not None:
        program.write_text(content)
        program.chmod(0o755 if content else 0o644)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    with pytest.raises(ExprGANError, match=rf"^MP4 needs ffmpeg, but {program} .*\. Correct or remove .*_EXE, or .*\.gif"):
        sweep.save(tmp_path / "me.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["ffmpeg"] * (content is not None)


def test_the_error_without_imageio_ffmpeg_says_how_to_get_it(sweep, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ExprGANError, match="pip install imageio-ffmpeg"):
        sweep.save(tmp_path / "me.mp4")
    sweep.save(tmp_path / "me.gif", max_side=64)


def test_a_rise_and_fall_has_at_least_two_frames():
    assert num_frames(2, 25) == 50 and num_frames(0.01, 1) == 2

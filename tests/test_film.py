"""Films: reading, following one person, editing without flicker, writing, and going on after a stop."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from clips import copy_film, pixels, place, read, sound_packets, turning, write_clip
from PIL import Image
from test_colour_profile import p3_profile

from exprgan import BadVideoError, ExpressionEditor, ExprGAN, ExprGANError, NoFaceError
from exprgan.cli import main
from exprgan.deadline import Deadline, StoppedError
from exprgan.models.warp_network import WIDE_CROP_SCALE
from exprgan.photo.alignment import crop_from_photo, transform
from exprgan.photo.colour_profile import in_srgb
from exprgan.photo.detection import find_faces
from exprgan.photo.face_following import follow_face
from exprgan.photo.image_io import load_photo
from exprgan.video import clip_reader, film, frame_editor
from exprgan.video.clip_reader import ClipReader
from exprgan.video.drive_painter import DrivePainter
from exprgan.video.edit_painter import EditPainter
from exprgan.video.face_tracker import FaceTracker
from exprgan.video.keyframes import aim_over_time
from exprgan.video.one_euro import OneEuroFilter

ROOT = Path(__file__).parent.parent


@pytest.fixture
def editor(warp_model):
    return ExpressionEditor(warp_model)


@pytest.fixture(scope="module")
def people():
    """Two people, 900 x 900."""
    return [load_photo(ROOT / "tests" / "data" / name) for name in ("portrait.jpg", "portrait2.jpg")]


@pytest.fixture(scope="module")
def clip(people, tmp_path_factory):
    """A swaying head, 24 frames of 160 x 160, at uneven times."""
    return write_clip(tmp_path_factory.mktemp("clip") / "me.mp4", turning(people[0], 24), steps=(600, 600, 1200))


def cover_face(frame):
    """The frame with a plate of the face's mean colour before the face."""
    box = (50, 50, 115, 130)
    colour = tuple(map(int, pixels(frame.crop(box)).mean((0, 1))))
    covered = frame.copy()
    covered.paste(colour, box)
    return covered


def identity_code(*_):
    """In place of G_enc, which tells people apart in the bundled weights only."""
    return np.ones(8)


# Reading and writing.


def test_times_colours_and_sound_survive_segments(clip, tmp_path):
    before, after = read(clip), read(copy_film(clip, tmp_path / "copy.mp4"))
    assert [frame.pts for frame in before][:4] == [0, 600, 1200, 2400]
    assert [frame.pts for frame in after] == [frame.pts for frame in before]
    differences = [pixels(a.image) - pixels(b.image) for a, b in zip(before, after, strict=True)]
    assert max(abs(d).mean() for d in differences) < 3 and max(abs(d.mean()) for d in differences) < 0.5
    assert sound_packets(tmp_path / "copy.mp4") == sound_packets(clip)


def test_frames_after_a_time_are_those_that_follow_it(clip):
    frames = read(clip)
    with ClipReader(clip) as reader:
        later = list(reader.frames(after=frames[10].pts))
    assert [frame.pts for frame in later] == [frame.pts for frame in frames[11:]]
    assert later[0].image == frames[11].image and later[0].time == frames[11].time


@pytest.mark.parametrize("kind", ["empty", "text", "sound", "missing", "folder", "tiny", "huge", "cut"])
def test_what_is_no_usable_film_is_refused_in_a_sentence(kind, clip, people, tmp_path, monkeypatch):
    path = tmp_path / "film.mp4"
    if kind in ("empty", "text"):
        path.write_text("" if kind == "empty" else "no film\n" * 100)
    elif kind == "sound":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=44100, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 44100
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    elif kind == "folder":
        path.mkdir()
    elif kind == "tiny":
        write_clip(path, [people[0].resize((10, 10))], sound="")
    elif kind == "huge":
        path = clip
        monkeypatch.setattr(clip_reader, "MAX_FRAME_PIXELS", 10_000)
    elif kind == "cut":
        path.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])  # its index is at the end
    with pytest.raises(BadVideoError, match=r"film\.mp4|me\.mp4"):
        ClipReader(path)


def test_of_a_damaged_film_what_can_be_decoded_is_read(clip, tmp_path):
    path, data = tmp_path / "damaged.mkv", bytearray()
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    assert 3 < len(read(path)) < 24


# Following.


def test_a_resting_vector_is_smoothed_and_a_moving_one_does_not_lag():
    rng, rests, moves = np.random.default_rng(0), OneEuroFilter(1.5, 8), OneEuroFilter(1.5, 8)
    noise = rng.normal(0, 0.005, (200, 2))
    smooth = np.array([rests(x, i / 25) for i, x in enumerate(noise)])
    assert np.diff(smooth[50:], axis=0).std() < 0.5 * np.diff(noise[50:], axis=0).std()
    ramp = np.array([[0.04 * i, 0] for i in range(100)])  # an eye distance a second
    assert abs(np.array([moves(x, i / 25) for i, x in enumerate(ramp)]) - ramp)[50:].max() < 0.05


def test_following_agrees_with_a_search(people):
    for photo in people:
        face = np.array(find_faces(photo)[0].landmarks)
        unit = np.linalg.norm(face[1] - face[0])
        found, score = follow_face(photo, face + 0.08 * unit)
        assert score > 0.99 and abs(found - face).max() < 0.04 * unit
    _, score = follow_face(Image.new("RGB", people[0].size, "grey"), face)
    assert score < 0.5


def test_a_face_is_followed_lost_and_found(people):
    tracker = FaceTracker(identity_code)
    frames = turning(people[0], 12)
    frames[5:9] = [cover_face(frame) for frame in frames[5:9]]
    tracks = [tracker.update(frame, i / 10)[0] for i, frame in enumerate(frames)]
    assert all(track and not track.is_held for track in tracks[:5])
    assert tracks[6] is None or tracks[6].is_held
    assert tracks[8] is None
    found = next(track for track in tracks[9:] if track)  # at the next search, at most 0.2 s later
    assert found.is_new and not found.is_held and tracks[11]


def test_after_a_cut_the_same_person_is_followed_and_nobody_else(people):
    model_of = {}

    def by_brightness(image, landmarks):  # stands for the code of a person
        crop = image.crop((*landmarks.min(0).astype(int), *landmarks.max(0).astype(int) + 1))
        light = np.asarray(crop).mean()
        return (
            np.array([1.0, 0.0]) if model_of.setdefault(round(light / 1000), light) * 0.8 < light else np.array([0.0, 1.0])
        )

    bright, dark = people[0], Image.eval(people[1], lambda v: v // 2)
    size, tracker = (160, 160), FaceTracker(by_brightness)
    one, other = place(bright, size, scale=0.17), place(dark, size, scale=0.17)
    found = [tracker.update(frame, i / 10) for i, frame in enumerate([one, one, other, other, other, one, one])]
    assert [track is not None for track, _ in found] == [True, True, False, False, False, True, True]
    assert [is_cut for _, is_cut in found] == [False, False, True, False, False, True, False]


def test_of_several_people_the_chosen_one_is_followed(people):
    frame = Image.new("RGB", (320, 160), "grey")
    for i, photo in enumerate(people):
        frame.paste(photo.resize((160, 160)), (160 * i, 0))
    for face in (0, 1):
        track, _ = FaceTracker(identity_code, face).update(frame, 0)
        assert track.landmarks[0, 0] // 160 == face
    assert FaceTracker(identity_code, 2).update(frame, 0)[0] is None


# Editing.


def test_keyframes_are_interpolated(editor, people):
    model, reading = editor.model, editor.read_crop(people[0]).reading

    def code(expression, time):
        return aim_over_time(model, expression)(time, reading).code

    keys = [(1, "neutral"), (2, ("happy", 0.5)), (4, "sad")]
    happy, sad = editor._code("happy", 0.5, None), editor._code("sad", 1.0, None)
    assert code(keys, 0).max() == -1 and (code(keys, 2) == happy).all() and (code(keys, 9) == sad).all()
    assert (code(keys, 3) - (happy + sad) / 2).abs().max() < 1e-6
    assert (code({"happy": 0.5}, 7) == happy).all()
    for wrong in ([], [(1, "happy"), (1, "sad")], [(-1, "happy")], [(0, {0: "happy"})], None):
        with pytest.raises(ValueError, match=r"keyframe|one expression|name an expression"):
            aim_over_time(model, wrong)


def test_dials_are_kept_on_top_of_keyframes_or_of_the_face(tiny_config, people):
    config = dataclasses.replace(tiny_config, warp_width=0.25, warp_units=(12, 25), action_units=(12, 25))
    editor = ExpressionEditor(ExprGAN(config).eval())
    model, reading = editor.model, editor.read_crop(people[0]).reading
    model.unit_table.full[model.config.expressions.index("happy")] = torch.tensor([1.0, 0.5], dtype=torch.float64)
    at = aim_over_time(model, [(0, "neutral"), (2, "happy")], units={"smile_left": 0.5})
    for seconds, smile in ((0, 0.0), (1, 0.5), (5, 1.0)):
        units = at(seconds, reading).units
        torch.testing.assert_close(units.start, torch.tensor([[smile, smile], [smile / 2] * 2]))
        torch.testing.assert_close(units.target - units.start, torch.tensor([[0, 0.5], [0, 0]]))
        assert not units.on_photo
    kept = aim_over_time(model, None, units={"smile": 0.5})(3, reading)
    assert kept.units.on_photo and (kept.code == reading.source_code).all()


def test_pixels_outside_the_face_are_those_of_the_film(editor, clip):
    painter, changed = EditPainter(editor, aim_over_time(editor.model, "happy")), 0
    for frame in read(clip)[:6]:
        picture, is_edited = painter.paint(frame)
        difference = (pixels(picture) != pixels(frame.image)).any(2)
        rows, columns = np.nonzero(difference)
        matrix = crop_from_photo(painter._tracker._smooth, 1)
        in_crop = transform(matrix, np.stack([columns + 0.5, rows + 0.5], axis=1))
        assert is_edited and abs(in_crop - 0.5).max() <= WIDE_CROP_SCALE / 2 + 0.02
        changed += len(rows)
    assert changed > 100


def test_the_edit_fades_where_the_face_is_lost_and_found(editor, people, monkeypatch):
    strengths = []
    weaken = frame_editor._weaken
    monkeypatch.setattr(frame_editor, "_weaken", lambda p, weight: strengths.append(weight) or weaken(p, weight))
    painter, frames = EditPainter(editor, aim_over_time(editor.model, "happy")), turning(people[0], 16)
    frames[4:9] = [cover_face(frame) for frame in frames[4:9]]
    edited = [painter.paint(clip_reader.Frame(frame, i, 1, i * 0.08))[1] for i, frame in enumerate(frames)]
    assert all(edited[:4]) and not any(edited[4:9]) and all(edited[12:])
    down, up = strengths[:2], strengths[2:]
    assert len(down) == 2 and down == sorted(down, reverse=True) and up == sorted(up) and up[0] == 0


def edit(editor, clip, out, **options):
    return editor.edit_video(clip, [(0, "neutral"), (0.6, ("happy", 0.9))], out, **options)


@pytest.mark.parametrize("keyframes", [[(0, "neutral"), (0.1, "happy"), (0.2, "neutral")], [(0, "fear"), (0.2, "neutral")]])
def test_eyes_come_and_go_with_the_expression(people, tmp_path, keyframes):
    editor = ExpressionEditor(ExprGAN.from_pretrained(ROOT / "weights"))
    path = write_clip(tmp_path / "clip.mp4", turning(people[0], 7), sound="")
    result = editor.edit_video(path, keyframes, tmp_path / "out.mp4")
    before, after = read(path), read(result.path)
    changes = [abs(pixels(a.image) - pixels(b.image)).mean() for a, b in zip(before, after, strict=True)]
    assert result.edited == 7 and max(changes) > 1.3 * changes[0 if keyframes[0][1] == "neutral" else -1]


def test_an_edited_film_is_complete_and_marked(editor, clip, tmp_path):
    reports = []
    result = edit(editor, clip, tmp_path / "out.mp4", progress=reports.append)
    assert (result.frames, result.edited, result.warning) == (24, 24, "")
    assert result.seconds == pytest.approx(31 * 600 / 15360)  # the last frame's duration is not in the file
    assert [frame.pts for frame in read(result.path)] == [frame.pts for frame in read(clip)]
    assert sound_packets(result.path) == sound_packets(clip)
    data = result.path.read_bytes()
    assert b"compositeWithTrainedAlgorithmicMedia" in data and b"ExprGAN (expression edited by AI)" in data
    assert data.index(b"moov") < data.index(b"mdat")
    assert [os.path.basename(p) for p in tmp_path.iterdir()] == ["out.mp4"]
    assert [report.frames for report in reports] == [*range(25)] and reports[-1].seconds_left == 0
    assert all(report.total == 24 for report in reports) and reports[10].frames_per_second > 0


def test_a_stopped_film_is_continued_and_is_the_same(editor, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(film, "SEGMENT_S", 0.25)
    whole = edit(editor, clip, tmp_path / "whole.mp4")

    def stop(progress):
        if progress.frames == 14:
            raise KeyboardInterrupt

    out = tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt):
        edit(editor, clip, out, progress=stop)
    assert not out.exists() and not list(tmp_path.rglob("*.part"))
    reports = []
    result = edit(editor, clip, out, progress=reports.append)
    assert 8 < reports[0].frames < 14 and "Continuing after" in reports[0].note
    assert (result.frames, result.edited, result.seconds) == (whole.frames, whole.edited, whole.seconds)
    pairs = list(zip(read(out), read(whole.path), strict=True))
    assert [a.pts for a, _ in pairs] == [b.pts for _, b in pairs] and sound_packets(out) == sound_packets(whole.path)
    assert max(abs(pixels(a.image) - pixels(b.image)).mean() for a, b in pairs) < 0.2  # last bits of T may differ

    with pytest.raises(KeyboardInterrupt):
        edit(editor, clip, out, progress=stop)
    editor.edit_video(clip, "sad", out, progress=reports.append)
    assert reports[-1].frames == 24 and "starting anew" in reports[-1].note


def test_a_killed_run_is_continued(warp_model, clip, tmp_path):
    warp_model.save_pretrained(tmp_path / "model")
    out = tmp_path / "out.mp4"
    code = ("import sys; from exprgan.video import film; film.SEGMENT_S = 0.25; from exprgan.cli import main; "
            "sys.exit(main(sys.argv[1:]))")  # fmt: skip
    command = [sys.executable, "-c", code, "video", clip, "happy", "--out", out, "--model", tmp_path / "model"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob("out.mp4.parts/*.npz")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL and not out.exists()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "Continuing after" in done.stderr, done.stderr
    assert "24 frames" in done.stdout and len(read(out)) == 24


def test_errors_leave_no_film_and_say_what_to_do(editor, clip, people, tmp_path):
    out = tmp_path / "out.mp4"
    with pytest.raises(ValueError, match=r"ends in \.mp4"):
        edit(editor, clip, tmp_path / "out.avi")
    with pytest.raises(ValueError, match="another name"):
        edit(editor, clip, clip)
    with pytest.raises(ExprGANError, match="Choose another folder"):
        edit(editor, clip, tmp_path / "missing" / "out.mp4")
    with pytest.raises(BadVideoError, match=r"at most 0\.5 s"):
        edit(editor, clip, out, max_seconds=0.5)
    grey = write_clip(tmp_path / "grey.mp4", [Image.new("RGB", (64, 64), "grey")] * 3)
    with pytest.raises(NoFaceError, match="No face to edit"):
        edit(editor, grey, out)
    with pytest.raises(StoppedError), Deadline(0, "over").running():
        edit(editor, clip, out, keep_parts=False)
    assert sorted(os.listdir(tmp_path)) == ["grey.mp4"]


def test_one_run_at_a_time_writes_a_film(editor, clip, tmp_path):
    def second(progress):
        edit(editor, clip, tmp_path / "out.mp4")

    with pytest.raises(ExprGANError, match=f"being written by process {os.getpid()}"):
        edit(editor, clip, tmp_path / "out.mp4", progress=second)


def test_a_full_disk_is_a_sentence_and_the_film_goes_on_when_there_is_room(editor, clip, disk):
    ballast = disk / "ballast"
    ballast.write_bytes(b"\0" * (64 * 2**20 - 30_000))
    with pytest.raises(ExprGANError, match="Free some space"):
        edit(editor, clip, disk / "out.mp4")
    assert not (disk / "out.mp4").exists()
    ballast.unlink()
    assert edit(editor, clip, disk / "out.mp4").frames == 24


def test_a_model_without_t_draws_the_face(tiny_editor, people, tmp_path):
    clip = write_clip(tmp_path / "one.mp4", turning(people[0], 1), sound="")
    assert edit(tiny_editor, clip, tmp_path / "out.mp4").edited == 1


# Driving a photo.


def test_a_photo_is_driven_by_a_film(editor, people, clip, tmp_path):
    photo = people[1].resize((301, 300))
    result = editor.drive(photo, clip, tmp_path / "out.mp4")
    frames = read(result.path)
    assert result.frames == len(frames) == 24 and frames[0].image.size == (302, 300)
    assert [frame.pts for frame in frames] == [frame.pts for frame in read(clip)]
    assert sound_packets(result.path) == sound_packets(clip)
    photo.info["icc_profile"] = p3_profile()
    small = editor.drive(photo, clip, tmp_path / "small.mp4", 0.0, max_side=200)
    resized = pixels(in_srgb(photo).resize((200, 199), Image.Resampling.LANCZOS))
    difference = pixels(read(small.path)[0].image)[:199] - resized
    assert abs(difference).mean() < 4 and abs(difference.mean((0, 1))).max() < 0.7


def test_action_units_of_the_film_move_those_of_the_photo(tiny_config, people, tmp_path):
    config = dataclasses.replace(tiny_config, warp_width=0.25, warp_units=(1, 12), action_units=(1, 12))
    torch.manual_seed(0)
    editor = ExpressionEditor(ExprGAN(config).eval())
    subject = editor.read(people[0].resize((300, 300)))
    subject.reading.units.update({1: (0.2, 0.2), 12: (0.1, 0.5)})
    painter = DrivePainter(editor, subject, 0.5, {1: (1.0, 1.0), 12: (0.0, 0.0)})
    painter._readings._names, painter._readings._unit_names = ("neutral",), (1, 12)
    painter._readings._units = np.array([[0.0, 2.0], [1.0, 0.0]])
    aim = painter._aim()
    torch.testing.assert_close(aim.units.start, torch.tensor([[0.2, 0.2], [0.1, 0.5]]))
    torch.testing.assert_close(aim.units.target, torch.tensor([[0.0, 0.7], [0.6, 0.5]]))
    assert aim.units.on_photo


# The command line.


def test_the_command_line(warp_model, clip, people, tmp_path, capsys, monkeypatch):
    warp_model.save_pretrained(tmp_path / "model")
    people[1].resize((200, 200)).save(tmp_path / "friend.png")
    options = ["--model", str(tmp_path / "model"), "--out"]
    assert main(["video", str(clip), "--at", "0=neutral", "--at", "0.5=happy:0.8", *options, str(tmp_path / "a.mp4")]) == 0
    assert "a.mp4: 24 frames, 1.2 s" in capsys.readouterr().out
    assert main(["drive", str(tmp_path / "friend.png"), str(clip), *options, str(tmp_path / "b.mp4")]) == 0
    assert "b.mp4: 24 frames, 1.2 s" in capsys.readouterr().out
    for arguments, message in ((["happy", "--at", "0=sad"], "name one expression"), (["--at", "x=sad"], "must be a time"),
                               ([], "name an expression"), (["happy", "--out", "a.avi"], "ends in .mp4")):  # fmt: skip
        assert main(["video", str(clip), *arguments]) == 1
        assert message in capsys.readouterr().err


def test_without_pyav_a_sentence_says_what_to_install(clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ExprGANError, match="pip install av"):
        ClipReader(clip)


def test_wrong_faces_and_sizes_are_named_and_numbers_of_numpy_are_numbers(editor, people, clip, tmp_path):
    with pytest.raises(ValueError, match="whole number from 0, from left to right, not -1"):
        edit(editor, clip, tmp_path / "out.mp4", face=-1)
    for side in (-5, 0, 5):
        with pytest.raises(ValueError, match="max_side must be at least 16 px"):
            editor.drive(people[0], clip, tmp_path / "out.mp4", max_side=side)
    numbers = {"intensity": np.float32(0.5), "style": np.int64(1), "face": np.int64(0)}
    assert edit(editor, clip, tmp_path / "out.mp4", **numbers).edited == 24


def test_what_a_run_depends_on_is_compared(clip, tmp_path):
    assert film.fingerprint(clip) == film.fingerprint(clip)
    other = tmp_path / "other.mp4"
    other.write_bytes(clip.read_bytes()[:-1] + b"x")
    assert film.fingerprint(other) != film.fingerprint(clip)
    assert json.dumps({"clip": film.fingerprint(clip)})

"""Films as cameras and editors store them: turned, mirrored, in odd sizes, with any sound, and a little too long."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from clips import copy_film, pixels, read, write_clip

from exprgan import BadVideoError
from exprgan.photo.image_io import load_photo
from exprgan.video.clip_reader import ClipReader
from exprgan.video.film import EXTRA_S, make_film
from exprgan.video.film_writer import FilmFormat

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def picture():
    return load_photo(ROOT / "tests" / "data" / "portrait.jpg").resize((96, 64))


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (-90, 3), (180, 2)])
def test_a_turned_film_is_upright(picture, tmp_path, rotation, turns):
    path = write_clip(tmp_path / "turned.mp4", [picture] * 2, rotation=rotation)
    upright = np.rot90(pixels(picture), turns)
    assert abs(pixels(read(path)[0].image) - upright).mean() < 4
    after = read(copy_film(path, tmp_path / "upright.mp4"))[0].image
    assert after.size == upright.shape[1::-1] and abs(pixels(after) - upright).mean() < 4


def test_odd_sizes_sound_of_other_formats_and_more_bits_are_converted(picture, tmp_path):
    path = write_clip(tmp_path / "odd.mkv", [picture.resize((97, 65))] * 3, sound="pcm_s16le", pix_fmt="yuv444p10le")
    copy = copy_film(path, tmp_path / "even.mp4")
    assert read(path)[0].image.size == (97, 65) and read(copy)[0].image.size == (98, 66)
    with av.open(str(copy)) as container:
        audio, video = container.streams.audio[0], container.streams.video[0]
        assert audio.codec_context.name == "aac" and float(audio.duration * audio.time_base) > 0.07
        assert video.codec_context.pix_fmt == "yuv420p"


@pytest.mark.parametrize(("matrix", "show"), [
    ((-1, 0, 0, 1), np.fliplr), ((1, 0, 0, -1), np.flipud), ((0, 1, 1, 0), lambda x: x.swapaxes(0, 1)),
    ((0, -1, -1, 0), lambda x: np.rot90(x.swapaxes(0, 1), 2)),
])  # fmt: skip
def test_a_mirrored_film_is_read_as_players_show_it(picture, tmp_path, matrix, show):
    path = write_clip(tmp_path / "mirrored.mp4", [picture] * 2, sound="")
    data = bytearray(path.read_bytes())
    start, (a, b, c, d) = data.index(b"tkhd") + 44, (value << 16 for value in matrix)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    with ClipReader(path) as reader:
        image = next(reader.frames()).image
        assert reader.size == image.size
    assert abs(pixels(image) - show(pixels(picture))).mean() < 4


@pytest.mark.parametrize("rate", [192_000, 5512])
def test_sound_at_a_rate_that_aac_lacks_is_resampled(picture, tmp_path, rate):
    path = write_clip(tmp_path / "sound.mkv", [picture] * 50, sound="pcm_s16le", sound_rate=rate)
    with av.open(str(copy_film(path, tmp_path / "film.mp4"))) as container:
        audio = container.streams.audio[0]
        assert abs(float(audio.duration * audio.time_base) - 50 * 600 / 15360) < 0.3


class Unchanged:
    def paint(self, frame):
        return frame.image, True

    def state(self):
        return {}


def test_a_film_may_be_a_little_longer_than_the_limit(picture, tmp_path):
    with ClipReader(write_clip(tmp_path / "clip.mp4", [picture] * 30, sound="")) as clip:  # 1.17 s
        film = FilmFormat.like(clip)
        assert make_film(clip, tmp_path / "film.mp4", Unchanged(), film, {}, max_seconds=1).frames == 30
        with pytest.raises(BadVideoError, match=r"is 1\.2 s long; at most 0\.5 s are edited"):
            make_film(clip, tmp_path / "other.mp4", Unchanged(), film, {}, max_seconds=0.5)
    assert clip.seconds < 1 + EXTRA_S

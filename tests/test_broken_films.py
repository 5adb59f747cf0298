"""Films with damaged pictures, whose decoders report errors in threads of their own."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av")
from clips import write_clip

OPEN_OFTEN = """
import sys
from pathlib import Path
from exprgan.video.clip_reader import import_av, open_clip

av = import_av()
for n in range(300):
    clip = open_clip(av, Path(sys.argv[1]))
    stream = clip.streams.video[0]
    stream.thread_type = "AUTO"
    try:
        for k, _ in enumerate(clip.decode(stream)):
            if k > n % 7:
                break
    except av.error.FFmpegError:
        pass
    del clip, stream
"""


def test_a_decoder_can_be_deleted_while_its_threads_report_errors(tmp_path):
    """PyAV's log callback takes the GIL, which the thread that deletes the decoder held, waiting for the decoder's."""
    noise = np.random.default_rng(0)
    pictures = [Image.fromarray(noise.integers(0, 255, (192, 192, 3), dtype=np.uint8)) for _ in range(24)]
    clip = write_clip(tmp_path / "clip.mp4", pictures, sound="")
    content, places = bytearray(clip.read_bytes()), random.Random(1)
    for _ in range(300):
        content[places.randrange(2000, len(content) - 2000)] ^= 255
    clip.write_bytes(content)
    command = [sys.executable, "-c", OPEN_OFTEN, clip]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and not done.stderr

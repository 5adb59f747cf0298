"""What the tests of full disks, of kills and of second processes share."""

import errno
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path


def outcome(main, line, capsys):
    """Status of a verb's line, and its errors: lines of stderr of their own."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    capsys.readouterr()
    try:
        status = main(line.split())
    except SystemExit as error:
        status = error.code
    said = capsys.readouterr().err
    return status, [line for line in said.replace("\r", "\n").splitlines() if line.startswith("error: ")]


def state_of(folder):
    """Content by name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def odd(names):
    """Half-written files among names; tensorboard's own are whole records or none."""
    return [name for name in names if Path(name).name.startswith(".") and Path(name).name not in (".edits.lock",)
            and not name.startswith(".people")]  # fmt: skip


def fill(disk, leave):
    """Leaves so many bytes free."""
    with open(disk / "ballast", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError as error:
            assert error.errno == errno.ENOSPC
        file.truncate(max(0, file.tell() - leave))


@contextmanager
def held_by_another(folder):
    """Within, another process is alone in the folder; it ends by a kill."""
    code = "import fcntl, os, sys, time; fcntl.flock(os.open(sys.argv[1], 0), 6); print(1, flush=True); time.sleep(99)"
    with subprocess.Popen([sys.executable, "-c", code, folder], stdout=subprocess.PIPE) as first:
        try:
            assert first.stdout.readline() == b"1\n"
            yield
        finally:
            first.kill()

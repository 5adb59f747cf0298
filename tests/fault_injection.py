"""Helpers of the tests of full disks, killed processes and concurrent processes."""

import errno
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path


def run_line(main, line, capsys):
    """Runs a command line; returns its exit status and the error lines that it wrote to stderr."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    capsys.readouterr()
    try:
        status = main(line.split())
    except SystemExit as error:
        status = error.code
    stderr = capsys.readouterr().err
    return status, [line for line in stderr.replace("\r", "\n").splitlines() if line.startswith("error: ")]


def read_files(folder):
    """Returns the content of every file below the folder, by relative name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def find_half_written(names):
    """Returns the names of temporary files: hidden ones, apart from the lock file and the records of `render`."""
    return [name for name in names if Path(name).name.startswith(".") and Path(name).name not in (".edits.lock",)
            and not name.startswith(".people")]  # fmt: skip


def fill_disk(disk, free):
    """Fills a disk up to `free` bytes with the file `ballast`."""
    with open(disk / "ballast", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError as error:
            assert error.errno == errno.ENOSPC
        file.truncate(max(0, file.tell() - free))


@contextmanager
def locked_by_another_process(folder):
    """While it is open, another process holds the folder's lock; that process is killed at the end."""
    code = "import fcntl, os, sys, time; fcntl.flock(os.open(sys.argv[1], 0), 6); print(1, flush=True); time.sleep(99)"
    with subprocess.Popen([sys.executable, "-c", code, folder], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"1\n"
            yield
        finally:
            process.kill()

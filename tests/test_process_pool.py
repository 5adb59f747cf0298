"""The pool of processes: every item gets one result, also those whose process is killed, and a stop loses none."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from exprgan.process_pool import map_items

ROOT = Path(__file__).parent.parent
FATAL = (3, 8)

SCRIPT = """
import os, sys, time
from test_process_pool import died, slow
from exprgan.process_pool import map_items

print("started", flush=True)  # no guard: a process that ran this file again would print it as well
try:
    for item in map_items(slow, range(100), 2, died, lambda item: print("kept", item, flush=True)):
        print("yielded", item, flush=True)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


def heed_interrupts() -> None:
    """Undoes what a shell does to commands that it runs in the background, such as all of the tests."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def double(item: int) -> int:
    """Kills its process at some items."""
    if item in FATAL:
        os.kill(os.getpid(), signal.SIGKILL)
    if item == 99:
        raise ValueError("99 cannot be doubled")
    return 2 * item


def slow(item: int) -> int:
    time.sleep(0.2)
    return item


def died(item: int, how: str) -> str:
    return f"{item} died: {how}"


def test_every_item_has_one_result_although_processes_die():
    kept = []
    results = list(map_items(double, iter(range(12)), 2, died, kept.append))
    assert results == kept and sorted(map(str, results)) == sorted(
        f"{item} died: SIGKILL(-9)" if item in FATAL else str(2 * item) for item in range(12)
    )


def test_with_one_worker_the_items_are_done_here_and_in_order():
    kept, seen = [], []
    with closing(map_items(lambda item: seen.append(item) or -item, range(9), 1, died, kept.append)) as results:
        assert [next(results), next(results)] == [0, -1]
    assert seen == [0, 1] and kept == [0, -1]


def test_what_the_function_raises_ends_the_map():
    with pytest.raises(ValueError, match="99 cannot be doubled"):
        list(map_items(double, [1, 99, 2], 2, died))


@pytest.mark.skipif(os.name == "nt", reason="sends a signal to a group of processes")
def test_ctrl_c_in_a_terminal_keeps_what_is_in_work_and_a_script_needs_no_guard(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    with subprocess.Popen([sys.executable, str(tmp_path / "script.py")], env=environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
                          preexec_fn=heed_interrupts) as running:  # fmt: skip
        lines = []
        for line in running.stdout:
            if line.startswith("yielded") and not any(line.startswith("yielded") for line in lines):
                os.killpg(running.pid, signal.SIGINT)
            lines.append(line.strip())
        errors = running.stderr.read()
    kept, yielded = ([int(line.split()[1]) for line in lines if line.startswith(word)] for word in ("kept", "yielded"))
    assert not errors and lines.count("started") == 1 and lines[-1] == "stopped", (errors, lines[-1])
    assert sorted(kept) == list(range(len(kept))) and len(yielded) + 1 <= len(kept) < 100

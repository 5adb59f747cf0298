"""A pool of worker processes that edit photos in parallel; `worker` is what runs in them."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from ..errors import ExprGANError
from .manifest import BatchRecord
from .worker import BatchSettings


class WorkerPool:
    """Processes, `count` in number, that load the model in the folder `weights` and edit one photo at a time each."""

    def __init__(self, count: int, weights: Path, settings: BatchSettings, device: str):
        setup = {"settings": dataclasses.asdict(settings), "weights": str(weights), "device": device}
        self._workers = [_Worker(setup) for _ in range(count)]
        self._threads = ThreadPoolExecutor(count)
        self._running: dict[Future[BatchRecord], _Worker] = {}

    def edit(self, tasks: Mapping[str, str]) -> Iterator[BatchRecord]:
        """Edits photos (file -> result) and yields records as they are done.

        If a process dies, only its photo is recorded as failed.
        Raises ExprGANError if the model cannot be loaded, or the disk is full.
        """
        remaining, idle = iter(tasks.items()), list(self._workers)
        while True:
            while idle and (task := next(remaining, None)):
                worker = idle.pop()
                self._running[self._threads.submit(worker.edit, *task)] = worker
            if not self._running:
                return
            for future in wait(self._running, return_when=FIRST_COMPLETED).done:
                idle.append(self._running.pop(future))
                yield future.result()

    def finish_running(self) -> Iterator[BatchRecord]:
        """Waits, after an interrupt of `edit`, for the photos that were being edited, and yields their records."""
        while self._running:
            future, _ = self._running.popitem()
            yield future.result()

    def close(self) -> None:
        """Kills the processes; a file that one of them is writing does not appear."""
        for worker in self._workers:
            worker.kill()
        self._threads.shutdown()
        for worker in self._workers:
            worker.close()


class _Worker:
    """One process, started for its first task, and again for the next one after it died."""

    def __init__(self, setup: dict[str, Any]):
        self._setup, self._killed = setup, False
        self._process: subprocess.Popen[str] | None = None

    def edit(self, file: str, result: str) -> BatchRecord:
        process = self._process or self._start()
        answer = _request(process, {"file": file, "result": result})
        if answer is None:
            code, self._process = process.wait(), None
            died = f"The process that edited it died ({f'signal {-code}' if code < 0 else f'status {code}'}). "
            return BatchRecord(file, "failed", message=died + "Is the photo very large, or memory short?")
        if "error" in answer:
            raise ExprGANError(answer["error"])
        return BatchRecord(**answer)

    def kill(self) -> None:
        self._killed = True
        if self._process:
            self._process.kill()

    def close(self) -> None:
        if self._process:
            self._process.communicate()  # closes the pipes, and waits

    def _start(self) -> subprocess.Popen[str]:
        if self._killed:
            raise ExprGANError("The batch was stopped.")
        paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
                                    "PYTHONPATH": os.pathsep.join(filter(None, paths))}  # fmt: skip
        command = [sys.executable, "-W", "ignore", "-c", "from exprgan.batch.worker import main; main()"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True,
                                   encoding="ascii", start_new_session=True)  # Ctrl-C must not reach it  # fmt: skip
        self._process = process
        answer = _request(process, self._setup)
        if answer is None or "error" in answer:
            reason = answer["error"] if answer else f"it ended with status {process.wait()}"
            raise ExprGANError(f"No process could be started to edit photos: {reason}. Try with one job.")
        return process


def _request(process: subprocess.Popen[str], content: dict[str, Any]) -> dict[str, Any] | None:
    """Sends a line of JSON to a worker process and returns its answer; None if it died."""
    assert process.stdin is not None and process.stdout is not None
    try:
        print(json.dumps(content), file=process.stdin, flush=True)
        return json.loads(process.stdout.readline())
    except (OSError, ValueError):
        return None

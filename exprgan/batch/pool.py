"""Processes that edit photos side by side (their own side is `worker`)."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import ExprGANError
from .manifest import BatchRecord
from .worker import BatchSettings, BatchTask


class WorkerPool:
    """Processes that edit side by side, one photo each at a time.

    Args:
        count: how many.
        weights: a model's folder, which each of them loads.
        job: what they do.
        device: where their networks run.
    """

    def __init__(self, count: int, weights: Path, job: BatchSettings, device: str):
        setup = {"job": dataclasses.asdict(job), "weights": str(weights), "device": device}
        self._members = [_Member(setup) for _ in range(count)]
        self._threads = ThreadPoolExecutor(count)
        self._running: dict[Future[BatchRecord], _Member] = {}

    def edit(self, tasks: Iterable[BatchTask]) -> Iterator[BatchRecord]:
        """Outcomes as they come. A process that dies takes one photo with it, and is replaced.

        Raises:
            ExprGANError: the model cannot be loaded, or the disk is full.
        """
        tasks, idle = iter(tasks), list(self._members)
        while True:
            while idle and (task := next(tasks, None)):
                member = idle.pop()
                self._running[self._threads.submit(member.edit, task)] = member
            if not self._running:
                return
            for done in wait(self._running, return_when=FIRST_COMPLETED).done:
                idle.append(self._running.pop(done))
                yield done.result()

    def rest(self) -> Iterator[BatchRecord]:
        """After a stop: what was being edited just then."""
        while self._running:
            done = next(iter(self._running))
            outcome = done.result()
            del self._running[done]
            yield outcome

    def close(self) -> None:
        """Ends the processes; a file that one of them is writing does not appear."""
        for member in self._members:
            member.end()
        self._threads.shutdown()
        for member in self._members:
            member.close()


class _Member:
    """One process, started when there is something to do."""

    def __init__(self, setup: dict[str, Any]):
        self._setup, self._process, self._ended = setup, None, False

    def edit(self, task: BatchTask) -> BatchRecord:
        answer = self._ask(dataclasses.asdict(task)) if self._process or self._start() else None
        if answer is None:
            code, self._process = self._process.wait(), None
            died = f"The process that edited it died ({f'signal {-code}' if code < 0 else f'status {code}'}). "
            return BatchRecord(task.file, "failed", message=died + "Is the photo very large, or memory short?")
        if "error" in answer:
            raise ExprGANError(answer["error"])
        return BatchRecord(**answer)

    def end(self) -> None:
        self._ended = True
        if self._process:
            self._process.kill()

    def close(self) -> None:
        if self._process:
            with suppress(BrokenPipeError), self._process:  # closes the pipes, and waits
                pass

    def _start(self) -> bool:
        if self._ended:
            raise ExprGANError("The batch was stopped.")
        paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
                                    "PYTHONPATH": os.pathsep.join(filter(None, paths))}  # fmt: skip
        command = [sys.executable, "-W", "ignore", "-c", "from exprgan.batch.worker import main; main()"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            encoding="ascii",
            start_new_session=True,
        )  # fmt: skip  (Ctrl-C is not for it)
        answer = self._ask(self._setup)
        if answer is None or "error" in answer:
            why = answer["error"] if answer else f"it ended with status {self._process.wait()}"
            raise ExprGANError(f"No process could be started to edit photos: {why}. Try with one job.")
        return True

    def _ask(self, question: dict[str, Any]) -> dict[str, Any] | None:
        """Its answer; None if it died."""
        try:
            print(json.dumps(question), file=self._process.stdin, flush=True)
            return json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            return None

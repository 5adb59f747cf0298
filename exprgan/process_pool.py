"""Applies a function to items in worker processes, so that a process that dies costs the item in work and no other."""

import os
import re
import signal
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import resource_tracker
from typing import Any, Literal, TypeVar

import torch
from loky import ProcessPoolExecutor

BYTES_PER_WORKER = 2 << 30
"""Memory that one process needs with a large photo: the default number of processes is what memory has room for."""

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

Engine = Literal["processes", "ray"]
"""What works in parallel: processes of this machine, by `map_items`, or those of a cluster, by `map_on_cluster`."""

Item = TypeVar("Item")
Result = TypeVar("Result")

_function: Callable[[Any], Any]  # of a worker process


def map_items(function: Callable[[Item], Result], items: Iterable[Item], workers: int,
              died: Callable[[Item, str], Result], keep: Callable[[Result], object] = lambda _: None,
              ) -> Generator[Result, None, None]:  # fmt: skip
    """Yields the results of `function`, in the order in which they are done.

    Every process gets `function` once, with all it holds, and works on one item at a time, with one thread of torch.
    Function, items and results must be picklable. The module that was started as a script is not run again in the
    processes. They end when this one does, however it ends.

    Args:
        items: read as far as processes are free.
        workers: number of processes; with at most 1 the items are done one after another in this one.
        died: makes the result of an item whose process died, from the item and how it died: "SIGKILL(-9)".
        keep: called in this process with each result before it is yielded, and on KeyboardInterrupt, or when the generator
            is closed, with the results of the items in work, which are waited for. Another interrupt kills the processes.

    Raises:
        Exception: what `function` raises; the processes are killed.
    """
    if workers <= 1:
        for item in items:
            keep(result := function(item))
            yield result
        return
    remaining = iter(items)
    idle = [_create_process(function) for _ in range(workers)]
    running: dict[Future[Result], tuple[ProcessPoolExecutor, Item]] = {}

    def finish(future: Future[Result]) -> Result:
        executor, item = running.pop(future)
        try:
            result = future.result()
        except BrokenProcessPool as error:
            executor = _create_process(function)
            result = died(item, "".join(re.findall(r"\{(.*)\}", str(error))))
        finally:
            idle.append(executor)
        keep(result)
        return result

    try:
        while True:
            for item in islice(remaining, len(idle)):
                executor = idle.pop()
                with _interrupts_held():
                    try:
                        future = executor.submit(_call, item)
                    except BrokenProcessPool:  # it died without work
                        executor = _create_process(function)
                        future = executor.submit(_call, item)
                    running[future] = executor, item
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield finish(future)
    except (KeyboardInterrupt, GeneratorExit):
        for future in list(running):
            finish(future)
        raise
    finally:
        for executor in [*idle, *(executor for executor, _ in running.values())]:
            executor.shutdown(kill_workers=True)


def default_workers() -> int:
    """One process per core that this one may use, as far as memory has room for them at `BYTES_PER_WORKER` each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return cores
    return max(1, min(cores, memory // BYTES_PER_WORKER))


def _create_process(function: Callable[[Item], Result]) -> ProcessPoolExecutor:
    """One process, which is started with its first item: a pool of several would lose all their items with one."""
    return ProcessPoolExecutor(1, initializer=_set_up_worker, initargs=(os.getpid(), function), env=_ONE_THREAD)


def _set_up_worker(parent: int, function: Callable[[Item], Result]) -> None:
    def exit_with_parent() -> None:
        while os.name == "nt" or os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    global _function
    _function = function
    threading.Thread(target=exit_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


def _call(item: Any) -> Any:
    """Applies the function of this process."""
    return _function(item)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Starts processes that Ctrl-C in the terminal does not reach: they inherit which signals are blocked."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # or the first process would start it, which unblocks them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

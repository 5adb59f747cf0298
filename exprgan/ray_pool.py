"""Applies a function to items on all machines of a Ray cluster: what `process_pool` does on one. Needs the extra `ray`."""

from collections.abc import Callable, Generator, Iterable
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar

import torch

from .errors import ExprGANError

TRIES = 2
"""How often an item is begun: again if its process died, which the machine may have done."""
WAIT_S = 5
"""Seconds after which machines that joined the cluster get work."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_on_cluster(function: Callable[[Item], Result], items: Iterable[Item], died: Callable[[Item, str], Result],
                   keep: Callable[[Result], object] = lambda _: None) -> Generator[Result, None, None]:  # fmt: skip
    """Yields the results of `function`, in the order in which they are done, as `process_pool.map_items` does.

    Every process gets `function` once, with all it holds. Every CPU of the cluster works on one item at a time, with one
    thread of torch. The cluster is that of RAY_ADDRESS, or the one that `ray start` began on this machine, or else one of
    this machine alone for as long as the items take. The machines have exprgan installed in the same version, and see the
    same files under the same paths.

    Args:
        items: read as far as CPUs are free; with `function` and results they must be picklable.
        died: makes the result of an item whose process died TRIES times, from the item and the last error of Ray.
        keep: called in this process with each result before it is yielded, and on KeyboardInterrupt, or when the generator
            is closed, with the results of the items in work, which are waited for.

    Raises:
        ExprGANError: Ray is not installed, or the cluster cannot be reached.
        Exception: what `function` raises.
    """
    ray = _import_ray()
    connected_before = ray.is_initialized()
    if not connected_before:
        try:
            ray.init(log_to_driver=False, logging_level="ERROR", include_dashboard=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ExprGANError(f"The Ray cluster cannot be reached: {error}. See that `ray status` finds it, "
                               "or leave out --engine ray.") from error  # fmt: skip
    task, shared = ray.remote(num_cpus=1, max_retries=0)(_call), [ray.put(function)]  # in a list it stays a reference
    remaining = iter(items)
    running: dict[Any, tuple[Item, int]] = {}

    def finish(reference: Any) -> list[Result]:
        """The item's result, or none yet if it was begun again."""
        item, tries = running.pop(reference)
        try:
            result = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ray.exceptions.RaySystemError):  # the item was not begun
                reason = str(error.cause).partition("\n")[0]
                raise ExprGANError(f"A machine of the Ray cluster cannot work on photos: {reason}. Install the same "
                                   "version of exprgan on all of them.") from error  # fmt: skip
            raise error.cause from None
        except ray.exceptions.RayError as error:
            if tries < TRIES:
                running[task.remote(shared, item)] = item, tries + 1
                return []
            result = died(item, type(error).__name__)
        keep(result)
        return [result]

    try:
        while True:
            cpus = int(ray.cluster_resources().get("CPU", 0)) or 1
            for item in islice(remaining, max(cpus - len(running), 0)):
                running[task.remote(shared, item)] = item, 1
            if not running:
                return
            for reference in ray.wait(list(running), timeout=WAIT_S)[0]:
                yield from finish(reference)
    except (KeyboardInterrupt, GeneratorExit):
        while running:
            finish(next(iter(running)))
        raise
    finally:
        if not connected_before:
            ray.shutdown()


def _call(shared: list[Any], item: Any) -> Any:
    torch.set_num_threads(1)
    return _fetch(shared[0])(item)


@lru_cache(maxsize=1)
def _fetch(reference: Any) -> Callable[[Any], Any]:
    """The function that a reference stands for, which a process fetches once."""
    return _import_ray().get(reference)


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ExprGANError("Ray is not installed. Install it: pip install ray") from error
    return ray

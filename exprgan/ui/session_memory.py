"""How much memory visitors' photos may hold: what was used least recently is forgotten, and read anew when it is needed."""

import threading
import time
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor, nn

from ..editing.results import Subject

MAX_BYTES, MAX_SESSION_BYTES = 600 * 2**20, 200 * 2**20
"""The most that all sessions, and that one session may hold between two requests: pictures, tensors and fitted decoders."""


class SessionMemory:
    """What one session remembers, by key. Several threads may use it at once."""

    def __init__(self) -> None:
        self._values: dict[Hashable, Any] = {}  # the value used last comes last
        self.last_used = time.monotonic()
        with _lock:
            _memories.add(self)

    def recall(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of a key, made if it was never known or is forgotten; keys that start with "tuned" go first."""
        self.last_used = time.monotonic()
        value = self._values.pop(key, None)
        if value is None:
            value = make()
        self._values[key] = value
        return value

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    def forget_one(self) -> bool:
        """Forgets the tuned face that was used least recently, or else another value; False if there is none."""
        keys = [*self._values]
        tuned = [key for key in keys if isinstance(key, tuple) and key[0] == "tuned"]
        for key in (tuned or keys)[:1]:
            self._values.pop(key, None)
        return bool(keys)

    @property
    def nbytes(self) -> int:
        """An estimate of the memory held; pictures and tensors that several values share count once."""
        return sum({id(part): size for value in [*self._values.values()] for part, size in parts_of(value)}.values())


_memories: "weakref.WeakSet[SessionMemory]" = weakref.WeakSet()
_lock = threading.Lock()


def forget_least_used() -> None:
    """Brings each session below MAX_SESSION_BYTES, and all of them below MAX_BYTES, the least recently used one first."""
    with _lock:
        sizes = {memory: memory.nbytes for memory in _memories}
        for memory in sizes:
            while sizes[memory] > MAX_SESSION_BYTES and memory.forget_one():
                sizes[memory] = memory.nbytes
        for memory in sorted(sizes, key=lambda memory: memory.last_used):
            while sum(sizes.values()) > MAX_BYTES and memory.forget_one():
                sizes[memory] = memory.nbytes


def parts_of(value: Any) -> Iterator[tuple[Any, int]]:
    """The pictures, arrays and tensors in a value, with their bytes."""
    if isinstance(value, Subject):
        yield from parts_of([getattr(value, name) for name in value.__dataclass_fields__])
        yield from parts_of([*value.warp_cache.values()])
    elif isinstance(value, Image.Image):
        yield value, value.width * value.height * len(value.getbands())
    elif isinstance(value, (Tensor, np.ndarray)):
        yield value, value.nbytes
    elif isinstance(value, nn.Module):
        yield from parts_of([*value.parameters(), *value.buffers()])
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for part in value:
            yield from parts_of(part)

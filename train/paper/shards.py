"""Divides numbered work among processes that need not communicate: those of `accelerate launch`, or any, by --shard."""

from dataclasses import dataclass

import torch
from accelerate import PartialState

from ..core.processes import process_state


@dataclass(frozen=True)
class Shard:
    """The part of the work that one process does: item i if i % count == index.

    Raises:
        ValueError: `index` is not one of 0..count - 1.
    """

    index: int
    count: int
    device: torch.device

    def __post_init__(self):
        if not 0 <= self.index < self.count:
            raise ValueError(f"shard needs i/n with i from 0 to n - 1, not {self.index}/{self.count}")

    @classmethod
    def from_process(cls, shard: str, cpu: bool) -> "Shard":
        """The part of this process.

        Args:
            shard: "i/n", i from 0; empty: as accelerate numbers its processes, 0/1 without it.
            cpu: use the CPU even where there is a GPU.

        Raises:
            ValueError: `shard` is not of that form.
            RunError: as `process_state`.
        """
        if not shard:
            state = process_state(cpu)
            return cls(state.process_index, state.num_processes, state.device)
        try:
            index, count = map(int, shard.split("/"))
        except ValueError as error:
            raise ValueError(f"shard needs i/n, such as 0/4, not {shard!r}") from error
        return cls(index, count, PartialState(cpu=cpu).device)

    @property
    def is_first(self) -> bool:
        """Whether this process prints and shows progress."""
        return self.index == 0

    def includes(self, item: int) -> bool:
        """Whether this process does the item of that number."""
        return item % self.count == self.index

"""Work in numbered parts, shared by processes that need not meet: those of `accelerate launch`, or any, by --shard."""

from dataclasses import dataclass

import torch
from accelerate import PartialState


@dataclass(frozen=True)
class Share:
    """One process's part of numbered work.

    Raises:
        ValueError: there is no such part.
    """

    index: int
    of: int
    device: torch.device

    def __post_init__(self):
        if not 0 <= self.index < self.of:
            raise ValueError(f"shard needs i/n with i from 0 to n - 1, not {self.index}/{self.of}")

    @classmethod
    def of_process(cls, shard: str, cpu: bool) -> "Share":
        """What this process does.

        Args:
            shard: "i/n", counted from 0; empty: as accelerate counts its processes, 0/1 without it.
            cpu: use the CPU even where there is a GPU.

        Raises:
            ValueError: `shard` is not of that form.
        """
        state = PartialState(cpu=cpu)
        if not shard:
            return cls(state.process_index, state.num_processes, state.device)
        try:
            index, of = map(int, shard.split("/"))
        except ValueError as error:
            raise ValueError(f"shard needs i/n, such as 0/4, not {shard!r}") from error
        return cls(index, of, state.device)

    @property
    def first(self) -> bool:
        """Whether this process may talk."""
        return self.index == 0

    def takes(self, number: int) -> bool:
        """Whether this part is done here."""
        return number % self.of == self.index

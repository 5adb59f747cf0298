"""Running statistics of batch norm, kept apart for each micro-batch, as N processes with one each would keep them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector


class MicroBatchStatistics:
    """The running means and variances of some networks, a row for each micro-batch of this process.

    Args:
        networks: their floating-point buffers are the statistics.
        micro_batches: number of micro-batches of a step on this process.
    """

    def __init__(self, networks: Sequence[nn.Module], micro_batches: int):
        self._networks = networks
        self._rows = parameters_to_vector(self._buffers()).expand(micro_batches, -1).clone()

    def _buffers(self) -> list[Tensor]:
        """The statistics as they are now: preparing a network for several processes replaces them."""
        return [b for network in self._networks for b in network.buffers() if b.is_floating_point()]

    @contextmanager
    def of(self, micro_batch: int) -> Iterator[None]:
        """Within: batch norm reads and updates the statistics of one micro-batch."""
        if len(self._rows) == 1:
            yield
        else:
            self.apply(self._rows[micro_batch])
            yield
            self._rows[micro_batch] = parameters_to_vector(self._buffers())

    def get(self) -> Tensor:
        """The statistics: (micro-batches, N)."""
        if len(self._rows) == 1:
            self._rows = parameters_to_vector(self._buffers())[None]
        return self._rows

    def apply(self, values: Tensor) -> None:
        """Writes (N,) statistics into the networks."""
        buffers = self._buffers()
        for buffer, value in zip(buffers, values.split([b.numel() for b in buffers]), strict=True):
            buffer.copy_(value.view_as(buffer))

    def apply_first(self) -> None:
        """Writes the statistics of the first micro-batch into the networks."""
        self.apply(self._rows[0])

    def load(self, saved: Tensor, process: int, processes: int) -> None:
        """Takes over this process's part of the statistics that all processes had.

        Args:
            saved: (processes x micro-batches, N); of a run with another number of them, the mean.
            process, processes: number of this process, and of all.
        """
        count = len(self._rows)
        if len(saved) != count * processes:
            saved = saved.mean(0, keepdim=True).expand(count * processes, -1)
        self._rows = saved.view(processes, count, -1)[process].to(self._rows.device).clone()
        self.apply_first()

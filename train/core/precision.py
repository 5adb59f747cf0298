"""The arithmetic of a run: the requested precision, unless this machine can only emulate it."""

import sys
from typing import Literal

import torch

from .processes import process_state

Precision = Literal["no", "bf16", "fp16"]
NO_BF16 = "note: this CPU has no bf16 arithmetic, and imitates it a hundred times slower: the run works in float32"


def supported_precision(requested: Precision, cpu: bool) -> Precision:
    """Chooses the `mixed_precision` of `accelerate.Accelerator`.

    Args:
        requested: the run's `mixed_precision`.
        cpu: the run uses the CPU even where there is a GPU.

    Returns:
        `requested`, but "no" instead of "bf16" on a CPU without it.

    Raises:
        RunError: as `process_state`.
    """
    state = process_state(cpu)
    if requested != "bf16" or state.device.type != "cpu" or has_bf16():
        return requested
    state.print(NO_BF16, file=sys.stderr)
    return "no"


def enable_fast_kernels() -> None:
    """On a GPU, lets cuDNN benchmark its convolutions for each shape, of which a run has few, and multiplies in tf32."""
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")


def has_bf16() -> bool:
    """Whether oneDNN finds bf16 arithmetic on this CPU (x86: AVX-512 and newer)."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())

"""Which arithmetic a run does: what was asked for, unless this machine can only imitate it."""

import sys
from typing import Literal

import torch
from accelerate import PartialState

Precision = Literal["no", "bf16", "fp16"]
SLOW = "note: this CPU has no bf16 arithmetic, and imitates it a hundred times slower: the run works in float32"


def supported_precision(asked: Precision, cpu: bool) -> Precision:
    """What `accelerate.Accelerator` is to be told.

    Args:
        asked: the run's `mixed_precision`.
        cpu: the run keeps to the CPU even where there is a GPU.

    Returns:
        `asked`, but "no" instead of "bf16" on a CPU without it.
    """
    state = PartialState(cpu=cpu)
    if asked != "bf16" or state.device.type != "cpu" or has_bf16():
        return asked
    state.print(SLOW, file=sys.stderr)
    return "no"


def try_kernels() -> None:
    """On a GPU: cuDNN tries which of its convolutions is fastest for each shape, of which a run has few; float32 products
    are done in tf32."""
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")


def has_bf16() -> bool:
    """Whether oneDNN finds bf16 arithmetic on this CPU (x86: AVX-512 and newer)."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())

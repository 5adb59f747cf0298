"""What the library requires of torch: the state in which it computes, and usable devices and types."""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from .errors import ExprGANError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}
"""Types that weights can have, by name."""

_AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu")
_process = os.getpid()


@contextmanager
def own_torch_state() -> Iterator[None]:
    """Shields a computation from the caller's state of torch; a context, or the decorator of a function.

    Gradients and autocast are off, since positions and colours need float32. So is inference mode: tensors made in it could
    not be used freely outside of it. In a forked process torch uses one thread from then on, because it would wait for ever
    for the OpenMP threads of the parent, which a fork does not copy.
    """
    global _process
    if os.getpid() != _process:
        torch.set_num_threads(1)
        _process = os.getpid()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for device in _AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


def replace_inference_tensors(network: nn.Module) -> None:
    """Replaces parameters and buffers made in inference mode, which cannot be changed outside of it, by copies."""
    for part in network.modules():
        for name, tensor in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
            if tensor.is_inference():
                copy = tensor.clone()
                setattr(part, name, nn.Parameter(copy, False) if isinstance(tensor, nn.Parameter) else copy)


def usable_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """The type of a name, such as "float16". ValueError: weights cannot have it."""
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
    return DTYPES[name]


def usable_device(device: str | torch.device, dtype: torch.dtype) -> torch.device:
    """The device of a name, such as "cuda:0".

    Raises:
        ValueError: torch knows no such device.
        ExprGANError: it is not present here, or has no numbers of this type.
    """
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device must be one of torch's, such as 'cpu' or 'cuda:0', not {device!r}") from error
    try:
        torch.zeros(1, dtype=dtype, device=found).cpu()
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = re.split(r"\.\s|\.?\n", str(error))[0]  # torch's may be a page long
        raise ExprGANError(f"{found} cannot hold {dtype} here ({reason}). Choose another device, such as 'cpu'.") from error
    return found

"""ZeroGPU, the Hub's shared GPUs: a Space on it must register a GPU function, though the app edits on the CPU alone."""

import logging
import os

import torch

LOG = logging.getLogger("exprgan.ui")


def register_gpu_function() -> None:
    """On ZeroGPU, registers `gpu_name`, which `launch` reports to the Hub; elsewhere does nothing.

    It must be called before gradio launches the app. The package `spaces` is imported here alone, as on import it replaces
    parts of torch and gradio.
    """
    if os.environ.get("SPACES_ZERO_GPU", "").lower() not in ("1", "t", "true"):  # as `spaces` reads it
        return
    try:
        import spaces
    except ImportError:
        LOG.warning("The package spaces is missing, without which the Hub stops a Space on ZeroGPU; add the line `spaces` "
                    "to requirements.txt, or deploy with --hardware zero-a10g, which adds it")  # fmt: skip
        return
    spaces.GPU(gpu_name)


def gpu_name() -> str:
    """The name of the GPU that the Hub assigned. Nothing calls it: an edit on a CPU takes less time than the wait."""
    return torch.cuda.get_device_name()

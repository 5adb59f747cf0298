"""A model's own test, published beside it: fixed inputs, and what the networks made of them."""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ..errors import WeightsError
from .warp_network import FIELD_SCALE

REFERENCE_NAME = "reference.safetensors"
TOLERANCE = 2 / 127.5
"""2 of 255 steps, for numbers in [-1, 1]: what other machines and other versions of torch may differ by."""


@torch.inference_mode()
def outputs(model: nn.Module, x: Tensor, c: Tensor, y: Tensor) -> dict[str, Tensor]:
    """All that an ExprGAN does, with numbers in [-1, 1] alone.

    Args:
        model: an `ExprGAN`; the inputs go to its device and type.
        x: (B, 3, S, S) in [-1, 1].
        c: (B, K * d) in [-1, 1].
        y: (B, K) one-hot.

    Returns:
        z (B, z_dim), x_hat (B, 3, S, S), c_hat (B, K * d), certainty (B, K + 1), and with a T its edited (B, 3, 2 S, 2 S);
        float32 on the CPU.
    """
    x, c, y = (value.to(next(model.parameters())) for value in (x, c, y))
    z = model.G_enc(x)
    made = {"z": z, "x_hat": model.G_dec(z, c), "c_hat": model.Q(x, y), "certainty": model.classifier(x)[0].softmax(1)}
    if model.T is not None:
        frame = F.interpolate(x, scale_factor=FIELD_SCALE, mode="nearest")
        made["edited"] = model.T(frame, made["x_hat"], made["x_hat"].flip(0), c).apply(frame)
    return {name: value.float().cpu().contiguous() for name, value in made.items()}


def write_reference(model: nn.Module, path: Path) -> None:
    """Writes the inputs, two smooth patterns drawn from a fixed seed, with what `model` makes of them, in fp16."""
    config, chance = model.config, torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 8, 8, generator=chance) * 2 - 1
    size = (config.image_size, config.image_size)
    x = F.interpolate(coarse, size, mode="bilinear", align_corners=True).half()
    c = torch.stack([model.F_ctrl.neutral(), model.F_ctrl.code(config.expressions[-1])]).half()
    y = torch.eye(len(config.expressions))[[0, -1]].half()
    made = {name: value.half() for name, value in outputs(model, x, c, y).items()}
    path.write_bytes(save({"x": x, "c": c, "y": y} | made, metadata={"format": "pt"}))


def check_reference(model: nn.Module, path: Path, name: str) -> None:
    """Lets a loaded model do what is written in reference.safetensors, on the device where it is.

    Args:
        model: an `ExprGAN` in float32.
        path: the file.
        name: what to call the model.

    Raises:
        WeightsError: the file is damaged or another model's, or an output differs by more than `TOLERANCE`.
    """
    try:
        wanted = load_file(path)
        made = outputs(model, *(wanted.pop(key) for key in ("x", "c", "y")))
    except (SafetensorError, OSError, KeyError, RuntimeError) as error:
        raise WeightsError(f"{path} cannot be used ({error}); it is damaged or another model's") from error
    for key, value in made.items():
        apart = (value - wanted[key].float()).abs().max().item() if key in wanted else float("nan")
        if not apart <= TOLERANCE:
            raise WeightsError(
                f"{name} does not do here what it did when it was published: {key} differs by up to {apart:.3f}, where "
                f"{TOLERANCE:.3f} is allowed; try another version of torch or another device"
            )

"""Reference inputs and outputs published beside the weights, with which a loaded model can be checked."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ..errors import WeightsError
from .backward_warp import FIELD_SCALE

REFERENCE_NAME = "reference.safetensors"
TOLERANCE = 2 / 127.5
"""Allowed difference of outputs in [-1, 1], two of 255 levels: what other machines and versions of torch may cause."""
MAX_UNIT = 2.0
"""About the largest weight of an action unit."""


@torch.inference_mode()
def reference_outputs(model: Any, x: Tensor, c: Tensor, y: Tensor) -> dict[str, Tensor]:
    """The outputs of all networks of an `ExprGAN`, in [-1, 1], float32 on the CPU.

    x: (B, 3, S, S) and c: (B, K * d) in [-1, 1], y: (B, K) one-hot -> z (B, z_dim), x_hat (B, 3, S, S), c_hat (B, K * d),
    certainty (B, K + 1), units (B, 2 * U) if the model reads action units, and edited (B, 3, 2 S, 2 S) if it has a T.
    """
    x, c, y = (value.to(next(model.parameters())) for value in (x, c, y))
    z = model.G_enc(x)
    outputs = {
        "z": z,
        "x_hat": model.G_dec(z, c),
        "c_hat": model.Q(x, y),
        "certainty": model.classifier(x).expression.softmax(1),
    }
    if model.config.action_units:
        outputs["units"] = model.classifier(x).units.flatten(1) / MAX_UNIT
    if model.T is not None:
        decoded = outputs["x_hat"], outputs["x_hat"].flip(0)
        wide_crop = F.interpolate(x, scale_factor=FIELD_SCALE, mode="nearest")
        outputs["edited"] = model.T(wide_crop, decoded, model.T.condition(c)).apply(wide_crop)
    return {name: value.float().cpu().contiguous() for name, value in outputs.items()}


def write_reference(model: Any, path: Path) -> None:
    """Writes two smooth random patterns and the outputs of `model` for them, in fp16."""
    config, generator = model.config, torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 8, 8, generator=generator) * 2 - 1
    x = F.interpolate(coarse, config.image_size, mode="bilinear", align_corners=True).half()
    c = torch.stack([model.F_ctrl.neutral(), model.F_ctrl.code(config.expressions[-1])]).half()
    y = torch.eye(len(config.expressions))[[0, -1]].half()
    outputs = {name: value.half() for name, value in reference_outputs(model, x, c, y).items()}
    path.write_bytes(save({"x": x, "c": c, "y": y} | outputs, metadata={"format": "pt"}))


def check_reference(model: Any, path: Path, name: str) -> None:
    """Compares the outputs of an `ExprGAN` in float32, on its device, with those in reference.safetensors.

    Raises:
        WeightsError: the file is damaged or belongs to another model, or an output differs by more than TOLERANCE.
    """
    try:
        expected = load_file(path)
        outputs = reference_outputs(model, *(expected.pop(key) for key in ("x", "c", "y")))
    except (SafetensorError, OSError, KeyError, RuntimeError) as error:
        raise WeightsError(f"{path} cannot be used ({error}); it is damaged or belongs to another model") from error
    for key, value in outputs.items():
        is_comparable = key in expected and expected[key].shape == value.shape
        difference = (value - expected[key].float()).abs().max().item() if is_comparable else float("nan")
        if not difference <= TOLERANCE:
            raise WeightsError(
                f"{name}: {key} differs from the published output by {difference:.3f}, more than the tolerance "
                f"{TOLERANCE:.3f}; try another version of torch or another device"
            )

"""How good a model in training is on held-out people, in two numbers beside the training losses."""

import torch

from exprgan.models.exprgan import ExprGAN
from exprgan.photo.image_io import from_bytes

from ..data import FaceFolder

PICTURES = 16
"""Pictures, spread over the held-out people, that are edited."""


@torch.inference_mode()
def held_out_metrics(model: ExprGAN, faces: FaceFolder, condition: str = "code") -> dict[str, float]:
    """Measures reconstruction and edits of held-out people by the model's own networks.

    Args:
        condition: what c was in training, as in `TrainConfig`: with "label" and "none" there is no trained Q.

    Returns:
        held_out/pixel: mean absolute difference of x and G_dec(g(x), c), in units of x; c as Q(x, y) reads it, or as in
            training without Q.
        held_out/expression_accuracy: share of full edits to every expression that the classifier reads as wanted.
    """
    rows = torch.linspace(0, len(faces) - 1, min(PICTURES, len(faces))).round().long()
    device, names = next(model.parameters()).device, model.config.expressions
    x, y = from_bytes(faces.images[rows].to(device)), faces.one_hot(rows).to(device)
    z = model.G_enc(x)
    if condition == "label":
        c = model.F_ctrl.random(y, intensity=torch.ones(len(y)))  # 2 y - 1
    else:
        c = torch.zeros(len(y), model.F_ctrl.code_dim, device=device) if condition == "none" else model.Q(x, y)
    pixel = (model.G_dec(z, c) - x).abs().mean().item()
    codes = torch.stack([model.F_ctrl.code(name) for name in names]).to(device)
    labels = [model.classifier(model.G_dec(z, code.expand(len(z), -1))).expression.argmax(1) for code in codes]
    right = torch.stack(labels) == torch.arange(len(names), device=device)[:, None]
    return {"held_out/pixel": pixel, "held_out/expression_accuracy": right.float().mean().item()}

"""Pivotal tuning (Roich et al. 2022): fits a copy of the decoder to one face, which z alone cannot describe exactly.

The copy learns to reconstruct the face, while the change that a code makes to the picture is kept as the shared decoder
makes it. Deterministic; the model is not changed.
"""

import copy
import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from ..deadline import check
from ..models.exprgan import ExprGAN
from ..models.networks import Decoder
from ..photo.image_io import to_tensor
from ..torch_state import own_torch_state
from .results import Subject

TuningProgress = Callable[[float], object]

STEPS, LR = 40, 1e-4
PERCEPTUAL_WEIGHT, CHANGE_WEIGHT = 0.5, 8.0
"""Weights of the perceptual loss (face network) and of the loss that keeps the changes made by codes; the pixel loss: 1."""


def tune(model: ExprGAN, subject: Subject, progress: TuningProgress | None = None) -> Subject:
    """The subject with a decoder fitted to it, and its reconstruction; `progress` gets the fraction done, 0..1."""
    weights = next(model.parameters())
    with own_torch_state(), torch.enable_grad():
        decoder = copy.deepcopy(model.G_dec).float().requires_grad_(True)
        phi = copy.deepcopy(model.classifier).float().requires_grad_(False)
        x = to_tensor(subject.crop)[None].to(weights.device)
        z = subject.z.clone().to(x)[None]
        targets = [model.F_ctrl.code(name) for name in model.config.expressions]
        codes = torch.stack([subject.reading.source_code.clone(), *targets]).to(x)
        with torch.no_grad():
            before = _decode(decoder, z, codes)
            features = phi.maps(x)
        changes = before - before[:1]
        optimizer = torch.optim.Adam(decoder.parameters(), lr=LR, betas=(0.9, 0.99))
        for step in range(STEPS):
            check()
            rows = [0, 1 + step % len(targets), 1 + (step + len(targets) // 2) % len(targets)]
            x_hat = _decode(decoder, z, codes[rows])
            pixel_loss = (x_hat[:1] - x).abs().mean()
            perceptual_loss = sum((a - b).abs().mean() for a, b in zip(phi.maps(x_hat[:1]), features, strict=True))
            change_loss = (x_hat[1:] - x_hat[:1] - changes[rows[1:]]).abs().mean()
            optimizer.zero_grad()
            (pixel_loss + PERCEPTUAL_WEIGHT * perceptual_loss + CHANGE_WEIGHT * change_loss).backward()
            optimizer.step()
            if progress:
                progress((step + 1) / STEPS)
        optimizer.zero_grad()  # frees the gradients, which are as large as the decoder
        decoder = decoder.requires_grad_(False).eval().to(weights.dtype)
        with torch.no_grad():
            reconstruction = _decode(decoder, z.to(weights), codes[:1].to(weights))[0].float().cpu()
    return dataclasses.replace(subject, decoder=decoder, is_tuned=True, reconstruction=reconstruction, warp_cache={})


def _decode(decoder: Decoder, z: Tensor, codes: Tensor) -> Tensor:
    """Decodes one z (1, z_dim) with each of the codes (N, K * d): (N, 3, S, S)."""
    return decoder(z.expand(len(codes), -1), codes)

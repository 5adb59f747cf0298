"""Fits a copy of the decoder to one face: what the encoder could not say of a person in z goes into a few weights instead.

After PTI (Roich et al., 2022): the copy learns to return the face as it is, and is held in all else: what a code changes in
the picture stays what the shared decoder makes of it. Deterministic; the shared model is only read.
"""

import copy
import dataclasses
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..models.exprgan import ExprGAN
from ..models.networks import Decoder
from ..photo.image_io import to_tensor
from .results import Subject

TuningProgress = Callable[[float], object]

STEPS = 40
LR = 1e-4
LIKE, KEEP = 0.5, 8.0
"""Weights of looking like the face to the face network, and of leaving the change that a code makes alone."""

Part = TypeVar("Part", bound=nn.Module)


def tune(model: ExprGAN, subject: Subject, progress: TuningProgress | None = None) -> Subject:
    """The same subject with a decoder of its own, and with `own` as that decoder draws it.

    Args:
        model: weights, only read.
        subject: a face that was read.
        progress: called with the share done, 0..1.
    """
    weights = next(model.parameters())
    with torch.inference_mode(False), torch.enable_grad():
        decoder = _own_copy(model.G_dec).requires_grad_(True)
        phi = _own_copy(model.classifier)
        x = to_tensor(subject.crop)[None].to(weights.device)
        z = subject.z.clone().to(x)[None]
        rest = [model.F_ctrl.code(name) for name in model.config.expressions]
        codes = torch.stack([subject.reading.own_code.clone(), *rest]).to(x)
        with torch.no_grad():
            before = _decode(decoder, z, codes)
            wanted = phi.maps(x)
        change = before - before[:1]
        optimizer = torch.optim.Adam(decoder.parameters(), lr=LR, betas=(0.9, 0.99))
        for step in range(STEPS):
            rows = [0, 1 + step % len(rest), 1 + (step + len(rest) // 2) % len(rest)]
            made = _decode(decoder, z, codes[rows])
            here = (made[:1] - x).abs().mean()
            like = sum((a - b).abs().mean() for a, b in zip(phi.maps(made[:1]), wanted, strict=True))
            kept = (made[1:] - made[:1] - change[rows[1:]]).abs().mean()
            optimizer.zero_grad()
            (here + LIKE * like + KEEP * kept).backward()
            optimizer.step()
            if progress:
                progress((step + 1) / STEPS)
        decoder = decoder.requires_grad_(False).eval().to(weights.dtype)
        with torch.no_grad():
            own = _decode(decoder, z.to(weights), codes[:1].to(weights))[0].float().cpu()
    return dataclasses.replace(subject, decoder=decoder, own=own, told={})


def _own_copy(part: Part) -> Part:
    return copy.deepcopy(part).float().requires_grad_(False)


def _decode(decoder: Decoder, z: Tensor, codes: Tensor) -> Tensor:
    """One z (1, z_dim) with each of the codes (N, K * d) -> (N, 3, S, S)."""
    return decoder(z.expand(len(codes), -1), codes)

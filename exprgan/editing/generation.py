"""Pictures of new people by an editor: a random z (paper, Fig. 5), and T, if there is one, for the expressions."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from ..errors import check_choice
from ..models.exprgan import ExprGAN
from ..models.latent_prior import Prior
from ..photo.ai_metadata import mark_generated
from ..torch_state import own_torch_state
from .multi_face import ExpressionMix
from .results import FIDELITIES, EditResult, Fidelity, Subject
from .target import Target


class CropEditor(Protocol):
    """What of `ExpressionEditor` new people need."""

    model: ExprGAN

    def decode_many(self, z: Tensor, code: Tensor) -> list[Image.Image]:
        """Decodes z with c, for all or for each."""
        ...

    def read_crop(self, crop: Any) -> Subject:
        """Reads an aligned crop."""
        ...

    def edit(self, photo: Any, expression: ExpressionMix, intensity: float, *, style: int | None = None) -> EditResult:
        """Gives a face another expression."""
        ...


class Generation:
    """The methods of `ExpressionEditor` that make people who do not exist."""

    def generate(self: CropEditor, count: int, expression: ExpressionMix = "happy", intensity: float = 1.0, *,
                 style: int | None = None, seed: int | None = None, prior: Prior = "people",
                 fidelity: Fidelity = "detail") -> list[Image.Image]:  # fmt: skip
        """Makes a picture each of `count` new people; arguments as in `generate_rows`."""
        rows = Generation.generate_rows(self, count, (expression,), intensity, style=style, seed=seed, prior=prior,
                                        fidelity=fidelity)  # fmt: skip
        return [row[0] for row in rows]

    @own_torch_state()
    def generate_rows(self: CropEditor, count: int, expressions: Sequence[ExpressionMix], intensity: float = 1.0, *,
                      style: int | None = None, seed: int | None = None, prior: Prior = "people",
                      fidelity: Fidelity = "detail") -> list[list[Image.Image]]:  # fmt: skip
        """Makes a row of pictures of each of `count` new people, one for each expression.

        Args:
            seed: the same seed gives the same people, whatever the expressions; None gives others each time.
            prior: "people" makes them similar to the training people; "uniform" is the paper's P_z, see `Prior`.
            fidelity: "model": the decoder's pictures, G_dec(z, c), of `image_size` px, as in the paper and without a T.
                Otherwise T acts the expressions on the decoder's neutral picture, enlarged to twice that size.
        """
        check_choice("fidelity", fidelity, FIDELITIES)
        if isinstance(expressions, str):
            raise ValueError(f"expressions must be several, such as [{expressions!r}], not one name")
        F_ctrl, size = self.model.F_ctrl, self.model.config.image_size
        codes = [F_ctrl.mix(Target.of(self.model, mix, intensity, style).mix or {}, style=style) for mix in expressions]
        if not isinstance(count, Integral) or count < 1:
            raise ValueError(f"count must be a whole number of at least 1, not {count!r}")
        if seed is not None and (not isinstance(seed, Integral) or not 0 <= seed < 2**64):
            raise ValueError(f"seed must be a whole number from 0 to 2^64 - 1, or None, not {seed!r}")
        generator = torch.Generator()
        generator.seed() if seed is None else generator.manual_seed(int(seed))
        z = self.model.latent_prior.sample(count, generator, prior)
        if fidelity == "model" or self.model.T is None:
            columns = [self.decode_many(z, code) for code in codes]
            return [[mark_generated(picture) for picture in row] for row in zip(*columns, strict=True)]
        neutral = [picture.resize((2 * size, 2 * size), Image.Resampling.LANCZOS)
                   for picture in self.decode_many(z, F_ctrl.neutral())]  # fmt: skip
        return [[mark_generated(self.edit(person, mix, intensity, style=style).image) for mix in expressions]
                for person in map(self.read_crop, neutral)]  # fmt: skip

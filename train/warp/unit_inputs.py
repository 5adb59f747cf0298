"""Which action units T is given in training, and the start of a T with new inputs or parts from one without them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from exprgan.models.exprgan import ExprGAN
from exprgan.models.unit_condition import condition_dim, join_condition
from exprgan.models.warp_network import WarpNetwork

from ..data.style_codes import STYLES, USUAL_STYLE, Label, style_of_elements
from .pair_dataset import COMBINATION_STYLE, PersonPictures

NOW_SHARE = 0.7
"""Share of pairs in which T is given the units that the source shows; it learns to do without them as well."""
TARGET_SHARE = 0.5
"""Share of the targets of known units whose units T is given; it always is given those of random combinations, which have
no code."""
UNITS_ALONE_SHARE = 0.5
"""Of these, the share without the expression: the code is the neutral one, so that the units alone decide."""


class UnitInputs:
    """Draws T's condition from codes and action units.

    Args:
        model: its face network reads the units of the source, in training as in an edit.
        units: that T takes; none: its condition is the code.
    """

    def __init__(self, model: ExprGAN, units: tuple[int, ...]):
        self.model, self.units, read = model, units, model.config.action_units
        self.is_read = bool(units) and set(units) <= set(read)
        self._order = [read.index(unit) for unit in units] if self.is_read else []

    @property
    def warning(self) -> str:
        """A sentence if T takes units that the face network does not read; else empty."""
        if self.is_read or not self.units:
            return ""
        return ("the face network of the weights does not read all of T's action units, so T does not know what a photo "
                "shows; train one by `facenet` on rendered pictures")  # fmt: skip

    def condition(self, c: Tensor, target: Tensor, labels: Sequence[Label], crops: Tensor,
                  generator: torch.Generator) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Draws the condition of a batch.

        Args:
            c: (B, K * d), the codes of the targets.
            target: (B, U, 2), the units of the targets, NaN where unknown.
            labels: of the targets.
            crops: (B, 3, S, S) in [-1, 1], the aligned crops of the sources.
            generator: on the CPU.

        Returns:
            The condition, and the codes in it: (B, K * d), -1 where the units alone decide.
        """
        if not self.units:
            return c, c
        now_draw, target_draw, alone_draw = torch.rand(3, len(c), generator=generator)
        is_combination = torch.tensor([label.style == COMBINATION_STYLE for label in labels])
        has_target = (target_draw < TARGET_SHARE) | is_combination
        has_now, has_target, alone = (
            mask.to(c.device, non_blocking=True)
            for mask in (now_draw < NOW_SHARE, has_target, has_target & (alone_draw < UNITS_ALONE_SHARE))
        )
        is_known = target.isfinite().flatten(1).all(1)
        c = torch.where((alone & is_known)[:, None], -1.0, c)
        target = torch.where(has_target[:, None, None], target, torch.nan)
        now = None
        if self.is_read:
            read = self.model.classifier(crops).units.float()[:, self._order]
            now = torch.where(has_now[:, None, None], read, torch.nan)
        return join_condition(c, len(self.units), now, target), c

    def table(self, people: Sequence[PersonPictures]) -> Tensor:
        """The mean units of expressions at full intensity, (K, d + 1, U) float64, as `UnitTable.full`.

        Styles are those of `style_codes.STYLES`; an expression without known styles shows the same in all of them.
        """
        names, d = self.model.config.expressions, self.model.config.code_dim_each
        labels = [label for person in people for label in person.labels]
        units = torch.cat([person.units for person in people]).double().mean(2).cpu()
        strength = torch.tensor([label.intensity for label in labels], dtype=torch.float64)
        is_known = units.isfinite().all(1) & strength.isfinite()

        def mean(name: str, style: str | None = None) -> Tensor:
            rows = is_known & torch.tensor([label.expression == name and style in (None, label.style) for label in labels])
            return units[rows].sum(0) / strength[rows].sum().clamp(min=1e-9)

        table = torch.zeros(len(names), d + 1, len(self.units), dtype=torch.float64)
        for row, name in zip(table, names, strict=True):
            styles = STYLES.get(name, ())
            row[:] = mean(name)
            if {label.style for label in labels if label.expression == name} >= set(styles) and styles:
                row[0] = mean(name, USUAL_STYLE[name])
                for k, (style, factor) in enumerate(style_of_elements(len(styles), d)):
                    row[k + 1] = factor * mean(name, styles[style])
        return table


def load_widened(T: WarpNetwork, state: Mapping[str, Tensor]) -> None:
    """Loads the weights of a T into one that may take action units in addition, and may have eyes in addition.

    The weights of new units are 0, so that at the start all that the other T predicts stays the same.

    Raises:
        RuntimeError: the networks differ in more than that.
    """
    own = T.state_dict()
    widened = {name: value for name, value in own.items() if name.startswith("eyes.")} | dict(state)
    old, new = T.num_codes, condition_dim(T.num_codes, len(T.units))
    for name, value in state.items():
        if name.endswith("film.weight") and value.shape[1] == old < new == own[name].shape[1]:
            widened[name] = torch.cat((value, value.new_zeros(len(value), new - old)), dim=1)
    T.load_state_dict(widened)

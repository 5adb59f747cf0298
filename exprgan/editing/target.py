"""What an edit is to show: an expression or the face as it is, and dials on top."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ..models.controller import check_intensity
from ..models.exprgan import ExprGAN
from ..models.unit_condition import units_as_tensor
from .dials import check_dials, dials_of, limit_weights, turn_dials
from .multi_face import ExpressionMix
from .results import Reading
from .warp_cache import UnitChange

NO_UNITS = ("this model takes no action units, so there is nothing to fine-tune; leave units out, or choose a model whose "
            "config.json lists warp_units")  # fmt: skip
BY_CODE = "relative needs a transfer by units, and this one is by code; leave one of the two out"
NOTHING_TO_SHOW = 'name an expression, or units such as {"smile": 0.4}, or both'


TransferBy = Literal["units", "code"]
TRANSFER_BY: tuple[TransferBy, ...] = get_args(TransferBy)


class Aim(NamedTuple):
    """A target for one face."""

    code: Tensor
    """c, (K * d,)."""
    units: UnitChange | None
    """None: the code alone decides."""

    @property
    def key(self) -> bytes:
        """The same bytes for equal aims."""
        return self.code.numpy().tobytes() + (self.units.key if self.units else b"")

    def lerp(self, end: "Aim", weight: float) -> "Aim":
        """Interpolates to an aim with the same dials, 0: this one, 1: `end`."""
        units = self.units.lerp(end.units, weight) if self.units and end.units else None
        return Aim(torch.lerp(self.code, end.code, weight), units)


@dataclass(frozen=True)
class Target:
    """A request, checked for a model.

    Attributes:
        mix: expression -> intensity, of which an empty one is neutral; None: the face stays as it is, dials apart.
        style: as in `ExpressionEditor.edit`.
        dials: values by name, see `dials.DIALS`; empty: the edit is that of the expression alone.
    """

    mix: Mapping[str, float] | None
    style: int | None = None
    dials: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, model: ExprGAN, expression: ExpressionMix | None, intensity: float = 1.0, style: int | None = None,
           units: Mapping[str, float] | None = None) -> "Target":  # fmt: skip
        """The target of the arguments of `ExpressionEditor.edit`.

        Raises:
            ValueError: an unknown expression, style or unit, a value out of range, nothing to show, or units for a model
                that takes none.
        """
        intensity = check_intensity(intensity)
        if (units or (expression is None and units is not None)) and not model.config.warp_units:
            raise ValueError(NO_UNITS)
        dials = check_dials(units or {}, dials_of(model.config.warp_units, model.config.warp_eyes))
        if expression is None:
            if units is None:
                raise ValueError(NOTHING_TO_SHOW)
            model.F_ctrl.mix({}, style=style)  # raises
            return cls(None, style, {name: intensity * value for name, value in dials.items()})
        parts = {expression: 1.0} if isinstance(expression, str) else expression
        if not isinstance(parts, Mapping) or not all(isinstance(part, Real) for part in parts.values()):
            raise ValueError(f'expression must be a name, or numbers by name, such as {{"happy": 0.6}}, not {expression!r}')
        mix = {name: intensity * part for name, part in parts.items()}
        model.F_ctrl.mix(mix, style=style)  # raises
        return cls(mix, style, dials)

    def at(self, weight: float) -> "Target":
        """The target at a weight in [0, 1]: 0 is neutral or, without an expression, the face as it is."""
        mix = None if self.mix is None else {name: weight * part for name, part in self.mix.items()}
        return Target(mix, self.style, {name: weight * value for name, value in self.dials.items()})

    def tour(self, model: ExprGAN, intensity: float) -> list["Target"]:
        """A target for each of the model's expressions at an intensity, with the same style and dials."""
        return [replace(self, mix={name: intensity}) for name in model.config.expressions]

    def aim(self, model: ExprGAN, reading: Reading) -> Aim:
        """The target for a face with this reading."""
        code = reading.source_code if self.mix is None else model.F_ctrl.mix(self.mix, style=self.style)
        if self.mix is not None and not any(self.dials.values()):
            return Aim(code, None)
        on_photo = self.mix is None
        assert model.unit_table is not None
        start = read_units(model, reading) if on_photo else model.unit_table(code)
        return Aim(code, UnitChange(turn_dials(start, model.config.warp_units, self.dials), start, on_photo))


def read_units(model: ExprGAN, reading: Reading) -> Tensor:
    """The units that a photo shows, (U, 2) in the order of T's units; 0 where the model does not read them."""
    return units_as_tensor(reading.units, model.config.warp_units, default=0.0).clamp(min=0)


def transfer_aim(model: ExprGAN, reading: Reading, source: Reading, intensity: float, relative: bool) -> Aim:
    """The units of `source`, `intensity` times, on a face: alone, or with `relative` on top of what it shows.

    Raises:
        ValueError: the model takes no action units, or does not read them.
    """
    if not model.config.warp_units:
        raise ValueError(f"{NO_UNITS}; without them an expression is transferred by its code")
    if missing := set(model.config.warp_units) - set(source.units):
        raise ValueError(f"this model does not read the action unit {min(missing)}; transfer by its code")
    taken, units = intensity * read_units(model, source), model.config.warp_units
    if not relative:
        return Aim(model.F_ctrl.neutral(), UnitChange(limit_weights(taken, units)))
    start = read_units(model, reading)
    return Aim(reading.source_code, UnitChange(limit_weights(start + taken, units, start), start, on_photo=True))

"""Looks on the page and in its API: as the settings of the Edit tab, as files, and in links."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..editing.dials import check_dials
from ..editing.look import Look, bundled_looks, look_label
from ..editing.target import Target
from ..editor import ExpressionEditor
from ..expressions import canonical
from .photo_session import new_path

TOO_MANY = ("This page mixes at most two expressions, whose numbers add up to at most 1, and this look has others; use it "
            "with the command line or the library")  # fmt: skip


def download_look(editor: ExpressionEditor, expression: str, intensity: float, second: str, part: float, style: int,
                  units: dict) -> str:  # fmt: skip
    """Saves what a face is to show as a look, for other photos and for the command line.

    Args:
        expression: target expression; empty: the face stays as it is, apart from units.
        intensity: from 0 to 1, full strength.
        second: an expression to mix in, or nothing.
        part: weight of the second expression in the mix, 0 to 1.
        style: one of the ways to show an expression, counted from 1; 0 is all of them together.
        units: parts of the face that move, as in edit.

    Returns:
        A small JSON file.
    """
    intensity, part = (default if value is None else value for value, default in ((intensity, 1.0), (part, 0.5)))
    mixed = second and second != expression and expression
    mix = {expression: 1 - part, second: part} if mixed else expression or None
    units = {name: value for name, value in check_dials(units or {}).items() if value or "_" in name}
    look = Look(mix, intensity, style - 1 if style else None, units)
    path = new_path(".json", look_label("-".join([*filter(None, [expression, second if mixed else ""]),
                                                  *["adjusted"] * bool(units)])))  # fmt: skip
    Path(path).write_text(look.to_json(), encoding="utf-8")
    return path


def usable_looks(editor: ExpressionEditor) -> list[str]:
    """The names of the looks that the model can show."""
    names = []
    for name in bundled_looks():
        try:
            settings_of(Look.load(name), editor)
            names.append(name)
        except ValueError:  # another model's expressions, or fewer units
            continue
    return names


def settings_of(look: Look, editor: ExpressionEditor) -> dict[str, Any]:
    """The settings of the Edit tab that show a look.

    Raises:
        ValueError: the page or the model cannot show it.
    """
    config, mix = editor.model.config, look.expression
    mix = {mix: 1.0} if isinstance(mix, str) else mix or {}
    parts = [(canonical(name, config.expressions), part) for name, part in mix.items() if part]
    total = sum(part for _, part in parts)
    if len(parts) > 2 or total > 1 + 1e-9:
        raise ValueError(TOO_MANY)
    editor.model.F_ctrl.mix({}, style=look.style)  # raises
    units = dict(look.units)
    if units or not parts:
        Target.of(editor.model, None, 1.0, None, units)  # raises
    names = [name for name, _ in parts]
    return {
        "expression": names[0] if names else "", "intensity": look.intensity * (min(total, 1.0) if names else 1.0),
        "second": names[1] if len(names) > 1 else "", "part": parts[1][1] / total if len(names) > 1 else 0.5,
        "style": 0 if look.style is None else look.style + 1, "units": units,
    }  # fmt: skip


def format_units(units: Mapping[str, float]) -> str:
    """Units as a link has them: smile:0.4,lids_left:-1."""
    return ",".join(f"{name}:{value:g}" for name, value in units.items())


def parse_units(text: str) -> dict[str, float]:
    """Reads what `format_units` writes. ValueError: it is none."""
    pairs = (part.partition(":") for part in text.split(",") if part)
    return check_dials({name: float(value) for name, _, value in pairs})

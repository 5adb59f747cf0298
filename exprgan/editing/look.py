"""Looks: an expression, its intensity and style, and dials, as a small JSON file; some come with the library."""

import base64
import binascii
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

from ..atomic_write import atomic_write
from ..errors import ExprGANError
from ..models.controller import check_intensity
from .dials import check_dials

FORMAT = 1
"""Version of the JSON; raised by incompatible changes."""
LOOK_FOLDER = Path(__file__).parent / "looks"
MAX_BYTES, MAX_NAME = 10_000, 60
"""Largest file, in bytes, and longest name, in characters."""
EMPTY = 'a look needs an expression or units, such as {"version": 1, "expression": "happy", "units": {"smile_left": 0.4}}'


@dataclass(frozen=True)
class Look:
    """What a face is to show, for any photo. The fields are arguments of `ExpressionEditor.edit`, see `settings`.

    Raises:
        ValueError: a field of another type or out of range, an unknown unit, or neither expression nor units. Whether
            a model knows the expression and the units shows when the look is used.

    Example:
        >>> look = Look.load("wry")
        >>> editor.edit("me.jpg", **look.settings).image.save("me-wry.jpg")
    """

    expression: str | dict[str, float] | None = None
    """An expression or a mix; None: the face stays as it is, apart from `units`."""
    intensity: float = 1.0
    style: int | None = None
    """One of the d ways to show the expression, from 0; None: all of them together."""
    units: dict[str, float] = field(default_factory=dict)
    """Dials, see `dials.DIALS`."""
    name: str = ""
    """What people call it, at most MAX_NAME characters."""

    def __post_init__(self):
        mix, style, name = self.expression, self.style, self.name
        if isinstance(mix, Mapping):
            if not mix or not all(isinstance(key, str) for key in mix):
                raise ValueError(f'expression must name expressions, such as {{"happy": 0.6}}, not {mix!r}')
            object.__setattr__(self, "expression", {key: check_number(key, value) for key, value in mix.items()})
        elif mix is not None and (not isinstance(mix, str) or not mix):
            raise ValueError(f"expression must be a name, a mix of several or null, not {mix!r}")
        if style is not None and (type(style) is not int or style < 0):
            raise ValueError(f"style must be a whole number from 0, or null, not {style!r}")
        if not isinstance(name, str) or len(name) > MAX_NAME or not name.isprintable():
            raise ValueError(f"name must be a text of at most {MAX_NAME} characters, not {str(name)[:MAX_NAME]!r}")
        object.__setattr__(self, "intensity", check_number("intensity", self.intensity))
        object.__setattr__(self, "units", check_dials(self.units))
        if mix is None and not self.units:
            raise ValueError(EMPTY)

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of `ExpressionEditor.edit` and `edit_folder`."""
        return {"expression": self.expression, "intensity": self.intensity, "style": self.style,
                "units": self.units or None}  # fmt: skip

    @classmethod
    def from_json(cls, text: str | bytes) -> "Look":
        """Reads what `to_json` writes.

        Raises:
            ValueError: it is no look of this version; the message says why.
        """
        if len(text) > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES:,} bytes, and a look has some hundred")
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("it is no JSON") from None
        if not isinstance(values, dict):
            raise ValueError(EMPTY)
        if values.get("version") != FORMAT or type(values["version"]) is not int:
            raise ValueError(f"its version is {str(values.get('version'))[:20]}, and this version reads {FORMAT}")
        known = cls.__dataclass_fields__
        if unknown := [key for key in values if key not in known and key != "version"]:
            raise ValueError(f"{unknown[0][:MAX_NAME]!r} is unknown; a look has {', '.join(known)}")
        return cls(**{key: value for key, value in values.items() if key in known})

    def to_json(self) -> str:
        """The look as JSON, without what is at its default."""
        values = {key: value for key, value in asdict(self).items() if value not in (None, {}, "")}
        return json.dumps({"version": FORMAT, **values}, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_link(cls, text: str) -> "Look":
        """Reads what `to_link` returns, or the name of a look that comes with the library.

        Raises:
            ValueError: it is neither.
        """
        if text in bundled_looks():
            return cls.load(text)
        try:
            return cls.from_json(base64.urlsafe_b64decode(text[: 2 * MAX_BYTES] + "=" * (-len(text) % 4)))
        except (binascii.Error, UnicodeError, ValueError) as error:
            raise ValueError(f"this link holds no look: {error}") from None

    def to_link(self) -> str:
        """The look in letters, digits, - and _, for the part after `?look=` of the page's address."""
        text = json.dumps(json.loads(self.to_json()), separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(text).decode().rstrip("=")

    @classmethod
    def load(cls, source: str | os.PathLike[str]) -> "Look":
        """Loads a JSON file, or a look that comes with the library by its name, one of `bundled_looks()`.

        Raises:
            ExprGANError: there is no such file or name, or it holds no look.
        """
        path = LOOK_FOLDER / f"{source}.json" if str(source) in bundled_looks() else Path(source)
        try:
            with open(path, "rb") as file:
                return cls.from_json(file.read(MAX_BYTES + 1))
        except OSError as error:
            raise ExprGANError(f"There is no look {source} ({error.strerror}). Name a .json file, or one of "
                               f"{', '.join(bundled_looks())}.") from None  # fmt: skip
        except ValueError as error:
            raise ExprGANError(f"{source} cannot be used as a look: {error}.") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the look as JSON; a file already there is replaced."""
        with atomic_write(Path(path)) as part:
            part.write_text(self.to_json(), encoding="utf-8")


def bundled_looks() -> tuple[str, ...]:
    """The names of the looks that come with the library."""
    return tuple(sorted(path.stem for path in LOOK_FOLDER.glob("*.json")))


def look_label(source: str | os.PathLike[str]) -> str:
    """A look's name as a part of a file's name."""
    return re.sub(r"[^\w-]+", "_", Path(source).stem)[:MAX_NAME] or "look"


def check_number(name: str, value: object) -> float:
    """A number of a look in [0, 1]."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise ValueError(f"{name} must be a number from 0 to 1, not {value!r}")
    return check_intensity(float(value), name)

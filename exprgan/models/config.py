"""ExprGANConfig: the architecture of a model, as config.json holds it."""

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import WeightsError
from ..expressions import EXPRESSIONS, NEUTRAL
from ..facs import ACTION_UNITS

FORMAT = 2  # version of config.json and of the names in model.safetensors; raised by incompatible changes
CONFIG_NAME = "config.json"
MAX_CONFIG_BYTES, MAX_EXPRESSIONS = 1_000_000, 256  # larger ones are refused: reading many names alone can take a minute


@dataclass(frozen=True)
class ExprGANConfig:
    """The architecture of the networks; the defaults are the paper's. ValueError names a value that cannot be used."""

    format: int = FORMAT
    image_size: int = 128
    """Side of x in px: 16, 32, 64, 128 or 256."""
    expressions: tuple[str, ...] = EXPRESSIONS
    """Names of the K classes in the order of c: lower-case words of letters, digits, - and _, without "neutral"."""
    code_dim_each: int = 5
    """d, the length of each c_i."""
    z_dim: int = 50
    encoder_width: int = 64
    decoder_width: int = 1024
    discriminator_width: int = 16
    face_width: int = 16
    """Channels of the first blocks of G_enc, D_img and the face network, where each block doubles them, and of G_dec's
    first, at 4x4, where each block halves them."""
    face_size: int = 64
    """Side in px of the pictures that the face network classifies."""
    action_units: tuple[int, ...] = ()
    """The FACS action units that the face network reads, of `facs.ACTION_UNITS`; empty: it reads none."""
    intensity_knots: int = 2
    """P, the points of F_ctrl's path of codes over intensity; 2 is a straight line, calibration makes more."""
    grey_codes: bool = False
    """Whether Q reads c from a grey copy of x, so that no code can be a tint; the paper's Q sees colours."""
    pooled_codes: bool = False
    """Whether one element of c_i moves G_dec as far as all of them (`networks.pool_elements`); the paper's G_dec gets c."""
    warp_width: float = 0.0
    """Width of T, the warp network; 0: the model has none."""
    warp_decoded: bool = True
    """Whether T sees the decoder's pictures in every edit; else only in `tuned` ones."""
    warp_units: tuple[int, ...] = ()
    """The FACS action units that T takes beside c (`unit_condition`), of `facs.ACTION_UNITS`; empty: it takes c alone."""

    warp_eyes: bool = False
    """Whether T has an eye network (`eye_network`): eyeballs stay, and lids move over them."""
    warp_wrinkles: bool = False
    """Whether T draws wrinkles where action units fold the skin (`wrinkle_network`)."""

    def __post_init__(self):
        names = self.expressions
        if not isinstance(names, (list, tuple)):
            raise ValueError(f"expressions must be a list of names, not {names!r}")
        object.__setattr__(self, "expressions", names := tuple(names))  # JSON has no tuples
        if self.format == 1:
            raise ValueError("format 1 was written by an earlier version and cannot be read by this one; download the "
                             "model again, or publish it with this version")  # fmt: skip
        if self.format != FORMAT:
            raise ValueError(f"format {self.format!r} is not the format {FORMAT} that this version reads")
        if type(self.image_size) is not int or self.image_size not in (16, 32, 64, 128, 256):
            raise ValueError(f"image_size must be 16, 32, 64, 128 or 256, not {self.image_size!r}")
        if not names or not all(isinstance(n, str) and n for n in names) or len(set(names)) != len(names):
            raise ValueError(f"expressions must be different, non-empty names, not {names!r}")
        if len(names) > MAX_EXPRESSIONS:
            raise ValueError(f"expressions must be at most {MAX_EXPRESSIONS}, not {len(names)}")
        for name in names:  # they are typed, looked up in lower case, and become parts of file names
            if not re.fullmatch(r"[\w-]+( [\w-]+)*", name) or name != name.lower() or name == NEUTRAL:
                raise ValueError(f"expressions must be lower-case words other than {NEUTRAL!r}, not {name!r}")
        for field in dataclasses.fields(self):
            value, least = getattr(self, field.name), 2 if field.name == "intensity_knots" else 1
            if field.type is int and (type(value) is not int or not least <= value <= 8192):
                raise ValueError(f"{field.name} must be a whole number from {least} to 8192, not {value!r}")
        for name in ("action_units", "warp_units"):
            object.__setattr__(self, name, _check_units(name, getattr(self, name)))
        for name in ("grey_codes", "pooled_codes", "warp_decoded", "warp_eyes", "warp_wrinkles"):
            if type(getattr(self, name)) is not bool:
                raise ValueError(f"{name} must be true or false, not {getattr(self, name)!r}")
        if type(self.warp_width) not in (int, float) or not 0 <= self.warp_width <= 64:
            raise ValueError(f"warp_width must be a number from 0 to 64, not {self.warp_width!r}")
        if self.warp_width and self.image_size < 32:
            raise ValueError(f"the warp network needs pictures of at least 32 px, not {self.image_size}")
        if self.decoder_width < self.image_size // 2:
            raise ValueError(f"decoder_width must be at least {self.image_size // 2} for {self.image_size} px")

    def to_json(self) -> str:
        """The content of config.json."""
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n"


def _check_units(name: str, value: object) -> tuple[int, ...]:
    units = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if unknown := [unit for unit in units if type(unit) is not int or unit not in ACTION_UNITS]:
        raise ValueError(f"{name} must be among {', '.join(map(str, ACTION_UNITS))}, not {unknown[0]!r}")
    if len(set(units)) != len(units):
        raise ValueError(f"{name} must be different, not {units!r}")
    return units


def read_config(path: Path) -> ExprGANConfig:
    """Reads config.json; WeightsError says why it cannot be used."""
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ValueError(f"it is {path.stat().st_size / 1e6:.0f} MB large, and a model's has some hundred bytes")
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or "format" not in values:
            raise ValueError("it has no format number, so it is not an ExprGAN model's")
        unknown = sorted(values.keys() - {field.name for field in dataclasses.fields(ExprGANConfig)})
        if unknown and values["format"] == FORMAT:
            raise ValueError(f"{unknown[0]!r} is unknown to this version")
        return ExprGANConfig(**{name: value for name, value in values.items() if name not in unknown})
    except RecursionError as error:
        raise WeightsError(f"{path} cannot be used: it is nested too deeply; download it again") from error
    except (ValueError, TypeError, OSError) as error:
        raise WeightsError(f"{path} cannot be used: {error}") from error

"""Training pairs for T: two pictures of one person, the flow between them, and what the second shows that the first does
not.

The folder is made by `render --no-jitter --flow --frame 1.1852 --image-size 304 --weakest 0.05`: every picture covers the
wide crop, and beside each picture that was rendered from a neutral one lies a .npz with its fields. Pictures without one,
such as the photo of a smile, are skipped. Shares are those of all pairs; what a person has no pictures for is drawn from
the person's other ones.
"""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from exprgan.expressions import NEUTRAL, canonical
from exprgan.folder_paths import find_path_problems
from exprgan.models.unit_condition import units_as_tensor

from ..core.train_errors import DataError
from ..data.metadata import has_class, is_neutral, is_varied, raise_problems, read_metadata, unit_weights
from ..data.picture_checks import open_picture
from ..data.style_codes import Label
from .eyeball_fields import continue_flow, keep_band, read_eyeballs, restore_band
from .flow_composition import compose_flow, invert_flow

SMILE_SOURCE_SHARE = 0.3
"""Share of pairs whose source is a real smile, with teeth other than those of `exprgan.models.teeth_texture`."""
NEUTRAL_OF_SMILES = 0.45
"""Of these, the share whose target is the neutral picture, so that a smile is taken away whole."""
STRONG_TO_NEUTRAL_SHARE, MIN_STRONG = 0.12, 0.7
"""Share of pairs from a strong expression, rendered with at least the intensity MIN_STRONG, to the neutral picture."""
NEUTRAL_SOURCE_SHARE = 0.5
"""Of the other pairs, the share whose source is the neutral picture; else it is any of the person's pictures."""
NEUTRAL_TARGET_SHARE = 0.06
"""Of the other pairs and the other pairs from smiles, the share whose target is the neutral picture."""
COMBINATION_SHARE = 0.35
"""Likewise, the share whose target is a random combination of action units, for a T that takes these; those with rare units
are drawn more often, see `combination_weights`."""
MOVING_EYES_SHARE, MIN_OPENING_CHANGE, MAX_DRAWS = 0.7, 0.15, 8
"""For eyes alone: the share of pairs that are drawn anew, up to MAX_DRAWS times, until source and target show another area
of the eyeballs, by the part MIN_OPENING_CHANGE of that of the neutral picture. Most pairs hardly move the lids."""
CLOSING_SHARE, CLOSED_OPENING = 0.25, 0.6
"""For eyes alone: the share of pairs whose target shows at most the part CLOSED_OPENING of the neutral picture's eyeballs.
Lids that come down, both or one, are rare in the expressions and among the combinations."""
UNCHANGED_SHARE = 0.1
"""Share of pairs whose target is the source, so that a face that shows the target expression already is left alone."""
SMILE_STYLE = "morph"
"""Style of morphs to a real smile. The head moved in them, which no code describes: they are sources, never targets of
another picture."""
COMBINATION_STYLE = "combination"
"""Style of random combinations of action units, which have no class: for T their expression is neutral, and their units
alone say what they show."""


@dataclass(frozen=True)
class PersonPictures:
    """All N pictures of one person; the first is the neutral photo. Fields have half the pictures' side, S' = S / 2, except
    the mask, which has thinner corners than that.

    Attributes:
        images: (N, S, S, 3) uint8.
        flow: (N, S', S', 2) float16, from each picture to the neutral one, as in `flow_composition`.
        mask: (N, S, S) uint8, 255 where the neutral picture has no corresponding pixel.
        inverse: (N, S', S', 2) float16, flow from the neutral picture to each one.
        hidden: (N, S', S') uint8, 255 where the neutral picture's pixel is hidden.
        uv: (N, S', S', 4) float16, cm: coordinates on both rows of teeth, 0 where unknown.
        uv_known: (N, S', S', 2) uint8, 255 where they are known.
        depth: (N, S', S') float16, sides towards the viewer.
        units: (N, U, 2) float32, weights of T's action units on the subject's right and left, NaN where unknown.
        eyeballs: (N, rows, S) uint8, 255 on visible eyeballs, `eyeball_fields.keep_band`; without rows unless T has eyes.
        labels: N labels.
        chances: one for each of `combinations`, in proportion to how often it is drawn, on the CPU.
    """

    images: Tensor
    flow: Tensor
    mask: Tensor
    inverse: Tensor
    hidden: Tensor
    uv: Tensor
    uv_known: Tensor
    depth: Tensor
    units: Tensor
    eyeballs: Tensor
    labels: tuple[Label, ...]
    chances: Tensor = dataclasses.field(default_factory=lambda: torch.ones(0))

    def to(self, device: torch.device) -> "PersonPictures":
        """The same on another device; 26 MB at 304 px and 33 pictures."""
        moved = {
            name: part.to(device) for name, part in vars(self).items() if isinstance(part, Tensor) and name != "chances"
        }
        return dataclasses.replace(self, **moved | {"chances": self.chances})

    @cached_property
    def smiles(self) -> list[int]:
        """Indices of morphs to a real smile."""
        return [i for i, label in enumerate(self.labels) if label.style == SMILE_STYLE]

    @cached_property
    def combinations(self) -> list[int]:
        """Indices of random combinations of action units."""
        return [i for i, label in enumerate(self.labels) if label.style == COMBINATION_STYLE]

    @cached_property
    def strong(self) -> list[int]:
        """Indices of rendered pictures of strong expressions."""
        return [
            i
            for i, label in enumerate(self.labels)
            if label.expression != NEUTRAL and label.style != SMILE_STYLE and label.intensity >= MIN_STRONG
        ]

    @cached_property
    def openings(self) -> list[float]:
        """The area of the visible eyeballs in each picture by that in the neutral one, where these are seen; else 1."""
        area = self.eyeballs.float().mean((1, 2))
        return (area / area[0]).tolist() if area[0] > 0 else [1.0] * len(area)

    @cached_property
    def closed(self) -> list[int]:
        """Indices of rendered pictures with closed or nearly closed lids, on one side at least."""
        return [i for i, opening in enumerate(self.openings) if opening <= CLOSED_OPENING and i not in self.smiles]

    @cached_property
    def targets(self) -> list[int]:
        """Indices of all pictures of a class that can be targets of another one."""
        apart = {*self.smiles, *self.combinations}
        return [i for i in range(len(self.labels)) if i not in apart]


@dataclass(frozen=True)
class Pairs:
    """A batch before augmentation.

    Attributes:
        source, target: (B, S, S, 3) uint8.
        flow, mask: (B, S', S', 2) and (B, S, S) float32, from target to source.
        uv, uv_known: (B, S', S', 4) and (B, S', S', 2) float32, of the target's teeth; uv_known is 0 or 1.
        depth: (B, 3, S', S') float32: the source's, the target's and the neutral picture's.
        labels: of the targets.
        units: (B, U, 2) float32, of the targets, as in `PersonPictures`.
        eyeballs: (B, 2, S, S) float32 in 0..1, the source's and the target's; (B, 0, S, S) unless T has eyes.
        steady: (B,) float32, 1 where the source's irises lie where the target's do; 0 if it is another photo, a smile.
    """

    source: Tensor
    target: Tensor
    flow: Tensor
    mask: Tensor
    uv: Tensor
    uv_known: Tensor
    depth: Tensor
    labels: tuple[Label, ...]
    units: Tensor
    eyeballs: Tensor
    steady: Tensor


def load_people(
    root: str | Path, split: str, expressions: tuple[str, ...], units: tuple[int, ...] = (), eyes: bool = False
) -> list[PersonPictures]:
    """Loads everyone of a split who has a neutral picture and at least one other.

    Args:
        root: the folder.
        split: a value of the column `split`.
        expressions: the classes.
        units: the action units that T takes; without any, pictures of no class are left out.
        eyes: whether T has eyes: eyeballs are read, and flow is that of the skin.

    Raises:
        DataError: the folder is not of this kind, or has nobody to train on; the message says what is wrong.
    """
    root, rows = Path(root), {}
    table = [row | {"expression": NEUTRAL} if is_neutral(row, expressions) else row for row in read_metadata(root)]
    field_files = (_field_file(root, row).relative_to(root).as_posix() for row in table)
    raise_problems(root, [f"{name!r} {problem}" for name, problem in find_path_problems(field_files, root).items()])
    for row in table:
        is_combination = row.get("style") == COMBINATION_STYLE and not is_varied(row)  # T moves no irises
        is_usable = has_class(row) or (units and is_combination)
        if row["split"] == split and is_usable and (_is_neutral(row) or _field_file(root, row).is_file()):
            rows.setdefault(row["subject"], []).append(row)
    ordered = {subject: sorted(rows[subject], key=lambda row: not _is_neutral(row)) for subject in sorted(rows)}
    ordered = {subject: some for subject, some in ordered.items() if _is_neutral(some[0]) and len(some) > 1}
    people, problems = [], []
    with ThreadPoolExecutor() as pool:
        futures = [pool.submit(_load_person, root, some, expressions, units, eyes) for some in ordered.values()]
        for subject, future in zip(ordered, tqdm(futures, desc="pairs"), strict=True):
            try:
                people.append(future.result())
            except (DataError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                problems.append(f"{subject}: {error}")
    raise_problems(root, problems, "render it again with --no-jitter --flow")
    if not people:
        raise DataError(
            f"{root} has nobody with a neutral photo and a picture made of it, with its flow, in split {split!r}; "
            "render it with --no-jitter --flow"
        )
    return combination_weights(people)


def combination_weights(people: Sequence[PersonPictures]) -> list[PersonPictures]:
    """Sets `chances`: a combination's is the sum over its units of 1 / (number of all combinations that have the unit), so
    that rare units, such as those of puckered lips, are learned as well as frequent ones."""
    shown = [(person.units[person.combinations].nan_to_num() > 0).any(2).double() for person in people]
    rarity = 1 / torch.stack([rows.sum(0) for rows in shown]).sum(0).clamp(min=1)
    return [dataclasses.replace(person, chances=rows @ rarity + 1e-9) for person, rows in zip(people, shown, strict=True)]


def draw_pairs(people: list[PersonPictures], count: int, generator: torch.Generator, eyes_alone: bool = False) -> Pairs:
    """Draws pairs at random; each person is equally likely, but for `eyes_alone`, see MOVING_EYES_SHARE and
    CLOSING_SHARE."""

    def below(end: int) -> int:
        return int(torch.randint(end, (), generator=generator))

    def happens(probability: float) -> bool:
        return torch.rand((), generator=generator).item() < probability

    def any_of(items: list) -> Any:
        return items[below(len(items))]

    smiling, drawn = [person for person in people if person.smiles], []

    def draw() -> tuple[PersonPictures, int, int]:
        kind = torch.rand((), generator=generator).item()
        from_smile = kind < SMILE_SOURCE_SHARE and bool(smiling)
        person = any_of(smiling if from_smile else people)
        to_neutral = not from_smile and 0 <= kind - SMILE_SOURCE_SHARE < STRONG_TO_NEUTRAL_SHARE and bool(person.strong)
        source = 0 if happens(NEUTRAL_SOURCE_SHARE) else below(len(person.labels))
        if from_smile or to_neutral:
            source = any_of(person.smiles if from_smile else person.strong)
        to_combination = bool(person.combinations) and happens(COMBINATION_SHARE)
        target = any_of(person.targets)
        if to_combination:
            target = person.combinations[int(torch.multinomial(person.chances, 1, generator=generator))]
        if to_neutral or happens(NEUTRAL_OF_SMILES if from_smile else NEUTRAL_TARGET_SHARE):
            target = 0
        return person, source, source if happens(UNCHANGED_SHARE) else target

    for _ in range(count):
        tries = MAX_DRAWS if eyes_alone and happens(MOVING_EYES_SHARE) else 1
        for _ in range(tries):
            person, source, target = draw()
            if abs(person.openings[target] - person.openings[source]) > MIN_OPENING_CHANGE:
                break
        if eyes_alone and person.closed and happens(CLOSING_SHARE):
            target = any_of(person.closed)
        drawn.append((person, source, target))

    def stack(name: str, of_source: bool = False) -> Tensor:
        return torch.stack([getattr(person, name)[source if of_source else target] for person, source, target in drawn])

    same = torch.tensor([source == target for _, source, target in drawn])
    same = same.to(people[0].images.device, non_blocking=True)
    flow, lost = compose_flow(stack("inverse", True), stack("hidden", True).float() / 255, stack("flow"))
    mask = stack("mask").float() / 255
    lost = F.interpolate(lost[:, None], mask.shape[1:], mode="bilinear", align_corners=False)[:, 0]
    return Pairs(
        source=stack("images", True),
        target=stack("images"),
        flow=torch.where(same[:, None, None, None], 0.0, flow),
        mask=torch.where(same[:, None, None], 0.0, torch.maximum(mask, lost)),
        uv=stack("uv").float(),
        uv_known=stack("uv_known").float() / 255,
        depth=torch.stack(
            (stack("depth", True), stack("depth"), torch.stack([person.depth[0] for person, *_ in drawn])), dim=1
        ).float(),
        labels=tuple(person.labels[target] for person, _, target in drawn),
        units=stack("units"),
        eyeballs=_full_eyeballs(stack("eyeballs", True), stack("eyeballs")),
        steady=torch.tensor(
            [float(source == target or source not in person.smiles) for person, source, target in drawn]
        ).to(flow.device, non_blocking=True),
    )


def _full_eyeballs(*bands: Tensor) -> Tensor:
    """The eyeballs of source and target, (B, 2, S, S), or (B, 0, S, S) if there are none."""
    if not bands[0].shape[1]:
        return bands[0].new_zeros(len(bands[0]), 0, *bands[0].shape[2:] * 2, dtype=torch.float32)
    return torch.stack([restore_band(band.float() / 255) for band in bands], dim=1)


def _is_neutral(row: dict[str, str]) -> bool:
    """Whether it is the neutral picture that the others were rendered from."""
    return row["expression"] == NEUTRAL and row.get("style") in ("real", "virtual")


def _load_person(
    root: Path, rows: list[dict[str, str]], expressions: tuple[str, ...], units: tuple[int, ...], eyes: bool
) -> PersonPictures:
    images = np.stack([np.asarray(open_picture(root / row["file_name"])) for row in rows])
    columns: tuple[list, ...] = ([], [], [], [], [], [], [])
    eyeballs = []
    for row in rows:
        file = _field_file(root, rows[-1] if _is_neutral(row) else row)
        fields = _neutral_fields(images.shape[1], file) if _is_neutral(row) else _read_fields(file)
        flow, mask, uv, uv_known, depth = fields
        unmatched = _halve(mask)
        opacity = np.zeros((0, images.shape[2]), np.uint8)
        if eyes:
            with np.load(file) as others:
                opacity = read_eyeballs(others, "neutral_eyeballs" if _is_neutral(row) else "eyeballs")
            flow, covered = continue_flow(flow, _halve(opacity.astype(np.float32) / 255))
            unmatched, opacity = np.maximum(unmatched, covered), keep_band(opacity)
        inverse, hidden = invert_flow(flow, unmatched)
        compressed = [_compress(field) for field in (flow, mask, inverse, hidden, uv, uv_known)]
        for column, field in zip(columns, (*compressed, depth.astype(np.float16)), strict=True):
            column.append(field)
        eyeballs.append(opacity)
    labels = [
        Label(canonical(row["expression"] if has_class(row) else NEUTRAL, expressions), row.get("style", ""),
              float(row.get("intensity") or 1))
        for row in rows
    ]  # fmt: skip
    fields = (torch.from_numpy(np.stack(column)) for column in columns)
    weights = torch.stack([_read_units(row, units) for row in rows])
    return PersonPictures(torch.from_numpy(images), *fields, weights, torch.from_numpy(np.stack(eyeballs)), tuple(labels))


def _read_units(row: dict[str, str], units: tuple[int, ...]) -> Tensor:
    """The weights of some action units, (U, 2): those of the row, 0 for the neutral photo, NaN if unknown."""
    weights = {} if _is_neutral(row) else unit_weights(row)
    return units_as_tensor(weights or {}, units, default=torch.nan if weights is None else 0.0)


def _field_file(root: Path, row: dict[str, str]) -> Path:
    return root / f"{row['file_name']}.npz"


def _neutral_fields(side: int, file: Path) -> tuple[np.ndarray, ...]:
    """The fields of `_read_fields` for the neutral picture itself; its depth is in the file of any other picture."""
    half, fields = (side // 2, side // 2), ((2, np.float32), (4, np.float32), (2, bool))
    flow, uv, uv_known = (np.zeros((*half, channels), dtype) for channels, dtype in fields)
    with np.load(file) as others:
        depth = others["neutral_depth"].astype(np.float32) / side
    return flow, np.zeros((side, side), np.float32), uv, uv_known, depth


def _read_fields(file: Path) -> tuple[np.ndarray, ...]:
    """Reads flow (S', S', 2) in sides, mask (S, S) in [0, 1], uv (S', S', 4) in cm, uv_known (S', S', 2), bool, and depth
    (S', S') in sides."""
    with np.load(file) as fields:
        names = ("flow", "invented", "places", "known", "depth")
        flow, mask, uv, known, depth = (fields[name].astype(np.float32) for name in names)
    uv_known = _halve(known) > 0.99
    return _halve(flow) / len(flow), mask / 255, _halve(uv) * np.repeat(uv_known, 2, axis=2), uv_known, depth / len(flow)


def _halve(field: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels."""
    even = field[: len(field) // 2 * 2, : field.shape[1] // 2 * 2]
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4


def _compress(field: np.ndarray) -> np.ndarray:
    """Flow and uv to float16, masks to uint8."""
    return field.astype(np.float16) if field.ndim == 3 and field.dtype != bool else np.rint(field * 255.0).astype(np.uint8)

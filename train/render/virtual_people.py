"""`virtual`: new people, each mixed from two who consented, as a folder of photos with a manifest, for `render` to read.

Person i is known from (the people, seed, i): a folder goes on after a stop, grows, and is the same however it is made.
"""

import os
import random
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from exprgan.photo.image_io import encode_image, load_photo

from ..core.config_flags import option, check_finite
from ..core.files import RunError, write_text, atomic_write, writes_folder
from ..data.metadata import DataError
from ..data.splits import TRAIN, read_splits, split_families
from .photo_manifest import MANIFEST_NAME, Person, read_manifest, sets_of, write_manifest
from .requirements import require

SETTINGS_NAME = "virtual.txt"
"""The hash of what a folder was made from: people of other settings are not mixed in."""
QUALITY = 95
WEIGHTS = (0.35, 0.75)
"""How much of the second parent there is, in shape and in skin: enough of both to be neither."""
UNKNOWN = "unknown"
ACROSS = 0.1
"""The share of people whose parents are of two sexes."""


@dataclass(frozen=True)
class VirtualConfig:
    """How virtual people are made.

    Raises:
        ValueError: a value that cannot work; the message names it.
    """

    photos: str = option("", "folder of the photos, with manifest.csv")
    manifest: str = option("", "the manifest, where it lies elsewhere")
    out: str = option("runs/virtual", "folder to write; people found there stay, and it grows")
    count: int = option(100, "how many people in all")
    seed: int = option(0, "seed of who is mixed, and how much")
    split_from: str = option("", "metadata.csv of a published set: its test people are nobody's parents")
    test_share: float = option(0.1, "share of the people kept for testing, by a hash of the name, where nothing says who")
    workers: int = option(0, "people made at once; 0 for one a core")

    def __post_init__(self):
        if not self.photos:
            raise ValueError("name the folder of the photos: --photos DIR")
        if self.count < 1:
            raise ValueError(f"count must be at least 1, not {self.count}")
        if not 0 <= self.test_share < 1:
            raise ValueError(f"test_share must lie in 0..1 and below 1, not {self.test_share!r}")
        if self.workers < 0:
            raise ValueError(f"workers must be 0 or more, not {self.workers}")
        check_finite(self)


@dataclass(frozen=True)
class Mixture:
    """A virtual person: of whom, and how much of the second parent in shape and skin, 0..1."""

    subject: str
    first: Person
    second: Person
    shape: float
    skin: float

    @property
    def parents(self) -> tuple[Person, Person]:
        return self.first, self.second


@writes_folder(lambda config: config.out)
def make_virtual(config: VirtualConfig) -> Path:
    """Writes the people who are missing, and the manifest once all are there; until then that of a smaller set stands.

    Returns the folder.

    Raises:
        DataError: the photos have no sound manifest, or there are no two people to mix.
        RunError: `out` holds people of other photos or settings, or cannot be written.
    """
    require()
    sitters = read_manifest(Path(config.photos), Path(config.manifest) if config.manifest else None)
    published = read_splits(Path(config.split_from)) if config.split_from else {}
    parents = possible_parents(sitters, published, config.test_share)
    first = _first_number([*published, *(one.subject for one in sitters)])
    plan = mixtures(parents, config.count, config.seed, first)
    out = Path(config.out)
    _claim(out, parents, first, config.seed)
    missing = [one for one in plan if not all((out / name).is_file() for name in _files(one).values())]
    print(f"{len(parents):,} of {len(sitters):,} people may be parents: real, not kept for testing, with a template")
    there = len(plan) - len(missing)
    with tqdm(desc="virtual", total=len(plan), initial=there, unit="person") as progress:  # closed before an error is said
        for _ in _made(missing, out, config.workers):
            progress.update()
    for half_written in out.glob(".*.tmp"):  # by those that were killed
        half_written.unlink(missing_ok=True)
    write_manifest(out / MANIFEST_NAME, [_row(one) for one in plan], sets_of([who for one in plan for who in one.parents]))
    print(f"{out}: {len(plan):,} virtual people, {there:,} of them from before")
    return out


def possible_parents(sitters: Sequence[Person], published: dict[str, str], test_share: float) -> list[Person]:
    """Real people of `train` with a template. Test people have no children: those would belong to neither side."""
    said = {one.subject: one.split for one in sitters if one.split} | published
    split_of = split_families({one.subject: one.parents for one in sitters}, said, test_share)
    found = [one for one in sitters if not one.parents and one.template and split_of.get(one.subject) == TRAIN]
    if len(found) < 2:
        raise DataError(
            f"of {len(sitters):,} people, {len(found)} are real, in {TRAIN}, and have a template; two are needed"
        )
    return found


def mixtures(parents: Sequence[Person], count: int, seed: int, first: int = 0) -> list[Mixture]:
    """The first `count` people: a longer list begins with the shorter one.

    Parents are of the same source set where it has two people, so that light and terms are the same, and mostly of the
    same sex. No pair comes twice before all others have been tried often.
    """
    found: list[Mixture] = []
    seen: set[frozenset[str]] = set()
    for i in range(count):
        chance = random.Random(f"{seed}/{i}")
        for _ in range(20):
            one = _pick(parents, chance)
            others = [other for other in parents if other is not one and other.sets == one.sets]
            others = others or [other for other in parents if other is not one]
            alike = [other for other in others if other.sex == one.sex]
            other = _pick(others if not alike or chance.random() < ACROSS else alike, chance)
            if (pair := frozenset((one.subject, other.subject))) not in seen:
                break
        seen.add(pair)
        low, high = WEIGHTS
        shape, skin = (low + (high - low) * chance.random() for _ in range(2))
        found.append(Mixture(f"V{first + i:04d}", one, other, shape, skin))
    return found


def _pick(people: Sequence[Person], chance: random.Random) -> Person:
    return people[int(chance.random() * len(people))]  # random() alone is the same in every version of Python


def _first_number(names: Sequence[str]) -> int:
    """The number after the highest that a virtual person has: nobody's name is given twice."""
    return max((int(m[1]) + 1 for name in names if (m := re.fullmatch(r"V(\d+)", name))), default=0)


def _claim(out: Path, parents: Sequence[Person], first: int, seed: int) -> None:
    """Writes down what the people in `out` are made from, or refuses if it is something else."""
    people = [f"{one.subject} {one.source} {one.sex} {' '.join(each.name for each in one.sets)}" for one in parents]
    told = sha256("\n".join([str(seed), str(first), str(WEIGHTS), *people]).encode()).hexdigest() + "\n"
    path = out / SETTINGS_NAME
    if path.is_file() and path.read_text(encoding="utf-8") != told:
        raise RunError(
            f"{out} holds virtual people of other photos, another --split-from or another --seed; choose another --out"
        )
    if not path.is_file() and out.is_dir() and any(out.iterdir()):
        raise RunError(f"{out} holds something else; choose another --out")
    write_text(path, told)


def _files(one: Mixture) -> dict[str, str]:
    return {"photo": f"{one.subject}.jpg", "template": f"{one.subject}.tem"}


def _row(one: Mixture) -> dict[str, str]:
    """The person's row in the manifest."""
    a, b = one.first, one.second
    ages = f"{(1 - one.shape) * float(a.age) + one.shape * float(b.age):.1f}" if a.age and b.age else ""
    return {
        "subject": one.subject,
        **_files(one),
        "sex": a.sex,
        "age": ages,
        "ethnicity": f"{a.ethnicity or UNKNOWN}+{b.ethnicity or UNKNOWN}" if a.ethnicity or b.ethnicity else "",
        "split": TRAIN,
        "parents": f"{a.subject} {b.subject}",
        "balance": "yes" if a.balance else "",  # the backdrop is the first one's
        "source_set": " ".join(dict.fromkeys(each.name for each in (*a.sets, *b.sets))),
    }


def _made(missing: Sequence[Mixture], out: Path, workers: int) -> Iterator[None]:
    """Makes people, on several cores; yields after each."""
    if workers == 1 or len(missing) < 2:
        yield from (_make(one, out) for one in missing)
        return
    import cv2

    cv2.setNumThreads(1)  # a person a core, rather than a picture on all
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:  # nearly all of it is done by C code that lets others run
        yield from pool.map(_make, missing, [out] * len(missing))


def _make(one: Mixture, out: Path) -> None:
    """Writes a person's photo and template, each whole or not at all."""
    from .face_model.webmorph_template import read_template
    from .face_morph import mix

    assert one.first.template and one.second.template
    first, second = (np.asarray(load_photo(each.photo)) for each in one.parents)
    first_points, second_points = read_template(one.first.template), read_template(one.second.template)
    picture, points = mix(first, first_points, second, second_points, one.shape, one.skin)
    lines = [str(len(points)), *(f"{x:.2f}\t{y:.2f}" for x, y in points)]
    lines += one.first.template.read_text(encoding="utf-8").splitlines()[len(lines) :]  # which points are joined
    names, content = _files(one), encode_image(Image.fromarray(picture), "JPEG", quality=QUALITY, subsampling=0)
    write_text(out / names["template"], "\n".join(lines) + "\n")
    atomic_write(out / names["photo"], lambda temporary: temporary.write_bytes(content))

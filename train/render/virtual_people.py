"""Makes virtual people, each mixed from two people of a folder, as a folder of photos with a manifest for `render`.

Person i depends on the parents, the seed and i alone: the folder can be continued after a stop and can grow, and its
content does not depend on the number of workers.
"""

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image
from tqdm import tqdm

from exprgan.atomic_write import delete_partial_files
from exprgan.photo.image_io import encode_image, load_photo

from ..core.config_flags import check_finite, option
from ..core.files import write_bytes, write_text, writes_folder
from ..core.train_errors import DataError, RunError
from ..data.splits import TRAIN, read_splits, split_families
from .photo_manifest import MANIFEST_NAME, Person, collect_source_sets, read_manifest, write_manifest
from .requirements import require_packages

SETTINGS_NAME = "virtual.txt"
"""Holds a hash of the parents and the seed; a folder holds people of one such hash only."""
JPEG_QUALITY = 95
SECOND_WEIGHT_RANGE = (0.35, 0.75)
"""Range of the second parent's weights in shape and in skin: the mixture resembles neither parent too much."""
UNKNOWN = "unknown"
MIXED_SEX_SHARE = 0.1
"""Share of people whose second parent is drawn regardless of sex."""


@dataclass(frozen=True)
class VirtualConfig:
    """How virtual people are made.

    Raises:
        ValueError: a value is out of range; the message names it.
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
        if not 0 <= self.test_share < 1:
            raise ValueError(f"test_share must lie in 0..1 and below 1, not {self.test_share!r}")
        check_finite(self, count=1, workers=0)


@dataclass(frozen=True)
class Mixture:
    """A virtual person: the parents, and the weight of the second one in shape and in skin, 0..1."""

    subject: str
    first: Person
    second: Person
    shape: float
    skin: float

    @property
    def parents(self) -> tuple[Person, Person]:
        return self.first, self.second

    @property
    def files(self) -> dict[str, str]:
        """Names of the photo and the template in the folder."""
        return {"photo": f"{self.subject}.jpg", "template": f"{self.subject}.tem"}


@writes_folder(lambda config: config.out)
def make_virtual(config: VirtualConfig) -> Path:
    """Makes the missing people; the manifest, if there is one of a smaller set, is replaced when all are finished.

    Returns:
        The folder.

    Raises:
        DataError: the photos have no valid manifest, or there are no two people to mix.
        RunError: `out` holds people of other photos or settings, or cannot be written.
    """
    require_packages()
    people = read_manifest(Path(config.photos), Path(config.manifest) if config.manifest else None)
    published = read_splits(Path(config.split_from)) if config.split_from else {}
    parents = select_parents(people, published, config.test_share)
    # virtual people are numbered on from those of the photos and the published set: no name is used twice
    names = (*published, *(person.subject for person in people))
    first = max((int(match[1]) + 1 for name in names if (match := re.fullmatch(r"V(\d+)", name))), default=0)
    mixtures = draw_mixtures(parents, config.count, config.seed, first)
    out = Path(config.out)
    _check_settings(out, parents, first, config.seed)
    missing = [mixture for mixture in mixtures if not all((out / name).is_file() for name in mixture.files.values())]
    print(f"{len(parents):,} of {len(people):,} people may be parents: real, not kept for testing, with a template")
    num_found = len(mixtures) - len(missing)
    with tqdm(desc="virtual", total=len(mixtures), initial=num_found, unit="person") as progress:
        for _ in _make_all(missing, out, config.workers):
            progress.update()
    delete_partial_files(out)
    sets = collect_source_sets([parent for mixture in mixtures for parent in mixture.parents])
    write_manifest(out / MANIFEST_NAME, [_manifest_row(mixture) for mixture in mixtures], sets)
    print(f"{out}: {len(mixtures):,} virtual people, {num_found:,} of them from before")
    return out


def select_parents(people: Sequence[Person], published: dict[str, str], test_share: float) -> list[Person]:
    """Selects the real people of `train` who have a template. Children of test people would fit into neither split."""
    splits = {person.subject: person.split for person in people if person.split} | published
    splits = split_families({person.subject: person.parents for person in people}, splits, test_share)
    parents = [
        person for person in people if not person.parents and person.template and splits.get(person.subject) == TRAIN
    ]
    if len(parents) < 2:
        message = f"of {len(people):,} people, {len(parents)} are real, in {TRAIN}, and have a template; two are needed"
        raise DataError(message)
    return parents


def draw_mixtures(parents: Sequence[Person], count: int, seed: int, first: int = 0) -> list[Mixture]:
    """Draws the first `count` people; a longer list begins with the shorter one.

    Parents are of the same source set if it has two people, so that light and terms are the same, and mostly of the same
    sex. A pair is repeated only after twenty draws without a new one.
    """
    mixtures: list[Mixture] = []
    pairs: set[frozenset[str]] = set()
    for i in range(count):
        generator = Random(f"{seed}/{i}")
        for _ in range(20):
            parent = _choose(parents, generator)
            others = [other for other in parents if other is not parent and other.sets == parent.sets]
            others = others or [other for other in parents if other is not parent]
            same_sex = [other for other in others if other.sex == parent.sex]
            any_sex = not same_sex or generator.random() < MIXED_SEX_SHARE
            second = _choose(others if any_sex else same_sex, generator)
            if (pair := frozenset((parent.subject, second.subject))) not in pairs:
                break
        pairs.add(pair)
        low, high = SECOND_WEIGHT_RANGE
        shape, skin = (low + (high - low) * generator.random() for _ in range(2))
        mixtures.append(Mixture(f"V{first + i:04d}", parent, second, shape, skin))
    return mixtures


def _choose(people: Sequence[Person], generator: Random) -> Person:
    return people[int(generator.random() * len(people))]  # random() alone is the same in every version of Python


def _check_settings(out: Path, parents: Sequence[Person], first: int, seed: int) -> None:
    """Writes the hash of what the people are made from into a new folder, or checks that of an existing one."""
    people = [f"{one.subject} {one.source} {one.sex} {' '.join(source.name for source in one.sets)}" for one in parents]
    content = "\n".join([str(seed), str(first), str(SECOND_WEIGHT_RANGE), *people])
    settings = sha256(content.encode()).hexdigest() + "\n"
    path = out / SETTINGS_NAME
    if path.is_file() and path.read_text(encoding="utf-8") != settings:
        raise RunError(
            f"{out} holds virtual people of other photos, another --split-from or another --seed; choose another --out"
        )
    if not path.is_file() and out.is_dir() and any(out.iterdir()):
        raise RunError(f"{out} holds something else; choose another --out")
    write_text(path, settings)


def _manifest_row(mixture: Mixture) -> dict[str, str]:
    a, b = mixture.parents
    age = f"{(1 - mixture.shape) * float(a.age) + mixture.shape * float(b.age):.1f}" if a.age and b.age else ""
    return {
        "subject": mixture.subject,
        **mixture.files,
        "sex": a.sex,
        "age": age,
        "ethnicity": f"{a.ethnicity or UNKNOWN}+{b.ethnicity or UNKNOWN}" if a.ethnicity or b.ethnicity else "",
        "split": TRAIN,
        "parents": f"{a.subject} {b.subject}",
        "balance": "yes" if a.balance else "",  # the backdrop is the first parent's
        "source_set": " ".join(dict.fromkeys(source.name for source in (*a.sets, *b.sets))),
    }


def _make_all(mixtures: Sequence[Mixture], out: Path, workers: int) -> Iterator[None]:
    """Makes people on several cores; yields after each."""
    if workers == 1 or len(mixtures) < 2:
        yield from (_make_person(mixture, out) for mixture in mixtures)
        return
    import cv2

    cv2.setNumThreads(1)  # one core per person is faster than all cores per picture
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:  # nearly all the time is spent in C code without the GIL
        yield from pool.map(_make_person, mixtures, [out] * len(mixtures))


def _make_person(mixture: Mixture, out: Path) -> None:
    """Writes a person's template and photo."""
    from .face_model.webmorph_template import read_template
    from .face_morph import morph_faces

    first, second = (np.asarray(load_photo(parent.photo)) for parent in mixture.parents)
    first_points, second_points = (read_template(parent.template) for parent in mixture.parents)
    picture, points = morph_faces(first, first_points, second, second_points, mixture.shape, mixture.skin)
    lines = [str(len(points)), *(f"{x:.2f}\t{y:.2f}" for x, y in points)]
    lines += mixture.first.template.read_text(encoding="utf-8").splitlines()[len(lines) :]  # the lines between points
    write_text(out / mixture.files["template"], "\n".join(lines) + "\n")
    content = encode_image(Image.fromarray(picture), "JPEG", quality=JPEG_QUALITY, subsampling=0)
    write_bytes(out / mixture.files["photo"], content)

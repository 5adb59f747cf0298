"""Who trains and who tests: by person, and with the people whom a virtual person is mixed from, nobody is on both sides."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

from .metadata import DataError, read_table
from .validation import SPLITS

TRAIN, TEST = SPLITS


def split_people(names: Iterable[str], said: Mapping[str, str], test_share: float) -> dict[str, str]:
    """name -> split: what is said of them, else by a hash of the name.

    The hash alone decides, so people who are added later never move others across. Only where it would leave `test`
    without anyone does the person nearest to it go there.
    """
    place = {name: _hash(name) for name in dict.fromkeys(names) if name not in said}
    split_of = dict(said) | {name: SPLITS[value < test_share] for name, value in place.items()}
    if test_share and len(place) > 1 and TEST not in split_of.values():
        split_of[min(place, key=place.__getitem__)] = TEST
    return split_of


def split_families(parents: Mapping[str, tuple[str, ...]], said: Mapping[str, str], test_share: float) -> dict[str, str]:
    """As `split_people`, and a virtual person goes with its parents; one who cannot is left out of the result.

    Args:
        parents: everybody -> whom they are mixed from, in any order; nobody for a real person.
        said: name -> split, where it is known, of parents who are not in `parents` too.
        test_share: of the real people of whom nothing is said.
    """
    unsaid = {name: above for name, above in parents.items() if name not in said}
    real = [name for name, above in parents.items() if not above]
    real += [one for above in unsaid.values() for one in above if one not in parents]  # what is said of a child holds
    split_of = split_people(real, {name: split for name, split in said.items() if not parents.get(name)}, test_share)
    waiting = {name: above for name, above in parents.items() if above}
    while ready := [name for name, above in waiting.items() if not any(one in waiting for one in above)]:
        for name in ready:
            own = said.get(name, "")
            sides = {split_of.get(one, "" if one in parents else own) for one in waiting.pop(name)} | {own} - {""}
            if len(sides) == 1 and (side := sides.pop()):
                split_of[name] = side
    return {name: split_of[name] for name in parents if name in split_of}


def read_splits(path: Path) -> dict[str, str]:
    """name -> split of everybody in a published metadata.csv: those in its pictures, and those whom they are mixed from.

    Raises:
        DataError: there is no such table, or somebody is on both sides of it.
    """
    split_of: dict[str, str] = {}
    for row in read_table(path, ("subject", "split")):
        for name in (row["subject"], *(row.get("parents") or "").split()):
            if split_of.setdefault(name, row["split"]) != row["split"]:
                raise DataError(f"{path} has {name!r} in {split_of[name]!r} and in {row['split']!r}; each belongs in one")
    return split_of


def _hash(name: str) -> float:
    """A name -> 0..1, evenly spread, the same everywhere and for ever."""
    return int.from_bytes(sha256(name.encode()).digest()[:8], "big") / 2**64

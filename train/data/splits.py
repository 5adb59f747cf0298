"""Splits people into train and test. A virtual person and its parents are always in the same split."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

from ..core.train_errors import DataError
from .metadata import read_table
from .validation import SPLITS

TRAIN, TEST = SPLITS


def split_people(names: Iterable[str], known: Mapping[str, str], test_share: float) -> dict[str, str]:
    """Returns name -> split: the known split, or else one chosen by a hash of the name.

    The hash alone decides, so that adding people never changes the split of others. Only if `test` would be empty, the
    person with the smallest hash is moved there.
    """
    hashes = {name: _hash(name) for name in dict.fromkeys(names) if name not in known}
    split_of = dict(known) | {name: SPLITS[value < test_share] for name, value in hashes.items()}
    if test_share and len(hashes) > 1 and TEST not in split_of.values():
        split_of[min(hashes, key=hashes.__getitem__)] = TEST
    return split_of


def split_families(parents: Mapping[str, tuple[str, ...]], known: Mapping[str, str], test_share: float) -> dict[str, str]:
    """As `split_people`, but a virtual person has the split of its parents.

    Args:
        parents: person -> the people they are mixed from, in any order; empty for a real person.
        known: name -> split; also of parents who are not in `parents`.
        test_share: of the real people whose split is not known.

    Returns:
        name -> split, without virtual people whose parents are not all in one split, or in another than the person's known
        one.
    """
    real = [name for name, own_parents in parents.items() if not own_parents]
    # parents who are not in `parents` get a split too, unless the child's is known
    undecided = [own_parents for name, own_parents in parents.items() if name not in known]
    real += [parent for own_parents in undecided for parent in own_parents if parent not in parents]
    split_of = split_people(real, {name: split for name, split in known.items() if not parents.get(name)}, test_share)
    waiting = {name: own_parents for name, own_parents in parents.items() if own_parents}
    while ready := [name for name in waiting if waiting.keys().isdisjoint(waiting[name])]:
        for name in ready:
            own = known.get(name, "")
            splits = {split_of.get(parent, "" if parent in parents else own) for parent in waiting.pop(name)} | {own} - {""}
            if len(splits) == 1 and (split := splits.pop()):
                split_of[name] = split
    return {name: split_of[name] for name in parents if name in split_of}


def read_splits(path: Path) -> dict[str, str]:
    """Reads name -> split of all people in a published metadata.csv: those in its pictures and their parents.

    Raises:
        DataError: there is no such table, or a person is in both splits.
    """
    split_of: dict[str, str] = {}
    for row in read_table(path, ("subject", "split")):
        for name in (row["subject"], *(row.get("parents") or "").split()):
            if split_of.setdefault(name, row["split"]) != row["split"]:
                raise DataError(f"{path} has {name!r} in {split_of[name]!r} and in {row['split']!r}; each belongs in one")
    return split_of


def _hash(name: str) -> float:
    """Maps a name to 0..1, evenly spread and the same on every machine."""
    return int.from_bytes(sha256(name.encode()).digest()[:8], "big") / 2**64

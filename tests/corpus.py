"""Hostile and odd uploads, made from seeds: over a thousand files, of which none is stored.

`python tests/corpus.py FOLDER` writes them all, each as FOLDER/KIND/NUMBER/NAME. A kind is one decorated function in
corpus_bytes.py (what is wrong with the file) or corpus_scenes.py (what is odd about the picture): it takes a source of
chance and returns a name and bytes.
"""

import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

EDITED, NO_FACE, REFUSED = "edited", "no face", "unreadable"  # as edits.csv has them
SEEN = frozenset({EDITED, NO_FACE})
"""It can be read; whether a face is found is not the point."""
ANY = frozenset({EDITED, NO_FACE, REFUSED})


@dataclass(frozen=True)
class Kind:
    """One way to be odd."""

    name: str
    make: Callable[[np.random.Generator], tuple[str, bytes]]
    number: int
    """How many there are in the whole corpus."""
    few: int
    """How many in the quick slice."""
    may: frozenset[str]
    """What may become of one."""


@dataclass(frozen=True)
class Upload:
    """One file."""

    kind: Kind
    number: int
    name: str
    data: bytes

    @property
    def place(self) -> str:
        """Where it is in a folder; one of its own, so that any name will do."""
        return f"{self.kind.name}/{self.number:03d}/{self.name}"


KINDS: dict[str, Kind] = {}


def kind(number: int, *may: str, few: int | None = None) -> Callable:
    """Files a maker under its name.

    Args:
        number: how many are made of it in all.
        may: what may become of one; anything that is no failure unless given.
        few: how many of them are in the quick slice; about every eighth unless given.
    """

    def file(make: Callable) -> Callable:
        name = make.__name__
        KINDS[name] = Kind(name, make, number, max(1, number // 8) if few is None else few, frozenset(may) or ANY)
        return make

    return file


def corpus(quick: bool = False, kinds: frozenset[str] = frozenset()) -> Iterator[Upload]:
    """The uploads, the same ones each time; of some kinds only, if they are named."""
    import corpus_bytes  # noqa: F401, files its kinds, and so does the next
    import corpus_scenes  # noqa: F401

    for one in list(KINDS.values()):
        if not kinds or one.name in kinds:
            for number in range(one.few if quick else one.number):
                yield Upload(one, number, *one.make(np.random.default_rng([zlib.crc32(one.name.encode()), number])))


def write(uploads: Iterator[Upload], folder: Path) -> list[Upload]:
    """Puts them into a folder."""
    written = []
    for upload in uploads:
        path = folder / upload.place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(upload.data)
        written.append(upload)
    return written


if __name__ == "__main__":
    import corpus as maker  # under the name by which the kinds know it

    print(len(maker.write(maker.corpus(), Path(sys.argv[1]))), "files")

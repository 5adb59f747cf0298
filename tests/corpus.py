"""A corpus of hostile and odd uploads, generated from seeds: over a thousand files, none of which is stored.

`python tests/corpus.py FOLDER` writes them all, each as FOLDER/KIND/NUMBER/NAME. A kind is one registered function in
corpus_bytes.py (damaged or forged files) or corpus_scenes.py (valid files of odd pictures): it takes a random generator
and returns a name and bytes.
"""

import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

EDITED, NO_FACE, REFUSED = "edited", "no face", "unreadable"  # as edits.csv has them
READABLE = frozenset({EDITED, NO_FACE})
ANY_OUTCOME = frozenset({EDITED, NO_FACE, REFUSED})

MakeUpload = Callable[[np.random.Generator], tuple[str, bytes]]


@dataclass(frozen=True)
class UploadKind:
    """One way in which an upload is odd."""

    name: str
    make: MakeUpload
    count: int
    """Uploads of this kind in the full corpus."""
    quick_count: int
    """Uploads of this kind in the quick slice."""
    outcomes: frozenset[str]
    """Outcomes that are right."""


@dataclass(frozen=True)
class Upload:
    """One file."""

    kind: UploadKind
    number: int
    name: str
    data: bytes

    @property
    def path(self) -> str:
        """Its path in a folder; in a subfolder of its own, so that any name is possible."""
        return f"{self.kind.name}/{self.number:03d}/{self.name}"


KINDS: dict[str, UploadKind] = {}


def register_kind(count: int, *outcomes: str, quick: int | None = None) -> Callable[[MakeUpload], MakeUpload]:
    """Registers a function that makes uploads, under its name, which also seeds it.

    Args:
        count: uploads in the full corpus.
        outcomes: those that are right; by default any that is no failure.
        quick: uploads in the quick slice; by default an eighth of them.
    """

    def register(make: MakeUpload) -> MakeUpload:
        quick_count = max(1, count // 8) if quick is None else quick
        KINDS[make.__name__] = UploadKind(make.__name__, make, count, quick_count, frozenset(outcomes) or ANY_OUTCOME)
        return make

    return register


def corpus(quick: bool = False, kinds: frozenset[str] = frozenset()) -> Iterator[Upload]:
    """Yields the uploads, the same ones each time; only those of some kinds if they are named."""
    import corpus_bytes  # noqa: F401, registers its kinds, as does the next
    import corpus_scenes  # noqa: F401

    for kind in list(KINDS.values()):
        if not kinds or kind.name in kinds:
            for number in range(kind.quick_count if quick else kind.count):
                generator = np.random.default_rng([zlib.crc32(kind.name.encode()), number])
                yield Upload(kind, number, *kind.make(generator))


def write(uploads: Iterator[Upload], folder: Path) -> list[Upload]:
    """Writes uploads to a folder."""
    written = []
    for upload in uploads:
        path = folder / upload.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(upload.data)
        written.append(upload)
    return written


if __name__ == "__main__":
    import corpus as module  # the instance in which the kinds register themselves

    print(len(module.write(module.corpus(), Path(sys.argv[1]))), "files")

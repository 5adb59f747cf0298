"""Large training folders: pictures in a few files that every process maps into memory, instead of one file a picture.

FOLDER/packed/128-00000.npy holds pictures of 128 px as (N, 3, 128, 128) uint8, and 128-00000.csv names them in the same
order. The pages of a mapped file are the system's cache: processes share them, and they give way when memory is short.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from exprgan.atomic_write import delete_partial_files

from ..core.files import durable_write, writes_folder
from ..core.threads import map_threads
from ..core.train_errors import DataError
from .metadata import METADATA_NAME, raise_problems, read_metadata, read_table, write_table
from .picture_checks import open_picture, pixel_digest

PACK_FOLDER = "packed"
PACK_FROM = 20_000
"""From this number of pictures on `prepare` and `render` pack what they wrote: 1 GB at 128 px."""
FILE_BYTES = 1 << 30
"""Size of a packed file, but for the last one: what a stopped upload or packing has to begin again."""
COLUMNS = ("file_name", "bytes", "side", "sha256")
"""Of a picture: its name, the size of its file, its side in px before it was packed, and its `pixel_digest`."""


@dataclass(frozen=True)
class PackedPicture:
    """A picture of a pack: its position in all files together, and COLUMNS."""

    position: int
    bytes: int
    side: int
    digest: bytes


class PicturePack:
    """The pack of one size in a training folder.

    Attributes:
        image_size: side of the pictures in px.
        files: the .npy files, in order.
        pictures: file_name -> what is known of each picture.
    """

    def __init__(self, root: str | Path, image_size: int):
        self.root, self.image_size = Path(root), image_size
        tables = sorted((self.root / PACK_FOLDER).glob(f"{image_size}-[0-9]*.csv"))
        self.files = [path.with_suffix(".npy") for path in tables]
        rows = (row for path in tables for row in read_table(path, COLUMNS))
        self.pictures = {
            row["file_name"]: PackedPicture(position, int(row["bytes"]), int(row["side"]), bytes.fromhex(row["sha256"]))
            for position, row in enumerate(rows)
        }

    @classmethod
    def find(cls, root: str | Path, names: Iterable[str], image_size: int = 0) -> "PicturePack | None":
        """The pack of `image_size`, or with 0 that of the largest pictures; None if there is none.

        Raises:
            DataError: a picture is not in it, or was changed after it was packed.
        """
        sizes = {int(path.name.partition("-")[0]) for path in Path(root, PACK_FOLDER).glob("[0-9]*-[0-9]*.csv")}
        size = image_size or max(sizes, default=0)
        if size not in sizes:
            return None
        pack, problems = cls(root, size), []
        for name in names:
            if name not in pack.pictures:
                problems.append(f"{name} is not packed")
            elif _was_changed(pack.root / name, pack.pictures[name].bytes):
                problems.append(f"{name} was changed after it was packed")
        raise_problems(Path(root, PACK_FOLDER), problems, f"Run `python -m train pack {root} --image-size {size}` again")
        return pack

    def open(self, names: Sequence[str]) -> "MappedPictures":
        """Maps the pictures of these names, in this order.

        Raises:
            DataError: a file is missing or damaged.
        """
        return MappedPictures(self.files, torch.tensor([self.pictures[name].position for name in names]))


class MappedPictures:
    """Pictures in mapped files, read as a (N, 3, S, S) uint8 tensor: indexing copies what is asked for, and nothing else is
    in memory.

    Args:
        files: .npy files of (n, 3, S, S) uint8.
        positions: (N,) of the pictures, counted through all files.

    Raises:
        DataError: a file is missing or damaged.
    """

    device = torch.device("cpu")
    dtype = torch.uint8

    def __init__(self, files: Sequence[Path], positions: Tensor):
        self.files, self.positions = files, positions
        try:
            self._maps = [np.asarray(np.load(path, mmap_mode="r")) for path in files]  # its own class indexes slowly
        except (OSError, ValueError) as error:
            raise DataError(f"{files[0].parent} cannot be read ({error}); delete it and pack the folder again") from error
        self._ends = list(accumulate(map(len, self._maps)))

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, 3, S, S)."""
        return len(self), *self._maps[0].shape[1:]

    def __getitem__(self, index: int | slice | list[int] | Tensor) -> Tensor:
        positions = self.positions[index]
        out = torch.empty((*positions.shape, *self.shape[1:]), dtype=self.dtype)
        for target, position in zip(out.view(-1, *self.shape[1:]).numpy(), positions.flatten().tolist(), strict=True):
            number = bisect_right(self._ends, position)
            target[:] = self._maps[number][position - self._ends[number]]  # counted from the end of its file
        return out

    def split(self, size: int) -> Iterator[Tensor]:
        """Yields all pictures, `size` at a time."""
        return (self[start : start + size] for start in range(0, len(self), size))

    def select(self, indices: Tensor) -> "MappedPictures":
        """The pictures at (n,) indices, of the same files; nothing is read."""
        return MappedPictures(self.files, self.positions[indices])


class PictureReader:
    """Reads single pictures of a training folder, also of one that holds the pack alone.

    Args:
        root: the training folder.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self.pack = PicturePack.find(root, ())
        self._mapped = self.pack.open(list(self.pack.pictures)) if self.pack else None

    def open(self, name: str) -> Image.Image:
        """A picture in RGB, at its own size or, from the pack, at that of the pack.

        Raises:
            DataError: as `open_picture`.
        """
        packed = self._packed_alone(name)
        if packed and self._mapped:
            return Image.fromarray(self._mapped[packed.position].permute(1, 2, 0).numpy())
        return open_picture(self.root / name)

    def size(self, name: str) -> tuple[int, int]:
        """Width and height of a picture in px, before it was packed."""
        if packed := self._packed_alone(name):
            return packed.side, packed.side
        with Image.open(self.root / name) as image:
            return image.size

    def file_size(self, name: str) -> int:
        """Bytes of a picture's file, before it was packed."""
        packed = self._packed_alone(name)
        return packed.bytes if packed else (self.root / name).stat().st_size

    def _packed_alone(self, name: str) -> PackedPicture | None:
        packed = self.pack.pictures.get(name) if self.pack else None
        return packed if packed and not (self.root / name).exists() else None


def to_array(image: Image.Image, image_size: int) -> np.ndarray:
    """A square picture as (3, S, S) uint8, resized if it has another size."""
    if image.size != (image_size, image_size):
        image = image.resize((image_size, image_size), Image.Resampling.LANCZOS)
    return np.asarray(image).transpose(2, 0, 1)


@writes_folder(lambda root, *args: root)
def pack_folder(root: str, image_size: int = 128) -> None:
    """Packs all pictures of a training folder at one size; files that are right already are kept.

    Raises:
        DataError: there is no valid metadata.csv, or pictures cannot be trained on; the message lists them.
        RunError: the folder cannot be written.
        ValueError: the size is not above 0.
    """
    if image_size <= 0:
        raise ValueError(f"image_size must be above 0, not {image_size}; name the side in px that training takes")
    names = list(dict.fromkeys(row["file_name"] for row in read_metadata(Path(root))))
    if not names:
        raise DataError(f"{Path(root, METADATA_NAME)} has no rows, so there is nothing to pack")
    number = pack_pictures(Path(root), names, image_size)
    size = len(names) * 3 * image_size**2 / 1e9
    print(f"{Path(root, PACK_FOLDER)}: {len(names):,} pictures of {image_size} px, {size:.1f} GB, {number:,} of them new")


def pack_if_large(root: Path, names: Sequence[str], image_size: int) -> None:
    """Packs the pictures of a folder that has at least PACK_FROM, or was packed before; `pack_pictures` says how."""
    if len(names) >= PACK_FROM or list((root / PACK_FOLDER).glob(f"{image_size}-*.csv")):
        number = pack_pictures(root, names, image_size)
        print(f"{root / PACK_FOLDER}: {number:,} pictures packed, {len(names) - number:,} of them before")


def pack_pictures(root: Path, names: Sequence[str], image_size: int) -> int:
    """Writes the pack of `image_size` picture by picture, so that few are in memory, each file completely or not at all.

    A file of the pack is kept if all of its pictures are as they were and still wanted; the others are written anew.

    Args:
        names: file_name of each picture, without repetition.

    Returns:
        Number of pictures that were packed now.

    Raises:
        DataError: pictures are missing, broken, not square or of one colour; the message lists them.
        RunError: the folder cannot be written.
    """
    folder, reader, wanted, number = root / PACK_FOLDER, PictureReader(root), set(names), 0
    delete_partial_files(folder)
    outdated = []
    for table in sorted(folder.glob(f"{image_size}-[0-9]*.csv")):
        rows, number = read_table(table, COLUMNS), int(table.stem.partition("-")[2]) + 1
        held = {row["file_name"] for row in rows}
        if held <= wanted and not any(_was_changed(root / row["file_name"], int(row["bytes"])) for row in rows):
            wanted -= held
        else:
            outdated.append(table)
    pending = [name for name in names if name in wanted]
    per_file = max(1, FILE_BYTES // (3 * image_size**2))
    for start in range(0, len(pending), per_file):
        _write_file(reader, image_size, folder / f"{image_size}-{number:05d}.npy", pending[start : start + per_file])
        number += 1
    for table in outdated:  # last, as pictures may be in them alone
        table.unlink()
        table.with_suffix(".npy").unlink(missing_ok=True)
    return len(pending)


def _write_file(reader: PictureReader, image_size: int, path: Path, names: Sequence[str]) -> None:
    def read(name: str) -> tuple[bytes, dict[str, str]] | DataError:
        try:
            image = reader.open(name)
        except DataError as error:
            return error
        cells = name, str(reader.file_size(name)), str(image.width), pixel_digest(image).hex()
        return to_array(image, image_size).tobytes(), dict(zip(COLUMNS, cells, strict=True))

    rows, problems = [], []
    with durable_write(path) as part:
        with part.open("wb") as file:
            shape = (len(names), 3, image_size, image_size)
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for result in map_threads(read, names):
                if isinstance(result, DataError):
                    problems.append(str(result))
                else:
                    rows.append(result[1])
                    file.write(result[0])
        raise_problems(reader.root, problems)
    write_table(path.with_suffix(".csv"), COLUMNS, rows)


def _was_changed(path: Path, size: int) -> bool:
    """Whether a picture has another size in bytes; one without a file has not."""
    try:
        return path.stat().st_size != size
    except OSError:  # of a folder that holds the pack alone
        return False

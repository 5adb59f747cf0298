"""Many photos: a folder of them in, a folder of edited ones out, and a table of what became of each."""

import dataclasses
import hashlib
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from safetensors.torch import save

from ..atomic_write import atomic_write
from ..editing.results import FIDELITIES, Fidelity
from ..editor import ExpressionEditor
from ..errors import BadImageError
from ..expressions import canonical
from ..models.controller import check_intensity
from ..models.exprgan import CONFIG_NAME, WEIGHTS_NAME, ExprGAN
from ..photo.image_io import SUFFIXES
from .manifest import BatchManifest, BatchRecord
from .pool import WorkerPool
from .worker import RAW, BatchSettings, BatchTask, bytes_of, edit_one

Faces = Literal["largest", "all"]
"""Which faces of a photo are edited."""

PHOTOS = (*SUFFIXES, *RAW, ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpe", ".jxl", ".mpo", ".tif", ".tiff")
"""What is taken for a photo, by its name; some of them only to say that they cannot be read."""

WORKER_BYTES = 2 << 30
"""Memory that one process needs with a large photo: no more are started than have room, unless asked for."""

BatchProgress = Callable[[int, int, BatchRecord | None], None]
"""Called with the photos done so far, all photos, and what became of the last one; at the start with None for that."""


@dataclass(frozen=True)
class Report:
    """What `edit_folder` did."""

    table: Path
    """edits.csv."""
    outcomes: tuple[BatchRecord, ...]
    """What became of every photo, in the order of their names; also those of earlier runs."""
    new: int
    """How many of them are of this run."""
    seconds: float

    @property
    def counts(self) -> dict[str, int]:
        """Status -> number of photos."""
        return dict(Counter(outcome.status for outcome in self.outcomes))


def edit_folder(
    model: ExprGAN | str | os.PathLike[str],
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    expression: str | Mapping[str, float],
    intensity: float = 1.0,
    *,
    style: int | None = None,
    fidelity: Fidelity = "detail",
    faces: Faces = "largest",
    workers: int | None = None,
    progress: BatchProgress | None = None,
) -> Report:
    """Edits every photo in a folder and in the folders within it, each into a file of the same name under `out`.

    Can be stopped at any moment, by force as well: the same call goes on where it was. What cannot be edited is passed
    over and told in `out`/edits.csv. Nothing that is there is ever overwritten. Folders that are links are not followed;
    an `out` within `folder` is not read. What cannot be written in its own format (TIFF, AVIF, GIF, BMP) becomes PNG.

    Args:
        model: the weights, or what `ExprGAN.from_pretrained` takes.
        folder: the photos.
        out: where the edited ones go; made if it is not there.
        expression, intensity, style, fidelity: as in `ExpressionEditor.edit`.
        faces: "largest", or "all" of each photo.
        workers: processes that edit side by side; 1 edits in this one. As many as there are cores (and room for, at
            `WORKER_BYTES` each) unless given.
        progress: see `BatchProgress`.

    Raises:
        ValueError: a wrong expression, intensity, style, fidelity, `faces` or `workers`, or `out` is `folder`.
        BadImageError: there is no such folder, or no photo in it.
        ExprGANError: `out` was begun with other settings, is in use by another process, or cannot be written.
        WeightsError: as in `ExprGAN.from_pretrained`.
        KeyboardInterrupt: after Ctrl-C, when what was under way is finished and written down.
    """
    start, folder, out = time.perf_counter(), Path(folder), Path(out)
    _check(fidelity=(fidelity, FIDELITIES), faces=(faces, get_args(Faces)))
    intensity = check_intensity(intensity)
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers!r}")
    if os.path.realpath(out) == os.path.realpath(folder):
        raise ValueError(f"{out} holds the photos themselves; name another folder for the edited ones")
    files = find_photos(folder, out)

    model = model if isinstance(model, ExprGAN) else ExprGAN.from_pretrained(model)
    names = model.config.expressions
    if isinstance(expression, str):
        expression = canonical(expression, names)
    else:
        expression = {canonical(name, names): check_intensity(part) for name, part in expression.items()}
    model.F_ctrl.mix({}, style=style)  # says if there is no such style
    look = {"expression": expression, "intensity": intensity, "style": style, "fidelity": fidelity, "faces": faces}
    with BatchManifest(out, look | {"model": fingerprint(model)}) as ledger:
        job = BatchSettings(str(folder), str(out), resumed=ledger.resumed, **look)
        results = result_names(files, {file: one.result for file, one in ledger.outcomes.items() if one.result})
        tasks = [BatchTask(file, results[file]) for file in files if not ledger.is_done(file, bytes_of(folder / file))]
        done = len(files) - len(tasks)
        count = min(workers or _room(model), len(tasks))
        tell = progress or (lambda *_: None)
        tell(done, len(files), None)
        with closing(_outcomes(model, job, tasks, count, ledger)) as coming:
            for outcome in coming:
                ledger.add(outcome)
                done += 1
                tell(done, len(files), outcome)
        outcomes = tuple(ledger.outcomes[file] for file in files)
    return Report(ledger.table, outcomes, len(tasks), time.perf_counter() - start)


def find_photos(folder: Path, out: Path) -> list[str]:
    """The photos in a folder, and the folders in it that cannot be opened: paths in it with /, in order.

    Raises:
        BadImageError: there is none, or no such folder.
    """
    if not folder.is_dir():
        raise BadImageError(f"There is no folder {folder}. Check its name.")
    found, closed, results = [], [], os.path.realpath(out)
    for place, folders, names in os.walk(folder, onerror=closed.append):
        folders[:] = [name for name in folders if os.path.realpath(Path(place, name)) != results]
        found += (Path(place, name) for name in names if _is_photo(Path(place, name)))
    found += (Path(error.filename) for error in closed)
    if not found:
        raise BadImageError(f"There is no photo in {folder}. Name a folder with JPEG, PNG or WebP files.")
    return sorted((path.relative_to(folder).as_posix() for path in found), key=lambda file: file.split("/"))


def _is_photo(path: Path) -> bool:
    if path.suffix.lower() not in PHOTOS or path.name.startswith("."):  # ._me.jpg is a Mac's notes on me.jpg
        return False
    return os.path.isfile(path) or not os.path.exists(path)  # a pipe would block; a link that leads nowhere is told


def result_names(files: list[str], before: Mapping[str, str]) -> dict[str, str]:
    """Photo -> result: the same name, with .png for what cannot be written, behind its own suffix if the name is taken.

    Args:
        files: paths in the folder.
        before: the results that are there, by photo.
    """
    names, taken = dict(before), set(before.values())
    writable = [file for file in files if Path(file).suffix.lower() in SUFFIXES]
    for file in [*writable, *files]:  # who can keep his name comes first
        if file not in names:
            suffix = Path(file).suffix
            name = file if suffix.lower() in SUFFIXES else f"{file.removesuffix(suffix)}.png"
            name = f"{file}.png" if name in taken else name
            while name in taken:
                name += ".png"
            names[file] = name
            taken.add(name)
    return names


def fingerprint(model: ExprGAN) -> str:
    """A model's weights in 16 hexadecimal digits."""
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(model.config), sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _outcomes(
    model: ExprGAN, job: BatchSettings, tasks: list[BatchTask], count: int, ledger: BatchManifest
) -> Iterator[BatchRecord]:
    """What becomes of each photo, as it comes."""
    if count <= 1:
        yield from map(partial(edit_one, ExpressionEditor(model), job), tasks)
        return
    with tempfile.TemporaryDirectory(prefix="exprgan-") as weights:
        tensors = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
        with atomic_write(Path(weights, WEIGHTS_NAME)) as part:
            part.write_bytes(save(tensors))  # as they are: save_pretrained would round them
        with atomic_write(Path(weights, CONFIG_NAME)) as part:
            part.write_text(json.dumps(dataclasses.asdict(model.config)), encoding="utf-8")
        with closing(WorkerPool(count, Path(weights), job, str(next(model.parameters()).device))) as crew:
            try:
                yield from crew.edit(tasks)
            except (KeyboardInterrupt, GeneratorExit):
                for outcome in crew.rest():
                    ledger.add(outcome)
                raise


def _room(model: ExprGAN) -> int:
    """How many processes can work side by side: one per core that this one may use, as far as memory goes."""
    if next(model.parameters()).device.type != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return cores
    return max(1, min(cores, memory // WORKER_BYTES))


def _check(**chosen: tuple[str, tuple[str, ...]]) -> None:
    for name, (value, allowed) in chosen.items():
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")

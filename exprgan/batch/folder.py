"""Edits a folder of photos into a folder of results, with a table of the outcome of each photo."""

import dataclasses
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

from ..editing.dials import check_dials
from ..editing.results import FIDELITIES, Fidelity
from ..editing.target import Target
from ..editor import ExpressionEditor
from ..errors import BadImageError, check_choice
from ..expressions import canonical
from ..folder_paths import is_inside
from ..models.controller import check_intensity
from ..models.exprgan import ExprGAN
from ..photo.image_io import SUFFIXES
from ..process_pool import Engine, default_workers, map_items
from ..ray_pool import map_on_cluster
from .manifest import SETTINGS, TABLE, BatchManifest, BatchRecord
from .remote_folder import RemoteFolder, is_url, local_tables
from .worker import RAW_SUFFIXES, BatchSettings, Faces, edit_photo, file_size

PHOTO_SUFFIXES = (*SUFFIXES, *RAW_SUFFIXES, ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpe", ".jxl", ".mpo",
                  ".tif", ".tiff")  # fmt: skip
"""Suffixes of the files that count as photos; some of them cannot be read, which their records say."""

BatchProgress = Callable[[int, int, BatchRecord | None], None]
"""Called with the number of photos done, the number of all photos, and the last record; with None at the start."""


@dataclass(frozen=True)
class Report:
    """The result of `edit_folder`.

    Attributes:
        table: path or URL of edits.csv.
        outcomes: the record of every photo, also of earlier runs, in the order of their names.
        new, seconds: number of records and duration of this run.
    """

    table: str | Path
    outcomes: tuple[BatchRecord, ...]
    new: int
    seconds: float

    @property
    def counts(self) -> dict[str, int]:
        """Status -> number of photos."""
        return dict(Counter(record.status for record in self.outcomes))


def edit_folder(
    model: ExprGAN | str | os.PathLike[str], folder: str | os.PathLike[str], out: str | os.PathLike[str],
    expression: str | Mapping[str, float] | None = None, intensity: float = 1.0, *, style: int | None = None,
    units: Mapping[str, float] | None = None, fidelity: Fidelity = "detail", faces: Faces = "largest",
    workers: int | None = None, engine: Engine = "processes", follow_links: bool = False,
    progress: BatchProgress | None = None,
) -> Report:  # fmt: skip
    """Edits every photo in a folder and its subfolders, each into a file of the same name under `out`.

    Can be stopped at any moment, also by a kill: the same call continues where it stopped. A photo that cannot be edited
    is skipped, with the reason in `out`/edits.csv. No existing file is ever overwritten, so a photo that changed after it
    was edited is edited anew only once its result was deleted. An `out` within `folder` is not
    read. Formats that are not written (TIFF, AVIF, GIF, BMP) become PNG.

    `folder` and `out` may be links. In them, a link to a photo of the same folder counts as a photo, and a link to one of
    its subfolders is left out, as the photos in it have their place. What a link reaches outside of them is neither read
    nor written, and its record says so, unless `follow_links` is on; no folder is read twice then.

    Both may be a URL that fsspec knows, s3://bucket/photos, with its package installed (s3fs), where photos can be read one
    by one also from the Hub: hf://datasets/org/name. Links play no part there, and nothing keeps a second process out.

    Args:
        model: the weights, or what `ExprGAN.from_pretrained` takes.
        folder: the folder of photos.
        out: the folder of results; created if it is missing.
        expression, intensity, style, units, fidelity: as in `ExpressionEditor.edit`; those of a look are `Look.settings`.
        faces: "largest", or "all" of each photo.
        workers: number of processes that edit in parallel; 1 edits in this one. By default the number of cores, or of
            processes that memory has room for at 2 GiB each.
        engine: "processes" of this machine, or "ray" for all CPUs of a Ray cluster, whose machines see both folders under
            the same paths, or by a URL (`ray_pool.map_on_cluster`); `workers` has no effect then.
        follow_links: whether to read and write also where links lead out of `folder` and `out`.

    Raises:
        ValueError: a wrong expression, intensity, style, unit, fidelity, `faces`, `workers` or `engine`; `out` is `folder`.
        BadImageError: there is no such folder, or no photo in it.
        ExprGANError: `out` was begun with other settings, is in use by another process, or cannot be written; or Ray is
            asked for and missing; or a URL cannot be reached.
        WeightsError: as in `ExprGAN.from_pretrained`.
        KeyboardInterrupt: after Ctrl-C, once the photos under way are finished and recorded.
    """
    start = time.perf_counter()
    folder, out = (os.fspath(path).rstrip("/") if is_url(path) else os.fspath(path) for path in (folder, out))
    check_choice("fidelity", fidelity, FIDELITIES)
    check_choice("faces", faces, get_args(Faces))
    check_choice("engine", engine, get_args(Engine))
    intensity = check_intensity(intensity)
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers!r}")
    if folder == out or os.path.realpath(out) == os.path.realpath(folder):
        raise ValueError(f"{out} holds the photos themselves; name another folder for the edited ones")
    files = find_photos(folder, out, follow_links)

    model = model if isinstance(model, ExprGAN) else ExprGAN.from_pretrained(model)
    names = model.config.expressions
    Target.of(model, expression, intensity, style, units)  # raises ValueError
    if isinstance(expression, str):
        expression = canonical(expression, names)
    elif expression is not None:
        expression = {canonical(name, names): check_intensity(weight) for name, weight in expression.items()}
    style, units = style if style is None else int(style), check_dials(units) if units else None
    shared: dict[str, Any] = {"expression": expression, "intensity": intensity, "style": style, "units": units,
                              "fidelity": fidelity, "faces": faces}  # fmt: skip
    with ExitStack() as stack:
        place, upload, there = Path(out), lambda: None, None
        if is_url(out):
            (place, upload), there = stack.enter_context(local_tables(out, (TABLE, SETTINGS))), RemoteFolder(out).sizes()
        manifest = stack.enter_context(BatchManifest(place, shared | {"model": hash_model(model)}, out, there))
        upload()
        # an item of Ray whose machine died is begun again, maybe after its result was written
        source, target = (path if is_url(path) else os.path.abspath(path) for path in (folder, out))
        settings = BatchSettings(source, target, resumed=manifest.resumed or engine == "ray", follow_links=follow_links,
                                 **shared)  # fmt: skip
        named = {file: record.result for file, record in manifest.records.items() if record.result}
        results = name_results([*files], named)
        tasks = {file: results[file] for file, size in files.items() if not manifest.is_done(file, size)}
        finished, count = len(files) - len(tasks), min(workers or _count_workers(model), len(tasks))
        progress = progress or (lambda *_: None)
        progress(finished, len(files), None)
        with closing(_edit_tasks(model, settings, tasks, count, engine, manifest)) as records:
            for done, record in enumerate(records, finished + 1):
                progress(done, len(files), record)
                upload()
        outcomes = tuple(manifest.records[file] for file in files)
    table = manifest.table if there is None else f"{out}/{TABLE}"
    return Report(table, outcomes, len(tasks), time.perf_counter() - start)


def find_photos(folder: str | Path, out: str | Path, follow_links: bool = False) -> dict[str, int]:
    """Lists the photos in a folder, and the subfolders that cannot be opened.

    The result is sorted: path in the folder, with / -> size in bytes. Of subfolders that are links, those that lead out of
    the folder are listed or, with `follow_links`, searched.
    """
    if is_url(folder):
        sizes, inside = RemoteFolder(str(folder)).sizes(), str(out).removeprefix(f"{folder}/") + "/"
        sizes = {file: size for file, size in sizes.items() if _has_photo_name(file) and not file.startswith(inside)}
    else:
        sizes = {file: file_size(Path(folder, file)) for file in _walk_photos(Path(folder), Path(out), follow_links)}
    if not sizes:
        raise BadImageError(f"There is no photo in {folder}. Name a folder with JPEG, PNG or WebP files.")
    return dict(sorted(sizes.items(), key=lambda item: item[0].split("/")))


def _walk_photos(folder: Path, out: Path, follow_links: bool) -> Iterator[str]:
    """Yields what `find_photos` lists of a folder on this machine."""
    if not folder.is_dir():
        raise BadImageError(f"There is no folder {folder}. Check its name.")
    paths: list[Path] = []
    visited = {os.path.realpath(out), os.path.realpath(folder)}
    walk = os.walk(folder, followlinks=follow_links, onerror=lambda error: paths.append(Path(error.filename)))
    for parent, subfolders, names in walk:
        searched = []
        for subfolder in (Path(parent, name) for name in subfolders):
            is_link, real = subfolder.is_symlink(), os.path.realpath(subfolder)
            if real in visited or (is_link and is_inside(subfolder, folder)):
                continue
            if is_link and not follow_links:
                paths.append(subfolder)
                continue
            visited.add(real)
            searched.append(subfolder.name)
        subfolders[:] = searched
        paths.extend(path for name in names if _is_photo(path := Path(parent, name)))
    yield from (path.relative_to(folder).as_posix() for path in paths)


def _is_photo(path: Path) -> bool:
    # reading a pipe would block; a broken link gets a record
    return _has_photo_name(path) and (os.path.isfile(path) or not os.path.exists(path))


def _has_photo_name(path: str | Path) -> bool:
    name = Path(path).name  # ._me.jpg is a Mac's notes on me.jpg
    return name.lower().endswith(PHOTO_SUFFIXES) and not name.startswith(".")


def name_results(files: list[str], existing: Mapping[str, str]) -> dict[str, str]:
    """Chooses the name of each photo's result: its own name, or one in .png if it cannot be written in its format.

    If that name is taken, .png is appended to the photo's full name. `existing`: photo -> result, of those that have one.
    """
    names, taken = dict(existing), set(existing.values())
    writable = [file for file in files if Path(file).suffix.lower() in SUFFIXES]
    for file in [*writable, *files]:  # those that can keep their name come first
        if file not in names:
            suffix = Path(file).suffix
            name = file if suffix.lower() in SUFFIXES else f"{file.removesuffix(suffix)}.png"
            name = f"{file}.png" if name in taken else name
            while name in taken:
                name += ".png"
            names[file] = name
            taken.add(name)
    return names


def hash_model(model: ExprGAN) -> str:
    """Hashes a model's config and weights to 16 hexadecimal digits."""
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(model.config), sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _count_workers(model: ExprGAN) -> int:
    """One worker on a GPU, which several would share."""
    return default_workers() if next(model.parameters()).device.type == "cpu" else 1


def _edit_tasks(model: ExprGAN, settings: BatchSettings, tasks: Mapping[str, str], count: int, engine: Engine,
                manifest: BatchManifest) -> Generator[BatchRecord, None, None]:  # fmt: skip
    """Yields the record of each photo when it is done and in the table, from this process, `count` > 1 others, or Ray's."""

    def died(task: tuple[str, str], how: str) -> BatchRecord:
        message = f"The process that edited it died ({how}). Is the photo very large, or memory short?"
        return BatchRecord(task[0], "failed", message=message)

    edit = partial(edit_photo, ExpressionEditor(model), settings)
    records = (map_on_cluster(edit, tasks.items(), died, manifest.add) if engine == "ray" and tasks
               else map_items(edit, tasks.items(), count, died, manifest.add))  # fmt: skip
    with closing(records):
        yield from records

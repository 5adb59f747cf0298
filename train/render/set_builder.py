"""The whole set: who is made where, on all cores, and the table last.

Kill it at any moment and start the same line again.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from pathlib import Path

import cv2
from tqdm import tqdm

from exprgan.errors import ExprGANError

from ..core.files import RunError, write_json, writes_folder
from ..data.licences import SOURCES_NAME, add_sources
from ..data.metadata import METADATA_NAME, DataError, raise_listing, write_metadata
from ..data.splits import read_splits, split_families
from ..data.validation import counts
from .face_model.mesh import Mesh
from .person_renderer import RECORDS, Task, finished, make, settings
from .photo_manifest import Person, read_manifest, sets_of
from .render_config import RenderConfig

SETTINGS = "settings.json"
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Each process works alone: threads of its own would only be in the way of the other processes."""

_mesh: Mesh | None = None  # of a worker process, read once


@writes_folder(lambda config: config.out)
def build(config: RenderConfig) -> None:
    """Makes the set.

    Raises:
        DataError: what is given is not what it should be; every person that cannot be made is named.
        RunError: OUT cannot be written.
    """
    out, mesh = Path(config.out), Path(config.mesh)
    sitters = read_manifest(Path(config.photos), Path(config.manifest) if config.manifest else None)
    tasks = _tasks(sitters, config, _hash(mesh))
    _same_settings(out, config)
    waiting = [task for task in tasks if not finished(task)]
    print(f"{len(tasks):,} people, {len(tasks) - len(waiting):,} of them finished before")
    if any(task.record.exists() for task in waiting):  # they are made anew, and the table of an earlier run names them
        (out / METADATA_NAME).unlink(missing_ok=True)
    notes, problems = [], []
    workers = min(config.workers or os.cpu_count() or 1, max(len(waiting), 1))
    with tqdm(total=len(waiting), desc="people", unit="person") as bar:
        for note, problem in _run(waiting, mesh, workers):
            notes += [note] if note else []
            problems += [problem] if problem else []
            bar.update()
    for note in notes:
        print(f"note: {note}")
    raise_listing("these people could not be rendered", sorted(problems), "Mend them, or take them out of the manifest")
    for left in out.rglob(".*.tmp"):  # what a killed run was writing
        left.unlink(missing_ok=True)
    rows = _rows(out)
    add_sources(out / SOURCES_NAME, sets_of(sitters))
    write_metadata(out, rows)
    print(f"{out}: {len(rows):,} pictures\n{counts(rows)}")


def _tasks(sitters: list[Person], config: RenderConfig, mesh: str) -> list[Task]:
    said = {sitter.subject: sitter.split for sitter in sitters if sitter.split}
    said |= read_splits(Path(config.split_from)) if config.split_from else {}
    split_of = split_families({sitter.subject: sitter.parents for sitter in sitters}, said, config.test_share)
    if left_out := [sitter.subject for sitter in sitters if sitter.subject not in split_of]:
        print(
            f"note: {len(left_out):,} mixed people have parents in both splits and are left out: {', '.join(left_out[:5])}"
        )
    return [Task(sitter, split_of[sitter.subject], config, mesh) for sitter in sitters if sitter.subject in split_of]


def _hash(mesh: Path) -> str:
    try:
        return hashlib.sha256(mesh.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(
            f"the mesh {mesh} cannot be read ({error.strerror}); name the file that `prepare mesh` wrote"
        ) from error


def _same_settings(out: Path, config: RenderConfig) -> None:
    """A folder has one kind of pictures."""
    path, ours = out / RECORDS / SETTINGS, settings(config)
    try:
        theirs = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        write_json(path, ours)
        return
    differing = [f"{name} {theirs.get(name)!r}, not {value!r}" for name, value in ours.items() if theirs.get(name) != value]
    raise_listing(f"{out} was begun with other settings", differing, "Give the same ones, or choose another --out")


def _rows(out: Path) -> list[dict[str, str]]:
    """The rows of everybody in the folder: people first, then those who were mixed."""
    records = [path for path in sorted((out / RECORDS).glob("*.json")) if path.name != SETTINGS]
    people = [json.loads(path.read_text(encoding="utf-8"))["rows"] for path in records]
    return [row for rows in sorted(people, key=lambda rows: bool(rows[0]["parents"])) for row in rows]


def _run(tasks: list[Task], mesh: Path, workers: int) -> Iterator[tuple[str, str]]:
    """(note, problem) of each person as they are finished, in any order."""
    if workers == 1:
        cv2.setNumThreads(1)
        model = Mesh.load(mesh)
        for task in tasks:
            yield _try(task, model)
        return
    with _single_threads(), ProcessPoolExecutor(workers, get_context("spawn"), _begin, (mesh,)) as pool:
        try:
            Mesh.load(mesh)  # what is wrong with it is said here, once
            for done in as_completed([pool.submit(_work, task) for task in tasks]):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(mesh: Path) -> None:
    """Of a worker process."""
    global _mesh

    def end_with_parent() -> None:
        parent_process().join()
        os._exit(1)  # the parent was killed: nobody waits for this work

    threading.Thread(target=end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _mesh = Mesh.load(mesh)


def _work(task: Task) -> tuple[str, str]:
    assert _mesh is not None
    return _try(task, _mesh)


def _try(task: Task, mesh: Mesh) -> tuple[str, str]:
    try:
        return make(task, mesh), ""
    except RunError:
        raise
    except ExprGANError as error:
        return "", f"{task.sitter.subject}: {error}"


@contextmanager
def _single_threads() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

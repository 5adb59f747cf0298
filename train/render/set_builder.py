"""Builds the whole set: renders the people on all cores, then writes metadata.csv. A stopped build can be continued."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import closing
from functools import lru_cache
from pathlib import Path

import cv2
from tqdm import tqdm

from exprgan.atomic_write import delete_partial_files
from exprgan.errors import ExprGANError
from exprgan.process_pool import map_items

from ..core.files import write_json, writes_folder
from ..core.train_errors import DataError, RunError
from ..data.licences import SOURCES_NAME, add_sources
from ..data.metadata import METADATA_NAME, raise_problems, write_metadata
from ..data.picture_pack import pack_if_large
from ..data.splits import read_splits, split_families
from ..data.validation import summarize_splits
from .face_model.mesh import Mesh
from .person_renderer import RECORDS_FOLDER, RenderTask, render_person, select_settings
from .photo_manifest import Person, collect_source_sets, read_manifest
from .render_config import RenderConfig

SETTINGS_NAME = "settings.json"


@writes_folder(lambda config: config.out)
def build_set(config: RenderConfig) -> None:
    """Renders the people who are not finished yet, and writes the tables of the folder.

    Raises:
        DataError: manifest or mesh are invalid, OUT was begun with other settings, or people cannot be rendered, in which
            case the message names each of them and the others are finished.
        RunError: OUT cannot be written.
    """
    out = Path(config.out)
    people = read_manifest(Path(config.photos), Path(config.manifest) if config.manifest else None)
    tasks = _plan_tasks(people, config)
    _check_settings(out, config)
    pending = [task for task in tasks if not task.is_finished()]
    print(f"{len(tasks):,} people, {len(tasks) - len(pending):,} of them finished before")
    if any(task.record_path.exists() for task in pending):  # metadata.csv lists their old pictures
        (out / METADATA_NAME).unlink(missing_ok=True)
    notes, problems = [], []
    with tqdm(total=len(pending), desc="people", unit="person") as progress:
        for note, problem in _render_all(pending, config):
            notes += [note] if note else []
            problems += [problem] if problem else []
            progress.update()
    for note in notes:
        print(f"note: {note}")
    raise_problems("these people could not be rendered", sorted(problems), "Mend them, or take them out of the manifest")
    delete_partial_files(out)
    rows = _read_rows(out)
    add_sources(out / SOURCES_NAME, collect_source_sets(people))
    pack_if_large(out, [row["file_name"] for row in rows], config.image_size)
    write_metadata(out, rows)
    print(f"{out}: {len(rows):,} pictures\n{summarize_splits(rows)}")


def _plan_tasks(people: list[Person], config: RenderConfig) -> list[RenderTask]:
    splits = {person.subject: person.split for person in people if person.split}
    splits |= read_splits(Path(config.split_from)) if config.split_from else {}
    splits = split_families({person.subject: person.parents for person in people}, splits, config.test_share)
    if left_out := [person.subject for person in people if person.subject not in splits]:
        names = ", ".join(left_out[:5])
        print(f"note: {len(left_out):,} mixed people have parents in both splits and are left out: {names}")
    try:
        mesh_hash = hashlib.sha256(Path(config.mesh).read_bytes()).hexdigest()
    except OSError as error:
        message = f"the mesh {config.mesh} cannot be read ({error.strerror}); name the file that `prepare mesh` wrote"
        raise DataError(message) from error
    return [RenderTask(person, splits[person.subject], config, mesh_hash) for person in people if person.subject in splits]


def _check_settings(out: Path, config: RenderConfig) -> None:
    """Writes the settings into a new folder, or checks that a folder was begun with the same ones."""
    path, settings = out / RECORDS_FOLDER / SETTINGS_NAME, select_settings(config)
    try:
        begun = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        write_json(path, settings)
        return
    differing = [name for name, value in settings.items() if begun.get(name) != value]
    differing = [f"{name} {begun.get(name)!r}, not {settings[name]!r}" for name in differing]
    raise_problems(f"{out} was begun with other settings", differing, "Give the same ones, or choose another --out")


def _read_rows(out: Path) -> list[dict[str, str]]:
    """Reads the rows of everybody in the folder, real people first."""
    paths = [path for path in sorted((out / RECORDS_FOLDER).glob("*.json")) if path.name != SETTINGS_NAME]
    rows = [row for path in paths for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]
    return sorted(rows, key=lambda row: bool(row["parents"]))


def _render_all(tasks: list[RenderTask], config: RenderConfig) -> Iterator[tuple[str, str]]:
    """Renders people in one or several processes; yields a note and a problem for each, empty if there is none."""
    if tasks:
        _load_mesh(config.mesh, tasks[0].mesh_hash)  # so that an invalid mesh is reported once
    workers = min(config.workers or os.cpu_count() or 1, max(len(tasks), 1))
    with closing(map_items(_render_or_report, tasks, workers, _report_death)) as results:
        yield from results


def _report_death(task: RenderTask, how: str) -> tuple[str, str]:
    return "", f"{task.person.subject}: the process that rendered it died ({how}); is memory short?"


def _render_or_report(task: RenderTask) -> tuple[str, str]:
    cv2.setNumThreads(1)
    try:
        return render_person(task, _load_mesh(task.config.mesh, task.mesh_hash)), ""
    except RunError:
        raise
    except ExprGANError as error:
        return "", f"{task.person.subject}: {error}"


@lru_cache(maxsize=1)
def _load_mesh(path: str, content_hash: str) -> Mesh:
    """Loads the mesh once per process, unless the file's content has changed."""
    return Mesh.load(Path(path))

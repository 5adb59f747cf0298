"""Paths that must stay in a folder: those in tables and records that somebody else may have written, and links."""

import functools
import os
from collections.abc import Iterable
from pathlib import Path


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path lies in a folder when all links are followed. Neither needs to exist.

    A snapshot in the Hub's cache contains the blobs of its repository, which it links to.
    """
    root, target = Path(os.path.realpath(folder)), Path(os.path.realpath(path))
    in_cache = root.parent.name == "snapshots" and target.parent == root.parents[1] / "blobs"
    return in_cache or target.is_relative_to(root)


def stays_inside(name: str) -> bool:
    """Whether a relative path names something below the folder that it starts at, links left aside: no "..", no root."""
    path = Path(name)
    return "\0" not in name and not path.is_absolute() and not path.drive and ".." not in path.parts


def find_path_problems(names: Iterable[str], folder: Path) -> dict[str, str]:
    """Finds the paths in a table that do not name something in its folder.

    Args:
        names: paths as the table has them, relative to the folder.
        folder: the folder; it may itself be a link.

    Returns:
        path -> what is wrong with it, such as "leads out of DATA by a link"; without the paths that are right.
    """
    inside = functools.cache(lambda path: is_inside(path, folder))
    problems = {}
    for name in dict.fromkeys(names):
        if not stays_inside(name):
            problems[name] = f"leads out of {folder}: it is absolute, or has .. in it"
        elif (path := folder / name) != folder and not inside(path if os.path.islink(path) else path.parent):
            problems[name] = f"leads out of {folder} by a link"
    return problems

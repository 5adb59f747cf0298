"""`credits`: lists in Markdown to whom the photos of data sets are owed, from their sources.csv."""

from collections.abc import Sequence
from pathlib import Path

from ..core.files import write_text
from ..core.train_errors import DataError
from ..data.licences import SOURCES_NAME, SourceSet, credit_lines, read_sources

START, END = "<!-- credits: made by `python -m train credits` -->", "<!-- end of credits -->"
"""Lines of a file between which the list is written."""


def write_credits(sources: Sequence[str], out: str = "") -> str:
    """Prints the list, or writes it between the lines `START` and `END` of a file.

    Args:
        sources: folders of photos or training folders, with sources.csv; or a manifest.csv or sources.csv by name.
        out: a file with `START` and `END` in it, or a new one; empty to print.

    Returns:
        The list.

    Raises:
        DataError: a sources.csv is missing or incomplete, or `out` lacks the two lines.
        RunError: `out` cannot be written.
    """
    sets: dict[SourceSet, None] = {}
    for source in map(Path, sources):
        folder = source if source.is_dir() else source.parent
        sets |= dict.fromkeys(read_sources(folder / SOURCES_NAME).values())
    text = credit_lines(sets)
    if not out:
        print(text)
        return text
    path = Path(out)
    content = path.read_text(encoding="utf-8") if path.is_file() else f"# Credits\n\n{START}\n{END}\n"
    head, start, rest = content.partition(START)
    _, end, tail = rest.partition(END)
    if not start or not end:
        raise DataError(f"{out} lacks the markers for the credits; add the lines {START!r} and {END!r}")
    write_text(path, f"{head}{START}\n{text}\n{END}{tail}")
    print(f"{out}: credits of {len(sets):,} sets of photos")
    return text

"""`credits`: whose pictures a set descends from, as a list in Markdown, from what manifests and training folders state."""

from collections.abc import Sequence
from pathlib import Path

from ..core.files import write_text
from ..data.licences import SOURCES_NAME, SourceSet, credit_lines, read_sources
from ..data.metadata import DataError

START, END = "<!-- credits: made by `python -m train credits` -->", "<!-- end of credits -->"
"""Between these lines of a file the list stands."""


def write_credits(places: Sequence[str], out: str = "") -> str:
    """Prints the list, or writes it between the two lines of a file.

    Args:
        places: folders of photos or training folders, with sources.csv; or a manifest.csv or sources.csv by name.
        out: a file with `START` and `END` in it, or a new one; empty to print.

    Returns:
        The list.

    Raises:
        DataError: a place has no sources.csv, or one that does not state all it should, or `out` lacks the two lines.
        RunError: `out` cannot be written.
    """
    sets: dict[SourceSet, None] = {}
    for place in places:
        path = Path(place) if Path(place).is_dir() else Path(place).parent
        sets |= dict.fromkeys(read_sources(path / SOURCES_NAME).values())
    text = credit_lines(sets)
    if not out:
        print(text)
        return text
    path = Path(out)
    before = path.read_text(encoding="utf-8") if path.is_file() else f"# Credits\n\n{START}\n{END}\n"
    head, start, rest = before.partition(START)
    _, end, tail = rest.partition(END)
    if not start or not end:
        raise DataError(f"{out} does not say where credits go; put the two lines {START!r} and {END!r} there")
    write_text(path, f"{head}{START}\n{text}\n{END}{tail}")
    print(f"{out}: credits of {len(sets):,} sets of photos")
    return text

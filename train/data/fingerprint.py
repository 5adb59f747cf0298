"""Identity and contents of a training folder in numbers, for the metadata of published weights and for cards."""

import hashlib
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from exprgan.csv_cells import remove_formulas

from .licences import SOURCES_NAME, read_sources
from .metadata import METADATA_NAME, read_metadata
from .picture_pack import PicturePack


def fingerprint(root: str | Path) -> dict[str, Any]:
    """Computes the hash of a folder's content, counts, and credits. Contains no path and no host name.

    Returns:
        sha256 (of the table as it is published, without formulas, and every picture in it, by its pixels if the folder is
        packed), pictures, people, splits,
        labels and kinds (name -> pictures), the different values of the columns licence and credit, the most frequent
        first, and the rows of sources.csv, if any.

    Raises:
        DataError: there is no valid metadata.csv, a sources.csv that does not state all it should, or an outdated pack.
    """
    root = Path(root)
    rows = read_metadata(root)
    content = hashlib.sha256(remove_formulas((root / METADATA_NAME).read_bytes()))
    names = sorted({row["file_name"] for row in rows})
    pack = PicturePack.find(root, names)
    for name in names:
        if pack:
            content.update(name.encode() + b"\0" + pack.pictures[name].digest)
        elif (root / name).is_file():
            content.update(name.encode() + b"\0" + hashlib.sha256((root / name).read_bytes()).digest())

    def count(column: str) -> dict[str, int]:
        return dict(Counter(text for row in rows if (text := (row.get(column) or "").strip())).most_common())

    sources = read_sources(root / SOURCES_NAME) if (root / SOURCES_NAME).is_file() else {}
    return {
        "sha256": content.hexdigest(),
        "pictures": len(rows),
        "people": len(count("subject")),
        "splits": count("split"),
        "labels": count("expression"),
        "kinds": count("kind"),
        "licences": list(count("licence")),
        "credits": list(count("credit")),
        "sources": [asdict(source) for source in sources.values()],
    }

"""Uploads a training folder to the Hub in its imagefolder form: metadata.csv, the pictures it names, and a card."""

from pathlib import Path

from exprgan.csv_cells import remove_formulas
from exprgan.expressions import EXPRESSIONS, NEUTRAL
from exprgan.folder_paths import find_path_problems
from exprgan.models.model_card import CARD_NAME, licence_id, render_card

from ..data.fingerprint import fingerprint
from ..data.licences import SOURCES_NAME, SourceSet, credit_lines
from ..data.metadata import METADATA_NAME, raise_problems, read_unchecked_metadata
from ..data.picture_pack import PACK_FOLDER, PicturePack
from ..data.validation import find_problems
from .hub_upload import HubConfig, push

DATA_CARD = Path(__file__).parent / "templates" / "data_card.md"
PICTURE_PATTERNS = ("*.png", "*.jpg", "*.jpeg", "*.webp", f"{PACK_FOLDER}/*")


def publish_data(data: str, hub: HubConfig) -> None:
    """Validates a training folder and uploads it in one commit.

    If its pictures are packed at their own size (see `picture_pack`), the pack is sent in their place: a few large files.
    The same call after a stopped one sends only those of them that had not arrived.

    Args:
        data: the folder. A README.md in it is used as the card; otherwise one is made from metadata.csv and sources.csv.
        hub: the repository. Pictures there that metadata.csv does not name are deleted.

    Raises:
        ValueError: no repository is named.
        DataError: the folder is not valid, or names a picture outside of it.
        RunError: the Hub cannot be reached or refuses.
    """
    if not hub.repo:
        raise ValueError("name the repository in --repo, such as --repo org/faces")
    root = Path(data)
    rows = read_unchecked_metadata(root)
    labels = {row["expression"].strip().lower() for row in rows} - {"", NEUTRAL, *EXPRESSIONS}
    raise_problems(data, find_problems(root, (*EXPRESSIONS, *sorted(labels))))
    names = [row["file_name"] for row in rows]
    pack = PicturePack.find(root, names)
    if pack and all(pack.pictures[name].side == pack.image_size for name in names):
        paths = [path for table in pack.files for path in (table, table.with_suffix(".csv"))]
        files: dict[str, Path | bytes] = {f"{PACK_FOLDER}/{path.name}": path for path in paths}
    else:
        files = {name: root / name for name in names}
    files |= {name: root / name for name in (METADATA_NAME, SOURCES_NAME, CARD_NAME) if (root / name).is_file()}
    raise_problems(data, [f"{name} {problem}" for name, problem in find_path_problems(files, root).items()],
                   "Only what is in the folder is published")  # fmt: skip
    files |= {name: remove_formulas((root / name).read_bytes()) for name in (METADATA_NAME, SOURCES_NAME) if name in files}
    if CARD_NAME not in files:
        info = fingerprint(root)
        sources = credit_lines(SourceSet(**row) for row in info["sources"])
        files[CARD_NAME] = render_card(DATA_CARD, repo=hub.repo, data=info, licence=licence_id(info), columns=list(rows[0]),
                                       sources=sources).encode()  # fmt: skip
    push(files, hub, repo_type="dataset", title="Publish a training folder", stale=(*PICTURE_PATTERNS, SOURCES_NAME))

"""A training folder to the Hub: metadata.csv, the pictures it names, and a card. The form is the Hub's imagefolder."""

from pathlib import Path

from exprgan.expressions import EXPRESSIONS, NEUTRAL

from ..data.fingerprint import fingerprint
from ..data.licences import SOURCES_NAME, SourceSet, credit_lines
from ..data.metadata import METADATA_NAME, DataError, read_metadata, raise_listing
from ..data.validation import problems
from .hub_upload import HubConfig, push
from .model_card import CARD_NAME, DATA_CARD, licence_of, render

PICTURES = ("*.png", "*.jpg", "*.jpeg", "*.webp")


def publish_data(data: str, hub: HubConfig) -> None:
    """Checks a training folder and sends it, in one commit.

    Args:
        data: the folder; a README.md in it is taken as the card, otherwise one is made of metadata.csv and sources.csv.
        hub: where on the Hub it goes. Pictures there that metadata.csv does not name any more are deleted.

    Raises:
        ValueError: no repository is named.
        DataError: the folder is not sound, or names a picture outside of it.
        RunError: the Hub cannot be reached or refuses.
    """
    if not hub.repo:
        raise ValueError("name the repository in --repo, such as --repo org/faces")
    root = Path(data)
    rows = read_metadata(root)
    labels = {row["expression"].strip().lower() for row in rows} - {"", NEUTRAL, *EXPRESSIONS}
    raise_listing(data, problems(root, (*EXPRESSIONS, *sorted(labels))))
    files: dict[str, Path | bytes] = {row["file_name"]: root / row["file_name"] for row in rows}
    if outside := [name for name in files if not (root / name).resolve().is_relative_to(root.resolve())]:
        raise DataError(f"{outside[0]} lies outside of {data}; only what is in the folder is published")
    files[METADATA_NAME] = root / METADATA_NAME
    if (root / SOURCES_NAME).is_file():
        files[SOURCES_NAME] = root / SOURCES_NAME
    known = fingerprint(root)
    own = root / CARD_NAME
    files[CARD_NAME] = own if own.is_file() else render(
        DATA_CARD, repo=hub.repo, data=known, licence=licence_of(known), columns=list(rows[0]),
        sources=credit_lines(SourceSet(**one) for one in known["sources"]),
    ).encode()  # fmt: skip
    push(files, hub, kind="dataset", title="Publish a training folder", stale=(*PICTURES, SOURCES_NAME))

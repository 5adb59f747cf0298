"""Manifests that need not be written by hand: of the two sets that the published pictures are made from, with what is known
of them; and of one's own photos, to be filled in."""

import re
from pathlib import Path

from ..data.licences import SourceSet
from ..data.metadata import SHOWN, DataError, read_table
from .photo_manifest import MANIFEST_NAME, write_manifest

LONDON = SourceSet(
    name="london",
    licence="CC-BY-4.0",
    consent="signed, for use of the images in lab-based and web-based studies in their original or altered forms and to "
    "illustrate research",
    credit="Face Research Lab London Set, DeBruine & Jones 2017, doi:10.6084/m9.figshare.5047666",
    url="https://doi.org/10.6084/m9.figshare.5047666",
)
CANADA = SourceSet(
    name="canada",
    licence="CC-BY-4.0",
    consent="signed, for use of the images in original or altered form",
    credit="Young Adult White Faces with Manipulated Versions, DeBruine & Jones 2017, doi:10.6084/m9.figshare.4220517",
    url="https://doi.org/10.6084/m9.figshare.4220517",
)
"""Licences and the London sitters' consent as the sets' pages on figshare and https://github.com/debruine/webmorphR.stim
state them."""
SETS = (LONDON, CANADA)
UNKNOWN = ("", "na")  # as R writes what it does not know


def webmorph_rows(photos: Path) -> list[dict[str, str]]:
    """The manifest's rows for london/ and canada/ beside london_info.csv and canada_info.csv, or webmorphR.stim unpacked.

    Raises:
        DataError: neither table is there, or none of the people in them has a photo with its template.
    """
    places = {(path.parent.name, path.name): path for path in sorted(photos.rglob("*.*"), reverse=True) if path.is_file()}
    rows, absent = [], []
    for known, prefix, folders, suffix, balance in (
        (LONDON, "L", ("london", "neutral_front"), "_03", ""),
        (CANADA, "C", ("canada",), "", "yes"),  # taken before a coloured wall
    ):
        for line in _info(photos, f"{known.name}_info.csv"):
            name = line["face_id"]
            photo = _first(places, folders, f"{name}{suffix}.jpg")
            template = _first(places, folders, f"{name}{suffix}.tem")
            if not photo or not template:
                absent.append(prefix + name)
                continue
            smile = _first(places, ("london", "smiling_front"), f"{name}_08.jpg") if known is LONDON else None
            rows.append({
                "subject": prefix + name,
                "photo": photo.relative_to(photos).as_posix(),
                "template": template.relative_to(photos).as_posix(),
                "smile": smile.relative_to(photos).as_posix() if smile else "",
                "sex": _known(line, "face_gender"),
                "age": _known(line, "face_age"),
                "ethnicity": _known(line, "face_eth"),
                "balance": balance,
                "source_set": known.name,
            })  # fmt: skip
    if not rows:
        raise DataError(f"{photos} has neither london_info.csv with london/001_03.jpg nor canada_info.csv with "
                        "canada/003f.jpg; name the folder that holds them")  # fmt: skip
    if absent:
        more = f" and {len(absent) - SHOWN:,} more" if len(absent) > SHOWN else ""
        print(f"without a photo and its template: {', '.join(absent[:SHOWN])}{more}")
    return rows


def own_rows(photos: Path) -> list[dict[str, str]]:
    """Rows to go on from by hand: every photo a person, with the template of the same name where there is one.

    Raises:
        DataError: there is no photo.
    """
    found = sorted(path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not found:
        raise DataError(f"{photos} holds no photos (.jpg, .png); name the folder that does")
    rows = []
    for path in found:
        template = path.with_suffix(".tem")
        below = path.relative_to(photos)
        rows.append({
            "subject": re.sub(r"\W+", "-", below.with_suffix("").as_posix()).strip("-"),
            "photo": below.as_posix(),
            "template": template.relative_to(photos).as_posix() if template.is_file() else "",
            "source_set": "ours",
        })  # fmt: skip
    return rows


LAYOUTS = {"webmorph": (webmorph_rows, SETS), "own": (own_rows, (SourceSet("ours", "", "", ""),))}


def make_manifest(layout: str, photos: str, out: str) -> None:
    """The verb: writes a manifest and sources.csv for a folder of photos.

    Args:
        layout: webmorph, or own: to be filled in.
        photos: the folder; it may be read-only.
        out: the manifest, in another folder too; empty for PHOTOS/manifest.csv.

    Raises:
        DataError: the photos are not there, or there is a manifest already.
        RunError: it cannot be written.
    """
    root, path = Path(photos), Path(out or Path(photos) / MANIFEST_NAME)
    if not root.is_dir():
        raise DataError(f"{photos} is no folder; name the one that holds the photos")
    if path.exists():
        raise DataError(f"{path} is there already; delete it first, or name another file in --out")
    find, sets = LAYOUTS[layout]
    rows = find(root)
    write_manifest(path, rows, sets)
    print(f"{path}: {len(rows):,} people")
    if layout == "own":
        print(f"state licence, consent and credit in {path.with_name('sources.csv')}; until then no photo is used")


def _info(photos: Path, name: str) -> list[dict[str, str]]:
    found = sorted(photos.rglob(name), key=lambda path: (len(path.parts), path))
    return read_table(found[0], ("face_id", "face_age", "face_gender")) if found else []


def _first(places: dict[tuple[str, str], Path], folders: tuple[str, ...], name: str) -> Path | None:
    return next((places[folder, name] for folder in folders if (folder, name) in places), None)


def _known(line: dict[str, str], column: str) -> str:
    text = (line.get(column) or "").strip()
    return "" if text.lower() in UNKNOWN else text

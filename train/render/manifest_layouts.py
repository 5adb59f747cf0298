"""Writes manifests: complete ones for the two published photo sets, and ones to be completed for other photos."""

import re
from pathlib import Path

from ..core.train_errors import DataError
from ..data.licences import SourceSet
from ..data.metadata import MAX_LISTED, read_table
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
"""Licences and consent as stated on the sets' pages on figshare and https://github.com/debruine/webmorphR.stim."""
SETS = (LONDON, CANADA)
UNKNOWN = ("", "na")  # R writes missing values as NA


def list_webmorph_photos(photos: Path) -> list[dict[str, str]]:
    """Returns the manifest's rows for london/ and canada/, from london_info.csv and canada_info.csv.

    Args:
        photos: the folder of both tables, or that of webmorphR.stim.

    Raises:
        DataError: neither table is there, or none of the people in them has a photo with its template.
    """
    paths = {(path.parent.name, path.name): path for path in sorted(photos.rglob("*.*"), reverse=True) if path.is_file()}

    def find_photo(folders: tuple[str, ...], name: str) -> str:
        """Returns the path of a file in the first of the folders that has it, relative to `photos`; "" without one."""
        path = next((paths[folder, name] for folder in folders if (folder, name) in paths), None)
        return path.relative_to(photos).as_posix() if path else ""

    rows, missing = [], []
    for source, prefix, folders, suffix, balance in (
        (LONDON, "L", ("london", "neutral_front"), "_03", ""),
        (CANADA, "C", ("canada",), "", "yes"),  # taken in front of a coloured wall
    ):
        tables = sorted(photos.rglob(f"{source.name}_info.csv"), key=lambda path: (len(path.parts), path))
        for row in read_table(tables[0], ("face_id", "face_age", "face_gender")) if tables else ():
            name = row["face_id"]
            photo, template = (find_photo(folders, f"{name}{suffix}{extension}") for extension in (".jpg", ".tem"))
            if not photo or not template:
                missing.append(prefix + name)
                continue
            stated = {
                column: "" if (text := (row.get(f"face_{key}") or "").strip()).lower() in UNKNOWN else text
                for column, key in (("sex", "gender"), ("age", "age"), ("ethnicity", "eth"))
            }
            smile = find_photo(("london", "smiling_front"), f"{name}_08.jpg") if source is LONDON else ""
            rows.append({"subject": prefix + name, "photo": photo, "template": template, "smile": smile, **stated,
                         "balance": balance, "source_set": source.name})  # fmt: skip
    if not rows:
        raise DataError(f"{photos} has neither london_info.csv with london/001_03.jpg nor canada_info.csv with "
                        "canada/003f.jpg; name the folder that holds them")  # fmt: skip
    if missing:
        more = f" and {len(missing) - MAX_LISTED:,} more" if len(missing) > MAX_LISTED else ""
        print(f"without a photo and its template: {', '.join(missing[:MAX_LISTED])}{more}")
    return rows


def list_photos(photos: Path) -> list[dict[str, str]]:
    """Returns rows to be completed by hand: a person for each photo, with the template of the same name if there is one.

    Raises:
        DataError: there is no photo.
    """
    paths = sorted(path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not paths:
        raise DataError(f"{photos} holds no photos (.jpg, .png); name the folder that does")
    rows = []
    for path in paths:
        template, name = path.with_suffix(".tem"), path.relative_to(photos)
        rows.append({
            "subject": re.sub(r"\W+", "-", name.with_suffix("").as_posix()).strip("-"),
            "photo": name.as_posix(),
            "template": template.relative_to(photos).as_posix() if template.is_file() else "",
            "source_set": "ours",
        })  # fmt: skip
    return rows


LAYOUTS = {"webmorph": (list_webmorph_photos, SETS), "own": (list_photos, (SourceSet("ours", "", "", ""),))}


def make_manifest(layout: str, photos: str, out: str) -> None:
    """Writes a manifest and sources.csv for a folder of photos.

    Args:
        layout: "webmorph", or "own" for a manifest to be completed by hand.
        photos: the folder; it may be read-only.
        out: path of the manifest, also in another folder; empty for PHOTOS/manifest.csv.

    Raises:
        DataError: there are no photos, or there is a manifest already.
        RunError: the manifest cannot be written.
    """
    root, path = Path(photos), Path(out or Path(photos) / MANIFEST_NAME)
    if not root.is_dir():
        raise DataError(f"{photos} is no folder; name the one that holds the photos")
    if path.exists():
        raise DataError(f"{path} is there already; delete it first, or name another file in --out")
    list_rows, sets = LAYOUTS[layout]
    rows = list_rows(root)
    write_manifest(path, rows, sets)
    print(f"{path}: {len(rows):,} people")
    if layout == "own":
        print(f"state licence, consent and credit in {path.with_name('sources.csv')}; until then no photo is used")

"""The report of a reproduction: measured numbers beside the paper's, as Markdown and HTML from one list of sections."""

import platform
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import torch

from exprgan.markdown import markdown_environment

from ..core.files import read_json, write_text
from ..data.metadata import read_metadata
from ..data.prepare import REPORT_NAME
from .table1 import paper_accuracy

TEMPLATES = Path(__file__).parent / "templates"

CAPTIONS = {
    2: "Editing against ground truth and CAAE. The decoder's output, as in the paper.",
    3: "Styles and intensities: each element of c_i alone, then all of them together.",
    4: "Transfer: the classifier reads the label of the upper face, Q its code.",
    5: "New people: noise instead of g(x).",
    6: "t-SNE of g(x), of held-out people and of training people.",
    7: "Retrieval by code, label and pixels among the pictures of other people.",
}


@dataclass(frozen=True)
class Section:
    """A heading and its content, texts without markup, of which every part may be empty."""

    title: str
    text: str = ""
    head: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)
    pictures: tuple[str, ...] = ()


def write_report(out: Path, data: str, source: str, settings: dict[str, Any]) -> Path:
    """Writes OUT/report.md and OUT/report.html from the steps' results in OUT. Returns the latter."""
    sections = [_about(out, source), _data(data), _results(out), _table1(out), *_figures(out), _settings(settings),
                _times(out)]  # fmt: skip
    loader = jinja2.FileSystemLoader(TEMPLATES)
    html = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined,
                              keep_trailing_newline=True)  # fmt: skip
    for name, environment in (("report.md", markdown_environment(loader=loader)), ("report.html", html)):
        write_text(out / name, environment.get_template(f"{name}.jinja").render(sections=sections))
    return out / "report.html"


def _about(out: Path, source: str) -> Section:
    results = read_json(out / "weights" / "results.json")
    data = "Oulu-CASIA" if source == "oulu" else "other pictures than the paper's"
    note = "" if source == "oulu" else " The paper's numbers, shown beside them, are for Oulu-CASIA."
    return Section(
        "ExprGAN, reproduced",
        f"Measured on {data} with code {results.get('commit', 'unknown')}, torch {torch.__version__.split('+')[0]}, "
        f"Python {platform.python_version()}, weights evaluated on {results.get('device', 'unknown')}, "
        f"{results.get('date', 'unknown date')}.{note}",
    )


def _data(data: str) -> Section:
    rows = read_metadata(Path(data))
    paper = {"train": ("1,296", "72"), "test": ("144", "8")}
    lines = []
    for split, (paper_pictures, paper_people) in paper.items():
        of_split = [row for row in rows if row["split"] == split]
        labels = Counter(row["expression"].strip() or "of no class" for row in of_split)
        counts = ", ".join(f"{label} {count:,}" for label, count in sorted(labels.items()))
        people = len({row["subject"] for row in of_split})
        lines.append((split, f"{len(of_split):,}", paper_pictures, f"{people:,}", paper_people, counts))
    missing = len(read_json(Path(data) / REPORT_NAME).get("missing", ()))
    text = "No person is in both splits."
    if missing:
        text += f" The set was not complete; {REPORT_NAME} has {missing:,} lines on what is missing."
    return Section("Data", text,
                   ("split", "pictures", "the paper", "people", "the paper", "here, by expression"), lines)  # fmt: skip


def _results(out: Path) -> Section:
    exprgan, caae = (read_json(out / name / "results.json").get("metrics", {}) for name in ("weights", "caae"))
    rows = []
    for metric, values in exprgan.items():
        for kind, value in values.items():
            baseline = caae.get(metric, {}).get(kind)
            rows.append((metric.replace("_", " "), kind.replace("_", " "), f"{value:.3f}",
                         "" if baseline is None else f"{baseline:.3f}"))  # fmt: skip
    text = (
        "On held-out people; the paper has no numbers for these. All are measured by the face network that was trained "
        "here. 'decoder' is G_dec's output; 'model' and 'detail' are the same here, the output pasted into the photo, "
        "since no T is trained; 'real' is the data set's own pictures."
    )
    return Section("Editing", text, ("metric", "pictures", "ExprGAN", "CAAE"), rows)


def _table1(out: Path) -> Section:
    table = read_json(out / "table1" / "table1.json")
    if not table:
        return Section("Table 1", "Not measured.")
    rows = []
    for row in table["rows"]:
        deviation = "" if row["deviation"] is None else f" ± {100 * row['deviation']:.2f}"
        runs = ", ".join(f"{100 * accuracy:.2f}" for accuracy in row["runs"])
        rows.append((f"{row['synthetic_pictures']:,}", f"{100 * row['accuracy']:.2f}{deviation}", runs,
                     paper_accuracy(row["synthetic_pictures"])))  # fmt: skip
    text = (
        f"Accuracy (%) on {table['test_pictures']:,} pictures of held-out people, mean ± standard deviation. Every "
        f"classifier has G_enc's layers and {table['settings']['steps']:,} steps; the real pictures are "
        f"{table['real_pictures']:,} of {table['real_people']:,} people. The generator was trained on all training people, "
        "even where the classifier is trained on few."
    )
    return Section("Table 1", text, ("synthetic pictures", "accuracy", "runs", "the paper, on Oulu-CASIA"), rows)


def _figures(out: Path) -> list[Section]:
    names = {number: f"figures/figure-{number}.png" for number in CAPTIONS}
    return [Section(f"Figure {number}", CAPTIONS[number], pictures=(name,))
            for number, name in names.items() if (out / name).is_file()]  # fmt: skip


def _settings(settings: dict[str, Any]) -> Section:
    paper = {"batch_size": "48", "image_size": "128", "z_dim": "50", "width": "1.0", "rows": "0,3000,6000,30000,60000"}
    rows = [(name.replace("_", " "), str(value), paper.get(name, "")) for name, value in settings.items()]
    return Section("Settings", "Cells are empty where the paper states no value.", ("setting", "here", "the paper"), rows)


def _times(out: Path) -> Section:
    records = {path.stem.partition("-")[2]: read_json(path) for path in sorted((out / "steps").glob("*.json"))}
    rows = [(name, f"{record['seconds'] / 60:.1f}") for name, record in records.items() if "seconds" in record]
    text = "Minutes of each step; of a resumed step, those since it was last resumed."
    return Section("Time", text, ("step", "minutes"), rows)

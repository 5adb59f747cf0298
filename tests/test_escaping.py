"""Texts from data in cards, credits, reports and tables: they are shown as they are, whatever markup they imitate."""

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from exprgan.csv_cells import escape_cell, format_row, remove_formulas, unescape_cell
from exprgan.markdown import escape_markdown
from exprgan.models.model_card import render_card, write_card
from train.data.fingerprint import fingerprint
from train.data.licences import SourceSet, credit_lines, read_sources, write_sources
from train.data.metadata import read_metadata, write_metadata
from train.paper.reproduction_report import write_report
from train.publish.publish_dataset import DATA_CARD

HOSTILE = (
    "<script>alert(1)</script>",
    "a | b | c",
    "`code` and ```fence```",
    "[link](javascript:alert(1)) ![](x.png)",
    "first\n\n# second\n---\nlicense: mit",
    "*bold* _word_ __x__ ~~gone~~ $x$ \\* &lt;b&gt; &#60;",
    "<!-- end of credits -->",
    "- item\r\n- item",
    "# heading",
    "1. first",
)


class _Page(HTMLParser):
    """Collects the tags and the text of a page."""

    def __init__(self, markdown: str):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data

    def handle_comment(self, data):
        self.tags.append("comment")


def one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(("form", "tags"), [
    ("about {} here", ["p"]),
    ("- {}", ["ul", "li"]),
    ("| a | b |\n|---|---|\n| {} | 1 |", ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td"]),
])  # fmt: skip
def test_a_text_of_markup_is_shown_as_it_is(text, form, tags):
    page, plain = (_Page(form.format(some)) for some in (escape_markdown(text), "PLAIN"))
    assert page.tags == plain.tags == tags
    assert one_line(page.text) == one_line(plain.text.replace("PLAIN", text))


@settings(deadline=None, max_examples=150)
@given(st.text(st.sampled_from("ab1 .#*_`[]()<>&;!|~\\-+=\n\"'$:/"), max_size=20).filter(str.strip))
def test_any_text_is_one_list_item_without_markup(text):
    page = _Page(f"- x{escape_markdown(text)}")
    assert page.tags == ["ul", "li"] and one_line(page.text) == one_line(f"x{text}")


def hostile_folder(folder: Path, faces: Path) -> Path:
    """A training folder with hostile credits, licences, splits and labels, of pictures in `faces`."""
    rows = [row | {"file_name": f"{i}.jpg"} for i, row in enumerate(read_metadata(faces)[: len(HOSTILE)])]
    folder.mkdir()
    texts = zip(HOSTILE, HOSTILE[1:] + HOSTILE[:1], strict=True)
    rows = [row | {"credit": text, "licence": text, "split": text, "expression": other, "kind": "photo"}
            for row, (text, other) in zip(rows, texts, strict=True)]  # fmt: skip
    write_metadata(folder, rows)
    return folder


def front_matter(card: str) -> dict:
    return yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))


def test_a_data_card_shows_hostile_texts_as_they_are(tmp_path, faces_dir):
    info = fingerprint(hostile_folder(tmp_path / "data", faces_dir))
    card = render_card(DATA_CARD, repo="org/x`\n# y", data=info, licence=HOSTILE[4], columns=["intensity"], sources="")
    body = card.split("\n---\n", 1)[1].rpartition("<!-- made by")[0]
    page = _Page(body)
    assert front_matter(card)["license"] == HOSTILE[4] and set(front_matter(card)) == {"license", "task_categories", "tags"}
    assert not {"script", "img", "a", "em", "strong", "s", "comment", "hr", "ol"} & {*page.tags}
    assert page.tags.count("h1") == 1 and page.tags.count("h2") == 1
    assert page.tags.count("td") == 2 * 2 * len(HOSTILE)
    for text in HOSTILE:
        assert one_line(text) in one_line(page.text)


def test_a_model_card_shows_hostile_texts_as_they_are(tmp_path):
    weights = Path(__file__).parents[1] / "weights"
    for name in ("config.json", "results.json", "training.json"):
        (tmp_path / name).write_bytes((weights / name).read_bytes())
    plain = write_card(tmp_path).read_text()
    training, results = (json.loads((tmp_path / name).read_text()) for name in ("training.json", "results.json"))
    training["data"] |= {"credits": list(HOSTILE), "licences": [HOSTILE[4]], "splits": {HOSTILE[0]: 3}}
    training["before"] = {"model": HOSTILE[2], "steps": {HOSTILE[1]: 2}, "data": {"credits": [HOSTILE[0]]}}
    training["cost"] = [{"what": HOSTILE[0], "hours": 1, "cores": 1, "hardware": HOSTILE[3]}]
    results["outside"][0]["name"], results["date"], results["device"] = HOSTILE[1], HOSTILE[0], HOSTILE[3]
    results["metrics"][HOSTILE[0]] = {"real": 1.0}
    for name, values in (("training.json", training), ("results.json", results)):
        (tmp_path / name).write_text(json.dumps(values))
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "](x) <script>.png").write_bytes(b"")
    card = write_card(tmp_path).read_text()
    matter = front_matter(card)
    assert matter["license"] == HOSTILE[4].lower() and matter["base_model"] == HOSTILE[2]
    assert set(matter) == set(front_matter(plain)) | {"base_model", "base_model_relation", "thumbnail"}
    assert HOSTILE[1] in matter["model-index"][0]["results"][0]["metrics"][0]["name"]
    body = card.split("\n---\n", 1)[1].rpartition("<!-- made by")[0]
    page, usual = _Page(body), _Page(plain.split("\n---\n", 1)[1].rpartition("<!-- made by")[0])
    assert {*page.tags} == {*usual.tags} | {"img"} and page.tags.count("img") == 1
    assert page.tags.count("a") == usual.tags.count("a")
    for text in HOSTILE:
        assert one_line(text) in one_line(page.text)


def test_credits_show_hostile_texts_as_they_are():
    sets = [SourceSet(f"set{i}", text, text, text, url=text) for i, text in enumerate(HOSTILE)]
    sets.append(SourceSet("good", "CC0", "signed", "Ann & Bob", url="https://example.org/a_b?c=1&d=2"))
    text = credit_lines(sets)
    page = _Page(text)
    assert page.tags == ["ul", *["li"] * len(sets), "a"] and "<https://example.org/a_b?c=1&d=2>" in text
    assert "- Ann & Bob. Licence: CC0. Consent: signed. <" in text
    for hostile in HOSTILE:
        assert one_line(page.text).count(one_line(hostile)) >= 4


def test_a_report_shows_hostile_labels_as_they_are(tmp_path, faces_dir):
    data = hostile_folder(tmp_path / "data", faces_dir)
    write_metadata(data, [row | {"split": "train"} for row in read_metadata(data)])
    (tmp_path / "out" / "weights").mkdir(parents=True)
    results = {"device": HOSTILE[0], "commit": HOSTILE[3], "date": HOSTILE[1], "metrics": {HOSTILE[1]: {HOSTILE[0]: 1.0}}}
    (tmp_path / "out" / "weights" / "results.json").write_text(json.dumps(results))
    html = write_report(tmp_path / "out", str(data), "folder", {HOSTILE[1]: HOSTILE[0]}).read_text()
    assert "<script>" not in html
    page = _Page((tmp_path / "out" / "report.md").read_text())
    assert not {"script", "img", "a", "em", "code", "comment"} & {*page.tags} and page.tags.count("table") == 3
    for text in HOSTILE:
        assert one_line(text) in one_line(page.text)


CELLS = (
    "=1+1",
    "+x",
    "-x",
    "@x",
    "\tx",
    "\rx",
    "'=x",
    "''-x",
    "'x",
    "x=1",
    "",
    "-0.5",
    "+1e-3",
    "-inf",
    "nan",
    "-1 5",
    "\n=x",
)


def test_cells_are_no_formulas_and_come_back_identical(tmp_path, faces_dir):
    assert [cell for cell in CELLS if escape_cell(cell) != cell] == [*CELLS[:8], "-1 5"]
    rows = [
        row | {"note": cell, "file_name": f"{cell}.jpg"} for row, cell in zip(read_metadata(faces_dir), CELLS, strict=False)
    ]
    write_metadata(tmp_path, rows)
    assert read_metadata(tmp_path) == rows
    with (tmp_path / "metadata.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert {cell for cell in cells if cell[:1] in tuple("=+-@\t\r")} == {"-0.5", "+1e-3", "-inf"}
    write_sources(tmp_path / "sources.csv", [source := SourceSet("a", "=x", "-x", "@x")])
    assert read_sources(tmp_path / "sources.csv")["a"] == source


@given(st.text(st.sampled_from("'=+-@\t\r\n,\"a1. "), max_size=8))
def test_any_cell_comes_back_identical(text):
    assert unescape_cell(escape_cell(text)) == text
    assert list(csv.reader(io.StringIO(format_row([text, "end"])))) == [[escape_cell(text), "end"]]


def test_a_table_without_formulas_is_published_as_it_is():
    usual = b"\xef\xbb\xbffile_name,note\r\na.jpg,-0.5\r\n"
    assert remove_formulas(usual) == usual
    assert remove_formulas(b"file_name,note\na.jpg,=1+1\nb.jpg,'=1\n") == b"file_name,note\na.jpg,'=1+1\nb.jpg,'=1\n"

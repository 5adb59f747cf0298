"""`figures`: the paper's Figures 2 to 7 from any weights and data. A figure is one decorated function of a `Gallery`."""

from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from exprgan.editing.results import Subject
from exprgan.editing.retrieval import BY, distances, vector
from exprgan.editor import ExpressionEditor
from exprgan.expressions import NEUTRAL
from exprgan.models.exprgan import ExprGAN
from exprgan.photo.image_io import EditedImage, mark_edited

from ..data.contact_sheets import save_sheet, contact_sheet
from .figure_subjects import Gallery, scatter

FIGURES: dict[int, Callable[[Gallery], EditedImage]] = {}


def figure(number: int) -> Callable:
    """Files a figure under the paper's number for it."""

    def file(function: Callable[[Gallery], EditedImage]) -> Callable[[Gallery], EditedImage]:
        FIGURES[number] = function
        return function

    return file


def draw_figures(numbers: list[int], weights: str, data: str, out: str, caae: str = "") -> list[Path]:
    """Writes OUT/figure-N.png.

    Args:
        numbers: which figures; none: all.
        weights: a folder that `publish` wrote.
        data: a folder with metadata.csv; faces come from split `test`, the people in Fig. 6 from `train` as well.
        out: folder to write.
        caae: published weights of a `fit --recipe caae` run, for Fig. 2; empty: without.

    Raises:
        ValueError: there is no figure of that number.
    """
    if unknown := [number for number in numbers if number not in FIGURES]:
        raise ValueError(f"there is no figure {unknown[0]}; choose from {', '.join(map(str, sorted(FIGURES)))}")
    baseline = ExpressionEditor(ExprGAN.from_pretrained(caae)) if caae else None
    gallery = Gallery(ExpressionEditor(ExprGAN.from_pretrained(weights)), data, baseline)
    paths = []
    for number in tqdm(numbers or sorted(FIGURES), desc="figures"):
        paths.append(Path(out) / f"figure-{number}.png")
        save_sheet(FIGURES[number](gallery), paths[-1])
    return paths


@figure(2)
def editing(gallery: Gallery, count: int = 4) -> EditedImage:
    """A face with every expression: the set's own pictures of that person, ExprGAN, CAAE."""
    names, rows, row_names, gaps = gallery.expressions, [], [], []
    for person in gallery.some_people(count):
        subject = gallery.calm(person)
        gaps.append(len(rows))
        rows.append([subject.crop, *(gallery.own_picture(person, name) for name in names)])
        row_names.append("ground truth")
        for label, editor in (("ExprGAN", gallery.editor), ("CAAE", gallery.caae)):
            if editor:
                rows.append([None, *(editor.edit(editor.read_crop(subject.crop), name).crop for name in names)])
                row_names.append(label)
    return contact_sheet(rows, row_names=row_names, column_names=["input", *names], gaps=gaps[1:],
                 title="Fig. 2: Editing the expression of people the model has never seen")  # fmt: skip


@figure(3)
def intensities(gallery: Gallery, levels: int = 5) -> EditedImage:
    """Each column another person and expression: the d styles (one element of c_i is 1), and a slider's intensities."""
    names = (*gallery.expressions, NEUTRAL)
    people = gallery.some_people(len(names))
    subjects = [gallery.expressive(people[i % len(people)], i + 3) for i in range(len(names))]
    edit, styles = gallery.editor.edit, gallery.editor.model.config.code_dim_each
    rows = [[subject.crop for subject in subjects]]
    rows += [[edit(s, n, style=k).crop for s, n in zip(subjects, names, strict=True)] for k in range(styles)]
    rows += [[edit(s, n, (k + 1) / levels).crop for s, n in zip(subjects, names, strict=True)] for k in range(levels)]
    row_names = ["input", *(f"element {k + 1}\nof c_i is 1" for k in range(styles))]
    row_names += [f"intensity\n{(k + 1) / levels:.0%}" for k in range(levels)]
    return contact_sheet(rows, row_names=row_names, column_names=names, gaps=[1, 1 + styles],
                 title="Fig. 3: An expression a column: elements of its code alone, then all, rising")  # fmt: skip


@figure(4)
def transfer(gallery: Gallery, count: int = 6) -> EditedImage:
    """The faces on the left with the expressions of those above: G_dec(g(x_A), c_B)."""
    people = gallery.some_people(2 * count)
    above = [gallery.expressive(people[(count + i) % len(people)], i) for i in range(len(gallery.expressions))]
    left = [gallery.expressive(people[i % len(people)], i + 3) for i in range(count)]
    rows = [[None, *(subject.crop for subject in above)]]
    rows += [[face.crop, *(gallery.editor.transfer(face, source).crop for source in above)] for face in left]
    column_names = ["", *(f"reads as\n{subject.reading.expression}" for subject in above)]
    row_names = ["expression\nfrom", *(f"on\nface {i + 1}" for i in range(len(left)))]
    return contact_sheet(rows, row_names=row_names, column_names=column_names, gaps=[1],
                 title="Fig. 4: The expressions of the top row on the faces in the left column")  # fmt: skip


@figure(5)
def new_people(gallery: Gallery, count: int = 8, seed: int = 0) -> EditedImage:
    """People who do not exist with every expression, c drawn by F_ctrl: a column a person."""
    model, chance = gallery.editor.model, torch.Generator().manual_seed(seed)
    z = model.people.draw(count, chance)
    y = torch.eye(len(gallery.expressions))
    rows = [gallery.editor.decode_many(z, model.F_ctrl.random(one.expand(count, -1), chance)) for one in y]
    return contact_sheet(rows, row_names=gallery.expressions, column_names=[f"person {i + 1}" for i in range(count)],
                 title="Fig. 5: New people, g(x) replaced by noise, codes drawn at random")  # fmt: skip


@figure(6)
def identity_space(gallery: Gallery) -> EditedImage:
    """t-SNE of g(x), a colour a person, with one picture each; and how often the nearest neighbour is the same person."""
    held_out, known = "people the model has never seen", "training people"
    panels = [scatter(gallery.people, gallery.editor, held_out), scatter(gallery.train, gallery.editor, known)]
    whole = Image.new("RGB", (sum(panel.width for panel in panels), max(panel.height for panel in panels)), "white")
    for i, panel in enumerate(panels):
        whole.paste(panel, (sum(before.width for before in panels[:i]), 0))
    return mark_edited(whole)


@figure(7)
def retrieval(gallery: Gallery, count: int = 6) -> EditedImage:
    """The nearest picture of another person by code, by label and by pixels, and how often it shows the same expression."""
    people = gallery.people
    shown = [i for i in range(len(people)) if people.expression[i] < len(gallery.expressions)]
    subjects = [gallery.read(i) for i in shown]
    label, person = people.expression[shown], people.subject[shown]
    own = person[:, None] == person
    nearest, right = {}, {}
    for by in BY:
        seen = torch.stack([vector(subject, by) for subject in subjects])
        nearest[by] = distances(seen, seen).masked_fill(own, torch.inf).argmin(dim=1)
        right[by] = (label[nearest[by]] == label).float().mean().item()
    rows, row_names = [], []
    for i in range(min(count, len(gallery.expressions))):
        query = gallery.place(i, shown)
        found = [query, *(int(nearest[by][query]) for by in BY)]
        rows.append([_tagged(subjects[j], gallery.expressions[int(label[j])]) for j in found])
        row_names.append(gallery.expressions[i])
    told = f"same expression in {len(shown)} queries: " + ", ".join(f"{by} {share:.0%}" for by, share in right.items())
    column_names = ["query", "nearest\nby code c", "nearest\nby label y", "nearest\nby pixels x"]
    return contact_sheet(rows, row_names=row_names, column_names=column_names,
                 title=f"Fig. 7: Nearest picture of another person\n{told}")  # fmt: skip


def _tagged(subject: Subject, text: str) -> Image.Image:
    """The face with the label it has in the set written on it."""
    picture = subject.crop.copy()
    font = ImageFont.load_default(max(8, picture.width // 10))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, picture.height - 1.5 * font.size, font.getlength(text) + font.size, picture.height), "white")
    draw.text((font.size / 2, picture.height - 0.75 * font.size), text, "black", font, anchor="lm")
    return picture

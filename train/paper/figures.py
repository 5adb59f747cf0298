"""`figures`: the paper's Figures 2 to 7, from any weights and data. A figure is one decorated function of a `Gallery`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from exprgan.editing.results import Subject
from exprgan.editing.retrieval import BY, distances, feature_vector
from exprgan.editor import ExpressionEditor
from exprgan.expressions import NEUTRAL
from exprgan.models.exprgan import ExprGAN
from exprgan.photo.ai_metadata import EditedImage, mark_edited

from ..data.contact_sheets import contact_sheet, save_sheet
from .figure_subjects import Gallery, scatter_plot

Figure = Callable[[Gallery], EditedImage]
FIGURES: dict[int, Figure] = {}


def register_figure(number: int) -> Callable[[Figure], Figure]:
    """Registers a figure under its number in the paper."""

    def register(function: Figure) -> Figure:
        FIGURES[number] = function
        return function

    return register


def draw_figures(numbers: list[int], weights: str, data: str, out: str, caae: str = "") -> list[Path]:
    """Writes OUT/figure-N.png.

    Args:
        numbers: of the figures; empty: all.
        weights: a folder that `publish` wrote.
        data: a folder with metadata.csv; faces come from split `test`, in Fig. 6 from `train` as well.
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


@register_figure(2)
def draw_editing(gallery: Gallery, count: int = 4) -> EditedImage:
    """A face with every expression: the set's own pictures of that person, ExprGAN, CAAE."""
    names, rows, row_names, gaps = gallery.expressions, [], [], []
    for person in gallery.pick_people(count):
        subject = gallery.neutral_subject(person)
        gaps.append(len(rows))
        rows.append([subject.crop, *(gallery.real_picture(person, name) for name in names)])
        row_names.append("ground truth")
        for label, editor in (("ExprGAN", gallery.editor), ("CAAE", gallery.caae)):
            if editor:
                rows.append([None, *(editor.edit(editor.read_crop(subject.crop), name).crop for name in names)])
                row_names.append(label)
    return contact_sheet(rows, row_names=row_names, column_names=["input", *names], gaps=gaps[1:],
                         title="Fig. 2: Editing the expression of people the model has never seen")  # fmt: skip


@register_figure(3)
def draw_intensities(gallery: Gallery, levels: int = 5) -> EditedImage:
    """Another person and expression in each column: the d styles (one element of c_i is 1), then rising intensities."""
    names = (*gallery.expressions, NEUTRAL)
    people = gallery.pick_people(len(names))
    subjects = [gallery.expressive_subject(people[i % len(people)], i + 3) for i in range(len(names))]
    edit, styles = gallery.editor.edit, gallery.editor.model.config.code_dim_each
    rows = [[subject.crop for subject in subjects]]
    rows += [[edit(s, n, style=k).crop for s, n in zip(subjects, names, strict=True)] for k in range(styles)]
    rows += [[edit(s, n, (k + 1) / levels).crop for s, n in zip(subjects, names, strict=True)] for k in range(levels)]
    row_names = ["input", *(f"element {k + 1}\nof c_i is 1" for k in range(styles))]
    row_names += [f"intensity\n{(k + 1) / levels:.0%}" for k in range(levels)]
    return contact_sheet(rows, row_names=row_names, column_names=names, gaps=[1, 1 + styles],
                         title="Fig. 3: An expression a column: elements of its code alone, then all, rising")  # fmt: skip


@register_figure(4)
def draw_transfer(gallery: Gallery, count: int = 6) -> EditedImage:
    """The faces in the left column with the expressions of those in the top row: G_dec(g(x_A), c_B)."""
    people = gallery.pick_people(2 * count)
    top = [gallery.expressive_subject(people[(count + i) % len(people)], i) for i in range(len(gallery.expressions))]
    left = [gallery.expressive_subject(people[i % len(people)], i + 3) for i in range(count)]
    rows = [[None, *(subject.crop for subject in top)]]
    transfer = partial(gallery.editor.transfer, by="code")
    rows += [[face.crop, *(transfer(face, source).crop for source in top)] for face in left]
    column_names = ["", *(f"reads as\n{subject.reading.expression}" for subject in top)]
    row_names = ["expression\nfrom", *(f"on\nface {i + 1}" for i in range(len(left)))]
    return contact_sheet(rows, row_names=row_names, column_names=column_names, gaps=[1],
                         title="Fig. 4: The expressions of the top row on the faces in the left column")  # fmt: skip


@register_figure(5)
def draw_new_people(gallery: Gallery, count: int = 8, seed: int = 0) -> EditedImage:
    """Generated people with every expression, c sampled by F_ctrl: one person per column."""
    model, generator = gallery.editor.model, torch.Generator().manual_seed(seed)
    z = model.latent_prior.sample(count, generator)
    y = torch.eye(len(gallery.expressions))
    rows = [gallery.editor.decode_many(z, model.random_code(one_hot.expand(count, -1), generator)) for one_hot in y]
    column_names = [f"person {i + 1}" for i in range(count)]
    return contact_sheet(rows, row_names=gallery.expressions, column_names=column_names,
                         title="Fig. 5: New people, g(x) replaced by noise, codes drawn at random")  # fmt: skip


@register_figure(6)
def draw_identity_space(gallery: Gallery) -> EditedImage:
    """t-SNE of g(x), of held-out and of training people, and how often the nearest neighbour is the same person."""
    panels = [scatter_plot(gallery.test_faces, gallery.editor, "people the model has never seen"),
              scatter_plot(gallery.train_faces, gallery.editor, "training people")]  # fmt: skip
    canvas = Image.new("RGB", (sum(panel.width for panel in panels), panels[0].height), "white")
    for i, panel in enumerate(panels):
        canvas.paste(panel, (i * panel.width, 0))
    return mark_edited(canvas)


@register_figure(7)
def draw_retrieval(gallery: Gallery, count: int = 6) -> EditedImage:
    """The nearest picture of another person by code, by label and by pixels, and how often the expression is the same."""
    faces = gallery.test_faces
    indices = [i for i in range(len(faces)) if faces.expression[i] < len(gallery.expressions)]
    subjects = [gallery.read(i) for i in indices]
    label, person = faces.expression[indices], faces.subject[indices]
    same_person = person[:, None] == person
    nearest, hit_rate = {}, {}
    for by in BY:
        features = torch.stack([feature_vector(subject, by) for subject in subjects])
        nearest[by] = distances(features, features).masked_fill(same_person, torch.inf).argmin(dim=1)
        hit_rate[by] = (label[nearest[by]] == label).float().mean().item()
    rows, row_names = [], gallery.expressions[:count]
    for i in range(len(row_names)):
        query = gallery.pick_query(i, indices)
        matches = [query, *(int(nearest[by][query]) for by in BY)]
        rows.append([_with_label(subjects[j], gallery.expressions[int(label[j])]) for j in matches])
    rates = f"same expression in {len(indices)} queries: " + ", ".join(f"{by} {rate:.0%}" for by, rate in hit_rate.items())
    column_names = ["query", "nearest\nby code c", "nearest\nby label y", "nearest\nby pixels x"]
    return contact_sheet(rows, row_names=row_names, column_names=column_names,
                         title=f"Fig. 7: Nearest picture of another person\n{rates}")  # fmt: skip


def _with_label(subject: Subject, text: str) -> Image.Image:
    """The face with a text in its lower left corner."""
    picture = subject.crop.copy()
    font = ImageFont.load_default(max(8, picture.width // 10))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, picture.height - 1.5 * font.size, font.getlength(text) + font.size, picture.height), "white")
    draw.text((font.size / 2, picture.height - 0.75 * font.size), text, "black", font, anchor="lm")
    return picture

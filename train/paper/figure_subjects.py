"""The people and pictures that the figures show. The choice is deterministic, and every picture is read once."""

import colorsys
from functools import cached_property

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from exprgan.editing.results import Subject
from exprgan.editing.retrieval import distances
from exprgan.editor import ExpressionEditor
from exprgan.photo.image_io import from_bytes

from ..data import FaceFolder
from ..data.contact_sheets import read_sample

MAX_TRAIN_PEOPLE = 20
"""More people have no distinguishable colours."""
MAX_PICTURES = 600
"""More pictures per split make the figures slow."""


class Gallery:
    """The faces of one set, and the editors that edit them.

    Args:
        editor: with the model.
        data: a folder with metadata.csv.
        caae: with the baseline of Fig. 2; None: without it.
    """

    def __init__(self, editor: ExpressionEditor, data: str, caae: ExpressionEditor | None = None):
        self.editor, self.caae, self.data = editor, caae, data
        self.expressions = editor.model.config.expressions
        self._subjects: dict[int, Subject] = {}

    def _load(self, split: str, num_people: int | None = None) -> FaceFolder:
        config = self.editor.model.config
        faces = FaceFolder.load(self.data, split, config.image_size, config.expressions)
        count = len(faces.subjects)
        faces = faces.select(torch.isin(faces.subject, torch.tensor(_spread(count, num_people or count))))
        return faces.select(torch.isin(torch.arange(len(faces)), torch.tensor(_spread(len(faces), MAX_PICTURES))))

    @cached_property
    def test_faces(self) -> FaceFolder:
        """Pictures of the held-out people."""
        return self._load("test")

    @cached_property
    def train_faces(self) -> FaceFolder:
        """Pictures of some of the training people."""
        return self._load("train", MAX_TRAIN_PEOPLE)

    def read(self, index: int) -> Subject:
        """Reads a picture of `test_faces`."""
        if index not in self._subjects:
            self._subjects[index] = read_sample(self.editor, self.test_faces, index)
        return self._subjects[index]

    def pick_people(self, count: int) -> list[int]:
        """At most `count` of the held-out people, evenly spaced in the list of names."""
        people = self.test_faces.subject.unique().tolist()
        return [people[i] for i in _spread(len(people), count)]

    def neutral_subject(self, person: int) -> Subject:
        """A person's neutral picture, or else the one of least intensity."""
        indices = (self.test_faces.subject == person).nonzero().squeeze(1).tolist()
        neutral = [i for i in indices if self.test_faces.expression[i] == len(self.expressions)]
        return self.read((neutral or sorted(indices, key=self._intensity))[0])

    def expressive_subject(self, person: int, number: int) -> Subject:
        """A person's most intense picture of expression `number` (modulo K), or of the next one that the set has."""
        for shift in range(len(self.expressions)):
            if indices := self._find(person, (number + shift) % len(self.expressions)):
                return self.read(indices[-1])
        return self.neutral_subject(person)

    def real_picture(self, person: int, name: str) -> Image.Image | None:
        """A person's most intense picture of an expression, if the set has one."""
        indices = self._find(person, self.expressions.index(name))
        return self.read(indices[-1]).crop if indices else None

    def pick_query(self, number: int, candidates: list[int]) -> int:
        """The position in `candidates` of an intense picture of expression `number`, of another person for each number."""
        people = self.pick_people(len(self.expressions))
        of_person = self._find(people[number % len(people)], number)
        of_others = [i for i in candidates if self.test_faces.expression[i] == number]
        return candidates.index((of_person or of_others or candidates)[-1])

    def _find(self, person: int, number: int) -> list[int]:
        """A person's pictures of an expression, by rising intensity."""
        match = (self.test_faces.subject == person) & (self.test_faces.expression == number)
        return sorted(match.nonzero().squeeze(1).tolist(), key=self._intensity)

    def _intensity(self, index: int) -> float:
        return self.test_faces.intensity[index].nan_to_num(0.0).item()


def scatter_plot(faces: FaceFolder, editor: ExpressionEditor, description: str, side: int = 900) -> Image.Image:
    """Draws a t-SNE of g(x), `side` px below a title: one dot per picture, one colour and one thumbnail per person."""
    from sklearn.manifold import TSNE  # takes seconds to import, and nothing else needs it

    weights = next(editor.model.parameters())
    with torch.inference_mode():
        batches = from_bytes(faces.images).split(32)
        z = torch.cat([editor.model.G_enc(x.to(weights)).float().cpu() for x in batches])
    nearest = distances(z, z).fill_diagonal_(torch.inf).argmin(dim=1)
    same_person = (faces.subject[nearest] == faces.subject).float().mean().item()
    perplexity = max(1.0, min(30.0, (len(z) - 1) / 3))
    flat = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(z.numpy())
    low, high = flat.min(axis=0), flat.max(axis=0)
    margin, title_height = 60, 80
    positions = margin + (flat - low) / np.maximum(high - low, 1e-9) * (side - 2 * margin) + (0, title_height)
    people = faces.subject.unique().tolist()
    canvas = Image.new("RGB", (side, side + title_height), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(20)
    draw.text((16, 10), f"Fig. 6: t-SNE of g(x), {len(people)} {description}, a colour a person", "black", font)
    draw.text((16, 40), f"nearest in g(x) is the same person: {same_person:.0%} of {len(z)} pictures", "black", font)
    colours = [_colour(i, len(people)) for i in range(len(people))]
    by_person = [(faces.subject == person).nonzero().squeeze(1).tolist() for person in people]
    for colour, indices in zip(colours, by_person, strict=True):
        offsets = positions[indices] - np.median(positions[indices], axis=0)
        central = indices[int(np.linalg.norm(offsets, axis=1).argmin())]
        _draw_thumbnail(canvas, faces.images[central], positions[central], colour)
    for colour, indices in zip(colours, by_person, strict=True):  # above all thumbnails
        for x, y in positions[indices]:
            draw.ellipse((x - 4, y - 4, x + 4, y + 4), colour, "white")
    return canvas


def _draw_thumbnail(canvas: Image.Image, x: torch.Tensor, position: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Draws an image (3, S, S) uint8 in a coloured frame beside a dot."""
    size = 48
    crop = Image.fromarray(x.permute(1, 2, 0).numpy()).resize((size, size), Image.Resampling.LANCZOS)
    left, top = round(float(position[0])) + 24, round(float(position[1])) - size // 2
    if left + size + 3 > canvas.width:
        left -= size + 48
    ImageDraw.Draw(canvas).rectangle((left - 3, top - 3, left + size + 2, top + size + 2), colour)
    canvas.paste(crop, (left, top))


def _colour(index: int, count: int) -> tuple[int, int, int]:
    """One of `count` colours around the colour wheel, in three brightnesses."""
    red, green, blue = colorsys.hsv_to_rgb(index / count, 0.9, (1.0, 0.7, 0.45)[index % 3])
    return round(255 * red), round(255 * green), round(255 * blue)


def _spread(length: int, count: int) -> list[int]:
    """At most `count` evenly spaced indices into a list."""
    if count >= length:
        return list(range(length))
    return [round(i * (length - 1) / max(count - 1, 1)) for i in range(count)]

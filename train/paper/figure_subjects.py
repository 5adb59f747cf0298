"""Whom the figures show: people and pictures of a set, read once and picked the same way every time."""

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
from ..data.contact_sheets import read_one

MOST_PEOPLE, MOST_PICTURES = 20, 600
"""More people than that have no colours that can be told apart; more pictures make the figures slow."""


class Gallery:
    """The faces of one set, and who edits them.

    Args:
        editor: the model.
        data: a folder with metadata.csv.
        caae: the baseline of Fig. 2, if there is one.
    """

    def __init__(self, editor: ExpressionEditor, data: str, caae: ExpressionEditor | None = None):
        self.editor, self.caae, self.data = editor, caae, data
        self.expressions = editor.model.config.expressions
        self._subjects: dict[int, Subject] = {}

    def _load(self, split: str, people: int) -> FaceFolder:
        model = self.editor.model.config
        folder = FaceFolder.load(self.data, split, model.image_size, model.expressions)
        kept = folder.select(torch.isin(folder.subject, folder.subject.unique()[_spread(len(folder.subjects), people)]))
        few = torch.zeros(len(kept), dtype=torch.bool)
        few[_spread(len(kept), MOST_PICTURES)] = True
        return kept.select(few)

    @cached_property
    def people(self) -> FaceFolder:
        """Held-out people."""
        return self._load("test", 10**9)

    @cached_property
    def train(self) -> FaceFolder:
        """Some of the training people."""
        return self._load("train", MOST_PEOPLE)

    def read(self, index: int) -> Subject:
        """One of the held-out people's pictures."""
        if index not in self._subjects:
            self._subjects[index] = read_one(self.editor, self.people, index)
        return self._subjects[index]

    def some_people(self, count: int) -> list[int]:
        """At most `count` of the held-out people, evenly from the list of names."""
        return [int(person) for person in self.people.subject.unique()[_spread(len(self.people.subject.unique()), count)]]

    def calm(self, person: int) -> Subject:
        """A neutral picture of a person, or the faintest."""
        theirs = (self.people.subject == person).nonzero().squeeze(1).tolist()
        neutral = [i for i in theirs if self.people.expression[i] == len(self.expressions)]
        return self.read((neutral or sorted(theirs, key=self._strength))[0])

    def expressive(self, person: int, number: int) -> Subject:
        """A person's strongest picture of expression `number` (counted round), or of the next one they have."""
        for shift in range(len(self.expressions)):
            if found := self._showing(person, (number + shift) % len(self.expressions)):
                return self.read(found[-1])
        return self.calm(person)

    def own_picture(self, person: int, name: str) -> Image.Image | None:
        """A person's strongest picture of an expression, where the set has one."""
        found = self._showing(person, self.expressions.index(name))
        return self.read(found[-1]).crop if found else None

    def place(self, number: int, among: list[int]) -> int:
        """Where in a list of pictures expression `number` is shown best, by another person each time."""
        people = self.some_people(len(self.expressions))
        theirs = self._showing(people[number % len(people)], number)
        others = [i for i in among if self.people.expression[i] == number]
        return among.index((theirs or others or among)[-1])

    def _showing(self, person: int, number: int) -> list[int]:
        """A person's pictures of an expression, the strongest last."""
        match = (self.people.subject == person) & (self.people.expression == number)
        return sorted(match.nonzero().squeeze(1).tolist(), key=self._strength)

    def _strength(self, index: int) -> float:
        return self.people.intensity[index].nan_to_num(0.0).item()


def scatter(people: FaceFolder, editor: ExpressionEditor, who: str, side: int = 900) -> Image.Image:
    """t-SNE of g(x) of some people: a dot a picture, a colour and one small picture a person."""
    from sklearn.manifold import TSNE  # takes seconds to import, and nothing else needs it

    weights = next(editor.model.parameters())
    with torch.inference_mode():
        parts = from_bytes(people.images).split(32)
        z = torch.cat([editor.model.G_enc(part.to(weights)).float().cpu() for part in parts])
    apart = distances(z, z).fill_diagonal_(torch.inf)
    same = (people.subject[apart.argmin(dim=1)] == people.subject).float().mean().item()
    perplexity = max(1.0, min(30.0, (len(z) - 1) / 3))
    flat = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(z.numpy())
    low, high = flat.min(axis=0), flat.max(axis=0)
    margin, head = 60, 80
    at = margin + (flat - low) / np.maximum(high - low, 1e-9) * (side - 2 * margin) + (0, head)
    persons = people.subject.unique().tolist()
    canvas = Image.new("RGB", (side, side + head), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(20)
    draw.text((16, 10), f"Fig. 6: t-SNE of g(x), {len(persons)} {who}, a colour a person", "black", font)
    draw.text((16, 40), f"nearest in g(x) is the same person: {same:.0%} of {len(z)} pictures", "black", font)
    theirs = [(people.subject == person).nonzero().squeeze(1).tolist() for person in persons]
    for number, mine in enumerate(theirs):
        middle = mine[int(np.linalg.norm(at[mine] - np.median(at[mine], axis=0), axis=1).argmin())]
        _pin(canvas, people.images[middle], at[middle], _colour(number, len(persons)))
    for number, mine in enumerate(theirs):  # above all the faces
        for px, py in at[mine]:
            draw.ellipse((px - 4, py - 4, px + 4, py + 4), _colour(number, len(persons)), "white")
    return canvas


def _pin(canvas: Image.Image, x: torch.Tensor, at: np.ndarray, colour: tuple[int, int, int], face: int = 48) -> None:
    """A small picture (3, S, S) uint8 in a coloured frame beside a dot."""
    crop = Image.fromarray(x.permute(1, 2, 0).numpy()).resize((face, face), Image.Resampling.LANCZOS)
    left, top = round(float(at[0])) + 24, round(float(at[1])) - face // 2
    left -= (face + 48) * (left + face + 3 > canvas.width)
    ImageDraw.Draw(canvas).rectangle((left - 3, top - 3, left + face + 2, top + face + 2), colour)
    canvas.paste(crop, (left, top))


def _colour(number: int, of: int) -> tuple[int, int, int]:
    """Colours around the wheel, in three brightnesses."""
    red, green, blue = colorsys.hsv_to_rgb(number / of, 0.9, (1.0, 0.7, 0.45)[number % 3])
    return round(255 * red), round(255 * green), round(255 * blue)


def _spread(length: int, count: int) -> list[int]:
    """At most `count` places in a list, evenly."""
    if count >= length:
        return list(range(length))
    return [round(i * (length - 1) / max(count - 1, 1)) for i in range(count)]

"""`augment`: a labelled synthetic set in the project's data format, any size, to train classifiers on (paper, Table 1).

Picture i is known from (weights, seed, i) alone: a set goes on after a stop, grows, and is the same however it is shared.
"""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from tqdm import tqdm

from exprgan.editor import ExpressionEditor
from exprgan.models.exprgan import WEIGHTS_NAME, ExprGAN
from exprgan.photo.image_io import from_bytes

from ..core.config_flags import option, check_finite
from ..core.files import RunError, write_json
from ..data import FaceFolder
from ..data.contact_sheets import save_sheet
from ..data.metadata import write_metadata
from .shards import Share

BATCH = 32
"""Pictures decoded at once. Fixed, since the last bit of a picture may depend on its company."""

SETTINGS_NAME = "set.json"


@dataclass(frozen=True)
class SyntheticConfig:
    """A synthetic set: as many pictures of each expression, codes drawn by F_ctrl (eq. 3).

    Raises:
        ValueError: a count below 1.
    """

    out: str = option("runs/synthetic", "folder to write; a set found there goes on, or grows")
    count: int = option(3000, "pictures in all; a larger set begins with the smaller one")
    kind: Literal["people", "edits"] = option("people", "people: new ones (the paper); edits: those of split train")
    prior: Literal["people", "uniform"] = option(
        "people", "people: new ones are like those trained on, if calibrated; uniform: z ~ P_z (the paper)"
    )
    form: Literal["jpg", "png"] = option("jpg", "file format; png is exact and three times as large")
    seed: int = option(0, "seed of everything random")
    shard: str = option("", "i/n: make only the i-th of n parts, counted from 0 (default: accelerate's processes share)")
    cpu: bool = option(False, "use the CPU even where there is a GPU")

    def __post_init__(self):
        if self.count < 1:
            raise ValueError(f"count must be at least 1, not {self.count}")
        check_finite(self)


def make_set(weights: str, config: SyntheticConfig, data: str = "") -> Path:
    """Writes the pictures that are missing, and metadata.csv once all are there. Returns the folder.

    Args:
        weights: a folder that `publish` wrote.
        config: how many, of whom.
        data: the training folder, for kind "edits".

    Raises:
        ValueError: kind "edits" without `data`.
        RunError: `config.out` holds a set of other weights or settings, or cannot be written.
    """
    share = Share.of_process(config.shard, config.cpu)
    out = Path(config.out)
    _claim(out, weights, config, data)
    editor = ExpressionEditor(ExprGAN.from_pretrained(weights, device=str(share.device)))
    maker = _Maker(editor, config, data)
    starts = [start for start in range(0, config.count, BATCH) if share.takes(start // BATCH)]
    with ThreadPoolExecutor() as pool:
        for start in tqdm(starts, desc="augment", disable=not share.first):
            wanted = range(start, min(start + BATCH, config.count))
            missing = [i for i in wanted if not (out / maker.file_name(i)).is_file()]
            if missing:
                pictures = editor.decode_many(*maker.codes(start))
                paths = [out / maker.file_name(i) for i in missing]
                list(pool.map(save_sheet, [pictures[i - start] for i in missing], paths))
    left = sum(not (out / maker.file_name(i)).is_file() for i in range(config.count))
    if left:
        print(f"{out}: {left:,} of {config.count:,} pictures are left to other processes")
        return out
    for half_written in (out / "train").rglob(".*.tmp"):  # by those that were killed
        half_written.unlink(missing_ok=True)
    write_metadata(out, [maker.row(i) for i in range(config.count)])
    if share.first:
        print(f"{out}: {config.count:,} pictures")
    return out


class _Maker:
    """What is in picture i."""

    def __init__(self, editor: ExpressionEditor, config: SyntheticConfig, data: str):
        self.editor, self.config, self.seed = editor, config, config.seed
        model = editor.model.config
        self.names = model.expressions
        self.faces = None
        if config.kind == "edits":
            self.faces = FaceFolder.load(data, "train", model.image_size, self.names)

    def file_name(self, i: int) -> str:
        return f"train/{i // 1000:03d}/{i:06d}-{self._expression(i)}.{self.config.form}"

    def row(self, i: int) -> dict[str, str]:
        """The picture's row in metadata.csv."""
        person, source = f"Z{self._person(i):06d}", ""
        if self.faces is not None:
            index = self._source(i)
            person, source = self.faces.subjects[self.faces.subject[index]], self.faces.file_names[index]
        return {
            "file_name": self.file_name(i), "subject": person, "expression": self._expression(i), "split": "train",
            "intensity": f"{self._code(i).abs().mean():.4f}", "kind": f"synthetic {self.config.kind}", "source": source,
        }  # fmt: skip

    def codes(self, start: int) -> tuple[Tensor, Tensor]:
        """z (BATCH, z_dim) and c (BATCH, K * d) of a whole batch, also where fewer pictures are wanted."""
        batch = range(start, start + BATCH)
        c = torch.stack([self._code(i) for i in batch])
        if self.faces is None:
            return torch.stack([self._noise(self._person(i)) for i in batch]), c
        x = from_bytes(self.faces.images[[self._source(i) for i in batch]])
        with torch.inference_mode():
            return self.editor.model.G_enc(x.to(next(self.editor.model.parameters()))).float().cpu(), c

    def _person(self, i: int) -> int:
        """Every new person shows every expression once, so that who it is says nothing of the expression."""
        return i // len(self.names)

    def _expression(self, i: int) -> str:
        return self.names[i % len(self.names)]

    def _chance(self, what: str, i: int) -> torch.Generator:
        digest = hashlib.sha256(f"{self.seed}/{what}/{i}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))

    def _noise(self, person: int) -> Tensor:
        return self.editor.model.people.draw(1, self._chance("z", person), self.config.prior)[0]

    def _source(self, i: int) -> int:
        assert self.faces is not None
        return int(torch.randint(len(self.faces), (1,), generator=self._chance("x", i)))

    def _code(self, i: int) -> Tensor:
        """Eq. 3: (K * d,); the mean of its |c| is the mean of |z_y|, the picture's intensity."""
        y = torch.eye(len(self.names))[[i % len(self.names)]]
        return self.editor.model.F_ctrl.random(y, self._chance("c", i))[0]


def _claim(out: Path, weights: str, config: SyntheticConfig, data: str) -> None:
    """Notes what the set is made with, or refuses a folder that was made with something else."""
    if config.kind == "edits" and not data:
        raise ValueError("kind edits needs --data, the folder whose training people are edited")
    settings = {name: value for name, value in asdict(config).items() if name in ("kind", "prior", "form", "seed")}
    settings["weights_sha256"] = hashlib.sha256((Path(weights) / WEIGHTS_NAME).read_bytes()).hexdigest()
    if config.kind == "edits":
        settings["data_sha256"] = hashlib.sha256((Path(data) / "metadata.csv").read_bytes()).hexdigest()
    path = out / SETTINGS_NAME
    there = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else settings
    if differing := [name for name in sorted(there.keys() | settings) if there.get(name) != settings.get(name)]:
        raise RunError(f"{out} holds a set of another {differing[0]}; choose another --out, or delete it")
    write_json(path, settings)

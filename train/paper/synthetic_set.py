"""`augment`: a labelled synthetic set of any size in the project's data format, to train classifiers on (paper, Table 1).

Picture i depends on (weights, seed, i) alone: a set can be continued and enlarged, and is the same for any number of
processes.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from tqdm import tqdm

from exprgan.atomic_write import delete_partial_files
from exprgan.editor import ExpressionEditor
from exprgan.models.exprgan import WEIGHTS_NAME, ExprGAN
from exprgan.photo.image_io import from_bytes

from ..core.config_flags import check_finite, option
from ..core.files import read_json, write_json
from ..core.train_errors import RunError
from ..data import FaceFolder
from ..data.contact_sheets import save_sheet
from ..data.metadata import write_metadata
from .shards import Shard

BATCH_SIZE = 32
"""Pictures decoded at once. Fixed, since the last bit of a picture may depend on its batch."""

SETTINGS_NAME = "set.json"


@dataclass(frozen=True)
class SyntheticConfig:
    """A synthetic set with equally many pictures of each expression, codes sampled by F_ctrl (eq. 3).

    Raises:
        ValueError: a count below 1.
    """

    out: str = option("runs/synthetic", "folder to write; an existing set is completed or enlarged")
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
        config: the set.
        data: the training folder, for kind "edits".

    Raises:
        ValueError: kind "edits" without `data`.
        RunError: `config.out` holds a set of other weights or settings, or cannot be written.
    """
    shard = Shard.from_process(config.shard, config.cpu)
    out = Path(config.out)
    _check_settings(out, weights, config, data)
    editor = ExpressionEditor(ExprGAN.from_pretrained(weights, device=str(shard.device)))
    sampler = _Sampler(editor, config, data)
    paths = [out / sampler.file_name(i) for i in range(config.count)]
    starts = [start for start in range(0, config.count, BATCH_SIZE) if shard.includes(start // BATCH_SIZE)]
    with ThreadPoolExecutor() as pool:
        for start in tqdm(starts, desc="augment", disable=not shard.is_first):
            missing = [i for i in range(start, min(start + BATCH_SIZE, config.count)) if not paths[i].is_file()]
            if missing:
                pictures = editor.decode_many(*sampler.codes(start))
                list(pool.map(save_sheet, [pictures[i - start] for i in missing], [paths[i] for i in missing]))
    if left := sum(not path.is_file() for path in paths):
        print(f"{out}: {left:,} of {config.count:,} pictures are left to other processes")
        return out
    delete_partial_files(out / "train")
    write_metadata(out, [sampler.row(i) for i in range(config.count)])
    if shard.is_first:
        print(f"{out}: {config.count:,} pictures")
    return out


class _Sampler:
    """Samples z and c of picture i, and knows its labels."""

    def __init__(self, editor: ExpressionEditor, config: SyntheticConfig, data: str):
        self.editor, self.config = editor, config
        model_config = editor.model.config
        self.expressions = model_config.expressions
        self.faces = None
        if config.kind == "edits":
            self.faces = FaceFolder.load(data, "train", model_config.image_size, self.expressions)

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
            "intensity": f"{self._intensity(i):.4f}", "kind": f"synthetic {self.config.kind}", "source": source,
        }  # fmt: skip

    def codes(self, start: int) -> tuple[Tensor, Tensor]:
        """z (BATCH_SIZE, z_dim) and c (BATCH_SIZE, K * d) of a complete batch, even if fewer pictures are wanted."""
        batch = range(start, start + BATCH_SIZE)
        c = torch.stack([self._code(i) for i in batch])
        if self.faces is None:
            return torch.stack([self._sample_z(self._person(i)) for i in batch]), c
        x = from_bytes(self.faces.images[[self._source(i) for i in batch]])
        with torch.inference_mode():
            return self.editor.model.G_enc(x.to(next(self.editor.model.parameters()))).float().cpu(), c

    def _person(self, i: int) -> int:
        """Every new person shows every expression once, so that identity does not predict the expression."""
        return i // len(self.expressions)

    def _expression(self, i: int) -> str:
        return self.expressions[i % len(self.expressions)]

    def _generator(self, variable: str, i: int) -> torch.Generator:
        digest = hashlib.sha256(f"{self.config.seed}/{variable}/{i}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))

    def _sample_z(self, person: int) -> Tensor:
        return self.editor.model.latent_prior.sample(1, self._generator("z", person), self.config.prior)[0]

    def _source(self, i: int) -> int:
        """The index of the training picture that picture i edits."""
        assert self.faces is not None
        return int(torch.randint(len(self.faces), (1,), generator=self._generator("x", i)))

    def _code(self, i: int) -> Tensor:
        """A code sampled by eq. 3, (K * d,)."""
        y = torch.eye(len(self.expressions))[[i % len(self.expressions)]]
        return self.editor.model.random_code(y, self._generator("c", i))[0]

    def _intensity(self, i: int) -> float:
        """The mean of |z_y| of eq. 3, which are the numbers of the class that picture i shows."""
        return self._code(i).view(len(self.expressions), -1)[i % len(self.expressions)].mean().item()


def _check_settings(out: Path, weights: str, config: SyntheticConfig, data: str) -> None:
    """Writes the settings that determine the pictures to set.json, unless the folder holds a set of other settings."""
    if config.kind == "edits" and not data:
        raise ValueError("kind edits needs --data, the folder whose training people are edited")
    settings = {name: getattr(config, name) for name in ("kind", "prior", "form", "seed")}
    settings["weights_sha256"] = hashlib.sha256((Path(weights) / WEIGHTS_NAME).read_bytes()).hexdigest()
    if config.kind == "edits":
        settings["data_sha256"] = hashlib.sha256((Path(data) / "metadata.csv").read_bytes()).hexdigest()
    previous = read_json(out / SETTINGS_NAME) or settings
    if differing := [name for name in sorted(previous.keys() | settings) if previous.get(name) != settings.get(name)]:
        raise RunError(f"{out} holds a set of another {differing[0]}; choose another --out, or delete it")
    write_json(out / SETTINGS_NAME, settings)

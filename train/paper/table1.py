"""`table1`: does an expression classifier get better with synthetic pictures beside the real ones (paper, Table 1)?"""

import hashlib
import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from exprgan.models.exprgan import CONFIG_NAME, ExprGANConfig, read_config
from exprgan.models.networks import Encoder
from exprgan.photo.image_io import from_bytes

from ..core.config_flags import option, check_finite
from ..core.files import RunError, write_json, write_text
from ..core.precision import has_bf16
from ..data import FaceFolder
from ..data.transforms import augment
from ..data.face_folder import batch_at
from .shards import Share
from .synthetic_set import SETTINGS_NAME

PAPER = {0: 77.78, 3000: 78.47, 6000: 81.94, 30000: 84.72, 60000: 84.72}
"""The paper's accuracies on Oulu-CASIA in percent, by the number of synthetic pictures."""

NO_SETTINGS = ("out", "rows", "seeds", "cpu")
"""What does not change one cell of the table."""


@dataclass(frozen=True)
class Table1Config:
    """Table 1. Every row has as many steps as any other, so that more pictures do not mean more training.

    Raises:
        ValueError: a value that cannot work; the message names it.
    """

    out: str = option("runs/table1", "folder for table1.json, table1.md and one result a cell, which is not measured twice")
    rows: str = option("0,3000,6000,30000,60000", "numbers of synthetic pictures, one a row, separated by commas")
    seeds: int = option(3, "how often each row is trained, with other weights, order and (with --people) people")
    steps: int = option(3000, "batches that each classifier is trained on")
    batch_size: int = option(48, "pictures a batch")
    lr: float = option(2e-4, "Adam's learning rate")
    real_share: float = option(
        0.0, "share of real pictures in a batch; 0: real and synthetic are one heap, as in the paper"
    )
    people: int = option(0, "train on so many people only, drawn anew by each seed; 0: on all of split train")
    width: int = option(0, "channels of the first block; 0: as wide as the weights' own G_enc (the paper: 64)")
    cpu: bool = option(False, "use the CPU even where there is a GPU")

    def __post_init__(self):
        check_finite(self)
        try:
            counts = self.counts
        except ValueError as error:
            raise ValueError(f"rows needs whole numbers separated by commas, not {self.rows!r}") from error
        if min(counts) < 0:
            raise ValueError(f"rows must not be negative: {self.rows!r}")
        for name in ("seeds", "steps", "lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)!r}")
        if self.batch_size < 2 or self.people < 0 or self.width < 0:
            raise ValueError("batch_size must be at least 2, people and width at least 0")
        if not 0 <= self.real_share < 1:
            raise ValueError(f"real_share must lie in 0..1 and below 1, not {self.real_share!r}")

    @property
    def counts(self) -> tuple[int, ...]:
        """--rows as numbers, rising."""
        return tuple(sorted({int(count) for count in self.rows.split(",")}))


class ExpressionClassifier(nn.Module):
    """The paper's classifier of Table 1: G_enc's layers and one FC of K more."""

    def __init__(self, image_size: int, z_dim: int, width: int, num_expressions: int):
        super().__init__()
        self.layers = Encoder(image_size, z_dim, width)
        self.fc = nn.Linear(z_dim, num_expressions)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, 3, H, W) in [-1, 1] -> logits (B, K)."""
        return self.fc(self.layers(x))


@dataclass(frozen=True)
class Sets:
    """What the classifiers are trained and measured on; expressive pictures only, as y has no class for neutral."""

    real: FaceFolder
    synthetic: FaceFolder | None
    test: FaceFolder


def table1(weights: str, data: str, synthetic: str, config: Table1Config) -> dict[str, Any]:
    """Trains what is missing of the table; writes table1.json and table1.md once all is there.

    Args:
        weights: a folder that `publish` wrote: says how large the classifier is.
        data: the training folder, of real pictures.
        synthetic: a folder that `augment` wrote from these weights.
        config: rows, seeds and training.

    Returns:
        What table1.json holds; empty while other processes still work on it.

    Raises:
        RunError: the synthetic set is too small.
    """
    share = Share.of_process("", config.cpu)
    model = read_config(Path(weights) / CONFIG_NAME)
    settings = {name: value for name, value in asdict(config).items() if name not in NO_SETTINGS}
    settings["data"] = _digest(Path(data) / "metadata.csv")
    settings["synthetic"] = _digest(Path(synthetic) / SETTINGS_NAME) if max(config.counts) else ""
    cells = [(count, seed) for count in config.counts for seed in range(config.seeds)]
    paths = {cell: Path(config.out) / "cells" / f"{cell[0]:06d}-seed{cell[1]}.json" for cell in cells}
    mine = [cell for i, cell in enumerate(cells) if share.takes(i) and not _cell(paths[cell], settings)]
    if mine:
        sets = _load(data, synthetic, model, config)
        for count, seed in tqdm(mine, desc="table1", disable=not share.first):
            result = train_classifier(_few_people(sets, config.people, seed), count, seed, model, config, share.device)
            write_json(paths[count, seed], {"settings": settings, "synthetic_pictures": count, "seed": seed} | result)
    found = {cell: _cell(path, settings) for cell, path in paths.items()}
    if missing := [cell for cell, result in found.items() if not result]:
        print(f"{config.out}: {len(missing)} of {len(cells)} cells are left to other processes")
        return {}
    table = _table(found, settings)
    write_json(Path(config.out) / "table1.json", table)  # by whoever finished last, perhaps by several: it is the same
    write_text(Path(config.out) / "table1.md", markdown(table))
    print(markdown(table))
    return table


def train_classifier(sets: Sets, count: int, seed: int, model: ExprGANConfig, config: Table1Config,
                     device: torch.device) -> dict[str, Any]:  # fmt: skip
    """One cell: trains on the real pictures and the first `count` synthetic ones, measures at the last step.

    Returns:
        accuracy and accuracy by expression, 0..1, on the held-out people; the number of real pictures and people.
    """
    torch.manual_seed(seed)
    chance = torch.Generator().manual_seed(seed)
    width = config.width or model.encoder_width
    network = ExpressionClassifier(model.image_size, model.z_dim, width, len(model.expressions)).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.lr, betas=(0.5, 0.999))
    half = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda" or has_bf16())
    for step in tqdm(range(config.steps), desc=f"{count} synthetic, seed {seed}", leave=False):
        images, labels = _batch(sets, count, step, seed, config)
        x = augment(images.to(device), chance)
        with half:
            logits = network(x)
        loss = F.cross_entropy(logits.float(), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    with torch.inference_mode(), half:
        parts = [network(from_bytes(x.to(device))).argmax(1).cpu() for x in sets.test.images.split(64)]
    hits = (torch.cat(parts) == sets.test.expression).float()
    by_expression = {
        name: round(hits[sets.test.expression == i].mean().item(), 4)
        for i, name in enumerate(model.expressions)
        if (sets.test.expression == i).any()
    }
    return {
        "accuracy": round(hits.mean().item(), 4),
        "by_expression": by_expression,
        "test_pictures": len(hits),
        "real_pictures": len(sets.real),
        "real_people": len(sets.real.subject.unique()),
    }


def markdown(table: dict[str, Any]) -> str:
    """The table as the paper has it, beside the paper's own numbers."""
    lines = ["| synthetic pictures | accuracy (%) | standard deviation | runs | the paper, on Oulu-CASIA (%) |",
             "|---:|---:|---:|---:|---:|"]  # fmt: skip
    for row in table["rows"]:
        spread = "" if row["deviation"] is None else f"{100 * row['deviation']:.2f}"
        paper = PAPER.get(row["synthetic_pictures"])
        lines.append(f"| {row['synthetic_pictures']:,} | {100 * row['accuracy']:.2f} | {spread} | {len(row['runs'])} | "
                     f"{'' if paper is None else f'{paper:.2f}'} |")  # fmt: skip
    return "\n".join(lines) + "\n"


def _batch(sets: Sets, count: int, step: int, seed: int, config: Table1Config) -> tuple[Tensor, Tensor]:
    """Pictures (B, 3, S, S) uint8 and labels (B,) of one step."""
    size, real = config.batch_size, sets.real
    if not count or sets.synthetic is None:
        chosen, others = batch_at(len(real), size, step, seed=seed), torch.empty(0, dtype=torch.long)
    elif config.real_share:
        mine = min(max(round(size * config.real_share), 1), size - 1)
        chosen, others = batch_at(len(real), mine, step, seed=seed), batch_at(count, size - mine, step, seed=seed)
    else:
        heap = batch_at(len(real) + count, size, step, seed=seed)
        chosen, others = heap[heap < len(real)], heap[heap >= len(real)] - len(real)
    if not len(others):
        return real.images[chosen], real.expression[chosen]
    images = torch.cat((real.images[chosen], sets.synthetic.images[others]))
    return images, torch.cat((real.expression[chosen], sets.synthetic.expression[others]))


def _load(data: str, synthetic: str, model: ExprGANConfig, config: Table1Config) -> Sets:
    def read(folder: str, split: str) -> FaceFolder:
        return FaceFolder.load(folder, split, model.image_size, model.expressions).expressive()

    most = max(config.counts)
    made = read(synthetic, "train") if most else None
    if made is not None and len(made) < most:
        raise RunError(f"{synthetic} holds {len(made):,} pictures, the row of {most:,} needs more; "
                       f"run `python -m train augment` with --count {most} again")  # fmt: skip
    return Sets(read(data, "train"), made, read(data, "test"))


def _few_people(sets: Sets, people: int, seed: int) -> Sets:
    """The same with only so many people among the real pictures, drawn by the seed: rows of one seed share them."""
    there = sets.real.subject.unique()
    if not people or people >= len(there):
        return sets
    drawn = there[torch.randperm(len(there), generator=torch.Generator().manual_seed(seed))[:people]]
    return Sets(sets.real.select(torch.isin(sets.real.subject, drawn)), sets.synthetic, sets.test)


def _cell(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """A result from before, if it was made with the same settings; else empty."""
    result = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return result if result.get("settings") == settings else {}


def _digest(path: Path) -> str:
    if not path.is_file():
        raise RunError(f"{path} does not exist; name a folder that `prepare` or `augment` wrote")
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _table(found: dict[tuple[int, int], dict[str, Any]], settings: dict[str, Any]) -> dict[str, Any]:
    rows = []
    for count in sorted({count for count, _ in found}):
        runs = [result["accuracy"] for (other, _), result in found.items() if other == count]
        deviation = round(statistics.stdev(runs), 4) if len(runs) > 1 else None
        rows.append({"synthetic_pictures": count, "accuracy": round(statistics.mean(runs), 4), "deviation": deviation,
                     "runs": runs})  # fmt: skip
    one = next(iter(found.values()))
    told = {name: one[name] for name in ("test_pictures", "real_pictures", "real_people")}
    return {"rows": rows, **told, "settings": settings}

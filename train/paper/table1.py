"""`table1`: accuracy of an expression classifier trained on real and more and more synthetic pictures (paper, Table 1)."""

import hashlib
import statistics
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from exprgan.models.config import CONFIG_NAME, ExprGANConfig, read_config
from exprgan.models.networks import Encoder
from exprgan.photo.image_io import from_bytes

from ..core.config_flags import check_finite, option
from ..core.files import read_json, write_json, write_text
from ..core.precision import has_bf16
from ..core.train_errors import RunError
from ..data import FaceFolder
from ..data.face_folder import batch_indices
from ..data.transforms import augment
from ..data.validation import check_before_training
from .shards import Shard
from .synthetic_set import SETTINGS_NAME

PAPER_ACCURACY = {0: 77.78, 3000: 78.47, 6000: 81.94, 30000: 84.72, 60000: 84.72}
"""In percent on Oulu-CASIA, by the number of synthetic pictures."""

IGNORED_FIELDS = ("out", "rows", "seeds", "cpu")
"""Fields of the configuration that do not affect a single cell of the table."""


@dataclass(frozen=True)
class Table1Config:
    """Table 1. Every row has the same number of steps, so that more pictures do not mean more training.

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
        """`rows` as sorted numbers."""
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
class Table1Data:
    """Training and test pictures of the classifiers; expressive ones only, as y has no class for neutral."""

    real: FaceFolder
    synthetic: FaceFolder | None
    test: FaceFolder


def table1(weights: str, data: str, synthetic: str, config: Table1Config) -> dict[str, Any]:
    """Trains the missing cells of the table; writes table1.json and table1.md once all are there.

    Args:
        weights: a folder that `publish` wrote; its configuration determines the classifier's size.
        data: the training folder, of real pictures.
        synthetic: a folder that `augment` wrote from these weights.
        config: rows, seeds and training.

    Returns:
        The content of table1.json; empty while other processes still work on it.

    Raises:
        RunError: the synthetic set is too small.
    """
    shard = Shard.from_process("", config.cpu)
    model = read_config(Path(weights) / CONFIG_NAME)
    settings = {name: value for name, value in asdict(config).items() if name not in IGNORED_FIELDS}
    settings["data"] = _digest(Path(data) / "metadata.csv")
    settings["synthetic"] = _digest(Path(synthetic) / SETTINGS_NAME) if max(config.counts) else ""
    cells = [(count, seed) for count in config.counts for seed in range(config.seeds)]
    paths = {cell: Path(config.out) / "cells" / f"{cell[0]:06d}-seed{cell[1]}.json" for cell in cells}
    missing = [cell for i, cell in enumerate(cells) if shard.includes(i) and not _read_cell(paths[cell], settings)]
    if missing:
        check_before_training(data, model.expressions, verbose=shard.is_first)
        pictures = _load(data, synthetic, model, config)
        for count, seed in tqdm(missing, desc="table1", disable=not shard.is_first):
            subset = _select_people(pictures, config.people, seed)
            result = train_classifier(subset, count, seed, model, config, shard.device)
            write_json(paths[count, seed], {"settings": settings, "synthetic_pictures": count, "seed": seed} | result)
    results = {cell: _read_cell(path, settings) for cell, path in paths.items()}
    if left := sum(not result for result in results.values()):
        print(f"{config.out}: {left} of {len(cells)} cells are left to other processes")
        return {}
    table = _summarize(results, settings)
    write_json(Path(config.out) / "table1.json", table)  # if several processes finish at once, they write the same
    write_text(Path(config.out) / "table1.md", render_markdown(table))
    print(render_markdown(table))
    return table


def train_classifier(data: Table1Data, count: int, seed: int, model: ExprGANConfig, config: Table1Config,
                     device: torch.device) -> dict[str, Any]:  # fmt: skip
    """Trains one cell on the real pictures and the first `count` synthetic ones, and measures it after the last step.

    Returns:
        accuracy and by_expression, in 0..1, on the held-out people; the numbers of pictures and people.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    width = config.width or model.encoder_width
    network = ExpressionClassifier(model.image_size, model.z_dim, width, len(model.expressions)).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.lr, betas=(0.5, 0.999))
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda" or has_bf16())
    for step in tqdm(range(config.steps), desc=f"{count} synthetic, seed {seed}", leave=False):
        images, labels = _batch(data, count, step, seed, config)
        x = augment(images.to(device), generator)
        with autocast:
            logits = network(x)
        loss = F.cross_entropy(logits.float(), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    with torch.inference_mode(), autocast:
        batches = [network(from_bytes(x.to(device))).argmax(1).cpu() for x in data.test.images.split(64)]
    expression = data.test.expression
    hits = (torch.cat(batches) == expression).float()
    return {
        "accuracy": round(hits.mean().item(), 4),
        "by_expression": {
            model.expressions[i]: round(hits[expression == i].mean().item(), 4) for i in expression.unique().tolist()
        },
        "test_pictures": len(hits),
        "real_pictures": len(data.real),
        "real_people": len(data.real.subject.unique()),
    }


def render_markdown(table: dict[str, Any]) -> str:
    """Renders the table as in the paper, with the paper's numbers in the last column."""
    lines = ["| synthetic pictures | accuracy (%) | standard deviation | runs | the paper, on Oulu-CASIA (%) |",
             "|---:|---:|---:|---:|---:|"]  # fmt: skip
    for row in table["rows"]:
        deviation = "" if row["deviation"] is None else f"{100 * row['deviation']:.2f}"
        lines.append(f"| {row['synthetic_pictures']:,} | {100 * row['accuracy']:.2f} | {deviation} | {len(row['runs'])} | "
                     f"{paper_accuracy(row['synthetic_pictures'])} |")  # fmt: skip
    return "\n".join(lines) + "\n"


def paper_accuracy(synthetic_pictures: int) -> str:
    """The paper's accuracy in percent; empty if it has no such row."""
    accuracy = PAPER_ACCURACY.get(synthetic_pictures)
    return "" if accuracy is None else f"{accuracy:.2f}"


def _batch(data: Table1Data, count: int, step: int, seed: int, config: Table1Config) -> tuple[Tensor, Tensor]:
    """Images (B, 3, S, S) uint8 and labels (B,) of one step."""
    size, real = config.batch_size, data.real
    if not count or data.synthetic is None:
        indices, synthetic = batch_indices(len(real), size, step, seed=seed), torch.empty(0, dtype=torch.long)
    elif config.real_share:
        num_real = min(max(round(size * config.real_share), 1), size - 1)
        indices = batch_indices(len(real), num_real, step, seed=seed)
        synthetic = batch_indices(count, size - num_real, step, seed=seed)
    else:
        mixed = batch_indices(len(real) + count, size, step, seed=seed)
        indices, synthetic = mixed[mixed < len(real)], mixed[mixed >= len(real)] - len(real)
    images, labels = real.images[indices], real.expression[indices]
    if len(synthetic):
        images = torch.cat((images, data.synthetic.images[synthetic]))
        labels = torch.cat((labels, data.synthetic.expression[synthetic]))
    return images, labels


def _load(data: str, synthetic: str, model: ExprGANConfig, config: Table1Config) -> Table1Data:
    def read(folder: str, split: str) -> FaceFolder:
        return FaceFolder.load(folder, split, model.image_size, model.expressions).expressive()

    count = max(config.counts)
    pictures = read(synthetic, "train") if count else None
    if pictures is not None and len(pictures) < count:
        raise RunError(f"{synthetic} holds {len(pictures):,} pictures, the row of {count:,} needs more; "
                       f"run `python -m train augment` with --count {count} again")  # fmt: skip
    return Table1Data(read(data, "train"), pictures, read(data, "test"))


def _select_people(data: Table1Data, count: int, seed: int) -> Table1Data:
    """The same with the real pictures of `count` people only, sampled by the seed: rows of one seed share them."""
    people = data.real.subject.unique()
    if not count or count >= len(people):
        return data
    sample = people[torch.randperm(len(people), generator=torch.Generator().manual_seed(seed))[:count]]
    return replace(data, real=data.real.select(torch.isin(data.real.subject, sample)))


def _read_cell(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The result of an earlier run with the same settings; else empty."""
    result = read_json(path)
    return result if result.get("settings") == settings else {}


def _digest(path: Path) -> str:
    if not path.is_file():
        raise RunError(f"{path} does not exist; name a folder that `prepare` or `augment` wrote")
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _summarize(results: dict[tuple[int, int], dict[str, Any]], settings: dict[str, Any]) -> dict[str, Any]:
    rows = []
    for count in sorted({count for count, _ in results}):
        runs = [result["accuracy"] for (other, _), result in results.items() if other == count]
        deviation = round(statistics.stdev(runs), 4) if len(runs) > 1 else None
        rows.append({"synthetic_pictures": count, "accuracy": round(statistics.mean(runs), 4), "deviation": deviation,
                     "runs": runs})  # fmt: skip
    first = next(iter(results.values()))
    return {"rows": rows, **{name: first[name] for name in ("test_pictures", "real_pictures", "real_people")},
            "settings": settings}  # fmt: skip

"""`reproduce`: the whole paper in one command, from Oulu-CASIA's photos (or any prepared folder) to a report.

A step is one function in `STEPS`. What it finished is stamped in OUT/steps; the same command goes on after a stop.
"""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from accelerate import PartialState

from ..core.config_flags import option
from ..core.files import RunError, write_json
from ..data.prepare import PrepareConfig, prepare
from ..data.validation import check
from ..eval.evaluate import evaluate
from ..gan.gan_trainer import fit
from ..gan.train_config import TrainConfig
from ..perceptual.face_trainer import FaceTrainConfig, train_face_network
from ..publish.publish_weights import publish
from .figures import draw_figures
from .reproduction_report import write_report
from .synthetic_set import SyntheticConfig, make_set
from .table1 import Table1Config, table1


@dataclass(frozen=True)
class ReproduceConfig:
    """Sizes of the reproduction; the defaults are the paper's where it says them.

    Raises:
        ValueError: a value that cannot work; the message names it.
    """

    recipe: Literal["paper", "published"] = option(
        "paper", "settings of `fit`: the paper's, or those of the bundled weights"
    )
    steps: str = option("4300,1350,1350", "steps of the controller, reconstruct and refine stage; CAAE gets their sum")
    face_steps: int = option(3000, "steps of the face network")
    face_width: int = option(16, "channels of the face network's first block")
    batch_size: int = option(48, "pictures a batch, in every training")
    width: float = option(1.0, "width of G_enc and G_dec; 0.5 needs a quarter of the arithmetic")
    z_dim: int = option(50, "numbers in z = g(x)")
    image_size: int = option(128, "side of x in px")
    identity_size: str = option("128", "side in px at which L_id compares, or several: 64,128; half costs a quarter")
    synthetic: Literal["people", "edits"] = option("people", "synthetic pictures of new people (the paper) or edits")
    rows: str = option("0,3000,6000,30000,60000", "Table 1's numbers of synthetic pictures")
    seeds: int = option(3, "how often each row of Table 1 is trained")
    table_steps: int = option(3000, "steps of every classifier of Table 1")
    people: int = option(0, "training people of Table 1's classifiers; 0: all")
    align: Literal["eyes", "landmarks"] = option("eyes", "how faces are aligned, see `prepare`")
    allow_incomplete: bool = option(False, "go on though the data set is not complete")
    mixed_precision: Literal["no", "bf16", "fp16"] = option("bf16", "type of the networks' arithmetic in `fit`")
    cpu: bool = option(False, "use the CPU even where there is a GPU")
    seed: int = option(0, "seed of everything random")

    def __post_init__(self):
        _ = self.table, TrainConfig.of(self.recipe, steps=self.steps, **self.shared)  # checked before hours of work

    @property
    def shared(self) -> dict[str, Any]:
        """What ExprGAN and CAAE have in common."""
        names = ("batch_size", "width", "z_dim", "image_size", "identity_size", "mixed_precision", "cpu", "seed")
        return {name: getattr(self, name) for name in names}

    @property
    def table(self) -> Table1Config:
        """Table 1, but for where it goes."""
        return Table1Config(rows=self.rows, seeds=self.seeds, steps=self.table_steps, batch_size=self.batch_size,
                            people=self.people, cpu=self.cpu)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One reproduction: where it reads and writes, and how large everything is."""

    source: str
    """"oulu", or "folder" for one that is prepared."""
    src: str
    out: Path
    config: ReproduceConfig

    @property
    def data(self) -> str:
        """The training folder."""
        return self.src if self.source == "folder" else str(self.out / "data")

    def at(self, name: str) -> str:
        """A folder in OUT."""
        return str(self.out / name)

    def training(self, recipe: str, name: str, steps: str) -> TrainConfig:
        """What `fit` is told."""
        return TrainConfig.of(recipe, out=self.at(name), face=self.at("face"), steps=steps, **self.config.shared)


@dataclass(frozen=True)
class Step:
    """One row of the table."""

    run: Callable[[Job], None]
    needs: tuple[str, ...]
    settings: tuple[str, ...]
    costly: bool
    together: bool


STEPS: dict[str, Step] = {}
"""In the order of work."""


def step(*settings: str, needs: tuple[str, ...] = (), costly: bool = False, together: bool = False) -> Callable:
    """Files a step under its function's name.

    Args:
        settings: the fields of ReproduceConfig that it depends on, beside those of the steps it needs.
        needs: steps whose results it reads.
        costly: what it made with other settings is never overwritten; it says so instead.
        together: all processes of `accelerate launch` work on it, not the first alone.
    """

    def file(function: Callable[[Job], None]) -> Callable[[Job], None]:
        STEPS[function.__name__.strip("_")] = Step(function, needs, settings, costly, together)
        return function

    return file


def reproduce(source: str, src: str, out: str, config: ReproduceConfig) -> Path:
    """Runs what is left of the steps, then writes the report. Returns OUT/report.html.

    Args:
        source: "oulu", a source that `prepare` knows, or "folder", a folder that is prepared already.
        src: where the photos, or the folder, are.
        out: folder for everything that is made.
        config: sizes.

    Raises:
        RunError: OUT holds a costly result of other settings.
        ExprGANError: a step cannot do its work; what was finished before it stays.
    """
    state = PartialState(cpu=config.cpu, timeout=timedelta(days=7))  # others wait while the first works alone
    job = Job(source, src, Path(out), config)
    for number, (name, one) in enumerate(STEPS.items(), start=1):
        stamp = job.out / "steps" / f"{number:02d}-{name}.json"
        state.wait_for_everyone()
        key, before = _key(job, name), _read(stamp)
        if before.get("key") == key and "seconds" in before:
            state.print(f"{name}: done before")
            continue
        if one.costly and before and before["key"] != key:
            others = _difference(job, name, before)
            raise RunError(f"{out} holds a {name} of other settings ({others}); choose another OUT, or delete {stamp} and "
                           "what it stands for")  # fmt: skip
        settings = {"key": key, "settings": _settings(job, name)}
        state.wait_for_everyone()
        if state.is_main_process:
            print(f"{name}: step {number} of {len(STEPS)}", flush=True)
            write_json(stamp, settings)  # begun
        start = time.monotonic()
        if one.together or state.is_main_process:
            one.run(job)
        state.wait_for_everyone()
        if state.is_main_process:
            write_json(stamp, settings | {"seconds": round(time.monotonic() - start, 1)})
    if state.is_main_process:
        write_report(job.out, job.data, source, dataclasses.asdict(config))
    return job.out / "report.html"


@step("image_size", "align", "allow_incomplete", costly=True)
def _prepare(job: Job) -> None:
    """Photos to aligned faces; a prepared folder is checked."""
    config = job.config
    if job.source != "folder":
        asked = PrepareConfig(image_size=config.image_size, align=config.align, allow_incomplete=config.allow_incomplete)
        prepare(job.source, job.src, job.data, asked)
    check(job.data)


@step("face_steps", "face_width", "batch_size", "mixed_precision", "seed", needs=("prepare",), costly=True, together=True)
def _facenet(job: Job) -> None:
    """The face network behind L_id, the transfer's classifier, the judge."""
    config = job.config
    sizes = {"width": config.face_width, "image_size": config.image_size, "size": min(64, config.image_size)}
    train_face_network(job.data, FaceTrainConfig(out=job.at("face"), steps=config.face_steps, batch_size=config.batch_size, cpu=config.cpu,
                                  seed=config.seed, mixed_precision=config.mixed_precision, **sizes))  # fmt: skip


TRAINING = ("batch_size", "width", "z_dim", "identity_size", "mixed_precision", "seed")


@step("recipe", "steps", *TRAINING, needs=("facenet",), costly=True, together=True)
def _fit(job: Job) -> None:
    """ExprGAN, in three stages."""
    fit(job.data, job.training(job.config.recipe, "run", job.config.steps))


@step(needs=("fit",))
def _publish(job: Job) -> None:
    """The run's weights as a folder."""
    publish(job.at("run"), job.at("weights"))


@step(needs=("publish",))
def _evaluate(job: Job) -> None:
    """What the weights measure."""
    evaluate(job.at("weights"), job.data, job.at("sheets"))


@step("steps", *TRAINING, needs=("facenet",), costly=True, together=True)
def _caae(job: Job) -> None:
    """The baseline of Fig. 2, with as many steps as all of ExprGAN's stages together."""
    fit(job.data, job.training("caae", "caae-run", f"0,0,{sum(map(int, job.config.steps.split(',')))}"))


@step(needs=("caae",))
def _evaluate_caae(job: Job) -> None:
    """What the baseline measures."""
    publish(job.at("caae-run"), job.at("caae"))
    evaluate(job.at("caae"), job.data, "")


@step("synthetic", "rows", "seed", needs=("publish",), together=True)
def _augment(job: Job) -> None:
    """The synthetic set of Table 1."""
    config = job.config
    if most := max(config.table.counts):
        sizes = {"count": most, "kind": config.synthetic, "seed": config.seed, "cpu": config.cpu}
        make_set(job.at("weights"), SyntheticConfig(out=job.at("synthetic"), **sizes), job.data)


@step("rows", "seeds", "table_steps", "people", "batch_size", needs=("augment",), together=True)
def _table1(job: Job) -> None:
    """Classifiers with more and more synthetic pictures."""
    asked = dataclasses.replace(job.config.table, out=job.at("table1"))
    table1(job.at("weights"), job.data, job.at("synthetic"), asked)


@step(needs=("publish", "caae"))
def _figures(job: Job) -> None:
    """Figures 2 to 7."""
    draw_figures([], job.at("weights"), job.data, job.at("figures"), job.at("caae"))


def _settings(job: Job, name: str) -> dict[str, Any]:
    """Everything a step's result depends on: its own settings, and those of the steps it needs."""
    found: dict[str, Any] = {}
    for needed in STEPS[name].needs:
        found |= _settings(job, needed)
    if name == "prepare":
        found["source"] = job.source
        table = Path(job.data) / "metadata.csv"
        if job.source == "folder" and table.is_file():
            found["data_sha256"] = hashlib.sha256(table.read_bytes()).hexdigest()
    return found | {setting: getattr(job.config, setting) for setting in STEPS[name].settings}


def _key(job: Job, name: str) -> str:
    return hashlib.sha256(json.dumps(_settings(job, name), sort_keys=True).encode()).hexdigest()[:16]


def _difference(job: Job, name: str, before: dict[str, Any]) -> str:
    """The settings that were others, in words."""
    now, then = _settings(job, name), before["settings"]
    return ", ".join(f"{key} {then.get(key)!r} instead of {now.get(key)!r}" for key in sorted(now.keys() | then)
                     if now.get(key) != then.get(key))  # fmt: skip


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

"""`reproduce`: the whole paper in one command, from Oulu-CASIA's photos (or any prepared folder) to a report.

A step is one decorated function of a `Job`. Finished steps are recorded in OUT/steps; the same command continues after
a stop.
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

from ..core.config_flags import describe_difference, option
from ..core.files import read_json, write_json
from ..core.processes import process_state
from ..core.train_errors import RunError
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
    """Sizes of the reproduction; the defaults are the paper's where it states them.

    Raises:
        ValueError: a value that cannot work; the message names it.
    """

    recipe: Literal["paper", "published"] = option(
        "paper", "recipe of `fit`; the options of this command take the place of its settings"
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
    allow_incomplete: bool = option(False, "continue although the data set is not complete")
    mixed_precision: Literal["no", "bf16", "fp16"] = option("bf16", "type of the networks' arithmetic in `fit`")
    check_face: bool = option(True, "refuse a face network that recognises expressions no better than chance")
    cpu: bool = option(False, "use the CPU even where there is a GPU")
    seed: int = option(0, "seed of everything random")

    def __post_init__(self):
        self.table_config("")  # both check their values, before hours of work
        self.train_config(self.recipe, steps=self.steps)

    def train_config(self, recipe: str, **settings: Any) -> TrainConfig:
        """Configuration of `fit`, for ExprGAN or CAAE."""
        names = ("batch_size", "width", "z_dim", "image_size", "identity_size", "mixed_precision", "check_face", "cpu",
                 "seed")  # fmt: skip
        return TrainConfig.from_recipe(recipe, **{name: getattr(self, name) for name in names}, **settings)

    def table_config(self, out: str) -> Table1Config:
        """Configuration of `table1`."""
        return Table1Config(out=out, rows=self.rows, seeds=self.seeds, steps=self.table_steps,
                            batch_size=self.batch_size, people=self.people, cpu=self.cpu)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One reproduction: its input, output and sizes."""

    source: str
    """A source of `prepare`, or "folder" for a prepared folder."""
    src: str
    """Folder of the photos, or the prepared folder."""
    out: Path
    config: ReproduceConfig

    @property
    def data(self) -> str:
        """The training folder."""
        return self.src if self.source == "folder" else str(self.out / "data")

    def folder(self, name: str) -> str:
        """A folder in OUT."""
        return str(self.out / name)

    def fit(self, recipe: str, name: str, steps: str) -> None:
        """Trains by a recipe, into a folder in OUT."""
        settings = {"out": self.folder(name), "face": self.folder("face"), "steps": steps}
        fit(self.data, self.config.train_config(recipe, **settings))


@dataclass(frozen=True)
class Step:
    """One step of a reproduction; the fields are those of `register_step`."""

    run: Callable[[Job], None]
    needs: tuple[str, ...]
    settings: tuple[str, ...]
    costly: bool
    distributed: bool


STEPS: dict[str, Step] = {}
"""In the order of work."""


def register_step(*settings: str, needs: tuple[str, ...] = (), costly: bool = False, distributed: bool = False) -> Callable:
    """Registers a step under its function's name.

    Args:
        settings: the fields of ReproduceConfig that its result depends on, beside those of the steps it needs.
        needs: steps whose results it reads.
        costly: a result of other settings is never overwritten; RunError is raised instead.
        distributed: all processes of `accelerate launch` run it, not the first alone.
    """

    def register(function: Callable[[Job], None]) -> Callable[[Job], None]:
        STEPS[function.__name__.strip("_")] = Step(function, needs, settings, costly, distributed)
        return function

    return register


def reproduce(source: str, src: str, out: str, config: ReproduceConfig) -> Path:
    """Runs the steps that are not finished, then writes the report. Returns OUT/report.html.

    Args:
        source: "oulu" or another source of `prepare`, or "folder" for a folder that is prepared already.
        src: folder of the photos, or the prepared folder.
        out: folder to write.
        config: sizes.

    Raises:
        RunError: OUT holds a costly result of other settings.
        ExprGANError: a step fails; the results of the steps before it remain.
    """
    state = process_state(config.cpu, timedelta(days=7))  # the others wait while the first works alone
    job = Job(source, src, Path(out), config)
    for number, (name, step) in enumerate(STEPS.items(), start=1):
        record_path = job.out / "steps" / f"{number:02d}-{name}.json"
        settings = _settings(job, name)
        key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        state.wait_for_everyone()
        previous = read_json(record_path)
        if previous.get("key") == key and "seconds" in previous:
            state.print(f"{name}: done before")
            continue
        if step.costly and previous and previous["key"] != key:
            difference = describe_difference(settings, previous["settings"])
            raise RunError(f"{out} holds a {name} of other settings ({difference}); choose another OUT, or delete "
                           f"{record_path} and what it stands for")  # fmt: skip
        record = {"key": key, "settings": settings}
        state.wait_for_everyone()
        if state.is_main_process:
            print(f"{name}: step {number} of {len(STEPS)}", flush=True)
            write_json(record_path, record)  # it has begun
        start = time.monotonic()
        if step.distributed or state.is_main_process:
            step.run(job)
        state.wait_for_everyone()
        if state.is_main_process:
            write_json(record_path, record | {"seconds": round(time.monotonic() - start, 1)})
    if state.is_main_process:
        write_report(job.out, job.data, source, dataclasses.asdict(config))
    return job.out / "report.html"


@register_step("image_size", "align", "allow_incomplete", costly=True)
def _prepare(job: Job) -> None:
    """Aligns the faces of the photos; a prepared folder is only checked."""
    config = job.config
    if job.source != "folder":
        sizes = {"image_size": config.image_size, "align": config.align, "allow_incomplete": config.allow_incomplete}
        prepare(job.source, job.src, job.data, PrepareConfig(**sizes))
    check(job.data)


@register_step("face_steps", "face_width", "batch_size", "mixed_precision", "seed", needs=("prepare",), costly=True,
               distributed=True)  # fmt: skip
def _facenet(job: Job) -> None:
    """Trains the face network: basis of L_id, classifier of transfer, and evaluator."""
    config = job.config
    sizes = {"width": config.face_width, "image_size": config.image_size, "size": min(64, config.image_size)}
    shared = {name: getattr(config, name) for name in ("batch_size", "mixed_precision", "seed", "cpu")}
    train_face_network(job.data, FaceTrainConfig(out=job.folder("face"), steps=config.face_steps, **sizes, **shared))


GAN_SETTINGS = ("batch_size", "width", "z_dim", "identity_size", "mixed_precision", "seed")


@register_step("recipe", "steps", *GAN_SETTINGS, needs=("facenet",), costly=True, distributed=True)
def _fit(job: Job) -> None:
    """Trains ExprGAN in its three stages."""
    job.fit(job.config.recipe, "run", job.config.steps)


@register_step(needs=("fit",))
def _publish(job: Job) -> None:
    publish(job.folder("run"), job.folder("weights"), replace=True)


@register_step(needs=("publish",))
def _evaluate(job: Job) -> None:
    evaluate(job.folder("weights"), job.data, job.folder("sheets"))


@register_step("steps", *GAN_SETTINGS, needs=("facenet",), costly=True, distributed=True)
def _caae(job: Job) -> None:
    """Trains the baseline of Fig. 2, with as many steps as all of ExprGAN's stages together."""
    job.fit("caae", "caae-run", f"0,0,{sum(map(int, job.config.steps.split(',')))}")


@register_step(needs=("caae",))
def _evaluate_caae(job: Job) -> None:
    publish(job.folder("caae-run"), job.folder("caae"), replace=True)
    evaluate(job.folder("caae"), job.data)


@register_step("synthetic", "rows", "seed", needs=("publish",), distributed=True)
def _augment(job: Job) -> None:
    """Makes the synthetic set of Table 1."""
    config = job.config
    if count := max(config.table_config("").counts):
        settings = {"count": count, "kind": config.synthetic, "seed": config.seed, "cpu": config.cpu}
        make_set(job.folder("weights"), SyntheticConfig(out=job.folder("synthetic"), **settings), job.data)


@register_step("rows", "seeds", "table_steps", "people", "batch_size", needs=("augment",), distributed=True)
def _table1(job: Job) -> None:
    table1(job.folder("weights"), job.data, job.folder("synthetic"), job.config.table_config(job.folder("table1")))


@register_step(needs=("publish", "caae"))
def _figures(job: Job) -> None:
    draw_figures([], job.folder("weights"), job.data, job.folder("figures"), job.folder("caae"))


def _settings(job: Job, name: str) -> dict[str, Any]:
    """Everything that a step's result depends on: its own settings, and those of the steps it needs."""
    settings: dict[str, Any] = {}
    for needed in STEPS[name].needs:
        settings |= _settings(job, needed)
    if name == "prepare":
        settings["source"] = job.source
        table = Path(job.data) / "metadata.csv"
        if job.source == "folder" and table.is_file():
            settings["data_sha256"] = hashlib.sha256(table.read_bytes()).hexdigest()
    return settings | {setting: getattr(job.config, setting) for setting in STEPS[name].settings}

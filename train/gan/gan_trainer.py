"""`fit`: the paper's three stages. Data -> Pass -> players -> step; read top to bottom."""

import contextlib
import copy
import dataclasses
import json
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, ProjectConfiguration, set_seed
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from exprgan.editor import ExpressionEditor
from exprgan.models.exprgan import ExprGAN, ExprGANConfig

from ..core.allocator import keep_freed_memory
from ..core.checkpoints import Checkpoints
from ..core.files import RunError, write_json, writes_folder
from ..core.precision import supported_precision, try_kernels
from ..data import FaceFolder
from ..data.transforms import augment
from ..data.contact_sheets import expression_sheet, one_each
from ..data.face_folder import batch_at
from ..perceptual.face_trainer import load_face
from ..perceptual.feature_maps import face_maps
from .gan_losses import PLAYERS, Loss, Nets, Pass, plays, weights_of
from .tracking import RunTracker, tracker_names
from .train_config import TrainConfig


class Trainer:
    """One run: the model, its running average, the players with their optimisers, and how far it got.

    Everything random is drawn from (seed, stage, step, part of the batch), so that a resumed run needs no state of chance.
    A batch has `accumulate` parts on every process; N processes with one part each do what one process with N parts does.
    """

    def __init__(self, data: str, config: TrainConfig):
        self.config, self.out = config, Path(config.out)
        self.accelerator = Accelerator(
            cpu=config.cpu, mixed_precision=supported_precision(config.mixed_precision, config.cpu),
            gradient_accumulation_steps=config.accumulate,
            log_with=tracker_names(config) or None,
            project_config=ProjectConfiguration(config.out, str(self.out / "tensorboard")),
            # a stage leaves some weights alone: G_enc in the first, D_img's head in the second
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)],
        )  # fmt: skip
        self.device = self.accelerator.device
        if self.device.type == "cpu":
            keep_freed_memory()
        else:
            try_kernels()
        set_seed(config.seed)
        self.model = new_model(config)
        self._read_data(data)
        self.checkpoints = Checkpoints(config.out, config.keep)
        self.stage, self.step, self.seconds = 0, 0, 0.0
        """Index of the stage, steps and seconds done in it."""
        self.history: dict[str, int] = {}
        """Steps done, by stage."""
        self.settings: dict[str, dict] = {}
        """What each stage was told, by stage: a run may go on with other settings."""
        self.before = read_training(config.init)
        """The record of the training that the weights of --init had before, if it came with them."""
        self.model.to(self.device, memory_format=torch.channels_last).train()
        self.model.classifier.eval().requires_grad_(False)
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        self.statistics = self._running_statistics().expand(config.accumulate, -1).clone()
        """Batch norm's running statistics as each part of the batch has seen them: (accumulate, all of them)."""
        self.bad = torch.zeros((), device=self.device)
        """Above 0 once a loss was not a number."""
        if state := self.checkpoints.latest():
            self._load(state)
        phi = face_maps(config.phi, self.model.classifier, file=config.phi_file, sizes=config.identity_sizes,
                        channels=config.phi_channels)  # fmt: skip
        self.nets = Nets(*(getattr(self.model, name) for name in ("G_enc", "G_dec", "D_img", "D_z")), phi.to(self.device))
        with warnings.catch_warnings():  # torch 2.14 has another name for broadcast_buffers, accelerate 1.15 has not
            warnings.simplefilter("ignore", FutureWarning)
            self.losses = {player: self.accelerator.prepare_model(Loss(player, self.nets)) for player in PLAYERS}

    def _read_data(self, data: str) -> None:
        config, expressions = self.config, self.model.config.expressions
        fold = None if config.fold < 0 else config.fold
        load = (self.model.config.image_size, expressions, fold)
        self.people = FaceFolder.load(data, "test", *load)
        faces = FaceFolder.load(data, "train", *load).expressive(config.min_intensity, neutral=config.neutral)
        if not len(faces):
            raise RunError(f"no picture in {data} has an expression of at least {config.min_intensity} intensity")
        self.faces = dataclasses.replace(faces, images=faces.images.to(self.device))  # bytes, so all of them fit

    def fit(self) -> Path:
        """Runs what is left of the stages and returns the run folder."""
        config = self.config
        if self.accelerator.is_main_process:
            self.checkpoints.sweep()
            write_json(self.out / "config.json", dataclasses.asdict(config))
        self.watch = RunTracker(self.accelerator, config, self.steps_done)
        try:
            while self.stage < len(config.stage_names):
                if not self.step:
                    self._start_stage()
                self._run_stage(config.stage_names[self.stage])
                self.stage, self.step, self.seconds = self.stage + 1, 0, 0.0
                self._save()
        finally:
            self.watch.bar.close()  # before an error is said
        self.watch.close()
        return self.out

    @property
    def steps_done(self) -> int:
        """Over all stages."""
        return sum(self.history.values())

    def _start_stage(self) -> None:
        """Fresh optimisers, and a running average that starts from the weights as they are."""
        self.optimizers = self._new_optimizers()
        self.ema.load_state_dict(self.model.state_dict())

    def _new_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        def adam(names: tuple[str, ...]) -> torch.optim.Optimizer:
            parameters = [p for name in names for p in getattr(self.model, name).parameters()]
            return torch.optim.Adam(parameters, lr=self.config.lr, betas=(0.5, 0.999), fused=True)

        return {player: self.accelerator.prepare_optimizer(adam(names)) for player, names in PLAYERS.items()}

    def _run_stage(self, stage: str) -> None:
        config = self.config
        weights = weights_of(stage, config.weights)
        self.settings[stage] = dataclasses.asdict(config)
        steps, budget = config.stage_steps(stage), config.stage_seconds(stage)
        self.watch.stage(stage, self.step, None if config.minutes else steps)
        saved = tick = time.monotonic()
        while True:
            spent, granted = (self.seconds, budget) if config.minutes else (self.step, steps)
            done, due = self._agree(spent / granted if granted else 1.0, tick - saved > 60 * config.save_minutes)
            if due:
                self._save()
                saved = time.monotonic()
            if done >= 1:
                break
            self._set_lr(config.lr * (1 + (config.lr_end - 1) * done))
            logs = (self.step + 1) % config.log_steps == 0
            values = self.train_step(stage, weights, norms=logs)
            self.step += 1
            self.history[stage] = self.step
            self.watch.step()
            if logs:
                self._check(stage)
                means = {name: self.accelerator.reduce(value, "mean").item() for name, value in values.items()}
                self.watch.log(stage, means, self.steps_done, granted - self.seconds if config.minutes else None)
            if self.step % config.sample_steps == 0:
                self._sample(stage)
            self.seconds, tick = self.seconds + time.monotonic() - tick, time.monotonic()
        if granted:
            self._check(stage)
            self._sample(stage)
            self.accelerator.print(f"{stage}: {self.step} steps in {self.seconds / 60:.1f} minutes")

    def _agree(self, done: float, due: bool) -> tuple[float, bool]:
        """Share done and whether to save: clocks differ, but all processes have to do the same."""
        if self.accelerator.num_processes == 1:
            return done, due
        mean = self.accelerator.reduce(torch.tensor([done, float(due)], device=self.device), "mean").tolist()
        return mean[0], mean[1] > 0

    def train_step(self, stage: str, weights: dict[str, float], *, norms: bool = False) -> dict[str, Tensor]:
        """One step of every player that has a loss in this stage.

        Returns:
            The unweighted terms by name, and with `norms` the length of each player's gradient as `gradient/<player>`.
        """
        passes = [self._pass(stage, part) for part in range(self.config.accumulate)]
        values: dict[str, Tensor] = {}
        for player, loss in self.losses.items():
            if not plays(player, weights):
                continue
            for other, names in PLAYERS.items():
                for name in names:
                    getattr(self.model, name).requires_grad_(other == player)
            optimizer = self.optimizers[player]
            for part, p in enumerate(passes):
                with self.accelerator.accumulate(loss), self._statistics_of(part):
                    total, terms = loss(p, weights)
                    self.accelerator.backward(total)
                    if norms and self.accelerator.sync_gradients:
                        values[f"gradient/{player}"] = self._norm(optimizer)
                    optimizer.step()
                    optimizer.zero_grad()
                for name, value in terms.items():
                    values[name] = values.get(name, 0) + value / len(passes)
                self.bad = self.bad + ~total.detach().isfinite()
            passes = [p.detached() for p in passes]
        self._update_ema()
        return values

    def _pass(self, stage: str, part: int = 0) -> Pass:
        """One part of this step's batch, drawn from (seed, stage, step, part of all processes' batch) alone."""
        config = self.config
        part += self.accelerator.process_index * config.accumulate
        key = f"{config.seed}/{stage}/{self.step}/{part}"
        chance = torch.Generator().manual_seed(int.from_bytes(key.encode(), "big") % (2**63 - 25))
        indices = batch_at(len(self.faces), config.batch_size, self.step, seed=config.seed,
                           rank=part, world=self.accelerator.num_processes * config.accumulate)  # fmt: skip
        images = self.faces.images[indices.to(self.device, non_blocking=True)]
        x = augment(images, chance, colour=config.colour, shift=config.shift)
        y = self.faces.one_hot(indices)
        c = self._condition(y, self.faces.intensity[indices], chance)
        z_prior = torch.rand(len(y), self.model.config.z_dim, generator=chance) * 2 - 1
        x = x.contiguous(memory_format=torch.channels_last)
        on = (part.to(self.device, non_blocking=True) for part in (y, c, z_prior))
        return Pass(self.nets, x, *on, encodes=stage != "controller")

    def _condition(self, y: Tensor, intensity: Tensor, chance: torch.Generator) -> Tensor:
        """c for y: drawn by F_ctrl, or what stands in its place in the baselines."""
        F_ctrl = self.model.F_ctrl
        if self.config.condition == "none":
            return torch.zeros(len(y), F_ctrl.code_dim)
        if self.config.condition == "label":
            return F_ctrl.random(y, chance, torch.ones(len(y)))
        return F_ctrl.random(y, chance, intensity if self.config.known_intensity else None)

    def _norm(self, optimizer: torch.optim.Optimizer) -> Tensor:
        self.accelerator.unscale_gradients(optimizer)
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        return torch.nn.utils.get_total_norm(gradients)

    @torch.no_grad()
    def _update_ema(self) -> None:
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for name in PLAYERS["G"]:
            means, now = (list(getattr(model, name).parameters()) for model in (self.ema, self.model))
            get_ema_multi_avg_fn(decay)(means, now, None)

    def _set_lr(self, lr: float) -> None:
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = lr

    def _buffers(self) -> list[Tensor]:
        parts = (self.model.D_img, self.model.D_z)
        return [buffer for part in parts for buffer in part.buffers() if buffer.is_floating_point()]

    def _running_statistics(self) -> Tensor:
        return torch.cat([buffer.flatten() for buffer in self._buffers()])

    def _set_running_statistics(self, values: Tensor) -> None:
        buffers = self._buffers()
        for buffer, part in zip(buffers, values.split([buffer.numel() for buffer in buffers]), strict=True):
            buffer.copy_(part.view_as(buffer))

    @contextlib.contextmanager
    def _statistics_of(self, part: int) -> Iterator[None]:
        """Within: batch norm's running statistics are those of one part of the batch, as a process keeps its own."""
        if len(self.statistics) == 1:
            yield
        else:
            self._set_running_statistics(self.statistics[part])
            yield
            self.statistics[part] = self._running_statistics()

    def _check(self, stage: str) -> None:
        """Stops a run whose losses are no numbers any more."""
        if self.accelerator.reduce(self.bad, "sum") > 0:
            last = self.checkpoints.paths()
            raise RunError(
                f"a loss was not a number in the {self.config.log_steps} steps before step {self.step} of {stage}; "
                f"the last good checkpoint is {last[-1] if last else 'not written yet'}. Start the same command again, "
                "with a lower --lr or --mixed-precision no if it happens again"
            )

    def _sample(self, stage: str) -> None:
        if self.accelerator.is_main_process:
            editor = ExpressionEditor(self.published())
            sheet = expression_sheet(editor, one_each(editor, self.people, count=6), "decoder")
            self.watch.sheet(stage, sheet, self.step, self.steps_done)

    def published(self) -> ExprGAN:
        """The model as it is published: the running average of G_enc and G_dec, the rest as it stands."""
        for name in ("D_img", "D_z"):
            getattr(self.ema, name).load_state_dict(getattr(self.model, name).state_dict())
        return self.ema.eval()

    def _save(self) -> None:
        stages = self.config.stage_names
        name = stages[self.stage] if self.stage < len(stages) else "end"
        self._check(name)
        if len(self.statistics) == 1:
            self.statistics = self._running_statistics()[None]
        statistics = self.accelerator.gather(self.statistics)
        self._set_running_statistics(statistics.mean(0))
        if self.accelerator.is_main_process:
            self.checkpoints.save(self.stage, name, self.step, {
                "model_config": dataclasses.asdict(self.model.config),
                "stage": self.stage, "step": self.step, "seconds": self.seconds,
                "history": self.history, "settings": self.settings, "before": self.before, "statistics": statistics,
                "model": self.model.state_dict(),
                "ema": {key: value for key, value in self.ema.state_dict().items() if key.split(".")[0] in PLAYERS["G"]},
                "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            })  # fmt: skip
        self._set_running_statistics(self.statistics[0])
        self.accelerator.wait_for_everyone()

    def _load(self, state: dict) -> None:
        if ExprGANConfig(**state["model_config"]) != self.model.config:
            raise RunError(f"{self.out} holds a run of other networks; choose another --out, or the same settings")
        self.stage, self.step, self.seconds = state["stage"], state["step"], state["seconds"]
        self.history, self.settings, self.before = state["history"], state["settings"], state.get("before")
        if self.config.face:  # what the command line names wins
            state["model"] |= {f"classifier.{key}": value for key, value in self.model.classifier.state_dict().items()}
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["model"] | state["ema"])
        self._load_statistics(state["statistics"])
        self.optimizers = self._new_optimizers()
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])

    def _load_statistics(self, saved: Tensor) -> None:
        parts, processes = len(self.statistics), self.accelerator.num_processes
        if len(saved) != parts * processes:  # the run goes on with other parts
            saved = saved.mean(0, keepdim=True).expand(parts * processes, -1)
        mine = saved.view(processes, parts, -1)[self.accelerator.process_index]
        self.statistics = mine.to(self.device).clone()
        self._set_running_statistics(self.statistics[0])


def new_model(config: TrainConfig) -> ExprGAN:
    """A fresh model with the face network in place, or the one that --init names.

    Raises:
        WeightsError: --init or --face cannot be loaded.
        RunError: neither brings a face network.
    """
    if config.init:
        model = ExprGAN.from_pretrained(config.init)
        model.config = dataclasses.replace(model.config, people_mean=(), people_spread=())  # those of another G_enc
    else:
        size = {"image_size": config.image_size, "z_dim": config.z_dim, "expressions": config.labels}
        wide = {"encoder_width": round(64 * config.width), "decoder_width": round(1024 * config.width)}
        model = ExprGAN(ExprGANConfig(**size, **wide))
    if config.face:
        model.classifier = load_face(config.face, len(model.config.expressions))
        width = model.classifier.blocks[0][0].out_channels
        model.config = dataclasses.replace(model.config, face_width=width, face_size=model.classifier.size)
    elif not config.init:
        raise RunError("L_id needs a face network: run `python -m train facenet DATA` first and name its folder in --face")
    return model


def read_training(init: str) -> dict | None:
    """training.json of the folder that a run starts from; None without one."""
    path = Path(init) / "training.json"
    return json.loads(path.read_text(encoding="utf-8")) if init and path.is_file() else None


@writes_folder(lambda data, config: config.out)
def fit(data: str, config: TrainConfig) -> Path:
    """Trains on a folder with metadata.csv; a run found in `config.out` goes on. Returns the run folder."""
    return Trainer(data, config).fit()

"""`fit`: the paper's three stages. Data -> Pass -> players -> step; read top to bottom."""

import copy
import dataclasses
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor
from tqdm import tqdm

from exprgan.editor import ExpressionEditor
from exprgan.model import ExprGAN, ExprGANConfig

from .config import TrainConfig
from .data import FaceFolder, augment
from .data.folder import batch_at
from .facenet import load_face
from .losses import Nets, Pass, total, weights_of
from .run import RunError, read_state, write_json, write_state
from .samples import expression_sheet, one_each, save_sheet

PLAYERS = {"G": ("G_enc", "G_dec"), "D_img": ("D_img",), "D_z": ("D_z",)}
"""Which parts each player's optimiser owns; Q lives in D_img."""


class Trainer:
    """One run: the model, its running average, the players' optimisers, and how far it got.

    Everything random is drawn from (seed, stage, step, process), so that a resumed run needs no state of chance.
    """

    def __init__(self, data: str, config: TrainConfig):
        self.config, self.out = config, Path(config.out)
        self.accelerator = Accelerator(cpu=config.cpu, mixed_precision=config.mixed_precision,
                                       log_with="tensorboard", project_dir=config.out)  # fmt: skip
        set_seed(config.seed)
        self.model = new_model(config)
        expressions = self.model.config.expressions
        self.faces = FaceFolder.load(data, "train", self.model.config.image_size, expressions)
        self.people = FaceFolder.load(data, "test", self.model.config.image_size, expressions)
        self.faces = self.faces.expressive(config.min_intensity, neutral=config.neutral)
        if not len(self.faces):
            raise RunError(f"no picture in {data} has an expression of at least {config.min_intensity} intensity")
        self.stage, self.step, self.seconds = 0, 0, 0.0
        """Index of the stage, steps and seconds done in it."""
        self.history: dict[str, int] = {}
        """Steps done, by stage."""
        self.settings: dict[str, dict] = {}
        """What each stage was told, by stage: a run may go on with other settings."""
        self.model.to(self.accelerator.device, memory_format=torch.channels_last).train()
        self.model.classifier.eval().requires_grad_(False)
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        if (self.out / "state.pt").is_file():
            self._load(read_state(self.out / "state.pt"))
        self.nets = Nets(*(self.accelerator.prepare_model(getattr(self.model, name))
                           for name in ("G_enc", "G_dec", "D_img", "D_z")), phi=self._phi)  # fmt: skip

    def fit(self) -> Path:
        """Runs what is left of the stages and returns the run folder."""
        config = self.config
        write_json(self.out / "config.json", dataclasses.asdict(config))
        self.accelerator.init_trackers("tensorboard")
        while self.stage < len(config.stage_names):
            if not self.step:
                self._start_stage()
            self._run_stage(config.stage_names[self.stage])
            self.stage, self.step, self.seconds = self.stage + 1, 0, 0.0
            self._save()
        self.accelerator.end_training()
        return self.out

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
        saved = tick = time.monotonic()
        bar = tqdm(desc=stage, total=None if config.minutes else steps, initial=self.step,
                   disable=not self.accelerator.is_main_process)  # fmt: skip
        while True:
            spent, granted = (self.seconds, budget) if config.minutes else (self.step, steps)
            done = spent / granted if granted else 1.0
            if self.accelerator.reduce(torch.tensor(done, device=self.accelerator.device), "mean") >= 1:
                break
            self._set_lr(config.lr * (1 + (config.lr_end - 1) * done))
            parts = self.train_step(stage, weights)
            self.step += 1
            self.history[stage] = self.step
            bar.update()
            self.seconds, tick = self.seconds + time.monotonic() - tick, time.monotonic()
            if self.step % config.log_steps == 0:
                self._log(stage, parts, bar, done)
            if self.step % config.sample_steps == 0:
                self._sample(stage)
            if time.monotonic() - saved > 60 * config.save_minutes:
                self._save()
                saved = time.monotonic()
        bar.close()
        self._sample(stage)
        self.accelerator.print(f"{stage}: {self.step} steps in {self.seconds / 60:.1f} minutes")

    def train_step(self, stage: str, weights: dict[str, float]) -> dict[str, Tensor]:
        """One step of every player that has a loss in this stage; returns the unweighted terms."""
        p = self._pass(stage)
        parts: dict[str, Tensor] = {}
        for player in PLAYERS:
            for name, owned in PLAYERS.items():
                for part in owned:
                    getattr(self.model, part).requires_grad_(name == player)
            p = p if player == "G" else p.detached()
            loss, terms = total(player, weights, p)
            parts |= terms
            if loss is not None:
                optimizer = self.optimizers[player]
                optimizer.zero_grad()
                self.accelerator.backward(loss)
                optimizer.step()
        self._update_ema()
        return parts

    def _pass(self, stage: str) -> Pass:
        """This step's batch, drawn from (seed, stage, step, process) alone."""
        config, rank = self.config, self.accelerator.process_index
        key = f"{config.seed}/{stage}/{self.step}/{rank}"
        chance = torch.Generator().manual_seed(int.from_bytes(key.encode(), "big") % (2**63 - 25))
        indices = batch_at(len(self.faces), config.batch_size, self.step, seed=config.seed,
                           rank=rank, world=self.accelerator.num_processes)  # fmt: skip
        device = self.accelerator.device
        x = augment(self.faces.images[indices].to(device), chance, colour=config.colour, shift=config.shift)
        y = self.faces.one_hot(indices)
        known = self.faces.intensity[indices] if config.known_intensity else None
        c = self.model.F_ctrl.random(y, chance, known)
        z_prior = torch.rand(len(y), self.model.config.z_dim, generator=chance) * 2 - 1
        x = x.contiguous(memory_format=torch.channels_last)
        return Pass(self.nets, x, y.to(device), c.to(device), z_prior.to(device), encodes=stage != "controller")

    def _phi(self, x: Tensor) -> list[Tensor]:
        """Maps of the frozen face network, at `identity_size` px."""
        if x.shape[-1] > self.config.identity_size:
            x = F.adaptive_avg_pool2d(x, self.config.identity_size)
        with self.accelerator.autocast():
            return self.model.classifier.maps(x)

    @torch.no_grad()
    def _update_ema(self) -> None:
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for name in PLAYERS["G"]:
            for mean, now in zip(getattr(self.ema, name).parameters(), getattr(self.model, name).parameters(),
                                 strict=True):  # fmt: skip
                mean.lerp_(now, 1 - decay)

    def _set_lr(self, lr: float) -> None:
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = lr

    def _log(self, stage: str, parts: dict[str, Tensor], bar: tqdm, done: float) -> None:
        values = {name: self.accelerator.reduce(part, "mean").item() for name, part in parts.items()}
        if bad := [name for name, value in values.items() if value != value]:
            raise RunError(
                f"{bad[0]} is NaN at step {self.step} of {stage}; the last good checkpoint is {self.out / 'state.pt'}. "
                "Start the same command again, with a lower --lr or --mixed-precision no if it happens again"
            )
        self.accelerator.log({f"{stage}/{name}": value for name, value in values.items()}, step=self.step)
        bar.set_postfix({name[:9]: f"{value:.3f}" for name, value in values.items()} | {"done": f"{done:.0%}"})

    def _sample(self, stage: str) -> None:
        if self.accelerator.is_main_process:
            editor = ExpressionEditor(self.published())
            sheet = expression_sheet(editor, one_each(editor, self.people, count=6), "decoder")
            save_sheet(sheet, self.out / "samples" / f"{stage}-{self.step:06d}.png")

    def published(self) -> ExprGAN:
        """The model as it is published: the running average of G_enc and G_dec, the rest as it stands."""
        for name in ("D_img", "D_z"):
            getattr(self.ema, name).load_state_dict(getattr(self.model, name).state_dict())
        return self.ema.eval()

    def _save(self) -> None:
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            return
        state = {
            "model_config": dataclasses.asdict(self.model.config),
            "stage": self.stage, "step": self.step, "seconds": self.seconds,
            "history": self.history, "settings": self.settings,
            "model": self.model.state_dict(), "ema": self.ema.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
        }  # fmt: skip
        write_state(self.out / "state.pt", state)

    def _load(self, state: dict) -> None:
        if ExprGANConfig(**state["model_config"]) != self.model.config:
            raise RunError(f"{self.out} holds a run of other networks; choose another --out, or the same settings")
        self.stage, self.step, self.seconds = state["stage"], state["step"], state["seconds"]
        self.history, self.settings = state["history"], state["settings"]
        if self.config.face:  # what the command line names wins
            state["model"] |= {f"classifier.{key}": value for key, value in self.model.classifier.state_dict().items()}
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimizers = self._new_optimizers()
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])


def new_model(config: TrainConfig) -> ExprGAN:
    """A fresh model with the face network in place, or the one that --init names.

    Raises:
        WeightsError: --init or --face cannot be loaded.
        RunError: neither brings a face network.
    """
    if config.init:
        model = ExprGAN.from_pretrained(config.init)
    else:
        size = {"image_size": config.image_size, "z_dim": config.z_dim}
        wide = {"encoder_width": round(64 * config.width), "decoder_width": round(1024 * config.width)}
        model = ExprGAN(ExprGANConfig(**size, **wide))
    if config.face:
        model.classifier = load_face(config.face, len(model.config.expressions))
        width = model.classifier.blocks[0][0].out_channels
        model.config = dataclasses.replace(model.config, face_width=width, face_size=model.classifier.size)
    elif not config.init:
        raise RunError("L_id needs a face network: run `python -m train facenet DATA` first and name its folder in --face")
    return model


def fit(data: str, config: TrainConfig) -> Path:
    """Trains on a folder with metadata.csv; a run found in `config.out` goes on. Returns the run folder."""
    return Trainer(data, config).fit()

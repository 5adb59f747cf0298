"""`fit`: trains ExprGAN in the paper's three stages."""

import copy
import dataclasses
import time
from itertools import chain
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, ProjectConfiguration, set_seed
from torch import Tensor

from exprgan.editor import ExpressionEditor
from exprgan.facs import ACTION_UNITS
from exprgan.models.exprgan import ExprGAN, ExprGANConfig
from exprgan.models.records import read_training

from ..core.allocator import keep_freed_memory
from ..core.checkpoints import DATA_SETTING, Checkpoints, check_continuation
from ..core.files import write_json, writes_folder
from ..core.precision import enable_fast_kernels, supported_precision
from ..core.processes import call_once
from ..core.train_errors import RunError
from ..core.training_loop import TrainingLoop, set_learning_rate, update_ema
from ..data import FaceFolder
from ..data.contact_sheets import expression_sheet, pick_neutral_subjects
from ..data.face_folder import batch_indices
from ..data.metadata import metadata_digest
from ..data.style_codes import code_for
from ..data.transforms import augment
from ..data.validation import check_before_training
from ..perceptual.face_trainer import check_face_network, load_face_network
from ..perceptual.feature_maps import create_face_maps
from .batch_statistics import MicroBatchStatistics
from .distributed import prepare_losses, select_player, synchronise_batch_norm
from .fine_tuning import FULL_DECODER_WIDTH, check_before_fine_tuning, settings_of_model
from .gan_losses import PLAYERS, TrainBatch, stage_weights
from .held_out import held_out_metrics
from .tracking import RunTracker, tracker_names
from .train_config import TrainConfig

MAX_CONTRAST, MAX_BRIGHTNESS = 0.35, 0.25
"""How much the grey copies that Q reads differ in contrast (of 1) and brightness (of half the range)."""
NO_RESULT = (
    "recipe",
    "out",
    "cpu",
    "compile",
    "check_face",
    "save_minutes",
    "keep",
    "sample_steps",
    "log_steps",
    "trackers",
)
"""Settings that the weights do not depend on."""


class Trainer:
    """A run: the model, the running average of its weights, the players' losses and optimisers, and the steps done.

    Everything random is drawn from (seed, stage, step, micro-batch), so that a resumed run needs no generator state.
    A batch has `accumulate` micro-batches on every process; N processes with one each do what one process with N does.
    """

    def __init__(self, data: str, config: TrainConfig):
        self.config, self.out = config, Path(config.out)
        self.accelerator = Accelerator(
            cpu=config.cpu, mixed_precision=supported_precision(config.mixed_precision, config.cpu),
            gradient_accumulation_steps=config.accumulate,
            log_with=tracker_names(config) or None,
            project_config=ProjectConfiguration(config.out, str(self.out / "tensorboard")),
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        )  # fmt: skip
        self.device = self.accelerator.device
        if self.device.type == "cpu":
            keep_freed_memory()
        else:
            enable_fast_kernels()
        set_seed(config.seed)
        self.model = new_model(config)
        if config.init:  # which some of the settings are those of
            self.config = config = dataclasses.replace(config, **settings_of_model(self.model.config))
        self._load_faces(data)
        self.data_digest = metadata_digest(data)
        self.checkpoints = Checkpoints(config.out, config.keep)
        self.stage, self.step, self.seconds = 0, 0, 0.0
        """Index of the stage, and steps and seconds done in it."""
        self.history: dict[str, int] = {}
        """Steps done, by stage."""
        self.settings: dict[str, dict] = {}
        """The configuration of each stage, as a run may continue with other settings."""
        self.previous_training = read_training(config.init) if config.init else None
        """training.json of the weights of --init."""
        if config.sync_batch_norm:
            synchronise_batch_norm(self.model, self.device, self.accelerator.num_processes)
        self.model.to(self.device, memory_format=torch.channels_last).train()
        self.model.classifier.eval().requires_grad_(False)
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        if config.compile:
            for name in chain.from_iterable(PLAYERS.values()):
                getattr(self.model, name).compile()
        self.statistics = MicroBatchStatistics((self.model.D_img, self.model.D_z), config.accumulate)
        self.nonfinite_losses = torch.zeros((), device=self.device)
        """Number of losses so far that were not finite."""
        if state := call_once(self.checkpoints.latest):  # another machine need not see the folder
            self._load(state)
        elif config.face and config.check_face:
            check_face_network(self.model.classifier, self.held_out, config.face)
        self.phi = create_face_maps(config.phi, self.model.classifier, file=config.phi_file, sizes=config.identity_sizes,
                                    channels=config.phi_channels)  # fmt: skip
        self.losses, self._losses_of = {}, ""
        """The total loss of each player of a stage, and the stage."""

    def _load_faces(self, data: str) -> None:
        config = self.config
        options = (self.model.config.image_size, self.model.config.expressions, None if config.fold < 0 else config.fold)
        has_test = True
        if config.init:
            has_test = call_once(lambda: check_before_fine_tuning(data, *options[1:]))
        else:
            call_once(lambda: check_before_training(data, *options[1:]))
        train = FaceFolder.load(data, "train", *options, mapped=True)
        self.held_out = FaceFolder.load(data, "test", *options, mapped=True) if has_test else train
        faces = train.expressive(config.min_intensity, neutral=config.neutral)
        if not len(faces):
            raise RunError(f"no picture in {data} has an expression of at least {config.min_intensity} intensity")
        in_memory = isinstance(faces.images, Tensor)  # as uint8, so all of them fit
        self.faces = dataclasses.replace(faces, images=faces.images.to(self.device)) if in_memory else faces

    def fit(self) -> Path:
        """Runs the remaining steps and stages, and returns the run folder."""
        config = self.config
        if self.stage >= len(config.stage_names):
            self.accelerator.print(f"{self.out} is finished: {self.history}")
            return self.out
        if self.accelerator.is_main_process:
            self.checkpoints.delete_partial_files()
            write_json(self.out / "config.json", dataclasses.asdict(config))
        self.tracker = RunTracker(self.accelerator, config, self.total_steps)
        while self.stage < len(config.stage_names):
            if not self.step:
                self._start_stage()
            self._run_stage(config.stage_names[self.stage])
            self.stage, self.step, self.seconds = self.stage + 1, 0, 0.0
            self._save()
        self.accelerator.end_training()
        return self.out

    @property
    def total_steps(self) -> int:
        """Steps done, over all stages."""
        return sum(self.history.values())

    @property
    def pictures_per_step(self) -> int:
        """Pictures of one step, over all processes."""
        return self.config.batch_size * self.config.accumulate * self.accelerator.num_processes

    def _start_stage(self) -> None:
        """Creates new optimisers and restarts the running average from the current weights."""
        self.optimizers = self._new_optimizers()
        self.ema.load_state_dict(self.model.state_dict())

    def _new_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        def adam(names: tuple[str, ...]) -> torch.optim.Optimizer:
            parameters = [p for name in names for p in getattr(self.model, name).parameters()]
            return torch.optim.Adam(parameters, lr=self.config.lr, betas=(0.5, 0.999), fused=True)

        return {player: self.accelerator.prepare_optimizer(adam(names)) for player, names in PLAYERS.items()}

    def _run_stage(self, stage: str) -> None:
        config = self.config
        weights = stage_weights(stage, config.weights)
        self.settings[stage] = dataclasses.asdict(config)
        steps, minutes = 0 if config.minutes else config.stage_steps(stage), config.stage_seconds(stage) / 60
        with TrainingLoop(
            self.accelerator, stage, steps=steps, minutes=minutes, step=self.step, seconds=self.seconds
        ) as loop:
            logged = loop.step, time.monotonic()  # loop.seconds may stand still until processes agree on it
            while loop.fraction < 1:
                lr = config.learning_rate(loop.fraction, loop.step, self.pictures_per_step)
                for optimizer in self.optimizers.values():
                    set_learning_rate(optimizer, lr)
                log = (self.step + 1) % config.log_steps == 0
                losses = self.train_step(stage, weights, log_gradients=log)
                loop.advance()
                self.step, self.seconds, self.history[stage] = loop.step, loop.seconds, loop.step
                if log:
                    self._check_finite(stage)
                    values = self.accelerator.reduce(torch.stack(list(losses.values())), "mean").tolist()
                    means = dict(zip(losses, values, strict=True))
                    before, logged = logged, (loop.step, time.monotonic())
                    rate = (loop.step - before[0]) * self.pictures_per_step / max(logged[1] - before[1], 1e-9)
                    self.tracker.log(stage, means | {"lr": lr, "pictures_per_second": rate}, self.total_steps)
                    loop.show({name: mean for name, mean in list(means.items())[:4] if "/" not in name})
                if self.step % config.sample_steps == 0:
                    self._sample(stage)
                if loop.checkpoint_due(config.save_minutes):
                    self._save()
        if steps or minutes:
            self._check_finite(stage)
            self._sample(stage)
            self.accelerator.print(f"{stage}: {self.step} steps in {self.seconds / 60:.1f} minutes")

    def train_step(self, stage: str, weights: dict[str, float], *, log_gradients: bool = False) -> dict[str, Tensor]:
        """One step of every player that has a loss in this stage.

        Returns:
            The unweighted losses by name, and with `log_gradients` the norm of each player's gradient as
            `gradient/<player>`.
        """
        batches = [self._draw_batch(stage, micro_batch) for micro_batch in range(self.config.accumulate)]
        if self._losses_of != stage:
            self.losses, self._losses_of = prepare_losses(self.accelerator, self.model, weights, batches[0]), stage
        values: dict[str, Tensor] = {}
        for player, player_loss in self.losses.items():
            select_player(self.model, player)
            optimizer = self.optimizers[player]
            for micro_batch, batch in enumerate(batches):
                with self.accelerator.accumulate(player_loss), self.statistics.of(micro_batch):
                    total, losses = player_loss(batch, weights)
                    self.accelerator.backward(total)
                    if log_gradients and self.accelerator.sync_gradients:
                        values[f"gradient/{player}"] = self._gradient_norm(optimizer)
                    optimizer.step()
                    optimizer.zero_grad()
                for name, loss in losses.items():
                    values[name] = values.get(name, 0) + loss / len(batches)
                self.nonfinite_losses = self.nonfinite_losses + ~total.detach().isfinite()
            batches = [batch.detached() for batch in batches]
        for name in PLAYERS["G"]:
            update_ema(getattr(self.ema, name), getattr(self.model, name), self.config.ema, self.step)
        return values

    def _draw_batch(self, stage: str, micro_batch: int = 0) -> TrainBatch:
        """Draws a micro-batch of this step from (seed, stage, step, its number among those of all processes) alone."""
        config = self.config
        micro_batch += self.accelerator.process_index * config.accumulate
        key = f"{config.seed}/{stage}/{self.step}/{micro_batch}"
        generator = torch.Generator().manual_seed(int.from_bytes(key.encode(), "big") % (2**63 - 25))
        indices = batch_indices(len(self.faces), config.batch_size, self.step, seed=config.seed,
                                rank=micro_batch, world=self.accelerator.num_processes * config.accumulate)  # fmt: skip
        images = self.faces.images
        images = images[indices.to(images.device, non_blocking=True)].to(self.device, non_blocking=True)
        x = augment(images, generator, colour=config.colour, shift=config.shift)
        y = self.faces.one_hot(indices)
        c = self._draw_codes(y, indices, generator)
        z_prior = torch.rand(len(y), self.model.config.z_dim, generator=generator) * 2 - 1
        tone = (torch.rand(2, len(y), 1, 1, 1, generator=generator) * 2 - 1).to(self.device, non_blocking=True)
        x = x.contiguous(memory_format=torch.channels_last)
        y, c, z_prior = (tensor.to(self.device, non_blocking=True) for tensor in (y, c, z_prior))
        return TrainBatch(self.model, self.phi, x, y, c, z_prior, encode=stage != "controller",
                          tone=(1 + tone[0] * MAX_CONTRAST, tone[1] * MAX_BRIGHTNESS))  # fmt: skip

    def _draw_codes(self, y: Tensor, indices: Tensor, generator: torch.Generator) -> Tensor:
        """c of the pictures at `indices`: drawn by F_ctrl, or what takes its place."""
        F_ctrl = self.model.F_ctrl
        if self.config.condition == "none":
            return torch.zeros(len(y), F_ctrl.code_dim)
        if self.config.condition == "label":
            return F_ctrl.random(y, generator, torch.ones(len(y)))
        if self.config.condition == "style":
            return torch.stack([code_for(label, F_ctrl, generator) for label in self.faces.labels(indices)])
        return torch.where(y.any(1, keepdim=True), F_ctrl.random(y, generator), F_ctrl.neutral())

    def _gradient_norm(self, optimizer: torch.optim.Optimizer) -> Tensor:
        self.accelerator.unscale_gradients(optimizer)
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        return torch.nn.utils.get_total_norm(gradients)

    def _check_finite(self, stage: str) -> None:
        """Raises RunError if any loss so far was not finite."""
        if self.accelerator.reduce(self.nonfinite_losses, "sum") > 0:
            last = self.checkpoints.paths()
            raise RunError(
                f"a loss was not finite in the {self.config.log_steps} steps before step {self.step} of {stage}; "
                f"the last good checkpoint is {last[-1] if last else 'not written yet'}. Start the same command again, "
                "with a lower --lr or --mixed-precision no if it happens again"
            )

    def _sample(self, stage: str) -> None:
        """Logs edits of held-out people and how good they are, by the model as it would be published: running average of
        G_enc and G_dec."""
        if self.accelerator.is_main_process:
            for name in ("D_img", "D_z"):
                getattr(self.ema, name).load_state_dict(getattr(self.model, name).state_dict())
            editor = ExpressionEditor(self.ema.eval())
            sheet = expression_sheet(editor, pick_neutral_subjects(editor, self.held_out, count=6), "decoder")
            self.tracker.log_sheet(stage, sheet, self.step, self.total_steps)
            self.tracker.log(stage, held_out_metrics(self.ema, self.held_out, self.config.condition), self.total_steps)

    def _save(self) -> None:
        stages = self.config.stage_names
        name = stages[self.stage] if self.stage < len(stages) else "end"
        self._check_finite(name)
        statistics = self.accelerator.gather(self.statistics.get())
        self.statistics.apply(statistics.mean(0))
        if self.accelerator.is_main_process:
            self.checkpoints.save(self.stage, name, self.step, {
                "model_config": dataclasses.asdict(self.model.config),
                "stage": self.stage, "step": self.step, "seconds": self.seconds, "history": self.history,
                "settings": self.settings, "data": self.data_digest, "before": self.previous_training,
                "statistics": statistics,
                "model": self.model.state_dict(),
                "ema": {key: value for key, value in self.ema.state_dict().items() if key.split(".")[0] in PLAYERS["G"]},
                "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            })  # fmt: skip
        self.statistics.apply_first()
        self.accelerator.wait_for_everyone()

    def _load(self, state: dict) -> None:
        if ExprGANConfig(**state["model_config"]) != self.model.config:
            raise RunError(f"{self.out} holds a run of other networks; choose another --out, or the same settings")
        self._check_settings(state)
        self.stage, self.step, self.seconds = state["stage"], state["step"], state["seconds"]
        self.history, self.settings, self.previous_training = state["history"], state["settings"], state.get("before")
        if self.config.face:  # the face network that is given now replaces the run's
            state["model"] |= {f"classifier.{key}": value for key, value in self.model.classifier.state_dict().items()}
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["model"] | state["ema"])
        self.statistics.load(state["statistics"], self.accelerator.process_index, self.accelerator.num_processes)
        self.optimizers = self._new_optimizers()
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])

    def _check_settings(self, state: dict) -> None:
        """Says that a run goes on with other settings or data; raises RunError if it is finished, or its stages differ."""
        config = self.config
        previous: dict = next(reversed(state["settings"].values()), {})
        done = previous.get("stages", config.stages).split(",")[: state["stage"]]
        if tuple(name.strip() for name in done) != config.stage_names[: state["stage"]]:
            raise RunError(f"{self.out} holds a run whose first stages are {','.join(done)}, not as in --stages "
                           f"{config.stages}; choose another --out")  # fmt: skip
        finished = state["stage"] >= len(config.stage_names)
        current = dataclasses.asdict(config) | {DATA_SETTING: self.data_digest}
        previous = previous | {DATA_SETTING: state.get("data", self.data_digest)}
        of_networks = settings_of_model(self.model.config)  # which are the same
        check_continuation(self.out, current, previous, (*NO_RESULT, *of_networks), finished=finished,
                           verbose=self.accelerator.is_main_process)  # fmt: skip


def new_model(config: TrainConfig) -> ExprGAN:
    """Creates the model of a run, or loads the one that --init names, and puts the face network in place.

    Raises:
        WeightsError: --init or --face cannot be loaded.
        RunError: neither has a face network.
    """
    if config.init:
        model = ExprGAN.from_pretrained(config.init)
        model.latent_prior.reset()  # further training moves g(x)
        if model.T is None:  # T was trained on the codes of this path
            model.F_ctrl.reset()
        if config.grey_codes:
            model.config, model.D_img.grey_codes = dataclasses.replace(model.config, grey_codes=True), True
        if config.pooled_codes and not model.config.pooled_codes:
            model.G_dec.average_elements(model.config.code_dim_each)
            model.G_dec.pooled_numbers = model.config.code_dim_each
            model.config = dataclasses.replace(model.config, pooled_codes=True)
    else:
        model = ExprGAN(ExprGANConfig(
            image_size=config.image_size, z_dim=config.z_dim, expressions=config.expression_names,
            grey_codes=config.grey_codes, pooled_codes=config.pooled_codes,
            encoder_width=round(64 * config.width), decoder_width=round(FULL_DECODER_WIDTH * config.width),
        ))  # fmt: skip
    if config.face:
        model.classifier = load_face_network(config.face, len(model.config.expressions))
        width = model.classifier.blocks[0][0].out_channels
        units = tuple(ACTION_UNITS) if model.classifier.units is not None else ()
        model.config = dataclasses.replace(
            model.config, face_width=width, face_size=model.classifier.size, action_units=units
        )
    elif not config.init:
        raise RunError("L_id needs a face network: run `python -m train facenet DATA` first and name its folder in --face")
    return model


@writes_folder(lambda data, config: config.out)
def fit(data: str, config: TrainConfig) -> Path:
    """Trains on a folder with metadata.csv; a run found in `config.out` is continued. Returns the run folder.

    Raises:
        DataError: the folder cannot be trained on.
        RunError: the run is finished and these are other settings, it is of other networks, a loss is not finite, or the
            face network only guesses expressions.
        WeightsError: weights that the configuration names cannot be loaded.
    """
    return Trainer(data, config).fit()

"""`fit --dry-run`: prints what a run would do."""

import dataclasses
import json
from typing import Any

from ..core.checkpoints import Checkpoints
from .gan_losses import PLAYERS, is_active, stage_weights
from .gan_trainer import Trainer
from .train_config import TrainConfig


def print_plan(data: str, config: TrainConfig) -> None:
    """Reads data and weights, builds everything, and prints the resolved run as JSON; writes nothing.

    The JSON holds configuration, device, data, network sizes, and for every stage its length, losses and players.
    """
    trainer = Trainer(data, config)
    accelerator, config = trainer.accelerator, trainer.config
    checkpoints = Checkpoints(config.out).paths()
    plan = {
        "config": dataclasses.asdict(config),
        "device": {
            "type": str(accelerator.device), "processes": accelerator.num_processes,
            "mixed_precision": accelerator.mixed_precision,
        },
        "data": {
            "pictures": len(trainer.faces), "people": len(trainer.faces.subject.unique()),
            "held_out_people": len(trainer.held_out.subjects),
            "batch": trainer.pictures_per_step,
        },
        "parameters": {
            name: count for name, part in trainer.model.named_children()
            if (count := sum(p.numel() for p in part.parameters()))
        },
        "stages": [_stage(config, stage) for stage in config.stage_names],
        "goes_on_from": str(checkpoints[-1]) if checkpoints else None,
    }  # fmt: skip
    accelerator.print(json.dumps(plan, indent=2))


def _stage(config: TrainConfig, stage: str) -> dict[str, Any]:
    weights = stage_weights(stage, config.weights)
    length = {"minutes": config.stage_seconds(stage) / 60} if config.minutes else {"steps": config.stage_steps(stage)}
    return {
        "name": stage, **length, "losses": {name: weight for name, weight in weights.items() if weight},
        "players": [player for player in PLAYERS if is_active(player, weights)],
    }  # fmt: skip

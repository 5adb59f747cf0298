"""`fit --dry-run`: what a command would do, without doing it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from ..core.checkpoints import Checkpoints
from .gan_losses import PLAYERS, plays, weights_of
from .gan_trainer import Trainer
from .train_config import TrainConfig


def plan(data: str, config: TrainConfig) -> dict[str, Any]:
    """Reads data and weights, builds everything, and prints the resolved run as JSON; nothing is written.

    Returns:
        What it prints: configuration, device, data, networks, and for every stage its steps, losses and players.
    """
    trainer = Trainer(data, config)
    on = trainer.accelerator
    batch = config.batch_size * config.accumulate * on.num_processes
    found = Checkpoints(config.out).paths()
    told = {
        "config": dataclasses.asdict(config),
        "device": {"type": str(on.device), "processes": on.num_processes, "mixed_precision": on.mixed_precision},
        "data": {
            "pictures": len(trainer.faces), "people": len(trainer.faces.subject.unique()),
            "held_out_people": len(trainer.people.subjects), "batch": batch,
        },
        "parameters": {name: sum(p.numel() for p in part.parameters()) for name, part in trainer.model.named_children()},
        "stages": [_stage(config, stage) for stage in config.stage_names],
        "goes_on_from": str(Path(found[-1])) if found else None,
    }  # fmt: skip
    on.print(json.dumps(told, indent=2))
    return told


def _stage(config: TrainConfig, stage: str) -> dict[str, Any]:
    weights = weights_of(stage, config.weights)
    length = {"minutes": config.stage_seconds(stage) / 60} if config.minutes else {"steps": config.stage_steps(stage)}
    return {
        "name": stage, **length, "losses": {name: weight for name, weight in weights.items() if weight},
        "players": [player for player in PLAYERS if plays(player, weights)],
    }  # fmt: skip

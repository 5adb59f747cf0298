"""A run to what the Hub and the app read: config.json, model.safetensors (fp16), README.md (the card)."""

from pathlib import Path

import torch

from exprgan.model import ExprGAN, ExprGANConfig

from .card import write_card
from .checkpoints import Checkpoints
from .run import RunError, write_json

LOCAL = ("out", "face", "init", "cpu")
"""Settings that say nothing to anyone else."""


def publish(run: str, out: str) -> Path:
    """Writes a run's latest checkpoint as a folder that `ExprGAN.from_pretrained` reads.

    Args:
        run: the run folder.
        out: the folder to write, made if missing.

    Raises:
        RunError: the run has no checkpoint yet.
    """
    state = Checkpoints(run).latest()
    if state is None:
        raise RunError(f"{run} has no checkpoint yet; train first, or name another run folder")
    model = ExprGAN(ExprGANConfig(**state["model_config"]))
    model.load_state_dict(published_weights(state))
    model.save_pretrained(out)
    told = {
        stage: {name: value for name, value in settings.items() if name not in LOCAL}
        for stage, settings in state["settings"].items()
    }
    write_json(Path(out) / "training.json", {"steps": state["history"], "settings": told})
    (Path(out) / "results.json").unlink(missing_ok=True)  # they were of other weights
    write_card(out)
    print(f"{out}: published after {state['history']}")
    return Path(out)


def published_weights(state: dict) -> dict[str, torch.Tensor]:
    """The running average of G_enc and G_dec, the rest as it stands."""
    return state["model"] | state["ema"]

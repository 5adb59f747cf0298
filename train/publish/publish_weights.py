"""A run to what the Hub and the app read: config.json, model.safetensors (fp16), README.md (the card); and to the Hub."""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from exprgan.models.exprgan import CONFIG_NAME, WEIGHTS_NAME, ExprGAN, ExprGANConfig
from exprgan.models.networks import Decoder
from exprgan.models.self_test import REFERENCE_NAME, write_reference

from ..core.checkpoints import Checkpoints
from ..core.files import RunError, exclusive, git_commit, copy_together, write_json, atomic_write
from ..data.fingerprint import fingerprint
from ..eval.reference_network import JUDGE_NAME
from .hub_upload import NOWHERE, HubConfig, push
from .model_card import CARD_NAME, REPO, write_card

LOCAL = ("out", "face", "init", "phi_file", "cpu")
"""Settings that say nothing to anyone else."""
RESULTS_NAME, TRAINING_NAME = "results.json", "training.json"
OPTIONAL = (TRAINING_NAME, RESULTS_NAME, REFERENCE_NAME, JUDGE_NAME, "figures/*.*")
"""What is published where it is there, and deleted on the Hub where it is not."""


def publish(run: str, out: str, data: str = "", hub: HubConfig = NOWHERE) -> Path:
    """Writes a run's latest checkpoint as a folder that `ExprGAN.from_pretrained` reads, and sends it where `hub` says.

    What is in `out` already stays if it is of the same weights: what `calibrate`, `evaluate` and people added to it.

    Args:
        run: the run folder; or a folder that `publish` wrote, which is then completed in place.
        out: the folder to write, made if missing.
        data: the folder that was trained on, to write down its hash, numbers and credit lines.
        hub: where on the Hub it goes; nowhere by default.

    Returns:
        The folder.

    Raises:
        RunError: the run has no checkpoint yet, or the Hub cannot be reached or refuses.
        DataError: `data` is no training folder.
    """
    published = not Checkpoints(run).paths() and Path(run, WEIGHTS_NAME).is_file()
    folder = Path(run if published else out)
    with exclusive(folder), tempfile.TemporaryDirectory() as passing:
        if hub.dry_run:
            place = Path(passing) / "weights"
            if folder.is_dir():
                shutil.copytree(folder, place)
            folder = place
        if not published:
            steps = _write_run(run, folder)
            print(f"{out}: published after {steps}" if not hub.dry_run else f"{out} would be published after {steps}")
        _complete(folder, data, hub.repo or REPO)
        files = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
        if hub.repo:
            push(files, hub, kind="model", title="Publish ExprGAN", stale=OPTIONAL)
        elif hub.dry_run:
            print("\n".join(f"  {name}  {path.stat().st_size:,} B" for name, path in files.items()))
    return folder


def published_weights(state: dict) -> dict[str, torch.Tensor]:
    """The running average of G_enc and G_dec, the rest as it stands."""
    return state["model"] | state["ema"]


def _write_run(run: str, folder: Path) -> dict[str, int]:
    """config.json, model.safetensors and training.json; what was measured of other weights goes. Returns steps by stage."""
    state = Checkpoints(run).latest()
    if state is None:
        raise RunError(f"{run} has no checkpoint yet; train first, or name another run folder")
    told = {
        stage: {name: value for name, value in settings.items() if name not in LOCAL}
        for stage, settings in state["settings"].items()
    }
    before = _tensors(folder / WEIGHTS_NAME)
    model = ExprGAN(ExprGANConfig(**state["model_config"]))
    model.load_state_dict(published_weights(state))
    if {settings.get("condition") for settings in state["settings"].values()} == {"none"}:
        _forget_code(model.G_dec, model.config.z_dim)
    with tempfile.TemporaryDirectory() as passing:
        model.save_pretrained(passing)
        same = _tensors(Path(passing) / WEIGHTS_NAME) == before
        if not same:
            stale = (RESULTS_NAME, REFERENCE_NAME)
            copy_together(Path(passing), folder, (CONFIG_NAME, WEIGHTS_NAME), stale)
    known = _read(folder / TRAINING_NAME) if same else {}
    kept = {name: known[name] for name in ("data", "cost") if name in known}
    kept |= {"before": state["before"]} if state.get("before") else {}
    write_json(folder / TRAINING_NAME, {"steps": state["history"], "settings": told} | kept)
    return state["history"]


@torch.no_grad()
def _forget_code(G_dec: Decoder, z_dim: int) -> None:
    """Of AAE, whose decoder saw no code but 0: whichever it is given, it does what it does with 0."""
    G_dec.fc.weight[:, z_dim:] = 0
    for block in G_dec.blocks:
        block.weight[:, block.in_channels :] = 0


def _complete(folder: Path, data: str, repo: str) -> None:
    """reference.safetensors, what the weights' file says of itself, and the card."""
    training, results = _read(folder / TRAINING_NAME), _read(folder / RESULTS_NAME)
    if data:
        training["data"] = fingerprint(data)
        write_json(folder / TRAINING_NAME, training)
    weights = folder / WEIGHTS_NAME
    if not (folder / REFERENCE_NAME).is_file():
        model = ExprGAN.from_pretrained(folder)  # as it is read: rounded to fp16
        atomic_write(folder / REFERENCE_NAME, lambda temporary: write_reference(model, temporary))
    measured = results.pop("weights_sha256", None) == _sha256(weights.read_bytes())
    known = {"commit": git_commit()} | _header(weights).get("__metadata__", {})  # the commit that first wrote these weights
    known.pop("results_sha256", None)
    known |= {"data_sha256": training["data"]["sha256"]} if "data" in training else {}
    known |= {"results_sha256": _sha256(json.dumps(results, sort_keys=True).encode())} if measured else {}
    _stamp(weights, known)
    if measured:
        write_json(folder / RESULTS_NAME, results | {"weights_sha256": _sha256(weights.read_bytes())})
    elif results:
        raise RunError(f"{folder / RESULTS_NAME} was measured of other weights; run `python -m train evaluate` again")
    write_card(folder, repo)


def _files(folder: Path) -> list[Path]:
    """What goes to the Hub: what is known to be part of a model, and no other file that lies there."""
    needed = [folder / name for name in (CONFIG_NAME, WEIGHTS_NAME, CARD_NAME)]
    return needed + [path for pattern in OPTIONAL for path in sorted(folder.glob(pattern)) if path.is_file()]


def _header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file: its tensors' names, types, shapes and places, and its metadata."""
    with path.open("rb") as file:
        return json.loads(file.read(int.from_bytes(file.read(8), "little")))


def _body(path: Path) -> bytes:
    data = path.read_bytes()
    return data[8 + int.from_bytes(data[:8], "little") :]


def _tensors(path: Path) -> str | None:
    """The hash of a safetensors file without its metadata; None if there is no such file."""
    if not path.is_file():
        return None
    places = {name: place for name, place in _header(path).items() if name != "__metadata__"}
    return _sha256(json.dumps(places, sort_keys=True).encode() + _body(path))


def _stamp(path: Path, metadata: dict[str, str]) -> None:
    """Replaces the metadata of a safetensors file, in a fixed order: the package itself writes them in any."""
    places = {name: place for name, place in _header(path).items() if name != "__metadata__"}
    header = json.dumps({"__metadata__": dict(sorted(metadata.items()))} | places, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    content = len(header).to_bytes(8, "little") + header + _body(path)
    if content != path.read_bytes():
        atomic_write(path, lambda temporary: temporary.write_bytes(content))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

"""Publishes a run as the folder that the Hub and the app read: config.json, model.safetensors in fp16, and the card."""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save

from exprgan.errors import WeightsError
from exprgan.folder_paths import find_path_problems
from exprgan.models.blocks import CalibratedModule
from exprgan.models.config import CONFIG_NAME, ExprGANConfig
from exprgan.models.exprgan import WEIGHTS_NAME, ExprGAN, read_weights
from exprgan.models.hub_source import HUB_MODEL
from exprgan.models.model_card import ABOUT_NAME, CARD_NAME, FIGURES, JUDGE_NAME, write_card
from exprgan.models.networks import Decoder
from exprgan.models.records import INHERITED, RESULTS_NAME, TRAINING_NAME
from exprgan.models.self_test import REFERENCE_NAME, check_reference, write_reference

from ..core.checkpoints import Checkpoints
from ..core.files import copy_together, durable_write, exclusive, read_json, write_bytes, write_json
from ..core.git import git_commit
from ..core.train_errors import RunError
from ..data.fingerprint import fingerprint
from .gallery import draw_gallery
from .hub_upload import NO_UPLOAD, HubConfig, push

LOCAL_SETTINGS = ("out", "face", "init", "phi_file", "cpu", "check_face")
"""Settings that mean something on this machine only; they are not published."""
OPTIONAL_FILES = (TRAINING_NAME, RESULTS_NAME, REFERENCE_NAME, JUDGE_NAME, FIGURES)
"""Uploaded if the folder has them, and otherwise deleted on the Hub."""
NOTEBOOK = Path(__file__).parent / "templates" / "notebook.ipynb"
"""Uploaded with the name of the repository in place of `HUB_MODEL`; the Hub opens a notebook of this name in Colab."""
HUB_MODEL_QUOTED = f'\\"{HUB_MODEL}\\"'
"""The name of the model as a string of Python in the notebook's JSON."""
METADATA_KEY = "exprgan"
"""The one key of model.safetensors' metadata, whose value is JSON. safetensors writes several keys in random order."""
CHANGED_LAYERS = {"decoder": "G_dec.fc.", "reading": "classifier.expression."}
"""Layers that `calibrate --decoder` and `--reading` change after training, by the record in training.json that says so."""


def publish(run: str, out: str, data: str = "", hub: HubConfig = NO_UPLOAD, replace: bool = False, *, data_repo: str = "",
            gallery: bool = False) -> Path:  # fmt: skip
    """Writes a run's latest checkpoint as a folder that `ExprGAN.from_pretrained` reads, and uploads it if asked to.

    If `out` holds the same networks already, what was added to them is kept: T, the results of `calibrate` and `evaluate`,
    their records in training.json, and what people wrote.

    Args:
        run: the run folder; or a folder that `publish` wrote, which is then completed in place.
        out: the folder to write, created if missing.
        data: the training folder, to record its hash, numbers and credit lines.
        hub: the repository; by default nothing is uploaded.
        replace: whether other weights in `out` may be replaced, with all that belongs to them. Their about.md and figures/
            are set aside as about.old.md and figures.old/.
        data_repo: org/name or org/name@revision of `data` on the Hub, where it has one; the card names it.
        gallery: draw the example photos, edited by these weights, for the card.

    Returns:
        The folder.

    Raises:
        RunError: the run has no checkpoint yet, `out` holds other weights or links that lead out of it, or the Hub cannot
            be reached or refuses.
        DataError: `data` is no training folder.
    """
    is_published = not Checkpoints(run).paths() and Path(run, WEIGHTS_NAME).is_file()
    folder = Path(run if is_published else out)
    _check_links(folder)
    with exclusive(folder), tempfile.TemporaryDirectory() as temporary:
        if hub.dry_run:
            copy = Path(temporary) / "weights"
            if folder.is_dir():
                shutil.copytree(folder, copy)
            folder = copy
        if not is_published:
            steps = _write_run(run, folder, out, replace)
            print(f"{out} would be published after {steps}" if hub.dry_run else f"{out}: published after {steps}")
        if inherited := read_json(folder / TRAINING_NAME).get(INHERITED):
            remedy = "`detail --again` and then `calibrate` fit them" if "T" in inherited else "`calibrate` fits it"
            print(f"note: of the weights that training started from, and made for their decoder: {', '.join(inherited)}; "
                  f"{remedy} to this one")  # fmt: skip
        _complete(folder, data, data_repo, hub.repo or HUB_MODEL, gallery)
        paths = [folder / name for name in (CONFIG_NAME, WEIGHTS_NAME, CARD_NAME)]
        paths += [path for pattern in OPTIONAL_FILES for path in sorted(folder.glob(pattern)) if path.is_file()]
        files: dict[str, Path | bytes] = {path.relative_to(folder).as_posix(): path for path in paths}
        if hub.repo:
            files[NOTEBOOK.name] = (
                NOTEBOOK.read_text(encoding="utf-8").replace(HUB_MODEL_QUOTED, f'\\"{hub.repo}\\"').encode()
            )
            push(files, hub, repo_type="model", title="Publish ExprGAN", stale=OPTIONAL_FILES)
        elif hub.dry_run:
            print("\n".join(f"  {path.relative_to(folder).as_posix()}  {path.stat().st_size:,} B" for path in paths))
    return folder


def _check_links(folder: Path) -> None:
    """Raises RunError if a file that is read for the card, or uploaded, is a link out of the folder."""
    patterns = (CONFIG_NAME, WEIGHTS_NAME, CARD_NAME, ABOUT_NAME, *OPTIONAL_FILES)
    names = (path.relative_to(folder).as_posix() for pattern in patterns for path in folder.glob(pattern))
    if problems := find_path_problems(names, folder):
        name, problem = next(iter(problems.items()))
        raise RunError(f"{name} {problem}; only what is in the folder is published")


def _write_run(run: str, folder: Path, name: str, replace: bool) -> dict[str, int]:
    """Writes config.json, model.safetensors and training.json, unless they hold the same networks. Returns steps by stage.

    Args:
        run: the run folder.
        folder: the folder to write, or a copy of it.
        name: the folder's name, for messages.
        replace: as in `publish`.
    """
    state = Checkpoints(run).latest()
    if state is None:
        raise RunError(f"{run} has no checkpoint yet; train first, or name another run folder")
    model = ExprGAN(ExprGANConfig(**state["model_config"]))
    model.load_state_dict(state["model"] | state["ema"])  # the running average of G_enc and G_dec, the rest as it is
    if {settings.get("condition") for settings in state["settings"].values()} == {"none"}:
        _zero_code_weights(model.G_dec, model.config.z_dim)
    previous = read_json(folder / TRAINING_NAME)
    with tempfile.TemporaryDirectory() as temporary:
        model.save_pretrained(temporary)
        changed = tuple(layer for name, layer in CHANGED_LAYERS.items() if name in previous)
        is_same = _same_networks(model, Path(temporary) / WEIGHTS_NAME, folder / WEIGHTS_NAME, changed)
        if not is_same:
            if (folder / WEIGHTS_NAME).is_file():
                if not replace:
                    raise RunError(_refusal(run, folder, name))
                _set_aside(folder)
            copy_together(Path(temporary), folder, (CONFIG_NAME, WEIGHTS_NAME), stale=(RESULTS_NAME, REFERENCE_NAME))
    settings = {
        stage: {name: value for name, value in values.items() if name not in LOCAL_SETTINGS}
        for stage, values in state["settings"].items()
    }
    training = {"steps": state["history"], "settings": settings}
    if is_same:
        training = previous | training
    if state.get("before") is not None:
        training["before"] = state["before"]
        if not is_same:
            training |= _inherited(model, state["before"])
    write_json(folder / TRAINING_NAME, training)
    return state["history"]


def _same_networks(model: ExprGAN, path: Path, other: Path, changed: tuple[str, ...]) -> bool:
    """Whether two weights files of `model` hold the same tensors, except for T and what is calibrated, after training.

    Args:
        changed: beginnings of the names of further tensors that were changed after training.
    """
    if not other.is_file():
        return False
    added = ("T.", *(f"{name}." for name, part in model.named_modules() if isinstance(part, CalibratedModule)), *changed)
    tensors, others = ({name: tensor for name, tensor in read_weights(file).items() if not name.startswith(added)}
                       for file in (path, other))  # fmt: skip
    return tensors.keys() == others.keys() and all(
        tensor.dtype == others[name].dtype and torch.equal(tensor, others[name]) for name, tensor in tensors.items()
    )


def _refusal(run: str, folder: Path, name: str) -> str:
    """Says what publishing a run over other weights would replace, and what to do."""
    config = read_json(folder / CONFIG_NAME)
    parts = {"T": config.get("warp_width", 0) > 0, "a calibrated slider": config.get("intensity_knots", 2) > 2}
    parts |= {file: (folder / file).is_file() for file in (RESULTS_NAME, ABOUT_NAME)}
    lost = ", ".join(part for part, present in parts.items() if present)
    return (f"{name} holds weights of another run or of other steps{', with ' if lost else ''}{lost}; name another --out "
            f"for {run}, add --replace to replace them, or publish them: `python -m train publish {name}`")  # fmt: skip


def _set_aside(folder: Path) -> None:
    """Renames what people added about the replaced weights: the card must not say it of others."""
    for old, new in ((ABOUT_NAME, "about.old.md"), ("figures", "figures.old")):
        if (folder / old).exists():
            if (folder / new).is_dir():
                shutil.rmtree(folder / new)
            (folder / old).replace(folder / new)
            print(f"{folder / old} was about the replaced weights and is now {folder / new}")


def _inherited(model: ExprGAN, before: dict[str, Any]) -> dict[str, Any]:
    """For training.json after fine-tuning: the parts that fit the earlier decoder, and how T was trained."""
    slider = ["F_ctrl.path"] if model.config.intensity_knots > 2 else []
    parts = slider if model.T is None else ["T"]  # with T the decoder was trained on the codes of its path
    return ({INHERITED: parts} if parts else {}) | ({"detail": before["detail"]} if parts and "detail" in before else {})


@torch.no_grad()
def _zero_code_weights(G_dec: Decoder, z_dim: int) -> None:
    """Makes the decoder of AAE ignore the code: its training used the code 0 alone, so these weights are untrained."""
    G_dec.fc.weight[:, z_dim:] = 0
    for block in G_dec.blocks:
        block.weight[:, block.in_channels :] = 0


def _complete(folder: Path, data: str, data_repo: str, repo: str, gallery: bool) -> None:
    """Writes reference.safetensors, the metadata of model.safetensors, the gallery if it is asked for, and the card."""
    training, results = read_json(folder / TRAINING_NAME), read_json(folder / RESULTS_NAME)
    if data:
        training["data"] = fingerprint(data) | ({"repo": data_repo} if data_repo else {})
        write_json(folder / TRAINING_NAME, training)
    model = ExprGAN.from_pretrained(folder)  # as it will be read: rounded to fp16
    try:
        check_reference(model, folder / REFERENCE_NAME, str(folder))
    except WeightsError:  # there is none, or it is of other weights
        with durable_write(folder / REFERENCE_NAME) as part:
            write_reference(model, part)
    weights = folder / WEIGHTS_NAME
    if results and results.pop("weights_sha256", None) != _sha256(weights.read_bytes()):
        raise RunError(f"{folder / RESULTS_NAME} was measured of other weights; run `python -m train evaluate` again")
    info = {}
    if "data" in training:
        info["data_sha256"] = training["data"]["sha256"]
    if results:
        info["results_sha256"] = _sha256(json.dumps(results, sort_keys=True).encode())
    _write_metadata(weights, info)
    if results:
        write_json(folder / RESULTS_NAME, results | {"weights_sha256": _sha256(weights.read_bytes())})
    if gallery:
        draw_gallery(folder)
    write_card(folder, repo)


def _write_metadata(weights: Path, info: dict[str, str]) -> None:
    """Writes `info` and the commit that first published the weights into the metadata of model.safetensors."""
    with safe_open(weights, "pt") as file:
        previous = file.metadata() or {}
    commit = json.loads(previous.get(METADATA_KEY, "{}")).get("commit") or git_commit()
    metadata = {METADATA_KEY: json.dumps(info | {"commit": commit}, sort_keys=True)}
    if metadata != previous:
        write_bytes(weights, save(read_weights(weights), metadata=metadata))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

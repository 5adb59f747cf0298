"""Uploads the ONNX files of a model as a repository of their own, whose card names the model they were exported from."""

import json
import tempfile
from pathlib import Path

from exprgan.export.onnx_files import NAMES, OPSET, export_onnx
from exprgan.models.exprgan import ExprGAN
from exprgan.models.model_card import CARD_NAME, card_licence, credits_of, render_card
from exprgan.models.records import read_training

from .hub_upload import REPO_NAME, HubConfig, push

ONNX_CARD = Path(__file__).parent / "templates" / "onnx_card.md"
EXAMPLES = [Path(__file__).parents[2] / "examples" / name for name in ("onnx_photo.py", "onnx_edit.py")]
"""Programs that edit with the files alone, a photo and an aligned face; part of a checkout."""


def publish_onnx(weights: str, base_model: str, hub: HubConfig) -> None:
    """Exports a model and uploads the files in one commit, with a card and, from a checkout, the example programs.

    Args:
        weights: a folder that `publish` wrote, or org/name or org/name@revision on the Hub.
        base_model: org/name of these weights on the Hub; empty where `weights` names it, or is the folder that comes with
            the code.
        hub: the repository.

    Raises:
        ValueError: no repository is named, or `base_model` is missing or no such name.
        WeightsError: there is no such model.
        RunError: the Hub cannot be reached or refuses.
        ExprGANError: packages for the export are missing.
    """
    if not hub.repo:
        raise ValueError("name the repository in --repo, such as --repo org/exprgan-onnx")
    training = read_training(weights)
    base_model = base_model or training.get("model", "")
    if not REPO_NAME.fullmatch(base_model) or "@" in base_model:
        raise ValueError(
            f"name the weights on the Hub in --base-model, such as --base-model org/exprgan, not {base_model!r}"
        )
    if base_model == hub.repo:
        raise ValueError(f"{hub.repo} is the model itself; name another repository, such as --repo {hub.repo}-onnx")
    model = ExprGAN.from_pretrained(weights)
    with tempfile.TemporaryDirectory() as folder:
        exported = export_onnx(model, folder, half=True)
        config = json.loads(exported["config"].read_text(encoding="utf-8"))
        files: dict[str, Path | bytes] = {path.name: path for path in exported.values()}
        examples = EXAMPLES if "warp" in exported else EXAMPLES[1:]
        files |= {example.name: example for example in examples if example.is_file()}
        stale = *NAMES.values(), *(example.name for example in EXAMPLES)
        sizes = {name: f"{path.stat().st_size / 1e6:.1f} MB" for name, path in exported.items()}
        expressions = config["expressions"]
        files[CARD_NAME] = render_card(
            ONNX_CARD,
            front_matter={"license": card_licence(training), "base_model": base_model},
            repo=hub.repo,
            base_model=base_model,
            config=config,
            opset=OPSET,
            sizes=sizes,
            credits=credits_of(training),
            example_expression="happy" if "happy" in expressions else expressions[0],
        ).encode()
        push(files, hub, repo_type="model", title="Publish ExprGAN for ONNX", stale=stale)

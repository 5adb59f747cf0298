"""The model card: model_card.md with what a folder of weights says of itself filled in, as its README.md."""

import json
from pathlib import Path
from typing import Any

import jinja2

from exprgan.model import CONFIG_NAME

from .run import write_text

TEMPLATE = Path(__file__).parents[1] / "model_card.md"


def write_card(folder: str | Path) -> Path:
    """Writes FOLDER/README.md from config.json, training.json and, once `evaluate` ran, results.json."""
    folder = Path(folder)
    config, training, results = (_read(folder / name) for name in (CONFIG_NAME, "training.json", "results.json"))
    template = jinja2.Template(TEMPLATE.read_text(encoding="utf-8"), undefined=jinja2.StrictUndefined,
                               keep_trailing_newline=True)  # fmt: skip
    text = template.render(
        model_index=_model_index(results),
        architecture=_architecture(config),
        training=_training(training),
        results=_results(results),
    )
    write_text(folder / "README.md", text)
    return folder / "README.md"


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _architecture(config: dict[str, Any]) -> str:
    return (
        f"{config['image_size']} px, z of {config['z_dim']}, {len(config['expressions'])} expressions of "
        f"{config['code_dim_each']} numbers, {config['encoder_width']} channels at the encoder's first block and "
        f"{config['decoder_width']} at the decoder's (the paper: 64 and 1024)."
    )


def _training(training: dict[str, Any]) -> str:
    if not training:
        return "No record of the training came with these weights."
    steps = ", ".join(f"{count:,} steps of {stage}" for stage, count in training["steps"].items())
    batches = " and ".join(sorted({str(settings["batch_size"]) for settings in training["settings"].values()}))
    return f"{steps}, at batch {batches}. training.json has every setting."


def _results(results: dict[str, Any]) -> str:
    """A table: one row a metric and value."""
    if not results:
        return "Not measured yet: `python -m train evaluate WEIGHTS --data DIR`."
    n = results["n"]
    rows = [f"| {name.replace('_', ' ')} | {kind.replace('_', ' ')} | {value:.3f} |"
            for name, values in results["metrics"].items() for kind, value in values.items()]  # fmt: skip
    kind = "neutral" if "neutral_photos" in n else "expressive"
    head = (
        f"On {n['people']} held-out people: {n['edits']} edits of {n[f'{kind}_photos']} {kind} photos at full intensity, "
        f"beside {n['real_pictures']} of the set's own pictures (`real`). `decoder` is the bare picture, `detail` what a "
        f"visitor gets. Judge: {results['judge']}. Measured on {results['date']} ({results['device']}).\n\n"
    )
    return head + "\n".join(["| metric | of | value |", "|---|---|---|", *rows])


def _model_index(results: dict[str, Any]) -> str:
    """The Hub's model-index as YAML, empty before anything was measured."""
    if not results:
        return ""
    lines = ["model-index:", "- name: exprgan", "  results:", "  - task:", "      type: image-to-image",
             "    dataset:", "      name: held-out people", "      type: imagefolder", "    metrics:"]  # fmt: skip
    for name in ("expression_accuracy", "identity_cosine"):
        lines += [f"    - type: {name}", f"      value: {results['metrics'][name]['detail']}"]
    return "\n".join(lines) + "\n"

"""The cards of weights and data sets: a template with what a folder says of itself filled in.

The last line of a card is the hash of what stands above it, which tells whether somebody edited it since.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import jinja2

from exprgan.models.exprgan import CONFIG_NAME

from ..core.files import write_text
from .card_tables import measured

CARD_NAME = "README.md"
ABOUT_NAME = "about.md"
"""What is to be said of these weights alone, in the card's section on the data: an optional file beside them."""
MODEL_CARD, DATA_CARD = (Path(__file__).parent / "templates" / name for name in ("model_card.md", "data_card.md"))
REPO = "org/exprgan"
"""What cards call the weights until they are sent elsewhere."""
_MARK = "<!-- made by `python -m train`; the SHA-256 of what stands above is "


def write_card(folder: str | Path, repo: str = REPO) -> Path:
    """Writes FOLDER/README.md from config.json, training.json and, once `evaluate` ran, results.json.

    Args:
        folder: weights as `publish` wrote them; what is in its figures/ is shown.
        repo: what the weights are called on the Hub.
    """
    folder = Path(folder)
    config, training, results = (_read(folder / name) for name in (CONFIG_NAME, "training.json", "results.json"))
    data = training.get("data", {})
    text = render(
        MODEL_CARD,
        repo=repo,
        licence=licence_of(data),
        config=config,
        word="happy" if "happy" in config["expressions"] else config["expressions"][0],
        model_index=_model_index(results, repo),
        architecture=_architecture(config),
        training=_training(training),
        data=data,
        about=(folder / ABOUT_NAME).read_text(encoding="utf-8").strip() if (folder / ABOUT_NAME).is_file() else "",
        results=measured(results),
        alone=bool(results) and all(judge["seen_in_training"] for judge in results.get("judges", ())),
        cost=_cost(training.get("cost", [])),
        figures=[(path.stem.replace("-", " "), f"figures/{path.name}") for path in sorted(folder.glob("figures/*.*"))],
    )
    write_text(folder / CARD_NAME, text)
    return folder / CARD_NAME


def render(template: Path, **values: Any) -> str:
    """A card: the filled template, and the line that tells whether it was edited since."""
    text = jinja2.Template(template.read_text(encoding="utf-8"), undefined=jinja2.StrictUndefined, trim_blocks=True,
                           keep_trailing_newline=True).render(values)  # fmt: skip
    return f"{text}{_MARK}{_sha256(text)} -->\n"


def was_edited(card: str) -> bool:
    """Whether a card's text is other than `render` wrote it. One without our line is somebody's own."""
    text, mark, rest = card.rpartition(_MARK)
    return not mark or rest != f"{_sha256(text)} -->\n"


def licence_of(data: dict[str, Any]) -> str:
    """The Hub's word for a licence: the one of all pictures, "other" for several, "unknown" where none was recorded."""
    licences = data.get("licences", [])
    return licences[0].lower() if len(licences) == 1 else "other" if licences else "unknown"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


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
    batches = " and ".join(sorted({str(settings["batch_size"]) for settings in training["settings"].values()}))
    before = f" They went on from weights of {_steps(training['before'])}." if "before" in training else ""
    return f"{_steps(training)}, at batch {batches}.{before} training.json has every setting."


def _steps(training: dict[str, Any]) -> str:
    return ", ".join(f"{count:,} steps of {stage}" for stage, count in training["steps"].items())


def _cost(parts: list[dict[str, Any]]) -> str:
    """What the training took, of the parts that training.json tells: what, hours, cores, hardware."""
    if not parts:
        return "How long the training took, and on what, was not recorded; nothing is made up here."
    worked = [f"{part['hours']:g} hours on {part['cores']} core{'s' * (part['cores'] > 1)}" for part in parts]
    told = [f"{part['what']} {time} ({part['hardware']})" for part, time in zip(parts, worked, strict=True)]
    total = sum(part["hours"] * part["cores"] for part in parts)
    return f"{'; '.join(told)}: {total:,.0f} core hours in all. Energy and emissions were not metered."


def _model_index(results: dict[str, Any], repo: str) -> str:
    """The Hub's model-index as YAML, empty before anything was measured."""
    if not results:
        return ""
    lines = ["model-index:", f"- name: {repo.rpartition('/')[2]}", "  results:", "  - task:", "      type: image-to-image",
             "    dataset:", "      name: held-out people", "      type: imagefolder", "    metrics:"]  # fmt: skip
    for name in ("expression_accuracy", "identity_cosine"):
        lines += [f"    - type: {name}", f"      name: {name.replace('_', ' ')}, held-out people",
                  f"      value: {results['metrics'][name]['detail']}"]  # fmt: skip
    return "\n".join(lines) + "\n"

"""Writes the cards of weights and data sets: Jinja templates filled in from the files of a folder.

The last line of a card is the hash of the text above it, which shows later whether somebody edited the card.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from huggingface_hub import EvalResult, ModelCardData
from markupsafe import Markup

from exprgan.models.config import CONFIG_NAME
from exprgan.models.hub_source import HUB_MODEL

from ..core.files import read_json, write_text
from ..core.markdown import markdown_environment
from ..core.training_record import INHERITED, TRAINING_NAME
from .card_tables import own_name, render_results, render_summary

CARD_NAME = "README.md"
ABOUT_NAME = "about.md"
"""Optional file beside the weights with text for the card's section on training data."""
RESULTS_NAME, JUDGE_NAME = "results.json", "judge.safetensors"
MODEL_CARD, DATA_CARD = (Path(__file__).parent / "templates" / name for name in ("model_card.md", "data_card.md"))
_HASH_MARK = "<!-- made by `python -m train`; the SHA-256 of what stands above is "


def write_card(folder: str | Path, repo: str = HUB_MODEL) -> Path:
    """Writes FOLDER/README.md from config.json, training.json and, if the weights were evaluated, results.json.

    Args:
        folder: weights as `publish` wrote them; pictures in its figures/ are shown.
        repo: name of the weights on the Hub.
    """
    folder = Path(folder)
    config, training, results = (read_json(folder / name) for name in (CONFIG_NAME, TRAINING_NAME, RESULTS_NAME))
    about, data, cost = folder / ABOUT_NAME, training.get("data", {}), training.get("cost", [])
    earlier = list(_earlier_trainings(training))
    licences = [licence for record in ({"data": data}, *earlier) for licence in record.get("data", {}).get("licences", [])]
    card = render_card(
        MODEL_CARD,
        repo=repo,
        licence=licence_id({"licences": list(dict.fromkeys(licences))} if data else {}),
        base_model=next((record["model"] for record in earlier if "model" in record), ""),
        base_credits=list(dict.fromkeys(line for record in earlier for line in record.get("data", {}).get("credits", []))),
        inherited=training.get(INHERITED, []),
        config=config,
        example_expression="happy" if "happy" in config["expressions"] else config["expressions"][0],
        model_index=_model_index(results, repo),
        training=training,
        data=data,
        about=Markup(about.read_text(encoding="utf-8").strip() if about.is_file() else ""),
        summary=Markup(render_summary(results)),
        results=Markup(render_results(results)),
        only_own_judge=bool(results) and all(judge["seen_in_training"] for judge in results.get("judges", ())),
        cost=cost,
        core_hours=sum(part["hours"] * part["cores"] for part in cost),
        figures=[
            (path.stem.replace("-", " "), Markup(f"figures/{quote(path.name)}"))
            for path in sorted(folder.glob("figures/*.*"))
        ],
    )
    write_text(folder / CARD_NAME, card)
    return folder / CARD_NAME


def render_card(template: Path, **values: Any) -> str:
    """Fills in a template, and appends the line with the hash of the text. Values that are no `Markup` are escaped."""
    text = markdown_environment().from_string(template.read_text(encoding="utf-8")).render(values)
    return f"{text}{_HASH_MARK}{_sha256(text)} -->\n"


def was_edited(card: str) -> bool:
    """Whether a card's text differs from what `render_card` wrote. True for a card without a line with the hash."""
    text, mark, rest = card.rpartition(_HASH_MARK)
    return not mark or rest != f"{_sha256(text)} -->\n"


def licence_id(data: dict[str, Any]) -> str:
    """The Hub's identifier of the licence that all pictures share; "other" for several, "unknown" where none was recorded.

    Args:
        data: as `fingerprint` returns it.
    """
    licences = data.get("licences", [])
    return licences[0].lower() if len(licences) == 1 else "other" if licences else "unknown"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _earlier_trainings(training: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The records of the weights that training started from, of those that these started from, and so on."""
    while "before" in training:
        training = training["before"]
        yield training


def _model_index(results: dict[str, Any], repo: str) -> Markup:
    """The Hub's model-index as YAML, the shares of outside judges first; empty without results."""
    if not results:
        return Markup()
    numbers = [(judge["name"], name, judge["metrics"][metric][part]["value"]) for judge in results.get("outside", [])
               for name, metric, part in (("expression_accuracy", "read_as_wanted", "detail.mean"),
                                          ("identity_distance", "identity_distance", "detail"))
               if part in judge["metrics"].get(metric, {})]  # fmt: skip
    numbers += [(own_name(results), name, results["metrics"][name]["detail"])
                for name in ("expression_accuracy", "identity_cosine")]  # fmt: skip
    evaluations = [
        EvalResult(task_type="image-to-image", dataset_type="imagefolder", dataset_name="held-out people",
                   metric_type=name, metric_name=f"{name.replace('_', ' ')} by {judge}", metric_value=value)
        for judge, name, value in numbers
    ]  # fmt: skip
    return Markup(ModelCardData(model_name=repo.rpartition("/")[2], eval_results=evaluations).to_yaml() + "\n")

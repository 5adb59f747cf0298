"""Writes the cards of weights and data sets: Jinja templates filled in from the files of a folder.

The last line of a card is the hash of the text above it, which shows later whether somebody edited the card.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from huggingface_hub import EvalResult, ModelCardData
from markupsafe import Markup

from ..atomic_write import atomic_write
from ..markdown import markdown_environment
from .card_tables import own_name, render_results, render_summary
from .config import CONFIG_NAME
from .hub_source import HUB_MODEL, HubSource
from .records import INHERITED, RESULTS_NAME, TRAINING_NAME, read_record

CARD_NAME = "README.md"
ABOUT_NAME = "about.md"
"""Optional file beside the weights with text for the card's section on training data."""
FIGURES = "figures/[!.]*.*"
"""Optional pictures beside the weights, shown in the card; the first one, by name, stands for the model in lists."""
EXAMPLES_FIGURE = "figures/edits-of-example-photos.jpg"
"""The picture that `publish --gallery` draws."""
CAPTIONS = {
    EXAMPLES_FIGURE: "Neutral and all expressions at full strength, on virtual people, each mixed from two people of the "
    "Face Research Lab London Set, DeBruine & Jones 2017, doi:10.6084/m9.figshare.5047666, CC-BY 4.0, altered. "
    "Weights may have been trained on these two."
}
JUDGE_NAME = "judge.safetensors"
MODEL_CARD = Path(__file__).parent / "templates" / "model_card.md"
CARD_MODES = ("detail", "model")
"""Modes of editing whose measurements are in the front matter."""
_HASH_MARK = "<!-- made by `python -m train`; the SHA-256 of what stands above is "


def write_card(folder: str | Path, repo: str = HUB_MODEL) -> Path:
    """Writes FOLDER/README.md from config.json, training.json and, if the weights were evaluated, results.json.

    Args:
        folder: weights as `publish` or `ExprGAN.save_pretrained` wrote them; pictures in its figures/ are shown.
        repo: name of the weights on the Hub.

    Raises:
        WeightsError: one of the files is damaged.
        ExprGANError: the card cannot be written.
    """
    folder = Path(folder)
    config, training, results = (read_record(HubSource(str(folder)), name)
                                 for name in (CONFIG_NAME, TRAINING_NAME, RESULTS_NAME))  # fmt: skip
    about = folder / ABOUT_NAME
    card = render_model_card(config, repo, training=training, results=results,
                             about=about.read_text(encoding="utf-8") if about.is_file() else "",
                             figures=sorted(path.relative_to(folder) for path in folder.glob(FIGURES)))  # fmt: skip
    with atomic_write(folder / CARD_NAME, sync=True) as part:
        part.write_text(card, encoding="utf-8", newline="")
    return folder / CARD_NAME


def render_model_card(config: dict[str, Any], repo: str, *, training: dict[str, Any] | None = None,
                      results: dict[str, Any] | None = None, about: str = "",
                      figures: Sequence[Path] = ()) -> str:  # fmt: skip
    """The card of a model.

    Args:
        config: the content of config.json.
        repo: org/name on the Hub.
        training, results: the contents of training.json and results.json, where there are any.
        about: Markdown on the training data.
        figures: paths in the repository of pictures.
    """
    training, results = training or {}, results or {}
    data, cost, earlier = training.get("data", {}), training.get("cost", []), list(_earlier_trainings(training))
    records = [record.get("data", {}) for record in (training, *earlier)]
    base_model = next((record["model"] for record in earlier if "model" in record), "")
    gallery = [(path.stem.replace("-", " "), Markup(quote(path.as_posix())), CAPTIONS.get(path.as_posix(), ""))
               for path in figures]  # fmt: skip
    metrics = _measurements(results)
    front_matter = {
        "language": "en",
        "license": card_licence(training),
        "base_model": base_model if base_model != repo else "",  # else an earlier revision of itself
        "base_model_relation": "finetune" if base_model not in ("", repo) else "",
        "datasets": sorted({record["repo"].partition("@")[0] for record in records if "repo" in record}),
        "metrics": sorted({result.metric_type for result in metrics}),
        "thumbnail": f"https://huggingface.co/{repo}/resolve/main/{gallery[0][1]}" if gallery else "",
    }
    return render_card(
        MODEL_CARD,
        repo=repo,
        front_matter={name: value for name, value in front_matter.items() if value},
        model_index=_model_index(metrics, repo),
        base_model=base_model,
        base_credits=[line for record in earlier[:1] for line in credits_of(record)],
        inherited=training.get(INHERITED, []),
        config=config,
        example_expression="happy" if "happy" in config["expressions"] else config["expressions"][0],
        training=training,
        data=data,
        about=Markup(about.strip()),
        summary=Markup(render_summary(results)),
        results=Markup(render_results(results)),
        only_own_judge=bool(results) and all(judge["seen_in_training"] for judge in results.get("judges", ())),
        cost=cost,
        core_hours=sum(part["hours"] * part["cores"] for part in cost),
        gallery=gallery,
    )


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


def card_licence(training: dict[str, Any]) -> str:
    """`licence_id` of all data that weights were trained on, by training.json; "unknown" if the latest was not recorded."""
    records = [record.get("data", {}) for record in (training, *_earlier_trainings(training))]
    licences = dict.fromkeys(licence for record in records for licence in record.get("licences", []))
    return licence_id({"licences": list(licences)} if records[0] else {})


def credits_of(training: dict[str, Any]) -> list[str]:
    """The credit lines of all data that weights were trained on, by training.json."""
    records = (training, *_earlier_trainings(training))
    return list(dict.fromkeys(line for record in records for line in record.get("data", {}).get("credits", [])))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _earlier_trainings(training: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The records of the weights that training started from, of those that these started from, and so on."""
    while "before" in training:
        training = training["before"]
        yield training


def _measurements(results: dict[str, Any]) -> list[EvalResult]:
    """The shares read as wanted and the identities, of outside judges first, each with its judge, mode, n and interval."""
    found = []
    for judge in results.get("outside", []):
        for kind, metric, part in (("accuracy", "read_as_wanted", ".mean"), ("identity_distance", "identity_distance", "")):
            figures = judge["metrics"].get(metric, {})
            found += [(kind, judge["name"], mode, figures[mode + part]) for mode in CARD_MODES if mode + part in figures]
    for kind, metric in (("accuracy", "expression_accuracy"), ("identity_cosine", "identity_cosine")):
        n = {"n": results["n"]["edits"], "people": results["n"]["people"]} if results else {}
        values = results.get("metrics", {}).get(metric, {})
        found += [(kind, own_name(results), mode, {"value": values[mode], **n}) for mode in CARD_MODES if mode in values]
    texts = {"accuracy": "read as wanted", "identity_distance": "identity distance", "identity_cosine": "identity cosine"}
    return [
        EvalResult(
            task_type="image-to-image", dataset_type="imagefolder", dataset_name="held-out people", metric_type=kind,
            metric_name=f"{texts[kind]} by {judge}, mode {mode}, n = {figure['n']} edits of {figure['people']} people",
            metric_value=figure["value"],
            metric_args={"judge": judge, "mode": mode}
            | {name: figure[name] for name in ("n", "people", "interval") if figure.get(name) is not None},
        )
        for kind, judge, mode, figure in found
    ]  # fmt: skip


def _model_index(measurements: list[EvalResult], repo: str) -> Markup:
    """The Hub's model-index as YAML; empty without measurements."""
    if not measurements:
        return Markup()
    return Markup(ModelCardData(model_name=repo.rpartition("/")[2], eval_results=measurements).to_yaml() + "\n")

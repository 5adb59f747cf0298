"""Renders results.json as the tables of a model card: a table per topic, a row per number, a column per kind of image."""

from typing import Any

from markupsafe import Markup

from ..markdown import escape_markdown

PICTURE_KINDS = ("decoder", "model", "detail", "real")
TOPICS = {
    "Expression": ("expression_accuracy", "confusion", "styles_shown", "neutral"),
    "Reading": ("reading",),
    "Identity": ("identity_cosine", "identity_by_intensity"),
    "Intensity": ("intensity_correlation",),
    "Image quality": ("reconstruction", "feature_distance", "realism"),
    "Styles": ("style_diversity",),
    "New people": ("new_people",),
    "Codes": ("code_reading", "disentanglement"),
    "Real pairs": ("real_pairs",),
}
"""Heading -> metrics."""
HEADLINE_METRICS = ("expression_accuracy", "identity_cosine", "intensity_correlation.mean", "neutral.share", "realism.kid")
"""Metrics that are also shown as measured by the other evaluators."""
SUMMARY_KINDS = ("detail", "model", "real")
"""Rows of the first table, for every network that read."""


def render_summary(results: dict[str, Any]) -> str:
    """Renders the card's first table in Markdown: shares of edits read as wanted, by outside judges first, then by our own.

    Without outside judges a line says so and how to run one; without results the text is empty.
    """
    if not results:
        return ""
    outside, expressions = results.get("outside", []), results.get("confusion", {}).get("labels", [])[:-1]
    columns = ["mean", *expressions, "neutral", "neutral of expressive"]
    rows = []
    for judge in outside:
        for kind in SUMMARY_KINDS:
            shares, distances = (judge["metrics"].get(name, {}) for name in ("read_as_wanted", "identity_distance"))
            others = (shares.get(f"{kind}.{column}", {}).get("value") for column in columns[1:])
            mean, distance = _with_interval(shares.get(f"{kind}.mean")), _with_interval(distances.get(kind))
            rows.append([judge["name"], kind, mean, *map(_format, others), distance])
    for kind, own in _own_shares(results).items():
        rows.append([own_name(results), kind, *(_format(own.get(column)) for column in columns), ""])
    people = _escape(results["n"]["people"])
    text = (
        f"Share of full-intensity edits of {people} held-out people (`detail`, `model`), and of the set's own pictures "
        "(`real`), that are read as wanted. The mean is that of the expressions, without neutral. "
    )
    text += (
        "Outside judges, which others trained on other pictures, stand first, our own network last. In brackets: 95 % "
        "intervals over people; results.json has those of all numbers, with n. Identity distance: of the judge's "
        "embeddings of edit and photo."
        if outside
        else "No outside judge was run; `python -m train evaluate WEIGHTS --data DIR --outside MODULE:OBJECT` runs one."
    )
    return _section("", ["read by", "pictures", *columns, "identity distance"], rows, text)


def render_results(results: dict[str, Any]) -> str:
    """Renders the section on measurements in Markdown; without results, the command that makes them."""
    if not results:
        return "Not measured yet: `python -m train evaluate WEIGHTS --data DIR`."
    evaluators, metrics = results.get("judges", []), results["metrics"]
    parts = [_introduction(results), _evaluators(evaluators)]
    other = tuple(name for name in metrics if not any(name in names for names in TOPICS.values()))
    for topic, names in (TOPICS | {"More": other}).items():
        parts.append(_metrics(topic, _flatten({name: metrics[name] for name in names if name in metrics})))
    parts.append(_confusion(results.get("confusion", {})))
    for judge in results.get("outside", []):
        values = {metric: {name: figure["value"] for name, figure in figures.items()}
                  for metric, figures in judge["metrics"].items()}  # fmt: skip
        parts.append(_metrics(f"Measured by {judge['name']}, an outside judge", _flatten(values)))
    for evaluator in evaluators[1:]:
        rows = _flatten(results["metrics_by_other_judges"][evaluator["name"]])
        headline = {row: values for row, values in rows.items() if row in map(_label, HEADLINE_METRICS)}
        parts.append(_metrics(f"Measured by {evaluator['network']}", headline))
    parts.append(_groups(results.get("groups", {})))
    return "\n\n".join(part for part in parts if part)


def own_name(results: dict[str, Any]) -> str:
    """The name of the main evaluator, one of our own networks, in a sentence."""
    only_own = all(judge["seen_in_training"] for judge in results.get("judges", ()))
    return "the model's own face network" if only_own else "our reference network"


def _own_shares(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Kind -> column of the first table -> share, as the main evaluator reads; of each expression only for `detail`."""
    accuracy, neutral = (results["metrics"].get(name, {}) for name in ("expression_accuracy", "neutral"))
    shares = {}
    for kind in SUMMARY_KINDS:
        numbers = {"mean": accuracy.get(kind), "neutral": neutral.get(f"{kind}.share"),
                   "neutral of expressive": neutral.get(f"{kind}.of expressive")}  # fmt: skip
        shares[kind] = {name: share for name, share in numbers.items() if share is not None}
    confusion = results.get("confusion", {})
    for i, (name, counts) in enumerate(zip(confusion.get("labels", ()), confusion.get("detail", ()), strict=False)):
        shares["detail"][name] = counts[i] / sum(counts)
    return shares


def _with_interval(figure: dict[str, Any] | None) -> str:
    """Renders "0.690 [0.620, 0.760]"; empty without a figure."""
    if not figure:
        return ""
    bounds = ", ".join(f"{bound:.3f}" for bound in figure["interval"] or ())
    return Markup(f"{figure['value']:.3f} [{bounds}]" if bounds else f"{figure['value']:.3f}")


def _introduction(results: dict[str, Any]) -> str:
    n = {name: _escape(number) for name, number in results["n"].items()}
    date, device = _escape(results["date"]), _escape(results["device"])
    kind = "neutral" if "neutral_photos" in n else "expressive"
    return (
        f"On {n['people']} held-out people: {n['edits']} edits of {n[f'{kind}_photos']} {kind} photos at full intensity, "
        f"beside {n['real_pictures']} of the set's own pictures of full expressions (`real`). `decoder` is "
        "G_dec's output, `model` the output pasted into the photo as in the paper, `detail` the editor's default result. "
        f"Measured on {date} ({device}) by `python -m train evaluate`; results.json "
        "has every number, docs/evaluation.md in the code explains each number and its limits."
    )


def _evaluators(evaluators: list[dict[str, Any]]) -> str:
    """Renders the networks that measured, and how well each does on real pictures."""
    scores = [evaluator["on_real_held_out_pictures"] for evaluator in evaluators]
    columns = list(scores[0]) if scores else []
    rows = [[evaluator["network"], "yes" if evaluator["seen_in_training"] else "no", *map(_format, map(score.get, columns))]
            for evaluator, score in zip(evaluators, scores, strict=True)]  # fmt: skip
    return _section("", ["evaluator", "used in training", *map(_label, columns)], rows, (
        "The tables are measured by the first of these networks. The columns are each network's own scores on real "
        "pictures of the held-out people: accuracy of all labels, of full expressions alone, r of strength, cosine of two "
        "pictures of one person and of two people, and how often the former is larger."
    ))  # fmt: skip


def _flatten(metrics: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Turns metric -> "kind.part" -> number into "metric: part" -> kind -> number."""
    rows: dict[str, dict[str, float]] = {}
    for metric, numbers in metrics.items():
        for name, number in numbers.items():
            kind, _, part = name.partition(".")
            rows.setdefault(_label(f"{metric}.{part}" if part else metric), {})[kind] = number
    return rows


def _metrics(title: str, rows: dict[str, dict[str, float]]) -> str:
    kinds = {kind for values in rows.values() for kind in values}
    columns = [kind for kind in PICTURE_KINDS if kind in kinds] + sorted(kinds - {*PICTURE_KINDS}, reverse=True)
    return _section(title, ["", *columns], [[row, *map(_format, map(values.get, columns))] for row, values in rows.items()])


def _confusion(confusion: dict[str, Any]) -> str:
    """Renders the confusion matrix of `detail`, in numbers of edits."""
    labels = confusion.get("labels", [])
    rows = [[label, *map(str, counts)] for label, counts in zip(labels, confusion.get("detail", []), strict=False)]
    text = "Confusion matrix of `detail` edits: target expression by row, prediction by column."
    return _section("Confusion matrix", ["", *labels], rows, text)


def _groups(groups: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Renders metrics by group of people, with the size of the smallest group as a caveat."""
    columns = ("people", "edits", "expression_accuracy", "identity_cosine", "real_accuracy")
    rows = [[f"{attribute}: {group.replace('_', ' ')}", *(_format(values[column]) for column in columns)]
            for attribute, members in groups.items() for group, values in members.items()]  # fmt: skip
    smallest = min((values["people"] for members in groups.values() for values in members.values()), default=0)
    return _section("Groups", ["group", *map(_label, columns)], rows, (
        f"Of `detail` edits. The smallest group has {smallest} {'person' if smallest == 1 else 'people'}, so differences "
        "may be those of individuals; the last column is the evaluator's accuracy on real pictures of the group."
    ))  # fmt: skip


def _section(title: str, columns: list[str], rows: list[list[str]], text: str = "") -> str:
    """Renders a heading, a text in Markdown and a table; nothing at all if the table has no rows."""
    if not rows:
        return ""
    lines = [map(_escape, columns), ["---"] * len(columns), *(map(_escape, row) for row in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join(part for part in (title and f"### {_escape(title)}", text, table) if part)


def _escape(value: object) -> str:
    return value if isinstance(value, Markup) else escape_markdown(str(value))


def _label(name: str) -> str:
    """Turns "some_metric.part" into "some metric: part"."""
    return name.replace("_", " ").replace(".", ": ", 1)


def _format(value: float | int | None) -> str:
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.3f}"

"""results.json as the tables of a card: one table a topic, one row a number, one column a kind of picture."""

from typing import Any

KINDS = ("decoder", "model", "detail", "real")
TOPICS = {
    "Expression": ("expression_accuracy", "confusion", "styles_shown", "neutral"),
    "Person": ("identity_cosine", "identity_by_intensity"),
    "Strength": ("intensity_correlation",),
    "Picture": ("reconstruction", "feature_distance", "realism"),
    "Styles": ("style_diversity",),
    "New people": ("new_people",),
    "Codes": ("code_reading", "disentanglement"),
}
HEADLINE = ("expression_accuracy", "identity_cosine", "intensity_correlation.mean", "neutral.share", "realism.kid")
"""What is also shown as the other judges see it."""


def measured(results: dict[str, Any]) -> str:
    """The card's section on what was measured; what to do, where nothing was."""
    if not results:
        return "Not measured yet: `python -m train evaluate WEIGHTS --data DIR`."
    judges = results.get("judges", [])
    parts = [_about(results), _of_judges(judges)]
    metrics = results["metrics"]
    topics = TOPICS | {"More": tuple(name for name in metrics if not any(name in names for names in TOPICS.values()))}
    for topic, names in topics.items():
        rows = _rows({name: metrics[name] for name in names if name in metrics})
        parts.append(_titled(topic, _numbers(rows)))
    parts.append(_titled("What is seen instead", _confusion(results.get("confusion", {}))))
    for judge in judges[1:]:
        rows = _rows(results["metrics_by_other_judges"][judge["name"]])
        table = _numbers({row: values for row, values in rows.items() if row in map(_label, HEADLINE)})
        parts.append(_titled(f"By {judge['network']}", table))
    parts.append(_titled("Groups", _groups(results.get("groups", {}))))
    return "\n\n".join(part for part in parts if part)


def _about(results: dict[str, Any]) -> str:
    n = results["n"]
    kind = "neutral" if "neutral_photos" in n else "expressive"
    return (
        f"On {n['people']} held-out people: {n['edits']} edits of {n[f'{kind}_photos']} {kind} photos at full intensity, "
        f"beside {n['real_pictures']} of the set's own pictures of full expressions (`real`). `decoder` is the bare "
        "picture, `model` the same pasted back as in the paper, `detail` what a visitor gets. Measured on "
        f"{results['date']} ({results['device']}) by `python -m train evaluate`; results.json has every number, "
        "docs/evaluation.md in the code says what each means and where it is weak."
    )


def _of_judges(judges: list[dict[str, Any]]) -> str:
    """Who judged, and how good the judges are."""
    if not judges:
        return ""
    found = [judge["on_real_held_out_pictures"] for judge in judges]
    rows = [[judge["network"], "yes" if judge["seen_in_training"] else "no", *(_number(own.get(name)) for name in found[0])]
            for judge, own in zip(judges, found, strict=True)]  # fmt: skip
    text = (
        "The tables are by the first of these judges; the columns say how good each is itself on real pictures of the "
        "held-out people: accuracy of all labels, of full expressions alone, r of strength, cosine of two pictures of one "
        "person and of two people, and how often the former is larger."
    )
    return text + "\n\n" + _table(["judge", "seen in training", *map(_label, found[0])], rows)


def _rows(metrics: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """metric -> `kind.part` -> number becomes "metric: part" -> kind -> number."""
    rows: dict[str, dict[str, float]] = {}
    for metric, numbers in metrics.items():
        for name, number in numbers.items():
            kind, _, part = name.partition(".")
            rows.setdefault(_label(f"{metric}.{part}" if part else metric), {})[kind] = number
    return rows


def _numbers(rows: dict[str, dict[str, float]]) -> str:
    found = {kind for values in rows.values() for kind in values}
    columns = [kind for kind in KINDS if kind in found] + sorted(found - {*KINDS}, reverse=True)
    return _table(["", *columns], [[row, *(_number(values.get(kind)) for kind in columns)] for row, values in rows.items()])


def _confusion(confusion: dict[str, Any]) -> str:
    """Asked for, against seen: counts of `detail`."""
    if not confusion:
        return ""
    labels = confusion["labels"]
    rows = [[name, *map(str, counts)] for name, counts in zip(labels, confusion["detail"], strict=False)]
    return "Edits of a visitor's kind (`detail`), asked for by row, seen by column.\n\n" + _table(["", *labels], rows)


def _groups(groups: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Figures of groups of people, and how little they say."""
    if not groups:
        return ""
    measures = ("people", "edits", "expression_accuracy", "identity_cosine", "real_accuracy")
    rows = [[f"{column}: {group.replace('_', ' ')}", *(_number(values[name]) for name in measures)]
            for column, members in groups.items() for group, values in members.items()]  # fmt: skip
    least = min(values["people"] for members in groups.values() for values in members.values())
    text = (
        f"Of `detail`. Some groups are as small as {least} {'person' if least == 1 else 'people'}, so differences may well "
        "be the persons' own; the last column is the judge's own accuracy on real pictures of the group."
    )
    return text + "\n\n" + _table(["group", *map(_label, measures)], rows)


def _titled(title: str, content: str) -> str:
    return f"### {title}\n\n{content}" if content else ""


def _table(columns: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _label(name: str) -> str:
    metric, _, part = name.replace("_", " ").partition(".")
    return f"{metric}: {part}" if part else metric


def _number(value: float | int | None) -> str:
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.3f}"

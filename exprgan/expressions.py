"""The expressions: their order and names. The one place that states label order; free of torch."""

EXPRESSIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise")
"""The K = 6 classes of y, in the order of the code c = [c_1, ..., c_K] (paper, eq. 3)."""

NEUTRAL = "neutral"
"""No class of y: the code of all -1. The classifier knows it as its last class."""

ALIASES = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "happiness": "happy",
    "joy": "happy",
    "smile": "happy",
    "sadness": "sad",
    "surprised": "surprise",
    "none": NEUTRAL,
}
"""Other words in use (Oulu-CASIA's folder names among them) -> ours."""


def canonical(name: str, expressions: tuple[str, ...] = EXPRESSIONS) -> str:
    """The expression's own name, from any case and any alias.

    Raises:
        ValueError: `name` is neither one of `expressions`, nor neutral, nor an alias of one of them.
    """
    word = name.strip().lower()
    word = word if word in expressions or word == NEUTRAL else ALIASES.get(word, word)
    if word not in expressions and word != NEUTRAL:
        raise ValueError(f"unknown expression {name!r}; choose one of {', '.join((*expressions, NEUTRAL))}")
    return word

"""The expressions: their order and names."""

EXPRESSIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise")
"""The K = 6 classes of y, in the order of the code c = [c_1, ..., c_K] (paper, eq. 3)."""

NEUTRAL = "neutral"  # not a class of y but the code of all -1; the last class of the classifier

ALIASES = {
    "anger": "angry", "disgusted": "disgust", "fearful": "fear", "afraid": "fear", "happiness": "happy", "joy": "happy",
    "smile": "happy", "sadness": "sad", "surprised": "surprise", "none": NEUTRAL,
}  # fmt: skip
"""Other words in use, such as Oulu-CASIA's folder names."""


def canonical(name: str, expressions: tuple[str, ...] = EXPRESSIONS) -> str:
    """The name of an expression or of neutral, from any case and any alias. ValueError: there is no such expression."""
    names, word = (*expressions, NEUTRAL), name.strip().lower()
    word = word if word in names else ALIASES.get(word, word)
    if word not in names:
        raise ValueError(f"unknown expression {name!r}; choose one of {', '.join(names)}")
    return word

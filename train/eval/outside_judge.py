"""Outside judges: networks of other people, trained elsewhere, that measure edits. docs/evaluation.md has the interface."""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.spatial.distance import cosine, euclidean

from exprgan.expressions import NEUTRAL, canonical

from ..core.train_errors import JudgeError

DISTANCES = {"euclidean": euclidean, "cosine": cosine}
"""Distances of embeddings; a judge names its own in the attribute `distance`."""


@dataclass(frozen=True)
class JudgeReading:
    """What an outside judge says of N pictures. None stands for a picture without a face, or a column it does not give."""

    labels: list[str | None]
    """The most probable expression, or neutral."""
    points: list[np.ndarray | None] | None
    """(K, 2) in px of the picture."""
    blendshapes: list[dict[str, float] | None] | None
    """Weights, 0..1, by name."""
    embeddings: list[np.ndarray | None] | None
    """(E,): identity."""


class OutsideJudge:
    """An outside judge, with checks of all that it returns.

    Args:
        judge: has `expressions`, and may have `points`, `blendshapes`, `embeddings`, `distance` and `name`.
        spec: where it comes from, for messages; its name if it has none.
        expressions: the names of the K expressions.

    Raises:
        JudgeError: a method is missing, or `distance` is unknown.
    """

    def __init__(self, judge: Any, spec: str, expressions: Sequence[str]):
        self.spec, self.name, self.expressions = spec, str(getattr(judge, "name", spec)), tuple(expressions)
        self._judge = judge
        if not callable(getattr(judge, "expressions", None)):
            raise JudgeError(f"the judge {spec} has no method `expressions(pictures)`; add it (docs/evaluation.md)")
        distance = getattr(judge, "distance", "euclidean")
        if distance not in DISTANCES:
            raise JudgeError(f"the judge {spec} has the distance {distance!r}; choose one of {', '.join(DISTANCES)}")
        self.distance: Callable[[np.ndarray, np.ndarray], float] = DISTANCES[distance]

    @property
    def has_points(self) -> bool:
        """Whether it has the method `points`."""
        return callable(getattr(self._judge, "points", None))

    @classmethod
    def load(cls, spec: str, expressions: Sequence[str]) -> "OutsideJudge":
        """Imports a judge from the current folder or from the installed packages.

        Args:
            spec: "module:object"; the object is a class or a function without arguments, which returns the judge.

        Raises:
            JudgeError: `spec` has another form, the import or the call fails, or the judge lacks a method.
        """
        module, _, name = spec.partition(":")
        if not (module and name):
            raise JudgeError(f"--outside takes MODULE:OBJECT, such as my_judge:Judge, not {spec!r}")
        if str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        try:
            make = getattr(importlib.import_module(module), name, None)
        except Exception as error:
            raise JudgeError(f"the judge's module {module!r} cannot be imported ({_describe(error)}); install what is "
                             "missing, or run the command in the folder of the module") from error  # fmt: skip
        if make is None:
            raise JudgeError(f"the module {module!r} has no {name!r}; name a class or a function in it that makes a judge")
        if not callable(make):
            raise JudgeError(f"{spec} is a {type(make).__name__}; name a class or a function without arguments instead")
        try:
            judge = make()
        except Exception as error:
            raise JudgeError(f"{spec}() failed ({_describe(error)}); it must return a judge, without arguments") from error
        return cls(judge, spec, expressions)

    def __call__(self, pictures: Sequence[Image.Image]) -> JudgeReading:
        """Reads square RGB pictures of one face each.

        Raises:
            JudgeError: a method fails, or its results have the wrong number, names, shapes or values.
        """
        columns = {name: self._ask(name, pictures) for name in ("points", "blendshapes", "embeddings")
                   if callable(getattr(self._judge, name, None))}  # fmt: skip
        labels = [answer if answer is None else self._label(answer) for answer in self._ask("expressions", pictures)]
        return JudgeReading(
            labels,
            self._arrays("points", columns, dimensions=2),
            self._weights(columns["blendshapes"]) if "blendshapes" in columns else None,
            self._arrays("embeddings", columns, dimensions=1),
        )

    def _ask(self, method: str, pictures: Sequence[Image.Image]) -> list[Any]:
        """Calls a method of the judge: one answer for each picture."""
        try:
            answers = list(getattr(self._judge, method)(pictures))
        except Exception as error:
            raise self._error(method, f"failed ({_describe(error)}); try it alone on some pictures") from error
        if len(answers) != len(pictures):
            raise self._error(method, f"gave {len(answers)} results for {len(pictures)} pictures; give one for each, "
                              "None where there is no face")  # fmt: skip
        return answers

    def _label(self, probabilities: Any) -> str:
        """The most probable of the K + 1 names."""
        names = (*self.expressions, NEUTRAL)
        if not isinstance(probabilities, Mapping):
            raise self._error("expressions", f"gave a {type(probabilities).__name__} for a picture; give a mapping from "
                              "expression to probability")  # fmt: skip
        found: dict[str, float] = {}
        for word, value in probabilities.items():
            try:
                name = canonical(str(word), self.expressions)
            except ValueError:
                raise self._error("expressions", f"gave the name {word!r}; use {', '.join(names)}, and leave other classes "
                                  "out") from None  # fmt: skip
            if name in found:
                raise self._error("expressions", f"gave {name!r} twice, under two names; give each expression once")
            found[name] = self._number("expressions", word, value)
        if missing := [name for name in names if name not in found]:
            raise self._error("expressions", f"gave no probability of {', '.join(missing)}; give one for each of "
                              f"{', '.join(names)}")  # fmt: skip
        return max(names, key=found.__getitem__)

    def _weights(self, answers: list[Any]) -> list[dict[str, float] | None]:
        for answer in answers:
            if answer is not None and not isinstance(answer, Mapping):
                raise self._error("blendshapes", f"gave a {type(answer).__name__} for a picture; give a mapping from name "
                                  "to weight, or None")  # fmt: skip
        return [answer and {str(name): self._number("blendshapes", name, value) for name, value in answer.items()}
                for answer in answers]  # fmt: skip

    def _arrays(self, method: str, columns: dict[str, list[Any]], dimensions: int) -> list[np.ndarray | None] | None:
        """Arrays of one shape each, or None; None for all if the judge has no such method."""
        if method not in columns:
            return None
        try:
            arrays = [None if answer is None else np.asarray(answer, dtype=np.float64) for answer in columns[method]]
        except (TypeError, ValueError) as error:
            raise self._error(method, f"gave what is no array of numbers ({_describe(error)}); give arrays") from error
        shapes = sorted({array.shape for array in arrays if array is not None})
        wanted = "(K, 2)" if dimensions == 2 else "(E,)"
        if len(shapes) > 1 or any(len(shape) != dimensions or (dimensions == 2 and shape[1] != 2) for shape in shapes):
            raise self._error(method, f"gave arrays of shape {' and '.join(map(str, shapes))}; give {wanted}, the same for "
                              "every picture, or None")  # fmt: skip
        if not all(array is None or np.isfinite(array).all() for array in arrays):
            raise self._error(method, "gave NaN or infinity; give finite numbers, or None where there is no face")
        return arrays

    def _number(self, method: str, name: object, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if not np.isfinite(number):
            raise self._error(method, f"gave {value!r} for {name!r}; give finite numbers, or None where there is no face")
        return number

    def _error(self, method: str, what: str) -> JudgeError:
        return JudgeError(f"`{method}` of the judge {self.spec} {what}")


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

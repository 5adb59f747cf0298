"""What the editor does with several faces of a photo, and over time: methods that `ExpressionEditor` has beside its own."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from torch import Tensor

from .animation import Animation, Kind, check_kind, frames_in, path_of
from .errors import NoFaceError
from .faces import Face, choose, find_faces
from .group import GroupResult, Wish, Wishes, by_face
from .images import load_photo
from .subject import FIDELITIES, EditResult, Fidelity, Subject


class Ensemble:
    """Rests on what the editor does with one face."""

    model: Any
    read: Callable[..., Subject]
    decode: Callable[..., EditResult]
    tune: Callable[..., Subject]
    _code: Callable[..., Tensor]

    def read_all(self, photo: Any, faces: Iterable[int] | None = None) -> dict[int, Subject]:
        """Reads several faces of a photo, or all, by their places in `find`'s list: to be edited together, or one by one.

        Args:
            photo: a photo; a `Subject` is taken as face 0, and of what this method returned those asked for are returned.
            faces: which; all unless given.

        Raises:
            BadImageError: the photo cannot be read.
            NoFaceError: no face was found, or not that many.
        """
        if isinstance(photo, Subject):
            photo = {0: photo}
        if isinstance(photo, Mapping):
            for place in set(faces or ()) - photo.keys():
                raise NoFaceError(f"Face {place} was not read, only {', '.join(map(str, photo))}. Choose among these.")
            return {place: photo[place] for place in (photo if faces is None else sorted(set(faces)))}
        photo = load_photo(photo)
        found = find_faces(photo)
        choose(found)
        chosen = {place: choose(found, place) for place in (range(len(found)) if faces is None else sorted(set(faces)))}
        return {place: dataclasses.replace(self.read(photo, face), photo=photo) for place, face in chosen.items()}

    def edit_many(self, photo: Any, wishes: Wishes, intensity: float = 1.0, *, style: int | None = None,
                  fidelity: Fidelity = "detail") -> GroupResult:  # fmt: skip
        """Gives several faces of a photo other expressions, each its own or all the same.

        Args:
            photo: a photo, a `Subject`, or what `read_all` made of one.
            wishes: an expression or a mix for all, or one each by place in `find`'s list: {0: "happy", 2: ("sad", 0.6)}.
                The other faces stay as they are.
            intensity: 0 (neutral) to 1 (full strength), of wishes that say none.
            style, fidelity: as in `edit`.

        Raises:
            ValueError: no wish, or as in `edit`.
            BadImageError, NoFaceError: as in `read_all`.
        """
        looks = by_face(wishes, intensity)
        codes = {place: self._code(look, strength, style) for place, (look, strength) in looks.items()}
        people = self.read_all(photo, None if None in codes else codes)
        return GroupResult({place: self.decode(one, codes[None if None in codes else place], fidelity=fidelity)
                            for place, one in people.items()})  # fmt: skip

    def animate(self, photo: Any, kind: Kind = "sweep", wishes: Wishes = "happy", intensity: float = 1.0, *,
                start: Wish | None = None, style: int | None = None, seconds: float = 2.0, fps: float = 25,
                face: int | Face | Sequence[int] | Literal["all"] | None = None,
                fidelity: Fidelity = "detail") -> Animation:  # fmt: skip
        """An expression that comes and goes: frames at the photo's size, made when asked for, to save as MP4, GIF or WebP.

        Args:
            photo: a photo, a `Subject`, or what `read_all` made of it.
            kind: "sweep", "tour" or "morph", see `Kind`.
            wishes: the look at the top, as in `edit_many`; a tour shows all expressions in turn.
            intensity: the strength at the top, of wishes that say none.
            start: where a morph sets out, ("sad", 0.5) say; from the face as it is in the photo unless given.
            style, fidelity: as in `edit`.
            seconds: how long one rise and fall takes; a tour has one for each expression.
            fps: frames a second, 1 to 50.
            face: which face, as in `read`, or several, or "all"; unless given, those of `wishes`, or the largest.

        Raises:
            ValueError: an unknown kind, seconds or fps out of range, or as in `edit_many`.
            BadImageError, NoFaceError: as in `read_all`.
        """
        check_kind(kind)
        frames, looks = frames_in(seconds, fps), by_face(wishes, intensity)
        code = partial(self._code, style=style)
        for look, strength in looks.values():
            code(look, strength)  # says what is wrong before anything slow
        if fidelity not in FIDELITIES:
            raise ValueError(f"fidelity must be one of {', '.join(FIDELITIES)}, not {fidelity!r}")
        begin = None if start is None else code(*by_face(start, 1.0)[None])
        people = self._people(photo, face if None in looks else list(looks))
        if fidelity == "tuned":
            people = {place: one if one.decoder else self.tune(one) for place, one in people.items()}
        paths = [path_of(kind, frames, code, looks.get(place) or looks[None], self.model.config.expressions,
                         one.reading.own_code if begin is None else begin) for place, one in people.items()]  # fmt: skip
        return Animation([*people.values()], [*zip(*paths, strict=True)], fps, partial(self.decode, fidelity=fidelity))

    def _people(self, photo: Any, face: int | Face | Sequence[int] | str | None) -> dict[int, Subject]:
        """One face or several, by their places; the place of a face that was given as such counts for nothing."""
        if isinstance(photo, (Subject, Mapping)) or isinstance(face, Sequence):
            if isinstance(face, str) and face != "all":
                raise ValueError(f'face must be a number, several of them, or "all", not {face!r}')
            return self.read_all(photo, None if face in (None, "all") else [face] if isinstance(face, int) else face)
        return {face if isinstance(face, int) else 0: self.read(photo, face)}

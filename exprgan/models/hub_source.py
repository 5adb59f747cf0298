"""Where models and data sets come from: a folder here, or a repository on the Hub by way of huggingface_hub's cache."""

import hashlib
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ..errors import ExprGANError, WeightsError

BUNDLED_WEIGHTS = Path(__file__).parents[2] / "weights"
"""The weights of a checkout. An installed package has none."""
HUB_MODEL = "org/exprgan"
"""The published model."""

RepoType = Literal["model", "dataset", "space"]
WORDS: dict[RepoType, str] = {"model": "model", "dataset": "data set", "space": "Space"}
HUB_ERRORS = (OSError, HTTPError, HFValidationError)
"""What huggingface_hub raises for what goes wrong outside the program; HTTPError is httpx's in its 1.x, httpx2's in 2.x."""
WAITS_S = (1.0, 4.0)
"""How long is waited before the Hub is asked again after an answer of 500 or more, or half of one. Others are final, or
huggingface_hub repeats the question itself."""

_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_LOG_IN = "log in with `hf auth login` or pass a token"
_LATER = "try again in some minutes"
_Result = TypeVar("_Result")


def default_model() -> str:
    """The model to load if none is named: the bundled weights, or `HUB_MODEL` where there are none."""
    return str(BUNDLED_WEIGHTS) if BUNDLED_WEIGHTS.is_dir() else HUB_MODEL


@dataclass(frozen=True)
class HubSource:
    """A folder, or a repository on the Hub.

    Attributes:
        name: a folder, `org/name`, or `org/name@revision`.
        kind: what it is if it is on the Hub.
        revision: branch, tag or commit; the default branch if None and not in the name.
        token, cache_dir, force_download, local_files_only: as in `huggingface_hub.hf_hub_download`.
        error: what is raised; its message says what is wrong and what to do.

    Raises:
        ValueError: an @ without a revision behind it, or two revisions.
    """

    name: str
    kind: RepoType = "model"
    revision: str | None = None
    token: str | bool | None = None
    cache_dir: str | Path | None = None
    force_download: bool = False
    local_files_only: bool = False
    error: type[ExprGANError] = WeightsError

    def __post_init__(self):
        name, at, revision = self.name.partition("@")
        if self.is_folder or not at:
            return
        if not revision or self.revision not in (None, revision):
            raise ValueError(f"{self.name!r} must name one revision behind the @, and revision= no other")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "revision", revision)

    @property
    def is_folder(self) -> bool:
        """Whether it is here already."""
        return Path(self.name).is_dir()

    def file(self, file: str, without: str) -> Path:
        """One file, downloaded if it is not in the cache yet, and checked against its hash where the cache knows it.

        Args:
            file: its name in the folder or repository.
            without: what to say where there is no such file, after "... has no FILE; ".
        """
        if self.is_folder:
            path = Path(self.name) / file
            if not path.is_file():
                raise self.error(f"{self.name} has no {file}; {without}")
            if _leads_out(path):
                raise self.error(f"{file} in {self.name} is a link to a file elsewhere; put the file itself there")
            return path
        try:
            path = self._download(file)
            if damaged(path) and not self.local_files_only:  # once more: a cache that is damaged mends itself
                path = replace(self, force_download=True)._download(file)
        except (*HUB_ERRORS, ValueError, RuntimeError) as error:  # those two of a failed repetition
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                raise self.error(f"{self.name} has no {file}; {without}") from error
            raise self.error(self._explain(error)) from error
        if damaged(path):
            remedy = "is damaged in the local cache; let it be downloaded again, without local_files_only"
            if not self.local_files_only:
                remedy = "arrives damaged (its hash is not the one the Hub names); try again, or from another network"
            raise self.error(f"{file} of {self.name} {remedy}")
        return path

    def folder(self) -> Path:
        """All of it: the folder, or a copy of the repository in the cache."""
        if self.is_folder:
            return Path(self.name)
        options: dict[str, Any] = self._options | {"repo_type": self.kind}
        try:
            return Path(with_retries(lambda: snapshot_download(self.name, **options)))
        except (*HUB_ERRORS, ValueError, RuntimeError) as error:  # those two of a failed repetition
            raise self.error(self._explain(error)) from error

    @property
    def _options(self) -> dict[str, Any]:
        names = ("revision", "token", "cache_dir", "force_download", "local_files_only")
        return {name: getattr(self, name) for name in names}

    def _download(self, file: str) -> Path:
        return Path(with_retries(lambda: hf_hub_download(self.name, file, repo_type=self.kind, **self._options)))

    def _explain(self, error: BaseException) -> str:
        return explain_hub_error(error, self.name, kind=self.kind, revision=self.revision, online=not self.local_files_only)


def _leads_out(path: Path) -> bool:
    """Whether a file of a folder is a link to one outside of it; the Hub's cache has such links, to its own blobs."""
    folder, target = path.parent.resolve(), path.resolve()
    in_cache = folder.parent.name == "snapshots" and target.parent == folder.parents[1] / "blobs"
    return not (in_cache or target.is_relative_to(folder))


def damaged(path: Path) -> bool:
    """Whether a file of the cache is other than its name says: a large one's is its SHA-256, a small one's git's SHA-1.

    A file that is no link into the cache, as where there are no links at all, passes.
    """
    blob = Path(os.readlink(path)) if path.is_symlink() else path
    if blob.parent.name != "blobs" or not _HASH.fullmatch(blob.name):
        return False
    content = hashlib.sha256() if len(blob.name) == 64 else hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            content.update(chunk)
    return content.hexdigest() != blob.name


def with_retries(ask: Callable[[], _Result]) -> _Result:
    """Asks the Hub again, twice, if it answers with 500 or more, or breaks off."""
    for wait in WAITS_S:
        try:
            return ask()
        except HTTPError as error:
            if 0 < status(error) < 500 or type(error).__name__ == "ConnectError":
                raise
            time.sleep(wait)
    return ask()


def status(error: BaseException) -> int:
    """The number of the Hub's answer; 0 if there was none."""
    return getattr(getattr(error, "response", None), "status_code", 0)


def explain_hub_error(error: BaseException, name: str, *, kind: RepoType = "model", revision: str | None = None, online: bool = True,
            verb: str = "read") -> str:  # fmt: skip
    """What is wrong, and what to do, in a sentence.

    Args:
        error: one of `HUB_ERRORS`, or what huggingface_hub made of one.
        name, kind, revision: what was asked for.
        online: whether the Hub was to be asked at all.
        verb: what was to be done with it: "read" or "write".
    """
    thing = WORDS[kind]
    code, below = status(error), error.__cause__
    if isinstance(error, GatedRepoError):
        return f"{name} is gated; ask for access on its page on the Hub, then {_LOG_IN}"
    if code == 401 and not isinstance(error, RepositoryNotFoundError):
        return f"you are not logged in, or the Hub does not accept your token (401); {_LOG_IN} that may {verb} {name}"
    if isinstance(error, RepositoryNotFoundError):
        which = f"is neither a folder here nor a {thing} on the Hub that you may read" if verb == "read" else (
            f"is no {thing} on the Hub that you may write")  # fmt: skip
        return f"{name} {which}; check the name, and if it is right {_LOG_IN}"
    if isinstance(error, RevisionNotFoundError):
        return f"{name} has no revision {revision or 'main'!r}; name one of its branches, tags or commits"
    if isinstance(error, HFValidationError):
        return f"{name} is neither a folder here nor a {thing} on the Hub, where it would be called org/name"
    if code == 403:
        return f"your token may not {verb} {name} (403); make one that may in the settings of your account on the Hub"
    if code in (409, 412):
        return f"{name} was changed on the Hub at the same time ({code}); start the same line again"
    if code == 429:
        return f"the Hub answers that you ask too often (429); {_LATER}; who has logged in may ask more"
    if code:
        return f"the Hub cannot serve {name} now (it answers {code}); {_LATER}"
    if isinstance(error, LocalEntryNotFoundError) and not online:
        return f"{name} is not in the local cache; let it be downloaded once, without local_files_only, or name a folder"
    again = isinstance(error, RuntimeError) and "closed" in str(error)  # 1.x goes on with a client that it closed
    not_here = isinstance(error, (LocalEntryNotFoundError, OfflineModeIsEnabled)) and not status(below)
    if not_here or (again and verb == "read"):  # what is in the cache is not asked for again
        offline = " (HF_HUB_OFFLINE is set)" if isinstance(below or error, OfflineModeIsEnabled) else ""
        return (f"{name} is not in the local cache, and the Hub cannot be reached{offline}; check the connection, "
                "or name a folder")  # fmt: skip
    if below is not None and not isinstance(error, HTTPError):
        return explain_hub_error(below, name, kind=kind, revision=revision, online=online, verb=verb)
    if type(error).__name__ in ("ConnectError", "RuntimeError"):
        return f"the Hub cannot be reached; check the connection and start again to {verb} {name}"
    if isinstance(error, HTTPError) or "Consistency check failed" in str(error):
        return f"the connection to the Hub broke off while {name} was transferred; start again"
    return f"{name} cannot be used ({str(error).splitlines()[0]}); see to that and start again"

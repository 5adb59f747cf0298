"""Where models and data sets are loaded from: a local folder, or a repository on the Hub, by way of a local cache."""

import os
import re
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import errors, hf_hub_download, snapshot_download
from huggingface_hub.errors import HTTPError
from huggingface_hub.utils.sha import git_hash, sha_fileobj

from ..errors import ExprGANError, WeightsError
from ..folder_paths import is_inside

BUNDLED_WEIGHTS = Path(__file__).parents[2] / "weights"  # of a checkout; an installed package has none
HUB_MODEL = "org/exprgan"

RepoType = Literal["model", "dataset", "space"]
HUB_ERRORS = (OSError, HTTPError, errors.HFValidationError)
"""Errors of huggingface_hub with a cause outside the program. HTTPError is httpx's in its 1.x, httpx2's in its 2.x."""
RETRY_WAITS_S = (1.0, 4.0)
"""Waits before a request is repeated. Only responses of 500 or more and broken connections are repeated here; other
responses are final, or huggingface_hub repeats the request itself."""

MAX_WORDS_CHARACTERS = 300
"""Of the Hub's own messages so much is repeated."""

_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_LOG_IN = "log in with `hf auth login` or pass a token"
_LATER = "try again in some minutes"


def default_model() -> str:
    """The model to load if none is named: the bundled weights, or `HUB_MODEL` where there are none."""
    return str(BUNDLED_WEIGHTS) if BUNDLED_WEIGHTS.is_dir() else HUB_MODEL


@dataclass(frozen=True)
class HubSource:
    """A local folder, or a repository on the Hub; `name` is a path, "org/name" or "org/name@revision".

    The other fields are as in `huggingface_hub.hf_hub_download`, apart from `error_class`, the class of the errors raised.
    ValueError: an @ without a revision behind it, two revisions, or a revision of a folder.
    """

    name: str
    repo_type: RepoType = "model"
    revision: str | None = None
    token: str | bool | None = None
    cache_dir: str | Path | None = None
    force_download: bool = False
    local_files_only: bool = False
    error_class: type[ExprGANError] = WeightsError

    def __post_init__(self):
        name, at, revision = self.name.partition("@")
        if at and not self.is_folder:
            if not revision or self.revision not in (None, revision):
                raise ValueError(f"{self.name!r} must name one revision behind the @, and revision= no other")
            object.__setattr__(self, "name", name)
            object.__setattr__(self, "revision", revision)
        if self.revision is not None and self.is_folder:
            raise ValueError(f"{self.name} is a folder here, which has no revision {self.revision!r}; leave that out")

    @property
    def is_folder(self) -> bool:
        """Whether `name` is an existing local folder."""
        return Path(self.name).is_dir()

    def file(self, name: str, hint_if_missing: str) -> Path:
        """The local path of one file, downloaded if it is not cached, and compared with its hash where the cache has it.

        `hint_if_missing` ends the error message "... has no FILE; " where there is no such file.
        """
        missing = f"{self.name} has no {name}; {hint_if_missing}"
        if self.is_folder:
            path = Path(self.name) / name
            if not path.is_file():
                raise self.error_class(missing)
            if not is_inside(path, Path(self.name)):
                raise self.error_class(f"{name} in {self.name} is a link to a file elsewhere; put the file itself there")
            return path
        path = self._fetch(hf_hub_download, name, missing=missing)
        if is_damaged(path):
            remedy = "is damaged in the local cache; let it be downloaded again, without local_files_only"
            if not self.local_files_only:
                remedy = "arrives damaged (its hash is not the one the Hub names); try again, or from another network"
            raise self.error_class(f"{name} of {self.name} {remedy}")
        return path

    def optional_file(self, name: str) -> Path | None:
        """As `file`; None if there is no such file."""
        if self.is_folder and not (Path(self.name) / name).is_file():
            return None
        try:
            return self.file(name, "")
        except self.error_class as error:
            if not is_missing_file(error.__cause__):
                raise
            return None

    def folder(self) -> Path:
        """The folder itself, or a complete copy of the repository in the cache."""
        return Path(self.name) if self.is_folder else self._fetch(snapshot_download)

    def _fetch(self, request: Callable[..., str], *args: str, missing: str = "") -> Path:
        """The path that a function of huggingface_hub returns; `missing` is the error message for a missing file."""
        names = ("repo_type", "revision", "token", "cache_dir", "force_download", "local_files_only")
        options = {name: getattr(self, name) for name in names}
        try:
            path = Path(with_retries(request, self.name, *args, **options))
            if is_damaged(path) and not self.local_files_only:  # downloaded once more, which repairs the cache
                path = Path(with_retries(request, self.name, *args, **options | {"force_download": True}))
            return path
        except (*HUB_ERRORS, ValueError, RuntimeError) as error:  # the last two: of a repetition that failed
            if is_missing_file(error):
                raise self.error_class(missing) from error
            explanation = explain_hub_error(error, self.name, repo_type=self.repo_type, revision=self.revision,
                                            online=not self.local_files_only)  # fmt: skip
            raise self.error_class(explanation) from error


def is_missing_file(error: BaseException | None) -> bool:
    """Whether the Hub answered that a repository has no such file."""
    return isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError)


def is_damaged(path: Path) -> bool:
    """Whether the content of a cached file differs from its name: the SHA-256 of a large file, git's SHA-1 of a small one.

    False for a file that is no link into the cache, as on systems without symbolic links.
    """
    blob = Path(os.readlink(path)) if path.is_symlink() else path
    if blob.parent.name != "blobs" or not _HASH.fullmatch(blob.name):
        return False
    if len(blob.name) == 40:
        return git_hash(path.read_bytes()) != blob.name
    with path.open("rb") as file:
        return sha_fileobj(file).hex() != blob.name


def with_retries(request: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls `request`, and up to twice more if the Hub responds with 500 or more or the connection breaks."""
    for wait in RETRY_WAITS_S:
        try:
            return request(*args, **kwargs)
        except HTTPError as error:
            if 0 < status_code(error) < 500 or type(error).__name__ == "ConnectError":
                raise
            time.sleep(wait)
    return request(*args, **kwargs)


def status_code(error: BaseException | None) -> int:
    """The HTTP status of the Hub's response; 0 if there was none."""
    return getattr(getattr(error, "response", None), "status_code", 0)


def _hub_words(error: BaseException) -> str:
    """The Hub's own message on one line, as a sentence that can be appended; empty if it sent none."""
    words = " ".join("".join(c if c.isprintable() else " " for c in getattr(error, "server_message", None) or "").split())
    words = textwrap.shorten(words, MAX_WORDS_CHARACTERS, placeholder=" ...").removesuffix(".")
    return f'. The Hub says: "{words}"' if words else ""


def explain_hub_error(error: BaseException, name: str, *, repo_type: RepoType = "model", revision: str | None = None,
                      online: bool = True, verb: str = "read") -> str:  # fmt: skip
    """What is wrong and what to do about an error of huggingface_hub, on one line, with the Hub's own words if it sent any.

    `online`: whether requests to the Hub were allowed; `verb`: the attempted operation, "read" or "write".
    """
    type_name = {"model": "model", "dataset": "data set", "space": "Space"}[repo_type]
    status, cause = status_code(error), error.__cause__
    words = _hub_words(error)
    if isinstance(error, errors.GatedRepoError):
        return (f"{name} is gated, and the Hub does not let you {verb} it ({status}): either you are not logged in "
                f"({_LOG_IN}), or access was not granted to your account yet (ask for it on the page of {name} on the "
                f"Hub, or wait for its owner's answer){words}")  # fmt: skip
    if status == 401 and not isinstance(error, errors.RepositoryNotFoundError):
        return f"you are not logged in, or the Hub does not accept your token (401); {_LOG_IN} that may {verb} {name}"
    if isinstance(error, errors.RepositoryNotFoundError):
        problem = f"is no {type_name} on the Hub that you may write"
        if verb == "read":
            problem = f"is neither a folder here nor a {type_name} on the Hub that you may read"
        return f"{name} {problem}; check the name, and if it is right {_LOG_IN}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{name} has no revision {revision or 'main'!r}; name one of its branches, tags or commits"
    if isinstance(error, errors.HFValidationError):
        return f"{name} is neither a folder here nor a {type_name} on the Hub, where it would be called org/name"
    if status == 402:
        return f"the Hub asks for a paid plan to {verb} {name} (402); take one in the settings of your account there{words}"
    if status == 403:
        return (f"your token may not {verb} {name} (403); make one that may in the settings of your account on the Hub"
                f"{words}")  # fmt: skip
    if status == 404:
        return f"the Hub does not find what the request for {name} names (404); check the name of the account{words}"
    if status in (409, 412):
        return f"{name} was changed on the Hub at the same time ({status}); run the command again"
    if status == 429:
        return f"too many requests (429); {_LATER}; more are allowed once you are logged in"
    if status:
        return f"the Hub cannot serve {name} now (it answers {status}); {_LATER}{words}"
    not_cached = isinstance(error, errors.LocalEntryNotFoundError)
    if not_cached and not online:
        return f"{name} is not in the local cache; let it be downloaded once, without local_files_only, or name a folder"
    unreachable = (not_cached or isinstance(error, errors.OfflineModeIsEnabled)) and not status_code(cause)
    # huggingface_hub 1.x repeats a failed request with a client that it has closed; a cached file needs no request
    client_closed = isinstance(error, RuntimeError) and "closed" in str(error)
    if unreachable or (client_closed and verb == "read"):
        offline = " (HF_HUB_OFFLINE is set)" if isinstance(cause or error, errors.OfflineModeIsEnabled) else ""
        return (f"{name} is not in the local cache, and the Hub cannot be reached{offline}; check the connection, "
                "or name a folder")  # fmt: skip
    if cause is not None and not isinstance(error, HTTPError):
        return explain_hub_error(cause, name, repo_type=repo_type, revision=revision, online=online, verb=verb)
    if type(error).__name__ in ("ConnectError", "RuntimeError"):
        return f"the Hub cannot be reached; check the connection and start again to {verb} {name}"
    if isinstance(error, HTTPError) or "Consistency check failed" in str(error):
        return f"the connection to the Hub broke off while {name} was transferred; start again"
    return f"{name} cannot be used ({str(error).splitlines()[0]}); fix this and try again"

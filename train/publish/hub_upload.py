"""To the Hub and from it: one commit of what changed, and the data set behind a name."""

import fnmatch
import hashlib
import re
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_download
from huggingface_hub.errors import RepositoryNotFoundError

from exprgan.models.hub_source import HUB_ERRORS, RepoType, HubSource, explain_hub_error, with_retries

from ..core.config_flags import option
from ..core.files import RunError
from ..data.metadata import DataError
from .model_card import CARD_NAME, was_edited

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


@dataclass(frozen=True)
class HubConfig:
    """Where on the Hub something goes, and how.

    Raises:
        ValueError: settings that contradict each other; the message names them.
    """

    repo: str = option("", "org/name of the repository on the Hub, made if it is not there yet")
    private: bool = option(False, "make it so that only you can see it")
    create_pr: bool = option(False, "open a pull request instead of committing to main")
    revision: str = option("", "tag to put on the commit, such as v1.0; people load it as org/name@v1.0")
    card: Literal["refuse", "keep", "replace"] = option("refuse", "what to do if the card was edited on the Hub")
    dry_run: bool = option(False, "print what would be sent; write nothing, send nothing")

    def __post_init__(self):
        if not self.repo and (self.private or self.create_pr or self.revision):
            raise ValueError("private, create_pr and revision are about the Hub: name a repository in --repo")
        if self.create_pr and self.revision:
            raise ValueError("a pull request has no tag: leave out --create-pr or --revision")


NOWHERE = HubConfig()


def data_folder(name: str) -> str:
    """The folder behind what a verb is given as DATA: itself, or the Hub's data set `org/name` or `org/name@revision`.

    Raises:
        DataError: there is no such data set, or it cannot be reached.
    """
    if Path(name).exists() or not REPOSITORY.fullmatch(name):
        return name
    return str(HubSource(name, kind="dataset", error=DataError).folder())


def push(files: Mapping[str, Path | bytes], config: HubConfig, *, kind: RepoType, title: str, stale: Iterable[str]) -> None:
    """Sends what differs from the Hub, in one commit; without a difference there is none.

    Args:
        files: path in the repository -> a file, or its content; README.md, the card, among them.
        config: the repository.
        kind: what it holds.
        title: of the commit.
        stale: patterns of files that are deleted there if they are not among `files`; others are left alone.

    Raises:
        RunError: the Hub cannot be reached or refuses; its card was edited, or the tag is taken. Nothing was changed.
    """
    api, repo = HfApi(), config.repo
    with _explained(repo, kind):
        there = _repository(api, repo, kind)
        if there and config.private and not there.private:
            raise RunError(f"{repo} is on the Hub already, for everyone to see; change that in its settings, "
                           "or leave out --private")  # fmt: skip
        held = {one.rfilename: one.lfs.sha256 if one.lfs else one.blob_id for one in there.siblings} if there else {}
        state = {path: _state(content, held.get(path)) for path, content in files.items()}
        if config.card != "replace" and state[CARD_NAME] == "changed" and _card_was_edited(repo, kind, there.sha):
            if config.card == "refuse":
                raise RunError(f"the card of {repo} was edited on the Hub: bring the edits into the template that it is "
                               "made of and start again with --card replace, or leave it alone by --card keep")  # fmt: skip
            state[CARD_NAME] = "kept as edited"
        gone = [path for path in held if path not in files and any(fnmatch.fnmatch(path, one) for one in stale)]
        changed = [path for path, one in state.items() if one in ("new", "changed")]
        print(f"{repo}: {'exists' if there else 'will be made'}, {len(changed)} of {len(files)} files differ")
        for path in [*(changed if len(files) > 20 else state), *gone]:  # a data set's are not all of interest
            print(f"  {state.get(path, 'deleted'):<8} {path}{_size_of(files.get(path))}")
        if config.dry_run:
            return
        taken = _tags(api, repo, kind) if there and config.revision else {}
        if config.revision in taken and (changed or gone or taken[config.revision] != there.sha):
            raise RunError(f"{repo} has a tag {config.revision!r} already, on another commit; choose another --revision")
        if not there:
            with_retries(lambda: api.create_repo(repo, private=config.private, repo_type=kind, exist_ok=True))
        if changed or gone:
            additions = [CommitOperationAdd(path, files[path]) for path in changed]
            deletions = [CommitOperationDelete(path) for path in gone]
            operations, parent = [*additions, *deletions], there.sha if there else None
            commit = with_retries(lambda: api.create_commit(repo, operations, commit_message=title, repo_type=kind,
                                                         create_pr=config.create_pr, parent_commit=parent))  # fmt: skip
            print(commit.pr_url or commit.commit_url)
        else:
            print(f"{repo} holds the same already; nothing was sent")
        if config.revision and config.revision not in taken:
            with_retries(lambda: api.create_tag(repo, tag=config.revision, repo_type=kind))
            print(f"tagged {config.revision}")


@contextmanager
def _explained(repo: str, kind: RepoType):
    """What goes wrong on the way, in a sentence."""
    try:
        yield
    except RuntimeError as error:  # around what broke an upload
        raise RunError(explain_hub_error(error.__cause__ or error, repo, kind=kind, verb="write")) from error
    except HUB_ERRORS as error:
        raise RunError(explain_hub_error(error, repo, kind=kind, verb="write")) from error


def _repository(api: HfApi, repo: str, kind: RepoType) -> Any:
    """What the Hub says of it, with the hashes of its files; None if it is not there (or not to be seen)."""
    try:
        return with_retries(lambda: api.repo_info(repo, repo_type=kind, files_metadata=True))
    except RepositoryNotFoundError:
        return None


def _tags(api: HfApi, repo: str, kind: RepoType) -> dict[str, str]:
    """Tag -> commit."""
    return {tag.name: tag.target_commit for tag in with_retries(lambda: api.list_repo_refs(repo, repo_type=kind)).tags}


def _card_was_edited(repo: str, kind: RepoType, commit: str) -> bool:
    path = with_retries(lambda: hf_hub_download(repo, CARD_NAME, repo_type=kind, revision=commit))
    return was_edited(Path(path).read_text(encoding="utf-8"))


def _state(content: Path | bytes, held: str | None) -> str:
    """Against the hash that the Hub holds: git's SHA-1 of a small file, the SHA-256 of a large one."""
    if held is None:
        return "new"
    data = content if isinstance(content, bytes) else content.read_bytes()
    sha1 = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    return "same" if held in (sha1, hashlib.sha256(data).hexdigest()) else "changed"


def _size_of(content: Path | bytes | None) -> str:
    if content is None:
        return ""
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    return f"  {size / 1e6:.1f} MB" if size > 1e5 else f"  {size:,} B"

"""Uploads files to the Hub in one commit of what changed, and downloads data sets by name."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_download
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.utils.sha import git_hash

from exprgan.models.hub_source import HUB_ERRORS, HubSource, RepoType, explain_hub_error, with_retries
from exprgan.models.model_card import CARD_NAME, was_edited

from ..core.config_flags import option
from ..core.train_errors import DataError, RunError

REPO_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
"""org/name or org/name@revision."""
SHA256_DIGITS = 64
MAX_LISTED = 20
"""Of uploads of more files only those that change are listed."""


@dataclass(frozen=True)
class HubConfig:
    """The repository on the Hub to upload to, and how.

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


NO_UPLOAD = HubConfig()


def data_folder(name: str) -> str:
    """Returns the local folder of a data set: `name` itself, or a download of the Hub's `org/name` or `org/name@revision`.

    Raises:
        DataError: there is no such data set, or it cannot be reached.
    """
    if Path(name).exists() or not REPO_NAME.fullmatch(name):
        return name
    return str(HubSource(name, repo_type="dataset", error_class=DataError).folder())


def push(files: Mapping[str, Path | bytes], config: HubConfig, *, repo_type: RepoType, title: str,
         stale: Iterable[str]) -> None:  # fmt: skip
    """Uploads the files that differ from those on the Hub, in one commit; makes no commit if there are none.

    `HfApi.upload_folder` is not enough: it cannot tell what would change, nor keep a card that was edited on the Hub.

    Args:
        files: path in the repository -> file or content, with README.md, the card, among them.
        config: the repository.
        repo_type: its type.
        title: of the commit.
        stale: patterns (`fnmatch`) of files to delete there if they are not in `files`; other files are left alone.

    Raises:
        RunError: the Hub cannot be reached or refuses; its card was edited, or the tag is taken. Nothing was changed.
    """
    api, repo = HfApi(), config.repo
    with hub_errors_explained(repo, repo_type):
        try:
            info = with_retries(api.repo_info, repo, repo_type=repo_type, files_metadata=True)
        except RepositoryNotFoundError:
            info = None
        if info and config.private and not info.private:
            raise RunError(f"{repo} is on the Hub already, for everyone to see; change that in its settings, "
                           "or leave out --private")  # fmt: skip
        siblings = info.siblings if info else ()
        hashes = {file.rfilename: file.lfs.sha256 if file.lfs else file.blob_id for file in siblings}
        additions = {path: CommitOperationAdd(path, content) for path, content in files.items()}
        states = {path: _compare(addition, hashes.get(path)) for path, addition in additions.items()}
        if config.card != "replace" and states[CARD_NAME] == "changed" and _card_was_edited(repo, repo_type, info.sha):
            if config.card == "refuse":
                raise RunError(f"the card of {repo} was edited on the Hub: bring the edits into the template that it is "
                               "made of and start again with --card replace, or leave it alone by --card keep")  # fmt: skip
            states[CARD_NAME] = "kept as edited"
        changed = [path for path, state in states.items() if state in ("new", "changed")]
        deleted = [path for path in hashes if path not in files and any(fnmatch(path, pattern) for pattern in stale)]
        print(f"{repo}: {'exists' if info else 'will be made'}, {len(changed)} of {len(files)} files differ")
        for path in changed if len(files) > MAX_LISTED else states:
            size = additions[path].upload_info.size
            print(f"  {states[path]:<8} {path}  " + (f"{size / 1e6:.1f} MB" if size > 1e5 else f"{size:,} B"))
        for path in deleted:
            print(f"  {'deleted':<8} {path}")
        if config.dry_run:
            return
        refs = with_retries(api.list_repo_refs, repo, repo_type=repo_type) if info and config.revision else None
        tags = {tag.name: tag.target_commit for tag in refs.tags} if refs else {}
        if config.revision in tags and (changed or deleted or tags[config.revision] != info.sha):
            raise RunError(f"{repo} has a tag {config.revision!r} already, on another commit; choose another --revision")
        if not info:
            with_retries(api.create_repo, repo, private=config.private, repo_type=repo_type, exist_ok=True)
        if changed or deleted:
            operations = [*(additions[path] for path in changed), *map(CommitOperationDelete, deleted)]
            commit = with_retries(api.create_commit, repo, operations, commit_message=title, repo_type=repo_type,
                                  create_pr=config.create_pr, parent_commit=info.sha if info else None)  # fmt: skip
            print(commit.pr_url or commit.commit_url)
            tagged = commit.oid
        else:
            tagged = info.sha if info else None
            print(f"{repo} holds the same already; nothing was sent")
        if config.revision and config.revision not in tags:
            with_retries(api.create_tag, repo, tag=config.revision, revision=tagged, repo_type=repo_type)
            print(f"tagged {config.revision}")


@contextmanager
def hub_errors_explained(repo: str, repo_type: RepoType) -> Iterator[None]:
    """Turns errors of huggingface_hub while writing to a repository into a RunError of one sentence."""
    try:
        yield
    except (RuntimeError, *HUB_ERRORS) as error:
        cause = error.__cause__ if isinstance(error, RuntimeError) else None  # it wraps what stopped an upload
        raise RunError(explain_hub_error(cause or error, repo, repo_type=repo_type, verb="write")) from error


def _card_was_edited(repo: str, repo_type: RepoType, commit: str) -> bool:
    path = with_retries(hf_hub_download, repo, CARD_NAME, repo_type=repo_type, revision=commit)
    return was_edited(Path(path).read_text(encoding="utf-8"))


def _compare(addition: CommitOperationAdd, remote_hash: str | None) -> Literal["new", "same", "changed"]:
    """Compares with the hash that the Hub has: git's SHA-1 of a small file, the SHA-256 of a large one."""
    if remote_hash is None:
        return "new"
    if remote_hash == addition.upload_info.sha256.hex():
        return "same"
    if len(remote_hash) == SHA256_DIGITS:
        return "changed"
    with addition.as_file() as file:
        return "same" if remote_hash == git_hash(file.read()) else "changed"

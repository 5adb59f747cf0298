"""Deploys the app to the Hub as a Space, with the files that it needs and the model that it is to serve."""

import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi

from exprgan.models.hub_source import HUB_MODEL, with_retries

from ..core.config_flags import option
from .hub_upload import REPO_NAME, HubConfig, hub_errors_explained, push

ROOT = Path(__file__).parents[2]
APP_FILES = ("README.md", "LICENSE", "CREDITS.md", "requirements.txt", "app.py", "docs/*.jpg", "docs/figures/*.png",
             "exprgan/**/*", "weights/*")  # fmt: skip
"""Patterns of what a Space needs: the app, the library, the bundled weights, and the pictures that the README shows."""
STALE_FILES = (*APP_FILES, "exprgan/*", "app_*", "app.css", "examples/*")
"""`fnmatch` patterns, whose * matches "/" too. The last three: files of the app before it was moved into exprgan."""
MODEL_VARIABLE = "EXPRGAN_MODEL"


@dataclass(frozen=True)
class SpaceConfig:
    """Settings of a deployment.

    Raises:
        ValueError: `model` is no name of a repository.
    """

    model: str = option("", "org/name or org/name@revision of the model it serves; without, the bundled weights")
    private: bool = option(False, "make it so that only you can see it")
    dry_run: bool = option(False, "print what would be sent; send nothing")

    def __post_init__(self):
        if self.model and not REPO_NAME.fullmatch(self.model):
            raise ValueError(f"model must be org/name or org/name@revision on the Hub, not {self.model!r}")


def deploy_space(space: str, config: SpaceConfig = SpaceConfig(), root: Path = ROOT) -> None:
    """Creates the Space if it does not exist, sets the model it serves, and uploads in one commit the files that differ.

    Args:
        space: org/name on the Hub.
        config: the settings.
        root: a checkout.

    Raises:
        ValueError: `space` is no such name.
        RunError: the Hub cannot be reached or refuses.
    """
    if not REPO_NAME.fullmatch(space) or "@" in space:
        raise ValueError(f"a Space is called org/name, not {space!r}")
    paths = (path for pattern in APP_FILES for path in sorted(root.glob(pattern)))
    files: dict[str, Path | bytes] = {
        path.relative_to(root).as_posix(): path for path in paths if path.is_file() and "__pycache__" not in path.parts
    }
    files["README.md"] = readme_for((root / "README.md").read_text(encoding="utf-8"), space, config.model).encode()
    if config.dry_run:
        print(f"{MODEL_VARIABLE}={config.model}" if config.model else "the bundled weights are served")
    else:
        _create_space(space, config)
    push(files, HubConfig(repo=space, private=config.private, card="replace", dry_run=config.dry_run), repo_type="space",
         title="Deploy the app", stale=STALE_FILES)  # fmt: skip


def readme_for(readme: str, space: str, model: str) -> str:
    """Rewrites the README's front matter, where both Space and model are `HUB_MODEL`, for this Space and its model.

    Args:
        readme: the text of README.md.
        space: org/name.
        model: org/name or org/name@revision; empty: the front matter names no model to load at the start.
    """
    head, front, rest = readme.split("---\n", 2)
    front = front.replace(f"/spaces/{HUB_MODEL}/", f"/spaces/{space}/")
    if model:
        name, _, revision = model.partition("@")
        front = front.replace(f"- {HUB_MODEL}\n", f"- {name}\n")
        front = re.sub(rf"^- {HUB_MODEL} (\S+)$", rf"- {name} \1 {revision}".rstrip(), front, flags=re.M)
    else:
        front = re.sub(r"^(models|preload_from_hub):\n(- .*\n)+", "", front, flags=re.M)
    return "---\n".join((head, front, rest))


def _create_space(space: str, config: SpaceConfig) -> None:
    """Creates the Space and sets its variable; done before the upload, so that the first build serves the right model."""
    api = HfApi()
    with hub_errors_explained(space, "space"):
        with_retries(api.create_repo, space, repo_type="space", space_sdk="gradio", private=config.private, exist_ok=True)
        if config.model:
            with_retries(api.add_space_variable, space, MODEL_VARIABLE, config.model)
        elif MODEL_VARIABLE in with_retries(api.get_space_variables, space):
            with_retries(api.delete_space_variable, space, MODEL_VARIABLE)

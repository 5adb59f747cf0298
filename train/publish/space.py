"""The app to the Hub: a Space with the files that it needs, told which model to serve."""

import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi

from exprgan.models.hub_source import HUB_ERRORS, explain_hub_error, with_retries

from ..core.config_flags import option
from ..core.files import RunError
from .hub_upload import REPOSITORY, HubConfig, push

ROOT = Path(__file__).parents[2]
SENT = ("README.md", "LICENSE", "CREDITS.md", "requirements.txt", "app.py", "docs/*.jpg", "docs/figures/*.png",
        "exprgan/**/*", "weights/*")  # fmt: skip
"""All that a Space gets: the app, the library, the bundled weights, and the pictures that the README shows."""
NAMED = "org/exprgan"
"""How the README calls both the Space and the model."""
VARIABLE = "EXPRGAN_MODEL"


@dataclass(frozen=True)
class SpaceConfig:
    """What is deployed, and how.

    Raises:
        ValueError: the model is no repository.
    """

    model: str = option("", "org/name or org/name@revision of the model it serves; without, the bundled weights")
    private: bool = option(False, "make it so that only you can see it")
    dry_run: bool = option(False, "print what would be sent; send nothing")

    def __post_init__(self):
        if self.model and not REPOSITORY.fullmatch(self.model):
            raise ValueError(f"model must be org/name or org/name@revision on the Hub, not {self.model!r}")


def deploy_space(space: str, config: SpaceConfig = SpaceConfig(), root: Path = ROOT) -> None:
    """Makes the Space if it is not there, says which model it serves, and sends in one commit what differs.

    Args:
        space: org/name on the Hub.
        config: what is deployed, and how.
        root: a checkout.

    Raises:
        ValueError: `space` is no such name.
        RunError: the Hub cannot be reached or refuses.
    """
    if not REPOSITORY.fullmatch(space) or "@" in space:
        raise ValueError(f"a Space is called org/name, not {space!r}")
    files: dict[str, Path | bytes] = {
        path.relative_to(root).as_posix(): path
        for one in SENT
        for path in sorted(root.glob(one))
        if path.is_file() and path.suffix != ".pyc"
    }
    files["README.md"] = readme_for((root / "README.md").read_text(encoding="utf-8"), space, config.model).encode()
    if config.dry_run:
        print(f"{VARIABLE}={config.model}" if config.model else "the bundled weights are served")
    else:
        _prepare(space, config)
    push(files, HubConfig(repo=space, private=config.private, card="replace", dry_run=config.dry_run), kind="space",
         title="Deploy the app", stale=SENT)  # fmt: skip


def readme_for(text: str, space: str, model: str) -> str:
    """The README with a front matter that names this Space and its model; without a model, nothing is loaded beforehand."""
    head, front, rest = text.split("---\n", 2)
    front = front.replace(f"/spaces/{NAMED}/", f"/spaces/{space}/")
    if model:
        name, _, revision = model.partition("@")
        front = front.replace(f"- {NAMED}\n", f"- {name}\n")
        front = re.sub(rf"^- {NAMED} (\S+)$", rf"- {name} \1 {revision}".rstrip(), front, flags=re.M)
    else:
        front = re.sub(r"^(models|preload_from_hub):\n(- .*\n)+", "", front, flags=re.M)
    return "---\n".join((head, front, rest))


def _prepare(space: str, config: SpaceConfig) -> None:
    """The Space itself and its variable, before the files: what is built first serves the right model already."""
    api = HfApi()
    try:
        with_retries(
            lambda: api.create_repo(space, repo_type="space", space_sdk="gradio", private=config.private, exist_ok=True)
        )
        if config.model:
            with_retries(lambda: api.add_space_variable(space, VARIABLE, config.model))
        elif any(variable == VARIABLE for variable in with_retries(lambda: api.get_space_variables(space))):
            with_retries(lambda: api.delete_space_variable(space, VARIABLE))
    except HUB_ERRORS as error:
        raise RunError(explain_hub_error(error, space, verb="write").replace("no model", "no Space")) from error

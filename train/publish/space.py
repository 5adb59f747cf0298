"""Deploys the app to the Hub as a Space, with the files that it needs, the model that it is to serve, and its hardware."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, SpaceHardware
from huggingface_hub.errors import RepositoryNotFoundError

from exprgan.models.hub_source import HUB_MODEL, status_code, with_retries

from ..core.config_flags import option
from ..core.train_errors import RunError
from .hub_upload import REPO_NAME, HubConfig, hub_errors_explained, push

ROOT = Path(__file__).parents[2]
APP_FILES = ("README.md", "LICENSE", "CREDITS.md", "pyproject.toml", "requirements.txt", "app.py", "docs/*.jpg",
             "docs/figures/*.png", "exprgan/**/*", "weights/*")  # fmt: skip
"""Patterns of what a Space needs: the app, the library, the bundled weights, and the pictures that the README shows; and
pyproject.toml, by which pip installs the library from the Space."""
STALE_FILES = (*APP_FILES, "exprgan/*", "app_*", "app.css", "examples/*")
"""`fnmatch` patterns, whose * matches "/" too. The last three: files of the app before it was moved into exprgan."""
MODEL_VARIABLE = "EXPRGAN_MODEL"


ZERO_GPU = "zero-a10g"
"""The hardware that the Hub shares out among Spaces, without charge; other kinds need a paid plan."""
ZERO_GPU_REQUIREMENTS = {"torch": "torch==2.11.0", "spaces": "spaces>=0.40"}
"""Package -> line of requirements.txt there: the newest torch that ZeroGPU runs, and the package that registers the app."""


@dataclass(frozen=True)
class SpaceConfig:
    """Settings of a deployment.

    Raises:
        ValueError: `model` is no name of a repository, or `hardware` none of the Hub's.
    """

    model: str = option("", "org/name or org/name@revision of the model it serves; without, the bundled weights")
    hardware: str = option("", f"of the Hub: cpu-basic and others, which need a paid plan, or {ZERO_GPU} (ZeroGPU), which "
                           "does not; without, what the Space has already, and cpu-basic for a new one")  # fmt: skip
    private: bool = option(False, "make it so that only you can see it")
    dry_run: bool = option(False, "print what would be sent; send nothing")

    def __post_init__(self):
        if self.model and not REPO_NAME.fullmatch(self.model):
            raise ValueError(f"model must be org/name or org/name@revision on the Hub, not {self.model!r}")
        kinds = [kind.value for kind in SpaceHardware]
        if self.hardware and self.hardware not in kinds:
            raise ValueError(f"hardware must be one of {', '.join(kinds)}, not {self.hardware!r}")


def deploy_space(space: str, config: SpaceConfig = SpaceConfig(), root: Path = ROOT) -> None:
    """Creates the Space if it does not exist, uploads in one commit the files that differ, then sets model and hardware.

    In this order a Space never has the settings of an app that is not there. Whatever is refused, the same command goes on
    from there.

    Args:
        space: org/name on the Hub.
        config: the settings.
        root: a checkout.

    Raises:
        ValueError: `space` is no such name.
        RunError: the Hub cannot be reached or refuses; the message names the state of the Space.
    """
    if not REPO_NAME.fullmatch(space) or "@" in space:
        raise ValueError(f"a Space is called org/name, not {space!r}")
    api = HfApi()
    with _explained(space, config, "Nothing was changed"):
        hardware = _hardware(api, space)
        if hardware is None and not config.dry_run:
            with_retries(api.create_repo, space, repo_type="space", space_sdk="gradio", private=config.private,
                         space_hardware=config.hardware or None, exist_ok=True)  # fmt: skip
    files = space_files(space, config.model, config.hardware or hardware or "", root)
    if config.dry_run:
        print(f"{MODEL_VARIABLE}={config.model}" if config.model else "the bundled weights are served")
        print(f"hardware: {config.hardware or hardware or 'cpu-basic'}")
    state = f"{space} was made, without the app" if hardware is None else f"{space} is as it was before"
    with _explained(space, config, f"{state}; start the same command again to send it"):
        push(files, HubConfig(repo=space, private=config.private, card="replace", dry_run=config.dry_run),
             repo_type="space", title="Deploy the app", stale=STALE_FILES)  # fmt: skip
    if config.dry_run:
        return
    variable = f"{MODEL_VARIABLE} is not yet {config.model or 'deleted'}"
    state = f"{space} has the app's files, but its variable {variable}"
    with _explained(space, config, f"{state}; start the same command again, or change it in the settings of the Space"):
        if config.model:
            with_retries(api.add_space_variable, space, MODEL_VARIABLE, config.model)
        elif MODEL_VARIABLE in with_retries(api.get_space_variables, space):
            with_retries(api.delete_space_variable, space, MODEL_VARIABLE)
    if config.hardware and hardware not in (None, config.hardware):
        state = f"{space} has the app's files and its model, and still the hardware {hardware or 'cpu-basic'}"
        with _explained(space, config, f"{state}; start the same command again, or choose it in the settings of the Space"):
            with_retries(api.request_space_hardware, space, config.hardware)


def space_files(space: str, model: str, hardware: str, root: Path = ROOT) -> dict[str, Path | bytes]:
    """The files of a Space: path there -> file or content. README.md and requirements.txt are rewritten for it.

    Args:
        space: org/name.
        model: as in `readme_for`.
        hardware: of the Hub; empty: cpu-basic.
        root: a checkout.
    """
    paths = (path for pattern in APP_FILES for path in sorted(root.glob(pattern)))
    files: dict[str, Path | bytes] = {
        path.relative_to(root).as_posix(): path for path in paths if path.is_file() and "__pycache__" not in path.parts
    }
    readme, requirements = ((root / name).read_text(encoding="utf-8") for name in ("README.md", "requirements.txt"))
    files["README.md"] = readme_for(readme, space, model, hardware).encode()
    if hardware == ZERO_GPU:
        files["requirements.txt"] = zero_gpu_requirements(requirements).encode()
    return files


def readme_for(readme: str, space: str, model: str, hardware: str = "") -> str:
    """Rewrites the README's front matter, where both Space and model are `HUB_MODEL`, for this Space and its model.

    Args:
        readme: the text of README.md.
        space: org/name.
        model: org/name or org/name@revision; empty: the front matter names no model to load at the start.
        hardware: of the Hub; empty: as the front matter has it.
    """
    head, front, rest = readme.split("---\n", 2)
    front = front.replace(f"/spaces/{HUB_MODEL}/", f"/spaces/{space}/")
    if hardware:
        front = re.sub(r"^(suggested_hardware: ).*$", rf"\g<1>{hardware}", front, flags=re.M)
    if model:
        name, _, revision = model.partition("@")
        front = front.replace(f"- {HUB_MODEL}\n", f"- {name}\n")
        front = re.sub(rf"^- {HUB_MODEL} (\S+)$", rf"- {name} \1 {revision}".rstrip(), front, flags=re.M)
    else:
        front = re.sub(r"^(models|preload_from_hub):\n(- .*\n)+", "", front, flags=re.M)
    return "---\n".join((head, front, rest))


def zero_gpu_requirements(requirements: str) -> str:
    """requirements.txt with `ZERO_GPU_REQUIREMENTS` in place of, or after, its own lines for these packages."""
    lines = [line for line in requirements.splitlines() if re.split(r"\W", line)[0] not in ZERO_GPU_REQUIREMENTS]
    return "\n".join([*ZERO_GPU_REQUIREMENTS.values(), *lines, ""])


def _hardware(api: HfApi, space: str) -> str | None:
    """The hardware that an existing Space runs on or is to run on; empty if it has none, None for no such Space."""
    try:
        runtime = with_retries(api.get_space_runtime, space)
    except RepositoryNotFoundError:
        return None
    return runtime.requested_hardware or runtime.hardware or ""


@contextmanager
def _explained(space: str, config: SpaceConfig, state: str) -> Iterator[None]:
    """Turns what the Hub refuses into a RunError that ends with what exists by now, and how to go on."""
    try:
        with hub_errors_explained(space, "space"):
            yield
    except RunError as error:
        remedy = ""
        if status_code(error.__cause__) == 402:
            remedy = f"Free accounts may have Spaces on ZeroGPU: add --hardware {ZERO_GPU}. "
            if config.hardware == ZERO_GPU:
                remedy = "Free accounts may have two Spaces on ZeroGPU: delete one, or take a paid plan. "
        raise RunError(f"{str(error).rstrip('.')}. {remedy}{state}") from error

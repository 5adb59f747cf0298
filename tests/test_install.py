"""The wheel: it contains all files, and works without a checkout."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    source = out / "source"
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, done.stdout.split("\0")):  # copied, as a build writes into its source folder
        if (ROOT / name).is_file() and name.split("/")[0] in ("exprgan", "train", "pyproject.toml", "README.md", "LICENSE",
                                                             "CREDITS.md"):  # fmt: skip
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    building = [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(source)]
    built = subprocess.run(building, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The wheel, installed without its dependencies, which are taken from this environment."""
    site = tmp_path_factory.mktemp("site")
    subprocess.run([*PIP, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    return site


def run(site, *arguments, cwd):
    """Runs Python where our packages are found in the installed wheel only."""
    environment = os.environ | {"PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cwd / "cache")}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_the_wheel_contains_code_templates_types_and_the_page(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    templates = {"exprgan/models/templates/model_card.md", "train/publish/templates/data_card.md"}
    page = ("style.css", "static/page.js", "static/viewer.html", "about.md", "examples/faces.json", "examples/V0018.jpg")
    ui = {f"exprgan/ui/{name}" for name in page}
    weights = "exprgan/editing/mouth_visibility.safetensors"
    assert names >= {"exprgan/py.typed", "exprgan/models/exprgan.py", weights, *templates, *ui}
    assert any(name.startswith("train/paper/templates/") for name in names)
    assert {name.split("/")[0] for name in names} == {"exprgan", "train", f"exprgan-{wheel.name.split('-')[1]}.dist-info"}


@pytest.mark.slow
def test_the_installed_wheel_works_without_a_checkout(installed, tmp_path, tiny_model):
    tiny_model.save_pretrained(tmp_path / "model")
    location = run(installed, "-c", "import exprgan; print(exprgan.__file__)", cwd=tmp_path)
    assert Path(location.stdout.strip()).is_relative_to(installed), location.stderr
    info = run(installed, "-m", "exprgan", "info", "--model", "model", cwd=tmp_path)
    assert "32 px, 6 expressions" in info.stdout, info.stderr
    page = "from exprgan.ui.page import *; print(len(build_app(load_editor('model')[0]).blocks) > 50)"
    assert "True" in run(installed, "-c", page, cwd=tmp_path).stdout
    card = run(installed, "-m", "train", "publish", "model", cwd=tmp_path)
    assert (tmp_path / "model" / "README.md").is_file(), card.stderr


@pytest.mark.slow
def test_without_bundled_weights_the_model_comes_from_the_hub_with_a_note(installed, tmp_path):
    done = run(installed, "-m", "exprgan", "info", cwd=tmp_path)
    note, error = done.stderr.splitlines()
    assert note == ("no weights came with this installation; taking org/exprgan from the Hub, once (--model names others)")
    assert error.startswith("error: org/exprgan is not in the local cache, and the Hub cannot be reached (HF_HUB_OFFLINE")


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_the_lock_file_has_one_version_with_hashes_of_every_requirement(python):
    """And names no address that packages come from."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert not re.search(r"^\s*--(?!hash=sha256:)|://|@", lock, re.M)
    entries = re.split(r"^(?=\w)", re.sub(r"^\s*#.*\n", "", lock, flags=re.M), flags=re.M)[1:]
    assert all(" --hash=sha256:" in entry for entry in entries)
    environment = {"python_version": python, "python_full_version": f"{python}.1", "sys_platform": "linux",
                   "platform_system": "Linux", "platform_machine": "x86_64"}  # fmt: skip
    locked = [Requirement(entry.partition("\\")[0].strip()) for entry in entries]
    locked = [one for one in locked if not one.marker or one.marker.evaluate(environment)]
    versions = {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in locked}
    assert len(versions) == len(locked) > 40
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        wanted = Requirement(line.partition("#")[0].strip())
        assert wanted.specifier.contains(versions[canonicalize_name(wanted.name)]), line

"""pip: the wheel holds all that is needed, and works where there is no checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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
    for name in filter(None, done.stdout.split("\0")):  # a build writes into the folder it builds
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
    """The wheel alone, unpacked as pip does it; what it needs is taken from this environment."""
    site = tmp_path_factory.mktemp("site")
    subprocess.run([*PIP, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    return site


def run(site, *arguments, cwd):
    """python in an environment where only the installed wheel is ours."""
    environment = os.environ | {"PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cwd / "cache")}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_the_wheel_holds_the_library_the_trainer_its_templates_and_types(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert names >= {"exprgan/py.typed", "exprgan/models/exprgan.py", "train/model_card.md", "train/data_card.md"}
    assert any(name.startswith("train/paper/templates/") for name in names)
    assert {name.split("/")[0] for name in names} == {"exprgan", "train", f"exprgan-{wheel.name.split('-')[1]}.dist-info"}


@pytest.mark.slow
def test_what_pip_installed_works_by_itself(installed, tmp_path, tiny_model):
    tiny_model.save_pretrained(tmp_path / "model")
    where = run(installed, "-c", "import exprgan; print(exprgan.__file__)", cwd=tmp_path)
    assert Path(where.stdout.strip()).is_relative_to(installed), where.stderr
    told = run(installed, "-m", "exprgan", "info", "--model", "model", cwd=tmp_path)
    assert "32 px, 6 expressions" in told.stdout, told.stderr
    card = run(installed, "-m", "train", "publish", "model", cwd=tmp_path)
    assert (tmp_path / "model" / "README.md").is_file(), card.stderr


@pytest.mark.slow
def test_without_bundled_weights_it_goes_to_the_hub_and_says_so(installed, tmp_path):
    done = run(installed, "-m", "exprgan", "info", cwd=tmp_path)
    note, error = done.stderr.splitlines()
    assert note == ("no weights came with this installation; taking org/exprgan from the Hub, once (--model names others)")
    assert error.startswith("error: org/exprgan is not in the local cache, and the Hub cannot be reached (HF_HUB_OFFLINE")

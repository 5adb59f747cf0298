"""Who may import whom: downwards only, heavy packages only in their place; and what holds for every file."""

import ast
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10; pytest brings it there
    import tomli as tomllib

ROOT = Path(__file__).parent.parent

# A module imports from the floors below its own in the same tower, no other. A new module needs a place.
FLOORS = {
    "photos": [
        {
            "exprgan.errors",
            "exprgan.expressions",
            "exprgan.models.warping",
            "exprgan.models.blocks",
            "exprgan.models.teeth_texture",
            "exprgan.models.latent_prior",
        },
        {"exprgan.photo.decode_limits", "exprgan.atomic_write", "exprgan.models.mouth_network"},
        {"exprgan.photo.ai_metadata"},
        {"exprgan.photo.image_io", "exprgan.models.networks"},
        {"exprgan.photo.film_grain"},
        {"exprgan.photo.alignment", "exprgan.photo.video_writer"},
        {"exprgan.photo.detection", "exprgan.models.warp_network"},
        {"exprgan.editing.mouth_overlay"},
        {"exprgan.editing.warp_field"},
        {"exprgan.editing.results"},
        {
            "exprgan.editing.retrieval",
            "exprgan.editing.multi_face",
            "exprgan.editing.pivotal_tuning",
            "exprgan.editing.warp_cache",
            "exprgan.batch.manifest",
        },
        {"exprgan.editing.animation"},
        {"exprgan.editing.ensemble"},
        {"exprgan.editor"},
        {"exprgan.batch.worker"},
        {"exprgan.batch.pool"},
        {"exprgan.batch"},
        {"exprgan.batch.command"},
        {"exprgan.__main__"},
    ],
    "networks": [
        {
            "exprgan.errors",
            "exprgan.expressions",
            "exprgan.models.warping",
            "exprgan.models.blocks",
            "exprgan.models.teeth_texture",
            "exprgan.models.latent_prior",
        },
        {"exprgan.models.mouth_network", "exprgan.atomic_write"},
        {
            "exprgan.models.fast_conv",
            "exprgan.models.hub_source",
            "exprgan.models.warp_network",
            "exprgan.photo.ai_metadata",
        },
        {"exprgan.models.networks", "exprgan.models.controller", "exprgan.models.self_test"},
        {"exprgan.models.exprgan"},
        {"exprgan.editing.pivotal_tuning"},
        {"exprgan.editor", "exprgan.models.onnx_export"},
        {"exprgan.batch.worker"},
        {"exprgan.batch.pool"},
        {"exprgan.batch"},
        {"exprgan.batch.command"},
        {"exprgan.__main__"},
    ],
    "training": [  # above all of exprgan; a package is one floor
        {"train.core.config_flags"},
        {"train.gan.train_config"},
        {"train.core.files", "train.core.allocator"},
        {"train.data"},
        {"train.render"},
        {"train.perceptual.feature_maps", "train.publish.card_tables", "train.core.precision"},
        {"train.gan.gan_losses"},
        {
            "train.perceptual.face_trainer",
            "train.data.contact_sheets",
            "train.publish.model_card",
            "train.core.checkpoints",
            "train.publish.credits",
        },
        {"train.gan.tracking", "train.publish.hub_upload"},
        {"train.gan.gan_trainer", "train.detail"},
        {"train.gan.dry_run"},
        {"train.eval"},
        {"train.publish", "train.publish.publish_dataset", "train.eval.calibration", "train.publish.space"},
        {"train.paper"},
        {"train.__main__"},
    ],
    # above all of exprgan
    "app": [{"photo_session", "middleware"}, {"handlers"}, {"components"}, {"animation_panel"}, {"app"}],
}
FRONTS = {"exprgan", "train"}  # an __init__ only gathers names, and is for those outside
PACKAGES = (
    "train.data",
    "train.detail",
    "train.eval",
    "train.paper",
    "train.render",
)  # import within themselves as they like

APP = ("app", "handlers", "animation_panel", "middleware", "components", "photo_session")

# Never, neither at the top nor inside a function:
FORBIDDEN = {
    "exprgan": [
        *APP,
        "train",
        "gradio",
        "tensorboard",
        "torch.utils.tensorboard",
        "matplotlib",
        "accelerate",
    ],
    "train": [*APP, "gradio"],
    **{part: ["train"] for part in APP},
}
FFMPEG = "imageio_ffmpeg"  # inside a function only: an extra of the library
FACE_FINDER, ITS_HOMES = (
    "facenet_pytorch",
    ("exprgan.photo.detection", "train.perceptual.feature_maps"),
)  # inside a function only


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def module_files(root: Path) -> dict[str, Path]:
    """Dotted name -> file, for app.py and its parts and all of exprgan/ and train/."""
    files = [*root.glob("app*.py"), *root.glob("exprgan/**/*.py"), *root.glob("train/**/*.py")]
    return {".".join(f.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): f for f in files}


def imports(name: str, path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """Dotted names of all that a file imports; of our own modules, the module without the name in it."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            source = ".".join([*parents, node.module] if node.module else parents)
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                yield whole if whole in modules or source not in modules else source


def floors(name: str) -> dict[str, int]:
    """Tower -> the module's floor in it."""
    places = [(tower, n, place) for tower, all_n in FLOORS.items() for n, at in enumerate(all_n) for place in at]
    return {tower: n for tower, n, place in places if within(name, place)}


def tower_of(name: str) -> str:
    """The package a module belongs to; app.py and its parts are one."""
    return "app" if re.match(r"app(_\w+)?$", name) else name.partition(".")[0]


def violations(root: Path) -> list[str]:
    modules, found = module_files(root), []
    for name, path in sorted(modules.items()):
        mine = floors(name)
        if not mine and name not in FRONTS:
            found.append(f"{name} has no floor in {Path(__file__).name}")
        banned = [b for importer, names in FORBIDDEN.items() if within(name, importer) for b in names]
        banned += [FACE_FINDER] if name not in ITS_HOMES else []
        for other in imports(name, path, modules):
            if any(within(other, b) for b in banned):
                found.append(f"{name} must not import {other}")
            elif name not in FRONTS and tower_of(name) == tower_of(other):
                below = any(n < mine.get(tower, -1) for tower, n in floors(other).items())
                if not below and not any(within(name, p) and within(other, p) for p in PACKAGES):
                    found.append(f"{name} must not import {other}, which is on no floor below it")
    return list(dict.fromkeys(found))


def test_imports_only_go_downwards():
    assert not violations(ROOT)


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        (
            "exprgan/photo/image_io.py",
            "from exprgan.photo.detection import find",
            "exprgan.photo.image_io must not import exprgan.photo.detection",
        ),
        (
            "exprgan/photo/image_io.py",
            "from .faces import find",
            "exprgan.photo.image_io must not import exprgan.photo.detection",
        ),
        (
            "exprgan/models/exprgan.py",
            "from . import images",
            "exprgan.models.exprgan must not import exprgan.photo.image_io",
        ),
        ("exprgan/models/exprgan.py", "from exprgan import Editor", "exprgan.models.exprgan must not import exprgan,"),
        ("exprgan/editor.py", "def f():\n    import gradio as gr", "exprgan.editor must not import gradio"),
        (
            "exprgan/editor.py",
            "from facenet_pytorch import MTCNN",
            "exprgan.editor must not import facenet_py",
        ),
        ("exprgan/editor.py", "import train.gan.gan_trainer", "exprgan.editor must not import train.gan.gan_trainer"),
        ("exprgan/helpers.py", "", "exprgan.helpers has no floor"),
        (
            "train/data/face_folder.py",
            "from train.gan.gan_losses import f",
            "train.data.face_folder must not import train.gan.gan_losses",
        ),
        ("train/gan/gan_trainer.py", "from app import build_app", "train.gan.gan_trainer must not import app"),
        (
            "train/gan/gan_trainer.py",
            "from facenet_pytorch import MTCNN",
            "train.gan.gan_trainer must not import facenet_py",
        ),
        ("app.py", "from train import config", "app must not import train"),
        ("exprgan/ui/handlers.py", "import app", "handlers must not import app,"),
        ("exprgan/ui/handlers.py", "from train import config", "handlers must not import train"),
        ("app_more.py", "", "app_more has no floor"),
    ],
)
def test_a_planted_violation_is_found(tmp_path, file, line, complaint):
    clean = {
        "exprgan/__init__.py": "from exprgan.editor import Editor",
        "exprgan/errors.py": "",
        "exprgan/photo/image_io.py": "from exprgan.errors import BadImageError",
        "exprgan/photo/detection.py": "def find():\n    from facenet_pytorch import MTCNN",
        "exprgan/models/exprgan.py": "from .errors import WeightsError",
        "exprgan/editor.py": "from exprgan import faces\nfrom exprgan.models.exprgan import ExprGAN",
        "train/perceptual/feature_maps.py": "def facenet():\n    from facenet_pytorch import InceptionResnetV1",
        "train/gan/gan_losses.py": "from exprgan import Editor",
        "train/data/__init__.py": "from train.data import folder",
        "train/data/face_folder.py": "from . import photos",
        "train/data/photos.py": "",
        "train/gan/gan_trainer.py": "from train.gan.gan_losses import total\nfrom train.data.face_folder import Faces",
        "app.py": "import gradio as gr\nfrom exprgan import Editor",
    }
    for name, text in clean.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert not violations(tmp_path)

    (tmp_path / file).write_text(line)
    assert any(found.startswith(complaint) for found in violations(tmp_path))


def test_the_library_imports_without_the_heavy_packages():
    """In a fresh interpreter, every module of it: the face finder comes in on first use, the others never."""
    names = [name for name in sorted(module_files(ROOT)) if within(name, "exprgan")]
    blocked = dict.fromkeys([*FORBIDDEN["exprgan"], FACE_FINDER, FFMPEG])  # None in sys.modules: cannot be imported
    code = f"import sys; sys.modules.update({blocked!r}); import {', '.join(names)}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_module_is_too_long_to_read():
    code = {name: path.read_text(encoding="utf-8") for name, path in module_files(ROOT).items()}
    assert not {name: lines for name, text in code.items() if (lines := len(text.splitlines())) > 400}


# What is installed is said in several files, which must agree.


def bounds(lines: list[str]) -> dict[str, str]:
    """Package -> its bounds, as written."""
    stripped = (line.partition("#")[0].strip() for line in lines)
    return dict(re.fullmatch(r"([\w-]+)(.*)", line).groups() for line in stripped if line)


def test_the_app_and_the_space_install_the_same_gradio():
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    front = re.match(r"---\n(.*?)\n---\n", text, re.S)
    if not front:
        pytest.skip("README.md has no front matter yet")
    version = re.search(r"^sdk_version: *['\"]?([\w.]+)", front[1], re.M)
    assert bounds((ROOT / "requirements.txt").read_text().splitlines())["gradio"] == f"=={version[1]}"


def test_requirements_txt_is_the_library_and_the_app():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    library = bounds([*project["dependencies"], *project["optional-dependencies"]["app"]])
    space = bounds((ROOT / "requirements.txt").read_text().splitlines())
    assert space.pop("gradio") and library.pop("gradio")  # exact for the Space, a range in the extra
    assert space == library


# No file belongs to one person's machine.

FOREIGN = re.compile(
    r"(?<![\w.])/(?:home|Users|root|work|workspace|mnt|scratch)/\w"  # an absolute path into someone's folder
    r"|\b[A-Z]:\\Users\\"
    r"|\b(?:download\.py|pypi\b|test\.pypi|files\.python)[\w.]*\.(?:org|io)\b"  # a package registry's host
)


def test_no_file_names_a_machine_or_a_registry():
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a git checkout")
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    found = []
    for path in (ROOT / name for name in listed if name):
        try:
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
        except UnicodeDecodeError:  # a picture, or weights
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in FOREIGN.finditer(text)]
    assert not found


def test_the_search_for_them_finds_them():
    foreign = [
        "see |home|ann|x",
        "'|work|data'",
        "C:\\+Users\\ann",
        "download.+pytorch.org",
        "py+pi.org|simple",
    ]
    ours = ["#!|usr|bin|env bash", "https:||example.com|home|page", "runs|work|x", "the |home|"]
    spelled = [text.replace("+", "").replace("|", "/") for text in foreign + ours]  # so that this file has none
    assert [text for text in spelled if FOREIGN.search(text)] == spelled[: len(foreign)]


def test_no_test_reaches_the_network(network):
    with socket.socket() as outside, pytest.raises(RuntimeError, match="only loopback"):
        outside.connect(("192.0.2.1", 80))  # an address kept free for examples (RFC 5737)
    assert network.refused == ["('192.0.2.1', 80)"]
    network.refused.clear()

    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())

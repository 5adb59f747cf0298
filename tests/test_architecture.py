"""Who may import whom: downwards only, heavy packages only in their place; and what holds for every file."""

import ast
import re
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10; pytest brings it there
    import tomli as tomllib

ROOT = Path(__file__).parent.parent

# A room imports from the tiers below its own. A room is a package, or a module beside the packages; a new one needs a tier.
TIERS = [
    {
        f"exprgan.{name}"
        for name in (
            "errors",
            "deadline",
            "markdown",
            "expressions",
            "facs",
            "wrinkles",
            "atomic_write",
            "file_lock",
            "torch_state",
            "process_pool",
            "ray_pool",
            "photo",
        )
    }
    | {"exprgan.csv_cells", "exprgan.folder_paths"},
    {"exprgan.models"},
    {"exprgan.editing", "exprgan.editor", "exprgan.video"},
    {"exprgan.export"},
    {
        "exprgan.batch",
        "exprgan.ui",
        "exprgan.cli",
        "exprgan.cli_settings",
        "exprgan.film_command",
        "exprgan.__main__",
        "app",
    },
    {"train.core", "train.data", "train.perceptual", "train.gan", "train.warp", "train.render"},
    {"train.publish", "train.eval", "train.paper", "train.__main__"},
]
ROOTS = {"exprgan", "train"}  # their __init__ only gathers names, for those outside

# Never, neither at the top nor inside a function:
FORBIDDEN = {
    "exprgan": ["app", "train", "tensorboard", "torch.utils.tensorboard", "matplotlib", "accelerate"],
    "train": ["app", "exprgan.ui"],
    "app": ["train"],
}
ONLY_IN = {  # package -> the room that may import it
    "gradio": "exprgan.ui",
    "starlette": "exprgan.ui",
}
INSIDE_FUNCTIONS = {  # imported when first used: module that may do so -> package
    "facenet_pytorch": ("train.perceptual.feature_maps",),  # its import takes seconds
    "imageio_ffmpeg": ("exprgan.photo.video_writer",),
    "av": ("exprgan.video.clip_reader",),
    "pillow_heif": ("exprgan.photo.image_io",),
    "ray": ("exprgan.ray_pool",),
}


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def module_files(root: Path) -> dict[str, Path]:
    """Dotted name -> file, for app.py and all of exprgan/ and train/."""
    files = [root / "app.py", *root.glob("exprgan/**/*.py"), *root.glob("train/**/*.py")]
    return {".".join(f.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): f for f in files if f.exists()}


def imports(name: str, path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """Dotted names of all imports of a file; of our own modules, the module without the imported name."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            source = ".".join([*parents, node.module] if node.module else parents)
            for alias in node.names:
                submodule = f"{source}.{alias.name}"
                yield submodule if submodule in modules or source not in modules else source


def room_of(name: str) -> str:
    """exprgan.photo.image_io -> exprgan.photo; exprgan.editor -> exprgan.editor."""
    return ".".join(name.split(".")[:2])


def tier_of(name: str) -> int | None:
    return next((i for i, rooms in enumerate(TIERS) if room_of(name) in rooms), None)


def violations(root: Path) -> list[str]:
    """Sentences about imports that break the rules above."""
    modules, found = module_files(root), []
    for name, path in sorted(modules.items()):
        if name in ROOTS:
            continue
        if tier_of(name) is None:
            found.append(f"{name} has no tier in {Path(__file__).name}")
        banned = [package for importer, names in FORBIDDEN.items() if within(name, importer) for package in names]
        banned += [package for package, room in ONLY_IN.items() if not within(name, room)]
        banned += [package for package, importers in INSIDE_FUNCTIONS.items() if name not in importers]
        for imported in imports(name, path, modules):
            if any(within(imported, package) for package in banned):
                found.append(f"{name} must not import {imported}")
            elif room_of(imported) != room_of(name) and room_of(imported).startswith(("exprgan", "train")):
                above = imported in ROOTS or (tier_of(imported) or 0) > (tier_of(name) or 0)
                if above and not (name == "app" or within(name, "train")):
                    found.append(f"{name} must not import {imported}, which is on a higher tier")
    return list(dict.fromkeys(found + [f"{' -> '.join(cycle)} is a cycle" for cycle in cycles(modules)]))


def cycles(modules: dict[str, Path]) -> list[list[str]]:
    """Circles of imports, of modules and of rooms; what a type checker alone imports counts as well."""
    found = []
    for unit in (lambda name: name, room_of):
        graph: dict[str, set[str]] = {}
        for name, path in modules.items():
            targets = {unit(other) for other in imports(name, path, modules) if other in modules and other not in ROOTS}
            if name not in ROOTS:
                graph.setdefault(unit(name), set()).update(targets - {unit(name)})
        try:
            tuple(TopologicalSorter(graph).static_order())
        except CycleError as error:
            found.append(error.args[1])
    return found


def test_imports_only_go_downwards():
    assert not violations(ROOT)


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("exprgan/photo/image_io.py", "from exprgan.models import config", "photo.image_io must not import exprgan.models"),
        ("exprgan/photo/image_io.py", "from ..models import config", "photo.image_io must not import exprgan.models"),
        ("exprgan/models/config.py", "from exprgan import Editor", "exprgan.models.config must not import exprgan,"),
        ("exprgan/photo/image_io.py", "from . import detection", "exprgan.photo.image_io -> exprgan.photo.detection"),
        ("exprgan/editor.py", "def f():\n    import gradio as gr", "exprgan.editor must not import gradio"),
        ("exprgan/editor.py", "from facenet_pytorch import MTCNN", "exprgan.editor must not import facenet_py"),
        ("exprgan/editor.py", "import train.gan", "exprgan.editor must not import train.gan"),
        ("exprgan/helpers.py", "", "exprgan.helpers has no tier"),
        ("train/data/faces.py", "from train.eval import metrics", "train.data -> train.eval"),
        ("train/gan/losses.py", "from app import main", "train.gan.losses must not import app"),
        ("train/gan/losses.py", "from exprgan.ui import page", "train.gan.losses must not import exprgan.ui"),
        ("app.py", "from train import core", "app must not import train"),
        ("exprgan/ui/page.py", "from train.core import files", "exprgan.ui.page must not import train.core"),
    ],
)  # fmt: skip
def test_a_planted_violation_is_found(tmp_path, file, line, complaint):
    clean = {
        "exprgan/__init__.py": "from exprgan.editor import Editor",
        "exprgan/errors.py": "",
        "exprgan/photo/__init__.py": "",
        "exprgan/photo/image_io.py": "from exprgan.errors import BadImageError",
        "exprgan/photo/detection.py": "from .image_io import load\ndef find():\n    from PIL import Image",
        "exprgan/models/__init__.py": "",
        "exprgan/models/config.py": "from ..errors import WeightsError\nfrom ..photo import image_io",
        "exprgan/editor.py": "from exprgan.photo import detection\nfrom exprgan.models.config import Config",
        "exprgan/ui/__init__.py": "",
        "exprgan/ui/page.py": "import gradio as gr\nfrom ..editor import Editor",
        "train/core/__init__.py": "",
        "train/core/files.py": "",
        "train/data/__init__.py": "from train.core import files",
        "train/data/faces.py": "from ..core.files import write",
        "train/eval/__init__.py": "",
        "train/eval/metrics.py": "from ..data.faces import Faces\nfrom exprgan import Editor",
        "train/gan/__init__.py": "",
        "train/gan/losses.py": "from ..data import faces",
        "app.py": "from exprgan.ui.page import main",
    }
    for name, text in clean.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert not violations(tmp_path)

    (tmp_path / file).write_text(line)
    assert any(complaint in sentence for sentence in violations(tmp_path))


def test_no_two_files_have_one_name():
    names = [path.name for path in module_files(ROOT).values() if not path.name.startswith("__")]
    assert not [name for name, count in Counter(names).items() if count > 1]


def test_the_library_imports_without_the_heavy_packages():
    """In a fresh interpreter, every module of it: the face finder comes in on first use, the others never."""
    names = [name for name in sorted(module_files(ROOT)) if within(name, "exprgan") and not within(name, "exprgan.ui")]
    names.remove("exprgan.__main__")
    blocked = dict.fromkeys([*FORBIDDEN["exprgan"], *INSIDE_FUNCTIONS, *ONLY_IN])  # None in sys.modules: cannot be imported
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

"""Deploying the app as a Space: it gets all the files that it needs and no others, and the model that it is to serve."""

import ast
import json
import re
from pathlib import Path

import fake_hub
import pytest
import yaml

from train.__main__ import main
from train.publish.space import readme_for

ROOT, SPACE = Path(__file__).parent.parent, "ann/faces"


@pytest.fixture
def variables(hub, monkeypatch):
    """The variables of the fake Hub's Spaces, by name; a user is logged in."""
    values = {}

    def endpoint(handler, name):
        if handler.command == "GET":
            return fake_hub.json_response({key: {"key": key, "value": value} for key, value in values.items()})
        change = json.loads(handler.body)
        values.update({change["key"]: change["value"]}) if handler.command == "POST" else values.pop(change["key"])
        return fake_hub.json_response({})

    route = (r"(?:GET|POST|DELETE) /api/spaces/(?P<name>[\w.-]+/[\w.-]+)/variables", endpoint)
    monkeypatch.setattr(fake_hub, "ROUTES", [route, *fake_hub.ROUTES])
    monkeypatch.setenv("HF_TOKEN", "good")
    return values


def read_front_matter(readme: bytes) -> dict:
    return yaml.safe_load(readme.decode().split("---\n")[1])


def imported_modules(path: str, source: bytes) -> set[str]:
    """The modules of the library that a file imports, as paths without .py."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {name.name.replace(".", "/") for name in node.names if name.name.split(".")[0] == "exprgan"}
        elif isinstance(node, ast.ImportFrom) and (node.level or node.module.split(".")[0] == "exprgan"):
            package = path.split("/")[: -node.level] if node.level else []
            module = "/".join([*package, *(node.module or "").split(".")]).rstrip("/")
            submodules = {f"{module}/{name.name}" for name in node.names}
            modules |= {module} | {name for name in submodules if (ROOT / f"{name}.py").is_file()}
    return modules


def test_a_space_gets_all_it_needs_and_nothing_else(hub, variables):
    assert main(["deploy-space", SPACE, "--model", "ann/model@v2"]) == 0
    tree = hub.repos[f"space/{SPACE}"].tree
    assert tree.keys() >= {"app.py", "requirements.txt", "README.md", "weights/model.safetensors", "exprgan/editor.py",
                           "exprgan/ui/style.css", "exprgan/ui/about.md", "exprgan/ui/examples/faces.json"}  # fmt: skip
    assert not [path for path in tree if re.match(r"(train|tests|benchmarks|\.venv|\.git)/|.*(__pycache__|\.pyc)", path)]
    sources = {path: content for path, content in tree.items() if path.endswith(".py")}
    imports = {path: imported_modules(path, content) for path, content in sources.items()}
    assert "exprgan/ui/page" in imports["app.py"] and "exprgan/models/exprgan" in imports["exprgan/editor.py"]
    for path, modules in imports.items():
        for module in modules:
            assert {f"{module}.py", f"{module}/__init__.py"} & tree.keys(), (path, module)
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", tree["README.md"].decode()):
        assert picture in tree
    assert variables == {"EXPRGAN_MODEL": "ann/model@v2"} and not hub.yaml_errors


def test_its_readme_names_it_and_its_model(hub, variables):
    assert main(["deploy-space", SPACE, "--model", "ann/model@v2"]) == 0
    front = read_front_matter(hub.repos[f"space/{SPACE}"].tree["README.md"])
    assert front["models"] == ["ann/model"]
    assert front["preload_from_hub"] == ["ann/model config.json,model.safetensors v2"]
    assert f"/spaces/{SPACE}/resolve/" in front["thumbnail"]
    assert {"sdk", "sdk_version", "app_file", "license"} <= front.keys()


def test_without_a_model_nothing_is_preloaded_and_an_old_variable_is_deleted(hub, variables):
    variables["EXPRGAN_MODEL"] = "ann/old"
    assert main(["deploy-space", SPACE]) == 0
    front = read_front_matter(hub.repos[f"space/{SPACE}"].tree["README.md"])
    assert not {"models", "preload_from_hub"} & front.keys() and front["sdk"] == "gradio"
    assert variables == {}


def test_a_second_deployment_of_the_same_sends_nothing(hub, variables, capsys):
    for _ in range(2):
        assert main(["deploy-space", SPACE]) == 0
    assert hub.repos[f"space/{SPACE}"].titles == ["initial commit", "Deploy the app"]
    assert "holds the same already" in capsys.readouterr().out


def test_files_of_earlier_versions_are_deleted_and_other_files_kept(hub, variables):
    stale = {"exprgan/old.py", "exprgan/models/old.py", "app_old.py", "app.css", "app_text/old.md", "examples/old.jpg"}
    hub.add(SPACE, dict.fromkeys({*stale, "notes.txt"}, b"old"), repo_type="space")
    assert main(["deploy-space", SPACE]) == 0
    tree = hub.repos[f"space/{SPACE}"].tree
    assert not stale & tree.keys() and {"notes.txt", "app.py"} <= tree.keys()


def test_a_dry_run_prints_the_files_and_changes_nothing(hub, variables, capsys):
    assert main(["deploy-space", SPACE, "--model", "ann/model", "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert (
        "EXPRGAN_MODEL=ann/model" in output and "exprgan/ui/handlers.py" in output and "weights/model.safetensors" in output
    )
    assert not hub.repos and not variables


@pytest.mark.parametrize("arguments", [["faces"], ["ann/faces@v1"], [SPACE, "--model", "no model"]])
def test_an_invalid_name_is_an_error(arguments, capsys):
    assert main(["deploy-space", *arguments]) == 1
    assert "org/name" in capsys.readouterr().err


def test_an_invalid_token_is_an_error(hub, variables, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "wrong")
    assert main(["deploy-space", SPACE]) == 1
    error = capsys.readouterr().err
    assert "token" in error and "Traceback" not in error and not hub.repos


def test_only_the_front_matter_is_rewritten():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme_for(readme, SPACE, "ann/model").split("---\n", 2)[2] == readme.split("---\n", 2)[2]

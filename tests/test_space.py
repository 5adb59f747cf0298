"""The app to the Hub: all that a Space needs and nothing else, and the model that it is to serve."""

import ast
import json
import re
from pathlib import Path

import hub as stand_in
import pytest
import yaml

from train.__main__ import main
from train.publish.space import readme_for

ROOT, SPACE = Path(__file__).parent.parent, "ann/faces"


@pytest.fixture
def variables(hub, monkeypatch):
    """The variables that the stand-in keeps of its Spaces, somebody having logged in."""
    kept = {}

    def change(handler, name):
        if handler.command == "GET":
            told = [{"key": key, "value": value} for key, value in kept.items()]
            return stand_in.as_json({one["key"]: one for one in told})
        asked = json.loads(handler.body)
        kept.update({asked["key"]: asked["value"]}) if handler.command == "POST" else kept.pop(asked["key"])
        return stand_in.as_json({})

    monkeypatch.setattr(stand_in.Handler, "do_DELETE", stand_in.Handler.do_GET, raising=False)
    route = (r"(?:GET|POST|DELETE) /api/spaces/(?P<name>[\w.-]+/[\w.-]+)/variables", change)
    monkeypatch.setattr(stand_in, "ROUTES", [route, *stand_in.ROUTES])
    monkeypatch.setenv("HF_TOKEN", "good")
    return kept


def front(readme: bytes) -> dict:
    return yaml.safe_load(readme.decode().split("---\n")[1])


def test_a_space_gets_what_it_needs_and_nothing_else(hub, variables):
    assert main(["deploy-space", SPACE, "--model", "ann/model@v2"]) == 0
    tree = hub.repos[f"space/{SPACE}"].tree
    assert {
        "app.py",
        "app.css",
        "requirements.txt",
        "README.md",
        "weights/model.safetensors",
        "exprgan/editor.py",
    } <= tree.keys()
    assert not [path for path in tree if path.startswith(("train/", "tests/", "benchmarks/", ".venv/", ".git/"))]
    for path in (path for path in tree if path.endswith(".py")):  # whatever one of its files imports came along
        for node in ast.walk(ast.parse(tree[path])):
            if isinstance(node, ast.ImportFrom) and not node.level and re.match(r"app|exprgan", node.module):
                assert {f"{node.module.replace('.', '/')}.py", f"{node.module}/__init__.py"} & tree.keys(), (
                    path,
                    node.module,
                )
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", tree["README.md"].decode()):
        assert picture in tree
    assert variables == {"EXPRGAN_MODEL": "ann/model@v2"} and not hub.yaml_errors


def test_its_readme_names_it_and_its_model(hub, variables):
    assert main(["deploy-space", SPACE, "--model", "ann/model@v2"]) == 0
    told = front(hub.repos[f"space/{SPACE}"].tree["README.md"])
    assert told["models"] == ["ann/model"]
    assert told["preload_from_hub"] == ["ann/model config.json,model.safetensors v2"]
    assert f"/spaces/{SPACE}/resolve/" in told["thumbnail"]
    assert {"sdk", "sdk_version", "app_file", "license"} <= told.keys()


def test_without_a_model_nothing_is_loaded_beforehand_and_an_old_variable_goes(hub, variables):
    variables["EXPRGAN_MODEL"] = "ann/old"
    assert main(["deploy-space", SPACE]) == 0
    told = front(hub.repos[f"space/{SPACE}"].tree["README.md"])
    assert not {"models", "preload_from_hub"} & told.keys() and told["sdk"] == "gradio"
    assert variables == {}


def test_the_same_again_sends_nothing(hub, variables, capsys):
    for _ in range(2):
        assert main(["deploy-space", SPACE]) == 0
    assert hub.repos[f"space/{SPACE}"].titles == ["initial commit", "Deploy the app"]
    assert "holds the same already" in capsys.readouterr().out


def test_a_dry_run_tells_and_changes_nothing(hub, variables, capsys):
    assert main(["deploy-space", SPACE, "--model", "ann/model", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "EXPRGAN_MODEL=ann/model" in told and "exprgan/ui/handlers.py" in told and "weights/model.safetensors" in told
    assert not hub.repos and not variables


@pytest.mark.parametrize("line", [["faces"], ["ann/faces@v1"], [SPACE, "--model", "no model"]])
def test_what_is_no_name_is_answered_with_a_sentence(line, capsys):
    assert main(["deploy-space", *line]) == 1
    assert "org/name" in capsys.readouterr().err


def test_who_may_not_write_is_told_so(hub, variables, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "wrong")
    assert main(["deploy-space", SPACE]) == 1
    told = capsys.readouterr().err
    assert "token" in told and "Traceback" not in told and not hub.repos


def test_only_the_front_matter_is_rewritten():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme_for(text, SPACE, "ann/model").split("---\n", 2)[2] == text.split("---\n", 2)[2]

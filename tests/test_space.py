"""Deploying the app as a Space: it gets all the files that it needs and no others, and the model that it is to serve."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from train.__main__ import main
from train.publish.space import readme_for

ROOT, SPACE = Path(__file__).parent.parent, "ann/faces"


@pytest.fixture(autouse=True)
def logged_in(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "good")


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


def test_a_space_gets_all_it_needs_and_nothing_else(hub):
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
    assert hub.repos[f"space/{SPACE}"].variables == {"EXPRGAN_MODEL": "ann/model@v2"} and not hub.yaml_errors


def test_its_readme_names_it_and_its_model(hub):
    assert main(["deploy-space", SPACE, "--model", "ann/model@v2"]) == 0
    front = read_front_matter(hub.repos[f"space/{SPACE}"].tree["README.md"])
    assert front["models"] == ["ann/model"]
    assert front["preload_from_hub"] == ["ann/model config.json,model.safetensors v2"]
    assert f"/spaces/{SPACE}/resolve/" in front["thumbnail"]
    assert {"sdk", "sdk_version", "app_file", "license"} <= front.keys()


def test_without_a_model_nothing_is_preloaded_and_an_old_variable_is_deleted(hub):
    hub.add(SPACE, {}, repo_type="space", variables={"EXPRGAN_MODEL": "ann/old"})
    assert main(["deploy-space", SPACE]) == 0
    front = read_front_matter(hub.repos[f"space/{SPACE}"].tree["README.md"])
    assert not {"models", "preload_from_hub"} & front.keys() and front["sdk"] == "gradio"
    assert not hub.repos[f"space/{SPACE}"].variables


def test_a_second_deployment_of_the_same_sends_nothing(hub, capsys):
    for _ in range(2):
        assert main(["deploy-space", SPACE]) == 0
    assert hub.repos[f"space/{SPACE}"].titles == ["initial commit", "Deploy the app"]
    assert "holds the same already" in capsys.readouterr().out


def test_files_of_earlier_versions_are_deleted_and_other_files_kept(hub):
    stale = {"exprgan/old.py", "exprgan/models/old.py", "app_old.py", "app.css", "app_text/old.md", "examples/old.jpg"}
    hub.add(SPACE, dict.fromkeys({*stale, "notes.txt"}, b"old"), repo_type="space")
    assert main(["deploy-space", SPACE]) == 0
    tree = hub.repos[f"space/{SPACE}"].tree
    assert not stale & tree.keys() and {"notes.txt", "app.py"} <= tree.keys()


def test_a_dry_run_prints_the_files_and_changes_nothing(hub, capsys):
    assert main(["deploy-space", SPACE, "--model", "ann/model", "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert (
        "EXPRGAN_MODEL=ann/model" in output and "exprgan/ui/handlers.py" in output and "weights/model.safetensors" in output
    )
    assert "hardware: cpu-basic" in output and not hub.repos


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["faces"], "a Space is called org/name"),
        (["ann/faces@v1"], "a Space is called org/name"),
        ([SPACE, "--model", "no model"], "model must be org/name"),
        ([SPACE, "--hardware", "gpu"], "hardware must be one of cpu-basic, "),
    ],
)
def test_an_invalid_name_is_an_error(arguments, message, capsys):
    assert main(["deploy-space", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_an_invalid_token_is_an_error(hub, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "wrong")
    assert main(["deploy-space", SPACE]) == 1
    error = capsys.readouterr().err
    assert "token" in error and "Traceback" not in error and not hub.repos


def test_only_the_front_matter_is_rewritten():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme_for(readme, SPACE, "ann/model").split("---\n", 2)[2] == readme.split("---\n", 2)[2]


# Hardware, and what the Hub refuses.


def changes(hub):
    """The requests so far that change the Space: creation, commit, and settings."""
    kinds = {"/repos/create": "create", "/commit/": "files", "/variables": "variable", "/hardware": "hardware"}
    requests = hub.requests_matching("^(POST|DELETE)")
    return [kind for request in requests for path, kind in kinds.items() if path in request]


def test_files_are_sent_before_settings_and_hardware_is_changed_last(hub):
    assert main(["deploy-space", SPACE, "--model", "ann/model"]) == 0
    space = hub.repos[f"space/{SPACE}"]
    assert changes(hub) == ["create", "files", "variable"] and space.hardware == "cpu-basic"
    hub.requests.clear()
    assert main(["deploy-space", SPACE, "--model", "ann/model@v2", "--hardware", "t4-small"]) == 0
    assert changes(hub) == ["files", "variable", "hardware"] and space.hardware == "t4-small"
    hub.requests.clear()
    assert main(["deploy-space", SPACE, "--model", "ann/model@v2"]) == 0  # keeps the hardware
    assert "hardware" not in changes(hub) and space.hardware == "t4-small"
    assert read_front_matter(space.tree["README.md"])["suggested_hardware"] == "t4-small"


def test_a_free_account_learns_how_to_deploy_and_can(hub, capsys):
    hub.paid_plan = False
    assert main(["deploy-space", SPACE]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error == (
        f"error: the Hub asks for a paid plan to write {SPACE} (402); take one in the settings of your account there. The "
        'Hub says: "Subscribe to PRO to host Gradio and Docker Spaces on cpu-basic". Free accounts may have Spaces on '
        "ZeroGPU: add --hardware zero-a10g. Nothing was changed"
    )
    assert not hub.repos
    assert main(["deploy-space", SPACE, "--hardware", "zero-a10g"]) == 0
    space = hub.repos[f"space/{SPACE}"]
    assert space.hardware == "zero-a10g" and changes(hub) == ["create", "create", "files"]
    lines = space.tree["requirements.txt"].decode().splitlines()
    assert lines[:2] == ["torch==2.11.0", "spaces>=0.40"] and not [line for line in lines[2:] if line.startswith("torch")]
    assert read_front_matter(space.tree["README.md"])["suggested_hardware"] == "zero-a10g"
    assert main(["deploy-space", SPACE]) == 0  # knows its hardware
    assert space.tree["requirements.txt"].decode().splitlines() == lines


@pytest.mark.parametrize("status", [402, 403, 404])
@pytest.mark.parametrize(
    ("request_", "state"),
    [
        ("POST /api/repos/create", "Nothing was changed"),
        ("POST .*/commit/main", "was made, without the app; start the same command again to send it"),
        ("POST .*/variables", "has the app's files, but its variable EXPRGAN_MODEL is not yet ann/model; start the same"),
    ],
)
def test_a_refusal_is_in_the_hubs_words_and_names_what_exists(hub, request_, state, status, capsys):
    command = ["deploy-space", SPACE, "--model", "ann/model", "--hardware", "zero-a10g"]
    hub.fail(request_, status, message="Ask Bob about\tthis.", times=9)
    assert main(command) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"({status})" in error and 'The Hub says: "Ask Bob about this"' in error and state in error
    assert ("delete one, or take a paid plan" in error) == (status == 402)
    hub.faults.clear()
    assert main(command) == 0
    assert hub.repos[f"space/{SPACE}"].variables == {"EXPRGAN_MODEL": "ann/model"}


def test_hardware_that_is_refused_leaves_a_complete_space(hub, capsys):
    hub.paid_plan = False
    assert main(["deploy-space", SPACE, "--hardware", "zero-a10g"]) == 0
    assert main(["deploy-space", SPACE, "--model", "ann/model", "--hardware", "t4-small"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "Spaces on t4-small" in error
    assert error.endswith(f"{SPACE} has the app's files and its model, and still the hardware zero-a10g; start the same "
                          "command again, or choose it in the settings of the Space")  # fmt: skip
    assert hub.repos[f"space/{SPACE}"].variables == {"EXPRGAN_MODEL": "ann/model"}

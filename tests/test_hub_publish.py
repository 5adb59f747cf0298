"""Uploads to the Hub: one commit of what changed, nothing that names this machine, no edited card lost; and downloads."""

import hashlib
import io
import json
import os
import re
import shutil
import socket
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from exprgan import ExpressionEditor, ExprGAN, ExprGANConfig, WeightsError
from exprgan.cli import main as exprgan
from exprgan.export.onnx_files import NAMES
from exprgan.models.model_card import render_model_card, was_edited
from exprgan.photo.image_io import is_marked
from train.__main__ import main
from train.core.checkpoints import Checkpoints
from train.data import FaceFolder
from train.data.fingerprint import fingerprint
from train.publish.hub_upload import data_folder

ROOT = Path(__file__).parent.parent
REPO, DATA = "org/tiny", "org/faces"


@pytest.fixture(autouse=True)
def logged_in(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "good")


@pytest.fixture
def run(tmp_path, tiny_model):
    """A run folder as `fit` leaves it, with settings that name paths of this machine."""
    secret = str(tmp_path / "private")
    settings = {"batch_size": 48, "out": secret, "face": secret, "init": secret, "phi_file": f"{secret}/vgg.pth", "seed": 0}
    state = {
        "model_config": {"image_size": 32, "z_dim": 8, "encoder_width": 4, "decoder_width": 32, "discriminator_width": 4,
                         "face_width": 2},
        "history": {"refine": 3}, "settings": {"refine": settings}, "model": tiny_model.state_dict(), "ema": {},
    }  # fmt: skip
    Checkpoints(tmp_path / "run").save(1, "end", 0, state)
    return tmp_path / "run"


@pytest.fixture
def weights(tmp_path):
    return tmp_path / "weights"


def publish(run, weights, *more, status=0):
    assert main(["publish", str(run), "--out", str(weights), "--repo", REPO, *more]) == status


def write_results(weights):
    """Writes results.json as `evaluate` does."""
    values = {"decoder": 0.9, "detail": 0.8}
    digest = hashlib.sha256((weights / "model.safetensors").read_bytes()).hexdigest()
    results = {
        "metrics": {"expression_accuracy": values, "identity_cosine": values},
        "n": {"people": 2, "edits": 12, "neutral_photos": 2, "real_pictures": 12},
        "judge": "a judge", "date": "2026-01-01", "device": "cpu", "weights_sha256": digest,
    }  # fmt: skip
    (weights / "results.json").write_text(json.dumps(results))


def read_metadata(weights):
    with safe_open(weights / "model.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata.keys() == {"exprgan"}
    return json.loads(metadata["exprgan"])


# Up and down again.


def test_a_pushed_model_is_pulled_unchanged_and_edits_alike(hub, run, weights, faces_dir, capsys):
    publish(run, weights, "--data", str(faces_dir))
    repo = hub.repos[f"model/{REPO}"]
    assert repo.titles == ["initial commit", "Publish ExprGAN"] and not hub.yaml_errors and not repo.private
    names = {"config.json", "model.safetensors", "reference.safetensors", "training.json", "README.md", "notebook.ipynb"}
    assert repo.tree.keys() - {".gitattributes"} == names
    assert f"{REPO}: will be made, 6 of 6 files differ" in capsys.readouterr().out
    local, remote = ExprGAN.from_pretrained(weights), ExprGAN.from_pretrained(REPO, check=True)
    for key, tensor in local.state_dict().items():
        assert torch.equal(tensor, remote.state_dict()[key]), key
    face = next((faces_dir / "test").glob("*/neutral*"))
    edits = [editor.edit(editor.read_crop(face), "sad").x_hat for editor in map(ExpressionEditor, (local, remote))]
    assert torch.equal(*edits)


def test_a_second_push_of_the_same_sends_nothing(hub, run, weights, capsys):
    publish(run, weights)
    before = {path.name: path.read_bytes() for path in weights.iterdir()}
    hub.requests.clear()
    publish(run, weights)
    assert {path.name: path.read_bytes() for path in weights.iterdir()} == before
    assert (
        not hub.requests_matching("^(POST|PUT)") and "holds the same already; nothing was sent" in capsys.readouterr().out
    )
    publish(weights, "elsewhere")  # a published folder is completed in place
    assert not hub.requests_matching("^(POST|PUT)") and not Path("elsewhere").exists()


def test_calibration_and_results_of_the_same_weights_are_kept(run, weights):
    publish(run, weights)
    config = json.loads((weights / "config.json").read_text()) | {"intensity_knots": 3}
    (weights / "config.json").write_text(json.dumps(config))
    path = {"F_ctrl.path": torch.full((6, 3, 5), 0.5, dtype=torch.float64)}
    save_file(load_file(weights / "model.safetensors") | path, weights / "model.safetensors")
    write_results(weights)
    publish(run, weights)
    assert (
        torch.equal(ExprGAN.from_pretrained(REPO).F_ctrl.path, path["F_ctrl.path"]) and (weights / "results.json").is_file()
    )
    state = Checkpoints(run).latest()
    state["model"]["G_enc.fc.bias"] += 1
    Checkpoints(run).save(2, "end", 0, state)
    publish(run, weights, status=1)  # these would be lost
    publish(run, weights, "--replace")
    assert ExprGAN.from_pretrained(REPO).config.intensity_knots == 2 and not (weights / "results.json").exists()


def test_reference_outputs_of_other_weights_are_written_anew(run, weights):
    publish(run, weights)
    reference = weights / "reference.safetensors"
    first = reference.read_bytes()
    changed = {
        name: tensor + 1 if name == "G_enc.fc.bias" else tensor
        for name, tensor in load_file(weights / "model.safetensors").items()
    }
    save_file(changed, weights / "model.safetensors")
    publish(weights, weights)
    assert reference.read_bytes() != first and ExprGAN.from_pretrained(weights, check=True)
    second = reference.read_bytes()
    publish(weights, weights)
    assert reference.read_bytes() == second


def test_no_uploaded_file_names_a_path_or_a_host(hub, run, weights, faces_dir, tmp_path):
    publish(run, weights, "--data", str(faces_dir))
    local_names = [str(tmp_path), str(faces_dir), socket.gethostname(), "private", "vgg.pth"]
    for path, data in hub.repos[f"model/{REPO}"].tree.items():
        assert not [name for name in local_names if name.encode() in data], path


def test_the_weights_file_names_its_commit_data_and_results(hub, run, weights, faces_dir):
    publish(run, weights, "--data", str(faces_dir))
    info = read_metadata(weights)
    assert info.keys() == {"commit", "data_sha256"} and info["data_sha256"] == fingerprint(faces_dir)["sha256"]
    card = (weights / "README.md").read_text()
    assert info["data_sha256"] in card and "Face Research Lab London Set" in card and "license: cc-by-4.0" in card
    write_results(weights)
    publish(run, weights)
    info, results = read_metadata(weights), json.loads((weights / "results.json").read_text())
    assert info["data_sha256"] and re.fullmatch("[0-9a-f]{64}", info["results_sha256"])
    assert results["weights_sha256"] == hashlib.sha256((weights / "model.safetensors").read_bytes()).hexdigest()
    assert "model-index:\n- name: tiny\n" in (weights / "README.md").read_text() and not hub.yaml_errors
    publish(run, weights)
    assert hub.repos[f"model/{REPO}"].titles.count("Publish ExprGAN") == 2  # the third had nothing to send


def test_the_same_run_gives_the_same_bytes(run, weights, tmp_path, faces_dir):
    contents = []
    for folder in (weights, tmp_path / "again"):
        publish(run, folder, "--data", str(faces_dir))
        write_results(folder)
        publish(run, folder)
        contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert contents[0] == contents[1] and "results.json" in contents[0]


def test_results_of_other_weights_are_not_published(hub, run, weights, tiny_model, capsys):
    publish(run, weights)
    write_results(weights)
    tiny_model.G_enc.fc.bias.data += 1
    tiny_model.save_pretrained(weights)
    assert main(["publish", str(weights), "--repo", REPO]) == 1
    assert "results.json was measured of other weights; run `python -m train evaluate` again" in capsys.readouterr().err


def test_known_additions_to_the_folder_are_uploaded_and_other_files_on_the_hub_stay(hub, run, weights, faces_dir):
    publish(run, weights)
    repo = hub.repos[f"model/{REPO}"]
    repo.commit(repo.tree | {"notes.txt": b"mine", "figures/old.jpg": b"old"}, "by hand")
    (weights / "figures").mkdir()
    shutil.copy(next((faces_dir / "test").glob("*/*.jpg")), weights / "figures" / "expressions-detail.jpg")
    (weights / "secret.env").write_text("password")
    (weights / "about.md").write_text("Made of six friends.")
    publish(run, weights)
    assert repo.tree.keys() >= {"notes.txt", "figures/expressions-detail.jpg"}
    assert not repo.tree.keys() & {"figures/old.jpg", "secret.env", "about.md"}
    card = repo.tree["README.md"].decode()
    assert "![expressions detail](figures/expressions-detail.jpg)" in card and "Made of six friends." in card


def test_a_dry_run_prints_what_would_be_sent_and_changes_nothing(hub, run, weights, capsys):
    publish(run, weights, "--dry-run")
    assert not weights.exists() and not hub.repos and not hub.requests_matching("^(POST|PUT)")
    out = capsys.readouterr().out
    assert "will be made, 6 of 6 files differ" in out and re.search(r"new +model\.safetensors  [\d.]+ MB", out)
    publish(run, weights)
    (weights / "about.md").write_text("More.")
    capsys.readouterr()
    before = (weights / "README.md").read_bytes()
    publish(run, weights, "--dry-run")
    assert re.findall(r"  (\w+) +(\S+)  ", capsys.readouterr().out)[:3] == [
        ("same", "config.json"), ("same", "model.safetensors"), ("changed", "README.md"),
    ]  # fmt: skip
    assert (weights / "README.md").read_bytes() == before
    assert main(["publish", str(run), "--out", str(weights), "--dry-run"]) == 0 and "config.json" in capsys.readouterr().out


# The card, the tag, the pull request, privacy.


def test_a_card_that_was_edited_on_the_hub_is_not_lost(hub, run, weights, capsys):
    publish(run, weights)
    repo = hub.repos[f"model/{REPO}"]
    assert not was_edited(repo.tree["README.md"].decode())
    edited = repo.tree["README.md"].replace(b"## Limits", b"## Limits\n\n- My own.")
    repo.commit(repo.tree | {"README.md": edited}, "by hand")
    (weights / "about.md").write_text("News.")
    publish(run, weights, status=1)
    assert f"the card of {REPO} was edited on the Hub: bring the edits into the template" in capsys.readouterr().err
    assert repo.tree["README.md"] == edited
    publish(run, weights, "--card", "keep")
    assert repo.tree["README.md"] == edited and "kept as edited README.md" in capsys.readouterr().out
    publish(run, weights, "--card", "replace")
    assert b"News." in repo.tree["README.md"] and b"My own." not in repo.tree["README.md"]


def test_a_tag_is_set_on_the_commit_and_never_moved(hub, run, weights, capsys):
    publish(run, weights, "--revision", "v1")
    repo = hub.repos[f"model/{REPO}"]
    assert repo.tags == {"v1": repo.refs["main"]}
    assert ExprGAN.from_pretrained(f"{REPO}@v1").config.z_dim == 8
    publish(run, weights, "--revision", "v1")  # the same again
    (weights / "about.md").write_text("More.")
    publish(run, weights, "--revision", "v1", status=1)
    assert "has a tag 'v1' already, on another commit; choose another --revision" in capsys.readouterr().err
    assert len(repo.commits) == 2


def test_a_pull_request_leaves_main_as_it_is(hub, run, weights, capsys):
    publish(run, weights)
    (weights / "about.md").write_text("More.")
    publish(run, weights, "--create-pr")
    repo = hub.repos[f"model/{REPO}"]
    assert b"More." not in repo.tree["README.md"] and b"More." in repo.commits[repo.refs["refs/pr/1"]]["README.md"]
    assert "discussions/1" in capsys.readouterr().out


def test_private_is_private_or_refused(hub, run, weights, capsys):
    publish(run, weights, "--private")
    assert hub.repos[f"model/{REPO}"].private
    hub.repos[f"model/{REPO}"].private = False
    publish(run, weights, "--private", status=1)
    assert f"{REPO} is on the Hub already, for everyone to see" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--private"], "name a repository in --repo"),
        (["--repo", REPO, "--create-pr", "--revision", "v1"], "a pull request has no tag"),
    ],
)
def test_contradicting_settings_are_refused(run, weights, more, message, capsys):
    assert main(["publish", str(run), "--out", str(weights), *more]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        ("POST /api/repos/create", 403, f"your token may not write {REPO} (403)"),
        ("POST /api/repos/create", 401, "you are not logged in, or the Hub does not accept your token (401)"),
        ("POST .*/commit/main", 503, f"the Hub cannot serve {REPO} now (it answers 503); try again in some minutes"),
        ("POST .*/commit/main", 412, f"{REPO} was changed on the Hub at the same time (412); run the command again"),
        ("PUT /lfs", 403, f"your token may not write {REPO} (403)"),
    ],
)
def test_a_refusal_is_one_sentence_and_the_folder_is_kept(hub, run, weights, request_, status, message, capsys):
    hub.fail(request_, status, times=99, message="Invalid credentials in" * (status == 401))
    publish(run, weights, status=1)
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {message}")  # progress bars may precede it
    hub.faults.clear()
    publish(run, weights)
    assert ExprGAN.from_pretrained(REPO).config.image_size == 32


def test_requests_are_repeated_while_the_hub_is_busy(hub, run, weights):
    hub.fail("GET /api/models", 503, times=1)
    hub.fail("POST .*preupload", 503, times=1)
    hub.fail("PUT /lfs", 503, times=1)
    publish(run, weights)
    assert hub.waits and len(hub.requests_matching("PUT")) >= 3


def test_without_a_connection_the_folder_is_written_and_an_error_printed(hub, run, weights, capsys):
    hub.stop()
    publish(run, weights, status=1)
    assert "error: the Hub cannot be reached; check the connection and start again" in capsys.readouterr().err
    assert (weights / "model.safetensors").is_file()


# The card's front matter; `push_to_hub` writes the same card.


def front_matter(card: bytes) -> dict:
    return yaml.safe_load(card.decode().split("---\n")[1])


def test_the_front_matter_has_what_the_hub_lists_models_by(hub, run, weights, faces_dir):
    hub.add(DATA, {path.relative_to(faces_dir).as_posix(): path.read_bytes() for path in faces_dir.rglob("*.*")}, "dataset")
    publish(run, weights, "--data", f"{DATA}@main", "--gallery")
    write_results(weights)
    publish(run, weights)
    tree = hub.repos[f"model/{REPO}"].tree
    front = front_matter(tree["README.md"])
    figure = "figures/edits-of-example-photos.jpg"
    assert front["language"] == "en" and front["license"] == "cc-by-4.0" and front["datasets"] == [DATA]
    assert front["metrics"] == ["accuracy", "identity_cosine"] and "base_model" not in front
    assert front["thumbnail"] == f"https://huggingface.co/{REPO}/resolve/main/{figure}"
    (result,) = front["model-index"][0]["results"]
    first = {"judge": "the model's own face network", "mode": "detail", "n": 12, "people": 2}
    assert result["metrics"][0] == {
        "type": "accuracy", "value": 0.8, "args": first,
        "name": "read as wanted by the model's own face network, mode detail, n = 12 edits of 2 people",
    }  # fmt: skip
    card = tree["README.md"].decode()
    assert f"## Gallery\n\n![edits of example photos]({figure})\n\nNeutral and all expressions" in card
    assert Image.open(io.BytesIO(tree[figure])).size[0] == 8 * 32 and is_marked(io.BytesIO(tree[figure]))
    assert not hub.yaml_errors


def test_the_bundled_weights_are_not_their_own_base_model():
    for repo, base in (("org/exprgan", None), ("ann/faces", "org/exprgan")):
        card = render_model_card({"expressions": ["a"], "image_size": 1, "z_dim": 1, "code_dim_each": 1, "encoder_width": 1,
                                  "decoder_width": 1, "warp_width": 0, "intensity_knots": 2}, repo,
                                 training={"before": {"model": "org/exprgan"}})  # fmt: skip
        assert front_matter(card.encode()).get("base_model") == base


def test_push_to_hub_writes_the_card_that_publish_writes(hub, run, weights, tiny_model, tmp_path, faces_dir):
    tiny_model.save_pretrained(tmp_path / "bare")
    assert not was_edited((tmp_path / "bare" / "README.md").read_text())
    assert main(["publish", str(tmp_path / "bare"), "--repo", "org/bare"]) == 0
    tiny_model.push_to_hub("org/pushed")
    cards = [hub.repos[f"model/org/{name}"].tree["README.md"] for name in ("bare", "pushed")]
    assert cards[0].replace(b"org/bare", b"org/pushed")[:-90] == cards[1][:-90] and b"cc-by" not in cards[1]

    publish(run, weights, "--data", str(faces_dir))
    write_results(weights)
    (weights / "about.md").write_text("Made of six friends.")
    publish(run, weights)
    ExprGAN.from_pretrained(weights).push_to_hub("org/pushed")
    published, pushed = hub.repos[f"model/{REPO}"].tree, hub.repos["model/org/pushed"].tree
    assert (
        published["README.md"].replace(REPO.encode(), b"org/pushed").replace(b"name: tiny", b"name: pushed")[:-90]
        == (pushed["README.md"][:-90])
    )
    assert json.loads(pushed["training.json"]) == json.loads(published["training.json"]) and "about.md" not in pushed
    digest = hashlib.sha256(pushed["model.safetensors"]).hexdigest()
    assert json.loads(pushed["results.json"])["weights_sha256"] == digest
    results = json.loads((weights / "results.json").read_text())
    (weights / "results.json").write_text(json.dumps(results | {"weights_sha256": "0" * 64}))  # measured of other weights
    ExprGAN.from_pretrained(weights).push_to_hub("org/unmeasured")
    assert "results.json" not in hub.repos["model/org/unmeasured"].tree


def test_push_to_hub_of_changed_weights_names_their_base_and_claims_none_of_its_results(hub, run, weights, faces_dir):
    publish(run, weights, "--data", str(faces_dir))
    write_results(weights)
    publish(run, weights)
    model = ExprGAN.from_pretrained(REPO)
    model.G_enc.fc.bias.data += 1
    model.push_to_hub("ann/mine")
    tree = hub.repos["model/ann/mine"].tree
    front, card = front_matter(tree["README.md"]), tree["README.md"].decode()
    assert front["base_model"] == REPO and front["base_model_relation"] == "finetune" and "model-index" not in front
    assert front["license"] == "unknown" and "results.json" not in tree
    assert f"The weights of `{REPO}`, which were changed afterwards" in card and "Face Research Lab London Set" in card


def test_push_to_hub_keeps_a_card_that_was_edited(hub, tiny_model, monkeypatch):
    tiny_model.push_to_hub(REPO)
    repo = hub.repos[f"model/{REPO}"]
    assert repo.tree.keys() >= {"config.json", "model.safetensors", "README.md"} and b"cc-by" not in repo.tree["README.md"]
    repo.commit(repo.tree | {"README.md": b"---\nlicense: mit\n---\n# Mine\n"}, "by hand")
    tiny_model.G_enc.fc.bias.data += 1
    tiny_model.push_to_hub(REPO, ignore_patterns="*.txt")
    assert repo.tree["README.md"].endswith(b"# Mine\n") and repo.titles[-1] != "by hand"
    assert torch.equal(ExprGAN.from_pretrained(REPO).G_enc.fc.bias, tiny_model.G_enc.fc.bias.half().float())
    monkeypatch.setenv("HF_TOKEN", "old")
    with pytest.raises(WeightsError, match="the Hub does not accept your token"):
        tiny_model.push_to_hub(REPO)


# The ONNX files, and the notebook.


def test_onnx_files_are_a_repository_of_their_own_that_names_its_base(hub, run, weights, faces_dir, monkeypatch, capsys):
    def export(model, out, half):  # tests/test_onnx_export.py has the real one, which takes long
        files = {content: Path(out) / name for content, name in NAMES.items()}
        for path in files.values():
            path.write_text(model.config.to_json() if path.suffix == ".json" else "content")
        return files

    monkeypatch.setattr("train.publish.publish_onnx.export_onnx", export)
    publish(run, weights, "--data", str(faces_dir))
    assert main(["publish-onnx", REPO, "--repo", "org/tiny-onnx"]) == 0
    tree = hub.repos["model/org/tiny-onnx"].tree
    assert tree.keys() - {".gitattributes"} == {*NAMES.values(), "README.md", "onnx_edit.py", "onnx_photo.py"}
    assert all(tree[name] == (ROOT / "examples" / name).read_bytes() for name in ("onnx_edit.py", "onnx_photo.py"))
    front, card = front_matter(tree["README.md"]), tree["README.md"].decode()
    assert front["base_model"] == REPO and front["license"] == "cc-by-4.0" and front["library_name"] == "onnx"
    assert "hf download org/tiny-onnx" in card and "Face Research Lab London Set" in card and not was_edited(card)
    assert "facenet-pytorch" in card and not hub.yaml_errors

    def export_without_t(model, out, half):
        return {name: path for name, path in export(model, out, half).items() if name not in ("warp", "painter")}

    monkeypatch.setattr("train.publish.publish_onnx.export_onnx", export_without_t)
    assert main(["publish-onnx", REPO, "--repo", "org/plain-onnx"]) == 0
    tree = hub.repos["model/org/plain-onnx"].tree
    assert "onnx_photo.py" not in tree and b"warp.onnx" not in tree["README.md"] and b"decoder.onnx" in tree["README.md"]
    capsys.readouterr()
    for more, message in (
        (["--repo", "org/x"], "name the weights on the Hub in --base-model"),
        (["--repo", REPO, "--base-model", REPO], f"{REPO} is the model itself; name another repository"),
        (["--base-model", REPO], "name the repository in --repo"),
    ):
        assert main(["publish-onnx", str(weights), *more]) == 1 and message in capsys.readouterr().err


def test_the_notebook_of_a_published_model_runs(hub, run, weights, tmp_path):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    publish(run, weights)
    notebook = nbformat.reads(hub.repos[f"model/{REPO}"].tree["notebook.ipynb"].decode(), as_version=4)
    nbformat.validate(notebook)
    assert "org/exprgan" not in "".join(cell.source for cell in notebook.cells).replace("spaces/org/exprgan", "")
    environment = os.environ | {
        "HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0", "PYTHONPATH": str(ROOT),
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }  # fmt: skip
    client = nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3",
                                     resources={"metadata": {"path": str(tmp_path)}})  # fmt: skip
    client.execute(env=environment)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2 + 7 + 3
    assert is_marked(tmp_path / "edited.jpg")


# Other labels, other sizes.


def test_a_model_of_other_labels_works_from_publishing_to_editing(hub, weights, tmp_path, faces_dir, capsys):
    torch.manual_seed(0)
    config = ExprGANConfig(image_size=16, z_dim=3, expressions=("calm", "very wild"), code_dim_each=2, encoder_width=2,
                           decoder_width=16, discriminator_width=2, face_width=2)  # fmt: skip
    ExprGAN(config).save_pretrained(weights)
    assert main(["publish", str(weights), "--repo", REPO]) == 0
    card = hub.repos[f"model/{REPO}"].tree["README.md"].decode()
    assert '"calm", intensity=0.8' in card and "a code of 4 numbers" in card and "16 px" in card
    assert exprgan(["info", "--model", REPO, "--check"]) == 0
    assert "expressions: calm, very wild, neutral" in capsys.readouterr().out
    assert exprgan(["generate", "very wild", "--count", "2", "--out", str(tmp_path / "new"), "--model", REPO]) == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"very wild-000.png", "very wild-001.png"}
    assert exprgan(["generate", "happy", "--out", str(tmp_path / "new"), "--model", REPO]) == 1
    assert "choose one of calm, very wild, neutral" in capsys.readouterr().err
    editor = ExpressionEditor(ExprGAN.from_pretrained(REPO))
    subject = editor.read_crop(next(faces_dir.glob("test/*/neutral*")))
    assert editor.expressions == ("calm", "very wild", "neutral")
    assert editor.edit(subject, {"calm": 0.5, "very wild": 0.5}, style=1).face.size == (16, 16)
    assert editor.transfer(subject, subject).crop.size == (16, 16)
    assert set(subject.reading.certainties) == set(editor.expressions)


# Data sets.


@pytest.fixture
def faces(faces_dir, tmp_path):
    return Path(shutil.copytree(faces_dir, tmp_path / "faces"))


def test_a_data_set_is_downloaded_unchanged_and_every_verb_takes_its_name(hub, faces, tmp_path, capsys):
    (faces / "notes.txt").write_text("mine")
    assert main(["publish-data", str(faces), "--repo", DATA]) == 0
    repo = hub.repos[f"dataset/{DATA}"]
    assert repo.titles == ["initial commit", "Publish a training folder"] and not hub.yaml_errors
    assert "notes.txt" not in repo.tree and repo.tree["metadata.csv"] == (faces / "metadata.csv").read_bytes()
    card = repo.tree["README.md"].decode()
    assert "license: cc-by-4.0" in card and f"python -m train fit {DATA}" in card and fingerprint(faces)["sha256"] in card
    assert not [name for name, data in repo.tree.items() if str(tmp_path).encode() in data]

    assert fingerprint(data_folder(DATA)) == fingerprint(faces)
    local, remote = (FaceFolder.load(folder, "test", 32) for folder in (faces, data_folder(DATA)))
    assert torch.equal(local.images, remote.images)
    capsys.readouterr()
    assert main(["check", DATA]) == 0 and "train:" in capsys.readouterr().out
    settings = ["--steps", "1", "--width", "2", "--image-size", "32", "--batch-size", "8", "--cpu"]
    assert main(["facenet", DATA, "--out", str(tmp_path / "face"), *settings]) == 0

    hub.requests.clear()
    assert main(["publish-data", str(faces), "--repo", DATA]) == 0 and not hub.requests_matching("^(POST|PUT)")
    removed = next((faces / "test").glob("*/*.jpg")).relative_to(faces).as_posix()
    lines = (faces / "metadata.csv").read_text().splitlines(keepends=True)
    (faces / "metadata.csv").write_text("".join(line for line in lines if not line.startswith(removed)))
    assert main(["publish-data", str(faces), "--repo", DATA]) == 0
    assert removed not in repo.tree and repo.titles.count("Publish a training folder") == 2


def test_a_packed_data_set_is_published_and_trained_on_as_its_pack(hub, faces, tmp_path, capsys):
    assert main(["publish-data", str(faces), "--repo", DATA]) == 0
    assert main(["pack", str(faces), "--image-size", "64"]) == 0  # smaller than the pictures, which it does not replace
    hub.requests.clear()
    assert main(["publish-data", str(faces), "--repo", DATA]) == 0 and not hub.requests_matching("^PUT")
    assert main(["pack", str(faces)]) == 0
    hub.fail("^POST /api/datasets/org/faces/commit", 500, times=9)
    assert main(["publish-data", str(faces), "--repo", DATA]) == 1  # stopped after its large files were sent
    hub.faults.clear()
    hub.requests.clear()
    assert main(["publish-data", str(faces), "--repo", DATA]) == 0 and not hub.requests_matching("^PUT")
    repo = hub.repos[f"dataset/{DATA}"]
    assert {name for name in repo.tree if name.startswith("packed/")} == {"packed/128-00000.npy", "packed/128-00000.csv"}
    assert not [name for name in repo.tree if name.endswith(".jpg")]
    assert fingerprint(data_folder(DATA)) == fingerprint(faces)
    local, remote = (FaceFolder.load(folder, "test", 32) for folder in (faces, data_folder(DATA)))
    assert torch.equal(local.images, remote.images)
    settings = ["--steps", "1", "--width", "2", "--batch-size", "8", "--cpu"]
    assert main(["facenet", DATA, "--out", str(tmp_path / "face"), *settings]) == 0


def test_a_readme_in_the_folder_is_used_as_the_card(hub, faces):
    (faces / "README.md").write_text("---\nlicense: cc0-1.0\n---\n# Mine\n")
    assert main(["publish-data", str(faces), "--repo", DATA, "--private"]) == 0
    assert hub.repos[f"dataset/{DATA}"].tree["README.md"].endswith(b"# Mine\n") and hub.repos[f"dataset/{DATA}"].private


def test_a_data_set_is_published_without_formulas_and_links_to_elsewhere(hub, faces, capsys):
    table = faces / "metadata.csv"
    header, first, *rest = table.read_text().splitlines()
    table.write_text("\n".join([f"{header},note", f"{first},=1+1", *(f"{line},-0.5" for line in rest), ""]))
    assert main(["publish-data", str(faces), "--repo", DATA]) == 0
    published = hub.repos[f"dataset/{DATA}"].tree["metadata.csv"].decode()
    assert f"\n{first},'=1+1\n{rest[0]},-0.5\n" in published
    assert fingerprint(data_folder(DATA)) == fingerprint(faces)

    (faces.parent / "secret").write_text("mine")
    (faces / "README.md").symlink_to(faces.parent / "secret")
    assert main(["publish-data", str(faces), "--repo", DATA]) == 1
    assert f"README.md leads out of {faces} by a link. Only what is in" in capsys.readouterr().err


def test_links_out_of_a_folder_of_weights_are_not_published(tiny_model, hub, tmp_path, capsys):
    tiny_model.save_pretrained(tmp_path / "weights")
    (tmp_path / "secret").write_text("mine")
    (tmp_path / "weights" / "figures").mkdir()
    for name in ("figures/a.png", "about.md"):
        (tmp_path / "weights" / name).symlink_to(tmp_path / "secret")
        for more in (["--repo", "org/linked"], ["--repo", "org/linked", "--dry-run"], []):
            assert main(["publish", str(tmp_path / "weights"), *more]) == 1
            assert f"{name} leads out of" in capsys.readouterr().err
        (tmp_path / "weights" / name).unlink()
    assert "org/linked" not in "".join(hub.repos)


def test_an_invalid_data_set_is_not_sent(hub, faces, capsys):
    (faces.parent / "x.jpg").write_bytes(next(faces.glob("test/*/*.jpg")).read_bytes())
    table = faces / "metadata.csv"
    table.write_text(re.sub(r"^test/\S+?\.jpg", "../x.jpg", table.read_text(), count=1, flags=re.M))
    assert main(["publish-data", str(faces), "--repo", DATA]) == 1
    assert f"'../x.jpg' leads out of {faces}: it is absolute, or has .. in it" in capsys.readouterr().err
    assert main(["publish-data", str(faces)]) == 1 and "name the repository in --repo" in capsys.readouterr().err
    next(faces.glob("train/*/*.jpg")).write_bytes(b"no picture")
    assert main(["publish-data", str(faces), "--repo", DATA]) == 1
    assert "cannot be read as a picture" in capsys.readouterr().err and not hub.repos


def test_a_missing_data_set_is_an_error(hub, capsys):
    assert main(["check", "org/none"]) == 1
    assert "org/none is neither a folder here nor a data set on the Hub that you may read" in capsys.readouterr().err
    assert (
        main(["check", "nowhere"]) == 1 and "does not exist" in capsys.readouterr().err
    )  # not the form of a name on the Hub

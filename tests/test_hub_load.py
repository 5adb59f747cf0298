"""Loading from the Hub: what arrives is what was published, and every error is one sentence."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from exprgan import ExprGAN, ExprGANConfig, WeightsError
from exprgan.cli import main
from exprgan.models.hub_source import BUNDLED_WEIGHTS, HubSource
from exprgan.models.self_test import REFERENCE_NAME, write_reference

REPO, WEIGHTS = "org/exprgan", "model.safetensors"
ALWAYS = 99


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files of a published folder: name -> content."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = ExprGANConfig(image_size=16, z_dim=4, encoder_width=4, decoder_width=16, discriminator_width=2, face_width=2)
    ExprGAN(config).save_pretrained(folder)
    write_reference(ExprGAN.from_pretrained(folder), folder / REFERENCE_NAME)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def repo(hub, files):
    return hub.add(REPO, files)


def error_message(name=REPO, **settings):
    with pytest.raises(WeightsError) as error:
        ExprGAN.from_pretrained(name, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def assert_same_model(model, files):
    for key, tensor in load(files[WEIGHTS]).items():
        assert torch.equal(model.state_dict()[key].to(tensor.dtype), tensor), key


def with_tensors(content, **changes):
    """Replaces tensors of a safetensors file; None deletes one."""
    return save({key: tensor for key, tensor in (load(content) | changes).items() if tensor is not None})


# What is loaded.


@pytest.mark.parametrize("redirects", [False, True], ids=["direct", "from another host"])
def test_a_model_arrives_complete_and_a_second_load_downloads_nothing(hub, repo, files, redirects):
    hub.redirects = redirects
    assert_same_model(ExprGAN.from_pretrained(REPO), files)
    hub.requests.clear()
    assert_same_model(ExprGAN.from_pretrained(REPO), files)
    assert len(hub.requests_matching("^HEAD")) >= 2 and not hub.requests_matching("^GET")


def test_a_branch_a_tag_or_a_commit_can_be_named_in_both_ways(hub, repo, files):
    repo.tags["v1"] = first = repo.refs["main"]
    retrained = with_tensors(files[WEIGHTS], **{"G_enc.fc.bias": torch.full((4,), 5.0)})
    repo.commit(repo.tree | {WEIGHTS: retrained}, "retrained")
    assert ExprGAN.from_pretrained(REPO).G_enc.fc.bias[0] == 5
    for name, revision in ((f"{REPO}@v1", None), (REPO, "v1"), (f"{REPO}@v1", "v1"), (f"{REPO}@{first}", None)):
        assert_same_model(ExprGAN.from_pretrained(name, revision=revision), files)
    for name in (f"{REPO}@", f"{REPO}@v1"):
        with pytest.raises(ValueError, match="one revision behind the @"):
            ExprGAN.from_pretrained(name, revision="v2")
    for name, revision in ((f"{BUNDLED_WEIGHTS}@v1", None), (str(BUNDLED_WEIGHTS), "v1")):
        with pytest.raises(ValueError, match="is a folder here, which has no revision 'v1'"):
            ExprGAN.from_pretrained(name, revision=revision)


def test_a_private_model_needs_a_token(hub, repo, files, monkeypatch):
    repo.private = True
    assert error_message() == (
        f"{REPO} is neither a folder here nor a model on the Hub that you may read; check the name, and if it is right "
        "log in with `hf auth login` or pass a token"
    )
    assert_same_model(ExprGAN.from_pretrained(REPO, token="good"), files)
    monkeypatch.setenv("HF_TOKEN", "good")
    assert_same_model(ExprGAN.from_pretrained(REPO, force_download=True), files)


def test_dtype_device_and_cache_dir_are_used(repo, tmp_path):
    model = ExprGAN.from_pretrained(REPO, dtype=torch.bfloat16, device="cpu", cache_dir=tmp_path / "elsewhere")
    assert next(model.parameters()).dtype == torch.bfloat16 and (tmp_path / "elsewhere").is_dir()


def test_the_command_line_accepts_names_on_the_hub(hub, repo, capsys):
    repo.tags["v1"] = repo.refs["main"]
    assert main(["info", "--model", f"{REPO}@v1", "--check"]) == 0
    assert "16 px" in capsys.readouterr().out
    assert main(["info", "--model", f"{REPO}@v2"]) == 1
    assert capsys.readouterr().err == f"error: {REPO} has no revision 'v2'; name one of its branches, tags or commits\n"


# What cannot be loaded.


def test_an_unknown_repository(hub):
    assert error_message("org/none").startswith(
        "org/none is neither a folder here nor a model on the Hub that you may read; check"
    )
    assert error_message("org/none", token="good").startswith("org/none is neither a folder here nor a model on the Hub")


def test_an_unknown_revision(repo):
    assert error_message(revision="v9") == f"{REPO} has no revision 'v9'; name one of its branches, tags or commits"


@pytest.mark.parametrize(("status", "token"), [(401, None), (403, "good")], ids=["not logged in", "no access yet"])
def test_a_gated_repository_names_both_reasons(hub, repo, status, token):
    repo.gated = True
    assert error_message(token=token) == (
        f"{REPO} is gated, and the Hub does not let you read it ({status}): either you are not logged in (log in with `hf "
        f"auth login` or pass a token), or access was not granted to your account yet (ask for it on the page of {REPO} on "
        f'the Hub, or wait for its owner\'s answer). The Hub says: "Access to {REPO} is restricted"'
    )


def test_a_gated_repository_that_granted_access_is_loaded(repo, files):
    repo.gated, repo.granted = True, ("good",)
    assert_same_model(ExprGAN.from_pretrained(REPO, token="good"), files)


def test_a_token_that_is_not_accepted(repo):
    assert error_message(token="old") == (
        "you are not logged in, or the Hub does not accept your token (401); log in with `hf auth login` or pass a token "
        f"that may read {REPO}"
    )


def test_a_token_without_the_permission(hub, repo):
    hub.fail("HEAD .*config", 403, message="fine-grained", times=ALWAYS)
    assert error_message(token="good").startswith(f"your token may not read {REPO} (403); make one that may")


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("request_", [f"HEAD .*{WEIGHTS}", f"GET .*{WEIGHTS}"], ids=["head", "get"])
def test_requests_are_repeated_while_the_hub_is_busy(hub, repo, files, status, request_):
    hub.fail(request_, status, times=2)
    assert_same_model(ExprGAN.from_pretrained(REPO), files)
    assert hub.waits and len(hub.requests_matching(request_)) >= 3


def test_the_wait_that_the_hub_asks_for_is_kept(hub, repo, files):
    hub.fail(f"HEAD .*{WEIGHTS}", 429, times=2, Retry_After="17")
    assert_same_model(ExprGAN.from_pretrained(REPO), files)
    assert max(hub.waits) >= 17


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize(
    ("status", "text"),
    [
        (429, "too many requests (429); try again in some minutes; more are allowed once you are logged in"),
        (503, f"the Hub cannot serve {REPO} now (it answers 503); try again in some minutes"),
    ],
)
def test_a_hub_that_stays_busy_is_an_error(hub, repo, method, status, text):
    hub.fail(f"{method} .*{WEIGHTS}", status, times=ALWAYS)
    assert error_message() == text


def test_a_cached_model_needs_no_connection(hub, repo, files):
    ExprGAN.from_pretrained(REPO)
    hub.stop()
    assert_same_model(ExprGAN.from_pretrained(REPO), files)
    assert_same_model(ExprGAN.from_pretrained(REPO, local_files_only=True), files)


def test_no_connection_and_no_cache(hub, repo, monkeypatch):
    assert error_message(local_files_only=True) == (
        f"{REPO} is not in the local cache; let it be downloaded once, without local_files_only, or name a folder"
    )
    assert not hub.requests
    hub.stop()
    assert error_message() == (
        f"{REPO} is not in the local cache, and the Hub cannot be reached; check the connection, or name a folder"
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "the Hub cannot be reached (HF_HUB_OFFLINE is set); check" in error_message()


def test_a_download_that_is_cut_off_is_resumed(hub, repo, files, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    hub.cut(f"GET .*{WEIGHTS}", keep=len(files[WEIGHTS]) // 2)
    assert_same_model(ExprGAN.from_pretrained(REPO), files)
    assert len(hub.requests_matching(f"GET .*{WEIGHTS}")) == 2
    assert 0 < hub.sent[-1] < len(files[WEIGHTS])  # only the rest


def test_a_download_that_is_cut_off_every_time(hub, repo):
    hub.cut(f"GET .*{WEIGHTS}", keep=500, times=ALWAYS)
    assert error_message() == f"the connection to the Hub broke off while {REPO} was transferred; start again"
    assert not list(Path(hub.cache).rglob(WEIGHTS))  # no partial file is kept


@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_damaged_bytes_are_noticed_and_downloaded_again(hub, repo, files, name):
    hub.corrupt(f"GET .*{name}")
    assert_same_model(ExprGAN.from_pretrained(REPO), files)
    assert len(hub.requests_matching(f"GET .*{name}")) == 2


def test_a_cache_that_is_damaged_later_is_repaired(hub, repo, files):
    ExprGAN.from_pretrained(REPO)
    (blob,) = (path.resolve() for path in Path(hub.cache).rglob(WEIGHTS))
    blob.write_bytes(b"x" * len(files[WEIGHTS]))
    assert error_message(local_files_only=True).startswith(f"{WEIGHTS} of {REPO} is damaged in the local cache")
    assert_same_model(ExprGAN.from_pretrained(REPO), files)


def test_bytes_that_are_always_damaged_are_an_error(hub, repo):
    hub.corrupt(f"GET .*{WEIGHTS}", times=ALWAYS)
    assert error_message() == (
        f"{WEIGHTS} of {REPO} arrives damaged (its hash is not the one the Hub names); try again, or from another network"
    )


# Files that are no usable model.


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("model.safetensors", lambda data: data[:-100], "is damaged"),
        ("model.safetensors", lambda data: b"", "is damaged"),
        ("model.safetensors", lambda data: None, "only safetensors weights are read, never pickles"),
        ("config.json", lambda data: None, "has no config.json; it is no ExprGAN model"),
        ("model.safetensors", lambda data: with_tensors(data, **{"G_enc.fc.bias": None}), f"{REPO} lacks G_enc.fc.bias"),
        ("model.safetensors", lambda data: with_tensors(data, more=torch.ones(1)), f"{REPO} holds more, which this model"),
        ("model.safetensors", lambda data: with_tensors(data, **{"G_enc.fc.bias": torch.full((4,), float("nan"))}),
         f"G_enc.fc.bias in {REPO} holds NaN or infinity; take another checkpoint"),
        ("config.json", lambda data: data.replace(b'"format": 2', b'"format": 7'), "format 7 is not the format 2"),
        ("config.json", lambda data: data.replace(b'"format": 2', b'"form": 2'), "no format number"),
        ("config.json", lambda data: data.replace(b'"z_dim": 4', b'"z_dim": -4'), "z_dim must be a whole number"),
        ("config.json", lambda data: data[:40], "cannot be used"),
        ("config.json", lambda data: b"\x80\x04", "cannot be used"),
    ],
    ids=["truncated", "empty", "pickles only", "no config", "missing key", "extra key", "nan", "format", "no format",
         "nonsense", "broken json", "no text"],
)  # fmt: skip
def test_files_that_are_no_model_are_refused(hub, files, name, change, text):
    data = change(files[name])
    others = {path: content for path, content in files.items() if path != name}
    hub.add(REPO, others | ({"pytorch_model.bin": b"\x80\x02."} if data is None else {name: data}))
    assert text in error_message()
    assert not hub.requests_matching("GET .*bin")


# The self-check.


def test_the_check_passes_and_recognises_another_model(hub, repo, files):
    ExprGAN.from_pretrained(REPO, check=True)
    weights = {key: value * 1.5 if key.startswith("G_enc.fc") else value for key, value in load(files[WEIGHTS]).items()}
    hub.add("org/other", files | {WEIGHTS: save(weights)})
    assert error_message("org/other", check=True).startswith("org/other: z differs from the published output by ")
    hub.add("org/bare", {path: data for path, data in files.items() if path != REFERENCE_NAME})
    assert error_message("org/bare", check=True) == f"org/bare has no {REFERENCE_NAME}; there is nothing to check it with"
    hub.add("org/broken", files | {REFERENCE_NAME: files[REFERENCE_NAME][:-5]})
    assert "is damaged or belongs to another model" in error_message("org/broken", check=True)


def test_loading_imports_neither_gradio_nor_the_face_detector(files, tmp_path):
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    heavy = ("gradio", "facenet_pytorch", "torchvision", "accelerate", "jinja2", "sklearn", "tensorboard", "matplotlib")
    code = (f"import sys; sys.modules.update(dict.fromkeys({heavy!r})); from exprgan import ExprGAN; "
            f"print(ExprGAN.from_pretrained({str(tmp_path)!r}, check=True).config.z_dim)")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.stdout == "4\n", done.stderr


def test_a_data_set_is_downloaded_completely(hub):
    hub.add("org/faces", {"metadata.csv": b"file_name\na.png\n", "train/a.png": b"picture"}, repo_type="dataset")
    folder = HubSource("org/faces", repo_type="dataset").folder()
    assert (folder / "train" / "a.png").read_bytes() == b"picture"
    hub.requests.clear()
    assert HubSource("org/faces", repo_type="dataset").folder() == folder and not hub.requests_matching("resolve")

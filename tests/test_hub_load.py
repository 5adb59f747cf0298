"""From the Hub: what arrives is what was published, and whatever goes wrong on the way is one sentence."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from exprgan import ExprGAN, ExprGANConfig, WeightsError
from exprgan.cli import main
from exprgan.models.hub_source import HubSource
from exprgan.models.self_test import REFERENCE_NAME, write_reference

REPO, WEIGHTS = "org/exprgan", "model.safetensors"
ALWAYS = 99


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A published folder: name -> content."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = ExprGANConfig(image_size=16, z_dim=4, encoder_width=4, decoder_width=16, discriminator_width=2, face_width=2)
    ExprGAN(config).save_pretrained(folder)
    write_reference(ExprGAN.from_pretrained(folder), folder / REFERENCE_NAME)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def repo(hub, files):
    return hub.add(REPO, files)


def message(name=REPO, **settings):
    with pytest.raises(WeightsError) as error:
        ExprGAN.from_pretrained(name, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def assert_same_model(model, files):
    for key, tensor in load(files[WEIGHTS]).items():
        assert torch.equal(model.state_dict()[key].to(tensor.dtype), tensor), key


def changed(tensors, **values):
    return save({key: value for key, value in ({**load(tensors), **values}).items() if value is not None})


# What arrives.


@pytest.mark.parametrize("redirects", [False, True], ids=["direct", "from another host"])
def test_a_model_arrives_whole_and_a_second_load_downloads_nothing(hub, repo, files, redirects):
    hub.redirects = redirects
    assert_same_model(ExprGAN.from_pretrained(REPO), files)
    hub.requests.clear()
    assert_same_model(ExprGAN.from_pretrained(REPO), files)
    assert len(hub.asked("^HEAD")) >= 2 and not hub.asked("^GET")


def test_a_branch_a_tag_or_a_commit_is_found_by_either_way_of_naming_it(hub, repo, files):
    repo.tags["v1"] = first = repo.refs["main"]
    other = json.loads(files["config.json"]) | {"intensity_path": [-1.0] * 30 + [1.0] * 30}
    repo.commit(repo.tree | {"config.json": json.dumps(other).encode()}, "calibrated")
    assert ExprGAN.from_pretrained(REPO).config.intensity_path
    for name, revision in ((f"{REPO}@v1", None), (REPO, "v1"), (f"{REPO}@v1", "v1"), (f"{REPO}@{first}", None)):
        assert not ExprGAN.from_pretrained(name, revision=revision).config.intensity_path
    for name in (f"{REPO}@", f"{REPO}@v1"):
        with pytest.raises(ValueError, match="one revision behind the @"):
            ExprGAN.from_pretrained(name, revision="v2")


def test_a_private_or_gated_model_wants_a_token(hub, repo, files, monkeypatch):
    repo.private = True
    assert message() == (
        f"{REPO} is neither a folder here nor a model on the Hub that you may read; check the name, and if it is right "
        "log in with `hf auth login` or pass a token"
    )
    assert_same_model(ExprGAN.from_pretrained(REPO, token="good"), files)
    monkeypatch.setenv("HF_TOKEN", "good")
    assert_same_model(ExprGAN.from_pretrained(REPO, force_download=True), files)


def test_dtype_device_and_cache_dir_are_as_asked(repo, tmp_path):
    model = ExprGAN.from_pretrained(REPO, dtype=torch.bfloat16, device="cpu", cache_dir=tmp_path / "elsewhere")
    assert next(model.parameters()).dtype == torch.bfloat16 and (tmp_path / "elsewhere").is_dir()


def test_the_command_line_takes_the_hubs_names(hub, repo, capsys):
    repo.tags["v1"] = repo.refs["main"]
    assert main(["info", "--model", f"{REPO}@v1", "--check"]) == 0
    assert "16 px" in capsys.readouterr().out
    assert main(["info", "--model", f"{REPO}@v2"]) == 1
    assert capsys.readouterr().err == f"error: {REPO} has no revision 'v2'; name one of its branches, tags or commits\n"


# What cannot be had.


def test_an_unknown_repository(hub):
    assert message("org/none").startswith(
        "org/none is neither a folder here nor a model on the Hub that you may read; check"
    )
    assert message("org/none", token="good").startswith("org/none is neither a folder here nor a model on the Hub")


def test_an_unknown_revision(repo):
    assert message(revision="v9") == f"{REPO} has no revision 'v9'; name one of its branches, tags or commits"


def test_a_gated_repository(repo):
    repo.gated = True
    assert message() == (
        f"{REPO} is gated; ask for access on its page on the Hub, then log in with `hf auth login` or pass a token"
    )


def test_a_gated_repository_whose_owner_said_no(hub, repo):
    hub.fail("HEAD .*config", 403, code="GatedRepo", message="not in the authorized list", times=ALWAYS)
    assert message(token="good").startswith(f"{REPO} is gated; ask for access")


def test_a_token_that_is_not_accepted(repo):
    assert message(token="old") == (
        "you are not logged in, or the Hub does not accept your token (401); log in with `hf auth login` or pass a token "
        f"that may read {REPO}"
    )


def test_a_token_that_may_not(hub, repo):
    hub.fail("HEAD .*config", 403, message="fine-grained", times=ALWAYS)
    assert message(token="good").startswith(f"your token may not read {REPO} (403); make one that may")


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("request_", [f"HEAD .*{WEIGHTS}", f"GET .*{WEIGHTS}"], ids=["head", "get"])
def test_a_hub_that_is_busy_is_asked_again(hub, repo, files, status, request_):
    hub.fail(request_, status, times=2)
    assert_same_model(ExprGAN.from_pretrained(REPO), files)
    assert hub.waits and len(hub.asked(request_)) >= 3


def test_a_hub_that_says_how_long_to_wait_is_believed(hub, repo, files):
    hub.fail(f"HEAD .*{WEIGHTS}", 429, times=2, Retry_After="17")
    assert_same_model(ExprGAN.from_pretrained(REPO), files)
    assert max(hub.waits) >= 17


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize(
    ("status", "said"),
    [
        (429, "the Hub answers that you ask too often (429); try again in some minutes; who has logged in may ask more"),
        (503, f"the Hub cannot serve {REPO} now (it answers 503); try again in some minutes"),
    ],
)
def test_a_hub_that_stays_busy_says_so(hub, repo, method, status, said):
    hub.fail(f"{method} .*{WEIGHTS}", status, times=ALWAYS)
    assert message() == said


def test_no_connection_is_no_harm_with_a_cache(hub, repo, files):
    ExprGAN.from_pretrained(REPO)
    hub.stop()
    assert_same_model(ExprGAN.from_pretrained(REPO), files)
    assert_same_model(ExprGAN.from_pretrained(REPO, local_files_only=True), files)


def test_no_connection_and_no_cache(hub, repo, monkeypatch):
    assert message(local_files_only=True) == (
        f"{REPO} is not in the local cache; let it be downloaded once, without local_files_only, or name a folder"
    )
    assert not hub.requests
    hub.stop()
    assert message() == (
        f"{REPO} is not in the local cache, and the Hub cannot be reached; check the connection, or name a folder"
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "the Hub cannot be reached (HF_HUB_OFFLINE is set); check" in message()


def test_a_download_that_is_cut_off_goes_on_where_it_was(hub, repo, files, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    hub.cut(f"GET .*{WEIGHTS}", keep=len(files[WEIGHTS]) // 2)
    assert_same_model(ExprGAN.from_pretrained(REPO), files)
    assert len(hub.asked(f"GET .*{WEIGHTS}")) == 2
    assert 0 < hub.sent[-1] < len(files[WEIGHTS])  # the rest alone


def test_a_download_that_is_cut_off_every_time(hub, repo):
    hub.cut(f"GET .*{WEIGHTS}", keep=500, times=ALWAYS)
    assert message() == f"the connection to the Hub broke off while {REPO} was transferred; start again"
    assert not list(Path(hub.cache).rglob(WEIGHTS))  # nothing half is kept


@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_wrong_bytes_are_noticed_and_fetched_again(hub, repo, files, name):
    hub.spoil(f"GET .*{name}")
    assert_same_model(ExprGAN.from_pretrained(REPO), files)
    assert len(hub.asked(f"GET .*{name}")) == 2


def test_a_cache_that_is_damaged_later_mends_itself(hub, repo, files):
    ExprGAN.from_pretrained(REPO)
    (blob,) = (path.resolve() for path in Path(hub.cache).rglob(WEIGHTS))
    blob.write_bytes(b"x" * len(files[WEIGHTS]))
    assert message(local_files_only=True).startswith(f"{WEIGHTS} of {REPO} is damaged in the local cache")
    assert_same_model(ExprGAN.from_pretrained(REPO), files)


def test_wrong_bytes_every_time(hub, repo):
    hub.spoil(f"GET .*{WEIGHTS}", times=ALWAYS)
    assert message() == (
        f"{WEIGHTS} of {REPO} arrives damaged (its hash is not the one the Hub names); try again, or from another network"
    )


# What is there, but is no model that can be used.


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("model.safetensors", lambda data: data[:-100], "is damaged"),
        ("model.safetensors", lambda data: b"", "is damaged"),
        ("model.safetensors", lambda data: None, "only safetensors weights are read, never pickles"),
        ("config.json", lambda data: None, "has no config.json; it is no ExprGAN model"),
        ("model.safetensors", lambda data: changed(data, **{"G_enc.fc.bias": None}), f"{REPO} lacks G_enc.fc.bias"),
        ("model.safetensors", lambda data: changed(data, more=torch.ones(1)), f"{REPO} holds more, which this model"),
        ("model.safetensors", lambda data: changed(data, **{"G_enc.fc.bias": torch.full((4,), float("nan"))}),
         f"G_enc.fc.bias in {REPO} holds NaN or infinity; take another checkpoint"),
        ("config.json", lambda data: data.replace(b'"format": 1', b'"format": 7'), "format 7 is not the format 1"),
        ("config.json", lambda data: data.replace(b'"format": 1', b'"form": 1'), "no format number"),
        ("config.json", lambda data: data.replace(b'"z_dim": 4', b'"z_dim": -4'), "z_dim must be a whole number"),
        ("config.json", lambda data: data[:40], "cannot be used"),
        ("config.json", lambda data: b"\x80\x04", "cannot be used"),
    ],
    ids=["truncated", "empty", "pickles only", "no config", "missing key", "extra key", "nan", "format", "no format",
         "nonsense", "broken json", "no text"],
)  # fmt: skip
def test_files_that_are_no_model_are_refused(hub, files, name, change, said):
    data = change(files[name])
    kept = {one: content for one, content in files.items() if one != name}
    hub.add(REPO, kept | ({"pytorch_model.bin": b"\x80\x02."} if data is None else {name: data}))
    assert said in message()
    assert not hub.asked("GET .*bin")


# The self-check.


def test_the_check_passes_and_tells_another_model(hub, repo, files):
    ExprGAN.from_pretrained(REPO, check=True)
    weights = {key: value * 1.5 if key.startswith("G_enc.fc") else value for key, value in load(files[WEIGHTS]).items()}
    hub.add("org/other", files | {WEIGHTS: save(weights)})
    assert message("org/other", check=True).startswith(
        "org/other does not do here what it did when it was published: z diff"
    )
    hub.add("org/bare", {one: data for one, data in files.items() if one != REFERENCE_NAME})
    assert message("org/bare", check=True) == f"org/bare has no {REFERENCE_NAME}; there is nothing to check it with"
    hub.add("org/broken", files | {REFERENCE_NAME: files[REFERENCE_NAME][:-5]})
    assert "is damaged or another model's" in message("org/broken", check=True)


def test_loading_needs_no_gradio_and_no_face_finder(files, tmp_path):
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    heavy = ("gradio", "facenet_pytorch", "torchvision", "accelerate", "jinja2", "sklearn", "tensorboard", "matplotlib")
    code = (f"import sys; sys.modules.update(dict.fromkeys({heavy!r})); from exprgan import ExprGAN; "
            f"print(ExprGAN.from_pretrained({str(tmp_path)!r}, check=True).config.z_dim)")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.stdout == "4\n", done.stderr


def test_a_data_set_is_brought_whole(hub):
    hub.add("org/faces", {"metadata.csv": b"file_name\na.png\n", "train/a.png": b"picture"}, kind="dataset")
    folder = HubSource("org/faces", kind="dataset").folder()
    assert (folder / "train" / "a.png").read_bytes() == b"picture"
    hub.requests.clear()
    assert HubSource("org/faces", kind="dataset").folder() == folder and not hub.asked("resolve")

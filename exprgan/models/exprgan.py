"""ExprGAN: the networks of the paper, the expression classifier and T as one model, on disk or on the Hub."""

import json
import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from huggingface_hub import HfApi, ModelCard, PyTorchModelHubMixin
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..atomic_write import atomic_write
from ..errors import WeightsError
from ..torch_state import own_torch_state, usable_device, usable_dtype
from .blocks import CalibratedModule
from .config import CONFIG_NAME, ExprGANConfig, read_config
from .controller import Controller
from .hub_source import HUB_ERRORS, HUB_MODEL, HubSource, explain_hub_error
from .latent_prior import LatentPrior
from .networks import Decoder, Encoder, FaceNetwork, ImageDiscriminator, LatentDiscriminator
from .records import RESULTS_NAME, TRAINING_NAME, read_record, read_training
from .self_test import REFERENCE_NAME, check_reference
from .unit_table import UnitTable
from .warp_network import WarpEmphasis, WarpNetwork

WEIGHTS_NAME = "model.safetensors"
MAX_TENSORS = 10_000  # reading the names of more can take a minute


class ExprGAN(
    nn.Module,
    PyTorchModelHubMixin,
):
    """G_enc, G_dec, F_ctrl, Q, D_img and D_z (paper, Fig. 1c), the expression classifier of expression transfer, and T.

    T, the warp network, is not part of the paper; a model has one if one was trained (`config.warp_width` > 0).

    Example:
        >>> model = ExprGAN.from_pretrained("weights")                    # or "org/exprgan"
        >>> z = model.G_enc(x)                                            # x: (B, 3, 128, 128) in [-1, 1]
        >>> x_hat = model.G_dec(z, model.F_ctrl.code("happy")[None])
    """

    T: WarpNetwork | None
    unit_table: UnitTable | None
    _source: HubSource | None = None
    """Where `from_pretrained` read it, without a token."""

    def __init__(self, config: ExprGANConfig = ExprGANConfig()):  # noqa: B008
        super().__init__()
        self.config = config
        num_expressions, numbers_each = len(config.expressions), config.code_dim_each
        self.F_ctrl = Controller(config.expressions, numbers_each, config.intensity_knots)
        self.G_enc = Encoder(config.image_size, config.z_dim, config.encoder_width)
        self.G_dec = Decoder(config.image_size, config.z_dim, self.F_ctrl.code_dim, config.decoder_width,
                             config.code_dim_each if config.pooled_codes else 0)  # fmt: skip
        self.D_img = ImageDiscriminator(config.image_size, num_expressions, numbers_each, config.discriminator_width,
                                        grey_codes=config.grey_codes)  # fmt: skip
        self.D_z = LatentDiscriminator(config.z_dim)
        self.classifier = FaceNetwork(num_expressions, config.face_width, config.face_size,
                                      num_units=len(config.action_units))  # fmt: skip
        self.T = (
            WarpNetwork(
                config.image_size,
                self.F_ctrl.code_dim,
                config.warp_width,
                config.warp_units,
                config.warp_eyes,
                config.warp_wrinkles,
            )
            if config.warp_width
            else None
        )
        self.latent_prior = LatentPrior(config.z_dim)
        self.warp_emphasis = WarpEmphasis(num_expressions)
        self.unit_table = UnitTable(num_expressions, numbers_each, len(config.warp_units)) if config.warp_units else None

    def Q(self, x: Tensor, y: Tensor) -> Tensor:
        """Predicts the code of pictures of known expression: x (B, 3, H, W), y (B, K) one-hot -> c_hat (B, K * d)."""
        return self.D_img.read_code(x, y)

    def random_code(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draws codes by eq. 3 (`Controller.random`): y (B, K) one-hot -> c (B, K * d).

        With pooled codes the numbers of absent classes are -1: for such a G_dec only that is absent, and what eq. 3 draws
        from -1 to 0 shows something of all other expressions.
        """
        c = self.F_ctrl.random(y, generator)
        if not self.config.pooled_codes:
            return c
        is_present = y.bool().repeat_interleave(self.F_ctrl.numbers_each, dim=1)
        return torch.where(is_present, c, -1.0)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Edits: x (B, 3, H, W) in [-1, 1] and c (B, K * d) -> x_hat = G_dec(G_enc(x), c), like x."""
        return self.G_dec(self.G_enc(x), c)

    @classmethod
    @own_torch_state()
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: str | os.PathLike[str], *, revision: str | None = None,
        token: str | bool | None = None, cache_dir: str | Path | None = None, force_download: bool = False,
        local_files_only: bool = False, device: str | torch.device = "cpu",
        dtype: str | torch.dtype = torch.float32, check: bool = False,
    ) -> "ExprGAN":  # fmt: skip
        """Loads published weights, strictly, ready for use (`eval`).

        Args:
            pretrained_model_name_or_path: a folder with config.json and model.safetensors, or a repository on the Hub:
                "org/name", or "org/name@revision".
            revision, token, cache_dir, force_download, local_files_only: as in `huggingface_hub.hf_hub_download`.
            device: of the weights, such as "cuda:0".
            dtype: of the weights: float32, float16, bfloat16 or float64, also by name. Codes, readings and warps are always
                float32. Published measurements are of float32.
            check: compare the model's outputs on `device` with those in reference.safetensors.

        Raises:
            WeightsError: there is no such model, the Hub cannot be reached, the files do not fit, or the check failed.
            ExprGANError: the device is not present here.
            ValueError: two revisions, one of a folder, or an unknown device or type.
        """
        dtype = usable_dtype(dtype)
        device = usable_device(device, dtype)
        source = HubSource(str(pretrained_model_name_or_path), revision=revision, token=token, cache_dir=cache_dir,
                           force_download=force_download, local_files_only=local_files_only)  # fmt: skip
        name = source.name
        path = source.file(CONFIG_NAME, "it is no ExprGAN model, which `save_pretrained` would have written")
        config = read_config(path)
        weights = read_weights(source.file(WEIGHTS_NAME, "only safetensors weights are read, never pickles"))
        reference = source.file(REFERENCE_NAME, "there is nothing to check it with") if check else None
        with torch.device("meta"), _SkipInit():  # a config may describe a network larger than the memory
            model = cls(config)
        model.load_state_dict(_fitting(weights, model.state_dict(), name), assign=True)
        model.to(device).eval()
        if reference:
            check_reference(model, reference, name)
        in_cache = not source.is_folder and path.parent.parent.name == "snapshots"  # .../snapshots/COMMIT/config.json
        model._source = replace(source, revision=path.parent.name if in_cache else source.revision, token=None)
        return model.to(dtype)

    def generate_model_card(self, repo: str = HUB_MODEL) -> ModelCard:
        """The card of a model of which nothing is known but config.json; `repo` is its name on the Hub."""
        from .model_card import render_model_card  # with Jinja, which loading does not need

        return ModelCard(render_model_card(json.loads(self.config.to_json()), repo))

    def push_to_hub(  # type: ignore[override]
        self, repo_id: str, *, private: bool | None = None, token: str | bool | None = None,
        commit_message: str = "Push ExprGAN", branch: str | None = None, create_pr: bool | None = None,
        allow_patterns: str | list[str] | None = None, ignore_patterns: str | list[str] | None = None,
        delete_patterns: str | list[str] | None = None,
    ) -> str:  # fmt: skip
        """Uploads the model to "org/name", with the card that `python -m train publish` writes.

        The repository is created if it does not exist. A card that was edited there is kept. A model that `from_pretrained`
        loaded takes along what is known of it: training.json and, if its weights were not changed, results.json. Of changed
        weights the card names those they were made from and the credits of their data.

        Args:
            repo_id: "org/name".
            private: whether only you can see a new repository.
            token, commit_message, create_pr: as in `huggingface_hub.HfApi.upload_folder`.
            branch: to commit to; by default main.
            allow_patterns, ignore_patterns, delete_patterns: as in `huggingface_hub.HfApi.upload_folder`.

        Returns:
            The address of the commit.

        Raises:
            WeightsError: the Hub cannot be reached or refuses, or the records of the loaded weights cannot be read.
        """
        from .model_card import ABOUT_NAME, CARD_NAME, was_edited, write_card

        ignored = [ABOUT_NAME, *([ignore_patterns] if isinstance(ignore_patterns, str) else ignore_patterns or ())]
        api = HfApi(token=token)
        try:
            with TemporaryDirectory() as temporary:
                folder = Path(temporary)
                self.save_pretrained(folder)
                self._write_records(folder, token)
                write_card(folder, repo_id)
                if api.file_exists(repo_id, CARD_NAME, revision=branch):
                    there = Path(api.hf_hub_download(repo_id, CARD_NAME, revision=branch))
                    ignored += [CARD_NAME] if was_edited(there.read_text(encoding="utf-8")) else []
                api.create_repo(repo_id, private=private, exist_ok=True)
                return api.upload_folder(
                    repo_id=repo_id, folder_path=folder, commit_message=commit_message, revision=branch,
                    create_pr=create_pr, allow_patterns=allow_patterns, ignore_patterns=ignored,
                    delete_patterns=delete_patterns,
                )  # fmt: skip
        except HUB_ERRORS as error:
            raise WeightsError(explain_hub_error(error, repo_id, verb="write")) from error

    def _write_records(self, folder: Path, token: str | bool | None) -> None:
        """Writes training.json, results.json and about.md of the loaded weights, as far as they hold for these."""
        from .model_card import ABOUT_NAME

        if self._source is None:
            return
        source = replace(self._source, token=token)
        weights = source.file(WEIGHTS_NAME, "its records cannot be read")
        loaded = read_weights(weights)
        saved = read_weights(folder / WEIGHTS_NAME)
        is_same = loaded.keys() == saved.keys() and all(torch.equal(loaded[key], saved[key]) for key in saved)
        if not is_same:
            records: dict[str, dict[str, Any]] = {TRAINING_NAME: {"before": read_training(source)}}
        else:
            records = {name: read_record(source, name) for name in (TRAINING_NAME, RESULTS_NAME)}
            if about := source.optional_file(ABOUT_NAME):
                (folder / ABOUT_NAME).write_bytes(about.read_bytes())
        if "weights_sha256" in records.get(RESULTS_NAME, {}):
            measured = records[RESULTS_NAME]["weights_sha256"]
            if measured == sha256(weights.read_bytes()).hexdigest():
                records[RESULTS_NAME]["weights_sha256"] = sha256((folder / WEIGHTS_NAME).read_bytes()).hexdigest()
            else:
                del records[RESULTS_NAME]  # of other weights
        for name, record in records.items():
            if record:
                (folder / name).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    def save_pretrained(self, save_directory: str | Path, **more) -> str | None:
        """Writes a folder that `from_pretrained` reads; other arguments as in `huggingface_hub.ModelHubMixin`.

        Raises:
            WeightsError: a weight is not finite in fp16.
            ExprGANError: it cannot be written; a model already there is kept.
        """
        config = Path(save_directory) / CONFIG_NAME
        before = config.read_bytes() if config.is_file() else None
        try:
            return super().save_pretrained(save_directory, **more)
        except BaseException:
            if before and not config.exists():  # the mixin deletes it first
                config.write_bytes(before)
            raise

    def _save_pretrained(self, save_directory: Path) -> None:
        """Writes config.json and model.safetensors: weights in fp16, calibrated buffers in float64."""
        calibrated = tuple(f"{name}." for name, part in self.named_modules() if isinstance(part, CalibratedModule))
        tensors = {}
        for key, tensor in self.state_dict().items():
            stored = tensor.half() if tensor.is_floating_point() and not key.startswith(calibrated) else tensor
            if not torch.isfinite(stored).all():
                raise WeightsError(f"{key} holds NaN or numbers beyond fp16; nothing was written")
            tensors[key] = stored.cpu().contiguous()
        with atomic_write(save_directory / WEIGHTS_NAME) as weights, atomic_write(save_directory / CONFIG_NAME) as config:
            weights.write_bytes(save(tensors, metadata={"format": "pt"}))
            config.write_text(self.config.to_json(), encoding="utf-8")


class _SkipInit(TorchFunctionMode):
    """Skips random initialisation, which on the device "meta" would import torch's compiler, for seconds."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return args[0] if func is Tensor.normal_ else func(*args, **(kwargs or {}))


def _fitting(weights: dict[str, Tensor], wanted: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Copies of the weights in the wanted types; any float type will do.

    WeightsError: a tensor is unknown, missing, not finite, or of another shape.
    """
    fitting = {}
    for key, tensor in weights.items():
        if key not in wanted:
            raise WeightsError(f"{name} holds {key[:99]}, which this model does not have; its config.json belongs to "
                               "another model")  # fmt: skip
        if tensor.shape != wanted[key].shape:
            shapes = f"{str(tuple(tensor.shape))[:60]} instead of {str(tuple(wanted[key].shape))[:60]}"
            raise WeightsError(f"{key} in {name} is {shapes}; its config.json belongs to another model, or the weights to "
                               "another version of exprgan")  # fmt: skip
        if tensor.is_floating_point() != wanted[key].is_floating_point():
            kinds = f"{tensor.dtype} instead of {wanted[key].dtype}".replace("torch.", "")
            raise WeightsError(f"{key} in {name} holds {kinds}; take another checkpoint")
        fitting[key] = tensor.to(wanted[key].dtype, copy=True)  # a large float64 becomes infinite
        # A sum is three times as fast, and finite only if all are.
        if not torch.isfinite(fitting[key].sum()) and not torch.isfinite(fitting[key]).all():
            raise WeightsError(f"{key} in {name} holds NaN or infinity; take another checkpoint")
    if missing := sorted(wanted.keys() - weights.keys()):
        raise WeightsError(f"{name} lacks {missing[0]} (and {len(missing) - 1} more); download it again")
    return fitting


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads model.safetensors: tensors by name. WeightsError: it is damaged."""
    try:
        with safe_open(path, "pt") as file:
            if len(file.keys()) > MAX_TENSORS:
                raise ValueError(f"it names {len(file.keys())} tensors, and a model has some hundred")
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is damaged ({error}); download it again") from error

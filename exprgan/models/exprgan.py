"""The model: six parts and the expression classifier in one safetensors file, on disk or on the Hub."""

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import HfApi, PyTorchModelHubMixin
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..atomic_write import atomic_write
from ..errors import WeightsError
from ..expressions import EXPRESSIONS, NEUTRAL
from .controller import Controller
from .hub_source import HUB_ERRORS, HubSource, explain_hub_error
from .latent_prior import LatentPrior
from .networks import Decoder, Encoder, FaceNetwork, ImageDiscriminator, LatentDiscriminator
from .self_test import REFERENCE_NAME, check_reference
from .warp_network import WarpNetwork

FORMAT = 1
"""The number in config.json that a change of the networks' shapes or meanings would raise."""
CONFIG_NAME, WEIGHTS_NAME = "config.json", "model.safetensors"
MOST_CONFIG_BYTES, MOST_TENSORS, MOST_EXPRESSIONS = 4_000_000, 10_000, 256
"""What is more than any model needs is refused: names alone can take a minute to read."""
MOST_SPREAD = 100.0
"""No number of `people_mean` or `people_spread` is farther from 0: tanh of 100 is 1."""


@dataclass(frozen=True)
class ExprGANConfig:
    """What the networks look like. Flat, so that it survives config.json; the defaults are the paper's.

    Raises:
        ValueError: a value no network can be built with; the message names it.
    """

    format: int = FORMAT
    image_size: int = 128
    """Side of x in px: 16, 32, 64, 128 or 256."""
    expressions: tuple[str, ...] = EXPRESSIONS
    """Names of the K classes, in the order of c: lower case, of letters, digits, spaces, - and _; "neutral" is none."""
    code_dim_each: int = 5
    """d, the numbers of code per expression."""
    z_dim: int = 50
    encoder_width: int = 64
    """Channels of G_enc's first block; every block doubles them."""
    decoder_width: int = 1024
    """Channels of G_dec at 4x4; every block halves them."""
    discriminator_width: int = 16
    face_width: int = 16
    """Channels of the face network's first block."""
    face_size: int = 64
    """Side in px at which the classifier looks."""
    detail_width: float = 0.0
    """Width of T, the detail network; 0: there is none."""
    intensity_path: tuple[float, ...] = ()
    """The calibrated path of c_i over intensity, K * P * d numbers (see Controller); empty: a straight line."""
    detail_emphasis: tuple[float, ...] = ()
    """How much farther an editor moves a photo than T says, K numbers in 1..4 (see detail.py); empty: EMPHASIS."""
    people_mean: tuple[float, ...] = ()
    """Of training people's atanh(g(x)), z_dim numbers (see people.py); empty: new people are drawn from P_z."""
    people_spread: tuple[float, ...] = ()
    """A Cholesky factor of its covariance: the lower triangle, row by row."""

    def __post_init__(self):
        lists = {"expressions": "names"} | dict.fromkeys(
            ("intensity_path", "detail_emphasis", "people_mean", "people_spread"), "numbers"
        )
        for name, what in lists.items():
            if not isinstance(getattr(self, name), (list, tuple)):
                raise ValueError(f"{name} must be a list of {what}, not {getattr(self, name)!r}")
            object.__setattr__(self, name, tuple(getattr(self, name)))  # json knows no tuples
        if self.format != FORMAT:
            raise ValueError(f"format {self.format!r} is not the format {FORMAT} that this version reads")
        if type(self.image_size) is not int or self.image_size not in (16, 32, 64, 128, 256):
            raise ValueError(f"image_size must be 16, 32, 64, 128 or 256, not {self.image_size!r}")
        names = self.expressions
        if not names or not all(isinstance(n, str) and n for n in names) or len(set(names)) != len(names):
            raise ValueError(f"expressions must be different, non-empty names, not {names!r}")
        if len(names) > MOST_EXPRESSIONS:
            raise ValueError(f"expressions must be at most {MOST_EXPRESSIONS}, not {len(names)}")
        for name in names:  # they are typed, looked up in lower case, and become parts of file names
            if not re.fullmatch(r"[\w-]+( [\w-]+)*", name) or name != name.lower() or name == NEUTRAL:
                raise ValueError(f"expressions must be lower-case words other than {NEUTRAL!r}, not {name!r}")
        for name in (
            "code_dim_each",
            "z_dim",
            "encoder_width",
            "decoder_width",
            "discriminator_width",
            "face_width",
            "face_size",
        ):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= 8192:
                raise ValueError(f"{name} must be a whole number from 1 to 8192, not {value!r}")
        if type(self.detail_width) not in (int, float) or not 0 <= self.detail_width <= 64:
            raise ValueError(f"detail_width must be a number from 0 to 64, not {self.detail_width!r}")
        if self.detail_width and self.image_size < 32:
            raise ValueError(f"the detail network needs pictures of at least 32 px, not {self.image_size}")
        if self.decoder_width < self.image_size // 2:
            raise ValueError(f"decoder_width must be at least {self.image_size // 2} for {self.image_size} px")
        knots, rest = divmod(len(self.intensity_path), len(names) * self.code_dim_each)
        numbers = all(type(v) in (int, float) and -1.0 <= v <= 1.0 for v in self.intensity_path)
        if rest or knots == 1 or not numbers:
            raise ValueError("intensity_path must hold K * P * d numbers in [-1, 1] with P of at least 2")
        each = self.detail_emphasis
        if each and (len(each) != len(names) or not all(type(v) in (int, float) and 1 <= v <= 4 for v in each)):
            raise ValueError(f"detail_emphasis must hold {len(names)} numbers from 1 to 4, one an expression, not {each!r}")
        measured, z_dim = (self.people_mean, self.people_spread), self.z_dim
        counts = tuple(map(len, measured))
        finite = all(type(v) in (int, float) and abs(v) <= MOST_SPREAD for part in measured for v in part)
        if counts not in ((0, 0), (z_dim, z_dim * (z_dim + 1) // 2)) or not finite:
            raise ValueError(f"people_mean and people_spread must hold z_dim and z_dim (z_dim + 1) / 2 numbers within "
                             f"{MOST_SPREAD:g} of 0, or none")  # fmt: skip


class ExprGAN(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="exprgan",
    pipeline_tag="image-to-image",
    tags=["facial-expression-editing", "gan", "face"],
    repo_url="https://huggingface.co/org/exprgan",
    paper_url="https://arxiv.org/abs/1709.03842",
):
    """G_enc, G_dec, F_ctrl, Q, D_img and D_z (paper, Fig. 1c), the expression classifier of expression transfer, and T.

    T, which carries an edit over to the photo's own pixels, is ours; a model has one if one was trained.

    Example:
        >>> model = ExprGAN.from_pretrained("weights")                    # or "org/exprgan"
        >>> z = model.G_enc(x)                                            # x: (B, 3, 128, 128) in [-1, 1]
        >>> x_hat = model.G_dec(z, model.F_ctrl.code("happy")[None])
    """

    def __init__(self, config: ExprGANConfig = ExprGANConfig()):
        super().__init__()
        self.config = config
        self.F_ctrl = Controller(config.expressions, config.code_dim_each, config.intensity_path)
        num_expressions, code_dim = len(config.expressions), self.F_ctrl.code_dim
        self.people = LatentPrior(config.z_dim, config.people_mean, config.people_spread)
        self.G_enc = Encoder(config.image_size, config.z_dim, config.encoder_width)
        self.G_dec = Decoder(config.image_size, config.z_dim, code_dim, config.decoder_width)
        self.D_img = ImageDiscriminator(
            config.image_size, num_expressions, config.code_dim_each, config.discriminator_width
        )
        self.D_z = LatentDiscriminator(config.z_dim)
        self.classifier = FaceNetwork(num_expressions, config.face_width, config.face_size)
        self.T = WarpNetwork(config.image_size, code_dim, config.detail_width) if config.detail_width else None

    def Q(self, x: Tensor, y: Tensor) -> Tensor:
        """Reads the code of a picture of known expression: x (B, 3, H, W), y (B, K) one-hot -> c_hat (B, K * d)."""
        return self.D_img.Q(self.D_img.trunk(x, y))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Edits: x (B, 3, H, W) in [-1, 1] and c (B, K * d) -> x_hat = G_dec(G_enc(x), c), like x."""
        return self.G_dec(self.G_enc(x), c)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *, revision=None, token=None, cache_dir=None,
                        force_download=False, local_files_only=False, device="cpu", dtype=torch.float32,
                        check=False):  # fmt: skip
        """Loads published weights, strictly, ready for use (`eval`).

        Args:
            pretrained_model_name_or_path: a folder with config.json and model.safetensors, or a repository on the Hub:
                "org/name", or "org/name@revision".
            revision: branch, tag or commit of the repository.
            token, cache_dir, force_download, local_files_only: as in `huggingface_hub.hf_hub_download`.
            device: where the weights go.
            dtype: the weights' type in memory; float32 is what was tested.
            check: let the model, on `device`, do what reference.safetensors says that it did when it was published.

        Raises:
            WeightsError: the folder or repository is missing or cannot be reached, its files do not fit this version, or
                the check failed.
            ValueError: two revisions.
        """
        source = HubSource(str(pretrained_model_name_or_path), revision=revision, token=token, cache_dir=cache_dir,
                        force_download=force_download, local_files_only=local_files_only)  # fmt: skip
        name = source.name
        config = read_config(source.file(CONFIG_NAME, "it is no ExprGAN model, which `save_pretrained` would have written"))
        weights = read_weights(source.file(WEIGHTS_NAME, "only safetensors weights are read, never pickles"))
        reference = source.file(REFERENCE_NAME, "there is nothing to check it with") if check else None
        with torch.device("meta"), _NoDraws():  # a config can ask for a network larger than any machine's memory
            wanted = cls(config).state_dict()
        _check_fit(weights, wanted, name)
        model = cls(config)
        model.load_state_dict(weights)
        model.to(device).eval()
        if reference:
            check_reference(model, reference, name)
        return model.to(dtype)

    def push_to_hub(self, repo_id: str, *, token=None, ignore_patterns=None, **settings) -> str:
        """Sends what `save_pretrained` writes to the Hub; a card that is there already stays as it is.

        Args:
            repo_id: "org/name"; made if it is not there.
            token, ignore_patterns, settings: as in `huggingface_hub.PyTorchModelHubMixin.push_to_hub`.

        Returns:
            The address of the commit.

        Raises:
            WeightsError: the Hub cannot be reached or refuses.
        """
        ignored = [ignore_patterns] if isinstance(ignore_patterns, str) else [*(ignore_patterns or ())]
        try:
            if HfApi(token=token).file_exists(repo_id, "README.md"):
                ignored.append("README.md")
            return super().push_to_hub(repo_id, token=token, ignore_patterns=ignored, **settings)
        except HUB_ERRORS as error:
            raise WeightsError(explain_hub_error(error, repo_id, verb="write")) from error

    def save_pretrained(self, save_directory: str | Path, **more) -> str | None:
        """Writes a folder that `from_pretrained` reads; takes what the Hub's mixin takes.

        Raises:
            WeightsError: a weight is not finite in fp16.
            ExprGANError: it cannot be written; a model that stood there still stands.
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
        """Writes config.json and model.safetensors in fp16. Called by `save_pretrained` and `push_to_hub`."""
        tensors = {
            key: (tensor.half() if tensor.is_floating_point() else tensor).cpu().contiguous()
            for key, tensor in self.state_dict().items()
        }
        for key, tensor in tensors.items():
            if not torch.isfinite(tensor).all():
                raise WeightsError(f"{key} holds NaN or numbers beyond fp16; nothing was written")
        text = json.dumps(dataclasses.asdict(self.config), indent=2, sort_keys=True)
        with atomic_write(save_directory / WEIGHTS_NAME) as weights, atomic_write(save_directory / CONFIG_NAME) as config:
            weights.write_bytes(save(tensors, metadata={"format": "pt"}))
            config.write_text(text + "\n", encoding="utf-8")


class _NoDraws(TorchFunctionMode):
    """Leaves weights as they are instead of drawing them: on "meta" a draw imports torch's compiler, for seconds."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return args[0] if func is Tensor.normal_ else func(*args, **(kwargs or {}))


def _check_fit(weights: dict[str, Tensor], wanted: dict[str, Tensor], name: str) -> None:
    """Says which tensor does not fit, if one does not; any float type will do."""
    for key, tensor in weights.items():
        if key not in wanted:
            raise WeightsError(f"{name} holds {key[:99]}, which this model does not have; its config.json is another's")
        if tensor.shape != wanted[key].shape:
            shapes = f"{str(tuple(tensor.shape))[:60]} instead of {str(tuple(wanted[key].shape))[:60]}"
            raise WeightsError(f"{key} in {name} is {shapes}; its config.json is another's")
        if tensor.is_floating_point() != wanted[key].is_floating_point():
            kinds = f"{tensor.dtype} instead of {wanted[key].dtype}".replace("torch.", "")
            raise WeightsError(f"{key} in {name} holds {kinds}; take another checkpoint")
        if not torch.isfinite(tensor.to(wanted[key].dtype)).all():  # a large float64 is infinite as well
            raise WeightsError(f"{key} in {name} holds NaN or infinity; take another checkpoint")
    if missing := sorted(wanted.keys() - weights.keys()):
        raise WeightsError(f"{name} lacks {missing[0]} (and {len(missing) - 1} more); download it again")


def read_config(path: Path) -> ExprGANConfig:
    """config.json -> ExprGANConfig.

    Raises:
        WeightsError: it is no JSON, of another format, or holds nonsense; the message says which.
    """
    try:
        if path.stat().st_size > MOST_CONFIG_BYTES:
            raise ValueError(f"it is {path.stat().st_size / 1e6:.0f} MB large, and a model's has some thousand bytes")
        values = json.loads(path.read_text(encoding="utf-8"))
        known = {field.name for field in dataclasses.fields(ExprGANConfig)}
        if not isinstance(values, dict) or "format" not in values:
            raise ValueError("it has no format number, so it is not an ExprGAN model's")
        if unknown := sorted(values.keys() - known):
            raise ValueError(f"{unknown[0]!r} is unknown to this version")
        return ExprGANConfig(**values)
    except RecursionError as error:
        raise WeightsError(f"{path} cannot be used: it is nested without end; take another's") from error
    except (ValueError, TypeError, OSError) as error:
        raise WeightsError(f"{path} cannot be used: {error}") from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """model.safetensors -> tensors by name. Nothing but safetensors is ever read.

    Raises:
        WeightsError: it is damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            if len(file.keys()) > MOST_TENSORS:
                raise ValueError(f"it names {len(file.keys())} tensors, and a model has some hundred")
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is damaged ({error}); download it again") from error

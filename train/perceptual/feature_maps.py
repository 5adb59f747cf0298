"""phi of eq. 7: the five feature maps of a frozen face network. Each network is one registered function.

All of them are used with beta_l = 1 and the mean absolute difference of each map (`train.gan.gan_losses.identity`).
"""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from exprgan.errors import WeightsError
from exprgan.models.exprgan import read_weights
from exprgan.models.networks import FaceNetwork

VGG_CONVS = [(block, number) for block, count in enumerate((2, 2, 3, 3, 2), 1) for number in range(1, count + 1)]
"""VGG-16's convolutions up to conv5_2, the last that eq. 7 needs."""
VGG_WIDTHS = (64, 128, 256, 512, 512)
"""Channels of VGG-16's five blocks."""
VGG_MEAN = (129.1863, 104.7624, 93.5940)
"""Mean red, green and blue of Parkhi et al.'s faces, in 0..255."""
VGG_LAYOUTS = (
    ("conv{block}_{number}", "rgb", 255),  # from MatConvNet, whose weights the paper's authors used
    ("conv_{block}_{number}", "bgr", 255),  # from Lua Torch
    ("conv{block}.convs.{index}", "bgr", 1),  # the same, with the first kernel times 255
    ("{layer}", "bgr", 255),  # from Caffe, in torchvision's vgg16, `features` or all of it
)
"""Names of VGG-16's convolutions in files, with the input these weights expect: channel order, value of white."""
VGG_AFFIXES = re.compile(r"^((module|model|features)\.)+|-conv(?=\.)")
"""Prefixes and suffixes of these names in some files."""


class FaceMaps(nn.Module):
    """Five stages of a frozen face network: always in `eval`; gradients reach the images but no parameter.

    Args:
        stages: the first takes images (B, 3, H, W) in [-1, 1] plus `shift`, each other one the map before it.
        size: side in px at which images are compared; larger ones are averaged down first.
        min_size: smallest side in px for which the last map is not empty.
        shift: added to red, green and blue.

    Raises:
        ValueError: `size`, or later an image, is smaller than `min_size`.
    """

    def __init__(self, stages: Sequence[nn.Module], size: int, min_size: int = 16, shift: Sequence[float] = (0, 0, 0)):
        super().__init__()
        if size < min_size:
            raise ValueError(f"size must be at least {min_size} px for this face network, not {size}")
        self.size, self.min_size = size, min_size
        self.stages = nn.ModuleList(stages)
        self.register_buffer("shift", torch.tensor(shift)[:, None, None] if any(shift) else None)
        self.to(memory_format=torch.channels_last).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "FaceMaps":
        """Stays in `eval` whatever the mode."""
        return super().train(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """x: (B, 3, H, W) in [-1, 1], square -> phi_1(x)..phi_5(x), each (B, C_l, H_l, W_l), not negative."""
        if x.shape[-1] < self.min_size:
            raise ValueError(f"this face network needs pictures of at least {self.min_size} px, not {x.shape[-1]}")
        x = F.adaptive_avg_pool2d(x, self.size) if x.shape[-1] > self.size else x
        x = x if self.shift is None else x + self.shift
        return [x := stage(x) for stage in self.stages]


class MultiScaleMaps(nn.ModuleList):
    """Several FaceMaps of different sizes."""

    def forward(self, x: Tensor) -> list[Tensor]:
        """As `FaceMaps`, with five maps for each size."""
        return [single for maps in self for single in maps(x)]


FeatureSource = Callable[[FaceNetwork, str, int, str], FaceMaps]
FEATURE_SOURCES: dict[str, FeatureSource] = {}


def register_feature_source(function: FeatureSource) -> FeatureSource:
    """Registers a face network under its function's name: (classifier, file, size, channels) -> its maps."""
    FEATURE_SOURCES[function.__name__] = function
    return function


def create_face_maps(source: str, classifier: FaceNetwork, *, file: str = "", sizes: Sequence[int] = (128,),
                     channels: str = "") -> nn.Module:  # fmt: skip
    """Creates phi of eq. 7 on the classifier's device. It is a copy: weights loaded into the classifier later are not used.

    Args:
        source: a name in FEATURE_SOURCES: local (the classifier itself), vggface (the paper's) or facenet.
        classifier: the model's trained face network.
        file: weights of vggface (needed) or facenet (else downloaded): .pth, .pt or .safetensors. `local` reads none.
        sizes: sides in px at which images are compared; larger ones are averaged down first.
        channels: rgb or bgr, if vggface's file was made for another order than VGG_LAYOUTS has for its names.

    Raises:
        ValueError: there is no such source or order, or a size is too small for it.
        WeightsError: the weights are missing, damaged, refused, or of another network.
    """
    if source not in FEATURE_SOURCES:
        raise ValueError(f"there is no face network {source!r}; choose from {', '.join(FEATURE_SOURCES)}")
    if channels not in ("", "rgb", "bgr"):
        raise ValueError(f"channels must be rgb, bgr or empty, not {channels!r}")
    maps = [FEATURE_SOURCES[source](classifier, file, size, channels) for size in sizes]
    return (maps[0] if len(maps) == 1 else MultiScaleMaps(maps)).to(next(classifier.parameters()).device)


@register_feature_source
def local(classifier: FaceNetwork, file: str, size: int, channels: str) -> FaceMaps:
    """`FaceNetwork.maps` with batch norm folded into the convolutions: equal up to rounding, in fewer operations."""
    stages: list[nn.Module] = []
    for block in copy.deepcopy(classifier.blocks).eval():
        pool = nn.MaxPool2d(2) if stages else nn.Identity()
        first, second = fuse_conv_bn_eval(block[0], block[1]), fuse_conv_bn_eval(block[3], block[4])
        stages.append(nn.Sequential(pool, first, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True)))
    return FaceMaps(stages, size)


@register_feature_source
def vggface(classifier: FaceNetwork, file: str, size: int, channels: str) -> FaceMaps:
    """The paper's: ReLU of conv1_2, 2_2, 3_2, 4_2 and 5_2 of VGG-Face (Parkhi, Vedaldi and Zisserman, BMVC 2015).

    The network takes RGB in 0..255 minus VGG_MEAN. Here images and biases are divided by 127.5, which divides each of the
    five maps by 127.5 and changes nothing else: they are in units of x. (The authors' code divides them by their height
    times width at 224 px instead.) For a BGR file the first kernel's channels are reversed instead of the images'.
    """
    weights, order, white = _read_vgg_weights(file)
    kernel, bias = weights[1, 1]
    weights[1, 1] = (kernel.flip(1) if (channels or order) == "bgr" else kernel) * (white / 255), bias
    stages: list[nn.Module] = []
    layers: list[nn.Module] = []
    for (block, number), (kernel, bias) in weights.items():
        if block > 1 and number == 1:
            layers.append(nn.MaxPool2d(2))
        conv = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1, device="meta")
        conv.weight, conv.bias = nn.Parameter(kernel), nn.Parameter(bias / 127.5)
        layers += [conv, nn.ReLU(inplace=True)]
        if number == 2:
            stages.append(nn.Sequential(*layers))
            layers = []
    return FaceMaps(stages, size, shift=[1 - mean / 127.5 for mean in VGG_MEAN])


@register_feature_source
def facenet(classifier: FaceNetwork, file: str, size: int, channels: str) -> FaceMaps:
    """facenet-pytorch's InceptionResnetV1, trained on VGGFace2 at 160 px: conv2d_2b, conv2d_4a and the three repeats.

    Its state dict is read from `file`, or downloaded (107 MB) at first use. Batch norm is folded.
    """
    tensors = _read_tensors(file) if file else {}
    try:
        from facenet_pytorch import InceptionResnetV1

        net = InceptionResnetV1(pretrained=None if file else "vggface2").eval()
    except ImportError as error:
        raise WeightsError("facenet needs the package facenet-pytorch; install it, or choose local") from error
    except Exception as error:  # urllib, the disk and torch.load raise many types for a failed download
        raise WeightsError(f"facenet's weights could not be downloaded ({error}); name a file of them") from error
    if file:
        shapes = {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}
        net.load_state_dict(_select_tensors(tensors, shapes, file))
    net.conv2d_1a.conv.weight.data *= 127.5 / 128  # it was trained on (x in 0..255 - 127.5) / 128
    for part in net.modules():
        if hasattr(part, "bn"):
            part.conv, part.bn = fuse_conv_bn_eval(part.conv, part.bn), nn.Identity()
    stages = [
        nn.Sequential(net.conv2d_1a, net.conv2d_2a, net.conv2d_2b),
        nn.Sequential(net.maxpool_3a, net.conv2d_3b, net.conv2d_4a),
        nn.Sequential(net.conv2d_4b, net.repeat_1),
        nn.Sequential(net.mixed_6a, net.repeat_2),
        nn.Sequential(net.mixed_7a, net.repeat_3),
    ]
    return FaceMaps(stages, size, min_size=75)


def _vgg_names(layout: str) -> dict[tuple[int, int], str]:
    """Name of each convolution by (block, number); `layer` is its index among convolutions, ReLUs and pooling layers."""
    return {
        (block, number): layout.format(block=block, number=number, index=number - 1, layer=2 * i + block - 1)
        for i, (block, number) in enumerate(VGG_CONVS)
    }


def _read_vgg_weights(file: str) -> tuple[dict[tuple[int, int], tuple[Tensor, Tensor]], str, int]:
    """Reads (kernel, bias) by (block, number), and finds channel order and value of white from the names in the file."""
    if not file:
        raise WeightsError("vggface needs a file of weights, which are for research and not ours to give; or choose local")
    tensors = {VGG_AFFIXES.sub("", key): tensor for key, tensor in _read_tensors(file).items()}
    layouts = [row for row in VGG_LAYOUTS if _vgg_names(row[0])[1, 1] + ".weight" in tensors]
    if not layouts:
        present = ", ".join(sorted(tensors)[:3]) or "nothing"
        raise WeightsError(f"{file} holds {present}, not conv1_1.weight or another name of VGG-16's; take another file")
    layout, order, white = layouts[0]
    names = _vgg_names(layout)
    widths = [VGG_WIDTHS[block - 1] for block, _ in names]
    shapes: dict[str, tuple[int, ...]] = {}
    for name, in_channels, out_channels in zip(names.values(), [3, *widths], widths, strict=False):
        shapes |= {f"{name}.weight": (out_channels, in_channels, 3, 3), f"{name}.bias": (out_channels,)}
    tensors = _select_tensors(tensors, shapes, file)
    return {conv: (tensors[f"{name}.weight"], tensors[f"{name}.bias"]) for conv, name in names.items()}, order, white


def _read_tensors(file: str) -> dict[str, Tensor]:
    """Reads tensors by name from .safetensors, or with torch.load, which runs no code from the file (`weights_only`)."""
    path = Path(file)
    if not path.is_file():
        raise WeightsError(f"there is no file {file} with the face network's weights; name one that exists")
    if path.suffix == ".safetensors":
        return read_weights(path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises half a dozen types for a damaged file
        kind = type(error).__name__
        raise WeightsError(f"{file} is damaged or holds more than tensors ({kind}); save a state_dict() instead") from error
    loaded = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else loaded
    if not isinstance(loaded, Mapping) or not all(isinstance(tensor, Tensor) for tensor in loaded.values()):
        raise WeightsError(f"{file} is a {type(loaded).__name__} of more than tensors; save a state_dict() instead")
    return dict(loaded)


def _select_tensors(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], file: str) -> dict[str, Tensor]:
    """Selects the tensors named in `shapes`, checks shape and values, and converts floating-point ones to float32."""
    if missing := [key for key in shapes if key not in tensors]:
        raise WeightsError(f"{file} lacks {missing[0]} (and {len(missing) - 1} more): incomplete, or of another network")
    for key, shape in shapes.items():
        if tuple(tensors[key].shape) != shape:
            raise WeightsError(
                f"{key} in {file} is {tuple(tensors[key].shape)} instead of {shape}; it is of another network"
            )
        if not torch.isfinite(tensors[key]).all():
            raise WeightsError(f"{key} in {file} holds NaN or infinity; take another file")
    return {key: tensors[key].float() if tensors[key].is_floating_point() else tensors[key] for key in shapes}

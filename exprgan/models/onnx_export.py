"""Export to ONNX: G_enc and G_dec as files that run without torch.

The graphs are the paper's own form of the networks: ten standard operators, 13 and 53 nodes with the bundled weights. The
form that is fast in torch (see `convolution`) becomes 657 nodes, most of them slices and scatters, which few runtimes like.
"""

import copy
import dataclasses
import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..atomic_write import atomic_write
from ..errors import ExprGANError
from ..photo.ai_metadata import xmp_packet
from .exprgan import CONFIG_NAME, ExprGAN
from .networks import CODE_REPEATS, ConditionedConv, Decoder, Encoder

OPSET = 18
NAMES = {"encoder": "encoder.onnx", "decoder": "decoder.onnx", "config": CONFIG_NAME, "mark": "mark.xmp"}
"""What is written, by what it is."""
NEEDED = ("onnx", "onnxscript")


def export_onnx(model: ExprGAN, out: str | os.PathLike[str]) -> dict[str, Path]:
    """Writes G_enc and G_dec for ONNX runtimes, float32, for any number of pictures N at once.

    encoder.onnx takes x (N, 3, S, S) in [-1, 1], aligned faces as `Subject.crop`, and gives z (N, z_dim). decoder.onnx
    takes z and c (N, K * d) in [-1, 1] and gives x_hat (N, 3, S, S) in [-1, 1]. config.json says S, K, d and z_dim, the
    names of the expressions, and how c grows with intensity. mark.xmp is the XMP packet that tells that AI edited a file.

    Args:
        model: the weights.
        out: a folder; made if it is not there. Files of these names in it are replaced.

    Returns:
        The files, as in `NAMES`.

    Raises:
        ExprGANError: packages are missing, or the folder cannot be written.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        what, both = " and ".join(missing), " ".join(NEEDED)
        raise ExprGANError(f'Export needs {what}, not installed here: pip install "exprgan[onnx]" or pip install {both}.')
    out = Path(out)
    files = {what: out / name for what, name in NAMES.items()}
    config = model.config
    x = torch.zeros(2, 3, config.image_size, config.image_size)
    z, c = torch.zeros(2, config.z_dim), torch.zeros(2, model.F_ctrl.code_dim)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExprGANError(f"{out} cannot be written: {error.strerror or error}. Choose another folder.") from error
    contents = {
        "encoder": _graph(PlainEncoder(model.G_enc), {"x": x}, "z"),
        "decoder": _graph(PlainDecoder(model.G_dec), {"z": z, "c": c}, "x_hat"),
        "config": (json.dumps(dataclasses.asdict(config), indent=2) + "\n").encode(),
        "mark": xmp_packet().encode(),
    }
    with ExitStack() as writing:  # all of them, or none: an encoder goes with its decoder
        for what, path in files.items():
            writing.enter_context(atomic_write(path)).write_bytes(contents[what])
    return files


class PlainEncoder(nn.Module):
    """G_enc in convolutions alone."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.blocks, self.fc = _plain(encoder.blocks), _plain(encoder.fc)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 3, S, S) in [-1, 1] -> z: (N, z_dim) in [-1, 1]."""
        for block in self.blocks:
            x = F.relu(block(x))
        return torch.tanh(self.fc(x.flatten(1)))


class PlainDecoder(nn.Module):
    """G_dec in convolutions alone."""

    def __init__(self, decoder: Decoder):
        super().__init__()
        self.fc = _plain(decoder.fc)
        self.blocks = nn.ModuleList(PlainConv(block) for block in decoder.blocks)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """z: (N, z_dim), c: (N, K * d), both in [-1, 1] -> x_hat: (N, 3, S, S) in [-1, 1]."""
        h = F.relu(self.fc(torch.cat([z] + [c] * CODE_REPEATS, dim=1))).unflatten(1, (-1, 4, 4))
        *hidden, last = self.blocks
        for block in hidden:
            h = F.relu(block(h, c))
        return torch.tanh(last(h, c))


class PlainConv(nn.Module):
    """`ConditionedConv` of 3x3: the constant maps are convolved in a picture of 3x3 px, whose middle is then repeated."""

    def __init__(self, block: ConditionedConv):
        super().__init__()
        weight = block.weight.detach().float().cpu()
        self.upsample = block.upsample
        self.seen = nn.Parameter(weight[:, : block.in_channels].contiguous(), requires_grad=False)
        self.told = nn.Parameter(weight[:, block.in_channels :].contiguous(), requires_grad=False)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """h: (N, in_channels, S, S), condition: (N, K * d) -> (N, out_channels, S', S')."""
        if self.upsample:
            h = F.interpolate(h, scale_factor=2.0, mode="nearest")
        nine = F.conv2d(condition[:, :, None, None].expand(-1, -1, 3, 3), self.told, padding=1)
        place = torch.tensor([0, *[1] * (h.shape[-1] - 2), 2])  # first, middle, last
        return F.conv2d(h, self.seen, padding=1) + nine.index_select(2, place).index_select(3, place)


def _plain(module: nn.Module) -> nn.Module:
    """A copy in float32 on the CPU."""
    return copy.deepcopy(module).float().cpu().requires_grad_(False)


def _graph(network: nn.Module, inputs: dict[str, Tensor], output: str) -> bytes:
    """One network with its weights, as a file's content."""
    some = torch.export.Dim("N")
    with warnings.catch_warnings(), _quiet("torch.onnx", "onnxscript", "onnx_ir"):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(), tuple(inputs.values()), dynamo=True, verbose=False, opset_version=OPSET,
            input_names=list(inputs), output_names=[output], dynamic_shapes=tuple({0: some} for _ in inputs),
        )  # fmt: skip
    graph = program.model_proto
    for part in (graph, graph.graph, *graph.graph.node, *graph.graph.value_info, *graph.graph.input, *graph.graph.output):
        part.ClearField("metadata_props")  # the exporter's notes, among them the paths of this machine
    return graph.SerializeToString()


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Keeps to themselves what the exporter's packages would tell of every step."""
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)

"""Export of G_enc and G_dec to ONNX, in their plain form: the convolutions as the paper writes them.

The plain form has ten standard operators, 13 and 53 nodes with the bundled weights. The form that is fast in torch
(`fast_conv`) would become 657 nodes, most of them slices and scatters, which few runtimes optimise.
"""

import copy
import dataclasses
import json
import logging
import os
import warnings
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..atomic_write import atomic_write
from ..errors import ExprGANError
from ..photo.ai_metadata import xmp_packet
from .config import CONFIG_NAME
from .exprgan import ExprGAN
from .networks import CODE_REPEATS, ConditionedConv, Decoder, Encoder, block_codes

OPSET = 18
NAMES = {"encoder": "encoder.onnx", "decoder": "decoder.onnx", "config": CONFIG_NAME, "mark": "mark.xmp"}
PACKAGES = ("onnx", "onnxscript")


def export_onnx(model: ExprGAN, out: str | os.PathLike[str]) -> dict[str, Path]:
    """Writes G_enc and G_dec for ONNX runtimes, float32, for any number of pictures N at once.

    encoder.onnx takes x (N, 3, S, S) in [-1, 1], aligned faces as `Subject.crop`, and gives z (N, z_dim). decoder.onnx
    takes z and c (N, K * d) in [-1, 1] and gives x_hat (N, 3, S, S) in [-1, 1]. config.json holds S, K, d, z_dim, the names
    of the expressions, and `intensity_path` (K, P, d), c_i at P evenly spaced intensities. mark.xmp is the XMP packet that
    marks a file as edited by AI.

    The folder `out` is created if it does not exist; files of these names in it are replaced. Their paths are returned, by
    the keys of NAMES. ExprGANError: packages are missing, or the folder cannot be written.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        names, both = " and ".join(missing), " ".join(PACKAGES)
        raise ExprGANError(f'Export needs {names}, not installed here: pip install "exprgan[onnx]" or pip install {both}.')
    out, config = Path(out), model.config
    files = {content: out / name for content, name in NAMES.items()}
    x = torch.zeros(2, 3, config.image_size, config.image_size)
    z, c = torch.zeros(2, config.z_dim), torch.zeros(2, model.F_ctrl.code_dim)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExprGANError(f"{out} cannot be written: {error.strerror or error}. Choose another folder.") from error
    settings = dataclasses.asdict(config) | {"intensity_path": model.F_ctrl.path.tolist()}
    contents = {
        "encoder": _graph(PlainEncoder(model.G_enc), {"x": x}, "z"),
        "decoder": _graph(PlainDecoder(model.G_dec), {"z": z, "c": c}, "x_hat"),
        "config": (json.dumps(settings, indent=2) + "\n").encode(),
        "mark": xmp_packet().encode(),
    }
    with ExitStack() as writing:  # all files or none: encoder and decoder belong together
        for name, path in files.items():
            writing.enter_context(atomic_write(path)).write_bytes(contents[name])
    return files


class PlainEncoder(nn.Module):
    """G_enc as plain convolutions."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.blocks, self.fc = copy.deepcopy(encoder.blocks).float().cpu(), copy.deepcopy(encoder.fc).float().cpu()

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 3, S, S) in [-1, 1] -> z: (N, z_dim) in [-1, 1]."""
        for block in self.blocks:
            x = F.relu(block(x))
        return torch.tanh(self.fc(x.flatten(1)))


class PlainDecoder(nn.Module):
    """G_dec as plain convolutions."""

    def __init__(self, decoder: Decoder):
        super().__init__()
        self.fc, self.pooled_numbers = copy.deepcopy(decoder.fc).float().cpu(), decoder.pooled_numbers
        self.blocks = nn.ModuleList(PlainConv(block) for block in decoder.blocks)  # type: ignore[arg-type]

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """z: (N, z_dim), c: (N, K * d), both in [-1, 1] -> x_hat: (N, 3, S, S) in [-1, 1]."""
        c, *codes, last_code = block_codes(c, self.pooled_numbers, len(self.blocks))
        h = F.relu(self.fc(torch.cat([z] + [c] * CODE_REPEATS, dim=1))).unflatten(1, (-1, 4, 4))
        *hidden, last = self.blocks
        for block, code in zip(hidden, codes, strict=True):
            h = F.relu(block(h, code))
        return torch.tanh(last(h, last_code))


class PlainConv(nn.Module):
    """A 3x3 `ConditionedConv`: the constant maps are convolved at 3x3 px, and the centre of the result is repeated."""

    def __init__(self, block: ConditionedConv):
        super().__init__()
        kernel, condition_kernel = block.weight.detach().float().cpu().tensor_split([block.in_channels], dim=1)
        self.upsample, self.kernel = block.upsample, nn.Parameter(kernel.contiguous())
        self.condition_kernel = nn.Parameter(condition_kernel.contiguous())

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """h: (N, in_channels, S, S), condition: (N, K * d) -> (N, out_channels, S', S')."""
        if self.upsample:
            h = F.interpolate(h, scale_factor=2.0, mode="nearest")
        constants = F.conv2d(condition[:, :, None, None].expand(-1, -1, 3, 3), self.condition_kernel, padding=1)
        rows = torch.tensor([0, *[1] * (h.shape[-1] - 2), 2])  # first, middle, last
        return F.conv2d(h, self.kernel, padding=1) + constants.index_select(2, rows).index_select(3, rows)


def _graph(network: nn.Module, inputs: dict[str, Tensor], output: str) -> bytes:
    """One network with its weights as the bytes of an .onnx file."""
    batch = torch.export.Dim("N")
    with warnings.catch_warnings(), ExitStack() as restored:
        warnings.simplefilter("ignore")
        for logger in map(logging.getLogger, ("torch.onnx", "onnxscript", "onnx_ir")):
            restored.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)
        program = torch.onnx.export(
            network.eval().requires_grad_(False), tuple(inputs.values()), dynamo=True, verbose=False, opset_version=OPSET,
            input_names=list(inputs), output_names=[output], dynamic_shapes=tuple({0: batch} for _ in inputs),
        )  # fmt: skip
    assert program is not None
    graph = program.model_proto
    for part in (graph, graph.graph, *graph.graph.node, *graph.graph.value_info, *graph.graph.input, *graph.graph.output):
        part.ClearField("metadata_props")  # notes of the exporter, which include paths of this machine
    return graph.SerializeToString()

"""Export to ONNX: the paper's G_enc and G_dec, and all that edits a photo with T, from the face finder to the paste."""

import dataclasses
import json
import logging
import os
import warnings
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..atomic_write import atomic_write
from ..errors import ExprGANError
from ..models.backward_warp import FIELD_SCALE
from ..models.config import CONFIG_NAME
from ..models.exprgan import ExprGAN
from ..models.warp_network import WarpPrediction
from ..photo.ai_metadata import xmp_packet
from ..photo.mtcnn import WINDOW_PX, load_networks
from .photo_graphs import FaceReader, PhotoPainter, WarpPredictor
from .plain_networks import PlainDecoder, PlainEncoder

OPSET = 18
GRAPHS = "encoder", "decoder", "pnet", "rnet", "onet", "reader", "warp", "painter"
NAMES = {name: f"{name}.onnx" for name in GRAPHS} | {"config": CONFIG_NAME, "mark": "mark.xmp"}
"""The files by content; warp and painter only of a model with a T."""
PACKAGES = ("onnx", "onnxscript")
MIN_HALF = 64  # elements from which a weight is worth a conversion to fp16

Graph = tuple[nn.Module, dict[str, Tensor], dict[str, dict[int, str]], list[str]]
"""A network, examples of its inputs, those of their dimensions that vary, by name, and the names of its outputs."""


def export_onnx(model: ExprGAN, out: str | os.PathLike[str], *, half: bool = False) -> dict[str, Path]:
    """Writes the networks for ONNX runtimes; they compute in float32. N is any number of pictures.

    - encoder: x (N, 3, S, S) in [-1, 1], aligned faces as `Subject.crop` -> z (N, z_dim).
    - decoder: z, and c (N, K * d) in [-1, 1] -> x_hat (N, 3, S, S) in [-1, 1].
    - pnet, rnet, onet: the face finder, see `mtcnn`; x (1, 3, H, W), (N, 3, 24, 24) and (N, 3, 48, 48) in [-1, 1] ->
      scores, corrections and, of onet, landmarks.
    - reader: x -> certainties (N, K + 1), neutral last; units (N, U, 2); covered (N,), that the mouth is covered.
    - warp: T, see `WarpPredictor`.
    - painter: applies a prediction of T to a photo, see `PhotoPainter`.
    - config: config.json with S, K, d, z_dim, the names of the expressions, `intensity_path` (K, P, d), which is c_i at P
      evenly spaced intensities, `warp_emphasis` (K,), and of a T that takes action units `unit_table` (K, d + 1, U), see
      `UnitTable`.
    - mark: the XMP packet that marks a file as edited by AI.

    Args:
        model: one without a T gives neither warp nor painter.
        out: a folder; created if it does not exist. Files of these names in it are replaced.
        half: whether weights are stored in fp16 where that is exact, as for most that `from_pretrained` loaded: half their
            size, and the same results, since the graphs convert them to float32.

    Returns:
        The paths of the files, by the keys of NAMES.

    Raises:
        ExprGANError: packages are missing, or the folder cannot be written.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        names, both = " and ".join(missing), " ".join(PACKAGES)
        raise ExprGANError(f"Export needs {names}, not installed here: pip install {both}.")
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExprGANError(f"{out} cannot be written: {error.strerror or error}. Choose another folder.") from error
    settings = dataclasses.asdict(model.config) | {
        "intensity_path": model.F_ctrl.path.tolist(),
        "warp_emphasis": model.warp_emphasis.per_expression.tolist(),
        "unit_table": [] if model.unit_table is None else model.unit_table.full.tolist(),
    }
    contents = {name: _to_bytes(*graph, half=half) for name, graph in graphs_of(model).items()}
    contents |= {"config": (json.dumps(settings, indent=2) + "\n").encode(), "mark": xmp_packet().encode()}
    files = {content: out / name for content, name in NAMES.items() if content in contents}
    with ExitStack() as writing:  # all files or none: encoder and decoder belong together
        for name, path in files.items():
            writing.enter_context(atomic_write(path)).write_bytes(contents[name])
    return files


def graphs_of(model: ExprGAN) -> dict[str, Graph]:
    """What is exported of a model, by name."""
    config, many = model.config, {0: "N"}
    size, num_units = config.image_size, len(config.warp_units)
    x, c, z = torch.zeros(2, 3, size, size), torch.zeros(2, model.F_ctrl.code_dim), torch.zeros(2, config.z_dim)
    pnet, rnet, onet = load_networks()
    found = ["scores", "corrections"]
    graphs: dict[str, Graph] = {
        "encoder": (PlainEncoder(model.G_enc), {"x": x}, {"x": many}, ["z"]),
        "decoder": (PlainDecoder(model.G_dec), {"z": z, "c": c}, {"z": many, "c": many}, ["x_hat"]),
        "pnet": (pnet, {"x": torch.zeros(1, 3, 61, 47)}, {"x": {2: "H", 3: "W"}}, found),
        "rnet": (rnet, {"x": torch.zeros(2, 3, *[WINDOW_PX[0]] * 2)}, {"x": many}, found),
        "onet": (onet, {"x": torch.zeros(2, 3, *[WINDOW_PX[1]] * 2)}, {"x": many}, [*found, "landmarks"]),
        "reader": (FaceReader(model.classifier), {"x": x}, {"x": many}, ["certainties", "units", "covered"]),
    }
    if model.T is None:
        return graphs
    wide = torch.zeros(2, 3, FIELD_SCALE * size, FIELD_SCALE * size)
    inputs = {"x": wide, "c": c, "emphasis": torch.ones(2)}
    if num_units:
        inputs |= {"now": torch.zeros(2, num_units, 2), "target": torch.zeros(2, num_units, 2)}
    if config.warp_decoded:
        inputs |= {"reconstruction": x, "x_hat": x.clone()}
    names = [*WarpPrediction._fields[: None if config.warp_eyes else -1]]
    warp = WarpPredictor(model.T)
    graphs["warp"] = warp, inputs, dict.fromkeys(inputs, many), names
    with torch.no_grad():
        prediction = dict(zip(names, warp(**{name: example[:1] for name, example in inputs.items()}), strict=True))
    part = {"part": torch.zeros(1, 3, 61, 47), "field_from_part": torch.eye(2, 3), "lower_face": torch.ones(1)}
    graphs["painter"] = PhotoPainter(), part | prediction, {"part": {2: "H", 3: "W"}}, ["edited"]
    return graphs


def _to_bytes(network: nn.Module, inputs: dict[str, Tensor], dynamic: dict[str, dict[int, str]], outputs: list[str], *,
              half: bool) -> bytes:  # fmt: skip
    """One network with its weights as the bytes of an .onnx file."""
    sides = {name: torch.export.Dim(name) if name == "N" else torch.export.Dim(name, min=12) for name in ("N", "H", "W")}
    shapes = {name: {axis: sides[side] for axis, side in dynamic.get(name, {}).items()} for name in inputs}
    with warnings.catch_warnings(), ExitStack() as restored:
        warnings.simplefilter("ignore")
        for logger in map(logging.getLogger, ("torch.onnx", "onnxscript", "onnx_ir")):
            restored.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)
        program = torch.onnx.export(
            network.eval().requires_grad_(False), kwargs=inputs, dynamo=True, verbose=False, opset_version=OPSET,
            input_names=list(inputs), output_names=outputs, dynamic_shapes=shapes,
        )  # fmt: skip
    assert program is not None
    model: Any = program.model_proto
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        part.ClearField("metadata_props")  # notes of the exporter, which include paths of this machine
    if half:
        _store_half(graph)
    return model.SerializeToString()


def _store_half(graph: Any) -> None:
    """Stores weights of a graph in fp16, where that is exact, each with a conversion to float32."""
    from onnx import TensorProto, helper, numpy_helper

    converted = []
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):
            stored = values.astype(np.float16)
        if values.size < MIN_HALF or not np.array_equal(stored, values):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(stored, f"{name}.half"))
        converted.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*converted, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)

"""`Arch` or `Unit` -> ONNX, written with ``onnx.helper``: a table needs thousands of graphs, for which exports by torch
take too long.

Batch norm is folded into the convolution before it. Graphs have the oldest IR version that goes with their opset, so
that old runtimes on devices read them.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper

from nas_runtime.files import write_bytes
from search_spaces import folded
from search_spaces.arch import Arch
from search_spaces.folded import Weights
from search_spaces.formats import Format
from search_spaces.lower import Unit, lower
from search_spaces.onnx_graph import Graph, Int8Graph, Pixels
from search_spaces.ops import GlobalPool, Linear

if TYPE_CHECKING:
    from search_spaces.torch_net import Net

__all__ = [
    "FORMAT",
    "OPSET",
    "OPSETS",
    "TOLERANCE",
    "Pixels",
    "check",
    "describe",
    "digest",
    "export",
    "files",
    "model",
    "run",
    "with_batch",
]

OPSET = 18  # with which goes IR version 8, of ONNX 1.13; ONNX Runtime reads version 10 from 1.18 on only
OPSETS = range(13, 22)
"""Those that have all the operators, and mean the same by them; before 14 h-swish is written out."""


TOLERANCE = 0.01
"""How far outputs may be apart, of the largest: float32 sums in another order differ by 1e-6 to 1e-3 of it."""


def export(
    arch: Arch,
    path: str | os.PathLike[str],
    *,
    net: "Net | None" = None,
    pixels: Pixels | None = None,
    about: Mapping[str, str] | None = None,
    examples: tuple[np.ndarray, np.ndarray] | None = None,
    batch: int | None = 1,
    opset: int = OPSET,
) -> None:
    """Writes `arch` to `path` with the weights of `net` (random ones if None).

    The graph maps ``input`` (N, in_ch, resolution_px, resolution_px), float32, to ``output`` (N, classes). It is run
    and compared with `net` before it is written. The file is complete or not there.

    Args:
        pixels: the graph reads ``image`` (N, resolution_px, resolution_px, in_ch), uint8, instead, and normalises it.
        about: what the file says of itself, by name (``metadata_props``).
        examples: inputs (N, ...) of the graph and what it has to give for them (N, ...); None: a random input, and
            what `net` gives for it.
        batch: N; None: any number.
        opset: one of `OPSETS`.

    Raises:
        ValueError: `net` was built for another architecture, or the graph computes something else; no such opset.
        OSError: the file cannot be written.
    """
    proto = model(arch, net=net, pixels=pixels, batch=batch, opset=opset)
    for name, value in (about or {}).items():
        proto.metadata_props.add(key=name, value=value)
    content = proto.SerializeToString()
    if net is not None:
        check(content, arch.name, *(examples or _random_examples(net, arch.resolution_px, pixels)))
    write_bytes(Path(path), content)


def _random_examples(net: "Net", size_px: int, pixels: Pixels | None, n: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of the graph (n, ...) and what `net` gives for them in evaluation (n, ...)."""
    from search_spaces import torch_net

    rng = np.random.default_rng(0)
    if pixels is None:
        given = x = rng.standard_normal((n, net.arch.in_ch, size_px, size_px), dtype=np.float32)
    else:
        given = rng.integers(0, 256, (n, size_px, size_px, net.arch.in_ch), dtype=np.uint8)
        x = ((given / 255 - np.array(pixels.mean)) / np.array(pixels.std)).transpose(0, 3, 1, 2).astype(np.float32)
    return given, torch_net.answer(net, x)


def describe(path: str | os.PathLike[str], about: Mapping[str, str]) -> None:
    """Makes a file say `about` of itself, by name, beside what it says already."""
    proto = onnx.load(path)
    helper.set_model_props(proto, {**{entry.key: entry.value for entry in proto.metadata_props}, **about})
    write_bytes(Path(path), proto.SerializeToString())


def digest(content: bytes) -> str:
    """What stands for a graph in records, whatever the file says of itself beside it."""
    proto = onnx.load_from_string(content)
    del proto.metadata_props[:]
    return hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest()[:16]


def with_batch(content: bytes, batch: int | None) -> bytes:
    """A graph that takes one picture, as one that takes `batch` at a time; None: any number."""
    proto = onnx.load_from_string(content)
    del proto.graph.value_info[:]  # what is known of the shapes in between is of one picture
    for value in (*proto.graph.input, *proto.graph.output):
        first = value.type.tensor_type.shape.dim[0]
        if batch is None:
            first.dim_param = "N"
        else:
            first.dim_value = batch
    return proto.SerializeToString()


def check(content: bytes, name: str, inputs: np.ndarray, expected: np.ndarray) -> None:
    """Compares the graph of network `name` with what it has to give, see `export`."""
    outputs = run(content, inputs)
    difference, largest = np.abs(outputs - expected).max(), np.abs(expected).max()
    if not difference <= TOLERANCE * largest:  # nor NaN
        raise ValueError(
            f"the ONNX graph of network {name!r} computes something else than the network: its outputs differ by up to "
            f"{difference:.3g}, and the largest is {largest:.3g}; no file is written. Was the net changed after it was "
            "built?"
        )


def run(content: bytes, inputs: np.ndarray) -> np.ndarray:
    """What a graph gives for `inputs` (N, ...), as many at a time as it takes: (N, ...)."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    batch = source.shape[0] if isinstance(source.shape[0], int) else 1
    outputs = []
    for first in range(0, len(inputs), batch):
        some = inputs[first : first + batch]
        full = np.resize(some, (batch, *some.shape[1:]))  # which repeats them
        outputs.append(np.asarray(session.run(None, {source.name: full})[0])[: len(some)])
    return np.concatenate(outputs)


def files(arch: Arch, *, net: "Net | None" = None, batch: int | None = 1) -> dict[str, bytes]:
    """The content of the file by suffix; see `model`."""
    return {".onnx": model(arch, net=net, batch=batch).SerializeToString()}


def model(
    arch: Arch,
    *,
    net: "Net | None" = None,
    batch: int | None = 1,
    int8: bool = False,
    plain_hard_swish: bool = False,
    stored: Callable[[str, float, int], tuple[str, int]] | None = None,
    pixels: Pixels | None = None,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """`arch` as an ONNX model; see `export`.

    Args:
        int8: quantized statically, as ONNX Runtime's ``quantize_static`` does it: weights per channel, activations with
            made-up scales. Such a model takes as long as a calibrated one, and its answers mean nothing.
        plain_hard_swish: write h-swish out, as x * relu6(x + 3) / 6, instead of with the runtime's own operator.
        stored: gives the file and the place in it of random weights, from their type (float32 or int8), standard
            deviation and size in bytes. The model is then small, and made in no time.
        batch, pixels, opset: see `export`.

    Raises:
        ValueError: there is no such opset, `net` was built for another architecture, has norms that are no batch norms
            with statistics, or `pixels` are of other channels.
    """
    weights: Weights = folded.of(arch, net)
    if pixels is not None and {len(pixels.mean), len(pixels.std)} != {arch.in_ch}:
        raise ValueError(
            f"pixels have {len(pixels.mean)} means and {len(pixels.std)} deviations; network {arch.name!r} reads "
            f"{arch.in_ch} channels"
        )
    if opset not in OPSETS:
        raise ValueError(f"opset={opset}: graphs of these networks can be of {OPSETS[0]} to {OPSETS[-1]}")
    if stored is not None:
        weights = folded.stored_weights(stored, "int8" if int8 else "float32")
    graph = (Int8Graph if int8 else Graph)(weights, plain_hard_swish or opset < 14, arch.padding)
    proto = _model(lower(arch), graph, batch, arch.name, pixels)
    proto.opset_import[0].version = opset
    proto.ir_version = helper.find_min_ir_version_for(proto.opset_import)
    return proto


def _model(units: Sequence[Unit], graph: Graph, batch: int | None, name: str, pixels: Pixels | None) -> onnx.ModelProto:
    channels, height, width = units[0].in_shape
    n = "N" if batch is None else batch
    if pixels is None:
        source = helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [n, channels, height, width])
        value = graph.output("input", "input")
    else:
        source = helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, [n, height, width, channels])
        value = graph.output(graph.add_pixels(pixels), "input")
    for i, unit in enumerate(units):
        value = graph.add_unit(i, unit, value)
    _rename(graph.nodes, value, "output")
    last = units[-1].nodes[-1]
    flat = isinstance(last.op, Linear) or (isinstance(last.op, GlobalPool) and last.op.flat)
    out_shape = last.out_shape[:1] if flat else last.out_shape
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            name or "network",
            [source],
            [helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, [n, *out_shape])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="search_spaces.onnx_net",
    )


def _rename(nodes: list[onnx.NodeProto], before: str, after: str) -> None:
    for node in nodes:
        for names in (node.input, node.output):
            for i, value in enumerate(names):
                if value == before:
                    names[i] = after


FORMAT = Format(files=files, run=run, reads="input (N, channels, height, width)")

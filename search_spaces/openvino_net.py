"""`Arch` -> OpenVINO's intermediate representation, read from its ONNX graph."""

from typing import TYPE_CHECKING, Any

import numpy as np

from nas_runtime.extras import needed
from nas_runtime.scratch import private_folder
from search_spaces import onnx_net
from search_spaces.arch import Arch
from search_spaces.formats import Format

if TYPE_CHECKING:
    from search_spaces.torch_net import Net

__all__ = ["FORMAT", "compiled", "files", "run"]


def files(arch: Arch, *, net: "Net | None" = None, batch: int = 1) -> dict[str, bytes]:
    """The content of the files by suffix, ``.xml`` (the graph) and ``.bin`` (the weights, fp32).

    It maps ``input`` (N, in_ch, resolution_px, resolution_px) to ``output`` (N, classes), as the ONNX graph does.

    Raises:
        ValueError: see `onnx_net.model`; or OpenVINO is not installed.
    """
    openvino = needed("openvino", "openvino", "format openvino")
    graph = openvino.Core().read_model(onnx_net.model(arch, net=net, batch=batch).SerializeToString())
    with private_folder("nas-openvino-") as folder:
        openvino.serialize(graph, str(folder / "network.xml"))
        return {suffix: (folder / f"network{suffix}").read_bytes() for suffix in (".xml", ".bin")}


def run(graph: bytes, weights: bytes, inputs: np.ndarray) -> np.ndarray:
    """What a graph gives for `inputs` (N, C, H, W), as many as it takes: (N, ...)."""
    core = needed("openvino", "openvino", "format openvino").Core()
    return np.array(compiled(core, core.read_model(graph, weights))(inputs)[0])


def compiled(core: Any, network: Any, *, threads: int = 1, counted: bool = False) -> Any:
    """A network as it can be run on the CPU.

    Args:
        counted: whether the time of each node is kept.
    """
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # this process stays where it was put
        "INFERENCE_PRECISION_HINT": "f32",  # else some CPUs compute in 16 bits
        "PERF_COUNT": counted,
    }
    return core.compile_model(network, "CPU", options)


FORMAT = Format(files=files, run=run, reads="input (N, channels, height, width)")

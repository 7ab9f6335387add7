"""How networks are written as files of a runtime: ONNX, OpenVINO, TensorFlow Lite, ncnn, or anybody's own.

A format is chosen by name, ``python -m search_spaces.export best.json format=my_package:FORMAT``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from nas_runtime.console import brief
from nas_runtime.registry import Registry
from search_spaces.arch import Arch

if TYPE_CHECKING:
    import numpy as np

    from search_spaces.torch_net import Net

__all__ = ["FORMATS", "Files", "Format", "get"]


class Files(Protocol):
    """Gives the content of a network's files, by suffix.

    Raises:
        ValueError: the format cannot hold the network or the batch, or what it needs is not installed.
    """

    def __call__(self, arch: Arch, *, net: "Net | None", batch: int) -> Mapping[str, bytes]: ...


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of files.

    Attributes:
        files: writes a network with the weights of a net; None: random ones.
        run: takes the content of these files, in order, then inputs (N, C, H, W), and gives (N, ...).
        reads: what the input is, for people.
    """

    files: Files
    run: "Callable[..., np.ndarray]"
    reads: str


FORMATS = Registry(
    "format",
    "platform_aware_nas.formats",
    {
        "onnx": "search_spaces.onnx_net:FORMAT",
        "openvino": "search_spaces.openvino_net:FORMAT",
        "tflite": "search_spaces.tflite_net:FORMAT",
        "ncnn": "search_spaces.ncnn_net:FORMAT",
    },
)


def get(name: str) -> Format:
    """The format of that name, or of a dotted name like ``my_package:FORMAT``.

    Raises:
        ValueError: there is no such format.
    """
    found = FORMATS.get(name)
    if not isinstance(found, Format):
        raise ValueError(f"format={brief(name)} is no format: give a search_spaces.formats.Format")
    return found

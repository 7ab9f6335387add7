"""`Graphs`: a trained network as the graphs that are delivered and timed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.delivery.options import Delivery
from nas.training.pictures import PictureSet

if TYPE_CHECKING:
    from search_spaces.onnx_net import Pixels
    from search_spaces.torch_net import Net

__all__ = ["Graphs", "graphs_of", "pixels_of"]


@dataclass(frozen=True, kw_only=True)
class Graphs:
    """The graphs of a delivered network.

    Attributes:
        delivered: as ``best.onnx`` has it.
        single: the same for one picture at a time.
        bare: what tables price: of one picture, normalised, by float32.
    """

    delivered: bytes
    single: bytes
    bare: bytes


def graphs_of(net: "Net", data: PictureSet, options: Delivery) -> Graphs:
    """Those of `net`, which was trained on `data`."""
    from search_spaces import onnx_net

    single = onnx_net.model(net.arch, net=net, pixels=pixels_of(data, options), opset=options.opset).SerializeToString()
    return Graphs(
        delivered=onnx_net.with_batch(single, options.batch),
        single=single,
        bare=onnx_net.model(net.arch, net=net).SerializeToString(),
    )


def pixels_of(data: PictureSet, options: Delivery) -> "Pixels | None":
    """What graphs do with pixels; None: they take normalised planes."""
    from search_spaces.onnx_net import Pixels

    return Pixels(mean=data.mean, std=data.std) if options.input == "uint8" else None

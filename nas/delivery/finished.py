"""`Finished`: a trained network, and what is known of it, as it is delivered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from latency_luts import LatencyModel
from nas.training.pictures import PictureSet
from nas.training.place import Place
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from search_spaces.torch_net import Net

__all__ = ["Finished"]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A trained network, ready to be delivered.

    Attributes:
        net: with its weights, on the CPU.
        data: what it was trained and measured on.
        searched: the network as it was searched and priced; ``net.arch`` where nothing was priced.
        training: all that the weights depend on, as plain data: who finds the same there need not train again.
        recipe: how it was trained, in words.
        holdout_top1, test_top1: in [0, 1]; None: not measured.
        test_top1s: of trainings with several seeds, of which this is the first; empty: of one only.
        latency: what prices networks on the device that it is for; None: none.
        licence: of the weights that the training began with, and where they are from, in words; None: from scratch.
        place: where it was trained, and can learn on.
    """

    net: "Net"
    data: PictureSet
    searched: Arch
    training: Mapping[str, Any]
    recipe: str
    holdout_top1: float | None = None
    test_top1: float | None = None
    test_top1s: tuple[float, ...] = ()
    latency: LatencyModel | None = None
    licence: str | None = None
    place: Place = field(default_factory=Place)

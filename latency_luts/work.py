"""Kinds of work: what a unit has its device do, as far as a price fitted to other work may not hold for it.

A cost that was fitted to whole networks says what their work takes. Of work that none of them had, as a 3x3 convolution
between feature maps if all were MobileNets, it says only what the formula makes of it. Kinds are read off a unit's
operators: two operators are of one kind where a runtime has one kernel for both, and only sizes differ.
"""

from collections.abc import Iterable

from search_spaces.lower import Node, Unit
from search_spaces.ops import Act, Conv, Dropout, Flatten, Linear, Pool

__all__ = ["BOUNDS", "kinds", "kinds_of"]

_IMAGE_CH = 4  # a convolution of so many channels reads the image, in rows and not in channels
_LARGE_WEIGHTS = 10_000_000  # of a layer; 40 MB come from memory each time, mobile classifiers have 1 to 3 million
BOUNDS = ("none", "relu", "relu6")
"""Activations that a kernel applies as it writes."""
_NAMES = {
    "Add": "sum",
    "Concat": "concatenation",
    "Expand": "repetition",
    "GlobalPool": "global pooling",
    "Scale": "channel scaling",
    "Shuffle": "channel shuffle",
    "Slice": "slice",
    "Upsample": "upsampling",
}


def kinds(unit: Unit) -> frozenset[str]:
    """The kinds of work in `unit`, in words like ``3x3 convolution``."""
    return frozenset(kind for node in unit.nodes for kind in _of(node))


def kinds_of(units: Iterable[Unit]) -> frozenset[str]:
    """The kinds of work in all of `units`."""
    return frozenset[str]().union(*map(kinds, units))


def _of(node: Node) -> list[str]:
    match node.op:
        case Dropout() | Flatten():
            return []
        case Act(act=act):
            return _activation(act, node)
        case Conv() as op:
            return [_convolution(op), *["dilation"] * (op.dilation > 1), *_activation(op.act, node)]
        case Linear() as op:
            large = "large " * (op.in_ch * op.out_ch > _LARGE_WEIGHTS)
            return [f"{large}fully connected layer", *_activation(op.act, node)]
        case Pool() as op:
            return ["average pooling" if op.kind == "avg" else "max pooling"]
        case op:
            return [_NAMES[type(op).__name__]]


def _convolution(op: Conv) -> str:
    height, width = op.size
    if op.depthwise:
        return f"{height}x{width} depthwise convolution"
    if op.groups > 1:
        return f"{height}x{width} grouped convolution"
    if op.in_ch <= _IMAGE_CH and height * width > 1:
        return "convolution of the image"
    return f"{height}x{width} convolution"


def _activation(act: str, node: Node) -> list[str]:
    """A gate's activation, on one value a channel, takes no time."""
    return [] if act in BOUNDS or node.out_shape[1:] == (1, 1) else [act.replace("_", " ")]

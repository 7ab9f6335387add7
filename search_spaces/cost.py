"""What a network costs on paper: folds over its units.

`madds` counts the multiply-adds of convolutions and linear layers, squeeze-and-excite included; biases, batch norm,
activations, poolings and additions are not counted. This equals ``torch.utils.flop_counter`` / 2.
"""

from math import prod

from search_spaces.arch import Arch
from search_spaces.lower import Node, Unit, lower
from search_spaces.ops import Conv, Linear, Op

__all__ = [
    "madds",
    "node_madds",
    "node_params",
    "op_params",
    "params",
    "peak_activation_bytes",
    "unit_folded_weights",
    "unit_madds",
    "unit_params",
    "unit_peak",
]


def madds(arch: Arch) -> int:
    """Multiply-adds of one image."""
    return sum(map(unit_madds, lower(arch)))


def params(arch: Arch) -> int:
    """Trainable parameters: weights, biases, batch norm's scale and shift."""
    return sum(map(unit_params, lower(arch)))


def peak_activation_bytes(arch: Arch, bytes_per_value: int = 4) -> int:
    """Largest sum of the tensors that are alive at once, batch 1, running the operators in order."""
    return bytes_per_value * max(map(unit_peak, lower(arch)))


def unit_madds(unit: Unit) -> int:
    return sum(map(node_madds, unit.nodes))


def unit_params(unit: Unit) -> int:
    return sum(map(node_params, unit.nodes))


def node_madds(node: Node) -> int:
    match node.op:
        case Conv() as op:
            return prod(node.out_shape) * prod(op.size) * op.in_ch // op.groups
        case Linear() as op:
            return op.in_ch * op.out_ch
        case _:
            return 0


def node_params(node: Node) -> int:
    return op_params(node.op)


def op_params(op: Op) -> int:
    match op:
        case Conv():
            of_each_channel = 2 * op.norm + (op.bias or not op.norm)
            return prod(op.size) * op.in_ch // op.groups * op.out_ch + of_each_channel * op.out_ch
        case Linear():
            return (op.in_ch + 1) * op.out_ch
        case _:
            return 0


def unit_folded_weights(unit: Unit) -> int:
    """Values of its weights once batch norms are folded into them: each filter has a bias, then."""
    ops = [node.op for node in unit.nodes]
    folded = [prod(op.size) * op.in_ch // op.groups * op.out_ch + op.out_ch for op in ops if isinstance(op, Conv)]
    return sum(folded) + sum(op_params(op) for op in ops if isinstance(op, Linear))


def unit_peak(unit: Unit) -> int:
    """Values of the tensors that are alive at once, at most, running the operators in order."""
    last_use = {name: i for i, node in enumerate(unit.nodes) for name in node.op.inputs}
    alive = {"input": prod(unit.in_shape)}
    peak = 0
    for i, node in enumerate(unit.nodes):
        alive[node.op.name] = prod(node.out_shape)
        peak = max(peak, sum(alive.values()))
        alive = {name: size for name, size in alive.items() if last_use.get(name, len(unit.nodes)) > i}
    return peak

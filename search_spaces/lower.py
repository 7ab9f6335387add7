"""`lower(arch) -> tuple[Unit, ...]`: the only shape inference in the project."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from search_spaces.arch import Arch, Block
from search_spaces.ops import Op, Shape

__all__ = ["Node", "Unit", "chain", "lower", "unit"]


@dataclass(frozen=True, kw_only=True)
class Node:
    """An operator with its shapes, each ``(C, H, W)``."""

    op: Op
    in_shapes: tuple[Shape, ...]
    out_shape: Shape


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A block with its shapes resolved: the smallest piece that is timed as a whole."""

    block: Block
    in_shape: Shape
    out_shape: Shape
    nodes: tuple[Node, ...]


@lru_cache(maxsize=65536)
def unit(block: Block, height: int, width: int) -> Unit:
    """`block` on an input of ``(block.in_ch, height, width)``.

    Raises:
        ValueError: the feature map would shrink to nothing.
    """
    shapes: dict[str, Shape] = {"input": (block.in_ch, height, width)}
    nodes = []
    for op in block.ops():
        in_shapes = tuple(shapes[name] for name in op.inputs)
        out = op.out_shape(*in_shapes)
        if min(out) < 1:
            raise ValueError(f"{type(block).__name__}: a {height}x{width} input is too small for its {op.name}")
        shapes[op.name] = out
        nodes.append(Node(op=op, in_shapes=in_shapes, out_shape=out))
    return Unit(block=block, in_shape=shapes["input"], out_shape=nodes[-1].out_shape, nodes=tuple(nodes))


def lower(arch: Arch) -> tuple[Unit, ...]:
    """The units of `arch`, in order, for a square input of ``(arch.in_ch, resolution_px, resolution_px)``."""
    return chain(arch.blocks, arch.resolution_px)


def chain(blocks: Iterable[Block], size_px: int | tuple[int, int]) -> tuple[Unit, ...]:
    """The units of `blocks` one after the other, the first on a square input of `size_px`, or on (height, width)."""
    units: list[Unit] = []
    height, width = (size_px, size_px) if isinstance(size_px, int) else size_px
    for block in blocks:
        units.append(unit(block, height, width))
        _, height, width = units[-1].out_shape
    return tuple(units)

"""At which position of a space each block of a network stands: the layer that gave it, and its number there.

Shared weights belong to positions: two networks share what they have at the same one.
"""

from dataclasses import dataclass
from functools import cached_property

from search_spaces.arch import Arch, Block
from search_spaces.space import SearchSpace

__all__ = ["Layout", "Position"]

Position = tuple[int, int]
"""Number of the layer in the space's declaration, and of the block within the layer."""


@dataclass(frozen=True)
class Layout:
    """The positions of a space.

    Raises:
        ValueError: the space is not declared.
    """

    space: SearchSpace

    def __post_init__(self) -> None:
        self.space.declared()

    def positions(self, arch: Arch) -> tuple[Position, ...]:
        """The position of each block of `arch`, a network as `space.decode` gives it.

        Where a network can be cut into layers in several ways, the earlier layers take as many blocks as they can.

        Raises:
            ValueError: `arch` is not a network of the space.
        """
        lengths = self._cut(arch.blocks, 0)
        if lengths is None:
            raise ValueError(f"network {arch.name!r} is not one of space {self.space.name!r}")
        return tuple((layer, number) for layer, length in enumerate(lengths) for number in range(length))

    @cached_property
    def blocks(self) -> dict[Position, frozenset[Block]]:
        """All blocks that may stand at each position."""
        found: dict[Position, set[Block]] = {}
        for layer, runs in enumerate(self._runs):
            for blocks in runs:
                for number, block in enumerate(blocks):
                    found.setdefault((layer, number), set()).add(block)
        return {position: frozenset(blocks) for position, blocks in found.items()}

    @cached_property
    def _runs(self) -> tuple[frozenset[tuple[Block, ...]], ...]:
        """For each layer all the runs of blocks that it may give."""
        return tuple(
            frozenset(tuple(unit.block for unit in units) for units in layer.units)
            for layer in self.space.declared().variants()
        )

    @cached_property
    def _lengths(self) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(sorted({len(blocks) for blocks in runs}, reverse=True)) for runs in self._runs)

    def _cut(self, blocks: tuple[Block, ...], layer: int) -> tuple[int, ...] | None:
        if layer == len(self._runs):
            return None if blocks else ()
        for length in self._lengths[layer]:
            if blocks[:length] in self._runs[layer]:
                rest = self._cut(blocks[length:], layer + 1)
                if rest is not None:
                    return (length, *rest)
        return None

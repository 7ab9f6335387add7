"""Where in a space the blocks of a network stand: the part that gave each, and its number within that part.

Shared weights belong to places: two networks share what they have at the same place.
"""

from dataclasses import dataclass
from functools import cached_property

from search_spaces.arch import Arch, Block
from search_spaces.space import SearchSpace

__all__ = ["Place", "Places"]

Place = tuple[int, int]
"""Number of the part of the space, and of the block within the part."""


@dataclass(frozen=True)
class Places:
    """The places of a space.

    Raises:
        ValueError: the space is not made of parts.
    """

    space: SearchSpace

    def __post_init__(self) -> None:
        if not self.space.parts:
            raise ValueError(
                f"space {self.space.name!r} has no parts, so its networks cannot share weights; give it some"
            )

    def of(self, arch: Arch) -> tuple[Place, ...]:
        """The place of each block of `arch`, a network as `space.decode` gives it.

        Where a network can be cut into parts in several ways, the earlier parts take as many blocks as they can.

        Raises:
            ValueError: `arch` is not a network of the space.
        """
        lengths = self._cut(arch.blocks, 0)
        if lengths is None:
            raise ValueError(f"network {arch.name!r} is not one of space {self.space.name!r}")
        return tuple((part, number) for part, length in enumerate(lengths) for number in range(length))

    @cached_property
    def blocks(self) -> dict[Place, frozenset[Block]]:
        """All blocks that may stand at each place."""
        found: dict[Place, set[Block]] = {}
        for part, stretches in enumerate(self._stretches):
            for stretch in stretches:
                for number, block in enumerate(stretch):
                    found.setdefault((part, number), set()).add(block)
        return {place: frozenset(blocks) for place, blocks in found.items()}

    @cached_property
    def _stretches(self) -> tuple[frozenset[tuple[Block, ...]], ...]:
        """For each part all the stretches of blocks that it may give."""
        return tuple(
            frozenset(tuple(unit.block for unit in units) for units in self.space.part_units(part))
            for part in self.space.parts
        )

    @cached_property
    def _lengths(self) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(sorted({len(s) for s in stretches}, reverse=True)) for stretches in self._stretches)

    def _cut(self, blocks: tuple[Block, ...], part: int) -> tuple[int, ...] | None:
        if part == len(self._stretches):
            return None if blocks else ()
        for length in self._lengths[part]:
            if blocks[:length] in self._stretches[part]:
                rest = self._cut(blocks[length:], part + 1)
                if rest is not None:
                    return (length, *rest)
        return None

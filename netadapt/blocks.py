"""What may leave a network besides channels: whole blocks that a shortcut goes around, and the rim of their kernels."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from search_spaces.arch import Arch, Block, Mobile

__all__ = ["KINDS", "aligned", "removable", "smaller_kernels", "without"]

KINDS = ("depth", "kernel")
"""``depth``: a block leaves; ``kernel``: it becomes 2 pixels smaller, or 4, down to 3."""


def removable(arch: Arch) -> tuple[int, ...]:
    """The places of blocks without which the network still fits together: those whose shortcut is the identity.

    Of equal blocks side by side only the last one is among them, since without any of these it is the same network.
    """
    blocks = arch.blocks
    return tuple(i for i, block in enumerate(blocks) if _leaves(block) and blocks[i + 1] != block)


def _leaves(block: Block) -> bool:
    return isinstance(block, Mobile) and block.skip == "identity"


def without(arch: Arch, place: int) -> Arch:
    """`arch` without the block at `place`, one of `removable`; the name stays."""
    return replace(arch, blocks=(*arch.blocks[:place], *arch.blocks[place + 1 :]))


def smaller_kernels(arch: Arch, place: int) -> Iterator[tuple[int, Arch]]:
    """The smaller kernels that the block at `place` may have, the largest first, and the networks with them."""
    block = arch.blocks[place]
    if isinstance(block, Mobile):
        for kernel in range(block.kernel - 2, 2, -2):
            yield (
                kernel,
                replace(arch, blocks=(*arch.blocks[:place], replace(block, kernel=kernel), *arch.blocks[place + 1 :])),
            )


@lru_cache(maxsize=256)
def aligned(parent: Arch, child: Arch) -> tuple[int, ...]:
    """For each block of `child`, its place in `parent`, of which some blocks that may leave have left, and of which
    others have fewer channels or smaller kernels: the most similar ones, and of these the first.

    Raises:
        ValueError: `child` does not come from `parent` in this way.
    """
    theirs, ours = parent.blocks, child.blocks
    n, m = len(ours), len(theirs)
    # cost[i][j]: of the first i blocks of the child among the first j of the parent
    cost = [[math.inf] * (m + 1) for _ in range(n + 1)]
    cost[0][0] = 0.0
    for i in range(n + 1):
        for j in range(1, m + 1):
            stays = cost[i - 1][j - 1] + _difference(theirs[j - 1], ours[i - 1]) if i else math.inf
            leaves = cost[i][j - 1] if _leaves(theirs[j - 1]) else math.inf
            cost[i][j] = min(stays, leaves)
    if math.isinf(cost[n][m]):
        raise ValueError(f"networks {parent.name!r} and {child.name!r} do not have the same blocks")
    places: list[int] = []
    i, j = n, m
    while j:
        if _leaves(theirs[j - 1]) and cost[i][j - 1] <= cost[i][j]:  # of equal ones the last has left
            j -= 1
        else:
            places.append(j - 1)
            i, j = i - 1, j - 1
    return tuple(reversed(places))


def _difference(theirs: Block, ours: Block) -> float:
    """How different two blocks are of which one may come from the other; infinite if it cannot."""
    if type(theirs) is not type(ours):
        return math.inf
    fields = ("kernel", "stride", "act", "skip", "dilation", "se_act", "se_gate")
    a, b = ([getattr(block, name, None) for name in fields] for block in (theirs, ours))
    if (
        (b[0] or 0) > (a[0] or 0)
        or a[1:] != b[1:]
        or bool(getattr(theirs, "se_ch", 0)) != bool(getattr(ours, "se_ch", 0))
    ):
        return math.inf
    pairs = list(zip(_sizes(theirs), _sizes(ours), strict=True))
    if any((x == 0) != (y == 0) for x, y in pairs):
        return math.inf
    return sum(abs(math.log(x / y)) for x, y in pairs if x) + (a[0] != b[0])


def _sizes(block: Block) -> Sequence[int]:
    return [getattr(block, name, 0) for name in ("in_ch", "mid_ch", "hidden_ch", "out_ch", "kernel")]

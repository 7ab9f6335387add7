"""`nearest`: the network of a space that is most like a given one, as a published network that a search begins with."""

import math
from dataclasses import fields
from functools import cache

import numpy as np

from search_spaces.arch import Arch, Block
from search_spaces.space import SearchSpace

__all__ = ["apart", "nearest"]

_GAP = 1.5  # for a block that the other network has no counterpart of
_STARTS = 12  # points from which the nearest is looked for, besides the largest


def nearest(space: SearchSpace, arch: Arch) -> np.ndarray:
    """(C,) the point whose network is the fewest changes `apart` from `arch`, as changes of single choices find it.

    Example:
        >>> point = nearest(spaces.get("mobilenet_v3", base_width=0.5), zoo.get("mobilenet_v3_small"))
    """
    rng = np.random.default_rng(0)
    starts = [*space.sample(rng, _STARTS), *([space.largest] if space.declaration else [])]
    found = [_descend(space, start.copy(), arch) for start in starts]
    return space.canonical(min(found, key=lambda pair: pair[0])[1][None])[0]


def _descend(space: SearchSpace, point: np.ndarray, arch: Arch) -> tuple[float, np.ndarray]:
    least, before = apart(space.decode(point), arch), math.inf
    while least < before:
        before = least
        for c, choice in enumerate(space.choices):
            for option in range(len(choice.options)):
                changed = point.copy()
                changed[c] = option
                if (distance := apart(space.decode(changed), arch)) < least:
                    least, point = distance, changed
    return least, point


def apart(a: Arch, b: Arch) -> float:
    """How many changes lie between two networks: an edit distance of their blocks, where a block that has no
    counterpart counts 1.5, and the fields in which counterparts differ count less."""
    row = [_GAP * j for j in range(len(b.blocks) + 1)]
    for block in a.blocks:
        left = row[0] + _GAP
        new = [left]
        for j, other in enumerate(b.blocks):
            left = min(row[j] + _changed(block, other), row[j + 1] + _GAP, left + _GAP)
            new.append(left)
        row = new
    return row[-1]


@cache
def _changed(a: Block, b: Block) -> float:
    """How far two blocks are apart. What they read is not counted, since it is what others give; expansions and
    squeezes count by their ratios, which do not change with others' channels."""
    x, y = _described(a), _described(b)
    differences = (_field(name, x.get(name, 0), y.get(name, 0)) for name in x.keys() | y.keys())
    return min(2 * _GAP, sum(differences) + (type(a) is not type(b)))


def _described(block: Block) -> dict[str, object]:
    own = {field.name: getattr(block, field.name) for field in fields(block)}
    in_ch = own.pop("in_ch", 1)
    mid_ch = own.pop("mid_ch", in_ch)
    return {**own, "expansion": mid_ch / in_ch, "se_ch": own.get("se_ch", 0) / mid_ch}


def _field(name: str, x: object, y: object) -> float:
    if x == y:
        return 0.0
    if name == "stride":
        return 1.0
    if not (isinstance(x, int | float) and isinstance(y, int | float)):
        return 0.1
    if name == "expansion" or name.endswith("_ch"):
        return min(1.0, 0.5 * abs(math.log2((x + 0.01) / (y + 0.01))))
    return min(1.0, 0.1 * abs(x - y))

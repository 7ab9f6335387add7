"""A network's way through shared weights: the operators that it takes, and where their weights are."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from search_spaces.arch import Arch, Block
from search_spaces.layout import Position
from search_spaces.ops import Conv, Linear, Op

__all__ = ["Mean", "Route", "Step", "Stretch", "keyed", "with_done"]


@dataclass(frozen=True)
class Mean:
    """The weighted mean of values of one shape: what a step computes that stands for several.

    Attributes:
        weights: one for each value; together 1.
    """

    weights: tuple[float, ...]


@dataclass(frozen=True)
class Step:
    """One operator of a route.

    Attributes:
        name: like ``blocks.3.expand``, as in `torch_net.Net`.
        inputs: names of the steps that it reads; "" is what stands before the stretch.
        key: of its weights; "" if it has none.
        done: names of the steps whose values nothing after this one reads.
    """

    name: str
    inputs: tuple[str, ...]
    op: Op | Mean
    key: str = ""
    done: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stretch:
    """The operators that one layer of the space gives a network.

    Attributes:
        layer: its number.
        in_ch: channels that it reads.
        last: number of its last block in the network.
        norm_eps: of the network's batch norm.
    """

    layer: int
    in_ch: int
    last: int
    steps: tuple[Step, ...]
    norm_eps: float


@dataclass(frozen=True)
class Route:
    """A network's way through the shared weights.

    Attributes:
        arch: the network, for the images of the data set.
        stretches: in order; layers that give no block are left out.
    """

    arch: Arch
    stretches: tuple[Stretch, ...]

    @property
    def steps(self) -> Iterator[Step]:
        """Every operator, in order."""
        return (step for stretch in self.stretches for step in stretch.steps)


@lru_cache(maxsize=100_000)
def keyed(block: Block, position: Position, kernels: str) -> tuple[tuple[Op, str], ...]:
    """The operators of a block, each with the key of its weights."""

    def key(op: Op) -> str:  # "part": as files of weights have it
        if not isinstance(op, Conv | Linear):
            return ""
        size = ""
        if kernels == "own" and isinstance(op, Conv) and op.size != (1, 1):
            size = "x".join(map(str, op.size))
        return f"part{position[0]}/{position[1]}/{type(block).__name__}/{op.name}{size}"

    return tuple((op, key(op)) for op in block.ops())


def with_done(steps: Iterable[Step]) -> tuple[Step, ...]:
    """The steps, each with the values that are done with."""
    steps = tuple(steps)
    last = {name: i for i, step in enumerate(steps) for name in step.inputs}
    done: dict[int, list[str]] = {}
    for name, i in last.items():
        done.setdefault(i, []).append(name)
    return tuple(replace(step, done=tuple(done.get(i, ()))) for i, step in enumerate(steps))

"""`Branches`, chains of blocks side by side, and `Block`: any of the kinds."""

from dataclasses import dataclass, replace
from typing import get_args

from search_spaces.blocks.families import Bottleneck, MixedMBConv, PartialMBConv, ShuffleUnit, ShuffleUnitV2
from search_spaces.blocks.fields import check
from search_spaces.blocks.heads import Classifier, ConvClassifier, DenseClassifier
from search_spaces.blocks.layers import Flat, GlobalAverage, PlainConv, Pooling, Resample
from search_spaces.blocks.mobile import ConvBN, MBConv, SepConv
from search_spaces.ops import Add, Concat, Expand, Op, Scale

__all__ = ["BLOCKS", "Block", "Branches"]

_MAX_BRANCHES = 64
_MAX_BRANCH_BLOCKS = 1000
_MAX_DEPTH = 16


@dataclass(frozen=True, kw_only=True)
class Branches:
    """Chains of blocks side by side on one input, and their outputs joined: GoogLeNet's and Inception's modules,
    SqueezeNet's expansion, the heads of dense prediction. An empty chain hands its input on.

    Args:
        join: ``concat`` along the channels; ``add``; ``gate``: the first times the second, which has one position.
        expand: repeat outputs of one position over those of the first branch before they are concatenated.
    """

    in_ch: int
    branches: tuple[tuple["Block", ...], ...]
    join: str = "concat"
    expand: bool = False

    def __post_init__(self) -> None:
        check(self)
        object.__setattr__(self, "branches", tuple(tuple(branch) for branch in self.branches))
        if not 0 < len(self.branches) <= _MAX_BRANCHES or max(map(len, self.branches)) > _MAX_BRANCH_BLOCKS:
            raise ValueError(
                f"Branches: there are {len(self.branches) or 'none'}; give at least one, at most {_MAX_BRANCHES}, "
                f"each of at most {_MAX_BRANCH_BLOCKS} blocks"
            )
        if self._depth() > _MAX_DEPTH:
            raise ValueError(f"Branches: they are nested more than {_MAX_DEPTH} deep")
        for i, branch in enumerate(self.branches):
            in_ch = self.in_ch
            for block in branch:
                if block.in_ch != in_ch:
                    raise ValueError(f"Branches: a block of branch {i} has in_ch {block.in_ch}, but reads {in_ch}")
                in_ch = block.out_ch
        if self.join != "concat" and (len(self.branches) != 2 or len(set(self._widths)) > 1):
            raise ValueError(f"Branches: join={self.join!r} needs two branches of equal channels, not {self._widths}")

    def _depth(self) -> int:
        inner = (block for branch in self.branches for block in branch if isinstance(block, Branches))
        return 1 + max((block._depth() for block in inner), default=0)

    @property
    def _widths(self) -> list[int]:
        return [branch[-1].out_ch if branch else self.in_ch for branch in self.branches]

    @property
    def out_ch(self) -> int:
        return sum(self._widths) if self.join == "concat" else self._widths[0]

    def ops(self) -> tuple[Op, ...]:
        ops: list[Op] = []
        ends = []
        for i, branch in enumerate(self.branches):
            source = "input"
            for j, block in enumerate(branch):
                prefix = f"branch{i}_{j}_"
                for op in block.ops():
                    inputs = tuple(source if name == "input" else prefix + name for name in op.inputs)
                    ops.append(replace(op, name=prefix + op.name, inputs=inputs))
                source = ops[-1].name
            ends.append(source)
        if self.expand:
            for i, end in enumerate(ends[1:], 1):
                ops.append(Expand(name=f"branch{i}_expand", inputs=(end, ends[0])))
                ends[i] = ops[-1].name
        joins = {"concat": Concat, "add": Add, "gate": Scale}
        return (*ops, joins[self.join](name="join", inputs=tuple(ends)))


Block = (
    ConvBN
    | SepConv
    | MBConv
    | Classifier
    | MixedMBConv
    | PartialMBConv
    | ShuffleUnit
    | ShuffleUnitV2
    | Bottleneck
    | PlainConv
    | Pooling
    | Branches
    | DenseClassifier
    | ConvClassifier
    | Resample
    | GlobalAverage
    | Flat
)

BLOCKS: dict[str, type[Block]] = {cls.__name__: cls for cls in get_args(Block)}

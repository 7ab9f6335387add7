"""Which channels of a network belong together, and networks with fewer of them.

A residual connection adds two tensors, so that whatever made them has to have equally many channels; a depthwise
convolution and squeeze-and-excite keep the channels that they read. `groups` finds these bonds by walking the operators
of a network: nothing is listed by hand, and a new kind of block needs no code here as long as its operators are known.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from types import MappingProxyType

from search_spaces.arch import Arch, Block, Classifier, ConvBN, Mobile
from search_spaces.ops import Conv, Linear, Op
from search_spaces.rewrite import scale_se

__all__ = ["KINDS", "Group", "Layer", "Weighted", "groups", "layer_groups", "layers", "makes_channels", "narrow"]

KINDS = ("expansion", "bottleneck", "stem", "head")

Layer = tuple[int, str]  # block and operator
Weighted = Conv | Linear


@dataclass(frozen=True, kw_only=True)
class Group:
    """Channels that have to be narrowed together.

    Attributes:
        kind: ``expansion``; ``stem``, what the first block writes; ``head``, what is after the last residual stage:
            the head convolution or the hidden layer of the classifier; ``bottleneck`` otherwise.
        producers: the convolutions and linear layers that write these channels, in order.
        channels: how many there are.
    """

    kind: str
    producers: tuple[Layer, ...]
    channels: int

    @property
    def name(self) -> str:
        """Like ``expansion of block 4`` or ``bottleneck of blocks 4-6``, the same however wide the channels are."""
        if self.kind == "stem":
            return "stem"
        if self.kind == "head":
            return "hidden layer" if self.producers[0][1] == "hidden" else "head convolution"
        blocks = sorted({block for block, _ in self.producers})
        numbers = f"block {blocks[0]}" if len(blocks) == 1 else f"blocks {blocks[0]}-{blocks[-1]}"
        return f"{self.kind} of {numbers}"


class _Bonds:
    """Union-find over layers; `find` gives the representative of a layer's channels."""

    def __init__(self) -> None:
        self._parent: dict[Layer, Layer] = {}

    def find(self, layer: Layer) -> Layer:
        self._parent.setdefault(layer, layer)
        while self._parent[layer] != layer:
            layer = self._parent[layer]
        return layer

    def tie(self, a: Layer, b: Layer) -> Layer:
        a, b = sorted((self.find(a), self.find(b)))
        self._parent[b] = a
        return a


@lru_cache(maxsize=256)
def layers(arch: Arch) -> Mapping[Layer, Weighted]:
    """The operators of `arch` that have weights, in order."""
    return MappingProxyType(
        {(i, op.name): op for i, block in enumerate(arch.blocks) for op in block.ops() if isinstance(op, Weighted)}
    )


def makes_channels(op: Op) -> bool:
    """Whether `op` writes channels of its own; all others keep those that they read, as depthwise convolutions do."""
    return isinstance(op, Linear) or (isinstance(op, Conv) and op.groups == 1)


@lru_cache(maxsize=256)
def layer_groups(arch: Arch) -> Mapping[Layer, tuple[Layer, Layer]]:
    """For every operator with weights ``(block, name)``: what stands for the channels that it reads and that it writes.

    Two operators read or write the same channels if and only if their representatives are equal. The image is
    ``(-1, "input")``.

    Raises:
        ValueError: a kind of block that splits, joins or shuffles channels.
    """
    for i, block in enumerate(arch.blocks):
        if not isinstance(block, Mobile | Classifier):
            raise ValueError(
                f"network {arch.name!r} cannot be narrowed: its block {i} is a {type(block).__name__}; allowed are "
                "networks of ConvBN, SepConv, MBConv and Classifier"
            )
    if not isinstance(arch.blocks[-1], Classifier):
        raise ValueError(f"network {arch.name!r} cannot be narrowed: its last block is no Classifier")
    bonds = _Bonds()
    ends: dict[Layer, tuple[Layer, Layer]] = {}
    source: Layer = (-1, "input")
    for i, block in enumerate(arch.blocks):
        written: dict[str, Layer] = {"input": source}
        for op in block.ops():
            first = written[op.inputs[0]]
            for other in op.inputs[1:]:  # a sum, or a product of each channel with its gate
                first = bonds.tie(first, written[other])
            written[op.name] = (i, op.name) if makes_channels(op) else first
            if isinstance(op, Weighted):
                ends[i, op.name] = (first, written[op.name])
            source = written[op.name]
    return MappingProxyType({layer: (bonds.find(read), bonds.find(write)) for layer, (read, write) in ends.items()})


def groups(arch: Arch, kinds: Sequence[str] = KINDS) -> tuple[Group, ...]:
    """The groups of channels of `arch` that can be narrowed, of some kinds, in the order of their first producer.

    The classes cannot, and the inner channels of squeeze-and-excite follow the block (see `narrow`).

    Raises:
        ValueError: an unknown kind.
    """
    if wrong := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(f"no kind of channels {wrong[0]!r}; allowed: {', '.join(KINDS)}")
    return tuple(group for group in _groups(arch) if group.kind in kinds)


@lru_cache(maxsize=256)
def _groups(arch: Arch) -> tuple[Group, ...]:
    producers: dict[Layer, list[Layer]] = defaultdict(list)
    channels: dict[Layer, int] = {}
    ends = layer_groups(arch)
    for layer, op in layers(arch).items():
        if makes_channels(op):
            write = ends[layer][1]
            producers[write].append(layer)
            channels[write] = op.out_ch
    made = []
    classes = (len(arch.blocks) - 1, arch.blocks[-1].ops()[-1].name)
    for representative, made_by in producers.items():
        if classes in made_by or made_by[0][1] in ("se_reduce", "se_expand"):
            continue
        made_by = [layer for layer in made_by if layer[1] != "se_expand"]
        made.append(Group(kind=_kind(arch, made_by), producers=tuple(made_by), channels=channels[representative]))
    return tuple(made)


def _kind(arch: Arch, producers: Sequence[Layer]) -> str:
    first, name = producers[0]
    if name == "expand":
        return "expansion"
    if first == 0:
        return "stem"
    after = arch.blocks[first + 1] if first + 1 < len(arch.blocks) else None
    is_head = isinstance(arch.blocks[first], Classifier) or (
        isinstance(arch.blocks[first], ConvBN) and isinstance(after, Classifier)
    )
    return "head" if is_head else "bottleneck"


def narrow(arch: Arch, group: Group, channels: int) -> Arch:
    """`arch` with `channels` instead of ``group.channels``; the name stays.

    Squeeze-and-excite follows: 1/4 of the gated channels or of the block's input, whichever rule the block keeps, else
    in proportion (`search_spaces.rewrite.scale_se`).

    Raises:
        ValueError: fewer than 1 channel, or a group that is not of this network.
    """
    if channels < 1:
        raise ValueError(f"{group.name} cannot have {channels} channels; at least 1")
    if group not in _groups(arch):
        raise ValueError(f"network {arch.name!r} has no {group.name} with {group.channels} channels")
    ends = layer_groups(arch)
    target = ends[group.producers[0]][1]
    blocks = []
    for i, block in enumerate(arch.blocks):
        ops = block.ops()
        reads = next(ends[i, op.name][0] for op in ops if (i, op.name) in ends)
        changed: dict[str, int] = {}
        if reads == target:
            changed["in_ch"] = channels
        for field, name in (("mid_ch", "expand"), ("hidden_ch", "hidden"), ("out_ch", _last(block))):
            if (i, name) in ends and ends[i, name][1] == target:
                changed[field] = channels
        blocks.append(_with(block, changed) if changed else block)
    return replace(arch, blocks=tuple(blocks))


def _last(block: Block) -> str:
    """The operator that writes the block's output channels."""
    if isinstance(block, Classifier):
        return "linear"
    return "conv" if isinstance(block, ConvBN) else "project"


def _with(block: Block, changed: dict[str, int]) -> Block:
    """`block` with other channels, and with the squeeze-and-excite that goes with them."""
    narrower = type(block)(**{**asdict(block), **changed})
    if not isinstance(block, Mobile) or not isinstance(narrower, Mobile):
        return narrower
    se_ch = scale_se(block.se_ch, block.in_ch, narrower.in_ch, block.gated_ch, narrower.gated_ch)
    return replace(narrower, se_ch=se_ch)

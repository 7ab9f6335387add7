"""The factorized hierarchical search space of MnasNet (arXiv:1807.11626, section 4.1).

A network is 7 blocks of identical layers on MobileNetV2's skeleton. Each block chooses

    ConvOp          conv, sepconv (depthwise-separable), mbconv3, mbconv6
    kernel          3, 5
    SE ratio        0, 0.25 of the layer's input channels
    SkipOp          pool, identity, none
    filters         0.75, 1.0, 1.25 of MobileNetV2's
    layers          -1, 0, +1 relative to MobileNetV2's

which are 4 * 2 * 2 * 3 * 3 * 3 = 432 options, the paper's number, and 432^7 = 2.8e18 networks.

What the paper leaves open, and what stands here:

- Blocks 1 and 7 have one layer in MobileNetV2; with -1 they have none and the block is left out (both have stride 1).
- *pool* adds a 3x3 average pooling of the layer's input (with the layer's stride) wherever input and
  output channels are equal; *identity* adds the input itself where also the stride is 1.
- MnasNet-A1 itself is not a point of the space: its 112 filters are 1.17 of MobileNetV2's 96.
"""

from dataclasses import dataclass
from itertools import product

from search_spaces.arch import Arch, Block, Classifier, ConvBN, MBConv, SepConv
from search_spaces.lower import Unit, unit
from search_spaces.rewrite import make_divisible
from search_spaces.space import Choice, Indices, SearchSpace
from search_spaces.zoo.mobilenet_v2 import STAGES

__all__ = ["mnasnet"]

_STEM_CH = 32
_HEAD_CH = 1280

_PER_BLOCK = (
    Choice("op", ("conv", "sepconv", "mbconv3", "mbconv6")),
    Choice("kernel", (3, 5)),
    Choice("se", (0.0, 0.25)),
    Choice("skip", ("pool", "identity", "none")),
    Choice("filters", (0.75, 1.0, 1.25)),
    Choice("layers", (-1, 0, 1)),
)


def mnasnet(*, base_width: float = 1.0, resolution_px: int = 224, classes: int = 1000) -> SearchSpace:
    """The space over MobileNetV2 with the width multiplier `base_width`.

    Args:
        base_width: scales the stem and every block's filters (rounded to multiples of 8), as MobileNetV2's width
            multiplier does, so that a small target searches small networks. The 1280-channel head is widened by
            values above 1 and left alone by values below.

    Raises:
        ValueError: a base_width outside (0, 4], a resolution below 32 px or fewer than 2 classes.
    """
    if not 0 < base_width <= 4:
        raise ValueError(f"space.base_width is {base_width}; allowed: above 0, up to 4")
    if resolution_px < 32:
        raise ValueError(f"space.resolution_px is {resolution_px}; allowed: 32 or more (the network halves it 5 times)")
    if classes < 2:
        raise ValueError(f"space.classes is {classes}; allowed: 2 or more")
    choices = tuple(
        Choice(f"block{b}.{choice.name}", choice.options) for b in range(1, len(STAGES) + 1) for choice in _PER_BLOCK
    )
    skeleton = _Skeleton(base_width=base_width, resolution_px=resolution_px, classes=classes)
    return SearchSpace(name="mnasnet", choices=choices, decode=skeleton.decode, units=skeleton.units)


@dataclass(frozen=True, kw_only=True)
class _Skeleton:
    """MobileNetV2's blocks at a base width; its methods can be sent to another process."""

    base_width: float
    resolution_px: int
    classes: int

    def decode(self, indices: Indices) -> Arch:
        blocks: list[Block] = [self._stem()]
        per_block = len(_PER_BLOCK)
        for b in range(len(STAGES)):
            picks = indices[b * per_block : (b + 1) * per_block]
            options = (choice.options[i] for choice, i in zip(_PER_BLOCK, picks, strict=True))
            blocks.extend(self._layers(b, blocks[-1].out_ch, *options))
        blocks.extend(self._head(blocks[-1].out_ch))
        return Arch(name="mnasnet", resolution_px=self.resolution_px, blocks=tuple(blocks))

    def units(self) -> frozenset[Unit]:
        """Every unit that some network of the space has: each block's options on each width that can come before."""
        stem = unit(self._stem(), self.resolution_px, self.resolution_px)
        found = {stem}
        in_sizes = {stem.out_shape}
        for b in range(len(STAGES)):
            out_sizes = set()
            for in_size, options in product(in_sizes, product(*(choice.options for choice in _PER_BLOCK))):
                size = in_size
                for block in self._layers(b, size[0], *options):
                    found.add(layer := unit(block, *size[1:]))
                    size = layer.out_shape
                out_sizes.add(size)
            in_sizes = out_sizes
        for size in in_sizes:
            for block in self._head(size[0]):
                found.add(layer := unit(block, *size[1:]))
                size = layer.out_shape
        return frozenset(found)

    def _stem(self) -> Block:
        return ConvBN(in_ch=3, out_ch=make_divisible(_STEM_CH * self.base_width), kernel=3, stride=2)

    def _layers(
        self, b: int, in_ch: int, op: str, kernel: int, se: float, skip: str, filters: float, layers: int
    ) -> list[Block]:
        """The layers of block `b` (0 .. 6) with these options."""
        base_layers, _, base_ch, _, stride, _ = STAGES[b]
        out_ch = make_divisible(base_ch * self.base_width * filters)
        out: list[Block] = []
        for layer in range(base_layers + layers):
            out.append(_layer(op, in_ch, out_ch, kernel, se, skip, stride if layer == 0 else 1))
            in_ch = out_ch
        return out

    def _head(self, in_ch: int) -> tuple[Block, Block]:
        head_ch = make_divisible(_HEAD_CH * max(1.0, self.base_width))
        return ConvBN(in_ch=in_ch, out_ch=head_ch, kernel=1), Classifier(in_ch=head_ch, out_ch=self.classes)


def _layer(op: str, in_ch: int, out_ch: int, kernel: int, se: float, skip: str, stride: int) -> Block:
    se_ch = max(1, int(in_ch * se)) if se else 0
    if in_ch != out_ch or (skip == "identity" and stride != 1):
        skip = "none"
    if op == "conv":
        return ConvBN(in_ch=in_ch, out_ch=out_ch, kernel=kernel, stride=stride, se_ch=se_ch, skip=skip)
    if op == "sepconv":
        return SepConv(in_ch=in_ch, out_ch=out_ch, kernel=kernel, stride=stride, se_ch=se_ch, skip=skip)
    mid_ch = in_ch * {"mbconv3": 3, "mbconv6": 6}[op]
    return MBConv(in_ch=in_ch, mid_ch=mid_ch, out_ch=out_ch, kernel=kernel, stride=stride, se_ch=se_ch, skip=skip)

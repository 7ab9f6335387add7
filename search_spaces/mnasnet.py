"""The factorized hierarchical search space of MnasNet (arXiv:1807.11626, section 4.1).

A network is 7 blocks of identical layers on MobileNetV2's skeleton. Each block chooses

    ConvOp          conv, sepconv (depthwise-separable), mbconv3, mbconv6
    kernel          3, 5
    SE ratio        0, 0.25 of the layer's input channels
    SkipOp          pool, identity, none
    filters         0.75, 1.0, 1.25 of MobileNetV2's
    layers          -1, 0, +1 relative to MobileNetV2's

which are 4 * 2 * 2 * 3 * 3 * 3 = 432 options, the paper's number, and 432^7 = 2.8e18 points. Some are the same network,
as all options of a block that is left out.

What the paper leaves open, and what stands here:

- Blocks 1 and 7 have one layer in MobileNetV2; with -1 they have none and the block is left out (both have stride 1).
- *pool* adds a 3x3 average pooling of the layer's input (with the layer's stride) wherever input and
  output channels are equal; *identity* adds the input itself where also the stride is 1.
- MnasNet-A1 itself is not a point of the space: its 112 filters are 1.17 of MobileNetV2's 96.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

from search_spaces.arch import Arch, Block, Classifier, ConvBN, MBConv, SepConv
from search_spaces.lower import Unit, chain, unit
from search_spaces.rewrite import make_divisible
from search_spaces.space import Choice, Indices, Part, SearchSpace, check_skeleton
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
    check_skeleton(base_width, resolution_px, classes)
    choices = tuple(_choice(b, choice) for b in range(1, len(STAGES) + 1) for choice in _PER_BLOCK)
    skeleton = _Skeleton(base_width=base_width, resolution_px=resolution_px, classes=classes)
    return SearchSpace(
        name="mnasnet",
        choices=choices,
        decode=skeleton.decode,
        parts=skeleton.parts(),
        largest_options={"skip": "identity"},
    )


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

    def parts(self) -> tuple[Part, ...]:
        """The stem, the blocks, the head. A block depends on its own choices and on what decides its input channels."""
        stem = unit(self._stem(), self.resolution_px, self.resolution_px)
        sizes_px = [stem.out_shape[1]]
        for *_, stride, _ in STAGES:
            sizes_px.append(-(-sizes_px[-1] // stride))
        parts = [Part(choices=(), units=partial(tuple, (stem,)))]
        for b in range(len(STAGES)):
            own = tuple(f"block{b + 1}.{choice.name}" for choice in _PER_BLOCK)
            parts.append(Part(choices=(*_before(b), *own), units=partial(self._block_units, b, sizes_px[b])))
        parts.append(Part(choices=_before(len(STAGES)), units=partial(self._head_units, sizes_px[-1])))
        return tuple(parts)

    def _block_units(self, b: int, size_px: int, *options: Any) -> tuple[Unit, ...]:
        before, own = options[: -len(_PER_BLOCK)], options[-len(_PER_BLOCK) :]
        return chain(self._layers(b, self._in_ch(b, before), *own), size_px)

    def _head_units(self, size_px: int, *before: Any) -> tuple[Unit, ...]:
        return chain(self._head(self._in_ch(len(STAGES), before)), size_px)

    def _in_ch(self, b: int, before: tuple[Any, ...]) -> int:
        """Channels that block `b` gets, from the options of the choices `_before(b)`."""
        given = dict(zip(_before(b), before, strict=True))
        for earlier in range(b - 1, -1, -1):
            base_layers, _, base_ch, *_ = STAGES[earlier]
            if base_layers + given.get(f"block{earlier + 1}.layers", 0) > 0:
                return self._out_ch(base_ch, given[f"block{earlier + 1}.filters"])
        return self._stem().out_ch

    def _stem(self) -> Block:
        return ConvBN(in_ch=3, out_ch=make_divisible(_STEM_CH * self.base_width), kernel=3, stride=2)

    def _layers(
        self, b: int, in_ch: int, op: str, kernel: int, se: float, skip: str, filters: float, layers: int
    ) -> list[Block]:
        """The layers of block `b` (0 .. 6) with these options."""
        base_layers, _, base_ch, _, stride, _ = STAGES[b]
        out_ch = self._out_ch(base_ch, filters)
        out: list[Block] = []
        for layer in range(base_layers + layers):
            out.append(_layer(op, in_ch, out_ch, kernel, se, skip, stride if layer == 0 else 1))
            in_ch = out_ch
        return out

    def _out_ch(self, base_ch: int, filters: float) -> int:
        return make_divisible(base_ch * self.base_width * filters)

    def _head(self, in_ch: int) -> tuple[Block, ...]:
        head_ch = make_divisible(_HEAD_CH * max(1.0, self.base_width))
        return ConvBN(in_ch=in_ch, out_ch=head_ch, kernel=1), Classifier(in_ch=head_ch, out_ch=self.classes)


def _choice(b: int, choice: Choice) -> Choice:
    """`choice` for block `b` (1 .. 7). Where a block may be left out, its other choices matter only if it is not."""
    kept = tuple(layers for layers in (-1, 0, 1) if STAGES[b - 1][0] + layers > 0)
    may_go = len(kept) < 3 and choice.name != "layers"
    return Choice(f"block{b}.{choice.name}", choice.options, when=(f"block{b}.layers", kept) if may_go else None)


def _before(b: int) -> tuple[str, ...]:
    """The choices that decide the input channels of block `b`: the filters of the block before it, and, as long as that
    one may be left out, of the one before that."""
    names: list[str] = []
    for earlier in range(b - 1, -1, -1):
        names.append(f"block{earlier + 1}.filters")
        if STAGES[earlier][0] > 1:
            break
        names.append(f"block{earlier + 1}.layers")
    return tuple(names)


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

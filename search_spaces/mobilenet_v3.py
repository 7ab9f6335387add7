"""TuNAS's MobileNetV3-like search space (arXiv:2008.06120), as published: `mobilenet_v3_like_search` in its code.

A stem convolution and a depthwise-separable layer, 5 stages of 1 to 4 inverted residuals, a 1x1 convolution, pooling,
and a hidden layer without batch norm before the classes. Searched are

    stem            kernel 3, 5
    separable       kernel 3, 5, 7; present or not
    stage layers    kernel 3, 5, 7; expansion 1 .. 6 of the layer's input channels; squeeze-and-excite or not; from the
                    second one on present or not, each by itself
    filters         of the stem (which the separable layer keeps), each stage, the 1x1 convolution (`head`) and the
                    hidden layer: 16, 16, 32, 64, 128, 256, 512, 1024 times 0.5 .. 2, to the nearest multiple of 8

Multipliers that give the same filters are one option (16 has 8, 16, 24, 32). `present` is the source's
``Among([layer, zero])``: index 0 is the layer, 1 leaves it out. The choices are in the source's order, where that of a
layer's presence follows the layer's own, and filters follow the layers that have them. So the `indices` that its tools
print are a point of this space::

    space.decode([int(index) for index in "1:2:0:2: ... :4:4".split(":")])

There are 86 choices and 8.5e42 points; the source says "around 10^43 architectures". Fewer networks differ, 2.0e38:
choices of absent layers change nothing, and layer 3 without layer 2 is the same network as layer 2 without layer 3.

Layers are built as in the source. Expansion 1 keeps its 1x1 convolution. The first layer of a stage has no shortcut,
even between equal channels; all others have one. Squeeze-and-excite has 1/4 of the expanded channels, rounded by
`rewrite.make_divisible`, with ReLU inside and a sigmoid. The first two stages and the separable layer have ReLU,
everything else h-swish. What differs: 1000 classes, not 1001; dropout before them; batch norm's epsilon (`Arch`); and
padding, which is equal on both sides, where TensorFlow's has less above and on the left at stride 2.

MobileNetV3-Large is nearly a point. The space does not have its 112 and 960 filters (but 96 and 128, 768 and 1024), its
expansions of 2.5 and 2.3, and its hard sigmoid.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from search_spaces.arch import Arch, Block, Classifier, ConvBN, MBConv, SepConv
from search_spaces.lower import Unit, chain
from search_spaces.rewrite import make_divisible
from search_spaces.space import Choice, Indices, Part, SearchSpace, check_skeleton

__all__ = ["mobilenet_v3"]

_MULTIPLIERS = (0.5, 0.625, 0.75, 1.0, 1.25, 1.5, 2.0)
_KERNELS = (3, 5, 7)
_MOST_LAYERS = 4

# base filters, stride of the first layer, activation      input resolution
_STAGES = (
    (16, 2, "relu"),  # 112
    (32, 2, "relu"),  # 56
    (64, 2, "hard_swish"),  # 28
    (128, 1, "hard_swish"),  # 14
    (256, 2, "hard_swish"),  # 14
)
_STEM_CH, _HEAD_CH, _HIDDEN_CH = 16, 512, 1024  # at 112, 7 and 1


_BlockOf = Callable[..., Block | None]


def mobilenet_v3(*, base_width: float = 1.0, resolution_px: int = 224, classes: int = 1000) -> SearchSpace:
    """The space.

    Args:
        base_width: scales all base filters before they are multiplied and rounded, so that a small target searches
            small networks. There are at least 8 filters; the narrower, the more multipliers give the same.

    Raises:
        ValueError: a base_width outside (0, 4], a resolution below 32 px or fewer than 2 classes.
    """
    check_skeleton(base_width, resolution_px, classes)
    choices: list[Choice] = []
    layers: list[_Layer] = []
    size_px = resolution_px

    def filters(name: str, base_ch: int) -> Choice:
        rounded = (8 * int(base_ch * base_width * multiplier / 8 + 0.5) for multiplier in _MULTIPLIERS)
        return Choice(f"{name}.filters", tuple(sorted({max(8, ch) for ch in rounded})))

    def layer(block: _BlockOf, *ends: Choice, own: Sequence[Choice] = (), stride: int = 1) -> None:
        nonlocal size_px
        names = tuple(choice.name for choice in (*ends, *own))
        layers.append(_Layer(choices=names, block=block, size_px=size_px))
        choices.extend(own)
        size_px = -(-size_px // stride)

    stem = filters("stem", _STEM_CH)
    layer(_stem, stem, own=[Choice("stem.kernel", (3, 5))], stride=2)
    layer(_separable, stem, own=_optional("separable", kernel=_KERNELS))
    choices.append(stem)
    before = stem
    for s, (base_ch, stride, act) in enumerate(_STAGES, 1):
        stage = filters(f"stage{s}", base_ch)
        options = {"kernel": _KERNELS, "expansion": (1, 2, 3, 4, 5, 6), "se": (False, True)}
        first = [Choice(f"stage{s}.layer1.{name}", values) for name, values in options.items()]
        layer(partial(_bottleneck, act, stride, "none"), before, stage, own=first, stride=stride)
        for number in range(2, _MOST_LAYERS + 1):
            layer(partial(_further, act), stage, own=_optional(f"stage{s}.layer{number}", **options))
        choices.append(stage)
        before = stage
    head, hidden = filters("head", _HEAD_CH), filters("hidden", _HIDDEN_CH)
    layer(_head, before, head)
    layer(partial(_classifier, classes), head, hidden)
    choices += [head, hidden]
    return SearchSpace(
        name="mobilenet_v3",
        choices=tuple(choices),
        decode=partial(_decode, tuple(choices), tuple(layers), resolution_px),
        parts=tuple(Part(choices=each.choices, units=each.units) for each in layers),
        largest_options={"present": True},
    )


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """Where in the network a block stands.

    Attributes:
        choices: names of those that decide it: the filters that it reads and writes, then its own.
        block: gives it for their options; None where it is absent.
        size_px: of the map that it reads.
    """

    choices: tuple[str, ...]
    block: _BlockOf
    size_px: int

    def units(self, *options: Any) -> tuple[Unit, ...]:
        block = self.block(*options)
        return () if block is None else chain([block], self.size_px)


def _decode(choices: tuple[Choice, ...], layers: tuple[_Layer, ...], resolution_px: int, indices: Indices) -> Arch:
    options = {choice.name: choice.options[i] for choice, i in zip(choices, indices, strict=True)}
    blocks = (layer.block(*(options[name] for name in layer.choices)) for layer in layers)
    present = tuple(block for block in blocks if block is not None)
    return Arch(name="mobilenet_v3", resolution_px=resolution_px, blocks=present)


def _optional(layer: str, **options: tuple[Any, ...]) -> list[Choice]:
    """The choices of a layer that may be absent; the last one says whether it is."""
    present = f"{layer}.present"
    own = [Choice(f"{layer}.{name}", values, when=(present, (True,))) for name, values in options.items()]
    return [*own, Choice(present, (True, False))]


def _stem(out_ch: int, kernel: int) -> Block:
    return ConvBN(in_ch=3, out_ch=out_ch, kernel=kernel, stride=2, act="hard_swish")


def _separable(ch: int, kernel: int, present: bool) -> Block | None:
    return SepConv(in_ch=ch, out_ch=ch, kernel=kernel, act="relu", skip="identity") if present else None


def _further(act: str, ch: int, kernel: int, expansion: int, se: bool, present: bool) -> Block | None:
    return _bottleneck(act, 1, "identity", ch, ch, kernel, expansion, se) if present else None


def _bottleneck(
    act: str, stride: int, skip: str, in_ch: int, out_ch: int, kernel: int, expansion: int, se: bool
) -> Block:
    mid_ch = in_ch * expansion
    se_ch = make_divisible(mid_ch / 4) if se else 0
    return MBConv(in_ch=in_ch, mid_ch=mid_ch, out_ch=out_ch, kernel=kernel, stride=stride, act=act, se_ch=se_ch,
                  skip=skip)  # fmt: skip


def _head(in_ch: int, out_ch: int) -> Block:
    return ConvBN(in_ch=in_ch, out_ch=out_ch, kernel=1, act="hard_swish")


def _classifier(classes: int, in_ch: int, hidden_ch: int) -> Block:
    return Classifier(in_ch=in_ch, hidden_ch=hidden_ch, out_ch=classes, act="hard_swish")

"""The layer-wise MobileNetV3-like search space of TuNAS (arXiv:2008.06120, section 3 and appendix).

A stem convolution and one depthwise-separable layer, then 5 stages of 1 to 4 layers, then MobileNetV3's efficient last
stage. A stage chooses its filters and its number of layers; each layer chooses for itself

    expansion       1, 2, 3, 4, 5, 6 (1 has no expansion convolution)
    kernel          3, 5, 7
    se              without or with squeeze-and-excite

Filters are the base filters 16, 16, 32, 64, 128, 256, 512, 1024 (stem, separable layer, stages, last convolution)
times 0.5, 0.625, 0.75, 1, 1.25, 1.5 or 2. Choices of layers that are not there change nothing.

What stands here where the sources leave it open: as in MobileNetV3, squeeze-and-excite has 1/4 of the expansion and a
hard sigmoid, the first two stages use ReLU and everything else but the separable layer h-swish; the hidden layer before
the classes keeps its 1280 channels.
"""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

from search_spaces.arch import Arch, Block, Classifier, ConvBN, MBConv, SepConv
from search_spaces.lower import Unit, chain
from search_spaces.rewrite import make_divisible
from search_spaces.space import Choice, Indices, Part, SearchSpace, check_skeleton

__all__ = ["mobilenet_v3"]

_FILTERS = (0.5, 0.625, 0.75, 1.0, 1.25, 1.5, 2.0)
_MOST_LAYERS = 4
_HIDDEN_CH = 1280

# base filters, stride of the first layer, activation      input resolution
_STAGES = (
    (32, 2, "relu"),  # 112
    (64, 2, "relu"),  # 56
    (128, 2, "hard_swish"),  # 28
    (256, 1, "hard_swish"),  # 14
    (512, 2, "hard_swish"),  # 14
)
_STEM_CH, _FIRST_CH, _HEAD_CH = 16, 16, 1024  # at 224, 112 and 7

_PER_LAYER = (
    Choice("expansion", (1, 2, 3, 4, 5, 6)),
    Choice("kernel", (3, 5, 7)),
    Choice("se", (False, True)),
)

# The parts that have filters of their own, in order.
_WIDTHS = ("stem", "first", *(f"stage{s}" for s in range(1, len(_STAGES) + 1)), "head")


def mobilenet_v3(*, base_width: float = 1.0, resolution_px: int = 224, classes: int = 1000) -> SearchSpace:
    """The space with all base filters scaled by `base_width`; every filter count is a multiple of 8.

    Raises:
        ValueError: a base_width outside (0, 4], a resolution below 32 px or fewer than 2 classes.
    """
    check_skeleton(base_width, resolution_px, classes)
    skeleton = _Skeleton(base_width=base_width, resolution_px=resolution_px, classes=classes)
    choices: list[Choice] = [Choice("stem.filters", _FILTERS), Choice("first.filters", _FILTERS)]
    for s in range(1, len(_STAGES) + 1):
        choices.append(Choice(f"stage{s}.filters", _FILTERS))
        choices.append(Choice(f"stage{s}.layers", tuple(range(1, _MOST_LAYERS + 1))))
        for layer in range(1, _MOST_LAYERS + 1):
            when = (f"stage{s}.layers", tuple(range(layer, _MOST_LAYERS + 1))) if layer > 1 else None
            choices.extend(Choice(f"stage{s}.layer{layer}.{c.name}", c.options, when=when) for c in _PER_LAYER)
    choices.append(Choice("head.filters", _FILTERS))
    return SearchSpace(name="mobilenet_v3", choices=tuple(choices), decode=skeleton.decode, parts=skeleton.parts())


@dataclass(frozen=True, kw_only=True)
class _Skeleton:
    base_width: float
    resolution_px: int
    classes: int

    def decode(self, indices: Indices) -> Arch:
        picks = iter(indices)

        def pick(options: tuple[Any, ...]) -> Any:
            return options[next(picks)]

        stem, first = pick(_FILTERS), pick(_FILTERS)
        blocks = [self._stem(stem), self._first(stem, first)]
        filters = first
        for s in range(len(_STAGES)):
            before, filters = filters, pick(_FILTERS)
            layers = pick(tuple(range(1, _MOST_LAYERS + 1)))
            for layer in range(_MOST_LAYERS):
                options = [pick(choice.options) for choice in _PER_LAYER]
                if layer < layers:
                    blocks.append(self._layer(s, layer, before, filters, *options))
        blocks.extend(self._head(filters, pick(_FILTERS)))
        return Arch(name="mobilenet_v3", resolution_px=self.resolution_px, blocks=tuple(blocks))

    def parts(self) -> tuple[Part, ...]:
        """Stem, separable layer, every layer of every stage, head; each with the filters before it and its own."""
        sizes_px = [-(-self.resolution_px // 2)]
        for _, stride, _ in _STAGES:
            sizes_px.append(-(-sizes_px[-1] // stride))
        widths = [f"{name}.filters" for name in _WIDTHS]

        def part(names: tuple[str, ...], function: Any, *given: Any) -> Part:
            return Part(choices=names, units=partial(function, *given))

        parts = [
            part((widths[0],), self._stem_units),
            part((widths[0], widths[1]), self._first_units, sizes_px[0]),
        ]
        for s, (before, own) in enumerate(pairwise(widths[1:-1])):
            for layer in range(_MOST_LAYERS):
                layer_choices = tuple(f"stage{s + 1}.layer{layer + 1}.{choice.name}" for choice in _PER_LAYER)
                if layer == 0:
                    parts.append(part((before, own, *layer_choices), self._first_layer_units, s, sizes_px[s]))
                else:
                    names = (f"stage{s + 1}.layers", own, *layer_choices)
                    parts.append(part(names, self._later_layer_units, s, layer, sizes_px[s + 1]))
        parts.append(part((widths[-2], widths[-1]), self._head_units, sizes_px[-1]))
        return tuple(parts)

    def _stem_units(self, stem: float) -> tuple[Unit, ...]:
        return chain([self._stem(stem)], self.resolution_px)

    def _first_units(self, size_px: int, stem: float, first: float) -> tuple[Unit, ...]:
        return chain([self._first(stem, first)], size_px)

    def _first_layer_units(self, s: int, size_px: int, before: float, filters: float, *options: Any):
        return chain([self._layer(s, 0, before, filters, *options)], size_px)

    def _later_layer_units(self, s: int, layer: int, size_px: int, layers: int, filters: float, *options: Any):
        return chain([self._layer(s, layer, filters, filters, *options)], size_px) if layer < layers else ()

    def _head_units(self, size_px: int, filters: float, head: float) -> tuple[Unit, ...]:
        return chain(self._head(filters, head), size_px)

    def _ch(self, base_ch: int, filters: float) -> int:
        return make_divisible(base_ch * self.base_width * filters)

    def _stem(self, stem: float) -> Block:
        return ConvBN(in_ch=3, out_ch=self._ch(_STEM_CH, stem), kernel=3, stride=2, act="hard_swish")

    def _first(self, stem: float, first: float) -> Block:
        in_ch, out_ch = self._ch(_STEM_CH, stem), self._ch(_FIRST_CH, first)
        skip = "identity" if in_ch == out_ch else "none"
        return SepConv(in_ch=in_ch, out_ch=out_ch, kernel=3, act="relu", skip=skip)

    def _layer(self, s: int, layer: int, before: float, filters: float, expansion: int, kernel: int, se: bool) -> Block:
        base_ch, stride, act = _STAGES[s]
        out_ch = self._ch(base_ch, filters)
        in_ch = out_ch if layer else self._ch(_STAGES[s - 1][0] if s else _FIRST_CH, before)
        stride = 1 if layer else stride
        mid_ch = in_ch * expansion
        se_ch = make_divisible(mid_ch / 4) if se else 0
        skip = "identity" if stride == 1 and in_ch == out_ch else "none"
        if expansion == 1:
            return SepConv(in_ch=in_ch, out_ch=out_ch, kernel=kernel, stride=stride, act=act, se_ch=se_ch,
                           se_gate="hard_sigmoid", skip=skip)  # fmt: skip
        return MBConv(in_ch=in_ch, mid_ch=mid_ch, out_ch=out_ch, kernel=kernel, stride=stride, act=act, se_ch=se_ch,
                      se_gate="hard_sigmoid", skip=skip)  # fmt: skip

    def _head(self, filters: float, head: float) -> tuple[Block, ...]:
        in_ch, head_ch = self._ch(_STAGES[-1][0], filters), self._ch(_HEAD_CH, head)
        return (
            ConvBN(in_ch=in_ch, out_ch=head_ch, kernel=1, act="hard_swish"),
            Classifier(in_ch=head_ch, hidden_ch=_HIDDEN_CH, out_ch=self.classes),
        )

"""The sub-space of MnasNet's of which 4,117 networks have known accuracies: Accel-NASBench's (arXiv:2404.08005), after
one short training each on ImageNet.

On a fixed skeleton (MnasNet-A1's channels and strides) each of 7 blocks chooses

    expansion       1 (no expansion layer), 4, 6
    kernel          3, 5
    layers          1 .. 3; block 6: 1 .. 4
    SE              none, or 0.25 of the layer's input channels

which are 36^6 * 48 = 1.04e11 networks. Parameters are exactly those of the benchmark's table. The activation, which
costs no parameter and which the table does not name, is ReLU as everywhere in MnasNet's space.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from search_spaces.arch import Arch, Block, Classifier, ConvBN, MBConv, SepConv
from search_spaces.lower import Unit, chain
from search_spaces.space import Choice, Indices, Part, SearchSpace, check_skeleton

__all__ = ["accel_nasbench", "options_of"]

# channels, stride, most layers                    resolution of the input
_BLOCKS = (
    (16, 1, 3),  # 112
    (24, 2, 3),  # 112
    (40, 2, 3),  # 56
    (80, 2, 3),  # 28
    (112, 1, 3),  # 14
    (192, 2, 4),  # 14
    (320, 1, 3),  # 7
)
_STEM_CH, _HEAD_CH = 32, 1280
_PER_BLOCK = ("expansion", "kernel", "layers", "se")


def accel_nasbench(*, base_width: float = 1.0, resolution_px: int = 224, classes: int = 1000) -> SearchSpace:
    """The space.

    Args:
        base_width: only 1.0, since the accuracies are known for these channels only.

    Raises:
        ValueError: another base_width, a resolution below 32 px or fewer than 2 classes.
    """
    check_skeleton(base_width, resolution_px, classes)
    if base_width != 1:
        raise ValueError(f"space.base_width is {base_width}; accel_nasbench has fixed channels: space.base_width=1")
    options = {"expansion": (1, 4, 6), "kernel": (3, 5), "se": (0.0, 0.25)}
    choices = tuple(
        Choice(f"block{b}.{name}", options.get(name) or tuple(range(1, most + 1)))
        for b, (_, _, most) in enumerate(_BLOCKS, 1)
        for name in _PER_BLOCK
    )
    skeleton = _Skeleton(choices=choices, resolution_px=resolution_px, classes=classes)
    return SearchSpace(name="accel_nasbench", choices=choices, decode=skeleton.decode, parts=skeleton.parts())


def options_of(arch: Arch) -> list[tuple[int, int, int, float]]:
    """(expansion, kernel, layers, SE ratio) of the 7 blocks of a network of the space.

    Raises:
        ValueError: the network is not of this space.
    """
    blocks = list(arch.blocks[1:-2])
    found = []
    in_ch = _STEM_CH
    for out_ch, stride, most in _BLOCKS:
        own: list[Block] = []
        while blocks and blocks[0].out_ch == out_ch:
            own.append(blocks.pop(0))
        if own and isinstance(own[0], MBConv | SepConv):
            expansion = own[0].mid_ch // in_ch if isinstance(own[0], MBConv) else 1
            options = (expansion, own[0].kernel, len(own), 0.25 if own[0].se_ch else 0.0)
            if len(own) <= most and own == _layers(in_ch, out_ch, stride, *options):
                found.append(options)
        in_ch = out_ch
    whole = (_stem(), *arch.blocks[1:-2], *_head(arch.blocks[-1].out_ch))
    if len(found) < len(_BLOCKS) or blocks or whole != arch.blocks:
        raise ValueError(f"{arch.name} is not a network of the space accel_nasbench; use space=accel_nasbench")
    return found


@dataclass(frozen=True, kw_only=True)
class _Skeleton:
    """The fixed channels and strides; its methods can be sent to another process."""

    choices: tuple[Choice, ...]
    resolution_px: int
    classes: int

    def decode(self, indices: Indices) -> Arch:
        options = [choice.options[i] for choice, i in zip(self.choices, indices, strict=True)]
        blocks: list[Block] = [_stem()]
        for b, (out_ch, stride, _) in enumerate(_BLOCKS):
            own = options[b * len(_PER_BLOCK) : (b + 1) * len(_PER_BLOCK)]
            blocks += _layers(blocks[-1].out_ch, out_ch, stride, *own)
        blocks += _head(self.classes)
        return Arch(name="accel_nasbench", resolution_px=self.resolution_px, blocks=tuple(blocks))

    def parts(self) -> tuple[Part, ...]:
        size_px = -(-self.resolution_px // 2)
        parts = [Part(choices=(), units=partial(chain, [_stem()], self.resolution_px))]
        in_ch = _STEM_CH
        for b, (out_ch, stride, _) in enumerate(_BLOCKS, 1):
            names = tuple(f"block{b}.{name}" for name in _PER_BLOCK)
            parts.append(Part(choices=names, units=partial(_units, in_ch, out_ch, stride, size_px)))
            in_ch, size_px = out_ch, -(-size_px // stride)
        parts.append(Part(choices=(), units=partial(chain, _head(self.classes), size_px)))
        return tuple(parts)


def _units(in_ch: int, out_ch: int, stride: int, size_px: int, *options: Any) -> tuple[Unit, ...]:
    return chain(_layers(in_ch, out_ch, stride, *options), size_px)


def _stem() -> Block:
    return ConvBN(in_ch=3, out_ch=_STEM_CH, kernel=3, stride=2)


def _layers(in_ch: int, out_ch: int, stride: int, expansion: int, kernel: int, layers: int, se: float) -> list[Block]:
    out: list[Block] = []
    for layer in range(layers):
        same: dict[str, Any] = {
            "in_ch": in_ch,
            "out_ch": out_ch,
            "kernel": kernel,
            "stride": stride if layer == 0 else 1,
            "se_ch": int(in_ch * se),
            "skip": "none" if layer == 0 else "identity",
        }
        out.append(SepConv(**same) if expansion == 1 else MBConv(mid_ch=expansion * in_ch, **same))
        in_ch = out_ch
    return out


def _head(classes: int) -> Sequence[Block]:
    return (
        ConvBN(in_ch=_BLOCKS[-1][0], out_ch=_HEAD_CH, kernel=1),
        Classifier(in_ch=_HEAD_CH, out_ch=classes),
    )

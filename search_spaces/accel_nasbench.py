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

from functools import cache, partial

from search_spaces.arch import Arch, ConvBN, MBConv, SepConv
from search_spaces.mnasnet import head, layer, mbconv
from search_spaces.space import Layer, OneOf, SearchSpace, check_skeleton, declare

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
    blocks = [
        Layer(
            layer,
            kind=OneOf(f"block{b}.expansion", {1: SepConv, 4: partial(mbconv, 4), 6: partial(mbconv, 6)}),
            kernel=OneOf(f"block{b}.kernel", (3, 5)),
            repeat=OneOf(f"block{b}.layers", tuple(range(1, most + 1))),
            se=OneOf(f"block{b}.se", (0.0, 0.25)),
            skip="identity",
            out_ch=out_ch,
            stride=stride,
        )
        for b, (out_ch, stride, most) in enumerate(_BLOCKS, 1)
    ]
    layers = [Layer(ConvBN, out_ch=32, kernel=3, stride=2), *blocks, Layer(head, mid_ch=1280, classes=classes)]
    return declare("accel_nasbench", layers, resolution_px=resolution_px)


def options_of(arch: Arch) -> list[tuple[int, int, int, float]]:
    """(expansion, kernel, layers, SE ratio) of the 7 blocks of a network of the space.

    Raises:
        ValueError: the network is not of this space.
    """
    refused = ValueError(f"{arch.name} is not a network of the space accel_nasbench; use space=accel_nasbench")
    found: list[tuple[int, int, int, float]] = []
    for out_ch, *_ in _BLOCKS:
        own = [block for block in arch.blocks[1:-2] if block.out_ch == out_ch]
        if not own or not isinstance(first := own[0], MBConv | SepConv):
            raise refused
        expansion = first.mid_ch // first.in_ch if isinstance(first, MBConv) else 1
        found.append((expansion, first.kernel, len(own), 0.25 if first.se_ch else 0.0))
    try:
        space = _space(arch.resolution_px, arch.classes)
        names = (choice.name for choice in space.choices)
        options = (option for block in found for option in block)
        if space.decode(space.encode(dict(zip(names, options, strict=True)))).blocks == arch.blocks:
            return found
    except ValueError:  # an option that no block has
        pass
    raise refused


@cache
def _space(resolution_px: int, classes: int) -> SearchSpace:
    return accel_nasbench(resolution_px=resolution_px, classes=classes)

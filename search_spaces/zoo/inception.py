"""Going Deeper with Convolutions (arXiv:1409.4842), table 1, and Rethinking the Inception Architecture for Computer
Vision (arXiv:1512.00567), both without auxiliary heads.

As torchvision has them, with batch norm everywhere. Its GoogLeNet has a 3x3 convolution where the paper has a 5x5 (as
the checkpoint that it was converted from); its Inception V3 follows the released code, whose stem and first modules
differ from the paper's table 1.
"""

from search_spaces.arch import Arch, Block, Classifier
from search_spaces.blocks import Branches, PlainConv, Pooling
from search_spaces.zoo.published import Entry

__all__ = ["ENTRIES"]

_Layer = tuple[int, ...]  # out_ch, kernel[, kernel_w]

# 1x1, 3x3 reduction, 3x3, "5x5" reduction, "5x5", projection of the pooling; None: max pooling      input resolution
_GOOGLENET = (
    (64, 96, 128, 16, 32, 32),  # 28
    (128, 128, 192, 32, 96, 64),  # 28
    None,
    (192, 96, 208, 16, 48, 64),  # 14
    (160, 112, 224, 24, 64, 64),  # 14
    (128, 128, 256, 24, 64, 64),  # 14
    (112, 144, 288, 32, 64, 64),  # 14
    (256, 160, 320, 32, 128, 128),  # 14
    None,
    (256, 160, 320, 32, 128, 128),  # 7
    (384, 192, 384, 48, 128, 128),  # 7
)


def _conv(
    in_ch: int, out_ch: int, kernel: int = 1, kernel_w: int | None = None, *, stride: int = 1, pad: int | None = None
) -> PlainConv:
    return PlainConv(in_ch=in_ch, out_ch=out_ch, kernel=kernel, kernel_w=kernel_w, stride=stride, pad=pad)


def _chain(in_ch: int, *layers: _Layer) -> tuple[Block, ...]:
    """Convolutions one after the other, with "same" padding."""
    blocks: list[Block] = []
    for out_ch, *kernel in layers:
        blocks.append(_conv(blocks[-1].out_ch if blocks else in_ch, out_ch, *kernel))
    return tuple(blocks)


def _googlenet() -> Arch:
    blocks: list[Block] = [
        _conv(3, 64, 7, stride=2),  # 224
        Pooling(in_ch=64, kernel=3, stride=2, ceil=True),  # 112
        _conv(64, 64),  # 56
        _conv(64, 192, 3),  # 56
        Pooling(in_ch=192, kernel=3, stride=2, ceil=True),  # 56
    ]
    for module in _GOOGLENET:
        in_ch = blocks[-1].out_ch
        if module is None:
            kernel = 3 if len(blocks) < 10 else 2
            blocks.append(Pooling(in_ch=in_ch, kernel=kernel, stride=2, ceil=True))
            continue
        one, reduce3, three, reduce5, five, projection = module
        pool = Pooling(in_ch=in_ch, kernel=3, stride=1, pad=1, ceil=True)
        branches = (
            _chain(in_ch, (one, 1)),
            _chain(in_ch, (reduce3, 1), (three, 3)),
            _chain(in_ch, (reduce5, 1), (five, 3)),
            (pool, *_chain(in_ch, (projection, 1))),
        )
        blocks.append(Branches(in_ch=in_ch, branches=branches))
    blocks.append(Classifier(in_ch=1024, out_ch=1000))
    return Arch(name="googlenet", resolution_px=224, blocks=tuple(blocks))


def _a(in_ch: int, pool_ch: int) -> Branches:
    return Branches(
        in_ch=in_ch,
        branches=(
            _chain(in_ch, (64, 1)),
            _chain(in_ch, (48, 1), (64, 5)),
            _chain(in_ch, (64, 1), (96, 3), (96, 3)),
            (_average(in_ch), *_chain(in_ch, (pool_ch, 1))),
        ),
    )


def _b(in_ch: int) -> Branches:
    down = _conv(96, 96, 3, stride=2, pad=0)
    return Branches(
        in_ch=in_ch,
        branches=(
            (_conv(in_ch, 384, 3, stride=2, pad=0),),
            (*_chain(in_ch, (64, 1), (96, 3)), down),
            (Pooling(in_ch=in_ch, kernel=3, stride=2),),
        ),
    )


def _c(in_ch: int, ch: int) -> Branches:
    return Branches(
        in_ch=in_ch,
        branches=(
            _chain(in_ch, (192, 1)),
            _chain(in_ch, (ch, 1), (ch, 1, 7), (192, 7, 1)),
            _chain(in_ch, (ch, 1), (ch, 7, 1), (ch, 1, 7), (ch, 7, 1), (192, 1, 7)),
            (_average(in_ch), *_chain(in_ch, (192, 1))),
        ),
    )


def _d(in_ch: int) -> Branches:
    return Branches(
        in_ch=in_ch,
        branches=(
            (*_chain(in_ch, (192, 1)), _conv(192, 320, 3, stride=2, pad=0)),
            (*_chain(in_ch, (192, 1), (192, 1, 7), (192, 7, 1)), _conv(192, 192, 3, stride=2, pad=0)),
            (Pooling(in_ch=in_ch, kernel=3, stride=2),),
        ),
    )


def _e(in_ch: int) -> Branches:
    fork = Branches(in_ch=384, branches=(_chain(384, (384, 1, 3)), _chain(384, (384, 3, 1))))
    return Branches(
        in_ch=in_ch,
        branches=(
            _chain(in_ch, (320, 1)),
            (*_chain(in_ch, (384, 1)), fork),
            (*_chain(in_ch, (448, 1), (384, 3)), fork),
            (_average(in_ch), *_chain(in_ch, (192, 1))),
        ),
    )


def _average(in_ch: int) -> Pooling:
    return Pooling(in_ch=in_ch, kernel=3, stride=1, kind="avg", pad=1)


_V3 = Arch(
    name="inception_v3",
    resolution_px=299,
    blocks=(
        _conv(3, 32, 3, stride=2, pad=0),  # 299
        _conv(32, 32, 3, pad=0),  # 149
        _conv(32, 64, 3),  # 147
        Pooling(in_ch=64, kernel=3, stride=2),  # 147
        _conv(64, 80),  # 73
        _conv(80, 192, 3, pad=0),  # 73
        Pooling(in_ch=192, kernel=3, stride=2),  # 71
        _a(192, 32),  # 35
        _a(256, 64),  # 35
        _a(288, 64),  # 35
        _b(288),  # 35
        _c(768, 128),  # 17
        _c(768, 160),  # 17
        _c(768, 160),  # 17
        _c(768, 192),  # 17
        _d(768),  # 17
        _e(1280),  # 8
        _e(2048),  # 8
        Classifier(in_ch=2048, out_ch=1000, dropout=0.5),
    ),
)

ENTRIES = (
    Entry(
        arch=_googlenet(),
        paper="Going Deeper with Convolutions, arXiv:1409.4842",
        reference="torchvision googlenet, without auxiliary heads",
        madds_m=1550,
        params_m=6.8,
        top1=0.698,
        differs="torchvision has 3x3 convolutions where the paper has 5x5, and batch norm instead of biases",
    ),
    Entry(
        arch=_V3,
        paper="Rethinking the Inception Architecture for Computer Vision, arXiv:1512.00567",
        reference="torchvision inception_v3, without the auxiliary head",
        madds_m=5000,
        params_m=23.8,
        top1=0.788,
        differs="the paper says 5 billion multiply-adds; the released network has 5.7",
    ),
)

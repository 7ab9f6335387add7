"""Networks for segmentation and detection, made of a classifier's backbone (arXiv:1905.02244, sections 6.3 and 6.4).

>>> from search_spaces import dense, zoo
>>> dense.segmentation(zoo.get("mobilenet_v3_large")).classes
19
"""

from collections.abc import Sequence
from dataclasses import replace

from search_spaces.arch import Arch, Block, Classifier, ConvBN, MBConv, Mobile, SepConv, check_resolution
from search_spaces.blocks import Branches, Flat, GlobalAverage, PlainConv, Resample
from search_spaces.lower import chain
from search_spaces.rewrite import check_classes, check_width, make_divisible, scale_se

__all__ = ["HEADS", "segmentation", "ssdlite"]

HEADS = ("lr_aspp", "r_aspp")
_EXTRAS = (512, 256, 256, 128)  # channels of SSDLite's additional maps
_ANCHORS = (3, 6, 6, 6, 6, 6)  # boxes a position, by map


def segmentation(
    backbone: Arch,
    *,
    head: str = "lr_aspp",
    filters: int = 128,
    halve_last: bool = True,
    classes: int = 19,
    resolution_px: int = 512,
) -> Arch:
    """A network that gives each pixel its logits: ``(in_ch, H, W) -> (classes, H, W)``.

    The backbone ends at 1/16 of the resolution: its last stride is left out, and what follows is dilated.

    Args:
        backbone: of the blocks that search spaces are made of, with strides down to 1/32.
        head: ``lr_aspp`` (MobileNetV3, figure 10; its pooling of 49 x 49 positions is global here) or ``r_aspp``
            (MobileNetV2: a 1x1 convolution beside the pooled image).
        filters: of the head.
        halve_last: halve the channels from 1/16 to 1/32 ("RF2" of table 7).
        resolution_px: a multiple of 16.

    Raises:
        ValueError: a backbone without such strides, an unknown head, or a resolution that is no multiple of 16.
    """
    if head not in HEADS:
        raise ValueError(f"no head {head!r}; allowed: {', '.join(HEADS)}")
    check_classes(classes)
    check_resolution(resolution_px)
    if resolution_px % 16:
        raise ValueError(f"resolution_px is {resolution_px}; it must be a multiple of 16")
    blocks = _features(backbone)
    last = _last_stride(backbone.name, blocks)
    if halve_last:
        blocks = _halved(blocks, last, whole=_is_v3(blocks))
    blocks[last] = replace(blocks[last], stride=1)
    blocks[last + 1 :] = [replace(block, dilation=2) if block.kernel > 1 else block for block in blocks[last + 1 :]]
    ch = blocks[-1].out_ch
    reduce = ConvBN(in_ch=ch, out_ch=filters, kernel=1)
    if head == "r_aspp":
        both = Branches(in_ch=ch, branches=((reduce,), (GlobalAverage(in_ch=ch), reduce)), expand=True)
        project = ConvBN(in_ch=2 * filters, out_ch=filters, kernel=1)
        made: list[Block] = [*blocks, both, project, _logits(filters, classes), Resample(in_ch=classes, factor=16)]
    else:
        at_8 = max(i for i, size in enumerate(_sizes(blocks, 512)) if size == 64)
        low_ch = blocks[at_8].out_ch
        gate = PlainConv(in_ch=ch, out_ch=filters, kernel=1, norm=False, act="sigmoid")
        gated = Branches(in_ch=ch, branches=((reduce,), (GlobalAverage(in_ch=ch), gate)), join="gate")
        deep = (*blocks[at_8 + 1 :], gated, Resample(in_ch=filters, factor=2), _logits(filters, classes))
        joined = Branches(in_ch=low_ch, branches=(deep, (_logits(low_ch, classes),)), join="add")
        made = [*blocks[: at_8 + 1], joined, Resample(in_ch=classes, factor=8)]
    return replace(backbone, name=f"{backbone.name} {head}", resolution_px=resolution_px, blocks=tuple(made))


def ssdlite(
    backbone: Arch, *, width: float = 1.0, halve_last: bool = False, classes: int = 91, resolution_px: int = 320
) -> Arch:
    """A detector with SSDLite's heads (MobileNetV2, section 6.2): all boxes and class logits as one long vector.

    The first head reads C4, the expansion of the last block with a stride (1/16 of the resolution), the second C5, the
    last features before the pooling (1/32); four more maps of half the size each follow. For each map the boxes (4
    numbers an anchor) stand before the logits.

    Args:
        backbone: of the blocks that search spaces are made of, with five strides.
        width: below 1 it also narrows the additional maps, and MobileNetV2's and MnasNet's 1x1 convolution to 1280.
        halve_last: halve the channels between C4 and C5 (the daggers of table 6).
        classes: with the background.

    Raises:
        ValueError: a backbone of other blocks or strides, or a width that is not allowed.
    """
    check_width(width)
    check_classes(classes)
    check_resolution(resolution_px)
    blocks = _features(backbone, head=True)
    if width < 1 and isinstance(blocks[-1], ConvBN) and not _is_v3(blocks):
        blocks[-1] = replace(blocks[-1], out_ch=make_divisible(blocks[-1].out_ch * width))
    last = _last_stride(backbone.name, blocks)
    if halve_last:
        blocks = _halved(blocks, last, whole=False)
    body, tail = _at_expansion(blocks, last)
    stages = [tail, *_smaller_maps(tail[-1].out_ch, min(width, 1.0))]
    sizes = [_sizes(body, resolution_px)[-1]]
    for stage in stages:
        sizes.append(_sizes(stage, sizes[-1])[-1])
    deeper: Branches | None = None
    for i in reversed(range(len(sizes))):  # from the smallest map up
        in_ch = body[-1].out_ch if i == 0 else stages[i - 1][-1].out_ch
        numbers = [_ANCHORS[i] * each for each in (4, classes)]
        heads = tuple((*_head(in_ch, n), Flat(in_ch=n, size_px=sizes[i])) for n in numbers)
        further = () if deeper is None else ((*stages[i], deeper),)
        deeper = Branches(in_ch=in_ch, branches=(*heads, *further))
    assert deeper is not None
    return replace(backbone, name=f"{backbone.name} ssdlite", resolution_px=resolution_px, blocks=(*body, deeper))


def _at_expansion(blocks: Sequence[Mobile], last: int) -> tuple[list[Block], list[Block]]:
    """`blocks` before and from C4 on: the last block with a stride is cut behind its expansion, if it has one."""
    block = blocks[last]
    if not isinstance(block, MBConv):
        return list(blocks[:last]), list(blocks[last:])
    expand = ConvBN(in_ch=block.in_ch, out_ch=block.mid_ch, kernel=1, act=block.act)
    rest = SepConv(
        in_ch=block.mid_ch,
        out_ch=block.out_ch,
        kernel=block.kernel,
        stride=block.stride,
        act=block.act,
        se_ch=block.se_ch,
        se_act=block.se_act,
        se_gate=block.se_gate,
    )
    return [*blocks[:last], expand], [rest, *blocks[last + 1 :]]


def _smaller_maps(in_ch: int, width: float) -> list[list[Block]]:
    """For each map after C5 the blocks that make it of the one before, at half its size."""
    stages: list[list[Block]] = []
    for channels in _EXTRAS:
        out_ch = make_divisible(channels * width)
        down = ConvBN(in_ch=in_ch, out_ch=out_ch // 2, kernel=1, act="relu6")
        half = SepConv(in_ch=out_ch // 2, out_ch=out_ch, kernel=3, stride=2, act="relu6", out_act="relu6")
        stages.append([down, half])
        in_ch = out_ch
    return stages


def _features(backbone: Arch, *, head: bool = False) -> list[Mobile]:
    """The blocks before the classifier; MobileNetV2's and MnasNet's 1x1 convolution to 1280 only with `head`."""
    blocks = [block for block in backbone.blocks if isinstance(block, Mobile)]
    if len(blocks) != len(backbone.blocks) - 1 or not isinstance(backbone.blocks[-1], Classifier):
        raise ValueError(
            f"network {backbone.name!r} is no backbone: it has blocks other than ConvBN, SepConv and MBConv"
        )
    hidden = backbone.blocks[-1].hidden_ch
    return blocks if head or hidden or not isinstance(blocks[-1], ConvBN) else blocks[:-1]


def _last_stride(name: str, blocks: Sequence[Mobile]) -> int:
    strides = [i for i, block in enumerate(blocks) if block.stride == 2]
    if len(strides) != 5:
        raise ValueError(f"network {name!r} has {len(strides)} strides of 2; a backbone needs 5")
    return strides[-1]


def _halved(blocks: Sequence[Mobile], last: int, *, whole: bool) -> list[Mobile]:
    """`blocks` with half the channels from block `last` on; `whole`: its expansion too, as table 7 has it for V3."""
    made = list(blocks[:last])
    for i, block in enumerate(blocks[last:]):
        in_ch = made[-1].out_ch
        narrower = replace(block, in_ch=in_ch, out_ch=block.out_ch // 2)
        if isinstance(block, MBConv) and isinstance(narrower, MBConv) and (i or whole):
            narrower = replace(narrower, mid_ch=block.mid_ch // 2)
        se_ch = scale_se(block.se_ch, block.in_ch, in_ch, block.gated_ch, narrower.gated_ch)
        made.append(replace(narrower, se_ch=se_ch))
    return made


def _is_v3(blocks: Sequence[Mobile]) -> bool:
    return any(block.act == "hard_swish" for block in blocks)


def _head(in_ch: int, out_ch: int) -> tuple[Block, Block]:
    """A depthwise-separable 3x3 convolution without batch norm at its end."""
    depthwise = PlainConv(in_ch=in_ch, out_ch=in_ch, kernel=3, groups=in_ch, act="relu6")
    return depthwise, PlainConv(in_ch=in_ch, out_ch=out_ch, kernel=1, norm=False, act="none")


def _logits(in_ch: int, classes: int) -> PlainConv:
    return PlainConv(in_ch=in_ch, out_ch=classes, kernel=1, norm=False, act="none")


def _sizes(blocks: Sequence[Block], size_px: int) -> list[int]:
    """Height of the output of each block."""
    return [part.out_shape[1] for part in chain(blocks, size_px)]

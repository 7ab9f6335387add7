"""MobileNetV3's redesigns (arXiv:1905.02244, section 5) as `Arch -> Arch` edits, each usable alone.

What the paper changed by hand, besides what its searches found. A network in which there is nothing to change
stays as it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeGuard

from search_spaces.arch import Arch, Block, Classifier, ConvBN, MBConv, Mobile, SepConv
from search_spaces.rewrite import make_divisible, scale_se

__all__ = ["REDESIGNS", "apply", "efficient_last_stage", "hard_swish", "se_quarter", "small_stem"]

HARD_SWISH_FROM = 80  # output channels: "we only use h-swish at the second half of the model" (section 5.2)


def small_stem(arch: Arch, channels: int = 16) -> Arch:
    """`arch` with a stem of `channels` filters and h-swish instead of 32 and ReLU (section 5.1: 2 ms, 10 M MAdds).

    The block behind it gets an identity shortcut where its shapes then allow one, as in MobileNetV3.

    Raises:
        ValueError: the first block is no plain convolution, or the next one's shortcut fixes its width.
    """
    if len(arch.blocks) < 2:
        raise ValueError(f"network {arch.name!r} has one block only; it has no stem")
    stem, second, *others = arch.blocks
    if not isinstance(stem, ConvBN) or not isinstance(second, Mobile):
        raise ValueError(f"network {arch.name!r} does not begin with a convolution and a block; it has no stem")
    if stem.out_ch == channels:
        return replace(arch, blocks=(replace(stem, act="hard_swish"), second, *others))
    if second.skip != "none":
        raise ValueError(f"network {arch.name!r}: the shortcut of block 1 fixes the width of the stem")
    before, second = second, replace(second, in_ch=channels)
    se_ch = scale_se(before.se_ch, before.in_ch, channels, before.gated_ch, second.gated_ch)
    second = replace(second, se_ch=se_ch)
    if isinstance(second, SepConv) and second.out_ch == channels and second.stride == 1:
        second = replace(second, skip="identity")
    return replace(arch, blocks=(replace(stem, out_ch=channels, act="hard_swish"), second, *others))


def efficient_last_stage(arch: Arch) -> Arch:
    """`arch` with its last stage moved behind the pooling (section 5.1, figure 5: 7 ms, 30 M MAdds).

    MnasNet and MobileNetV2 end with a block (its expansion, its depthwise convolution and its projection to 320) and a
    1x1 convolution to 1280 at full resolution. Of the block only the expansion stays; the 1280 features are computed
    after the global pooling, without batch norm.

    Raises:
        ValueError: `arch` does not end like that.
    """
    if len(arch.blocks) < 3:
        raise ValueError(f"network {arch.name!r} does not end with an MBConv, a convolution and a classifier")
    *body, block, head, classifier = arch.blocks
    if isinstance(classifier, Classifier) and classifier.hidden_ch:
        return arch
    if not (isinstance(block, MBConv) and isinstance(head, ConvBN) and isinstance(classifier, Classifier)):
        raise ValueError(f"network {arch.name!r} does not end with an MBConv, a convolution and a classifier")
    if block.stride != 1 or head.kernel != 1:
        raise ValueError(f"network {arch.name!r}: the last MBConv has a stride, or what follows is no 1x1 convolution")
    expand = ConvBN(in_ch=block.in_ch, out_ch=block.mid_ch, kernel=1, act="hard_swish")
    last = replace(classifier, in_ch=block.mid_ch, hidden_ch=head.out_ch, act="hard_swish")
    return replace(arch, blocks=(*body, expand, last))


def hard_swish(arch: Arch, from_ch: int = HARD_SWISH_FROM) -> Arch:
    """`arch` with h-swish in the blocks that have `from_ch` output channels or more (section 5.2)."""
    return replace(
        arch,
        blocks=tuple(replace(block, act="hard_swish") if _is_late(block, from_ch) else block for block in arch.blocks),
    )


def _is_late(block: Block, from_ch: int) -> TypeGuard[Mobile | Classifier]:
    return isinstance(block, Classifier) or (isinstance(block, Mobile) and block.out_ch >= from_ch)


def se_quarter(arch: Arch) -> Arch:
    """`arch` with squeeze-and-excite at 1/4 of the expansion and a hard sigmoid, where it has any (section 5.3)."""
    blocks = []
    for block in arch.blocks:
        if isinstance(block, Mobile) and block.se_ch:
            block = replace(block, se_ch=make_divisible(block.gated_ch / 4), se_gate="hard_sigmoid")
        blocks.append(block)
    return replace(arch, blocks=tuple(blocks))


REDESIGNS: dict[str, Callable[[Arch], Arch]] = {
    "small_stem": small_stem,
    "efficient_last_stage": efficient_last_stage,
    "hard_swish": hard_swish,
    "se_quarter": se_quarter,
}


def apply(arch: Arch, names: Sequence[str]) -> Arch:
    """`arch` after the redesigns `names`, in this order; ``mobilenet_v3`` stands for all of `REDESIGNS`.

    Raises:
        ValueError: an unknown name, or a redesign that does not fit `arch`.
    """
    for name in names:
        if name != "mobilenet_v3" and name not in REDESIGNS:
            raise ValueError(f"no redesign {name!r}; allowed: mobilenet_v3 (all of these), {', '.join(REDESIGNS)}")
        for each in REDESIGNS if name == "mobilenet_v3" else (name,):
            arch = REDESIGNS[each](arch)
    return arch

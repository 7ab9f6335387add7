"""Pure `Arch -> Arch` edits."""

from dataclasses import replace
from typing import Any

from search_spaces.arch import Arch, Block, Classifier, ConvBN, MBConv, SepConv
from search_spaces.blocks import ConvClassifier, DenseClassifier, MixedMBConv, ShuffleUnit, ShuffleUnitV2
from search_spaces.blocks.fields import MAX_CHANNELS
from search_spaces.lower import chain

MAX_WIDTH = 16
_HEADS = (Classifier, DenseClassifier, ConvClassifier)

__all__ = [
    "check_classes",
    "check_width",
    "classes",
    "dropout",
    "for_images",
    "in_channels",
    "make_divisible",
    "resolution",
    "scale_se",
    "small_image",
    "width_multiplier",
]


def make_divisible(value: float, divisor: int = 8) -> int:
    """`value` rounded to the nearest multiple of `divisor`, never by more than 10 % down.

    The rule of the MobileNet reference code: ``max(divisor, floor(value + divisor / 2) to a multiple)``, one step
    higher where that is below 0.9 ``value``.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def resolution(arch: Arch, resolution_px: int) -> Arch:
    """`arch` on images of `resolution_px` x `resolution_px`. A head that reads a map of one size gets the new one."""
    return _fitted(replace(arch, resolution_px=resolution_px))


def _fitted(arch: Arch) -> Arch:
    *body, head = arch.blocks
    if not isinstance(head, DenseClassifier):
        return arch
    _, size_px, _ = chain(body, arch.resolution_px)[-1].out_shape
    return replace(arch, blocks=(*body, replace(head, size_px=size_px)))


def classes(arch: Arch, n: int) -> Arch:
    """`arch` with `n` outputs of its last block.

    Raises:
        ValueError: `n` is no number of classes.
    """
    check_classes(n)
    return replace(arch, blocks=(*arch.blocks[:-1], replace(arch.blocks[-1], out_ch=n)))


def in_channels(arch: Arch, n: int) -> Arch:
    """`arch` for images of `n` channels: 3 for colour, 1 for grey."""
    first = replace(arch.blocks[0], in_ch=n)
    return replace(arch, blocks=(first, *arch.blocks[1:]))


def dropout(arch: Arch, rate: float) -> Arch:
    """`arch` with another dropout rate before its last layer."""
    return replace(arch, blocks=tuple(replace(b, dropout=rate) if isinstance(b, _HEADS) else b for b in arch.blocks))


def width_multiplier(arch: Arch, width: float, divisor: int = 8, *, widen_features: bool = True) -> Arch:
    """Every channel count of `arch` times `width`, rounded by `make_divisible`.

    As the reference implementations of MobileNetV2, MobileNetV3 and MnasNet do it:

    - expansions keep their ratio to the block's input channels;
    - squeeze-and-excite keeps its published rule (`scale_se`);
    - the last features before the classes (V2's 1280-channel convolution, V3's hidden layer) are widened
      by ``width > 1``, unless `widen_features` is false (MnasNet), and left alone by ``width < 1``;
    - image channels and classes stay.

    Raises:
        ValueError: width <= 0, or a kind of block that has no such rule.
    """
    check_width(width)
    if width == 1:
        return arch
    last = arch.blocks[-1]
    features_in_head = isinstance(last, Classifier) and not last.hidden_ch
    blocks: list[Block] = []
    in_ch = arch.in_ch
    features_factor = max(width, 1.0) if widen_features else 1.0
    for i, block in enumerate(arch.blocks):
        is_head = features_in_head and i == len(arch.blocks) - 2 and isinstance(block, ConvBN)
        factor = features_factor if is_head else width
        out_ch = make_divisible(block.out_ch * factor, divisor)
        blocks.append(_scale(block, in_ch, out_ch, features_factor, divisor))
        in_ch = blocks[-1].out_ch
    return replace(arch, name=f"{arch.name} {width:g}", blocks=tuple(blocks))


def check_classes(n: Any) -> None:
    """Refuses what is no whole number from 1 to `MAX_CHANNELS`."""
    if type(n) is not int or not 1 <= n <= MAX_CHANNELS:
        raise ValueError(f"classes is {n!r}; it must be a whole number of at least 1 and at most {MAX_CHANNELS}")


def check_width(width: Any) -> None:
    """Refuses what is no width multiplier."""
    if isinstance(width, bool) or not isinstance(width, int | float) or not 0 < width <= MAX_WIDTH:
        raise ValueError(f"width is {width!r}; a width multiplier must be above 0 and at most {MAX_WIDTH}")


def _scale(block: Block, in_ch: int, out_ch: int, features_factor: float, divisor: int) -> Block:
    match block:
        case Classifier():
            hidden_ch = make_divisible(block.hidden_ch * features_factor, divisor) if block.hidden_ch else 0
            return replace(block, in_ch=in_ch, hidden_ch=hidden_ch)
        case MBConv() | MixedMBConv():
            mid_ch = make_divisible(in_ch * block.mid_ch / block.in_ch, divisor)
            se_ch = scale_se(block.se_ch, block.in_ch, in_ch, block.mid_ch, mid_ch, divisor)
            return replace(block, in_ch=in_ch, mid_ch=mid_ch, out_ch=out_ch, se_ch=se_ch)
        case SepConv():
            se_ch = scale_se(block.se_ch, block.in_ch, in_ch, block.in_ch, in_ch, divisor)
            return replace(block, in_ch=in_ch, out_ch=out_ch, se_ch=se_ch)
        case ConvBN():
            se_ch = scale_se(block.se_ch, block.in_ch, in_ch, block.out_ch, out_ch, divisor)
            return replace(block, in_ch=in_ch, out_ch=out_ch, se_ch=se_ch)
        case _:
            raise ValueError(f"a network with a {type(block).__name__} has no width multiplier; leave width= out")


def scale_se(se_ch: int, in_before: int, in_after: int, gated_before: int, gated_after: int, divisor: int = 8) -> int:
    """Squeeze-and-excite channels after scaling: MobileNetV3's rule (1/4 of the gated channels, rounded) or MnasNet's
    (1/4 of the input channels) where the block follows one of them, else its share of the gated channels."""
    if not se_ch:
        return 0
    if se_ch == make_divisible(gated_before / 4, divisor):
        return make_divisible(gated_after / 4, divisor)
    if se_ch == max(1, in_before // 4):
        return max(1, in_after // 4)
    return max(1, round(se_ch * gated_after / gated_before))


def small_image(arch: Arch, resolution_px: int, *, min_px: int = 4) -> Arch:
    """`arch` for small images: a stride of 2 becomes 1 where the feature map would shrink below `min_px`.

    An ImageNet network halves a 224-px image five times, to 7 px; a 32-px image would end at 1 px and leave the last
    stages nothing to convolve. With ``min_px=4`` a 32-px image goes 32, 16, 8, 4 and stays there, a 28-px one 28, 14,
    7, 4. Keeping the first strides and not the last, as is common for CIFAR, makes the early, high-resolution layers
    cheap. Widths, kernels, shortcuts and depth stay, so that the weights of both versions have the same
    shapes.
    """
    size = resolution_px
    blocks: list[Block] = []
    for block in arch.blocks:
        stride = getattr(block, "stride", 1)
        if stride > 1:
            halved = -(-size // stride)  # "same" padding rounds up
            if halved < min_px:
                if isinstance(block, ShuffleUnit | ShuffleUnitV2):
                    kind = type(block).__name__
                    raise ValueError(
                        f"network {arch.name!r} is not for images of {resolution_px} px: its {kind} halves them"
                    )
                block = replace(block, stride=1)  # type: ignore[call-arg]
            else:
                size = halved
        blocks.append(block)
    try:
        small = _fitted(replace(arch, resolution_px=resolution_px, blocks=tuple(blocks)))
        chain(small.blocks, resolution_px)
    except ValueError as e:
        raise ValueError(f"network {arch.name!r} is not for images of {resolution_px} px: {e}") from None
    return small


def for_images(
    arch: Arch, *, resolution_px: int, channels: int, n_classes: int, min_px: int, dropout_rate: float
) -> Arch:
    """`arch` for the images of a data set: their size, channels and classes, strides as `small_image` has them."""
    small = dropout(small_image(arch, resolution_px, min_px=min_px), dropout_rate)
    return classes(in_channels(small, channels), n_classes)

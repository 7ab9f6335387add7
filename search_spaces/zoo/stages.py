"""Builders that the families share."""

from collections.abc import Iterable

from search_spaces.arch import Block, MBConv, SepConv

__all__ = ["mbconv", "repeat", "sepconv"]


def sepconv(
    in_ch: int,
    out_ch: int,
    *,
    kernel: int,
    stride: int,
    act: str,
    se_ch: int = 0,
    se_act: str = "relu",
    gate: str = "sigmoid",
) -> SepConv:
    """A `SepConv` with an identity shortcut where the shapes allow one."""
    return SepConv(
        in_ch=in_ch,
        out_ch=out_ch,
        kernel=kernel,
        stride=stride,
        act=act,
        se_ch=se_ch,
        se_act=se_act,
        se_gate=gate,
        skip=_skip(in_ch, out_ch, stride),
    )


def mbconv(
    in_ch: int,
    mid_ch: int,
    out_ch: int,
    *,
    kernel: int,
    stride: int,
    act: str,
    se_ch: int = 0,
    se_act: str = "relu",
    gate: str = "sigmoid",
) -> MBConv:
    """An `MBConv` with an identity shortcut where the shapes allow one."""
    return MBConv(
        in_ch=in_ch,
        mid_ch=mid_ch,
        out_ch=out_ch,
        kernel=kernel,
        stride=stride,
        act=act,
        se_ch=se_ch,
        se_act=se_act,
        se_gate=gate,
        skip=_skip(in_ch, out_ch, stride),
    )


def repeat(
    in_ch: int, stages: Iterable[tuple[int, int, int, int, int, float]], *, act: str, se_act: str = "relu"
) -> tuple[Block, ...]:
    """Stages of identical blocks, each stage ``(repeats, expansion, out_ch, kernel, stride, se)``.

    Only the first block of a stage has the stride. Expansion 0 is a `SepConv`. ``se`` is the squeeze-and-excite ratio
    to the block's *input* channels (MnasNet's rule).
    """
    blocks: list[Block] = []
    for repeats, expansion, out_ch, kernel, first_stride, se in stages:
        for i in range(repeats):
            stride = first_stride if i == 0 else 1
            settings = {"kernel": kernel, "stride": stride, "act": act, "se_ch": int(in_ch * se), "se_act": se_act}
            block = mbconv(in_ch, in_ch * expansion, out_ch, **settings) if expansion else None
            blocks.append(block or sepconv(in_ch, out_ch, **settings))
            in_ch = out_ch
    return tuple(blocks)


def _skip(in_ch: int, out_ch: int, stride: int) -> str:
    return "identity" if stride == 1 and in_ch == out_ch else "none"

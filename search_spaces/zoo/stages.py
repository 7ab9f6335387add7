"""What the mobile families share: shortcuts where shapes allow them, and stages of equal blocks."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeVar

from search_spaces.arch import Block, MBConv, SepConv

__all__ = ["repeat", "residual"]

_Separable = TypeVar("_Separable", bound=SepConv | MBConv)


def residual(block: _Separable) -> _Separable:
    """`block` with an identity shortcut, if input and output have the same shape."""
    return replace(block, skip="identity") if block.stride == 1 and block.in_ch == block.out_ch else block


def repeat(
    in_ch: int, stages: Iterable[tuple[int, int, int, int, int, float]], *, act: str, se_act: str = "relu"
) -> tuple[Block, ...]:
    """Stages of equal blocks, each stage ``(repeats, expansion, out_ch, kernel, stride, se)``.

    Only the first block of a stage has the stride. Expansion 0 is a `SepConv`. ``se`` is the squeeze-and-excite ratio
    to the block's *input* channels (MnasNet's rule).
    """
    blocks: list[Block] = []
    for repeats, expansion, out_ch, kernel, first_stride, se in stages:
        for i in range(repeats):
            fields: dict[str, Any] = {
                "in_ch": in_ch,
                "out_ch": out_ch,
                "kernel": kernel,
                "stride": first_stride if i == 0 else 1,
                "act": act,
                "se_ch": int(in_ch * se),
                "se_act": se_act,
            }
            block = MBConv(mid_ch=in_ch * expansion, **fields) if expansion else SepConv(**fields)
            blocks.append(residual(block))
            in_ch = out_ch
    return tuple(blocks)

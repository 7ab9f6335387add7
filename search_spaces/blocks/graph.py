"""Pieces of the graphs of blocks that several kinds have."""

from typing import Protocol

from search_spaces.ops import Add, Conv, GlobalPool, Op, Pool, Scale

__all__ = ["shortcut", "squeeze_excite"]


class Gated(Protocol):
    """A block that may have squeeze-and-excite."""

    @property
    def se_ch(self) -> int: ...
    @property
    def se_act(self) -> str: ...
    @property
    def se_gate(self) -> str: ...


def squeeze_excite(source: Op, ch: int, block: Gated) -> tuple[Op, ...]:
    """Squeeze-and-excite (arXiv:1709.01507) of `block` on the `ch` channels of `source`; nothing if it has none."""
    if not block.se_ch:
        return ()
    reduce = Conv(name="se_reduce", inputs=("se_pool",), in_ch=ch, out_ch=block.se_ch, norm=False, act=block.se_act)
    return (
        GlobalPool(name="se_pool", inputs=(source.name,)),
        reduce,
        Conv(name="se_expand", inputs=("se_reduce",), in_ch=block.se_ch, out_ch=ch, norm=False, act=block.se_gate),
        Scale(name="se_scale", inputs=(source.name, "se_expand")),
    )


def shortcut(skip: str, last: str, stride: int) -> tuple[Op, ...]:
    """The sum of the operator `last` and the block's input, or its pooled input; nothing if `skip` is none."""
    if skip == "none":
        return ()
    if skip == "identity":
        return (Add(name="residual", inputs=(last, "input")),)
    pool = Pool(name="shortcut", inputs=("input",), kernel=3, stride=stride)
    return (pool, Add(name="residual", inputs=(last, "shortcut")))

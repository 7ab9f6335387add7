"""Proposals: narrower networks that each save at least so many milliseconds, and the choice among them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from netadapt import blocks
from netadapt.channels import KINDS as CHANNELS
from netadapt.channels import groups, narrow
from search_spaces.arch import Arch, Mobile

__all__ = ["KINDS", "SELECTIONS", "Proposal", "narrowest", "propose", "ranking"]

DIVISOR = 8
KINDS = (*CHANNELS, *blocks.KINDS)
"""What a proposal can make less of: channels (`netadapt.channels`), and blocks and kernels (`netadapt.blocks`)."""

SELECTIONS = ("ratio", "accuracy")


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A network with one group of channels narrowed, or with less of one block.

    Attributes:
        group: its name, see `netadapt.channels.Group.name`; or that of the block.
        before, after: channels; the kernel's size; or whether the block is there (1 and 0).
        saved_ms: latency of the network that it comes from, less its own.
    """

    arch: Arch
    group: str
    kind: str
    before: int
    after: int
    latency_ms: float
    saved_ms: float


@dataclass(frozen=True)
class _Place:
    """Something that can be less: its name, kind and size, and the smaller sizes with their networks, the largest
    first."""

    name: str
    kind: str
    size: int
    smaller: Iterable[tuple[int, Arch]]


def propose(
    arch: Arch, latency_ms: Callable[[Arch], float], *, cut_ms: float, kinds: Sequence[str] = CHANNELS
) -> list[Proposal]:
    """For each group of channels the *widest* network, in multiples of 8, that saves at least `cut_ms`; likewise for
    each kernel and each block that may leave.

    Latency need not fall with every step of width (tables of real devices do not): widths are tried from the widest
    down. What cannot save as much is left out.
    """
    now_ms = latency_ms(arch)
    proposals = []
    for place in _places(arch, kinds):
        for size, smaller in place.smaller:
            ms = latency_ms(smaller)
            if now_ms - ms >= cut_ms * (1 - 1e-9):
                proposals.append(
                    Proposal(
                        arch=smaller,
                        group=place.name,
                        kind=place.kind,
                        before=place.size,
                        after=size,
                        latency_ms=ms,
                        saved_ms=now_ms - ms,
                    )
                )
                break
    return proposals


def _places(arch: Arch, kinds: Sequence[str]) -> Iterator[_Place]:
    for group in groups(arch, [kind for kind in kinds if kind in CHANNELS]):
        widths = range((group.channels - 1) // DIVISOR * DIVISOR, 0, -DIVISOR)
        narrower = ((width, narrow(arch, group, width)) for width in widths)
        yield _Place(group.name, group.kind, group.channels, narrower)
    if "depth" in kinds:
        for i in blocks.removable(arch):
            yield _Place(f"block {i} left out", "depth", 1, [(0, blocks.without(arch, i))])
    if "kernel" in kinds:
        for i, block in enumerate(arch.blocks):
            if isinstance(block, Mobile):
                yield _Place(f"kernel of block {i}", "kernel", block.kernel, blocks.smaller_kernels(arch, i))


def narrowest(arch: Arch, kinds: Sequence[str] = CHANNELS) -> Arch:
    """`arch` with all that these kinds allow as small as proposals go: no adaptation gets further."""
    if "depth" in kinds:
        while places := blocks.removable(arch):
            arch = blocks.without(arch, places[-1])
    if "kernel" in kinds:
        for i in range(len(arch.blocks)):
            for _, smaller in blocks.smaller_kernels(arch, i):
                arch = smaller
    channels = [kind for kind in kinds if kind in CHANNELS]
    for place in range(len(groups(arch, channels))):
        group = groups(arch, channels)[place]
        if group.channels > DIVISOR:
            arch = narrow(arch, group, DIVISOR)
    return arch


def ranking(
    proposals: Sequence[Proposal], top1: Sequence[float], parent_top1: float, selection: str = "ratio"
) -> list[int]:
    """The positions of the proposals, the one to keep first.

    ``ratio`` (MobileNetV3, arXiv:1905.02244, section 4.2) prefers the largest ΔAcc / |ΔLatency|: the least accuracy
    lost for a millisecond. Where proposals *gain* accuracy, that ratio would favour the smallest cut; they are ahead of
    all that lose some, and among them the largest ΔAcc · |ΔLatency| comes first, so that a gain and a cut both count
    for it. ``accuracy`` (NetAdapt, arXiv:1804.03230, algorithm 1) prefers the most accurate.

    Of equal ones the one that saves more comes first, then the one that stands first.

    Args:
        top1: of each proposal, in [0, 1].
        parent_top1: of the network that they come from.
    """
    if selection not in SELECTIONS:
        raise ValueError(f"no selection {selection!r}; allowed: {', '.join(SELECTIONS)}")

    def worth(i: int) -> tuple[float, float, int]:
        gain, saved_ms = top1[i] - parent_top1, proposals[i].saved_ms
        if selection == "accuracy":
            return top1[i], saved_ms, -i
        return (gain * saved_ms if gain > 0 else gain / saved_ms), saved_ms, -i

    return sorted(range(len(proposals)), key=worth, reverse=True)

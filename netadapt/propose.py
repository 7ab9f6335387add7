"""Proposals: narrower networks that each save at least so many milliseconds, and the choice among them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from netadapt.channels import KINDS, groups, narrow
from search_spaces.arch import Arch

__all__ = ["SELECTIONS", "Proposal", "narrowest", "propose", "ranking"]

DIVISOR = 8
SELECTIONS = ("ratio", "accuracy")


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A network with one group of channels narrowed.

    Attributes:
        group: its name, see `netadapt.channels.Group.name`.
        before, after: channels.
        saved_ms: latency of the network that it comes from, less its own.
    """

    arch: Arch
    group: str
    kind: str
    before: int
    after: int
    latency_ms: float
    saved_ms: float


def propose(
    arch: Arch, latency_ms: Callable[[Arch], float], *, cut_ms: float, kinds: Sequence[str] = KINDS
) -> list[Proposal]:
    """For each group of channels the *widest* network, in multiples of 8, that saves at least `cut_ms`.

    Latency need not fall with every step of width (tables of real devices do not): widths are tried from the widest
    down. Groups that cannot save as much are left out.
    """
    now_ms = latency_ms(arch)
    proposals = []
    for group in groups(arch, kinds):
        for channels in range((group.channels - 1) // DIVISOR * DIVISOR, 0, -DIVISOR):
            narrower = narrow(arch, group, channels)
            ms = latency_ms(narrower)
            if now_ms - ms >= cut_ms * (1 - 1e-9):
                proposals.append(
                    Proposal(
                        arch=narrower,
                        group=group.name,
                        kind=group.kind,
                        before=group.channels,
                        after=channels,
                        latency_ms=ms,
                        saved_ms=now_ms - ms,
                    )
                )
                break
    return proposals


def narrowest(arch: Arch, kinds: Sequence[str] = KINDS) -> Arch:
    """`arch` with every group of these kinds as narrow as proposals go: no adaptation gets further."""
    for place in range(len(groups(arch, kinds))):
        group = groups(arch, kinds)[place]
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

"""NetAdapt with MobileNetV3's rule: narrow one thing at a time; keep what costs least accuracy for a millisecond."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from netadapt.channels import KINDS
from netadapt.propose import Proposal, propose, ranking
from search_spaces.arch import Arch

__all__ = ["Adaptation", "Rule", "Step", "Tuner", "adapt"]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How much a step saves, of what, and which proposal it keeps.

    Attributes:
        delta: each proposal of step i (from 1) saves at least ``delta * decay ** (i - 1)`` of the seed's latency.
        kinds: what may be less, see `netadapt.propose.KINDS`; by default channels of all kinds.
        selection: see `netadapt.propose.ranking`.

    Raises:
        ValueError: steps would save nothing, or everything.
    """

    delta: float = 0.01
    decay: float = 1.0
    kinds: tuple[str, ...] = KINDS
    selection: str = "ratio"

    def __post_init__(self) -> None:
        if not 0 < self.delta < 1 or not 0 < self.decay <= 1:
            raise ValueError(
                f"delta is {self.delta:g} and decay {self.decay:g}; allowed: 0 < delta < 1, 0 < decay <= 1"
            )

    def cut_ms(self, step: int, seed_ms: float) -> float:
        """What each proposal of a step (from 1) has to save."""
        return self.delta * self.decay ** (step - 1) * seed_ms


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step: the proposal that was kept, and how many there were.

    Attributes:
        number: from 1.
        top1: of the kept proposal after its short fine-tuning, on the holdout.
        cut_ms: what every proposal had to save at least.
    """

    number: int
    kept: Proposal
    top1: float
    proposals: int
    cut_ms: float


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """All steps, and the network that they lead to.

    Attributes:
        stopped: why the target was not reached; empty if it was.
    """

    seed: Arch
    seed_ms: float
    seed_top1: float
    target_ms: float
    steps: tuple[Step, ...]
    stopped: str

    @property
    def arch(self) -> Arch:
        return self.steps[-1].kept.arch if self.steps else self.seed

    @property
    def latency_ms(self) -> float:
        return self.steps[-1].kept.latency_ms if self.steps else self.seed_ms


class Tuner(Protocol):
    """What tells how accurate proposals are."""

    def evaluate(self, step: int, proposals: Sequence[Proposal], parent_top1: float) -> Mapping[int, float]:
        """The top-1 of proposals after a short fine-tuning, in [0, 1], by their position: of at least one. Those
        left out are not kept."""
        ...

    def keep(self, step: int, proposals: Sequence[Proposal], kept: int) -> None:
        """The next step starts from the proposal `kept` and its weights."""
        ...


def adapt(
    seed: Arch,
    tuner: Tuner,
    *,
    seed_top1: float,
    latency_ms: Callable[[Arch], float],
    target_ms: float,
    rule: Rule | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> Adaptation:
    """Narrows `seed` until its latency is at most `target_ms` (arXiv:1804.03230, algorithm 1; arXiv:1905.02244,
    section 4.2).

    Args:
        seed_top1: on the holdout, in [0, 1]; the first step's gains and losses are counted from it.
        rule: of every step; None: `Rule` with its defaults.
        on_step: called after each step.

    Raises:
        ValueError: `target_ms` is not below the seed's latency.
    """
    rule, seed_ms = rule or Rule(), latency_ms(seed)
    if not 0 < target_ms < seed_ms:
        raise ValueError(
            f"the target is {target_ms:.4g} ms, but the seed takes {seed_ms:.4g} ms; choose one below that"
        )
    arch, top1, now_ms = seed, seed_top1, seed_ms
    steps: list[Step] = []
    stopped = ""
    while now_ms > target_ms:
        number = len(steps) + 1
        cut_ms = rule.cut_ms(number, seed_ms)
        proposals = propose(arch, latency_ms, cut_ms=cut_ms, kinds=rule.kinds)
        if not proposals:
            stopped = f"nothing that may be narrowed saves another {cut_ms:.3g} ms"
            break
        measured = tuner.evaluate(number, proposals, top1)
        places = sorted(measured)
        order = ranking([proposals[i] for i in places], [measured[i] for i in places], top1, rule.selection)
        kept = places[order[0]]
        tuner.keep(number, proposals, kept)
        arch, top1, now_ms = proposals[kept].arch, measured[kept], proposals[kept].latency_ms
        steps.append(Step(number=number, kept=proposals[kept], top1=top1, proposals=len(proposals), cut_ms=cut_ms))
        if on_step:
            on_step(steps[-1])
    return Adaptation(
        seed=seed, seed_ms=seed_ms, seed_top1=seed_top1, target_ms=target_ms, steps=tuple(steps), stopped=stopped
    )

"""How shared weights may be shared and trained, as plain values; see `nas.supernet.module` and `nas.supernet.train`."""

from dataclasses import dataclass

__all__ = ["KERNELS", "MODES", "PHASES", "Joint", "Phase"]

KERNELS = ("centre", "own")
"""A small kernel is the centre of the largest, or has weights of its own."""

MODES = ("two_stage", "joint")
"""Weights first, of random networks, then the controller; or both at once, on the networks of the controller."""

PHASES = ("largest", "align", "mixed")

_TUNAS_LR = 0.0048
_GROWTH = 10.0


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A phase: its share of all updates, relative to the others', and its peak learning rate."""

    share: float
    lr: float


@dataclass(frozen=True, kw_only=True)
class Joint:
    """How a policy learns with the weights, by default as in TuNAS (tunas/mobile_architecture_search.py).

    Attributes:
        delay: share of all updates before the policy learns.
        warmup: share of all updates in which choices are left open or widest, with a probability that falls from 1 to
            0; at most `delay`, or the policy would learn from what it did not choose.
        reward_batches: images of the holdout for one reward, in training batches; all images if it has fewer.
        same_network: whether the network that was just trained is measured, or another one of the policy.

    Raises:
        ValueError: a warm-up that is longer than the delay.
    """

    delay: float = 0.25
    warmup: float = 0.25
    reward_batches: int = 4
    same_network: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.warmup <= self.delay < 1:
            raise ValueError(
                f"warmup={self.warmup:g}, delay={self.delay:g}; allowed: from 0, below 1, and warmup at most delay"
            )

    def lr(self, step: int, steps: int) -> float:
        """The policy's learning rate at update `step` (from 0) of `steps`: 0, then growing exponentially to tenfold.

        TuNAS begins with 0.0003 for 256 images a step, 0.0048 for its 4096, and has 27,050 updates. The rate is this
        with fewer of them, too, which leave the policy less decided: Adam's steps are as long as the rate, whatever
        the rewards, and one that makes up for missing updates would decide it by chance.
        """
        first = int(self.delay * steps)
        if step < first:
            return 0.0
        return _TUNAS_LR * _GROWTH ** ((step - first) / max(1, steps - first))

    def warmup_probability(self, step: int, steps: int) -> float:
        """The probability that a choice is replaced at update `step` (from 0) of `steps`: falls linearly to 0."""
        last = int(self.warmup * steps)
        return max(0.0, 1 - step / last) if last else 0.0

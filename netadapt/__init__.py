"""Adapting one architecture to a device, layer by layer: `netadapt.adapt.adapt`, and what it is made of.

>>> from netadapt import Rule, adapt, channels, propose
>>> adaptation = adapt.adapt(seed, tuner, seed_top1=0.75, latency_ms=model.latency_ms, target_ms=60, rule=Rule())
"""

from typing import TYPE_CHECKING

from nas_runtime.lazy import lazily

if TYPE_CHECKING:
    from netadapt import adapt, channels, compare, inherit, propose, weights
    from netadapt.adapt import Adaptation, Rule, Step, Tuner
    from netadapt.propose import Proposal
    from netadapt.tuner import Contest, FineTuning
    from netadapt.weights import TrainedNet

__all__ = [
    "Adaptation",
    "Contest",
    "FineTuning",
    "Proposal",
    "Rule",
    "Step",
    "TrainedNet",
    "Tuner",
    "adapt",
    "channels",
    "compare",
    "inherit",
    "propose",
    "weights",
]

__getattr__ = lazily(
    __name__,
    __all__,
    {
        "adapt": ("Adaptation", "Rule", "Step", "Tuner"),
        "propose": ("Proposal",),
        "tuner": ("Contest", "FineTuning"),
        "weights": ("TrainedNet",),
    },
)

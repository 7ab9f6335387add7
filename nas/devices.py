"""One network for several devices: `devices={pixel2: 12, rpi5: 30}`, milliseconds, beside the target's own.

Of a network that has LAT/TAR on each device, the worst counts in the reward (the network is then fast enough
everywhere, or has to be faster where it is slowest); with `weights=` their weighted geometric mean.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from latency_luts import LatencyModel
from nas_runtime.console import in_ms
from search_spaces.arch import Arch
from search_spaces.space import SearchSpace

__all__ = ["Latency", "Together"]


class Latency(Protocol):
    """What networks take, as the reward sees it: a `LatencyModel`, or several `Together`."""

    @property
    def device(self) -> str:
        """Where, for people."""
        ...

    def latency_ms(self, arch: Arch) -> float: ...

    def latency_ms_batch(self, space: SearchSpace, indices: np.ndarray) -> np.ndarray:
        """(n,) of the networks of points (n, C)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Together:
    """The latencies on several devices as one: the milliseconds on the first device at which a network would have the
    LAT/TAR that counts.

    Attributes:
        models: by device, the target's own first.
        targets_ms: of each.
        weights: of each, in the geometric mean; none: the worst counts.
    """

    models: Mapping[str, LatencyModel]
    targets_ms: Mapping[str, float]
    weights: Mapping[str, float]

    @property
    def device(self) -> str:
        *others, last = self.models
        counts = "weighted" if self.weights else "the worst"
        return f"{', '.join(others)} and {last} ({counts} LAT/TAR, as ms of {next(iter(self.models))})"

    @property
    def costs(self) -> dict[str, Callable[[Arch], float]]:
        """The latency on each device, by names like ``pixel2_ms``."""
        return {f"{device}_ms": model.latency_ms for device, model in self.models.items()}

    def latency_ms(self, arch: Arch) -> float:
        """Milliseconds of the first device."""
        return float(self._counting({device: model.latency_ms(arch) for device, model in self.models.items()}))

    def latency_ms_batch(self, space: SearchSpace, indices: np.ndarray) -> np.ndarray:
        """(n,) the same of points (n, C)."""
        return self._counting({d: model.latency_ms_batch(space, indices) for d, model in self.models.items()})

    def _counting(self, ms: Mapping[str, Any]) -> np.ndarray:
        logs = np.array([np.log(ms[device] / target_ms) for device, target_ms in self.targets_ms.items()])
        first = next(iter(self.targets_ms.values()))
        if not self.weights:
            return first * np.exp(logs.max(axis=0))
        weights = np.array([self.weights[device] for device in self.targets_ms])
        return first * np.exp(np.tensordot(weights / math.fsum(weights), logs, axes=1))

    def describe(self) -> str:
        """The targets, and what counts, in words."""
        targets = [f"{in_ms(target_ms)} ms on {device}" for device, target_ms in self.targets_ms.items()]
        first = next(iter(self.models))
        if not self.weights:
            return f"{', '.join(targets)}; of LAT/TAR there the largest counts, as milliseconds of {first}"
        weights = ", ".join(f"{self.weights[device]:g} of {device}" for device in self.models)
        return (
            f"{', '.join(targets)}; of LAT/TAR there the geometric mean counts, weights {weights}, as milliseconds of "
            f"{first}"
        )

    def in_words(self, arch: Arch) -> str:
        """What a network takes on each device."""
        return ", ".join(
            f"{in_ms(model.latency_ms(arch))} of {in_ms(self.targets_ms[device])} ms on {device}"
            for device, model in self.models.items()
        )

    def record(self, arch: Arch) -> dict[str, dict[str, float]]:
        """For ``result.json``: of each device, the target, and what a network takes."""
        return {
            device: {"target_ms": self.targets_ms[device], "latency_ms": model.latency_ms(arch)}
            for device, model in self.models.items()
        }

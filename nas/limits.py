"""`Limits`: what a network may cost at most.

    limits={pixel2_ms: 20, params_m: 2, size_mb: 6, peak_memory_mb: 1.5, madds_m: 60}

A network that breaks a limit is no sample, and so never trained by itself; the training of shared weights is of the
whole space. ``NAME_ms`` is the latency on a device, by its table. The others are counted:

    params_m        millions of trainable parameters, as papers count them
    madds_m         millions of multiply-adds of one image, as papers count them
    size_mb         megabytes (10^6 bytes) of the weights in fp32, batch norms folded, as ``best.onnx`` has them
    peak_memory_mb  megabytes of the tensors in fp32 that are alive at once, where operators run in order and a tensor's
                    memory is used again after its last reader, as in ONNX Runtime and LiteRT; weights are not in it
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from latency_luts import LatencyModel
from nas.controllers import Controller
from nas.controllers.region import Region, keep_within
from nas_runtime.console import did_you_mean
from search_spaces import cost
from search_spaces.arch import Arch
from search_spaces.layer_tables import LayerTables
from search_spaces.lower import Unit, lower
from search_spaces.space import SearchSpace

__all__ = ["COUNTED", "Limit", "Limits", "devices"]

_MS = "_ms"
_DRAWN = 10_000
_TRIED = 64  # points from which a network within all limits is looked for


@dataclass(frozen=True)
class _Count:
    """A number of networks: of the `unit` numbers of their units, the sum, or the largest, in so many."""

    unit: Callable[[Unit], float]
    together: Callable[..., float]
    scale: float

    def of_units(self, units: Sequence[Unit]) -> float:
        return self.together([self.unit(unit) for unit in units] or [0]) / self.scale

    def of(self, arch: Arch) -> float:
        return self.of_units(lower(arch))


COUNTED: Mapping[str, _Count] = {
    "params_m": _Count(cost.unit_params, sum, 1e6),
    "madds_m": _Count(cost.unit_madds, sum, 1e6),
    "size_mb": _Count(cost.unit_folded_weights, sum, 1e6 / 4),
    "peak_memory_mb": _Count(cost.unit_peak, max, 1e6 / 4),
}


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One of the limits.

    Attributes:
        of: what a network costs.
        of_points: (n,) the same of points (n, C) of the search's space.
    """

    name: str
    most: float
    of: Callable[[Arch], float]
    of_points: Callable[[np.ndarray], np.ndarray]


def devices(limits: Mapping[str, float]) -> tuple[str, ...]:
    """The devices on which a latency is limited.

    Raises:
        ValueError: a name that is no limit.
    """
    for name in limits:
        if name not in COUNTED and (not name.endswith(_MS) or name == _MS):
            raise ValueError(
                f"limits has {name!r}, which is none{did_you_mean(name, COUNTED)}; allowed: {', '.join(COUNTED)}, and "
                "DEVICE_ms for a device that has a latency table"
            )
    return tuple(name.removesuffix(_MS) for name in limits if name not in COUNTED)


class Limits:
    """The limits of a search.

    Args:
        limits: by name.
        models: of the `devices`.

    Attributes:
        limits: each of them.
        models: as given.

    Raises:
        ValueError: a name that is no limit.
    """

    def __init__(self, space: SearchSpace, limits: Mapping[str, float], models: Mapping[str, LatencyModel]) -> None:
        devices(limits)
        self._space, self.models = space, models
        self.limits = tuple(self._limit(name, most, models) for name, most in limits.items())

    def _limit(self, name: str, most: float, models: Mapping[str, LatencyModel]) -> Limit:
        if count := COUNTED.get(name):
            return Limit(name=name, most=most, of=count.of, of_points=partial(self._counted, name))
        model = models[name.removesuffix(_MS)]
        of_points = partial(model.latency_ms_batch, self._space)
        return Limit(name=name, most=most, of=model.latency_ms, of_points=of_points)

    @cached_property
    def _layers(self) -> LayerTables:
        return LayerTables(self._space)

    @cached_property
    def _tables(self) -> dict[str, list[np.ndarray]]:
        """Of each count that is limited."""
        return {
            limit.name: self._layers.of(COUNTED[limit.name].of_units) for limit in self.limits if limit.name in COUNTED
        }

    def _counted(self, name: str, points: np.ndarray) -> np.ndarray:
        count = COUNTED[name]
        if self._space.declaration is None:
            return np.array([count.of(self._space.decode(point)) for point in points])
        join = np.maximum if count.together is max else np.add
        own = [table[places] for table, places in zip(self._tables[name], self._layers.places(points), strict=True)]
        return join.reduce(own)

    @property
    def costs(self) -> dict[str, Callable[[Arch], float]]:
        """What a network costs, by the limits' names."""
        return {limit.name: limit.of for limit in self.limits}

    def _excess_of(self, limit: Limit, points: np.ndarray) -> np.ndarray:
        """(n,) the logarithm of how many times a limit is exceeded; of a largest number, summed over the layers that
        exceed it, so that each of them can be mended by itself."""
        count = COUNTED.get(limit.name)
        if count is None or count.together is not max or self._space.declaration is None:
            own = limit.of_points(points)[None]
        else:
            places = zip(self._tables[limit.name], self._layers.places(points), strict=True)
            own = np.array([table[place] for table, place in places])
        return np.maximum(np.log(np.maximum(own, 1e-12) / limit.most), 0.0).sum(axis=0)

    @property
    def region(self) -> Region:
        """Where all limits are met."""
        return Region(self._space, self._excess)

    def _excess(self, points: np.ndarray) -> np.ndarray:
        return sum((self._excess_of(limit, points) for limit in self.limits), np.zeros(len(points)))

    def share(self, points: np.ndarray) -> float:
        """Of points (n, C) that meet all limits."""
        return float(self.region.has(points).mean())

    def check(self) -> None:
        """Refuses limits that no network of the space meets, as far as it finds.

        Raises:
            ValueError: there is none; the message has the nearest that was found.
        """
        rng = np.random.default_rng(0)
        for limit in self.limits:  # one by one, as a limit that no network meets is the plainest to say
            alone = Region(self._space, lambda points, limit=limit: self._excess_of(limit, points))
            least = limit.of_points(self._led(alone, rng)).min()
            if least > limit.most:
                raise ValueError(
                    f"limits has {limit.name}={limit.most:g}, and the least that a network of this space was found to "
                    f"have is {least:.3g}; raise it, or lower space.base_width"
                )
        near = self._led(self.region, rng)
        excess = self._excess(near)
        if excess.min() > 0:
            nearest = self._space.decode(near[excess.argmin()])
            raise ValueError(
                f"no network of this space was found within all limits; the nearest has {self.in_words(nearest)}: "
                "raise one of those that it breaks"
            )

    def _led(self, region: Region, rng: np.random.Generator) -> np.ndarray:
        return np.array([region.led(point, rng) for point in self._space.canonical(self._space.sample(rng, _TRIED))])

    def keep(self, controller: Controller, *, rng_seed: int) -> Controller:
        """A controller like this one that proposes what meets all limits; itself where there are none."""
        return keep_within(controller, self.region, rng_seed=rng_seed) if self.limits else controller

    def describe(self) -> str:
        """The limits, in words, and how many networks of the space meet them."""
        share = self.share(self._space.sample(np.random.default_rng(0), _DRAWN))
        words = ", ".join(f"{limit.name} at most {limit.most:g}" for limit in self.limits)
        return f"{words}; {100 * share:.2g}% of random networks meet them"

    def in_words(self, arch: Arch) -> str:
        """What a network has of each limit."""
        return ", ".join(f"{limit.name} {limit.of(arch):.3g} of {limit.most:g}" for limit in self.limits)

    def record(self, arch: Arch) -> dict[str, dict[str, Any]]:
        """For ``result.json``: of each limit, the most that is allowed, and what a network has."""
        return {limit.name: {"most": limit.most, "has": limit.of(arch)} for limit in self.limits}

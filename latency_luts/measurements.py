"""What was measured for a table: chains and whole networks, each beside the references."""

import os
from dataclasses import dataclass, field

__all__ = ["REFERENCES", "ChainTiming", "Measurements", "NetworkTiming"]

REFERENCES = ("mobilenet_v3_small", "mobilenet_v2")  # one waits for memory more, the other computes more


@dataclass(frozen=True, kw_only=True)
class ChainTiming:
    """The units of one chain: keys, ms, spread of the runs and kernels, in order.

    `reference_ms` is what the references took meanwhile.
    """

    keys: tuple[str, ...]
    ms: tuple[float, ...]
    spread: tuple[float, ...]
    kernels: tuple[int, ...]
    runs: int
    reference_ms: float


@dataclass(frozen=True, kw_only=True)
class NetworkTiming:
    """A network as one graph: the fastest of its bursts, and the references' ms meanwhile."""

    ms: float
    reference_ms: float


@dataclass(kw_only=True)
class Measurements:
    """What was measured for one table.

    Attributes:
        chains: all chains, in the order of measurement.
        networks: whole networks by name, each timed several times.
        wanted: keys of the units that they were made for; chains may hold other units beside them.
        id: tells them from others: a table says which it was made of last.
    """

    chains: list[ChainTiming] = field(default_factory=list)
    networks: dict[str, list[NetworkTiming]] = field(default_factory=dict)
    wanted: set[str] = field(default_factory=set)
    id: str = field(default_factory=lambda: os.urandom(8).hex())

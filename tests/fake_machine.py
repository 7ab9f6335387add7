"""A machine that measures nothing: what tests of builds and validations measure with."""

import numpy as np

from latency_luts.key import key
from latency_luts.measurements import ChainTiming, NetworkTiming
from latency_luts.residence import CACHE_MIB
from latency_luts.table import Identity
from search_spaces import cost
from search_spaces.lower import lower

HERE = Identity(cpu="test cpu", runtime="onnxruntime 1", threads=1, batch=1, dtype="fp32")


class FakeMachine:
    """A unit costs 1 ms and has 3 kernels, a network 1.1 times its units; may break down after some groups of chains.

    ``slowness(call)`` is how much slower the machine is at that call, and ``saved_by_mib_ms`` what a MiB of weights
    saves that is in the caches.
    """

    def __init__(
        self, break_after=10**9, slowness=lambda call: 1.0, unit_ms=lambda name, call: 1.0, saved_by_mib_ms=0.0
    ):
        self.saved_by_mib_ms = saved_by_mib_ms
        self.calls, self.chains, self.networks = 0, 0, 0
        self.break_after, self.slowness, self.unit_ms = break_after, slowness, unit_ms

    def time_chains(self, chains, *, bursts):
        if self.calls == self.break_after:
            raise KeyboardInterrupt
        self.calls += 1
        slow = self.slowness(self.calls)
        self.chains += len(chains)
        timings = []
        for chain in chains:
            names = tuple(map(key, lower(chain)))
            ms = tuple(
                slow * (self.unit_ms(name, self.calls) - ms)
                for name, ms in zip(names, self.saved_ms(chain), strict=True)
            )
            timings.append(
                ChainTiming(
                    keys=names,
                    ms=ms,
                    spread=(0.01,) * len(ms),
                    kernels=(3,) * len(ms),
                    runs=5,
                    reference_ms=2 * slow + 1e-8 * self.calls,  # never twice the same
                )
            )
        return timings

    def time_networks(self, archs, *, bursts):
        self.networks += len(archs)
        slow = self.slowness(self.calls)
        return [NetworkTiming(ms=slow * self.network_ms(a), reference_ms=2 * slow) for a in archs]

    def network_ms(self, arch):
        return 1.1 * (len(arch.blocks) - sum(self.saved_ms(arch)))

    def saved_ms(self, arch):
        """Of each unit."""
        mib = np.array([4 * cost.unit_params(unit) / 2**20 for unit in lower(arch)])
        return self.saved_by_mib_ms * mib * np.exp(-mib.sum() / CACHE_MIB)


def named(archs):
    return {f"n{i}": arch for i, arch in enumerate(archs)}

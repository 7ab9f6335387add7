"""What prices the networks of an adaptation: a device's table, for every width; this machine's is measured for them."""

from pathlib import Path

import numpy as np

import latency_luts
from latency_luts import InterpolatedModel, LatencyModel, last_layers, store
from latency_luts.schedule import network_name
from latency_luts.table import MeasuredTable
from netadapt.blocks import smaller_kernels
from netadapt.channels import KINDS as CHANNELS
from netadapt.channels import groups, narrow
from netadapt.propose import DIVISOR
from search_spaces import rewrite
from search_spaces.arch import Arch
from search_spaces.lower import Unit, lower

__all__ = ["for_every_width", "load", "narrowed"]

HOST = "host"
_ALWAYS = ("expansion", "bottleneck")  # vary, whatever is to be less: a table needs many units
_MEASURED, _FITTED = 24, 12  # networks whose units are measured; of these, as a whole, for the table's correction


def load(device: str, seed: Arch, *, tables_dir: Path | None, kinds: tuple[str, ...], measure: bool) -> LatencyModel:
    """The model of a device. That of this machine gets the units of the seed, and of narrower versions of it, that its
    table lacks.

    Args:
        kinds: what will be less, see `netadapt.propose.KINDS`.
        measure: whether this machine may be measured now.

    Raises:
        latency_luts.TableError: no such table, or one of another machine.
    """
    if device == HOST and measure:
        from latency_luts.build import build

        networks = [rewrite.classes(arch, last_layers.MEASURED[-1]) for arch in narrowed(seed, _MEASURED, kinds)]
        units: set[Unit] = {unit for arch in networks for unit in lower(arch)}
        fitted = {network_name(arch): arch for arch in networks[:_FITTED]}
        path = store.own_path(device, tables_dir=tables_dir)
        return LatencyModel(build(device, last_layers.for_measuring(units), fitted, path, progress=True))
    if device == HOST and HOST not in latency_luts.names(tables_dir=tables_dir):
        raise latency_luts.TableError(
            "there is no table of this machine yet, and a plan needs one: without dry_run=true the command measures it "
            "first, in a minute or two"
        )
    return latency_luts.load(device, tables_dir=tables_dir)


def for_every_width(model: LatencyModel) -> LatencyModel:
    """The model for networks of any width: measured tables are interpolated."""
    return InterpolatedModel(model.table) if isinstance(model.table, MeasuredTable) else model


def narrowed(seed: Arch, n: int, kinds: tuple[str, ...]) -> list[Arch]:
    """The seed, and random networks with some of its channels, `n` in all: each group of channels has between all and
    a fifth of them, and the networks some of each size. Kernels are smaller at random, if they may be; all blocks
    stay."""
    rng = np.random.default_rng(0)
    channels = [kind for kind in CHANNELS if kind in {*kinds, *_ALWAYS}]
    networks = [seed]
    while len(networks) < n:
        least = rng.uniform(0.2, 0.9)
        arch = seed
        for i in range(len(seed.blocks) if "kernel" in kinds else 0):
            sizes = [arch, *(smaller for _, smaller in smaller_kernels(arch, i))]
            arch = sizes[rng.integers(len(sizes))]
        for place in range(len(groups(seed, channels))):
            group = groups(arch, channels)[place]
            width = max(DIVISOR, round(group.channels * rng.uniform(least, 1.0) / DIVISOR) * DIVISOR)
            if width < group.channels:
                arch = narrow(arch, group, width)
        networks.append(arch)
    return networks

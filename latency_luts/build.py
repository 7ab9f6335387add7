"""`python -m latency_luts.build device=host`: measures this machine and writes its table.

Units are timed inside chains (see `on_device`), each beside several neighbours and at several moments; whole networks
are timed for the correction. Everything is appended to a log beside the table at once; an interrupted build continues.
"""

import contextlib
import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latency_luts import store
from latency_luts.calibrate import published
from latency_luts.chains import cover
from latency_luts.fold import CONTEXTS, NOISY, contexts_of, differ, fold, from_memory, is_corrected, what_weights_save
from latency_luts.key import key, parse
from latency_luts.known import known_networks
from latency_luts.log import Log, Measurements
from latency_luts.measure import Bench, bench, identity
from latency_luts.model import LatencyModel
from latency_luts.progress import Bar, bars
from latency_luts.remote import RemoteBench, remote_bench
from latency_luts.table import Identity, MeasuredTable, TableError, read, write
from nas_runtime.settings import Settings, run
from search_spaces import cost, spaces, text
from search_spaces.arch import Arch
from search_spaces.lower import Unit, lower
from search_spaces.space import SearchSpace
from search_spaces.zoo.published import TABLE3

__all__ = [
    "build",
    "build_for_space",
    "how_of",
    "measure_missing",
    "network_name",
    "read_own",
    "space_of",
    "together",
    "units_and_samples",
]

log = logging.getLogger(__name__)

BURSTS = 3  # of each chain: a unit varies more from chain to chain than from run to run
NETWORK_TURNS = 5  # of the whole networks, between the chains
NETWORK_BURSTS = 12  # a turn
FIT_SAMPLES = 32
FIT_CHAINS, UNITS_A_FIT_CHAIN = 24, 16  # networks that the correction is fitted to anew when a table gets units later
CHAINS_TOGETHER = 16  # graphs that take turns
NETWORKS_TOGETHER = 128  # the more, the less does the machine's changing speed tell them apart
_TOGETHER_BYTES = 2 << 30  # and their weights at most


def build_for_space(
    space: SearchSpace,
    *,
    device: str = "host",
    tables_dir: Path | None = None,
    how: Identity | None = None,
    machine: RemoteBench | None = None,
    fresh: bool = False,
    progress: bool = False,
) -> LatencyModel:
    """The latency model of this machine for every network of `space` and those of the MobileNetV3 paper's table 3.

    Measures the units that the table does not have yet, and random networks of the space, which the correction is
    fitted to.

    Raises:
        TableError: the device's table was measured on another machine, with another runtime or in another way.
        ValueError: the space cannot list its units.
    """
    units, samples = units_and_samples(space)
    path = store.table_path(device, tables_dir=tables_dir)
    return LatencyModel(build(device, units, samples, path, how=how, machine=machine, fresh=fresh, progress=progress))


def units_and_samples(space: SearchSpace) -> tuple[set[Unit], dict[str, Arch]]:
    """What a table for `space` is made of: all its units and those of the MobileNetV3 paper's table 3, and the random
    networks of the space that the correction is fitted to.

    Raises:
        ValueError: the space cannot list its units.
    """
    references = {item.arch for item in published("pixel1") if item.source_set == TABLE3}
    units = {*space.units(), *(unit for arch in references for unit in lower(arch))}
    rows = space.sample(np.random.default_rng(0), FIT_SAMPLES)
    return units, {network_name(arch): arch for arch in map(space.decode, rows)}


def build_from(file: Path, *, device: str, space: SearchSpace, path: Path, fresh: bool = False) -> MeasuredTable:
    """The table in the file `path` of a device that a bundle's program measured into `file`. A table that is there
    already gets the units that it lacks.

    Args:
        fresh: replace it instead.

    Raises:
        TableError: a damaged or unfinished file, or one of another device or space; or a table that was measured in
            another way, or has all units of the file already.
    """
    from latency_luts.bundle import read_measured

    name, how, chains, networks = read_measured(file)
    if name != device:
        raise TableError(f"from={file} was measured for device={name}, not {device}; name the device that was measured")
    units, samples = units_and_samples(space)
    content = hashlib.sha256(file.read_bytes()).hexdigest()
    measured = Measurements(chains=chains, networks=networks, id=content[:16])
    timed = {name for chain in chains for name in chain.keys}
    if missing := sorted({key(unit) for unit in units} - timed):
        raise TableError(
            f"from={file} lacks {len(missing)} units of this space, as {missing[0]}; give the space.* options that the "
            "bundle was made with"
        )
    old = None if fresh or not path.exists() else read_own(path, how)
    if old and old.timed and old.timed.log == measured.id:
        return old
    if old and not {key(unit) for unit in units} - set(old.units):
        raise TableError(f"{path} has all units of from={file} already; replace it with fresh=true, or leave it")
    known = {fit.name for fit in old.networks} if old else set()
    samples = {n: a for n, a in samples.items() if n in networks and n not in known}
    table = fold(device, how, old, measured, units, samples, here=False)
    write(table, path)
    return table


def network_name(arch: Arch) -> str:
    """A name that tells one random network of a space from another."""
    return f"{arch.name}-{hashlib.sha256(text.to_json(arch).encode()).hexdigest()[:6]}"


def measure_missing(model: LatencyModel, units: Iterable[Unit], *, path: Path, progress: bool = False) -> LatencyModel:
    """`model` with those of `units` measured that its table does not have; the table's file is written anew.

    Raises:
        TableError: the table is not of this machine.
    """
    table = model.table
    if not isinstance(table, MeasuredTable):
        raise TableError(f"the table of {table.device!r} is {table.kind}, not measured: it has no units to add to")
    return LatencyModel(build(table.device, units, {}, path, how=table.identity, progress=progress))


def build(
    device: str,
    units: Iterable[Unit],
    networks: dict[str, Arch],
    path: Path,
    *,
    how: Identity | None = None,
    machine: RemoteBench | None = None,
    fresh: bool = False,
    progress: bool = False,
) -> MeasuredTable:
    """The table of a machine in the file `path`, after measuring those of `units` that it does not have.

    Args:
        networks: whole networks made of these units; they are timed end to end to fit the correction, together
            with those of the table.
        how: what is measured: this machine, one thread, batch 1 and fp32 if None.
        machine: measures on another machine, which is `how`.
        fresh: forget what was measured before.
        progress: show a progress bar with the time left.

    Raises:
        KeyboardInterrupt: with what to do, in words.
    """
    how = how or identity()
    log_path = path.with_name(path.name + ".measured")
    old = None if fresh or not path.exists() else read_own(path, how)
    if fresh:
        log_path.unlink(missing_ok=True)
    units = set(units)
    have = set(old.units) if old else set()
    new_units = {unit for unit in units if key(unit) not in have}
    fitted = {n.name for n in old.networks} if old else set()
    new_networks = {name: arch for name, arch in networks.items() if name not in fitted}
    if old and is_corrected(old):  # to networks of its own; others would change nothing
        new_networks = {}
    if old and not new_units and not new_networks:
        return old
    measured = Log(log_path, how)
    if old and old.timed and old.timed.log == measured.id:  # the build was killed when it had written the table
        measured.remove()
        measured = Log(log_path, how)
    neighbours = {parse(name) for name in have}
    if old and not new_networks and not is_corrected(old):
        new_networks = _chains_to_fit(new_units, neighbours)
    known = known_networks(old) if old and new_networks else {}
    try:
        with _machine(machine, how) as at_work, measured.open(), bars(progress) as bar:
            measured.want(map(key, new_units))
            turns = NetworkTurns(known | new_networks, measured, at_work)
            _measure_units(new_units, neighbours, measured, at_work, turns, bar)
            turns.take(1.0)
    except KeyboardInterrupt:
        same = "the same command without fresh=true" if fresh else "the same command"
        raise KeyboardInterrupt(f"what was measured is kept beside {path}: {same} continues") from None
    table = fold(device, how, old, measured, units, new_networks, here=machine is None)
    write(table, path)
    measured.remove()
    return table


def _chains_to_fit(units: set[Unit], neighbours: set[Unit]) -> dict[str, Arch]:
    """Networks made of units that a table gets later, for its correction: one fitted to small networks alone may be
    several per cent off for large ones. The same ones for the same units; none for a handful of units."""
    number = min(FIT_CHAINS, len(units) // UNITS_A_FIT_CHAIN)
    if not number:
        return {}
    known = units | neighbours
    done = {unit: int(unit in neighbours) for unit in known}
    rng = np.random.default_rng(len(units))
    found = [chain for chain in cover(known, rng, done=done) if chain.in_ch == 3 and known.issuperset(lower(chain))]
    return {network_name(found[i]): found[i] for i in rng.permutation(len(found))[:number]}


def _machine(machine: RemoteBench | None, how: Identity) -> contextlib.AbstractContextManager[Bench | RemoteBench]:
    return bench(how) if machine is None else contextlib.nullcontext(machine)


def _measure_units(
    units: set[Unit],
    neighbours: set[Unit],
    measured: Log,
    machine: Bench | RemoteBench,
    turns: "NetworkTurns",
    bar: Bar,
) -> None:
    """Times chains until each of `units` was timed often enough, and once more where its times differ much."""
    for more in (0, 2):
        done = contexts_of(measured, measured.identity.dtype)
        if more:
            times_ms = from_memory(done, what_weights_save(done))
            wanted = {unit for unit in units if differ(times_ms[key(unit)])}
            if not wanted:
                return
            log.info(
                "%d units differ by more than %.0f %% from chain to chain and are timed again", len(wanted), NOISY * 100
            )
        else:
            wanted = units
        enough = CONTEXTS + more
        counts = {unit: enough if unit not in wanted else len(done[key(unit)]) for unit in units | neighbours}
        rng = np.random.default_rng(len(measured.chains))
        found = cover(list(counts), rng, contexts=enough, done=counts)
        chains = [found[i] for i in rng.permutation(len(found))]
        bar(f"{len(wanted)} units" if not more else f"{len(wanted)} units again", len(chains))
        timed = 0
        for group in together(chains, CHAINS_TOGETHER):
            measured.add_chains(machine.time_chains(group, bursts=BURSTS))
            timed += len(group)
            if not more:
                turns.take(timed / len(chains))
            bar("", len(group))


class NetworkTurns:
    """Whole networks, timed in several turns between the chains: so both see the machine at the same moments."""

    def __init__(self, networks: dict[str, Arch], measured: Log, machine: Bench | RemoteBench) -> None:
        self._networks, self._measured, self._machine = networks, measured, machine

    def take(self, share: float) -> None:
        """Takes the turns that are due when `share` of the chains is timed."""
        for turn in range(1, round(share * NETWORK_TURNS) + 1):
            due = {n: a for n, a in self._networks.items() if len(self._measured.networks.get(n, [])) < turn}
            names = iter(due)
            for group in together(list(due.values()), NETWORKS_TOGETHER):
                for timing in self._machine.time_networks(group, bursts=NETWORK_BURSTS):
                    self._measured.add_network(next(names), timing)


def together(chains: Sequence[Arch], number: int) -> Iterator[list[Arch]]:
    """Stretches of `chains` that take turns: at most `number`, whose weights fit into memory."""
    group: list[Arch] = []
    size_bytes = 0
    for chain in chains:
        its = 4 * cost.params(chain)
        if group and (len(group) == number or size_bytes + its > _TOGETHER_BYTES):
            yield group
            group, size_bytes = [], 0
        group.append(chain)
        size_bytes += its
    if group:
        yield group


def read_own(path: Path, how: Identity) -> MeasuredTable:
    table = read(path)
    if not isinstance(table, MeasuredTable):
        raise TableError(f"{path} is a {table.kind} table; measure under another device name")
    if table.timed is None:
        raise TableError(f"{path} was not measured by this project; measure under another device name")
    if table.identity != how:
        raise TableError(f"{path} was measured with {_difference(table.identity, how, table.device)}")
    return table


def _difference(was: Identity, now: Identity, device: str) -> str:
    """What a table was measured with and what is here, where they differ, and what to do."""
    changed = [name for name in vars(was) if getattr(was, name) != getattr(now, name)]
    before, here = (", ".join(f"{name} {getattr(x, name)}" for name in changed) for x in (was, now))
    anew = f"measure again with: python -m latency_luts.build device={device} fresh=true"
    options = " ".join(f"{name}={getattr(was, name)}" for name in ("threads", "batch", "dtype") if name in changed)
    if options:
        remedy = f"give {options}, or another device name, or {anew}"
    elif "cpu" in changed and device != "host":
        remedy = "take another device name, or measure there (from= or ray.address= of latency_luts.build)"
    else:
        remedy = anew
    return f"{before}, but here is {here}; {remedy}"


def _main(settings: Settings) -> None:
    from nas_runtime.console import new_console

    device = settings.text("device")
    space = space_of(settings)
    tables_dir = settings.path("tables_dir")
    file = settings.path("from")
    if device in store.SHIPPED:
        raise ValueError(f"device={device} is a shipped table; use another name")
    address = settings.value("ray.address")
    options: dict[str, Any] = {"device": device, "tables_dir": tables_dir, "fresh": settings.flag("fresh")}
    if file is None and address is None:
        model = build_for_space(space, **options, how=how_of(settings), progress=True)
    elif file is None:
        given = {name: settings.value(name) for name in ("threads", "batch", "dtype")}
        with remote_bench(str(address), settings.text("ray.resource"), **given) as (how, machine):
            model = build_for_space(space, **options, how=how, machine=machine, progress=True)
    else:
        path = store.table_path(device, tables_dir=tables_dir)
        table = build_from(file, device=device, space=space, path=path, fresh=options["fresh"])
        model = LatencyModel(table)
    console = new_console()
    console.print(model.describe())
    console.print(f"table: {store.table_path(device, tables_dir=tables_dir)}")


def space_of(settings: Settings) -> SearchSpace:
    """The search space that a command's config names."""
    return spaces.get(
        settings.text("space.name"),
        base_width=settings.number("space.base_width", above=0, high=4),
        resolution_px=settings.integer("space.resolution_px", low=32),
        classes=settings.integer("space.classes", low=2),
    )


def how_of(settings: Settings) -> Identity:
    """This machine, measured as a command's config says."""
    return identity(
        threads=settings.integer("threads", low=1, high=256),
        batch=settings.integer("batch", low=1, high=1024),
        dtype=settings.choice("dtype", ("fp32", "int8")),
    )


if __name__ == "__main__":
    run(_main, "lut")

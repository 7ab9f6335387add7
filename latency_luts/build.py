"""`python -m latency_luts.build device=host`: measures this machine and writes its table.

Each timed unit is appended to a log beside the table at once; an interrupted build continues from it.
"""

import contextlib
import json
import logging
import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from latency_luts import store
from latency_luts.calibrate import published
from latency_luts.correction import fit_correction
from latency_luts.key import key
from latency_luts.measure import Protocol, identity, pinned_core, time_model
from latency_luts.model import LatencyModel
from latency_luts.table import Correction, Identity, MeasuredTable, TableError, Timing, read, write
from search_spaces import spaces
from search_spaces.arch import Arch
from search_spaces.command import Settings, run
from search_spaces.lower import Unit, lower
from search_spaces.space import SearchSpace
from search_spaces.zoo.published import TABLE3

__all__ = ["build", "build_for_space"]

log = logging.getLogger(__name__)

UNIT_PROTOCOL = Protocol()
NETWORK_PROTOCOL = Protocol(min_runs=20, budget_s=0.3)
NOISY_SPREAD = 0.15
FIT_SAMPLES = 16


def build_for_space(
    space: SearchSpace,
    *,
    device: str = "host",
    tables_dir: Path | None = None,
    fresh: bool = False,
    progress: bool = False,
) -> LatencyModel:
    """The latency model of this machine for every network of `space` and those of the zoo with published latencies.

    Measures the units that the table does not have yet.

    Raises:
        TableError: the device's table was measured on another machine or with another runtime.
        ValueError: the space cannot list its units.
    """
    references = list({item.arch: item.arch for item in published("pixel1") if item.source_set == TABLE3})
    units = space.units() | {unit for arch in references for unit in lower(arch)}
    rng = np.random.default_rng(0)
    samples = [space.decode(indices) for indices in space.sample(rng, FIT_SAMPLES)]
    path = store.table_path(device, tables_dir=tables_dir)
    table = build(device, units, [*references, *samples], path, fresh=fresh, progress=progress)
    return LatencyModel(table)


def build(
    device: str,
    units: Iterable[Unit],
    networks: Sequence[Arch],
    path: Path,
    *,
    fresh: bool = False,
    progress: bool = False,
) -> MeasuredTable:
    """The table of this machine in the file `path`, after measuring those of `units` that it does not have.

    Args:
        networks: whole networks made of these units; they are timed end to end to fit the correction.
        fresh: forget what was measured before.
        progress: show a progress bar with the time left.
    """
    here = identity()
    log_path = path.with_name(path.name + ".measured")
    if fresh:
        path.unlink(missing_ok=True)
        log_path.unlink(missing_ok=True)
    old = _read_own(path, here) if path.exists() else None
    have = {**(old.units if old else {}), **_read_log(log_path, here)}
    wanted = {key(unit): unit for unit in units}
    missing = {name: unit for name, unit in wanted.items() if name not in have}
    if old and not missing and old.networks:
        return old
    path.parent.mkdir(parents=True, exist_ok=True)
    with pinned_core(), _bar(progress, f"measuring {device}", len(missing) + len(networks)) as advance:
        with _append(log_path, here) as record:
            for name, unit in missing.items():
                have[name] = _time_unit(unit)
                record(name, have[name])
                advance()
        whole_ms = []
        for arch in networks:
            whole_ms.append(_time_network(arch))
            advance()
    names = [f"{arch.name} {i}" if arch.name == "mnasnet" else arch.name for i, arch in enumerate(networks)]
    sums_ms = [sum(have[key(unit)].ms for unit in lower(arch)) for arch in networks]
    correction, fits = fit_correction(names, sums_ms, whole_ms) if len(names) >= 4 else (Correction(), ())
    noisy = [name for name, timing in have.items() if timing.spread > NOISY_SPREAD]
    table = MeasuredTable(
        device=device,
        identity=here,
        provenance={
            "command": f"python -m latency_luts.build device={device}",
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": platform.platform(),
            "statistic": "lower quartile of wall-clock runs, whole units, one pinned core",
            "noisy_units": len(noisy),
            "median_spread": round(float(np.median([t.spread for t in have.values()])), 4),
        },
        units=have,
        correction=correction,
        networks=fits,
    )
    write(table, path)
    log_path.unlink(missing_ok=True)
    if len(noisy) > len(have) / 20:
        log.warning("%d of %d units varied by more than %.0f %%: the machine was busy; build again with fresh=true "
                    "when it is quiet", len(noisy), len(have), NOISY_SPREAD * 100)  # fmt: skip
    return table


def _time_unit(unit: Unit) -> Timing:
    """Times a unit; up to twice more if the runs varied, keeping the steadiest."""
    from search_spaces import onnx_net

    model = onnx_net.unit_model(unit).SerializeToString()
    best = time_model(model, unit.in_shape, UNIT_PROTOCOL)
    for _ in range(2):
        if best.spread <= NOISY_SPREAD:
            break
        best = min(best, time_model(model, unit.in_shape, UNIT_PROTOCOL), key=lambda timing: timing.spread)
    return best


def _time_network(arch: Arch) -> float:
    from search_spaces import onnx_net

    model = onnx_net.model(arch).SerializeToString()
    return time_model(model, lower(arch)[0].in_shape, NETWORK_PROTOCOL).ms


def _read_own(path: Path, here: Identity) -> MeasuredTable:
    table = read(path)
    if not isinstance(table, MeasuredTable):
        raise TableError(f"{path} is a {table.kind} table; measure under another device name")
    if table.identity != here:
        was, now = _differences(table.identity, here)
        raise TableError(f"{path} was measured with {was}, but here is {now}; measure again with fresh=true")
    return table


def _differences(a: Identity, b: Identity) -> tuple[str, str]:
    changed = [name for name in vars(a) if getattr(a, name) != getattr(b, name)]
    was, now = (", ".join(f"{name} {getattr(x, name)}" for name in changed) for x in (a, b))
    return was, now


def _read_log(path: Path, here: Identity) -> dict[str, Timing]:
    """Units measured by an interrupted build; a last line cut short is left out."""
    with contextlib.suppress(FileNotFoundError):
        lines = path.read_text().splitlines()
        measured: dict[str, Timing] = {}
        for i, line in enumerate(lines):
            try:
                item = json.loads(line)
            except json.JSONDecodeError:
                if i == len(lines) - 1:
                    break
                raise TableError(f"{path}:{i + 1} is damaged; remove the file to measure again") from None
            if i == 0:
                if item != vars(here):
                    raise TableError(f"{path} was begun on another machine or runtime; measure again with fresh=true")
            else:
                measured[item[0]] = Timing(*item[1:])
        return measured
    return {}


@contextlib.contextmanager
def _append(path: Path, here: Identity):
    """Yields ``record(name, timing)``, which appends a line to the log at `path` and flushes it."""
    _cut_last_partial_line(path)
    with path.open("a") as file:
        if file.tell() == 0:
            file.write(json.dumps(vars(here)) + "\n")

        def record(name: str, timing: Timing) -> None:
            file.write(json.dumps([name, timing.ms, timing.spread, timing.runs]) + "\n")
            file.flush()

        yield record


def _cut_last_partial_line(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        content = path.read_bytes()
        os.truncate(path, content.rfind(b"\n") + 1)


@contextlib.contextmanager
def _bar(show: bool, title: str, total: int):
    """Yields a function that advances a progress bar by one."""
    if not show:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total)
        yield lambda: progress.advance(task)


def _main(settings: Settings) -> None:
    from rich.console import Console

    device = settings.text("device")
    space = spaces.get(
        settings.text("space.name"),
        base_width=settings.number("space.base_width", above=0, high=4),
        resolution_px=settings.integer("space.resolution_px", low=32),
        classes=settings.integer("space.classes", low=2),
    )
    tables_dir = settings.path("tables_dir")
    model = build_for_space(space, device=device, tables_dir=tables_dir, fresh=settings.flag("fresh"), progress=True)
    console = Console(highlight=False, soft_wrap=True)
    console.print(model.describe())
    console.print(f"table: {store.table_path(device, tables_dir=tables_dir)}")


if __name__ == "__main__":
    run(_main, "lut")

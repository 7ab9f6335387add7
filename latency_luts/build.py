"""`python -m latency_luts.build device=host`: measures this machine and writes its table.

Units are timed inside chains (see `on_device`), each beside several neighbours and at several moments; whole networks
are timed for the correction. Everything is appended to a log beside the table at once; an interrupted build continues.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from latency_luts import last_layers, store
from latency_luts.due import lacking, measure_due
from latency_luts.fold import fold
from latency_luts.key import key
from latency_luts.log import Log, forget
from latency_luts.measure import Bench, bench, identity
from latency_luts.measurements import Measurements
from latency_luts.model import LatencyModel
from latency_luts.options import BuildOptions
from latency_luts.progress import bars
from latency_luts.remote import remote_bench
from latency_luts.runtime import ONNX_DTYPES, check_dtype
from latency_luts.schedule import how_of, space_of, units_and_samples
from latency_luts.table import ONNXRUNTIME, Identity, MeasuredTable, TableError, write
from nas_runtime.command import run
from nas_runtime.console import brief, new_console
from search_spaces.arch import Arch
from search_spaces.lower import Unit
from search_spaces.space import SearchSpace

__all__ = ["build", "build_for_space", "build_from", "measure_missing"]


def build_for_space(
    space: SearchSpace,
    *,
    device: str = "host",
    tables_dir: str | os.PathLike[str] | None = None,
    how: Identity | None = None,
    machine: Bench | None = None,
    fresh: bool = False,
    progress: bool = False,
) -> LatencyModel:
    """The latency model of this machine for every network of `space` and those of the MobileNetV3 paper's table 3.

    Measures the units that the table does not have yet, and random networks of the space, which the correction is
    fitted to.

    Raises:
        TableError: the device's table was measured on another machine, with another runtime or in another way; or
            `device` is not this machine (see `store.check_measured_here`).
        ValueError: the space cannot list its units, or the table's runtime is not installed.
    """
    units, samples = units_and_samples(space)
    path = store.own_path(device, tables_dir=tables_dir)
    return LatencyModel(build(device, units, samples, path, how=how, machine=machine, fresh=fresh, progress=progress))


def build_from(
    file: str | os.PathLike[str],
    *,
    device: str,
    space: SearchSpace,
    path: str | os.PathLike[str],
    fresh: bool = False,
) -> MeasuredTable:
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
    content = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    measured = Measurements(chains=chains, networks=networks, id=content[:16])
    timed = {name for chain in chains for name in chain.keys}
    units = last_layers.as_of_older_bundles(units, timed)
    if missing := sorted({key(unit) for unit in units} - timed):
        raise TableError(
            f"from={file} lacks {len(missing)} units of this space, as {missing[0]}; give the space.* options that the "
            "bundle was made with"
        )
    old = None if fresh or not os.path.exists(path) else store.read_own(path, how, options=f"from={file}")
    if old and old.timed and old.timed.log == measured.id:
        return old
    if old and not {key(unit) for unit in units} - set(old.units):
        raise TableError(f"{path} has all units of from={file} already; replace it with fresh=true, or leave it")
    known = {fit.name for fit in old.networks} if old else set()
    samples = {n: a for n, a in samples.items() if n in networks and n not in known}
    table = fold(device, how, old, measured, units, samples, here=False)
    write(table, path)
    return table


def measure_missing(
    model: LatencyModel, units: Iterable[Unit], *, path: str | os.PathLike[str], progress: bool = False
) -> LatencyModel:
    """`model` with those of `units` measured that its table does not have; the table's file is written anew.

    Raises:
        TableError: the table is not of this machine.
    """
    table = model.table
    if not isinstance(table, MeasuredTable):
        raise TableError(f"the table of {table.device!r} is {table.kind}, not measured: it has no units to add to")
    its = table.identity
    here = identity(threads=its.threads, batch=its.batch, dtype=its.dtype, runtime=its.runtime_name)
    return LatencyModel(build(table.device, units, {}, path, how=here, progress=progress))


def build(
    device: str,
    units: Iterable[Unit],
    networks: dict[str, Arch],
    path: str | os.PathLike[str],
    *,
    how: Identity | None = None,
    machine: Bench | None = None,
    fresh: bool = False,
    progress: bool = False,
) -> MeasuredTable:
    """The table of a machine in the file `path`, after measuring those of `units` that it does not have.

    Args:
        networks: whole networks made of these units; they are timed end to end to fit the correction, together
            with those of the table.
        how: what is measured: if None this machine, as the table was measured, or one thread, batch 1 and fp32 with
            ONNX Runtime.
        machine: measures on another machine, which is `how`.
        fresh: forget what was measured before.
        progress: say what is measured, and show a progress bar with the time left.

    Raises:
        TableError: the table in `path` was measured on another machine, with another runtime or in another way; or
            `device` is not this machine, and there is no `machine`.
        KeyboardInterrupt: with what to do, in words.
    """
    path = Path(path)
    how = how or identity(**({} if fresh else store.measured_as(path)))
    if machine is None:
        store.check_measured_here(device, path, how)
    old = None if fresh or not path.exists() else store.read_own(path, how, options=_options(machine))
    log_path = path.with_name(path.name + ".measured")
    if fresh:
        forget(log_path)
    units = set(units)
    due = lacking(old, units, networks)
    if old and not due.units and not due.networks:
        return old
    measured = _log(log_path, how, old)
    if progress:
        where = "this machine" if machine is None else "a node of the cluster"
        console = new_console(stderr=True)
        console.print(f"{device}: measuring {len(due.units)} units on {where}: {how.cpu}, {how.runtime}")
    try:
        with measured.open():
            with _machine(machine, how) as at_work, bars(progress) as bar:
                measure_due(due, measured, at_work, bar)
            table = fold(device, how, old, measured, units, due.networks, here=machine is None)
            write(table, path)
            measured.remove()
    except KeyboardInterrupt:
        same = "the same command without fresh=true" if fresh else "the same command"
        raise KeyboardInterrupt(f"what was measured is kept beside {path}: {same} continues") from None
    return table


def _log(path: Path, how: Identity, old: MeasuredTable | None) -> Log:
    """What was measured for a table before the build was interrupted."""
    measured = Log(path, how)
    if old and old.timed and old.timed.log == measured.id:  # the build was killed when it had written the table
        measured.remove()
        return Log(path, how)
    return measured


def _options(machine: Bench | None) -> str:
    """Of the command that measures on `machine`, for messages."""
    return "" if machine is None else "ray.address=... ray.resource=..."


def _machine(machine: Bench | None, how: Identity) -> contextlib.AbstractContextManager[Bench]:
    return bench(how) if machine is None else contextlib.nullcontext(machine)


def _main(options: BuildOptions) -> None:
    device, file, address = options.device, options.file, options.ray.address
    path = store.own_path(device, tables_dir=options.tables_dir)
    space = space_of(options.space)
    if file is not None or address is not None:
        option = "from=" if file is not None else "ray.address="
        store.check_elsewhere(device, option)
        if options.runtime != ONNXRUNTIME:
            raise ValueError(
                f"runtime={brief(options.runtime)} runs on this machine only; leave {option} or runtime= out"
            )
        check_dtype(ONNXRUNTIME, options.dtype, ONNX_DTYPES)
    where: dict[str, Any] = {"device": device, "tables_dir": options.tables_dir, "fresh": options.fresh}
    if file is not None:
        model = LatencyModel(build_from(file, device=device, space=space, path=path, fresh=options.fresh))
    elif address is not None:
        if options.ray.resource is None:
            raise ValueError("ray.address= names a cluster; ray.resource= must name a resource of the node to measure")
        measured = {"threads": options.threads, "batch": options.batch, "dtype": options.dtype}
        with remote_bench(address, options.ray.resource, **measured) as (how, machine):
            model = build_for_space(space, **where, how=how, machine=machine, progress=True)
    else:
        model = build_for_space(space, **where, how=how_of(options), progress=True)
    console = new_console()
    console.print(model.describe())
    console.print(f"table: {path}")


if __name__ == "__main__":
    run(_main, BuildOptions)

"""`python -m latency_luts.validate device=host nets=100`: how wrong is a table of this machine?

Random networks of the spaces `mnasnet` and `mobilenet_v3` at several widths, and the zoo's: none took part in any fit.
Each is timed end to end as one graph, in turns with the others, and compared with what the table says. Networks whose
turns disagree are timed again: an error of the table cannot be told from one of the measurement otherwise. Units that
the table lacks are measured first, inside other networks; or, with ``model=interpolated``, interpolated.

The machine's speed now may differ from that when the table was built: networks that the table was fitted to, which take
turns with the others, say by how much (in a table that knows too few, the references do). Errors are given at the
table's speed; how much the two speeds differ is printed beside them.
"""

import tempfile
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from latency_luts import store
from latency_luts.build import measure_missing
from latency_luts.fold import middle
from latency_luts.interpolated import InterpolatedModel
from latency_luts.key import key
from latency_luts.measure import bench
from latency_luts.model import LatencyModel
from latency_luts.options import ValidateOptions
from latency_luts.progress import bars
from latency_luts.schedule import NETWORKS_TOGETHER, how_of, network_name, together
from latency_luts.speed import known_networks, slowness
from latency_luts.table import MeasuredTable, TableError, Validation, read, write
from nas_runtime import pictures
from nas_runtime.command import run
from nas_runtime.console import picture_text
from nas_runtime.files import write_json
from search_spaces import spaces, zoo
from search_spaces.arch import Arch
from search_spaces.lower import lower

__all__ = ["Comparison", "kendall_tau", "sample", "summary", "validate"]

TURNS = 10  # of all networks, each with graphs loaded anew: where a graph lies in memory changes its speed
TURNS_AGAIN = 6  # of networks whose turns are farther than this from their middle, on average
UNSURE = 0.02
_DRAWS = 100  # for a network that took no part in a fit


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A network: what the table says, and what it took in each turn, at the table's speed."""

    name: str
    predicted_ms: float
    turns_ms: tuple[float, ...]
    interval_ms: tuple[float, float] | None = None

    @property
    def measured_ms(self) -> float:
        return middle(self.turns_ms)

    @property
    def noise(self) -> float:
        """How far a turn is from the middle, on average."""
        return float(np.abs(np.array(self.turns_ms) / self.measured_ms - 1).mean())

    @property
    def error(self) -> float:
        return self.predicted_ms / self.measured_ms - 1

    @property
    def covered(self) -> bool | None:
        """Whether it lies in its interval; None if the table has none."""
        return None if self.interval_ms is None else self.interval_ms[0] <= self.measured_ms <= self.interval_ms[1]


def sample(
    nets: int,
    *,
    widths: Sequence[float],
    resolution_px: int,
    names: Sequence[str],
    rng_seed: int,
    fitted: Collection[tuple[str, ...]] = (),
) -> list[Arch]:
    """`nets` networks: those of the zoo, then random ones of the spaces `names` at the base `widths` in turn.

    Args:
        fitted: networks that a table was fitted to, each by the keys of its units; they are left out.

    Raises:
        ValueError: a space has hardly any others.
    """
    rng = np.random.default_rng([rng_seed, 71])  # another stream than the fits'
    known = set(fitted)
    published = (zoo.get(name, resolution_px=resolution_px) for name in zoo.names(mobile=True))
    archs = [arch for arch in published if _units(arch) not in known][: nets // 2]
    kinds = [(name, width) for width in widths for name in names]
    for i in range(nets - len(archs)):
        name, width = kinds[i % len(kinds)]
        space = spaces.get(name, base_width=width, resolution_px=resolution_px)
        drawn = (space.decode(space.sample(rng, 1)[0]) for _ in range(_DRAWS))
        arch = next((arch for arch in drawn if _units(arch) not in known), None)
        if arch is None:
            raise ValueError(f"space {name!r} of width {width:g} has hardly a network that the table was not fitted to")
        archs.append(replace(arch, name=f"{network_name(arch)} (width {width:g})"))
    return archs


def _units(arch: Arch) -> tuple[str, ...]:
    return tuple(key(unit) for unit in lower(arch))


def validate(
    model: LatencyModel, archs: Sequence[Arch], *, path: Path, bursts: int, progress: bool = False
) -> tuple[list[Comparison], LatencyModel, float]:
    """What each of `archs` takes on this machine, beside what `model` says, whose table is in the file `path`.

    Returns:
        the networks, the model with the units that had to be measured, and how fast the machine is now (1 is the
        table's speed, 1.1 is 10 % slower).
    """
    if not isinstance(model, InterpolatedModel):
        model = measure_missing(model, {unit for arch in archs for unit in lower(arch)}, path=path, progress=progress)
    table = model.table
    assert isinstance(table, MeasuredTable)
    known = known_networks(table)
    turns_ms: list[list[float]] = [[] for _ in archs]

    def measured() -> list[Comparison]:
        return [
            Comparison(
                name=arch.name,
                predicted_ms=model.latency_ms(arch),
                turns_ms=tuple(ms),
                interval_ms=model.interval_ms(arch),
            )
            for arch, ms in zip(archs, turns_ms, strict=True)
        ]

    speeds: list[float] = []
    with bench(table.identity) as machine, bars(progress) as bar:

        def take_turns(rows: Sequence[int], turns: int, title: str) -> None:
            bar(title, turns * len(rows))
            for _ in range(turns):
                due = iter(rows)
                for group in together([archs[i] for i in rows], NETWORKS_TOGETHER):
                    timings = machine.time_networks([*group, *known.values()], bursts=bursts)
                    of_known = timings[len(group) :]
                    known_ms = {name: timing.ms for name, timing in zip(known, of_known, strict=True)}
                    speeds.append(slowness(table, known_ms, timings[0].reference_ms))
                    for timing in timings[: len(group)]:
                        turns_ms[next(due)].append(timing.ms / speeds[-1])
                        bar()

        take_turns(range(len(archs)), TURNS, f"{len(archs)} networks")
        unsure = [i for i, m in enumerate(measured()) if m.noise > UNSURE]
        if unsure:
            take_turns(unsure, TURNS_AGAIN, f"{len(unsure)} networks again")
    return measured(), model, float(np.median(speeds))


def summary(measured: Sequence[Comparison], networks: str) -> Validation:
    """The figures of a validation."""
    off = np.array([m.error for m in measured])
    worst = max(measured, key=lambda m: abs(m.error))
    return Validation(
        nets=len(measured),
        mape=float(np.abs(off).mean()),
        within_5pct=float((np.abs(off) <= 0.05).mean()),
        within_10pct=float((np.abs(off) <= 0.10).mean()),
        kendall_tau=kendall_tau([m.predicted_ms for m in measured], [m.measured_ms for m in measured]),
        bias=float(off.mean()),
        worst=worst.name,
        worst_error=worst.error,
        noise=float(np.mean([m.noise for m in measured])),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        networks=networks,
    )


def kendall_tau(a: ArrayLike, b: ArrayLike) -> float:
    """Kendall's rank correlation (tau-a): the share of pairs in the same order less that in opposite orders."""
    x, y = np.asarray(a), np.asarray(b)
    pairs = np.sign(np.subtract.outer(x, x)) * np.sign(np.subtract.outer(y, y))
    return float(pairs.sum() / (len(x) * (len(x) - 1)))


def check_writable(folder: Path) -> None:
    """Asks before hours of measuring what would be refused after them.

    Raises:
        OSError: no file can be written in `folder`.
    """
    with tempfile.TemporaryFile(dir=folder):
        pass


def _keep(figures: Validation, table: MeasuredTable, path: Path) -> None:
    """Writes `figures` into the table in `path`, which may have got more units than `table` since it was read.

    Raises:
        TableError: it was measured anew, so that the figures are another table's.
    """
    now = read(path)
    if not isinstance(now, MeasuredTable) or (now.correction, now.networks) != (table.correction, table.networks):
        raise TableError(f"{path} was measured anew meanwhile; validate it again")
    write(replace(now, validation=figures), path)


def plot(measured: Sequence[Comparison], title: str, path: Path) -> None:
    """A picture of predicted against measured latencies, with lines 5 and 10 % off."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator

    x, y = (np.array([getattr(m, name) for m in measured]) for name in ("measured_ms", "predicted_ms"))
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    ends = np.array([min(x.min(), y.min()) * 0.85, max(x.max(), y.max()) * 1.15])
    axes.fill_between(ends, ends * 0.9, ends * 1.1, color="0.92", label="within 10 %")
    axes.fill_between(ends, ends * 0.95, ends * 1.05, color="0.82", label="within 5 %")
    axes.plot(ends, ends, color="0.4", linewidth=1)
    kinds = [m.name.split("-")[0] if "(" in m.name else "zoo" for m in measured]
    for kind in dict.fromkeys(kinds):
        its = [i for i, each in enumerate(kinds) if each == kind]
        axes.scatter(x[its], y[its], s=18, label=kind)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel="measured, ms", ylabel="predicted, ms")
    ticks = [m * 10.0**e for e in range(-3, 5) for m in (1, 2, 5) if ends[0] <= m * 10.0**e <= ends[1]]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_title(picture_text(title), fontsize=10)
    axes.legend(loc="upper left", frameon=False)
    pictures.save(figure, path, dpi=120)


def _main(options: ValidateOptions) -> None:
    from nas_runtime.console import new_console

    device, names, resolution_px = options.device, options.spaces, options.resolution_px
    interpolated = options.model == "interpolated"
    path = store.table_path(device, tables_dir=options.tables_dir)
    table = store.load(device, tables_dir=options.tables_dir).table
    if not isinstance(table, MeasuredTable):
        raise TableError(f"the table of {device!r} is {table.kind}, not measured: no machine can say how wrong it is")
    table = store.read_own(path, how_of(options))
    check_writable(path.parent)
    archs = sample(
        options.nets,
        widths=options.widths,
        resolution_px=resolution_px,
        names=names,
        rng_seed=options.rng_seed,
        fitted=[fit.units for fit in table.networks],
    )
    made = InterpolatedModel(table) if interpolated else LatencyModel(table)
    measured, model, speed = validate(made, archs, path=path, bursts=options.bursts, progress=True)
    figures = summary(measured, f"{', '.join(names)} and the zoo at {resolution_px} px")
    table = model.table
    assert isinstance(table, MeasuredTable)
    if not interpolated:
        _keep(figures, table, path)
    title = f"{device}, interpolated" if interpolated else device
    picture = path.parent / f"{title.replace(', ', '.')}.parity.png"
    plot(measured, f"{title}: error {figures.mape:.1%} on {figures.nets} networks at {resolution_px} px", picture)
    report = {
        "device": device,
        "model": "interpolated" if interpolated else "table",
        **asdict(figures),
        "speed": speed,
        "networks_measured": [{**asdict(m), "measured_ms": m.measured_ms} for m in measured],
    }
    write_json(path.parent / store.REPORT, report)
    console = new_console()
    console.print(_rows(measured, names, title=f"{title}: predicted against measured"))
    console.print(f"worst: {figures.worst}, {figures.worst_error:+.1%}")
    console.print(
        f"single turns of a network are {figures.noise:.1%} from their middle; the machine is "
        f"{abs(speed - 1):.0%} {'slower' if speed > 1 else 'faster'} than when the table was built"
    )
    if interpolated:
        lacked = sum(any(name not in table.units for name in _units(arch)) for arch in archs)
        console.print(f"{lacked} of the networks have units that the table lacks")
    console.print(f"in {path.parent}: {store.REPORT}, {picture.name}" + ("" if interpolated else f", {path.name}"))


def _rows(measured: Sequence[Comparison], names: Sequence[str], *, title: str):
    """The figures of all networks, of those of each of the spaces `names`, and of fast and slow ones."""
    from rich.table import Table as Rows

    rows = Rows(title=title, title_justify="left")
    rows.add_column("networks", no_wrap=True)
    for name in ("number", "error", "bias", "within 5 %", "within 10 %", "in 90 % interval", "Kendall τ"):
        rows.add_column(name, justify="right")
    kinds = {"all": list(measured)}
    for name in names:
        kinds[name] = [m for m in measured if m.name.startswith(f"{name}-")]
    kinds["zoo"] = [m for m in measured if m.name in zoo.names()]
    for low, high in ((0, 2), (2, 5), (5, 15), (15, 1e9)):
        kind = f"{low} to {high} ms" if high < 1e9 else f"above {low} ms"
        kinds[kind] = [m for m in measured if low <= m.measured_ms < high]
    for kind, its in kinds.items():
        if len(its) > 1:
            s = summary(its, kind)
            covered = [m.covered for m in its if m.covered is not None]
            rows.add_row(kind, str(s.nets), f"{s.mape:.1%}", f"{s.bias:+.1%}", f"{s.within_5pct:.0%}",
                         f"{s.within_10pct:.0%}", f"{np.mean(covered):.0%}" if covered else "unknown",
                         f"{s.kendall_tau:.3f}")  # fmt: skip
    return rows


if __name__ == "__main__":
    run(_main, ValidateOptions)

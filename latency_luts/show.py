"""`python -m latency_luts.show device=pixel1`: what is in a table, where it is from, how wrong it is.

Prints a summary, the units by kind, and a map of milliseconds by width and resolution, which is also drawn as a picture
in the current directory (``out=`` names another file).
"""

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np

from latency_luts import store
from latency_luts.coverage import coverage
from latency_luts.key import parse
from latency_luts.model import LatencyModel
from latency_luts.options import ShowOptions
from latency_luts.table import CalibratedTable, MeasuredTable
from latency_luts.unseen import of_networks
from nas_runtime.command import run
from nas_runtime.console import picture_text
from nas_runtime.files import complete
from search_spaces import spaces
from search_spaces.arch import MBConv
from search_spaces.lower import Unit

__all__ = ["heat_map", "size_class", "units_of"]

_SIZES = (7, 14, 28, 56, 112)
_SAMPLED = 200  # networks of a space


def units_of(model: LatencyModel) -> tuple[Unit, ...]:
    """The units of a table; for a calibrated one, which knows the cost of any unit, those of the `mnasnet` space."""
    if isinstance(model.table, MeasuredTable):
        return tuple(parse(name) for name in model.table.units)
    return tuple(spaces.get("mnasnet").units())


def size_class(unit: Unit) -> int:
    """The first of 7, 14, 28, 56 and 112 px that the input of `unit` does not exceed, else its own size."""
    size = unit.in_shape[1]
    return next((s for s in _SIZES if size <= s), size)


def heat_map(model: LatencyModel, units: Collection[Unit]) -> tuple[list[int], list[int], np.ndarray]:
    """Resolutions (R,), widths (W,) and the median ms (R, W) of the inverted residual blocks with stride 1.

    A resolution is a `size_class`, a width the number of expanded channels, rounded up to a power of 2; NaN stands
    where there is no unit.
    """
    cells: dict[tuple[int, int], list[float]] = defaultdict(list)
    for unit in units:
        if isinstance(unit.block, MBConv) and unit.block.stride == 1:
            ms = model.unit_ms(unit)
            assert ms is not None
            if ms == 0:  # its neighbours' kernels do all of it
                continue
            cells[size_class(unit), 1 << (unit.block.mid_ch - 1).bit_length()].append(ms)
    sizes, widths = (sorted({cell[i] for cell in cells}) for i in (0, 1))
    ms = np.array([[np.median(cells[s, w]) if (s, w) in cells else np.nan for w in widths] for s in sizes])
    return sizes[::-1], widths, ms.reshape(len(sizes), len(widths))[::-1]


def plot(title: str, sizes: list[int], widths: list[int], ms: np.ndarray, path: str | os.PathLike[str]) -> None:
    """Draws a heat map to `path`."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.6 + 0.75 * len(widths), 1.6 + 0.36 * len(sizes)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(ms, norm=LogNorm(), cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(widths)), [str(w) for w in widths])
    axes.set_yticks(range(len(sizes)), [str(s) for s in sizes])
    axes.set(xlabel="expanded channels, up to", ylabel="resolution, up to, px")
    axes.set_title(picture_text(title), fontsize=10)
    middle = np.sqrt(np.nanmin(ms) * np.nanmax(ms))
    for (i, j), value in np.ndenumerate(ms):
        if np.isfinite(value):
            colour = "black" if value > middle else "white"
            axes.text(j, i, f"{value:.2g}", ha="center", va="center", color=colour, fontsize=8)
    figure.colorbar(image, label="ms, median of the blocks")
    with complete(Path(path)) as partial:
        figure.savefig(partial, dpi=120, format=Path(path).suffix[1:] or "png")


def _summary(model: LatencyModel) -> list[tuple[str, str]]:
    table = model.table
    lines = [("device", model.describe())]
    if isinstance(table, MeasuredTable):
        lines.append(("identity", ", ".join(f"{k} {v}" for k, v in vars(table.identity).items())))
        spread = np.median([t.spread for t in table.units.values()]) if table.units else 0
        lines.append(("units", f"{len(table.units)}, median spread of the runs {spread:.1%}"))
        c = table.correction
        saved = (
            f", {c.saved_by_mib_ms * 1e3:.1f} us saved per MiB of weights in the caches" if c.saved_by_mib_ms else ""
        )
        total = f"{c.scale:.3f} x sum of units {c.per_kernel_ms * 1e3:+.2f} us per kernel {c.offset_ms:+.3f} ms"
        lines.append(("network", total + saved))
        if v := table.validation:
            lines.append(
                (
                    "validation",
                    f"{v.date[:10]}, {v.networks}: error {v.mape:.1%}, bias {v.bias:+.1%}, within 5 % "
                    f"{v.within_5pct:.0%}, within 10 % {v.within_10pct:.0%}, Kendall τ {v.kendall_tau:.3f}",
                )
            )
    elif isinstance(table, CalibratedTable):
        costs = ", ".join(f"{value * 1e6:.3g} ns per {name}" for name, value in table.costs.items())
        lines.append(("costs", costs))
        if table.factors:
            lines.append(("factors", ", ".join(f"{name} {value:.3f}" for name, value in table.factors.items())))
        if table.doubt:
            lines.append(("prior", f"{table.doubt.prior}; the costs may be off, and intervals say how far"))
        lines.extend(("error", words) for words in _unseen_in_spaces(model))
    lines.extend((name, str(value)) for name, value in _plain(table.provenance).items())
    return lines


def _unseen_in_spaces(model: LatencyModel) -> Iterator[str]:
    """What the table's error says nothing of in random networks of the search spaces, a line for each that has any."""
    for name in spaces.names():
        space = spaces.get(name)
        archs = [space.decode(row) for row in space.sample(np.random.default_rng(0), _SAMPLED)]
        if words := of_networks(model, archs):
            yield f"space={name}: {words}"


def _plain(provenance: Mapping) -> dict:
    shown = {name: value for name, value in provenance.items() if value not in (None, "") and name != "log"}
    return {name: ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in shown.items()}


def _main(options: ShowOptions) -> None:
    from rich.table import Table as Rows

    from nas_runtime.console import new_console

    model = store.load(options.device, tables_dir=options.tables_dir)
    out = options.out or Path(f"{model.device}.heatmap.png")
    units = units_of(model)
    console = new_console()
    for name, line in _summary(model):
        console.print(f"{name:13s} {line}")
    if isinstance(model.table, MeasuredTable):
        kinds = Counter(type(unit.block).__name__ for unit in units)
        console.print(f"{'kinds':13s} " + ", ".join(f"{n} {kind}" for kind, n in kinds.most_common()))
        for line in coverage(model.table).lines(model.device):
            console.print(line)
    sizes, widths, ms = heat_map(model, units)
    if not ms.size:
        console.print("no inverted residual block with stride 1: no map")
        return
    title = f"{model.device}: ms of inverted residual blocks"
    rows = Rows(title=f"{title}, up to a resolution and expanded channels", title_justify="left")
    rows.add_column("px", justify="right")
    for width in widths:
        rows.add_column(str(width), justify="right")
    for size, row in zip(sizes, ms, strict=True):
        rows.add_row(str(size), *("" if np.isnan(value) else f"{value:.{2 if value < 10 else 1}f}" for value in row))
    console.print(rows)
    plot(title, sizes, widths, ms, out)
    console.print(f"picture: {out}")


if __name__ == "__main__":
    run(_main, ShowOptions)

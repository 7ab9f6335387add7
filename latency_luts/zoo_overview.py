"""The whole zoo at a glance: what was published of each network, and what comes out here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from latency_luts import store
from latency_luts.unseen import unseen
from nas_runtime import pictures
from nas_runtime.labels import beside
from search_spaces import cost, zoo
from search_spaces.arch import Arch

__all__ = ["COLUMNS", "UNSEEN", "Row", "host_ms", "picture", "rows", "table"]

PHONE = "pixel1"
COLUMNS = ("network", "madds", "params", "top1", "pixel1", "host")
UNSEEN = f"unseen: the share of {PHONE}'s ms in kinds of units that no network of its table's fit had"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A network of the zoo.

    Attributes:
        madds, params: ours.
        pixel1_ms: by the shipped table.
        unseen: the share of that in units of kinds that no network of the table's fit had.
        host_ms: as a whole, on this machine; None if it was not measured.
    """

    entry: zoo.Entry
    madds: int
    params: int
    pixel1_ms: float
    unseen: float
    host_ms: float | None

    @property
    def name(self) -> str:
        return self.entry.arch.name

    @property
    def off(self) -> tuple[float, float]:
        """Multiply-adds and parameters, relative to what was published, less 1."""
        return self.madds / 1e6 / self.entry.madds_m - 1, self.params / 1e6 / self.entry.params_m - 1


def rows(*, measure: bool) -> list[Row]:
    """All networks of the zoo at their paper's resolution.

    Args:
        measure: also time each as a whole on this machine, which takes a minute.
    """
    phone = store.load(PHONE)
    entries = [zoo.entry(name) for name in zoo.names()]
    measured = host_ms([entry.arch for entry in entries]) if measure else [None] * len(entries)
    return [
        Row(
            entry=entry,
            madds=cost.madds(entry.arch),
            params=cost.params(entry.arch),
            pixel1_ms=phone.latency_ms(entry.arch),
            unseen=its.share if (its := unseen(phone, entry.arch)) else 0.0,
            host_ms=ms,
        )
        for entry, ms in zip(entries, measured, strict=True)
    ]


def host_ms(archs: Sequence[Arch]) -> list[float]:
    """Milliseconds of each network as a whole on one core of this machine, all taking turns."""
    from latency_luts.measure import bench, identity

    with bench(identity()) as machine:
        return [timing.ms for timing in machine.time_networks(archs, bursts=12)]


def table(found: Sequence[Row], *, sort: str = "network") -> Table:
    """Published and computed side by side, sorted by one of `COLUMNS` (``network`` leaves family by family)."""
    keys = {
        "madds": lambda row: row.madds,
        "params": lambda row: row.params,
        "top1": lambda row: -row.entry.top1,
        "pixel1": lambda row: row.pixel1_ms,
        "host": lambda row: row.host_ms or 0,
    }
    ordered = sorted(found, key=keys[sort]) if sort in keys else found
    out = Table(title="The zoo: ours, published, and how much more ours is", title_justify="left")
    out.add_column("network", no_wrap=True)
    names = ("MAdds (M)", "published", "more", "params (M)", "published", "more", "top-1", "pixel1 ms", "unseen")
    for name in (*names, "host ms"):
        out.add_column(name, justify="right", no_wrap=True)
    for row in ordered:
        madds_off, params_off = row.off
        mark = "*" if row.entry.differs else ""
        out.add_row(
            row.name,
            f"{row.madds / 1e6:,.1f}",
            f"{row.entry.madds_m:,g}",
            f"{madds_off:+.1%}{mark}",
            f"{row.params / 1e6:.3f}",
            f"{row.entry.params_m:g}",
            f"{params_off:+.1%}",
            f"{row.entry.top1:.1%}",
            f"{row.pixel1_ms:.1f}",
            f"{row.unseen:.0%}" if row.unseen else "",
            "" if row.host_ms is None else f"{row.host_ms:.2f}",
        )
    return out


def picture(found: Sequence[Row], path: Path) -> None:
    """Published accuracy against multiply-adds, and against milliseconds: on this machine if measured, else Pixel 1."""
    from matplotlib.figure import Figure

    measured = all(row.host_ms is not None for row in found)
    figure = Figure(figsize=(14, 7.5))
    figure.subplots_adjust(left=0.05, right=0.98, bottom=0.08, top=0.97, wspace=0.04)
    axes = figure.subplots(1, 2, sharey=True)
    latency = "ms on one core of this machine" if measured else "ms on a Pixel 1 (calibrated)"
    mobile = zoo.names(mobile=True)
    for place, label in ((0, "multiply-adds (millions)"), (1, latency)):
        ms = [row.host_ms if measured and row.host_ms else row.pixel1_ms for row in found]
        x = ms if place else [row.madds / 1e6 for row in found]
        y = [100 * row.entry.top1 for row in found]
        for name, color in (("blocks that can be searched and narrowed", "#1f4e79"), ("others", "#9aa5b1")):
            its = [i for i, row in enumerate(found) if (row.name in mobile) == (name != "others")]
            axes[place].scatter([x[i] for i in its], [y[i] for i in its], s=26, color=color, zorder=3, label=name)
        axes[place].set(xscale="log", xlabel=label, ylim=(55, 80), xlim=(0.7 * min(x), 2.2 * max(x)))
        axes[place].grid(alpha=0.3)
        beside(axes[place], x, y, [row.name for row in found])
    axes[0].set_ylabel("published ImageNet top-1 (%)")
    axes[0].legend(loc="lower right", fontsize=8)
    pictures.save(figure, path)

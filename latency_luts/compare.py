"""`python -m latency_luts.compare A B`: where two devices disagree.

    python -m latency_luts.compare pixel1 host [tables_dir=DIR]

A and B are names or files of tables. Compares the units that both know, and the zoo's networks: a network that is good
for one device need not be good for the other where their ratios differ.
"""

from collections import defaultdict
from collections.abc import Callable, Collection

import numpy as np

from latency_luts import store
from latency_luts.key import key
from latency_luts.model import LatencyModel
from latency_luts.options import CompareOptions
from latency_luts.show import size_class, units_of
from latency_luts.table import MeasuredTable, TableError
from latency_luts.unseen import unseen
from latency_luts.validate import kendall_tau
from nas_runtime.command import run_plain
from nas_runtime.options import read_plain
from search_spaces import zoo
from search_spaces.lower import Unit

__all__ = ["common_units", "main"]

_GROUPS: dict[str, Callable[[Unit], str]] = {
    "kind": lambda unit: type(unit.block).__name__,
    "kernel": lambda unit: f"{getattr(unit.block, 'kernel', 1)}x{getattr(unit.block, 'kernel', 1)}",
    "squeeze-and-excite": lambda unit: "with" if getattr(unit.block, "se_ch", 0) else "without",
    "up to": lambda unit: f"{size_class(unit)} px" if size_class(unit) <= 112 else "more px",
}


def common_units(a: LatencyModel, b: LatencyModel) -> list[tuple[Unit, float, float]]:
    """Units that both tables know, with their milliseconds in each."""
    listed: Collection[Unit] = units_of(b if isinstance(b.table, MeasuredTable) else a)
    both = [(unit, a.unit_ms(unit), b.unit_ms(unit)) for unit in listed]
    return [(unit, x, y) for unit, x, y in both if x and y]


def main(arguments: list[str]) -> None:
    from nas_runtime.console import new_console

    names = [argument for argument in arguments if "=" not in argument]
    options = read_plain(CompareOptions, [argument for argument in arguments if "=" in argument])
    if len(names) != 2:
        raise ValueError(f"give two tables: python -m latency_luts.compare A B (there are: {', '.join(store.names())})")
    a, b = (store.load(name, tables_dir=options.tables_dir) for name in names)
    console = new_console()
    console.print(a.describe())
    console.print(b.describe())
    units = common_units(a, b)
    if units:
        _print_units(console, a.device, b.device, units)
    else:
        console.print("no unit is in both tables")
    _print_networks(console, a, b)


def _print_units(console, a: str, b: str, units: list[tuple[Unit, float, float]]) -> None:
    from rich.table import Table as Rows

    ratio = np.array([y / x for _, x, y in units])
    middle = float(np.median(ratio))
    console.print(
        f"{len(units)} units in both; {b} takes {middle:.3g} times what {a} takes (median), half of the units between "
        f"{np.quantile(ratio, 0.25):.3g} and {np.quantile(ratio, 0.75):.3g}"
    )
    rows = Rows("units", title=f"{b} / {a}, relative to the median", title_justify="left")
    for name in ("number", "median", "5 % to 95 %"):
        rows.add_column(name, justify="right")
    for title, group in _GROUPS.items():
        members: dict[str, list[float]] = defaultdict(list)
        for (unit, _, _), r in zip(units, ratio / middle, strict=True):
            members[group(unit)].append(float(r))
        if len(members) < 2:
            continue
        rows.add_section()
        for name, its in sorted(members.items(), key=lambda item: -float(np.median(item[1]))):
            low, high = np.quantile(its, (0.05, 0.95))
            rows.add_row(f"{title} {name}", str(len(its)), f"{np.median(its):.2f}", f"{low:.2f} to {high:.2f}")
    console.print(rows)
    order = np.argsort(ratio)
    for title, places in ((f"relatively slow on {b}", order[::-1][:5]), (f"relatively slow on {a}", order[:5])):
        console.print(f"{title}:")
        for i in places:
            unit, x, y = units[i]
            console.print(f"  {ratio[i] / middle:5.2f}  {x:.3f} ms and {y:.3f} ms  {key(unit)}")


def _print_networks(console, a: LatencyModel, b: LatencyModel) -> None:
    from rich.table import Table as Rows

    rows = Rows("network", title="whole networks, ms", title_justify="left")
    for name in (a.device, b.device, "ratio"):
        rows.add_column(name, justify="right")
    found, marked = [], ""
    for name in zoo.names():
        try:
            x, y = a.latency_ms(zoo.get(name)), b.latency_ms(zoo.get(name))
        except TableError:  # not all units, or no latency above 0
            continue
        found.append((x, y))
        mark = "*" * any(_mostly_unseen(model, name) for model in (a, b))
        marked = marked or mark
        rows.add_row(name + mark, f"{x:.2f}", f"{y:.2f}", f"{y / x:.3g}")
    if not found:
        console.print("no network of the zoo has a latency by both tables")
        return
    console.print(rows)
    if marked:
        console.print(
            "* more than half of its time is in kinds of units that no network of a calibrated table's fit had"
        )
    if len(found) > 2:
        xs, ys = zip(*found, strict=True)
        console.print(f"Kendall τ of their orders: {kendall_tau(xs, ys):.2f}")


def _mostly_unseen(model: LatencyModel, name: str) -> bool:
    its = unseen(model, zoo.get(name))
    return its is not None and its.share > 0.5


if __name__ == "__main__":
    run_plain(main, CompareOptions)

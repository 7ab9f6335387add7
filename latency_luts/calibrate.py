"""`python -m latency_luts.calibrate device=pixel1`: fits a table to published latencies of whole networks.

The networks and their latencies are those of table 3 of the MobileNetV3 paper, which the zoo carries: nine networks,
one set-up (one large core, batch 1, float). The shipped tables of Pixel 1, 2 and 3 are made by this command.
"""

from datetime import UTC, datetime

from latency_luts import store
from latency_luts.calibrated import fit
from latency_luts.model import LatencyModel
from latency_luts.table import CalibratedTable, write
from search_spaces import zoo
from search_spaces.command import Settings, run

__all__ = ["PHONES", "calibrate"]

PHONES = store.SHIPPED
FITTED_TO = "table 3 of the MobileNetV3 paper (arXiv:1905.02244)"


def calibrate(device: str) -> CalibratedTable:
    """The table of one of `PHONES`."""
    archs, ms = [], []
    for name in zoo.names():
        for width, pixel_ms in zoo.entry(name).pixel_ms.items():
            archs.append(zoo.get(name, width=width))
            ms.append(pixel_ms[PHONES.index(device)])
    costs, networks = fit(archs, ms)
    return CalibratedTable(
        device=device,
        provenance={
            "command": f"python -m latency_luts.calibrate device={device}",
            "date": datetime.now(UTC).date().isoformat(),
            "fitted_to": FITTED_TO,
            "set_up": "one large core, batch 1, float32, TFLite",
        },
        costs=costs,
        networks=networks,
    )


def _main(settings: Settings) -> None:
    from rich.console import Console
    from rich.table import Table

    device = settings.choice("device", PHONES)
    table = calibrate(device)
    path = store.table_path(device, tables_dir=settings.path("tables_dir"))
    write(table, path)
    rows = Table("network", title=f"{device}: latency in ms", title_justify="left")
    for name in ("published", "fitted", "left out", "error left out"):
        rows.add_column(name, justify="right")
    for n in table.networks:
        off = n.left_out_ms / n.ms - 1
        rows.add_row(n.name, f"{n.ms:.1f}", f"{n.fitted_ms:.1f}", f"{n.left_out_ms:.1f}", f"{off:+.1%}")
    console = Console(highlight=False, soft_wrap=True)
    console.print(rows)
    console.print(LatencyModel(table).describe())
    console.print(f"table: {path}")


if __name__ == "__main__":
    run(_main, "calibrate")

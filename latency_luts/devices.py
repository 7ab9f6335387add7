"""`python -m latency_luts.devices`: the devices that have a table, shipped ones and one's own.

    python -m latency_luts.devices [tables_dir=DIR]

Beside each stands where its numbers come from, what it is of, its error on whole networks (of the latest validation,
else left out of the fit), and when it was made.
"""

from latency_luts import store
from latency_luts.model import FEW, LatencyModel
from latency_luts.options import DevicesOptions
from latency_luts.table import CalibratedTable, Table, TableError
from nas_runtime.command import run_plain
from nas_runtime.options import read_plain

__all__ = ["main"]

_HEAD = ("device", "kind", "of", "error", "made")
_CALIBRATED = "one large core, batch 1, fp32"  # of tables that do not say


def main(arguments: list[str]) -> None:
    from rich.table import Table as Rows

    from nas_runtime.console import new_console

    options = read_plain(DevicesOptions, arguments)
    rows = Rows(*_HEAD, title="Tables of latencies", title_justify="left")
    for name in store.names(tables_dir=options.tables_dir):
        try:
            rows.add_row(name, *_cells(store.load(name, tables_dir=options.tables_dir)))
        except TableError as e:
            rows.add_row(name, "", "", f"cannot be read: {e}", "")
    new_console(width=140).print(rows)


def _cells(model: LatencyModel) -> tuple[str, str, str, str]:
    table = model.table
    return table.kind, _of(table), _error(model), str(table.provenance.get("date", ""))[:10]


def _of(table: Table) -> str:
    """The device and how networks run there, in words."""
    if isinstance(table, CalibratedTable):
        return str(table.provenance.get("set_up", _CALIBRATED))
    its = table.identity
    threads = f"{its.threads} thread{'s' * (its.threads > 1)}"
    return f"{its.cpu}, {its.runtime}, {threads}, batch {its.batch}, {its.dtype}"


def _error(model: LatencyModel) -> str:
    table = model.table
    if isinstance(table, CalibratedTable):
        if table.doubt and len(table.networks) < FEW:
            own = model.error.mape if model.error else 0.0
            return f"{max(own, table.doubt.expected_error):.1%} expected"
    elif table.validation:
        return f"{table.validation.mape:.1%} of {table.validation.nets}"
    return "unknown" if model.error is None else f"{model.error.mape:.1%} of {model.error.networks}"


if __name__ == "__main__":
    run_plain(main, DevicesOptions)

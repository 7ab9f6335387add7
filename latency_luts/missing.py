"""`MissingUnitsError`: a table does not have all units of a network, and what to do about it."""

from collections.abc import Sequence

from latency_luts.key import key, nearest
from latency_luts.origin import Corrected
from latency_luts.table import MeasuredTable, TableError
from search_spaces.lower import Unit

__all__ = ["MissingUnitsError", "measure_again"]

_CORRECT = "python -m latency_luts.calibrate device={} correct={} latencies=FILE.csv"


class MissingUnitsError(TableError):
    """Units that a table does not have.

    Attributes:
        table: which has them not.
        units: all of them.
    """

    def __init__(self, table: MeasuredTable, units: Sequence[Unit]) -> None:
        self.table, self.units = table, tuple(units)
        more = f" and {len(units) - 1} more" if len(units) > 1 else ""
        close = nearest(key(units[0]), table.units)
        hint = f" (nearest: {', '.join(close)})" if close else ""
        super().__init__(f"the table of {table.device!r} has no unit {key(units[0])}{more}{hint}; {self.remedy()}")

    def remedy(self, options: str = "") -> str:
        """What gives this table these units, in words; what to do instead where nothing can.

        Args:
            options: ``space=`` and ``space.*`` options of the networks, for the command.
        """
        device, origin = self.table.device, self.table.origin
        if self.table.timed is None:
            return (
                f"it was not measured by this project and gets no more units: take what it covers (python -m "
                f"latency_luts.show device={device} says it), or in Python prices between its widths: "
                f"latency_luts.load({device!r}, model='interpolated')"
            )
        if not isinstance(origin, Corrected) or origin.device == device:
            return _measure(self.table, device, options)
        return (
            f"its units are those of {origin.device}: {_measure(self.table, origin.device, options)}; then correct it "
            "anew: " + _CORRECT.format(device, origin.device)
        )


def measure_again(table: MeasuredTable) -> str:
    """What makes a table anew that was measured badly, in words; it is never another machine's."""
    if isinstance(table.origin, Corrected):
        return f"correct it anew with more networks: {_CORRECT.format(table.device, table.origin.device)}"
    if table.device.startswith("host"):
        command = f"python -m latency_luts.build {_named(table, table.device)} fresh=true"
        return f"measure it again when the machine is quiet ({command})"
    return (
        "measure it again when the device is quiet (on_device.py of its bundle, in an empty folder; then "
        f"python -m latency_luts.build device={table.device} from=measured.jsonl fresh=true)"
    )


def _measure(table: MeasuredTable, device: str, options: str) -> str:
    """The command that measures more units of `device`, as those of `table` were measured."""
    command = " ".join(filter(None, (_named(table, device), options)))
    more = "" if options else ", with the space.* options of these networks"
    if device.startswith("host"):
        return f"measure them: python -m latency_luts.build {command}{more}"
    return f"measure them on the device: python -m latency_luts.bundle {command}{more}, and follow what it says"


def _named(table: MeasuredTable, device: str) -> str:
    """The options of a device and of how it was measured, where that is not as usual."""
    return " ".join([f"device={device}", *(f"{name}={value}" for name, value in table.identity.options().items())])

"""`MeasuredTable` and `CalibratedTable`: what is stored about a device, and their JSON files.

A file ends in a checksum of its content, so that a truncated or hand-edited table is refused instead of believed.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from latency_luts import key as keys
from latency_luts import origin as origins
from latency_luts.correction import Correction
from latency_luts.prior import FEATURES, Posterior
from latency_luts.values import (
    ONNXRUNTIME,
    Doubt,
    Error,
    FamilyError,
    Identity,
    NetworkFit,
    Timing,
    Validation,
    check_above_0,
    check_number,
    short,
)
from nas_runtime.files import FileError, check_name, read_text, write_text

__all__ = [
    "ONNXRUNTIME",
    "CalibratedTable",
    "Correction",
    "Doubt",
    "Error",
    "FamilyError",
    "Identity",
    "MeasuredTable",
    "NetworkFit",
    "TableError",
    "Timing",
    "Validation",
    "read",
    "write",
]

FORMAT = 2
_WITH_DOUBT = 3  # of tables that were fitted with a prior
_AGAIN = "remove it, and build, import or copy it again"  # most commands refuse to replace what they cannot read


class TableError(ValueError):
    """A table that cannot be used, or does not hold what is asked of it."""


@dataclass(frozen=True, kw_only=True)
class MeasuredTable:
    """Units timed on a device, by this project or by another one: see `origin`."""

    device: str
    identity: Identity
    provenance: Mapping[str, Any]
    units: Mapping[str, Timing]
    correction: Correction = field(default_factory=Correction)
    networks: tuple[NetworkFit, ...] = ()
    validation: Validation | None = None
    kind: str = field(default="measured", init=False)

    @cached_property
    def origin(self) -> origins.Measured | origins.Corrected | origins.Imported:
        """Where the numbers come from."""
        return origins.of_units(self.provenance, len(self.units))

    @property
    def timed(self) -> origins.Measured | None:
        """How the units were measured by this project; None if they were not."""
        its = self.origin.units if isinstance(self.origin, origins.Corrected) else self.origin
        return its if isinstance(its, origins.Measured) and its.reference_ms is not None else None

    @property
    def reference_ms(self) -> float:
        """The speed at which the units were measured: what the reference networks took.

        Raises:
            TableError: they were not measured by this project.
        """
        if self.timed is None or self.timed.reference_ms is None:
            raise TableError(f"the table of {self.device!r} was not measured by this project")
        return self.timed.reference_ms


@dataclass(frozen=True, kw_only=True)
class CalibratedTable:
    """Costs fitted to published latencies of whole networks. Nothing in it was measured by this project.

    Attributes:
        costs: milliseconds for one of each of `calibrated.FEATURES`, or, with a prior, of `prior.FEATURES`.
        factors: source set to its latencies' ratio to those of the reference set, which the table predicts.
        doubt: with a prior, what is not known of the costs.
    """

    device: str
    provenance: Mapping[str, Any]
    costs: Mapping[str, float]
    factors: Mapping[str, float] = field(default_factory=dict)
    networks: tuple[NetworkFit, ...] = ()
    doubt: Doubt | None = None
    kind: str = field(default="calibrated", init=False)

    def __post_init__(self) -> None:
        for name, value in self.costs.items():
            check_number(f"cost of {name}", value)
        for name, value in self.factors.items():
            check_above_0(f"factor of {name}", value)
        if self.doubt and (set(self.costs) != set(FEATURES) or len(self.doubt.covariance) != len(FEATURES)):
            raise ValueError("it was made with a prior of another version; calibrate it again")

    @property
    def known(self) -> Posterior | None:
        """What is known of the device's costs, where it was fitted with a prior."""
        if self.doubt is None:
            return None
        return Posterior(
            mean=np.log([self.costs[name] for name in FEATURES]),
            covariance=np.array(self.doubt.covariance),
            noise=self.doubt.noise,
        )

    @property
    def dtype(self) -> str:
        """Of the networks that it is of."""
        return str(self.provenance.get("dtype", "fp32"))

    @property
    def origin(self) -> origins.Calibrated:
        """Where the numbers come from."""
        return origins.of_costs(self.provenance)


Table = MeasuredTable | CalibratedTable


def error(table: Table) -> Error | None:
    """The leave-one-out error of `table`; None if it was never compared with whole networks, or, with a prior, with one
    only, without which nothing is known of the device."""
    if not table.networks or (isinstance(table, CalibratedTable) and table.doubt and len(table.networks) < 2):
        return None
    off = [abs(n.left_out_ms / n.ms - 1) for n in table.networks]
    return Error(
        networks=_different(table.networks), mape=sum(off) / len(off), worst=max(off), family=_family_error(table)
    )


def _family_error(table: Table) -> FamilyError | None:
    its = [n for n in table.networks if n.family_out_ms is not None]
    off = [abs(n.family_out_ms / n.ms - 1) for n in its if n.family_out_ms is not None]
    if not off:
        return None
    return FamilyError(families=len({n.family for n in its}), networks=_different(its), mape=sum(off) / len(off))


def _different(fits: Sequence[NetworkFit]) -> int:
    """How many networks there are: one of a name in several set-ups is one, several of a name in one set-up differ."""
    most: dict[str, int] = {}
    for (name, _), count in Counter((fit.name, fit.source_set) for fit in fits).items():
        most[name] = max(most.get(name, 0), count)
    return sum(most.values())


def write(table: Table, path: str | os.PathLike[str]) -> None:
    """Writes `table` to `path`; the file is complete or unchanged."""
    with_doubt = isinstance(table, CalibratedTable) and table.doubt is not None
    data: dict[str, Any] = {"format": _WITH_DOUBT if with_doubt else FORMAT, "kind": table.kind} | {
        f.name: getattr(table, f.name) for f in fields(table) if f.init
    }
    if isinstance(table, MeasuredTable):
        data["identity"] = asdict(table.identity)
        data["correction"] = asdict(table.correction)
        data["validation"] = None if table.validation is None else asdict(table.validation)
        data["units"] = {name: [t.ms, t.spread, t.runs, t.kernels] for name, t in sorted(table.units.items())}
    elif table.doubt is None:
        del data["doubt"]
    else:
        data["doubt"] = asdict(table.doubt)
    data["networks"] = [asdict(n) for n in table.networks]
    data["sha256"] = _checksum(data)
    write_text(Path(path), _dump(data))


def read(path: str | os.PathLike[str]) -> Table:
    """The table in the file `path`.

    Raises:
        TableError: no such file, not a table, another format, a wrong checksum, or values that no table can have.
    """
    path = Path(path)
    try:
        data = json.loads(read_text(path), object_pairs_hook=_no_doubles)
    except FileNotFoundError:
        raise TableError(f"no table file {path}") from None
    except FileError as e:
        raise TableError(str(e)) from None
    except ValueError as e:  # also a number of thousands of digits
        raise TableError(f"{path} is not a table: not JSON ({e}); it is damaged: {_AGAIN}") from None
    except RecursionError:
        raise TableError(f"{path} is not a table: it is nested too deeply; {_AGAIN}") from None
    except _DoubledError as e:
        raise TableError(f"{path} is not a table: it has {e} twice; {_AGAIN}") from None
    if not isinstance(data, dict) or data.get("format") not in (FORMAT, _WITH_DOUBT):
        got = data.get("format") if isinstance(data, dict) else None
        raise TableError(f"{path} is not a table of format {FORMAT} (its format is {short(got)}); {_AGAIN}")
    if data.pop("sha256", None) != _checksum(data):
        raise TableError(f"{path} does not match its checksum: it was edited or damaged; {_AGAIN}")
    try:
        return _table(data)
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise TableError(f"{path} is not a table: {short(e, quoted=False)}; {_AGAIN}") from None


def _table(data: dict[str, Any]) -> Table:
    networks = tuple(NetworkFit(**n | {"units": tuple(n.get("units", ()))}) for n in data["networks"])
    check_name(str(data["device"]), "device")
    if data["kind"] == "calibrated":
        found = CalibratedTable(
            device=data["device"],
            provenance=data["provenance"],
            costs=data["costs"],
            factors=data["factors"],
            networks=networks,
            doubt=None if data.get("doubt") is None else Doubt(**data["doubt"]),
        )
        assert found.origin  # as below
        return found
    if data["kind"] != "measured":
        raise ValueError(f"its kind is {short(data['kind'])}; known: measured, calibrated")
    for name in {name for n in networks for name in n.units}:
        keys.parse(name)
    units = {}
    for name, values in data["units"].items():
        keys.parse(name)
        try:
            units[name] = Timing(*values)
        except ValueError as e:
            raise ValueError(f"{name}: {e}") from None
    table = MeasuredTable(
        device=data["device"],
        identity=Identity(**data["identity"]),
        provenance=data["provenance"],
        units=units,
        correction=Correction(**data["correction"]),
        networks=networks,
        validation=None if data["validation"] is None else Validation(**data["validation"]),
    )
    assert table.origin  # read now, so that what is wrong with it is said with the file's name
    return table


class _DoubledError(Exception):
    pass


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _DoubledError(repr(name))
        found[name] = value
    return found


def _checksum(data: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _dump(data: Mapping[str, Any]) -> str:
    """JSON with one line for each unit and network: readable, and small in a diff."""
    lines = []
    for name, value in data.items():
        if name in ("units", "networks") and value:
            items = (
                [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()]
                if isinstance(value, dict)
                else [f"  {json.dumps(v)}" for v in value]
            )
            left, right = "{}" if isinstance(value, dict) else "[]"
            lines.append(f" {json.dumps(name)}: {left}\n" + ",\n".join(items) + f"\n {right}")
        else:
            lines.append(f" {json.dumps(name)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"

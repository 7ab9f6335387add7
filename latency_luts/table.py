"""`MeasuredTable` and `CalibratedTable`: what is stored about a device, and their JSON files.

A file ends in a checksum of its content, so that a truncated or hand-edited table is refused instead of believed.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from latency_luts import key as keys
from latency_luts import residence
from nas_runtime.files import write_text

__all__ = [
    "CalibratedTable",
    "Correction",
    "Error",
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


class TableError(ValueError):
    """A table that cannot be used, or does not hold what is asked of it."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a latency depends on besides the network. Tables of different identities are never mixed."""

    cpu: str
    runtime: str
    threads: int
    batch: int
    dtype: str


@dataclass(frozen=True)
class Timing:
    """One unit.

    Attributes:
        ms: milliseconds, the middle of those in the networks that it was timed in, as if all weights came from memory.
        spread: of its runs, interquartile range / median.
        runs: how many.
        kernels: how many kernels the runtime runs for it; 0 if unknown.
    """

    ms: float
    spread: float
    runs: int
    kernels: int = 0


@dataclass(frozen=True, kw_only=True)
class NetworkFit:
    """A whole network that a table was fitted to: its latency, the model's, and the model's when fitted without it.

    `source_set` names the set-up of a published latency; the model's latencies are in that set-up. `sum_ms` (less what
    is saved, see `Correction`) and `kernels` are those of its units, where it was fitted by them; `units` are their
    keys, in order.
    """

    name: str
    ms: float
    fitted_ms: float
    left_out_ms: float
    source_set: str = ""
    sum_ms: float = 0.0
    kernels: int = 0
    units: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Error:
    """Leave-one-out error over `networks` whole networks: mean and largest of \\|left_out_ms / ms - 1\\|."""

    networks: int
    mape: float
    worst: float


@dataclass(frozen=True, kw_only=True)
class Correction:
    """Network latency = scale * (sum of its units - saved) + per_kernel_ms * their kernels + offset_ms.

    Units are timed with a profiler, whose own time at every kernel is what ``per_kernel_ms`` takes off again. Their
    weights come from memory; those that a network of ``mib`` MiB still finds in the caches, of which there are ``mib *
    residence.share(mib, cache_mib)``, save ``saved_by_mib_ms`` a MiB. Small networks leave more in the caches than
    weights, which is what an ``offset_ms`` below 0 stands for.
    """

    scale: float = 1.0
    per_kernel_ms: float = 0.0
    offset_ms: float = 0.0
    saved_by_mib_ms: float = 0.0
    cache_mib: float = residence.CACHE_MIB

    def saved_ms(self, mib: np.ndarray | float) -> np.ndarray:
        """What networks with `mib` MiB of weights save."""
        return self.saved_by_mib_ms * mib * residence.share(mib, self.cache_mib)


@dataclass(frozen=True, kw_only=True)
class Validation:
    """A table against networks that took no part in any fit; errors are fractions of the measured latency.

    Attributes:
        nets: how many networks.
        mape: mean absolute error; `bias`: mean error; `within_5pct`, `within_10pct`: shares of networks.
        kendall_tau: rank correlation of predicted and measured latencies.
        worst, worst_error: the network that is farthest off.
        noise: how much a network's measured latency itself varies: how far a turn is from the median one, on average.
        date, networks: when, and which kinds of networks.
    """

    nets: int
    mape: float
    within_5pct: float
    within_10pct: float
    kendall_tau: float
    bias: float
    worst: str
    worst_error: float
    noise: float
    date: str
    networks: str


@dataclass(frozen=True, kw_only=True)
class MeasuredTable:
    """Units timed on a device."""

    device: str
    identity: Identity
    provenance: Mapping[str, Any]
    units: Mapping[str, Timing]
    correction: Correction = Correction()
    networks: tuple[NetworkFit, ...] = ()
    validation: Validation | None = None
    kind: str = field(default="measured", init=False)


@dataclass(frozen=True, kw_only=True)
class CalibratedTable:
    """Costs fitted to published latencies of whole networks. Nothing in it was measured by this project.

    Attributes:
        costs: milliseconds for one of each of `calibrated.FEATURES`.
        factors: source set to its latencies' ratio to those of the reference set, which the table predicts.
    """

    device: str
    provenance: Mapping[str, Any]
    costs: Mapping[str, float]
    factors: Mapping[str, float] = field(default_factory=dict)
    networks: tuple[NetworkFit, ...] = ()
    kind: str = field(default="calibrated", init=False)


Table = MeasuredTable | CalibratedTable


def error(table: Table) -> Error | None:
    """The leave-one-out error of `table`; None if it was never compared with whole networks."""
    if not table.networks:
        return None
    off = [abs(n.left_out_ms / n.ms - 1) for n in table.networks]
    return Error(networks=len(off), mape=sum(off) / len(off), worst=max(off))


def write(table: Table, path: Path) -> None:
    """Writes `table` to `path`; the file is complete or unchanged."""
    data: dict[str, Any] = {"format": FORMAT, "kind": table.kind} | {
        f.name: getattr(table, f.name) for f in fields(table) if f.init
    }
    if isinstance(table, MeasuredTable):
        data["identity"] = asdict(table.identity)
        data["correction"] = asdict(table.correction)
        data["validation"] = None if table.validation is None else asdict(table.validation)
        data["units"] = {name: [t.ms, t.spread, t.runs, t.kernels] for name, t in sorted(table.units.items())}
    data["networks"] = [asdict(n) for n in table.networks]
    data["sha256"] = _checksum(data)
    write_text(path, _dump(data))


def read(path: Path) -> Table:
    """The table in the file `path`.

    Raises:
        TableError: no such file, not a table, another format, a wrong checksum, or values that no table can have.
    """
    try:
        data = json.loads(path.read_text(), object_pairs_hook=_no_doubles)
    except FileNotFoundError:
        raise TableError(f"no table file {path}") from None
    except (OSError, UnicodeDecodeError) as e:
        raise TableError(f"{path} cannot be read: {e}") from None
    except json.JSONDecodeError as e:
        raise TableError(f"{path} is not a table: not JSON ({e}); it is damaged: build or copy it again") from None
    except _DoubledError as e:
        raise TableError(f"{path} is not a table: it has {e} twice; build or copy it again") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        got = data.get("format") if isinstance(data, dict) else None
        raise TableError(f"{path} is not a table of format {FORMAT} (its format is {got!r}); build it again")
    if data.pop("sha256", None) != _checksum(data):
        raise TableError(f"{path} does not match its checksum: it was edited or damaged; build or copy it again")
    try:
        return _table(data)
    except (KeyError, TypeError, ValueError) as e:
        raise TableError(f"{path} is not a table: {e}") from None


def _table(data: dict[str, Any]) -> Table:
    networks = tuple(NetworkFit(**n | {"units": tuple(n.get("units", ()))}) for n in data["networks"])
    if data["kind"] == "calibrated":
        for name, value in data["costs"].items():
            _check_number(f"cost of {name}", value)
        return CalibratedTable(
            device=data["device"],
            provenance=data["provenance"],
            costs=data["costs"],
            factors=data["factors"],
            networks=networks,
        )
    if data["kind"] != "measured":
        raise ValueError(f"its kind is {data['kind']!r}; known: measured, calibrated")
    for name in {name for n in networks for name in n.units}:
        keys.parse(name)
    units = {name: Timing(*values) for name, values in data["units"].items()}
    for name, timing in units.items():
        keys.parse(name)
        _check_number(name, timing.ms)
    return MeasuredTable(
        device=data["device"],
        identity=Identity(**data["identity"]),
        provenance=data["provenance"],
        units=units,
        correction=Correction(**data["correction"]),
        networks=networks,
        validation=None if data["validation"] is None else Validation(**data["validation"]),
    )


def _check_number(name: str, value: Any) -> None:
    if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} is {value!r}; it must be a number of at least 0")


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

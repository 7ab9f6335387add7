"""The log of a build: every measurement is appended at once, so that an interrupted build continues after it."""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from latency_luts.key import parse
from latency_luts.measure import ChainTiming, NetworkTiming
from latency_luts.table import Identity, TableError

__all__ = ["Log", "Measurements"]


@dataclass(kw_only=True)
class Measurements:
    """What was measured for one table.

    Attributes:
        chains: all chains, in the order of measurement.
        networks: whole networks by name, each timed several times.
        wanted: keys of the units that they were made for; chains may hold other units beside them.
        id: tells them from others: a table says which it was made of last.
    """

    chains: list[ChainTiming] = field(default_factory=list)
    networks: dict[str, list[NetworkTiming]] = field(default_factory=dict)
    wanted: set[str] = field(default_factory=set)
    id: str = field(default_factory=lambda: os.urandom(8).hex())


class Log(Measurements):
    """Measurements in the file `path`.

    Raises:
        TableError: the file was begun on another machine or runtime, or is damaged. A last line that was cut short by a
            crash is left out.
    """

    def __init__(self, path: Path, identity: Identity) -> None:
        super().__init__()
        self.path, self.identity = path, identity
        with contextlib.suppress(FileNotFoundError):
            lines = path.read_text().splitlines()
            for i, line in enumerate(lines):
                try:
                    self._take(i, json.loads(line))
                except json.JSONDecodeError:
                    if i < len(lines) - 1:
                        raise TableError(f"{path}:{i + 1} is damaged; remove the file to measure again") from None
                except TableError:
                    raise
                except (KeyError, TypeError, AttributeError, ValueError):
                    raise TableError(f"{path}:{i + 1} is no measurement; remove the file to measure again") from None

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Inside, `add_chains` and `add_network` append to the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.truncate(self.path, self.path.read_bytes().rfind(b"\n") + 1)
        with self.path.open("a") as file:
            self._file = file
            if file.tell() == 0:
                self._append({"identity": asdict(self.identity), "id": self.id})
            yield

    def want(self, keys: Iterable[str]) -> None:
        """From now on, chains are also made for the units `keys`."""
        if new := sorted(set(keys) - self.wanted):
            self.wanted.update(new)
            self._append({"wanted": new})

    def add_chains(self, timings: list[ChainTiming]) -> None:
        for timing in timings:
            self.chains.append(timing)
            self._append({"chain": asdict(timing)})

    def add_network(self, name: str, timing: NetworkTiming) -> None:
        self.networks.setdefault(name, []).append(timing)
        self._append({"network": name, **asdict(timing)})

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def _append(self, item: dict) -> None:
        self._file.write(json.dumps(item) + "\n")
        self._file.flush()

    def _take(self, i: int, item: dict) -> None:
        if i == 0:
            if item.get("identity") != asdict(self.identity):
                raise TableError(
                    f"{self.path} was begun on another machine or runtime, or in another way; continue it there, or "
                    "remove the file to measure again"
                )
            self.id = item.get("id", self.id)
        elif "wanted" in item:
            self.wanted.update(item["wanted"])
        elif "chain" in item:
            fields = item["chain"]
            for name in fields["keys"]:
                parse(name)
            self.chains.append(
                ChainTiming(
                    keys=tuple(fields["keys"]),
                    ms=tuple(fields["ms"]),
                    spread=tuple(fields["spread"]),
                    kernels=tuple(fields["kernels"]),
                    runs=fields["runs"],
                    reference_ms=fields["reference_ms"],
                )
            )
        else:
            timing = NetworkTiming(ms=item["ms"], reference_ms=item["reference_ms"])
            self.networks.setdefault(item["network"], []).append(timing)

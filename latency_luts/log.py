"""The log of a build: every measurement is appended at once, so that an interrupted build continues after it."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from latency_luts.key import parse
from latency_luts.measurements import ChainTiming, Measurements, NetworkTiming
from latency_luts.table import Identity, TableError
from nas_runtime.lines import LineFile
from nas_runtime.records import JournalError, Records

__all__ = ["Log", "forget"]


class Log(Measurements):
    """Measurements in the file `path`, which is read at once and not written to before `open`.

    Raises:
        TableError: the file was begun on another machine or runtime, or is damaged. A last line that was cut short by a
            crash is left out.
        FileError: the file cannot be read.
    """

    def __init__(self, path: Path, identity: Identity) -> None:
        super().__init__()
        self.path, self.identity = path, identity
        self._taken = 0  # lines
        with self._named():
            self._records = Records(path, "measured")
            self._take_new()

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Inside, `add_chains` and `add_networks` append to the file, and no other process does.

        Raises:
            FileError: another process is measuring for the same table.
        """
        with contextlib.ExitStack() as stack:
            with self._named():
                stack.enter_context(self._records.writing())
                self._take_new()  # what another process has added since
            if not self._taken:
                self._append({"identity": asdict(self.identity), "id": self.id})
            yield

    def want(self, keys: Iterable[str]) -> None:
        """From now on, chains are also made for the units `keys`."""
        if new := sorted(set(keys) - self.wanted):
            self._append({"wanted": new})
            self.wanted.update(new)

    def add_chains(self, timings: list[ChainTiming]) -> None:
        self._append(*({"chain": asdict(timing)} for timing in timings))
        self.chains += timings

    def add_networks(self, timings: dict[str, NetworkTiming]) -> None:
        self._append(*({"network": name, **asdict(timing)} for name, timing in timings.items()))
        for name, timing in timings.items():
            self.networks.setdefault(name, []).append(timing)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def _append(self, *items: dict) -> None:
        self._records.append(*items)
        self._taken += len(items)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Says of damage what to do."""
        try:
            yield
        except JournalError as e:
            raise TableError(f"{str(e).partition(';')[0]}; remove the file to measure again") from None

    def _take_new(self) -> None:
        for item in self._records.records:
            try:
                self._take(item)
            except TableError:
                raise
            except (KeyError, TypeError, AttributeError, ValueError):
                raise TableError(f"{self.path} holds no measurements; remove the file to measure again") from None
            self._taken += 1
        self._records.records.clear()

    def _take(self, item: dict) -> None:
        if not self._taken:
            if item["identity"] != asdict(self.identity):
                raise TableError(
                    f"{self.path} was begun on another machine or runtime, or in another way; continue it there, or "
                    "remove the file to measure again"
                )
            self.id = item["id"]
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


def forget(path: Path) -> None:
    """Removes a log.

    Raises:
        FileError: another process is measuring for the same table.
    """
    if path.exists():
        with LineFile(path).writing():
            path.unlink()

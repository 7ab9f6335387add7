"""Latencies of whole networks that are known: what is published of those of the zoo, or a file of one's own."""

import csv
import difflib
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from latency_luts.values import short
from nas_runtime.files import FileError, read_text
from search_spaces import cost, text, zoo
from search_spaces.arch import Arch

__all__ = ["KnownLatency", "named_alike", "published", "read_csv"]

_RESOLUTIONS_PX = (32, 1024)
_LARGEST_FILE = 16 * 2**20  # bytes
_MADDS_OFF = 0.05  # sources count biases and activations, or do not

_Line = tuple[int, dict[str, str]]  # its number, and its cells by column


@dataclass(frozen=True, kw_only=True)
class KnownLatency:
    """A network and its latency on a device, in the set-up `source_set`."""

    arch: Arch
    ms: float
    source_set: str


def published(device: str) -> tuple[KnownLatency, ...]:
    """What the zoo knows of `device`.

    Raises:
        ValueError: nothing.
    """
    found = tuple(
        KnownLatency(
            arch=zoo.get(name, width=row.width, resolution_px=row.resolution_px), ms=row.ms, source_set=row.source_set
        )
        for name in zoo.names()
        for row in zoo.entry(name).latencies
        if row.device == device
    )
    if not found:
        phones = sorted({row.device for name in zoo.names() for row in zoo.entry(name).latencies})
        raise ValueError(
            f"no latency of {device!r} was published for a network of the zoo (there are some of {', '.join(phones)}); "
            "give yours with latencies=FILE.csv"
        )
    return found


def read_csv(
    path: str | os.PathLike[str], device: str, *, dtype: str = "fp32"
) -> tuple[tuple[KnownLatency, ...], tuple[str, ...]]:
    """The networks of a file with a latency on `device`, and the names of those that are not in the zoo.

    Its columns are ``network``, ``<device>_ms`` or ``latency_ms``, and if need be ``resolution_px``, ``dtype``,
    ``source_set``, ``device`` (of several devices the lines of `device` are taken), and ``madds`` or, in millions,
    ``madds_m``, by which another network of the same name is noticed.

    Args:
        dtype: of the lines that are taken; a line that names none is of any.

    Raises:
        ValueError: no such file, not such a file, or a value that cannot be; the message names the line.
    """
    path = Path(path)
    column, rows = _lines(path, device)
    found: dict[tuple[Arch, str], KnownLatency] = {}
    unknown, others = [], set()
    for line, row in _of_one_device(rows, device, path):
        where = f"latencies={path}, line {line}"
        if None in row:
            raise ValueError(f"{where} has more cells than the header; quote cells with commas")
        if not (row[column] or "").strip():
            continue
        if (row.get("dtype") or dtype) != dtype:
            others.add(row["dtype"])
            continue
        ms = _positive(row[column], f"{where}: {column}")
        resolution_px = _resolution(row.get("resolution_px") or "224", f"{where}: resolution_px")
        name = (row["network"] or "").strip()
        if not name:
            raise ValueError(f"{where} has a latency and no network; name it, or remove the line")
        arch = _network(name, path.parent, resolution_px, where)
        if arch is None:
            unknown.append(name)
            continue
        _check_madds(arch, name, row, where)
        source_set = row.get("source_set") or ""
        if (arch, source_set) in found:
            raise ValueError(f"{where}: {short(name)} at {resolution_px} px stands twice; keep one line of it")
        found[arch, source_set] = KnownLatency(arch=arch, ms=ms, source_set=source_set)
    if not found:
        hint = f" ({', '.join(map(named_alike, unknown[:3]))} not known)" if unknown else ""
        if others and not unknown:
            its = short(", ".join(sorted(others)), quoted=False)
            raise ValueError(f"latencies={path} has no line of dtype {dtype}, only of {its}")
        raise ValueError(f"latencies={path} has no latency of {device!r} for a network of the zoo{hint}")
    return tuple(found.values()), tuple(unknown)


def _lines(path: Path, device: str) -> "tuple[str, Sequence[_Line]]":
    """The column of latencies on `device`, and the lines below the header."""
    try:
        content = read_text(path, most_bytes=_LARGEST_FILE).removeprefix("\ufeff")
        reader = csv.DictReader(io.StringIO(content, newline=""), strict=True)
        rows = [(reader.line_num, row) for row in reader]
    except FileNotFoundError:
        raise ValueError(f"latencies={path} cannot be read: there is no such file") from None
    except (FileError, csv.Error) as e:
        raise ValueError(f"latencies={path} cannot be read: {e}") from None
    if not rows:
        raise ValueError(f"latencies={path} has no networks; give a header line and a line for each network")
    names = reader.fieldnames or []
    column = next((name for name in (f"{device}_ms", "latency_ms") if name in names), None)
    if column is None or "network" not in names:
        raise ValueError(
            f"latencies={path} needs the columns network and {device}_ms (or latency_ms); it has "
            f"{short(', '.join(names), quoted=False)}"
        )
    return column, rows


def named_alike(name: str) -> str:
    """`name`, and the network of the zoo that may be meant."""
    close = difflib.get_close_matches(name.lower().replace("-", "_"), zoo.names(), n=1)
    return short(name, quoted=False) + (f" (did you mean {close[0]}?)" if close else "")


def _of_one_device(rows: "Sequence[_Line]", device: str, path: Path) -> "Sequence[_Line]":
    """The lines of `device`, where the file has several; all, where it has one or does not say."""
    names = dict.fromkeys(its.strip() for _, row in rows if (its := row.get("device") or "").strip())
    if len(names) < 2:
        return rows
    if device not in names:
        raise ValueError(
            f"latencies={path} has several devices, {short(', '.join(names), quoted=False)}; device= must be one of "
            "them, or keep the lines of one"
        )
    for line, row in rows:
        if not (row.get("device") or "").strip():
            raise ValueError(f"latencies={path}, line {line} names no device, and other lines name several; name it")
    return [(line, row) for line, row in rows if row["device"].strip() == device]


def _check_madds(arch: Arch, name: str, row: Mapping[str, str], where: str) -> None:
    """Refuses a network whose multiply-adds are not those that the line says."""
    column = next((column for column in ("madds", "madds_m") if (row.get(column) or "").strip()), None)
    if column is None:
        return
    said = _positive(row[column], f"{where}: {column}") / (1e6 if column == "madds" else 1)
    own = cost.madds(arch) / 1e6
    if abs(said / own - 1) > _MADDS_OFF:
        flops = " (FLOPs are twice the multiply-adds)" if abs(said / own / 2 - 1) <= _MADDS_OFF else ""
        another = "it is another network of that name; give it as a file NAME.json"
        remedy = "one of the two is wrong; correct it" if name.endswith(".json") else another
        raise ValueError(
            f"{where}: {short(name)} has {own:.4g} million multiply-adds at {arch.resolution_px} px, and the line says "
            f"{said:.4g}{flops}: {remedy}, or remove the line"
        )


def _network(name: str, folder: Path, resolution_px: int, where: str) -> Arch | None:
    if not name.endswith(".json"):
        return zoo.find(name, resolution_px=resolution_px)
    try:
        return text.from_json(read_text(folder / name))
    except FileNotFoundError:
        raise ValueError(f"{where}: {short(name, quoted=False)} cannot be read: there is no such file") from None
    except ValueError as e:
        raise ValueError(f"{where}: {short(name, quoted=False)}: {e}") from None


def _positive(value: str, where: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not 0 < number < float("inf"):
        raise ValueError(f"{where} is {short(value)}; it must be a number above 0")
    return number


def _resolution(value: str, where: str) -> int:
    number = int(value) if value.isascii() and value.isdigit() and len(value) < 6 else 0
    if not _RESOLUTIONS_PX[0] <= number <= _RESOLUTIONS_PX[1]:
        low, high = _RESOLUTIONS_PX
        raise ValueError(f"{where} is {short(value)}; it must be a whole number from {low} to {high}")
    return number

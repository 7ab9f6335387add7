"""Units of kinds that no network of a fit had: what they take, times their price. `python -m experiments.unseen_kinds`

A table calibrated to whole networks (`latency_luts.calibrate`) prices any unit by one formula, and its error is that of
networks of the fit's kinds. Here, on many CPUs, networks are left out of a fit to the others on the same CPU: all of a
family, or all that have a k x k convolution between feature maps, which leaves the MobileNets' kinds. Of those with
units of kinds that the fit had not seen this shows: their mean error; what such units took, times their price, if the
others took theirs (at the 5th percentile, the median and the 95th); and how many networks took what
`latency_luts.unseen` says. Of those without such units: the mean error.

`path` is the folder of two files: phones_tflite.csv (cores of phones, TensorFlow Lite 2.10, github
qed-usc/mobile-ml-benchmark) and cpus_ncnn.csv (boards, phones and servers, ncnn, github Tencent/ncnn), columns
`device`, `threads`, `dtype`, `zoo_name`, `width`, `resolution_px`, `arch_json` (a network that the zoo does not have:
its file), `mean_ms` or `min_ms`, and `core` or `table_line`, which tell tables of a device apart. Float, one thread.

    python -m experiments.unseen_kinds path=FOLDER

Writes experiments/results/unseen_kinds.csv.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from experiments import options, provenance, tables
from latency_luts import calibrate
from latency_luts.known import KnownLatency
from latency_luts.model import LatencyModel
from latency_luts.unseen import unseen
from latency_luts.work import kinds_of
from search_spaces import text, zoo
from search_spaces.arch import Arch
from search_spaces.lower import lower

FEWEST = 8  # networks of a table, and 6 to fit
FAMILY_OF = {  # the beginning of a name that the zoo does not know, and the zoo's network whose family it is of
    "fdmobilenet": "mobilenet_v1",
    "mobilenetb": "mobilenet_v1",
    "mobilenetv2": "mobilenet_v2",
    "mobilenetv3": "mobilenet_v3_large",
    "resnetbc": "resnet50",
    "squeezeresnet": "squeezenet_1_0",
    "ncnn mobilenet_v2": "mobilenet_v2",
    "ncnn mobilenet_v3": "mobilenet_v3_large",
    "ncnn proxyless": "proxyless_r",
    "ncnn shufflenet": "shufflenet_v1",
    "ncnn squeezenet": "squeezenet_1_0",
}


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A network that took no part in the fit that predicts it.

    Attributes:
        error: predicted / measured - 1.
        times: what its units of unseen kinds took, times their price; None: it has none.
        within: whether it took what `unseen` says.
    """

    error: float
    share: float
    times: float | None
    within: bool


def main() -> None:
    folder = Path(options.read({"path": ""}, needed=["path"])["path"])
    rows = []
    for file, ms, table in (("phones_tflite.csv", "mean_ms", "core"), ("cpus_ncnn.csv", "min_ms", "table_line")):
        measured = read(folder / file, ms, table)
        for title, group in (("a family", _family), ("k x k convolutions", _has_k_by_k)):
            networks = [out for its in measured.values() for out in left_out(its, group)]
            rows.append({"file": file, "tables": str(len(measured)), "left out": title} | summary(networks))
    origin = provenance.of(provenance.NOTHING_RANDOM)
    tables.show("Networks left out of a fit", rows, tables.RESULTS / "unseen_kinds.csv", origin=origin, width=160)


def read(path: Path, ms: str, table: str) -> dict[tuple[str, str], list[KnownLatency]]:
    """Networks and their milliseconds, by device and core, or device and table: those of at least `FEWEST` networks."""
    tables_of: dict[tuple[str, str], list[KnownLatency]] = defaultdict(list)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            plain = row["dtype"] in ("fp32", "float") and row["threads"] == "1" and row.get("gpu") in (None, "false")
            arch = _network(row, path.parent) if plain else None
            if arch is not None:
                tables_of[row["device"], row[table]].append(KnownLatency(arch=arch, ms=float(row[ms]), source_set=""))
    return {name: its for name, its in tables_of.items() if len(its) >= FEWEST}


def _network(row: Mapping[str, str], folder: Path) -> Arch | None:
    """The network of a line, under a name that says its family; None if it cannot be built, or is only near one."""
    if row["arch_json"]:
        arch = text.from_file(folder / row["arch_json"])
        family = next((zoo_name for begin, zoo_name in FAMILY_OF.items() if arch.name.startswith(begin)), "")
        return replace(arch, name=f"{family} {arch.name}".strip())
    if not row["zoo_name"] or abs(float(row.get("madds_over_zoo") or 1) - 1) > 1e-3:
        return None
    return zoo.get(row["zoo_name"], width=float(row["width"] or 1), resolution_px=int(row["resolution_px"]))


def _family(arch: Arch) -> str:
    return zoo.family(arch.name)


def _has_k_by_k(arch: Arch) -> str:
    """ "" is never left out."""
    return "kxk" if any(re.fullmatch(r"(?!1x1)\d+x\d+ convolution", kind) for kind in kinds_of(lower(arch))) else ""


def left_out(measured: Sequence[KnownLatency], group: Callable[[Arch], str]) -> Iterator[LeftOut]:
    """Each network of `measured`, predicted by a fit to those of other groups."""
    groups = [group(item.arch) for item in measured]
    for name in sorted(set(filter(None, groups))):
        others = [item for item, its in zip(measured, groups, strict=True) if its != name]
        if len({item.arch for item in others}) < FEWEST - 2:
            continue
        model = LatencyModel(calibrate.calibrate("others", others))
        yield from (_compared(model, item) for item, its in zip(measured, groups, strict=True) if its == name)


def _compared(model: LatencyModel, item: KnownLatency) -> LeftOut:
    its = unseen(model, item.arch)
    assert its is not None
    ms = model.latency_ms(item.arch)
    new_ms = its.share * ms
    return LeftOut(
        error=ms / item.ms - 1,
        share=its.share,
        times=(item.ms - (ms - new_ms)) / new_ms if new_ms else None,
        within=its.low_ms <= item.ms <= its.high_ms,
    )


def summary(found: Sequence[LeftOut]) -> dict[str, str]:
    """A row of the table."""
    new = [out for out in found if out.times is not None]
    known = [out for out in found if out.times is None]
    low, middle, high = np.quantile([out.times or 0.0 for out in new], (0.05, 0.5, 0.95))

    def mean(outs: Sequence[LeftOut]) -> str:
        return f"{np.mean([abs(out.error) for out in outs]):.1%}" if outs else ""

    return {
        "with unseen kinds": str(len(new)),
        "share of time (mean)": f"{np.mean([out.share for out in new]):.0%}",
        "mean error": mean(new),
        "5 %": f"{low:.2f}",
        "times price, median": f"{middle:.2f}",
        "95 %": f"{high:.2f}",
        "within": f"{np.mean([out.within for out in new]):.0%}",
        "without": str(len(known)),
        "their mean error": mean(known),
    }


if __name__ == "__main__":
    options.run(main)

"""Does the runtime matter? `python -m experiments.runtimes`

On this machine, with one thread: for each runtime a latency table of the space of Accel-NASBench is measured, at 224
px, and compared with random networks that took no part in its fit; and the networks of the zoo are timed. Runtimes that
are not installed are left out, which is said.

    python -m experiments.runtimes [runtimes=onnxruntime,openvino,litert,ncnn] [networks=40] [points=100000]

Prints three tables, and writes them to experiments/results: runtimes.csv (how far off each table is; Kendall's tau
between its random networks' latencies and those with the first runtime), runtimes_zoo.csv (milliseconds of the zoo's
networks) and runtimes_best.csv. For the last, each runtime's target is its latency of the middle one of `points` random
networks; the best network is that with the highest modelled ImageNet top-1 (`nas.surrogate`) within the target. A row
says what the network that is best for one runtime is with another: its top-1 below that of the best there, and its
LAT/TAR there. The speed of the machine counts as it is when networks are timed, minutes after the table was measured.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments import options, provenance, tables
from latency_luts import schedule
from latency_luts.build import build
from latency_luts.measure import bench, identity
from latency_luts.model import LatencyModel
from latency_luts.runtime import RUNTIMES
from latency_luts.validate import kendall_tau
from nas.surrogate import Surrogate
from nas_runtime.console import new_console
from search_spaces import spaces, zoo
from search_spaces.arch import Arch

NETWORKS_SEED, POINTS_SEED = 7, 11
TURNS, BURSTS = 6, 12
DEFAULTS = {"runtimes": tuple(RUNTIMES.names()), "networks": 40, "points": 100_000}
SPACE = spaces.get("accel_nasbench", resolution_px=224)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What came out for a runtime.

    Attributes:
        name: with its version.
        model: its table's.
        ms: (networks,) of the random networks as wholes.
        zoo_ms: of the zoo's networks, in its order.
    """

    name: str
    model: LatencyModel
    ms: np.ndarray
    zoo_ms: np.ndarray


def main() -> None:
    setting = options.read(DEFAULTS, {"runtimes": RUNTIMES.names()})
    origin = provenance.of(f"networks {NETWORKS_SEED}, points {POINTS_SEED}, tables 0", packages=("openvino", "ncnn"))
    rng = np.random.default_rng(NETWORKS_SEED)
    archs = [SPACE.decode(row) for row in SPACE.sample(rng, setting["networks"])]
    found = [each for name in setting["runtimes"] if (each := measured(name, archs))]
    if not found:
        raise ValueError("none of these runtimes is installed: pip install 'platform-aware-nas[openvino,litert,ncnn]'")
    for title, rows, name in (
        ("Tables of the space of Accel-NASBench, against networks of no fit", off(found), "runtimes"),
        ("The zoo, ms", of_the_zoo(found), "runtimes_zoo"),
        ("The best network for one runtime, run with another", best(found, setting["points"]), "runtimes_best"),
    ):
        tables.show(title, rows, tables.named(name, setting, DEFAULTS), origin=origin, width=200)


def measured(runtime: str, archs: list[Arch]) -> Measured | None:
    """What the machine takes with a runtime; None, and a line, if it is not installed."""
    try:
        how = identity(runtime=runtime)
    except ValueError as e:
        new_console().print(f"{runtime} is left out: {e}")
        return None
    units, samples = schedule.units_and_samples(SPACE)
    with tempfile.TemporaryDirectory() as folder:
        table = build("host", units, samples, Path(folder) / "host.json", how=how, progress=True)
    published = [zoo.get(name) for name in zoo.names()]
    with bench(how) as machine:
        turns = [machine.time_networks([*archs, *published], bursts=BURSTS) for _ in range(TURNS)]
    ms = np.median([[timing.ms for timing in turn] for turn in turns], axis=0)
    return Measured(name=how.runtime, model=LatencyModel(table), ms=ms[: len(archs)], zoo_ms=ms[len(archs) :])


def off(found: list[Measured]) -> list[dict[str, str]]:
    """How far off each table is on the random networks."""
    rng = np.random.default_rng(NETWORKS_SEED)
    points = SPACE.sample(rng, len(found[0].ms))
    rows = []
    for each in found:
        predicted_ms = each.model.latency_ms_batch(SPACE, points)
        errors = predicted_ms / each.ms - 1
        intervals = [each.model.interval_ms(SPACE.decode(row)) for row in points]
        covered = [its[0] <= ms <= its[1] for its, ms in zip(intervals, each.ms, strict=True) if its]
        rows.append(
            {
                "runtime": each.name,
                "mean error %": f"{100 * np.abs(errors).mean():.2f}",
                "largest %": f"{100 * np.abs(errors).max():.2f}",
                "bias %": f"{100 * errors.mean():.2f}",
                "its own, left out %": f"{100 * each.model.error.mape:.2f}" if each.model.error else "",
                "in 90 % interval": f"{np.mean(covered):.0%}" if covered else "",
                "tau of the table": f"{kendall_tau(predicted_ms, each.ms):.3f}",
                "tau with the first": f"{kendall_tau(each.ms, found[0].ms):.3f}",
                "median ms": f"{np.median(each.ms):.2f}",
            }
        )
    return rows


def of_the_zoo(found: list[Measured]) -> list[dict[str, str]]:
    rows = [
        {"network": name} | {each.name: f"{each.zoo_ms[i]:.2f}" for each in found} for i, name in enumerate(zoo.names())
    ]
    taus = {each.name: f"{kendall_tau(each.zoo_ms, found[0].zoo_ms):.3f}" for each in found}
    return [*rows, {"network": "tau with the first"} | taus]


def best(found: list[Measured], n: int) -> list[dict[str, str]]:
    points = SPACE.sample(np.random.default_rng(POINTS_SEED), n)
    top1 = Surrogate.load().top1(points)
    ms = {each.name: each.model.latency_ms_batch(SPACE, points) for each in found}
    share = {name: its / np.median(its) for name, its in ms.items()}
    winners = {name: int(np.where(its <= 1, top1, 0).argmax()) for name, its in share.items()}
    rows = []
    for name, winner in winners.items():
        row = {"best for": name, "top-1 %": f"{100 * top1[winner]:.2f}"}
        for other, its in share.items():
            below = 100 * (top1[winners[other]] - top1[winner])
            row |= {f"below, {other}": f"{below:.2f}", f"LAT/TAR, {other}": f"{its[winner]:.3f}"}
        rows.append(row)
    return rows


if __name__ == "__main__":
    options.run(main)

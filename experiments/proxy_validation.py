"""Which short training ranks networks as a longer one does? `python -m experiments.proxy_validation`

Random networks of the default space, all within a fifth of the target's latency, are trained for long (`reference`
epochs on all images) with several seeds, and in cheaper ways: fewer epochs, fewer images, smaller images. Kendall's tau
between a cheap ranking (one seed) and that of the long one (the mean of the other seeds), averaged over seeds, with its
deviation, estimated from halves of the networks; beside it the ceiling, what another long training says.

    python -m experiments.proxy_validation [networks=16] [seeds=2] [reference=12] [dataset=cifar10 path=FOLDER]
                                           [space=mobilenet_v3] [images=5000] [trainings=EPOCHSxIMAGES,...]
                                           [device=cuda]

`images` is what the longest training sees. On a GPU several trainings share it, and a training's seconds are its share.
A training is recorded in runs/proxy_validation/ when it is done; the same command continues, also with more networks or
seeds. Prints a table, and writes proxy_validation_<dataset>.csv and .png (with the space, if it is not the default one,
and the device, if it is not the CPU, in their names) to experiments/results.
"""

import multiprocessing
import os
import sys
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

import latency_luts
from experiments import options, provenance, tables
from latency_luts.validate import kendall_tau
from nas.report import plots
from nas.training import sources
from nas.training.datasets import Dataset
from nas.training.recipe import Recipe
from nas.training.trainer import Trainer
from nas_runtime.run import Run
from search_spaces import spaces
from search_spaces.arch import Arch
from search_spaces.space import SearchSpace

RUNS = Path("runs/proxy_validation")
DEFAULTS = {
    "networks": 16,
    "seeds": 2,
    "reference": 12,
    "images": 5000,
    "trainings": ("",),
    "space": "mnasnet",
    "dataset": "fashion_mnist_mini",
    "path": "",
    "device": "cpu",
}
WIDTHS = {"mnasnet": 0.35, "mobilenet_v3": 0.375}
"""Base widths at which random networks take about the target's latency: the median of 20,000 is 16.6 and 17.1 ms on a
Pixel 1. No other width of `mobilenet_v3` is nearer: below 0.375 its first stages have 8 filters only, and 13.1 ms."""
ON_A_GPU = 8  # trainings at a time
BAND = (0.8, 1.2)  # of the target's latency
TARGET_MS = 15.8
NETWORKS_SEED = 2
SMALL_PX = {"fashion_mnist_mini": 20, "cifar10": 24}
ALLOWED = {"dataset": SMALL_PX, "space": WIDTHS, "device": ("cpu", "cuda")}


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """A way to train.

    Attributes:
        px: images are resized to it; None: as they are.
    """

    epochs: int
    images: int
    px: int | None = None

    def __str__(self) -> str:
        return f"{self.epochs} epoch{'s' * (self.epochs > 1)} of {self.images}" + (
            f" at {self.px} px" if self.px else ""
        )


@dataclass(frozen=True, kw_only=True)
class Where:
    """What networks are trained on."""

    dataset: str
    path: str
    space: str = "mnasnet"
    device: str = "cpu"

    def __str__(self) -> str:
        unusual = (name for name in (self.space, self.device) if name not in ("mnasnet", "cpu"))
        return "_".join((self.dataset, *unusual))

    @property
    def records(self) -> str:
        """Names what is recorded of these networks: of another base width than the first one, others."""
        width = WIDTHS[self.space]
        return str(self) if width == WIDTHS["mnasnet"] else f"{self}-{width:g}"

    @property
    def search_space(self) -> SearchSpace:
        return spaces.get(self.space, base_width=WIDTHS[self.space])


def main() -> None:
    given = options.read(DEFAULTS, ALLOWED)
    networks, seeds, most = given["networks"], given["seeds"], given["images"]
    where = Where(**{name: given[name] for name in ("dataset", "path", "space", "device")})
    if networks < 4 or seeds < 2:
        sys.exit(f"error: networks={networks} seeds={seeds}; there must be at least 4 networks and 2 seeds")
    reference = Proxy(epochs=given["reference"], images=most)
    proxies = _chosen(given["trainings"]) or [
        *(Proxy(epochs=epochs, images=most) for epochs in (1, 2, 4, 8)),
        *(Proxy(epochs=epochs, images=most // 2) for epochs in (2, 4, 8)),
        *(Proxy(epochs=epochs, images=most // 5) for epochs in (4, 8)),
        *(Proxy(epochs=epochs, images=most, px=SMALL_PX[where.dataset]) for epochs in (2, 4, 8)),
    ]
    proxies = [proxy for proxy in proxies if proxy != reference]
    jobs = [(proxy, i, seed) for proxy in (reference, *proxies) for i in range(networks) for seed in range(seeds)]
    with provenance.recording(RUNS) as run:
        known = trained(run, jobs, where)
    top1 = {
        p: np.array([[known[p, i, s][0] for s in range(seeds)] for i in range(networks)]) for p in (*proxies, reference)
    }
    seconds = {p: float(np.median([known[p, i, s][1] for i in range(networks) for s in range(seeds)])) for p in top1}
    rows = []
    for proxy in sorted(top1, key=seconds.__getitem__):
        tau, deviation = tau_of(top1[proxy], top1[reference])
        own = top1[proxy]
        rows.append(
            {
                "training": "the reference" if proxy == reference else str(proxy),
                "s a network": f"{seconds[proxy]:.1f}",
                "tau": f"{tau:.2f}",
                "+-": f"{deviation:.2f}",
                "top-1 %": f"{100 * own.mean():.1f}",
                "between networks": f"{100 * own.mean(axis=1).std(ddof=1):.2f}",
                "between seeds": f"{100 * np.sqrt(own.var(axis=1, ddof=1).mean()):.2f}",
            }
        )
    origin = provenance.of(f"networks {NETWORKS_SEED}, trainings 0 to {seeds - 1}", device=where.device, runs=(RUNS,))
    _show(where, networks, reference, rows, origin)


def _chosen(trainings: tuple[str, ...]) -> list[Proxy]:
    """Trainings by what the command line calls them: ``4x5000``."""
    proxies = []
    for name in filter(None, trainings):
        epochs, _, images = name.partition("x")
        if not (epochs.isdecimal() and images.isdecimal() and int(epochs) and int(images)):
            sys.exit(f"error: trainings={name}; it must be epochs x images, like 4x5000")
        proxies.append(Proxy(epochs=int(epochs), images=int(images)))
    return proxies


def tau_of(cheap: np.ndarray, long: np.ndarray) -> tuple[float, float]:
    """Mean tau of one cheap training (networks, seeds) with the mean of the long ones of other seeds, and its deviation
    estimated from halves of the networks."""
    seeds = cheap.shape[1]

    def tau(rows: np.ndarray) -> float:
        others = [np.delete(long[rows], s, axis=1).mean(axis=1) for s in range(seeds)]
        return float(np.mean([kendall_tau(cheap[rows, s].tolist(), others[s].tolist()) for s in range(seeds)]))

    rng = np.random.default_rng(0)
    half = [rng.permutation(len(cheap))[: len(cheap) // 2] for _ in range(200)]
    return tau(np.arange(len(cheap))), float(np.std([tau(rows) for rows in half]) / np.sqrt(2))


def _show(where: Where, networks: int, reference: Proxy, rows: list[dict[str, str]], origin: dict[str, str]) -> None:
    about = f"{networks} networks of {where.space} around {TARGET_MS} ms on {where.dataset}"
    title = f"{about}: tau with {reference.epochs} epochs of {reference.images} images (other seeds)"
    path = tables.RESULTS / f"proxy_validation_{where}.csv"
    tables.show(title, rows, path, origin=origin)
    figure, axes = plots.new_figure()
    for i, row in enumerate(rows):  # in the order of their seconds
        x, y = float(row["s a network"]), float(row["tau"])
        color = plots.BEST if row["training"] == "the reference" else plots.INK
        axes.errorbar(x, y, yerr=float(row["+-"]), fmt="o", color=color, lw=1)
        axes.annotate(row["training"], (x, y), xytext=(4, 14 - 9 * (i % 4)), textcoords="offset points", fontsize=7)
    axes.set_xscale("log")
    axes.set_xticks(ticks := [2, 3, 5, 10, 20, 30, 50, 100], labels=map(str, ticks))
    axes.minorticks_off()
    seconds = [float(row["s a network"]) for row in rows]
    axes.set_xlim(0.85 * min(seconds), 1.5 * max(seconds))
    axes.set_xlabel("seconds a network, " + ("one core" if where.device == "cpu" else "its share of one GPU"))
    axes.set_ylabel("Kendall's tau with the longer training")
    axes.set_title(title, loc="left", fontsize=9)
    plots.save(figure, path.with_suffix(".png"))


# ---- the trainings


def trained(
    run: Run, jobs: list[tuple[Proxy, int, int]], where: Where
) -> dict[tuple[Proxy, int, int], tuple[float, float]]:
    """(top-1, seconds) of `jobs` (training, network, seed) and of all others that are recorded."""
    records = run.records(f"{where.records}.jsonl", "proxy_validation")
    known = {
        (Proxy(epochs=r["epochs"], images=r["images"], px=r["px"]), r["network"], r["seed"]): (r["top1"], r["seconds"])
        for r in records.records
    }
    with pool(where) as processes:
        trainings = {processes.submit(_train, *job, where): job for job in jobs if job not in known}
        for i, training in enumerate(as_completed(trainings), 1):
            proxy, network, seed = job = trainings[training]
            known[job] = top1, seconds = training.result()
            records.append({**asdict(proxy), "network": network, "seed": seed, "top1": top1, "seconds": seconds})
            if i % 20 == 0:
                print(f"{i} of {len(trainings)} trainings", flush=True)
    return known


def pool(where: Where) -> Executor:
    """A process for each core, or several that share a GPU (side by side if CUDA's MPS runs, else in turns); new ones,
    since torch's threads do not survive a fork."""
    processes = len(os.sched_getaffinity(0)) if where.device == "cpu" else ON_A_GPU
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))


def _train(proxy: Proxy, number: int, seed: int, where: Where) -> tuple[float, float]:
    data = _data(where, proxy.images, proxy.px)
    trainer = Trainer(data=data, recipe=Recipe(epochs=proxy.epochs), device=where.device)
    evaluation = trainer.evaluate(network(number, where.space), rng_seed=seed)
    return evaluation.top1, evaluation.seconds / (1 if where.device == "cpu" else ON_A_GPU)


@cache
def _data(where: Where, images: int, px: int | None) -> Dataset:
    path = Path(where.path) if where.path else None
    return sources.load(where.dataset, path=path, train_images=images, resolution_px=px)


@cache
def network(number: int, space_name: str = "mnasnet") -> Arch:
    """A random network of the space within the band, always the same for a number."""
    space, latency = spaces.get(space_name, base_width=WIDTHS[space_name]), latency_luts.load("pixel1")
    drawn = map(space.decode, space.sample(np.random.default_rng(NETWORKS_SEED), 40 * (number + 1)))
    low_ms, high_ms = (TARGET_MS * share for share in BAND)
    return [arch for arch in drawn if low_ms <= latency.latency_ms(arch) <= high_ms][number]


if __name__ == "__main__":
    options.run(main)

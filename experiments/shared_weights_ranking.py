"""Do shared weights rank networks as trainings of their own do? `python -m experiments.shared_weights_ranking`

The networks of `experiments.proxy_validation` (random ones of the default space, all within a fifth of the target's
latency), each trained by itself for 12 epochs with several seeds, are evaluated with weights that the whole space
shares. Kendall's tau between the two, with its deviation estimated from halves of the networks, for several ways to
train the shared weights:

    phases      the largest network, then block-wise alignment, then random networks (`nas.supernet.train`)
    no_align    the largest network, then random networks
    random      random networks from the start
    own         as phases, but each size of kernel has weights of its own

    python -m experiments.shared_weights_ranking [variants=phases,no_align,random,own] [epochs=100] [networks=16]
                                                 [seeds=2] [dataset=cifar10 path=FOLDER]

Beside it, from the records of proxy_validation where there are any: what short trainings of the networks say, and what
another long training says (the ceiling). Trainings are recorded in runs/; the same command continues. Prints a table,
and writes shared_weights_ranking_<dataset>.csv to experiments/results.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import latency_luts
from experiments import options, proxy_validation, tables
from experiments.proxy_validation import TARGET_MS, Proxy, network, tau_of, trained
from nas.evaluators.proxy_training import ProxyTraining
from nas.evaluators.shared_weights import SharedWeights
from nas.executor import SerialExecutor
from nas.run_dir import read_json, write_json
from nas.supernet.phases import PHASES, Phase
from nas.supernet.prepare import SharedPlan, prepare
from nas.training import sources
from nas.training.recipe import Recipe
from search_spaces import spaces

RESULTS = Path(__file__).parent / "results"
RUNS = Path("runs/shared_weights_ranking")
DEFAULTS = {
    "variants": ("phases", "no_align", "random", "own"),
    "epochs": 100,
    "networks": 16,
    "seeds": 2,
    "dataset": "fashion_mnist_mini",
    "path": "",
}
SHARES = {"phases": (0.1, 0.2, 0.7), "no_align": (0.3, 0, 0.7), "random": (0, 0, 1), "own": (0.1, 0.2, 0.7)}
LRS = (3e-3, 3e-3, 1e-3)
REFERENCE_EPOCHS = 12
IMAGES = 5000


def main() -> None:
    given = options.read(DEFAULTS, {"variants": SHARES, "dataset": proxy_validation.ALL})
    networks, seeds, epochs = given["networks"], given["seeds"], given["epochs"]
    if networks < 4 or seeds < 2:
        sys.exit(f"error: networks={networks} seeds={seeds}; there must be at least 4 networks and 2 seeds")
    reference = Proxy(epochs=REFERENCE_EPOCHS, images=IMAGES)
    jobs = [(reference, i, seed) for i in range(networks) for seed in range(seeds)]
    known = trained(jobs, given["dataset"], given["path"])
    long = np.array([[known[reference, i, s][0] for s in range(seeds)] for i in range(networks)])
    rows = []
    for proxy in sorted({job[0] for job in known}, key=lambda p: (p.epochs * p.images, p.px or 0)):
        if all((proxy, i, s) in known for i in range(networks) for s in range(seeds)):
            top1 = np.array([[known[proxy, i, s][0] for s in range(seeds)] for i in range(networks)])
            seconds = float(np.median([known[proxy, i, s][1] for i in range(networks) for s in range(seeds)]))
            what = "by itself, the same again" if proxy == reference else f"by itself, {proxy}"
            rows.append(_row(what, seconds, top1.mean(axis=1), tau_of(top1, long)))
    for variant in given["variants"]:
        top1, seconds = _shared(variant, epochs, networks, given)
        tau = tau_of(np.repeat(top1[:, None], seeds, axis=1), long)
        rows.append(_row(f"shared, {variant}, {epochs} epochs in all", seconds, top1, tau))
    _show(given, rows)


def _row(what: str, seconds: float, top1: np.ndarray, tau: tuple[float, float]) -> dict[str, str]:
    return {
        "evaluation": what,
        "s": f"{seconds:.1f}",
        "tau": f"{tau[0]:.2f}",
        "+-": f"{tau[1]:.2f}",
        "top-1 %": f"{100 * top1.mean():.1f}",
        "between networks": f"{100 * top1.std(ddof=1):.2f}",
    }


def _shared(variant: str, epochs: int, networks: int, given: dict[str, Any]) -> tuple[np.ndarray, float]:
    """Top-1 of the networks with shared weights, and the seconds that their training took."""
    folder = RUNS / f"{given['dataset']}-{variant}-{epochs}"
    path = folder / "top1.json"
    record = read_json(path) or {"seconds": 0.0, "top1": []}
    if len(record["top1"]) < networks:
        folder.mkdir(parents=True, exist_ok=True)
        space, latency = spaces.get("mnasnet", base_width=0.35), latency_luts.load("pixel1")
        data = sources.load(given["dataset"], path=Path(given["path"]) if given["path"] else None, train_images=IMAGES)
        trainer = ProxyTraining(data=data, recipe=Recipe())
        plan = SharedPlan(
            recipe=Recipe(epochs=epochs),
            phases={
                name: Phase(share=share, lr=lr) for name, share, lr in zip(PHASES, SHARES[variant], LRS, strict=True)
            },
            kernels="own" if variant == "own" else "centre",
            band=0.5,
            images=2000,
            bn_images=512,
        )
        start = time.perf_counter()
        weights, _ = prepare(
            folder,
            plan,
            space=space,
            latency=latency,
            target_ms=TARGET_MS,
            trainer=trainer,
            rng_seed=0,
            threads=len(os.sched_getaffinity(0)),
            console=Console(highlight=False, width=120),
        )
        record["seconds"] = max(record["seconds"], time.perf_counter() - start)
        evaluator = SharedWeights(
            key=str(folder),
            space=space,
            weights=SerialExecutor().share(weights),
            trainer=trainer,
            kernels=plan.kernels,
            images=plan.images,
            bn_images=plan.bn_images,
        )
        record["top1"] = [evaluator.evaluate(network(i)).top1 for i in range(networks)]
        write_json(path, record)
    return np.array(record["top1"][:networks]), record["seconds"]


def _show(given: dict[str, Any], rows: list[dict[str, str]]) -> None:
    title = (
        f"{given['networks']} networks around {TARGET_MS} ms on {given['dataset']}: tau with {REFERENCE_EPOCHS} epochs "
        "by themselves; s: of one network, or of the shared weights' training"
    )
    tables.show(title, rows, RESULTS / f"shared_weights_ranking_{given['dataset']}.csv")


if __name__ == "__main__":
    main()

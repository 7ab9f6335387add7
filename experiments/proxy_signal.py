"""Does a short training tell networks apart? `python -m experiments.proxy_signal`

Trains random networks of the default space several times with different seeds, and compares the spread between networks
(the deviation of their means, less what the seeds explain) with the spread between seeds of one network. A proxy whose
networks differ no more than its seeds teaches a controller nothing. The goal is a ratio of 3.

    python -m experiments.proxy_signal [networks=20] [seeds=3] [epochs=4] [images=5000] [batch=64] [lr=0.0015]
                                       [min_px=2] [crop_px=0] [dropout=0]

Prints one line a network, and writes the spreads to experiments/results/proxy_signal.csv (options that are not the
defaults are in its name).
"""

import os
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from experiments import options, provenance, tables
from nas.training import sources
from nas.training.recipe import Recipe
from nas.training.trainer import Trainer
from search_spaces import spaces, zoo
from search_spaces.arch import Arch

NETWORKS_SEED = 11  # not 1: the learning rate was chosen on the networks of 1
DEFAULTS = {"networks": 20, "seeds": 3, "epochs": 4, "images": 5000, "batch": 64, "lr": 1.5e-3}
DEFAULTS |= {"min_px": 2, "crop_px": 0, "dropout": 0.0}


def main() -> None:
    setting = options.read(DEFAULTS)
    space = spaces.get("mnasnet", base_width=0.35)
    rows = space.sample(np.random.default_rng(NETWORKS_SEED), setting["networks"])
    archs = [space.decode(row) for row in rows]
    references = [zoo.get("mobilenet_v3_small"), zoo.get("mnasnet_small"), zoo.get("mobilenet_v2", width=0.35)]
    jobs = [(setting, arch, seed) for arch in [*archs, *references] for seed in range(setting["seeds"])]
    start = time.perf_counter()
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        answers = list(pool.map(_evaluate, jobs))
    top1 = np.array([a[0] for a in answers]).reshape(-1, setting["seeds"])
    seconds = np.array([a[1] for a in answers])
    for name, row in zip([f"random {i}" for i in range(len(archs))] + [a.name for a in references], top1, strict=True):
        print(f"{name:24s} {' '.join(f'{100 * x:5.1f}' for x in row)}   mean {100 * row.mean():5.1f}")

    sampled = top1[: len(archs)]
    between_seeds = np.sqrt(sampled.var(axis=1, ddof=1).mean())
    variance_of_means = sampled.mean(axis=1).var(ddof=1)
    between_networks = np.sqrt(max(0.0, variance_of_means - between_seeds**2 / setting["seeds"]))
    figures = {
        **setting,
        "between_networks_points": round(100 * between_networks, 2),
        "between_seeds_points": round(100 * between_seeds, 2),
        "ratio": round(between_networks / between_seeds, 2),
        "median_seconds_a_network": round(float(np.median(seconds)), 1),
        "minutes": round((time.perf_counter() - start) / 60, 1),
    }
    print(", ".join(f"{name} {value}" for name, value in figures.items()))
    seeds_are = f"networks {NETWORKS_SEED}, trainings 0 to {setting['seeds'] - 1}"
    tables.write([figures], tables.named("proxy_signal", setting, DEFAULTS), origin=provenance.of(seeds_are))


def _evaluate(job: tuple[dict, Arch, int]) -> tuple[float, float]:
    setting, arch, seed = job
    data = sources.load("fashion_mnist_mini", train_images=setting["images"])
    recipe = Recipe(epochs=setting["epochs"], batch=setting["batch"], lr=setting["lr"], crop_px=setting["crop_px"])
    trainer = Trainer(data=data, recipe=recipe, min_px=setting["min_px"], dropout=setting["dropout"])
    evaluation = trainer.evaluate(arch, rng_seed=seed)
    return evaluation.top1, evaluation.seconds


if __name__ == "__main__":
    options.run(main)

"""What CUDA graphs and several trainings at a time are worth on a GPU: `python -m experiments.gpu_throughput`

Random networks of the default space are trained on the embedded data, by single updates and by graphs, one after the
other and side by side (threads, each with a stream of its own). Prints updates a second of all together; the making of
the graphs is part of the time. Then the same with one network and larger batches.

    python -m experiments.gpu_throughput [updates=300] [batches=64,256] [together=1,4,8,16]
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import torch

from experiments import options, tables
from experiments.proxy_validation import network
from nas.evaluators.proxy_training import ProxyTraining
from nas.training import sources
from nas.training.recipe import Recipe
from nas.training.train import new_net, train

DEFAULTS = {"updates": 300, "batches": (64, 256), "together": (1, 4, 8, 16)}


def main() -> None:
    given = options.read(DEFAULTS)
    if not torch.cuda.is_available():
        sys.exit("error: torch finds no GPU on this machine; this experiment is about one")
    data = sources.load("fashion_mnist_mini")
    trainer = ProxyTraining(data=data, recipe=Recipe())
    archs = [trainer.small(network(i)) for i in range(max(given["together"]))]

    def work(i: int, recipe: Recipe) -> None:
        train(new_net(archs[i], rng_seed=0), data.train, data, recipe, rng_seed=0, device="cuda")

    work(0, Recipe(steps=20))  # kernels are loaded
    rows = []
    for batch in given["batches"]:
        recipe = Recipe(steps=given["updates"], batch=batch)
        for together in given["together"]:
            for how, fewest in (("single updates", sys.maxsize), ("graphs", 10)):
                with mock.patch("nas.training.train._FEWEST_GRAPHED", fewest), ThreadPoolExecutor(together) as pool:
                    start = time.perf_counter()
                    list(pool.map(work, range(together), [recipe] * together))
                    torch.cuda.synchronize()
                    seconds = time.perf_counter() - start
                rows.append(
                    {
                        "batch": str(batch),
                        "trainings at a time": str(together),
                        "by": how,
                        "updates a second": f"{together * given['updates'] / seconds:.0f}",
                    }
                )
    title = f"{torch.cuda.get_device_name()}: updates a second, all trainings together"
    tables.show(title, rows, Path(__file__).parent / "results" / "gpu_throughput.csv")


if __name__ == "__main__":
    main()

"""What does it cost to spread trainings over workers? `python -m experiments.executor_scaling [images=2500] [rounds=8]`

The same networks, each trained for one epoch by one thread, in this process one after the other, and on RayExecutor
with 1, 2, 4, ... workers up to the CPUs of this machine; so many networks that each worker of the largest number has
`rounds` of them. `of one process` is how many networks a second there are, against so many times what one process does:
it holds what cores take from each other and what waits at the end, too. Overhead is the time of the workers that no
evaluation took, for each network.

    python -m experiments.executor_scaling [images=2500] [rounds=8]

Prints a table, and writes experiments/results/executor_scaling.csv.
"""

import time
from functools import partial

import numpy as np

from experiments import options, provenance, tables
from nas.executor import Evaluate, SerialExecutor
from nas.executor_ray import RayExecutor
from nas.training import sources
from nas.training.recipe import Recipe
from nas.training.trainer import Trainer
from nas_runtime.cluster import available_cpus
from search_spaces import spaces
from search_spaces.arch import Arch

NETWORKS_SEED = 3


def main() -> None:
    given = options.read({"images": 2500, "rounds": 8})
    data = sources.load("fashion_mnist_mini", train_images=given["images"])
    train = partial(Trainer(data=data, recipe=Recipe(epochs=1)).evaluate, rng_seed=0)
    workers = [n for n in (2**i for i in range(16)) if n <= available_cpus()]
    space = spaces.get("mnasnet", base_width=0.35)
    drawn = space.sample(np.random.default_rng(NETWORKS_SEED), workers[-1] * given["rounds"])
    archs = [space.decode(row) for row in drawn]
    serial = SerialExecutor()
    list(serial.run(train, archs[:1]))  # this process has imported torch, as the workers will have
    serial_s, _ = _seconds(serial, train, archs)
    rows = []
    for number in workers:
        with RayExecutor(workers=number) as executor:
            list(executor.run(train, archs[:number]))  # the workers are up
            taken_s, trained_s = _seconds(executor, train, archs)
        rows.append(
            {
                "workers": str(number),
                "networks a second": f"{len(archs) / taken_s:.2f}",
                "s a training": f"{trained_s / len(archs):.2f}",
                "of one process": f"{serial_s / taken_s / number:.1%}",
                "overhead, ms": f"{1e3 * (number * taken_s - trained_s) / len(archs):.0f}",
            }
        )
    title = f"{len(archs)} networks, each trained for 1 epoch of {given['images']} images"
    origin = provenance.of(f"networks {NETWORKS_SEED}, trainings 0")
    tables.show(title, rows, tables.RESULTS / "executor_scaling.csv", origin=origin)


def _seconds(executor: SerialExecutor | RayExecutor, train: Evaluate, archs: list[Arch]) -> tuple[float, float]:
    """How long it takes until all are trained, and how long their evaluations take together."""
    start = time.perf_counter()
    evaluations = [evaluation for _, evaluation in executor.run(train, archs)]
    taken_s = time.perf_counter() - start
    assert all(evaluation.status == "ok" for evaluation in evaluations)
    return taken_s, sum(evaluation.seconds for evaluation in evaluations)


if __name__ == "__main__":
    options.run(main)

"""What does it cost to spread evaluations? `python -m experiments.executor_scaling [seconds=0.5] [rounds=16]`

An evaluator that only sleeps, on RayExecutor with 1, 2, 4 and 8 workers, `rounds` evaluations for each worker: networks
a second against so many times what one process without Ray does. Overhead is what an evaluation takes a worker beyond
its sleep. Also the search loop itself: a sample of a search whose evaluator takes no time, journal included. Prints
tables; executor_scaling.csv goes to experiments/results.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from rich.table import Table

import latency_luts
from experiments import options, provenance, tables
from nas import controllers
from nas.evaluators.surrogate import Surrogate
from nas.executor import SerialExecutor
from nas.executor_ray import RayExecutor
from nas.journal import Journal
from nas.loop import search
from nas.reward import Reward
from nas.trial import Evaluation
from nas_runtime.console import new_console
from search_spaces import spaces
from search_spaces.arch import Arch

WORKERS = (1, 2, 4, 8)
SAMPLES = 1000


class Sleeping:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, arch: Arch) -> Evaluation:
        time.sleep(self.seconds)
        return Evaluation(top1=0.5)


def main() -> None:
    given = options.read({"seconds": 0.5, "rounds": 16})
    seconds, rounds = given["seconds"], given["rounds"]
    space = spaces.get("accel_nasbench")
    archs = [space.decode(row) for row in space.sample(np.random.default_rng(0), max(WORKERS) * rounds)]
    serial_s = _seconds(SerialExecutor(), Sleeping(seconds), archs[:rounds]) / rounds
    rows = []
    for workers in WORKERS:
        with RayExecutor(workers=workers, num_cpus=0.125) as executor:
            evaluate = Sleeping(seconds)
            list(executor.run(evaluate, archs[:workers]))  # the workers are up
            taken = _seconds(executor, evaluate, archs[: workers * rounds])
        rate = workers * rounds / taken
        rows.append(
            {
                "workers": str(workers),
                "networks a second": f"{rate:.2f}",
                "of linear": f"{rate * serial_s / workers:.1%}",
                "overhead, ms": f"{1e3 * (taken / rounds - seconds):.1f}",
            }
        )
    _show(f"An evaluator that sleeps {seconds:g} s", rows)
    tables.write(rows, tables.RESULTS / "executor_scaling.csv", origin=provenance.of("networks 0"))
    loops = [{"controller": name, "ms a sample": f"{_loop_ms(name):.2f}"} for name in controllers.names()]
    _show(f"The loop: {SAMPLES} samples, batch 8, surrogate, journal", loops)


def _seconds(executor: SerialExecutor | RayExecutor, evaluate: Sleeping, archs: list[Arch]) -> float:
    start = time.perf_counter()
    assert all(evaluation.status == "ok" for _, evaluation in executor.run(evaluate, archs))
    return time.perf_counter() - start


def _loop_ms(name: str) -> float:
    space = spaces.get("accel_nasbench")
    latency = latency_luts.load("pixel1")
    with tempfile.TemporaryDirectory() as folder:
        controller = controllers.make(name, space, rng_seed=0)
        start = time.perf_counter()
        search(
            space=space,
            controller=controller,
            evaluate=Surrogate.load().evaluate,
            latency_ms=latency.latency_ms,
            reward=Reward(name="soft", target_ms=51),
            samples=SAMPLES,
            journal=Journal(Path(folder) / "journal.jsonl", space.decode),
        )
        return 1e3 * (time.perf_counter() - start) / SAMPLES


def _show(title: str, rows: list[dict[str, str]]) -> None:
    table = Table(title=title, title_justify="left")
    for column in rows[0]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row.values())
    new_console().print(table)


if __name__ == "__main__":
    options.run(main)

"""NetAdapt's proposals on an executor, and the naive way. `python -m experiments.netadapt_parallel`

The same work both ways: the proposals of MnasNet-A1's first step (8 updates of 64 images, then 2,000 images of the
holdout). The naive way is that of the official implementation: one process a proposal, one after the other, each of
which imports torch, reads the data set and the parent's weights, and saves what it fine-tuned; torch may use all CPUs.
Ours are Ray tasks with the data and the parent's weights in the object store, one thread each. The start of Ray is
counted too, once, as in a whole adaptation of `steps` steps.

    python -m experiments.netadapt_parallel [proposals=22] [rounds=3] [steps=15]

Rounds alternate. Prints medians, and writes experiments/results/netadapt_parallel.csv.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from experiments import options, provenance, tables
from nas.evaluators.proxy_training import ProxyTraining
from nas.executor import SerialExecutor
from nas.executor_ray import RayExecutor
from nas.training import datasets, sources
from nas.training.recipe import Recipe
from netadapt import weights
from netadapt.fine_tune import FineTune, Train
from netadapt.propose import propose
from search_spaces import cost, text, zoo
from search_spaces.arch import Arch

DEFAULTS = {"proposals": 22, "rounds": 3, "steps": 15}
UPDATES, HOLDOUT_IMAGES, LR = 8, 2000, 3e-4  # as conf/netadapt.yaml


def main() -> None:
    setting = options.read(DEFAULTS)
    archs = _proposals(setting["proposals"])
    seconds: dict[str, list[float]] = {"naive": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        parent_file = Path(folder) / "parent.safetensors"
        parent = _parent(zoo.get("mnasnet_a1"))
        weights.save(parent, parent_file)
        start = time.perf_counter()
        with RayExecutor() as executor:
            evaluator = executor.share(_evaluator(threads=1))
            list(executor.run(_task(evaluator, executor.share(parent)), archs[:2]))  # worker processes have started
            start_s = time.perf_counter() - start
            for number in range(setting["rounds"]):
                start = time.perf_counter()
                ours = dict(executor.run(_task(evaluator, executor.share(parent)), archs))
                seconds["ours"].append(time.perf_counter() - start)
                start = time.perf_counter()
                naive = [_in_a_process(arch, parent_file, Path(folder)) for arch in archs]
                seconds["naive"].append(time.perf_counter() - start)
                apart = max(abs(ours[i].top1 - top1) for i, top1 in enumerate(naive))
                print(f"round {number + 1}: {seconds['naive'][-1]:.1f} s and {seconds['ours'][-1]:.1f} s; "
                      f"top-1 differ by at most {apart:.2%} (one thread or several)")  # fmt: skip
    naive_s, ours_s = (statistics.median(seconds[way]) for way in ("naive", "ours"))
    whole = setting["steps"] * naive_s / (setting["steps"] * ours_s + start_s)
    figures = {
        **setting,
        "cpus": len(os.sched_getaffinity(0)),
        "naive_s_a_proposal": round(naive_s / len(archs), 2),
        "ours_s_a_proposal": round(ours_s / len(archs), 2),
        "ratio": round(naive_s / ours_s, 1),
        "start_of_ray_s": round(start_s, 1),
        "ratio_of_whole_adaptations": round(whole, 1),
    }
    print(", ".join(f"{name} {value}" for name, value in figures.items()))
    tables.write([figures], tables.RESULTS / "netadapt_parallel.csv", origin=provenance.of("trainings 0"))


def _proposals(n: int) -> list[Arch]:
    seed = zoo.get("mnasnet_a1")
    return [p.arch for p in propose(seed, cost.madds, cut_ms=0.01 * cost.madds(seed))][:n]


def _evaluator(threads: int) -> ProxyTraining:
    data = sources.load("fashion_mnist_mini")
    data = replace(data, holdout=datasets.part(data.holdout, HOLDOUT_IMAGES))
    return ProxyTraining(data=data, recipe=Recipe(), threads=threads)


def _parent(arch: Arch) -> weights.TrainedNet:
    """`arch` after a few updates: weights as good as any for timing."""
    evaluator = SerialExecutor().share(_evaluator(threads=1))
    return Train(evaluator=evaluator, recipe=Recipe(steps=4), rng_seed=0)(arch).state


def _task(evaluator, parent) -> FineTune:
    return FineTune(
        evaluator=evaluator, parent=parent, recipe=Recipe(steps=UPDATES, lr=LR, warmup=0.0), how="l2", rng_seed=0
    )


def _in_a_process(arch: Arch, parent: Path, folder: Path) -> float:
    (folder / "proposal.json").write_text(text.to_json(arch))
    done = subprocess.run(
        [sys.executable, "-c", "from experiments.netadapt_parallel import worker; worker()", str(folder), str(parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def worker() -> None:
    """The naive way's process: reads everything, fine-tunes one proposal, saves it, prints its top-1."""
    folder, parent = map(Path, sys.argv[1:])
    arch = text.from_json((folder / "proposal.json").read_text())
    share = SerialExecutor().share
    evaluator = _evaluator(threads=len(os.sched_getaffinity(0)))
    evaluation = _task(share(evaluator), share(weights.load(parent)))(arch)
    weights.save(evaluation.state, folder / "proposal.safetensors")
    print(evaluation.top1)


if __name__ == "__main__":
    options.run(main)

"""NetAdapt's proposals as Ray tasks, and in a process each. `python -m experiments.netadapt_parallel`

The same work both ways: the proposals of MnasNet-A1's first step (8 updates of 64 images, then 2,000 images of the
holdout), as many at a time as there are CPUs, one thread each. The master of the official implementation
(github.com/denru01/netadapt, master.py) launches a process a proposal, one a GPU at a time: `processes` do so with CPUs
instead of GPUs; each imports torch, reads the data set and the parent's weights, and saves what it fine-tuned. `tasks`
are Ray's, with the data and the parent's weights in the object store. The start of Ray is counted too, once, as in a
whole adaptation of `steps` steps.

    python -m experiments.netadapt_parallel [proposals=22] [rounds=3] [steps=15]

Rounds alternate. Prints medians, and writes experiments/results/netadapt_parallel.csv.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from experiments import options, provenance, tables
from nas.executor import SerialExecutor
from nas.executor_ray import RayExecutor
from nas.training import datasets, sources
from nas.training.recipe import Recipe
from nas.training.trainer import Trainer
from nas_runtime.cluster import available_cpus
from netadapt import weights
from netadapt.fine_tune import FineTune, Train
from netadapt.propose import propose
from search_spaces import cost, text, zoo
from search_spaces.arch import Arch

PARENT = "parent.safetensors"
DEFAULTS = {"proposals": 22, "rounds": 3, "steps": 15}
UPDATES, HOLDOUT_IMAGES, LR = 8, 2000, 3e-4  # as conf/netadapt.yaml


def main() -> None:
    setting = options.read(DEFAULTS)
    archs = _proposals(setting["proposals"])
    seconds: dict[str, list[float]] = {"processes": [], "tasks": []}
    cpus = available_cpus()
    with tempfile.TemporaryDirectory() as folder:
        parent = _parent(zoo.get("mnasnet_a1"))
        weights.save(parent, Path(folder) / PARENT)
        start = time.perf_counter()
        with RayExecutor() as executor, ThreadPoolExecutor(cpus) as processes:
            trainer = executor.share(_trainer())
            list(executor.run(_task(trainer, executor.share(parent)), archs[:cpus]))  # worker processes have started
            start_s = time.perf_counter() - start
            for number in range(setting["rounds"]):
                start = time.perf_counter()
                tasks = dict(executor.run(_task(trainer, executor.share(parent)), archs))
                seconds["tasks"].append(time.perf_counter() - start)
                start = time.perf_counter()
                alone = list(processes.map(_in_a_process, archs, [Path(folder)] * len(archs), range(len(archs))))
                seconds["processes"].append(time.perf_counter() - start)
                apart = max(abs(tasks[i].top1 - top1) for i, top1 in enumerate(alone))
                print(f"round {number + 1}: {seconds['processes'][-1]:.1f} s and {seconds['tasks'][-1]:.1f} s; "
                      f"top-1 differ by at most {apart:.2%}")  # fmt: skip
    processes_s, tasks_s = (statistics.median(own) for own in seconds.values())
    whole = setting["steps"] * processes_s / (setting["steps"] * tasks_s + start_s)
    figures = {
        **setting,
        "processes, s a proposal": round(processes_s / len(archs), 2),
        "tasks, s a proposal": round(tasks_s / len(archs), 2),
        "ratio": round(processes_s / tasks_s, 1),
        "ratios of the rounds": ", ".join(
            f"{a / b:.1f}" for a, b in zip(seconds["processes"], seconds["tasks"], strict=True)
        ),
        "start of Ray, s": round(start_s, 1),
        "ratio of whole adaptations": round(whole, 1),
    }
    print(", ".join(f"{name} {value}" for name, value in figures.items()))
    tables.write([figures], tables.RESULTS / "netadapt_parallel.csv", origin=provenance.of("trainings 0"))


def _proposals(n: int) -> list[Arch]:
    seed = zoo.get("mnasnet_a1")
    return [p.arch for p in propose(seed, cost.madds, cut_ms=0.01 * cost.madds(seed))][:n]


def _trainer() -> Trainer:
    data = sources.load("fashion_mnist_mini")
    data = replace(data, holdout=datasets.part(data.holdout, HOLDOUT_IMAGES))
    return Trainer(data=data, recipe=Recipe())


def _parent(arch: Arch) -> weights.TrainedNet:
    """`arch` after a few updates: weights as good as any for timing."""
    trainer = SerialExecutor().share(_trainer())
    return Train(trainer=trainer, recipe=Recipe(steps=4), rng_seed=0)(arch).state


def _task(trainer, parent) -> FineTune:
    return FineTune(
        trainer=trainer, parent=parent, recipe=Recipe(steps=UPDATES, lr=LR, warmup=0.0), inherit="l2", rng_seed=0
    )


def _in_a_process(arch: Arch, folder: Path, number: int) -> float:
    (folder / f"{number}.json").write_text(text.to_json(arch))
    done = subprocess.run(
        [sys.executable, "-c", "from experiments.netadapt_parallel import worker; worker()", str(folder), str(number)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def worker() -> None:
    """A process of one proposal: reads everything, fine-tunes it, saves it, prints its top-1."""
    folder, number = Path(sys.argv[1]), sys.argv[2]
    arch = text.from_json((folder / f"{number}.json").read_text())
    share = SerialExecutor().share
    evaluation = _task(share(_trainer()), share(weights.load(folder / PARENT)))(arch)
    weights.save(evaluation.state, folder / f"{number}.safetensors")
    print(evaluation.top1)


if __name__ == "__main__":
    options.run(main)

"""Do shared weights rank networks as trainings of their own do? `python -m experiments.shared_weights_ranking`

The networks of `experiments.proxy_validation` (random ones of the default space, all within a fifth of the target's
latency), each trained by itself for 12 epochs with several seeds, are evaluated with weights that the whole space
shares. Kendall's tau between the two, with its deviation estimated from halves of the networks, for several ways to
train the shared weights:

    phases      the largest network, then block-wise alignment, then random networks (`nas.supernet.train`)
    no_align    the largest network, then random networks
    random      random networks from the start
    own         as phases, but each size of kernel has weights of its own
    long_align  as phases, half of all updates for the alignment
    align_only  the largest network, then alignment alone
    random_fast as random, with a higher learning rate

What they say of a network is its top-1 with inherited weights, its top-1 after 100 more updates by itself, and, after
an alignment, how much its parts compute what the largest one's do. With more=8, the networks are also ranked by their
top-1 after 8 epochs that go on from the shared weights, as the final trainings of a search do.

    python -m experiments.shared_weights_ranking [variants=phases,no_align,random,own] [epochs=100] [networks=16]
                                                 [seeds=2] [reference=12] [images=5000] [batch=64] [more=8]
                                                 [space=mobilenet_v3] [dataset=cifar10 path=FOLDER] [device=cuda]

Beside it, from the records of proxy_validation where there are any: what short trainings of the networks say, and what
another long training says (the ceiling). Trainings are recorded in runs/; the same command continues. Prints a table,
and writes shared_weights_ranking_<dataset>.csv (with the space, if it is not the default one, the device, if it is not
the CPU, and more=, if it is given, in its name) to experiments/results.
"""

import os
import sys
import time
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

import latency_luts
from experiments import options, provenance, proxy_validation, tables
from experiments.proxy_validation import NETWORKS_SEED, TARGET_MS, Proxy, Where, network, tau_of, trained
from nas.executor import SerialExecutor
from nas.supernet.evaluator import SharedWeights
from nas.supernet.phases import PHASES, Phase
from nas.supernet.prepare import FILE, Problem, SharedPlan, prepare
from nas.supernet.train import Teacher, unlike
from nas.training import on_gpu, sources
from nas.training.recipe import Recipe
from nas.training.train import normalise, top1, train
from nas.training.trainer import Trainer
from nas_runtime.console import new_console
from nas_runtime.files import read_json, write_json
from nas_runtime.records import Records
from search_spaces import torch_net
from search_spaces.arch import Arch

RUNS = Path("runs/shared_weights_ranking")
DEFAULTS = {
    "variants": ("phases", "no_align", "random", "own"),
    "epochs": 100,
    "networks": 16,
    "seeds": 2,
    "reference": 12,
    "images": 5000,
    "batch": 64,
    "more": 0,
    "space": "mnasnet",
    "dataset": "fashion_mnist_mini",
    "path": "",
    "device": "cpu",
}


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A way to train shared weights: the phases' shares and learning rates, and settings of
    `nas.supernet.prepare.SharedPlan`."""

    shares: tuple[float, float, float] = (0.1, 0.2, 0.7)
    lrs: tuple[float, float, float] = (3e-3, 3e-3, 1e-3)
    kernels: str = "centre"

    @property
    def phases(self) -> dict[str, Phase]:
        return {name: Phase(share=share, lr=lr) for name, share, lr in zip(PHASES, self.shares, self.lrs, strict=True)}


VARIANTS = {
    "phases": Variant(),
    "no_align": Variant(shares=(0.3, 0, 0.7)),
    "random": Variant(shares=(0, 0, 1)),
    "random_fast": Variant(shares=(0, 0, 1), lrs=(0, 0, 3e-3)),
    "own": Variant(kernels="own"),
    "long_align": Variant(shares=(0.15, 0.5, 0.35)),
    "align_only": Variant(shares=(0.2, 0.8, 0)),
}
TUNED = Recipe(steps=100, lr=5e-4)
_TUNING_SEED = 1000  # those that networks are ranked by are trained with 0, 1, ...


@dataclass(frozen=True, kw_only=True)
class Training:
    """Of shared weights."""

    variant: str
    epochs: int
    images: int
    batch: int

    @property
    def folder(self) -> str:
        return f"{self.variant}-{self.epochs}-{self.images}-{self.batch}"


def main() -> None:
    given = options.read(DEFAULTS, {"variants": VARIANTS, **proxy_validation.ALLOWED})
    networks, seeds, epochs = given["networks"], given["seeds"], given["epochs"]
    where = Where(**{name: given[name] for name in ("dataset", "path", "space", "device")})
    if networks < 4 or seeds < 2:
        sys.exit(f"error: networks={networks} seeds={seeds}; there must be at least 4 networks and 2 seeds")
    reference = Proxy(epochs=given["reference"], images=given["images"])
    jobs = [(reference, i, seed) for i in range(networks) for seed in range(seeds)]
    with provenance.recording(proxy_validation.RUNS) as run:
        known = trained(run, jobs, where)
    long = np.array([[known[reference, i, s][0] for s in range(seeds)] for i in range(networks)])
    rows, proxies = [], {}
    for proxy in sorted({job[0] for job in known}, key=lambda p: (p.epochs * p.images, p.px or 0)):
        if all((proxy, i, s) in known for i in range(networks) for s in range(seeds)):
            top1 = np.array([[known[proxy, i, s][0] for s in range(seeds)] for i in range(networks)])
            seconds = float(np.median([known[proxy, i, s][1] for i in range(networks) for s in range(seeds)]))
            what = "by itself, the same again" if proxy == reference else f"by itself, {proxy}"
            proxies[f"by itself, {proxy}"] = top1, seconds
            rows.append(_row(what, seconds, top1.mean(axis=1), tau_of(top1, long)))
    with provenance.recording(RUNS):
        for variant in given["variants"]:
            training = Training(variant=variant, epochs=epochs, images=given["images"], batch=given["batch"])
            rows += _rows_of(training, long, proxies, given["more"], where)
    seeds_are = f"networks {NETWORKS_SEED}, trainings 0 to {seeds - 1}, shared weights 0"
    origin = provenance.of(seeds_are, device=where.device, runs=(proxy_validation.RUNS, RUNS))
    _show(where, networks, reference, given["more"], rows, origin)


def _rows_of(
    training: Training, long: np.ndarray, proxies: dict[str, tuple[np.ndarray, float]], more: int, where: Where
) -> list[dict[str, str]]:
    """What shared weights say of the networks, which are trained if that was not done before.

    Args:
        long: top-1 (networks, seeds) of the networks, each trained by itself for long.
        proxies: the same by other trainings of each by itself, and the seconds that one takes.
        more: epochs of trainings that go on from the shared weights, by which the networks are ranked, too; 0: none.
    """
    networks, seeds = long.shape
    rows, record = [], _shared(training, networks, where)
    for what, values in record["values"].items():
        top1 = np.array(values[:networks])
        tau = tau_of(np.repeat(top1[:, None], seeds, axis=1), long)
        rows.append(_row(f"{training.variant}, {training.epochs} epochs in all: {what}", record["seconds"], top1, tau))
    if more and "inherited weights" in record["values"]:
        onward = f"{more} epoch{'s' * (more > 1)} on from {training.variant}"
        long_on, seconds = _trained_on(training, networks, seeds, more, where)
        rows.append(_row("the same again", seconds, long_on.mean(axis=1), tau_of(long_on, long_on), onward))
        top1 = np.array(record["values"]["inherited weights"][:networks])
        tau = tau_of(np.repeat(top1[:, None], seeds, axis=1), long_on)
        rows.append(_row("inherited weights", record["seconds"], top1, tau, onward))
        for what, (by_itself, seconds) in proxies.items():
            rows.append(_row(what, seconds, by_itself.mean(axis=1), tau_of(by_itself, long_on), onward))
    return rows


def _row(
    what: str, seconds: float, top1: np.ndarray, tau: tuple[float, float], ranked: str = "by itself"
) -> dict[str, str]:
    return {
        "evaluation": what,
        "ranked by training": ranked,
        "s": f"{seconds:.1f}",
        "tau": f"{tau[0]:.2f}",
        "+-": f"{tau[1]:.2f}",
        "top-1 %": f"{100 * top1.mean():.1f}",
        "between networks": f"{100 * top1.std(ddof=1):.2f}",
    }


def _shared(training: Training, networks: int, where: Where) -> dict[str, Any]:
    """What shared weights say of the networks, in several ways, and the seconds that their training took."""
    folder = _folder(training, where)
    path = folder / "values.json"
    record = read_json(path) or {"seconds": 0.0, "values": {}}
    if any(len(values) < networks for values in record["values"].values()) or not record["values"]:
        folder.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        evaluator = _evaluator(training, where)
        record["seconds"] = max(record["seconds"], time.perf_counter() - start)
        archs = [network(i, where.space) for i in range(networks)]
        variant = VARIANTS[training.variant]
        if variant.shares[2]:
            record["values"]["inherited weights"] = [evaluator.evaluate(arch).top1 for arch in archs]
            record["values"][f"after {TUNED.steps} updates"] = [_tuned(evaluator, arch) for arch in archs]
        if variant.shares[1]:
            record["values"]["likeness to the teacher"] = _likeness(evaluator, folder / FILE, archs)
        write_json(path, record)
    return record


def _folder(training: Training, where: Where) -> Path:
    return RUNS / f"{where.records}-{training.folder}"


@cache
def _evaluator(training: Training, where: Where) -> SharedWeights:
    """What evaluates with the shared weights, which are trained if they are not there."""
    data = sources.load(where.dataset, path=Path(where.path) if where.path else None, train_images=training.images)
    trainer, variant = Trainer(data=data, recipe=Recipe(), device=where.device), VARIANTS[training.variant]
    plan = SharedPlan(
        recipe=Recipe(epochs=training.epochs, batch=training.batch),
        phases=variant.phases,
        kernels=variant.kernels,
        band=0.5,
        images=2000,
        bn_images=512,
    )
    weights, _ = prepare(
        _folder(training, where),
        plan,
        Problem(space=where.search_space, latency=latency_luts.load("pixel1"), target_ms=TARGET_MS),
        trainer=trainer,
        rng_seed=0,
        threads=len(os.sched_getaffinity(0)),
        console=new_console(width=120),
    )
    return SharedWeights(
        key=str(_folder(training, where)),
        space=where.search_space,
        weights=SerialExecutor().share(weights),
        trainer=trainer,
        kernels=plan.kernels,
        images=plan.images,
        bn_images=plan.bn_images,
    )


def _trained_on(training: Training, networks: int, seeds: int, epochs: int, where: Where) -> tuple[np.ndarray, float]:
    """Top-1 (networks, seeds) after so many epochs that begin with the shared weights, and what one takes (s)."""
    records = Records(_folder(training, where) / "trained_on.jsonl", "trained_on")
    known = {(r["epochs"], r["network"], r["seed"]): (r["top1"], r["seconds"]) for r in records.records}
    keys = [(epochs, i, seed) for i in range(networks) for seed in range(seeds)]
    _evaluator(training, where)  # trains them, if they were removed, once
    with proxy_validation.pool(where) as processes:
        runs = {processes.submit(_train_on, training, *key, where): key for key in keys if key not in known}
        for run in as_completed(runs):
            known[runs[run]] = top1, seconds = run.result()
            names = dict(zip(("epochs", "network", "seed"), runs[run], strict=True))
            records.append({**names, "top1": top1, "seconds": seconds})
    values = np.array([known[key] for key in keys]).reshape(networks, seeds, 2)
    return values[..., 0], float(np.median(values[..., 1]))


def _train_on(training: Training, epochs: int, number: int, seed: int, where: Where) -> tuple[float, float]:
    evaluator = _evaluator(training, where)
    evaluator = replace(evaluator, trainer=replace(evaluator.trainer, recipe=Recipe(epochs=epochs)))
    start = time.perf_counter()
    evaluation = evaluator.trained_on(network(number, where.space), rng_seed=seed)
    seconds = time.perf_counter() - start
    return evaluation.top1, seconds / (1 if where.device == "cpu" else proxy_validation.ON_A_GPU)


def _tuned(evaluator: SharedWeights, arch: Arch) -> float:
    """Top-1 of a network whose training begins with its shared weights."""
    trainer = evaluator.trainer
    net = torch_net.build(trainer.small(arch))
    net.load_state_dict(evaluator.inherited(arch))
    train(net, trainer.data.train, trainer.data, TUNED, rng_seed=_TUNING_SEED, device=trainer.device)
    return top1(net, trainer.data.holdout, trainer.data, device=trainer.device)


def _likeness(evaluator: SharedWeights, checkpoint: Path, archs: list[Arch]) -> list[float]:
    """For each network 1 - the mean of how unlike its parts are to the teacher's, on images of the holdout, which is
    how DNA (arXiv:1911.13053) ranks networks."""
    trainer, net = evaluator.trainer, evaluator._supernet()
    data, device = trainer.data, trainer.device

    def route(arch: Arch):
        return net.route(arch, trainer.small(arch))

    with safe_open(checkpoint, framework="pt") as file:
        named = {name: file.get_tensor(name) for name in file.keys() if name.startswith("teacher/")}  # noqa: SIM118
    weights = {name.removeprefix("teacher/"): value for name, value in named.items()}
    batches = [normalise(torch.from_numpy(data.holdout.images[i : i + 500]), data, device) for i in range(0, 2000, 500)]
    with torch.inference_mode(), on_gpu.many_shapes(device, data.resolution_px):
        teacher = Teacher(route(evaluator.space.decode(evaluator.space.largest)), weights, iter(batches), device)
        return [1 - float(np.mean([unlike(net, route(arch), x, teacher).item() for x in batches])) for arch in archs]


def _show(
    where: Where, networks: int, reference: Proxy, more: int, rows: list[dict[str, str]], origin: dict[str, str]
) -> None:
    about = f"{networks} networks of {where.space} around {TARGET_MS} ms on {where.dataset}"
    title = f"{about}: tau with {reference} by itself, or others; s: of one network, or of the shared weights' training"
    path = tables.RESULTS / f"shared_weights_ranking_{where}{f'_more{more}' * (more > 0)}.csv"
    tables.show(title, rows, path, origin=origin)


if __name__ == "__main__":
    options.run(main)

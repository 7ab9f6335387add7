"""What does a short look at a NetAdapt proposal tell about it? `python -m experiments.proposal_looks`

Takes all proposals of a network's first step, fine-tunes each of them long (the reference: `long` updates, twice, with
different images), and asks how well cheaper looks rank them: no fine-tuning at all, or a few updates, measured on a
part of the holdout or on all of it, and successive halving between them.

    python -m experiments.proposal_looks [seed=mnasnet_a1] [redesign=] [long=100] [epochs=6] [delta=0.01]

An evaluation is recorded in runs/proposal_looks/ when it is done; the same command continues. Prints a table, and
writes it to experiments/results/proposal_looks.csv (options that are not the defaults are in its name). For each look:
Kendall's tau between its ranking (`ratio`) and the reference's; where in the reference the proposal stands that it
would keep; and what that one gains, in points of the reference's accuracy for one percent of the latency, over a
proposal drawn at random. A perfect look has place 1 and the gain of the row `reference`.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import latency_luts
from experiments import options, provenance, tables
from nas.executor import Shared
from nas.executor_ray import RayExecutor
from nas.training import datasets, sources
from nas.training.recipe import Recipe
from nas.training.trainer import Trainer
from nas.trial import Evaluation
from nas_runtime.run import Run
from netadapt import seed as seeds
from netadapt.fine_tune import FineTune, measured_top1
from netadapt.propose import Proposal, propose, ranking
from netadapt.weights import TrainedNet
from search_spaces import redesign
from search_spaces.arch import Arch

RUNS = Path("runs/proposal_looks")
DEFAULTS = {"seed": "mnasnet_a1", "redesign": "", "long": 100, "epochs": 6, "delta": 0.01}
LOOKS = {0: 1, 4: 3, 8: 3, 16: 2, 32: 1}  # updates: repetitions
PARTS = (500, 1000, 2000, 6000)
LR = 3e-4  # as conf/netadapt.yaml


@dataclass(frozen=True, kw_only=True)
class Look:
    """Fine-tunes, and carries the top-1 on each of `PARTS`."""

    trainer: Shared
    fine_tune: FineTune

    def __call__(self, arch: Arch) -> Evaluation:
        evaluation = self.fine_tune(arch)
        trainer: Trainer = self.trainer.get()
        holdout = trainer.data.holdout
        parts = [measured_top1(evaluation.state, trainer, datasets.part(holdout, n)) for n in PARTS[:-1]]
        return replace(evaluation, state=[*parts, evaluation.top1])


def main() -> None:
    setting = options.read(DEFAULTS, {"redesign": ("", "mobilenet_v3", *redesign.REDESIGNS)})
    trainer = Trainer(data=sources.load("fashion_mnist_mini"), recipe=Recipe(epochs=setting["epochs"]))
    redesigns = [setting["redesign"]] if setting["redesign"] else []
    seed = seeds.Seed(arch=seeds.named(setting["seed"], width=1.0, redesigns=redesigns).arch)
    parent = seeds.trained_net(seed, trainer, trainer.recipe, threads=2, rng_seed=0)
    latency_ms = latency_luts.load("pixel1").latency_ms
    seed_ms = latency_ms(seed.arch)
    cut_ms = setting["delta"] * seed_ms
    proposals = propose(seed.arch, latency_ms, cut_ms=cut_ms, kinds=("expansion", "bottleneck"))
    parts_top1 = [measured_top1(parent, trainer, datasets.part(trainer.data.holdout, n)) for n in PARTS]
    print(f"{seed.arch.name}: {seed_ms:.1f} ms, top-1 {parent.top1:.2%}, {len(proposals)} proposals")
    with provenance.recording(RUNS) as run:
        done = looked(run, setting, trainer, parent, proposals)
    report(setting, proposals, done, parts_top1, seed_ms)


def looked(
    run: Run, setting: dict, trainer: Trainer, parent: TrainedNet, proposals: list[Proposal]
) -> dict[tuple[int, int, str], list[float]]:
    """The top-1 on each of `PARTS` by (updates, seed of the images, group) of all looks and the reference."""
    name = "-".join(str(v) for v in setting.values() if v != "")
    records = run.records(f"{name}.jsonl", "proposal looks")
    done = {(r["updates"], r["rng_seed"], r["group"]): r["top1"] for r in records.records}
    with RayExecutor() as executor:
        shared, net = executor.share(trainer), executor.share(parent)
        for updates, repetitions in {setting["long"]: 2, **LOOKS}.items():
            for rng_seed in range(repetitions):
                # the reference sees other images than the looks
                data_seed = rng_seed + (1000 if updates == setting["long"] else 0)
                todo = [p for p in proposals if (updates, data_seed, p.group) not in done]
                recipe = Recipe(steps=updates, lr=LR, warmup=0.0) if updates else None
                tune = FineTune(trainer=shared, parent=net, recipe=recipe, inherit="l2", rng_seed=data_seed)
                start = time.perf_counter()
                for i, evaluation in executor.run(Look(trainer=shared, fine_tune=tune), [p.arch for p in todo]):
                    if evaluation.status != "ok":
                        raise RuntimeError(evaluation.note)
                    record = {"updates": updates, "rng_seed": data_seed, "group": todo[i].group}
                    records.append(record | {"top1": evaluation.state, "seconds": evaluation.seconds})
                    done[updates, data_seed, todo[i].group] = evaluation.state
                if todo:
                    print(f"{updates} updates, images {data_seed}: {time.perf_counter() - start:.0f} s", flush=True)
    return done


def report(setting: dict, proposals: list[Proposal], done: dict, parent: list[float], seed_ms: float) -> None:
    def values(updates: int, data_seed: int, part: int) -> list[float]:
        return [done[updates, data_seed, p.group][part] for p in proposals]

    full = len(PARTS) - 1
    both = np.array([values(setting["long"], s, full) for s in (1000, 1001)])
    saved = np.array([100 * p.saved_ms / seed_ms for p in proposals])  # percent of the latency
    long = [Long(top1=top1, parent=parent[full], proposals=proposals, saved=saved) for top1 in (*both, both.mean(0))]
    *halves, reference = long
    # a half is judged by the other half, which it is no part of
    rows = [
        row("reference", [reference.order], [reference]),
        row("one half of the reference, by the other", [half.order for half in halves], halves[::-1]),
    ]
    for updates, repetitions in LOOKS.items():
        for part, images in enumerate(PARTS):
            orders = [ranking(proposals, values(updates, s, part), parent[part]) for s in range(repetitions)]
            rows.append(row(f"{updates} updates, {images} images", orders, [reference] * repetitions))
    for first, then in ((0, 8), (4, 16), (0, 16)):
        for part, images in ((1, 1000), (2, 2000)):
            orders = []
            for s in range(LOOKS[then]):
                early = ranking(proposals, values(first, min(s, LOOKS[first] - 1), part), parent[part])
                half = set(early[: -(-len(early) // 2)])
                orders.append([i for i in ranking(proposals, values(then, s, part), parent[part]) if i in half])
            name = f"halved after {first}, then {then} updates, {images} images"
            rows.append(row(name, orders, [reference] * LOOKS[then]))
    title = f"{setting['seed']} {setting['redesign']}: looks at the proposals of step 1, delta={setting['delta']:g}"
    origin = provenance.of("the seed's training 0; looks 0 to 2, the reference 1000 and 1001", runs=(RUNS,))
    tables.show(title, rows, tables.named("proposal_looks", setting, DEFAULTS), origin=origin)


@dataclass(frozen=True, kw_only=True)
class Long:
    """What the proposals came to after a long fine-tuning.

    Attributes:
        top1: (proposals,) and `parent`, their parent's.
        saved: (proposals,) percent of the latency.
    """

    top1: np.ndarray
    parent: float
    proposals: list[Proposal]
    saved: np.ndarray

    @property
    def order(self) -> list[int]:
        return ranking(self.proposals, self.top1.tolist(), self.parent)

    @property
    def worth(self) -> np.ndarray:
        """(proposals,) points of accuracy for one percent of the latency."""
        return 100 * (self.top1 - self.parent) / self.saved


def row(look: str, orders: Sequence[list[int]], judges: Sequence[Long]) -> dict[str, str]:
    """What a look is worth: its orders of the proposals, the best first, one a repetition, each by its judge."""
    taus, places, gains = [], [], []
    for order, judge in zip(orders, judges, strict=True):
        place = {i: k for k, i in enumerate(judge.order)}
        if len(order) == len(place):
            taus.append(_tau([place[i] for i in order]))
        places.append(1 + place[order[0]])
        gains.append(judge.worth[order[0]] - judge.worth.mean())
    return {
        "look": look,
        "tau": f"{np.mean(taus):.2f}" if taus else "",
        "place": f"{np.mean(places):.1f} of {len(judges[0].proposals)}",
        "gain": f"{np.mean(gains):+.2f}",
    }


def _tau(places: list[int]) -> float:
    """Kendall's tau between an order and the places that its items have in another order."""
    a = np.array(places)
    above = np.sign(a[None, :] - a[:, None])[np.triu_indices(len(a), 1)]
    return float(above.mean())


if __name__ == "__main__":
    options.run(main)

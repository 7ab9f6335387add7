"""What does a short look at a proposal tell, where a network has real weights? `python -m experiments.picture_looks`

Takes all proposals of the first step of a network that a run has trained on pictures, as `netadapt.run` would for this
machine or another; fine-tunes each of them long (the reference: `long` updates, twice, with different images), and
asks how well cheaper looks rank them: of how many updates, with batch norms' statistics as they are inherited or taken
anew of some images, by the accuracy or by the loss on how many images of the holdout.

    python -m experiments.picture_looks seed=runs/lite0 [device=host] [px=96] [long=24] [delta=0.01] [inherit=l2]

An evaluation is recorded in runs/picture_looks/ when it is done; the same command continues. Prints a table, and writes
it to experiments/results/picture_looks.csv (options that are not the defaults are in its name). Columns are those of
`experiments.proposal_looks`, and the images a proposal that a look takes, forward and backward: a look at one counts as
0.3. Gains are by the reference's accuracy, whatever a look goes by.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from experiments import options, provenance, tables
from experiments.proposal_looks import Long, row
from nas.estimate import INFERENCE_SHARE
from nas.executor import Shared
from nas.executor_ray import RayExecutor
from nas.training import datasets
from nas.training.datasets import Dataset, Split
from nas.training.trainer import Trainer
from nas.trial import Evaluation
from nas_runtime.compose import compose, plain
from nas_runtime.console import new_console
from nas_runtime.options import read
from nas_runtime.run import Run
from netadapt import seed as seeds
from netadapt.fine_tune import FineTune, tensors_of
from netadapt.importance import by_images
from netadapt.options import NetadaptOptions
from netadapt.plan import Plan, read_plan
from netadapt.propose import Proposal, propose, ranking
from netadapt.weights import BY_IMAGES, IMPORTANCE_IMAGES, INHERIT, TrainedNet
from search_spaces.arch import Arch

RUNS = Path("runs/picture_looks")
DEFAULTS = {"seed": "", "device": "host", "px": 96, "long": 24, "delta": 0.01, "inherit": "l2"}
# updates and images for batch norms' statistics (0: as they are inherited): repetitions
LOOKS = {(0, 0): 1, (0, 256): 1, (0, 1024): 1, (2, 256): 1, (4, 256): 1, (8, 0): 1, (8, 256): 1}
REFERENCE = 256  # images for its batch norms' statistics
PARTS = (250, 500, 10_000)  # images of the holdout; the last are all
BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Look:
    """Fine-tunes, and carries whether each image of the holdout is right, and its loss: lists (images,)."""

    trainer: Shared
    fine_tune: FineTune

    def __call__(self, arch: Arch) -> Evaluation:
        evaluation = self.fine_tune(arch)
        trainer: Trainer = self.trainer.get()
        return replace(evaluation, state=answers(evaluation.state, trainer.data.holdout, trainer.data))


def answers(net: TrainedNet, split: Split, data: Dataset) -> tuple[list[int], list[float]]:
    """Of each image of `split`, whether `net` is right (1 or 0), and its loss."""
    import torch
    from torch.nn.functional import cross_entropy

    from nas.training.train import normalise
    from search_spaces.torch_net import Net

    module = Net(net.arch)
    module.load_state_dict(tensors_of(net.weights))
    module.eval()
    right, losses = [], []
    with torch.inference_mode():
        for start in range(0, len(split), 50):
            x = normalise(torch.from_numpy(split.images[start : start + 50]), data, "cpu")
            y = torch.from_numpy(split.labels[start : start + 50])
            logits = module(x)
            right += (logits.argmax(1) == y).int().tolist()
            losses += cross_entropy(logits, y, reduction="none").tolist()
    return right, [round(loss, 5) for loss in losses]


def main() -> None:
    setting = options.read(DEFAULTS, {"inherit": INHERIT}, needed=("seed",))
    asked = [f"{name}={setting[name]}" for name in ("seed", "device", "delta", "inherit")]
    asked.append(f"evaluator.resolution_px={setting['px']}")
    plan = read_plan(read(NetadaptOptions, plain(compose("netadapt", asked)), asked))
    console = new_console()
    trainer = plan.trainer.on(seeds.normalised(plan.seed, plan.data.load(console, plan.facts)))
    latency_ms = plan.latency.latency_ms
    seed_ms = latency_ms(plan.seed.arch)
    proposals = propose(plan.seed.arch, latency_ms, cut_ms=plan.rule.cut_ms(1, seed_ms), kinds=plan.rule.kinds)
    with provenance.recording(RUNS) as run:
        parent = seeds.tuned_net(
            seeds.given_net(plan.seed, trainer), trainer, plan.fine_tune, norm_images=REFERENCE, threads=2, rng_seed=0
        )
        console.print(f"{plan.seed.arch.name}: {seed_ms:.2f} ms, {parent.top1:.2%}, {len(proposals)} proposals")
        done = looked(run, setting, plan, trainer, parent, proposals)
    its = answers(parent, trainer.data.holdout, trainer.data)
    report(setting, proposals, done, its, seed_ms)


def looked(
    run: Run, setting: dict, plan: Plan, trainer: Trainer, parent: TrainedNet, proposals: list[Proposal]
) -> dict[tuple, tuple[list[int], list[float]]]:
    """The `answers` by (updates, images for statistics, seed of the images, group) of all looks and the reference."""
    name = "-".join(Path(str(value)).name for value in setting.values())
    records = run.records(f"{name}.jsonl", "picture looks")
    done = {tuple(record["of"]): record["answers"] for record in records.records}
    # the reference sees other images than the looks
    wanted = {(*look, seed): None for look, repetitions in LOOKS.items() for seed in range(repetitions)}
    wanted |= {(setting["long"], REFERENCE, seed): None for seed in (1000, 1001)}
    weighed = None
    if setting["inherit"] in BY_IMAGES:
        its = tensors_of(parent.weights)
        weighed = by_images(parent.arch, its, trainer.data, by=setting["inherit"], images=IMPORTANCE_IMAGES)
    with RayExecutor() as executor:
        shared, net = executor.share(trainer), executor.share(parent)
        unseen = replace(trainer.data, holdout=datasets.part(trainer.data.holdout, 1))  # a look measures by itself
        tuned = executor.share(replace(trainer, data=unseen))
        importance = None if weighed is None else executor.share(weighed)
        for updates, norm_images, seed in wanted:
            todo = [p for p in proposals if (updates, norm_images, seed, p.group) not in done]
            tune = FineTune(
                trainer=tuned,
                parent=net,
                recipe=replace(plan.fine_tune, steps=updates) if updates else None,
                inherit=setting["inherit"],
                importance=importance,
                norm_images=norm_images or None,
                rng_seed=seed,
            )
            start = time.perf_counter()
            for i, evaluation in executor.run(Look(trainer=shared, fine_tune=tune), [p.arch for p in todo]):
                if evaluation.status != "ok":
                    raise RuntimeError(evaluation.note)
                of = (updates, norm_images, seed, todo[i].group)
                records.append({"of": list(of), "answers": evaluation.state, "seconds": evaluation.seconds})
                done[of] = evaluation.state
            if todo:
                print(f"{updates} updates, {norm_images}, {seed}: {time.perf_counter() - start:.0f} s", flush=True)
    return done


def report(setting: dict, proposals: list[Proposal], done: dict, parent: tuple, seed_ms: float) -> None:
    right, losses = map(np.array, parent)

    def values(look: tuple[int, int, int], images: int, *, by_loss: bool) -> list[float]:
        each = [done[(*look, p.group)][by_loss] for p in proposals]
        means = [float(np.mean(part_of(values, images))) for values in each]
        return [-mean for mean in means] if by_loss else means

    saved = np.array([100 * p.saved_ms / seed_ms for p in proposals])  # percent of the latency
    both = np.array([values((setting["long"], REFERENCE, s), PARTS[-1], by_loss=False) for s in (1000, 1001)])
    tops = (*both, both.mean(0))
    *halves, reference = [Long(top1=top1, parent=right.mean(), proposals=proposals, saved=saved) for top1 in tops]
    rows = [
        row("reference", [reference.order], [reference]),
        row("one half of the reference, by the other", [half.order for half in halves], halves[::-1]),
    ]
    for (updates, norm_images), repetitions in LOOKS.items():
        for images in PARTS:
            held = min(images, len(right))
            for by_loss, word in ((False, "accuracy"), (True, "loss")):
                its = float(np.mean(part_of(-losses if by_loss else right, images)))
                orders = [
                    ranking(proposals, values((updates, norm_images, s), images, by_loss=by_loss), its)
                    for s in range(repetitions)
                ]
                name = f"{updates} updates, statistics of {norm_images or 'the parent'}, {word} on {held}"
                cost = updates * BATCH + INFERENCE_SHARE * (norm_images + held)
                rows.append({**row(name, orders, [reference] * repetitions), "images": f"{cost:.0f}"})
    for each in rows[:2]:
        each["images"] = ""
    title = f"{setting['seed']}: looks at the {len(proposals)} proposals of step 1, delta={setting['delta']:g}"
    origin = provenance.of("the seed's tuning 0; looks 0, the reference 1000 and 1001", runs=(RUNS,))
    tables.show(title, rows, tables.named("picture_looks", {**setting, "seed": ""}, DEFAULTS), origin=origin)


def part_of(values, images: int) -> np.ndarray:
    """`images` of the values, evenly spaced, as `nas.training.datasets.part` takes them."""
    array = np.asarray(values, dtype=np.float64)
    return array[np.linspace(0, len(array) - 1, min(images, len(array))).astype(np.int64)]


if __name__ == "__main__":
    options.run(main)

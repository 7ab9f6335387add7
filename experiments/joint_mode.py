"""What does each rule of mode=joint contribute? `python -m experiments.joint_mode`

Weights and policy are trained together (`nas.supernet.policy`), by TuNAS's rules or without one of them, several times
each with another seed:

    published       all of them; the reward is `absolute` with the project's beta, -0.2, for TuNAS's -0.1
    other_network   another network of the policy gives the reward, not the one that was just trained
    small_reward    a reward takes as many images as a training batch, not four times as many
    no_warmup       in the first quarter, operators are not averaged, and filters are not the largest
    no_delay        as no_warmup, and the policy learns from the first update on

Of each training the most likely network is taken, as TuNAS does: its latency, its top-1 with the shared weights, and
its top-1 and reward after a training of its own from scratch, all on the holdout; beside them random networks within a
fifth of the target. "Undecided" is the policy's entropy, as a share of that of a policy that has learnt nothing; "seeds
agree" the share of the choices in which two seeds took the same option, of those that matter in both networks, beside
what chance makes of it. ± is a 95 % interval of the mean (Student's t) over seeds.

    python -m experiments.joint_mode [variants=published,other_network,...] [seeds=4] [epochs=6] [images=5000]
                                     [batch=64] [reference=4] [space=mobilenet_v3] [dataset=cifar10 path=FOLDER]
                                     [device=cuda]

`epochs` of `images` are the updates of the shared weights, `reference` the epochs of the training from scratch. After a
few hundred updates at TuNAS's learning rate a policy is nearly as undecided as before; a few thousand are a test. On
one core 1,000 updates of 64 images of 32 px take about 6 minutes with the warm-up, 2 without. Trainings are recorded in
runs/joint_mode/; the same command continues, also with more seeds. Prints a table, and writes joint_mode.csv (with the
options that were not the defaults, but for variants, in its name) to experiments/results.
"""

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

import latency_luts
from experiments import options, provenance, proxy_validation, tables
from experiments.intervals import half_width
from experiments.proxy_validation import TARGET_MS, Where, network
from experiments.shared_weights_ranking import VARIANTS as PHASES_OF
from nas.executor import SerialExecutor
from nas.reward import Reward
from nas.seeds import final_seed
from nas.supernet.evaluator import SharedWeights
from nas.supernet.phases import Joint
from nas.supernet.prepare import Problem, SharedPlan, prepare
from nas.training import sources
from nas.training.recipe import Recipe
from nas.training.trainer import Trainer
from nas_runtime.console import counted, new_console
from nas_runtime.files import read_json, write_json
from search_spaces.arch import Arch

RUNS = Path("runs/joint_mode")
RANDOM = "random networks"
REWARD = Reward(name="absolute", target_ms=TARGET_MS)
VARIANTS = {
    "published": Joint(),
    "other_network": Joint(same_network=False),
    "small_reward": Joint(reward_batches=1),
    "no_warmup": Joint(warmup=0),
    "no_delay": Joint(warmup=0, delay=0),
}
DEFAULTS = {
    "variants": tuple(VARIANTS),
    "seeds": 4,
    "epochs": 6,
    "images": 5000,
    "batch": 64,
    "reference": 4,
    "space": "mobilenet_v3",
    "dataset": "fashion_mnist_mini",
    "path": "",
    "device": "cpu",
}
_PHASES = {"mnasnet": "phases", "mobilenet_v3": "random_fast"}  # names in `experiments.shared_weights_ranking`
_CHANCES = 200  # networks


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all trainings have in common."""

    where: Where
    epochs: int
    images: int
    batch: int
    reference: int

    @property
    def folder(self) -> Path:
        return RUNS / f"{self.where.records}-{self.epochs}-{self.images}-{self.batch}-{self.reference}"


def main() -> None:
    given = options.read(DEFAULTS, {"variants": VARIANTS, **proxy_validation.ALLOWED})
    where = Where(**{name: given[name] for name in ("dataset", "path", "space", "device")})
    setting = Setting(where=where, **{name: given[name] for name in ("epochs", "images", "batch", "reference")})
    seeds = range(given["seeds"])
    if len(seeds) < 2:
        sys.exit("error: seeds=1; whether seeds agree takes at least 2")
    jobs = [(variant, seed) for seed in seeds for variant in (*given["variants"], RANDOM)]
    with provenance.recording(setting.folder, kind="joint_mode"), proxy_validation.pool(where) as processes:
        for done in as_completed([processes.submit(recorded, setting, *job) for job in jobs]):
            done.result()
    rows = [
        _row(setting, variant, [recorded(setting, variant, seed) for seed in seeds])
        for variant in (*given["variants"], RANDOM)
    ]
    updates = setting.epochs * (setting.images // setting.batch)
    title = (
        f"mode=joint in {where.space} on {where.dataset}: {updates} updates of {setting.batch} images, {len(seeds)} "
        f"seeds; target {TARGET_MS} ms; from scratch: {counted(setting.reference, 'epoch')}"
    )
    named = {name: value for name, value in given.items() if name != "variants"}
    file = tables.named("joint_mode", named, DEFAULTS)
    origin = provenance.of(f"0 to {seeds[-1]}", device=where.device, packages=("torch",), runs=(setting.folder,))
    tables.show(title, rows, file, origin=origin)


def recorded(setting: Setting, variant: str, seed: int) -> dict[str, Any]:
    """What one training came to: ``point``, ``ms``, ``entropy``, ``inherited`` and ``scratch``; trains it once."""
    file = setting.folder / f"{variant}-{seed}.json"
    if (known := read_json(file)) is None:
        known = _random(setting, seed) if variant == RANDOM else _trained(setting, variant, seed)
        write_json(file, known)
    return known


def _trained(setting: Setting, variant: str, seed: int) -> dict[str, Any]:
    """The most likely network of a policy that was trained with the weights."""
    space, latency, trainer = setting.where.search_space, latency_luts.load("pixel1"), _trainer(setting)
    plan = SharedPlan(
        recipe=Recipe(epochs=setting.epochs, batch=setting.batch),
        phases=PHASES_OF[_PHASES[setting.where.space]].phases,
        kernels="own",
        band=0.5,
        images=len(trainer.data.holdout),
        bn_images=512,
        mode="joint",
        joint=VARIANTS[variant],
    )
    folder = setting.folder / f"{variant}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "training.txt").open("a") as text:
        weights, learned = prepare(
            folder,
            plan,
            Problem(space=space, latency=latency, target_ms=TARGET_MS, reward=REWARD),
            trainer=trainer,
            rng_seed=seed,
            threads=1,
            console=new_console(width=120, file=text),
        )
    assert learned
    evaluator = SharedWeights(
        key=str(folder),
        space=space,
        weights=SerialExecutor().share(weights),
        trainer=trainer,
        kernels=plan.kernels,
        images=plan.images,
        bn_images=plan.bn_images,
    )
    point = learned.controller.most_likely()
    arch = space.decode(point)
    undecided = float(np.log([len(choice.options) for choice in space.choices]).sum())
    return {
        "joint": asdict(plan.joint),
        "point": point.tolist(),
        "ms": latency.latency_ms(arch),
        "entropy": float(learned.controller.entropy().sum()) / undecided,
        "inherited": evaluator.evaluate(arch).top1,
        "scratch": _from_scratch(setting, arch, seed),
    }


def _random(setting: Setting, seed: int) -> dict[str, Any]:
    arch = network(seed, setting.where.space)
    return {"ms": latency_luts.load("pixel1").latency_ms(arch), "scratch": _from_scratch(setting, arch, seed)}


def _from_scratch(setting: Setting, arch: Arch, seed: int) -> float:
    return _trainer(setting).evaluate(arch, rng_seed=final_seed(seed)).top1


def _trainer(setting: Setting) -> Trainer:
    path = Path(setting.where.path) if setting.where.path else None
    data = sources.load(setting.where.dataset, path=path, train_images=setting.images)
    return Trainer(data=data, recipe=Recipe(epochs=setting.reference), device=setting.where.device)


def _row(setting: Setting, variant: str, trainings: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    rewards = [REWARD(one["scratch"], one["ms"]) for one in trainings]
    learned = variant != RANDOM
    return {
        "variant": variant,
        "ms": _mean([one["ms"] for one in trainings], digits=1),
        "inherited top-1 %": _mean([100 * one["inherited"] for one in trainings]) if learned else "",
        "from scratch %": _mean([100 * one["scratch"] for one in trainings]),
        "reward": _mean([100 * reward for reward in rewards]),
        "undecided %": _mean([100 * one["entropy"] for one in trainings], digits=0) if learned else "",
        "seeds agree %": f"{100 * (_agreement(setting, trainings) if learned else _chance(setting)):.0f}",
    }


def _mean(values: Sequence[float], digits: int = 1) -> str:
    return f"{np.mean(values):.{digits}f} ± {half_width(values):.{digits}f}"


def _agreement(setting: Setting, trainings: Sequence[Mapping[str, Any]]) -> float:
    """In what share of the choices that matter in both networks two seeds took the same option, on average."""
    points = np.array([one["point"] for one in trainings])
    active = setting.where.search_space.active(points)
    same = [(points[a] == points[b])[active[a] & active[b]].mean() for a, b in combinations(range(len(points)), 2)]
    return float(np.mean(same))


def _chance(setting: Setting) -> float:
    """What `_agreement` is for networks whose options are drawn at random."""
    points = setting.where.search_space.sample(np.random.default_rng(0), _CHANCES)
    return _agreement(setting, [{"point": point} for point in points])


if __name__ == "__main__":
    options.run(main)

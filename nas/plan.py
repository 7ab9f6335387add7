"""The plan of a search: what the command line says, as plain objects, and in words for the person who waits."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.console import Console

import latency_luts
from latency_luts import LatencyModel
from latency_luts.key import key
from nas import reward
from nas.estimate import GPU_AT_A_TIME, gpu_seconds_an_image, machine_factor, training_seconds_an_image
from nas.evaluators.surrogate import Surrogate
from nas.reach import reach
from nas.reward import Reward
from nas.settings import describe_executor, kept_table, read_recipe, read_workers
from nas.supernet.phases import KERNELS, MODES, PHASES, Phase, Workers
from nas.supernet.prepare import SharedPlan
from nas.training.recipe import Recipe
from nas_runtime.settings import Settings, conf_dir
from search_spaces import rewrite, spaces, zoo
from search_spaces.arch import Arch
from search_spaces.space import SearchSpace

__all__ = [
    "REFERENCES",
    "STARTS",
    "Plan",
    "describe",
    "read_latency",
    "read_plan",
    "read_space",
]

REFERENCES = {
    "mobilenet_v3_small": functools.partial(zoo.get, "mobilenet_v3_small"),
    "mnasnet_small": functools.partial(zoo.get, "mnasnet_small"),
    "mobilenet_v2 0.35": functools.partial(zoo.get, "mobilenet_v2", width=0.35),
}


STARTS = ("scratch", "inherited")  # of final trainings
_THREADS_HELP = 0.5  # n threads train one network as fast as n to this power
_INFERENCE_SHARE = 0.3  # of the time that an image takes in training
_FEW_SAMPLES = 1000  # for a policy: `experiments.search_quality`, `experiments.equal_time`
_SURROGATE_S = 0.004  # a sample with its controller, decoding, latency and journal


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A search, as read from the command line.

    Attributes:
        adjust_after: after so many samples the reward is bent so that the search meets its target; None: never.
        recipe: how networks are trained by themselves; None for an evaluator that trains nothing.
        shared: the weights that samples are evaluated with; None: each is trained.
        train_again: whether a network that is sampled again is trained again, with another seed.
        final_epochs: of the final training.
        finalists: so many of the best samples get the final training; the winner is the best of them.
        final_start: one of `STARTS`: what their final trainings begin with.
    """

    space: SearchSpace
    latency: LatencyModel
    target_ms: float
    reward: Reward
    adjust_after: int | None
    samples: int
    batch: int
    recipe: Recipe | None
    shared: SharedPlan | None
    train_again: bool
    final_epochs: int
    finalists: int
    final_start: str
    rng_seed: int
    workers: int

    @property
    def references(self) -> Mapping[str, Callable[[], Arch]]:
        """Published networks that the evaluator can judge: one that trains nothing knows only its space."""
        return REFERENCES if self.recipe else {}

    @property
    def accuracy(self) -> str:
        """What the result's top-1 is, in words."""
        if not self.recipe:
            return "ImageNet top-1 as predicted"
        begun = "; found's begins with the shared weights, the others' from scratch" * (self.final_start == "inherited")
        return f"top-1 on the holdout after the final training of {_epochs(self.final_epochs)}{begun}"

    @property
    def sample_accuracy(self) -> str:
        """What the samples' top-1 is, in words."""
        if not self.recipe:
            return self.accuracy
        how = "with shared weights" if self.shared else f"after {_epochs(self.recipe.epochs)}"
        return f"top-1 on the holdout {how}"

    @property
    def final_recipe(self) -> Recipe | None:
        """Of the final training."""
        return replace(self.recipe, epochs=self.final_epochs) if self.recipe else None


def _epochs(n: int) -> str:
    return f"{n} epoch{'s' * (n > 1)}"


def read_space(settings: Settings) -> SearchSpace:
    if settings.value("target") is None:
        raise ValueError(f"no target: add +target=NAME; there are: {', '.join(_targets())}")
    return spaces.get(
        settings.choice("space.name", spaces.names()),
        base_width=settings.number("space.base_width", above=0, high=4),
        resolution_px=settings.integer("space.resolution_px", low=32),
        classes=settings.integer("space.classes", low=2),
    )


def _targets() -> list[str]:
    return sorted(path.stem for path in (conf_dir() / "target").glob("*.yaml"))


def read_latency(settings: Settings, space: SearchSpace, *, measure: bool) -> LatencyModel:
    """The model of the target's device. For this machine, units that its table lacks are measured first.

    A run that is continued has the table that it began with.
    """
    if kept := kept_table(settings):
        return kept
    device, tables_dir = settings.text("target.device"), settings.path("tables_dir")
    if device == "host" and measure:
        from latency_luts.build import build_for_space

        return build_for_space(space, tables_dir=tables_dir, progress=True)
    return latency_luts.load(device, tables_dir=tables_dir)


def read_plan(settings: Settings, space: SearchSpace, latency: LatencyModel) -> Plan:
    if settings.value("target.target_ms") is not None:
        target_ms = settings.number("target.target_ms", above=0)
    else:
        target_ms = latency.latency_ms(zoo.get(settings.choice("target.like", zoo.names())))
    _check_target(target_ms, space, latency, settings)
    return Plan(
        space=space,
        latency=latency,
        target_ms=target_ms,
        reward=_read_reward(settings, target_ms),
        adjust_after=_read_adjust_after(settings),
        samples=settings.integer("samples", low=1),
        batch=settings.integer("batch", low=1),
        recipe=_read_recipe(settings, space),
        shared=_read_shared(settings, space),
        train_again=_read_train_again(settings),
        final_epochs=settings.integer("final.epochs", low=1),
        finalists=settings.integer("final.networks", low=1),
        final_start=_read_start(settings),
        rng_seed=settings.integer("rng_seed", low=0),
        workers=read_workers(settings),
    )


def _check_target(target_ms: float, space: SearchSpace, latency: LatencyModel, settings: Settings) -> None:
    try:
        low_ms, high_ms = reach(space, latency)
    except latency_luts.MissingUnitsError as e:
        if latency.device == "host":
            return  # they will be measured first
        raise ValueError(
            f"the table of {latency.device} lacks units of this search's networks, as {key(e.units[0])}; build it with "
            f"space={space.name} space.base_width={settings.value('space.base_width')} "
            f"space.resolution_px={settings.value('space.resolution_px')}, or search what it has"
        ) from None
    if target_ms < low_ms:
        raise ValueError(
            f"the target, {target_ms:.3g} ms, is below all networks of this space, which take {low_ms:.3g} to "
            f"{high_ms:.3g} ms; raise target.target_ms or lower space.base_width"
        )


def _read_recipe(settings: Settings, space: SearchSpace) -> Recipe | None:
    if settings.choice("evaluator.name", ("proxy_training", "shared_weights", "surrogate")) != "surrogate":
        return read_recipe(settings)
    if space.name != "accel_nasbench":
        raise ValueError(f"the surrogate knows the networks of space=accel_nasbench only, not of {space.name}")
    return None


def _read_start(settings: Settings) -> str:
    shared = settings.value("evaluator.name") == "shared_weights"
    if settings.value("final.start") is None:
        return "inherited" if shared else "scratch"
    start = settings.choice("final.start", STARTS)
    if start == "inherited" and not shared:
        raise ValueError("final.start=inherited is for evaluator=shared_weights; without, only final.start=scratch")
    return start


def _read_shared(settings: Settings, space: SearchSpace) -> SharedPlan | None:
    mode = settings.choice("mode", MODES)
    if settings.value("evaluator.name") != "shared_weights":
        if mode == "joint":
            raise ValueError(
                "mode=joint is for evaluator=shared_weights, whose weights and controller it trains together"
            )
        return None
    if mode == "joint" and settings.value("adjust_after") is not None:
        raise ValueError("adjust_after is not for mode=joint; reward=absolute lands on the target")
    if mode == "joint" and settings.value("controller.name") not in ("rnn_ppo", "reinforce"):
        raise ValueError(
            f"mode=joint trains controller=reinforce, not {settings.value('controller.name')}; leave controller= out"
        )
    if not space.parts:
        raise ValueError(f"evaluator=shared_weights is for spaces that are made of parts, which {space.name} is not")
    at = "evaluator.shared"
    recipe = replace(
        read_recipe(settings),
        epochs=settings.integer(f"{at}.epochs", low=1),
        batch=settings.integer(f"{at}.batch", low=2),
    )
    shares = {name: settings.number(f"{at}.{name}.share", low=0) for name in PHASES}
    if not sum(shares.values()) or (shares["align"] and not shares["largest"]):
        raise ValueError(
            f"{at}: shares {', '.join(f'{name} {share:g}' for name, share in shares.items())}; allowed: some above 0, "
            "and with align also largest"
        )
    if mode == "joint" and not shares["mixed"]:
        raise ValueError(f"mode=joint learns in the phase mixed; {at}.mixed.share must be above 0")
    return SharedPlan(
        recipe=recipe,
        phases={
            name: Phase(share=share, lr=settings.number(f"{at}.{name}.lr", above=0)) for name, share in shares.items()
        },
        kernels=settings.choice(f"{at}.kernels", KERNELS),
        band=settings.number(f"{at}.band", above=0),
        images=settings.integer(f"{at}.images", low=1),
        bn_images=settings.integer(f"{at}.bn_images", low=2),
        mode=mode,
        policy_lr=settings.number(f"{at}.policy_lr", above=0),
        workers=_read_train_workers(settings),
    )


def _read_train_workers(settings: Settings) -> Workers | None:
    count, batch = settings.integer("ray.train_workers", low=1), settings.integer("evaluator.shared.batch", low=2)
    if count == 1:
        return None
    if batch % count or batch < 2 * count:
        raise ValueError(
            f"ray.train_workers={count} cannot share batches of evaluator.shared.batch={batch} evenly, with 2 images "
            "or more for each; change one of them"
        )
    gpus = settings.number("ray.num_gpus", low=0)
    if gpus not in (0, 1):
        raise ValueError("ray.train_workers takes whole GPUs: ray.num_gpus=1 for each worker, or 0")
    if settings.value("evaluator.device") == "cuda" and not gpus:
        raise ValueError("evaluator.device=cuda with ray.train_workers takes ray.num_gpus=1")
    if settings.value("executor") != "ray":
        raise ValueError(f"ray.train_workers={count} takes executor=ray, not {settings.value('executor')}")
    return Workers(
        count=count,
        num_cpus=settings.number("ray.num_cpus", low=0),
        num_gpus=gpus,
        retries=settings.integer("retries", low=0),
    )


def _read_train_again(settings: Settings) -> bool:
    if settings.choice("duplicates", ("reuse", "train")) == "reuse":
        return False
    if settings.value("evaluator.name") != "proxy_training":
        raise ValueError("duplicates=train is for evaluator=proxy_training: others give the same answer again")
    return True


def _read_reward(settings: Settings, target_ms: float) -> Reward:
    return Reward(
        name=settings.choice("reward", reward.NAMES),
        target_ms=target_ms,
        w=settings.number("w", high=0),
        w_above=None if settings.value("w_above") is None else settings.number("w_above", high=0),
        beta=-settings.number("beta", above=0),
    )


def _read_adjust_after(settings: Settings) -> int | None:
    if settings.value("adjust_after") is None:
        return None
    if settings.value("reward") != "soft":
        raise ValueError(f"adjust_after bends reward=soft, not reward={settings.value('reward')}; leave it out")
    return settings.integer("adjust_after", low=1)


def describe(console: Console, plan: Plan, settings: Settings, data: Mapping[str, Any]) -> None:
    """The plan, in a few lines: also what ``dry_run=true`` prints."""
    rng = np.random.default_rng(0)
    sampled = [plan.space.decode(row) for row in plan.space.sample(rng, 200)]
    try:
        spread = np.quantile([plan.latency.latency_ms(arch) for arch in sampled], (0.05, 0.5, 0.95))
        reach = f"random networks: {spread[0]:.1f} to {spread[2]:.1f} ms, median {spread[1]:.1f}"
    except latency_luts.MissingUnitsError:
        reach = "its units that the table lacks will be measured first"
    adjusted = f"; adjusted after {plan.adjust_after} samples" if plan.adjust_after else ""
    recipe = plan.recipe
    if recipe:
        evaluation = f"{_epochs(recipe.epochs)} of {data['name']} by each of {plan.samples} samples, "
        if plan.shared:
            evaluation = f"{plan.samples} samples with weights shared by all, trained for {plan.shared.recipe.epochs} "
            evaluation += f"epochs of {data['name']}, "
        more = " more" * (plan.final_start == "inherited")
        evaluation += f"then {_epochs(plan.final_epochs)}{more} by the best {plan.finalists}"
        minutes = _estimate_minutes(plan, recipe, settings, data, sampled[:20])
    else:
        evaluation = f"{plan.samples} samples; {Surrogate.load().describe()}"
        minutes = plan.samples * _SURROGATE_S / 60
    on_cluster = settings.value("ray.address") is not None and settings.value("workers") is None
    console.print(
        f"space       {plan.space.name}, {plan.space.size:.3g} networks ({len(plan.space.choices)} choices), "
        f"base width {settings.value('space.base_width')}; {reach}\n"
        f"target      {plan.target_ms:.1f} ms on {plan.latency.describe()}\n"
        f"reward      {plan.reward.describe()}{adjusted}\n"
        f"evaluation  {evaluation}\n"
        f"controller  {_controller(plan, settings)}, learning after every {plan.batch} samples; "
        f"executor {describe_executor(settings, plan.workers)}\n"
        f"estimate    about {minutes:.1f} minutes" + (f" with {plan.workers} workers" if on_cluster else "")
    )


def _controller(plan: Plan, settings: Settings) -> str:
    if plan.shared and plan.shared.mode == "joint":
        return "reinforce, which learns already while the weights are trained"
    name = settings.value("controller.name")
    hungry = name in ("rnn_ppo", "reinforce") and plan.samples < _FEW_SAMPLES
    return f"{name} (controller=bayesian gets along with fewer samples)" if hungry else name


def _estimate_minutes(
    plan: Plan, recipe: Recipe, settings: Settings, data: Mapping[str, Any], sampled: list[Arch]
) -> float:
    facts = {"fashion_mnist_mini": (28, 5000), "fashion_mnist": (28, 55000), "cifar10": (32, 45000)}
    px, images = facts.get(data["name"], (64, 10000))
    px = data["resolution_px"] or px
    images = data["train_images"] or images
    min_px = settings.integer("evaluator.min_px", low=1)
    small = [rewrite.small_image(arch, px, min_px=min_px) for arch in sampled]
    image_s = machine_factor() * float(np.mean([training_seconds_an_image(arch) for arch in small]))
    shared_s, look_s = image_s / plan.workers**_THREADS_HELP, image_s * _INFERENCE_SHARE
    at_once = 1.0 if settings.value("executor") == "serial" else float(plan.workers)
    looked_at = plan.shared.images + plan.shared.bn_images if plan.shared else 1
    if settings.value("evaluator.device") != "cpu":
        batch = plan.shared.recipe.batch if plan.shared else recipe.batch
        image_s, shared_s, look_s = gpu_seconds_an_image(
            image_s, batch=recipe.batch, shared_batch=batch, looked_at=looked_at
        )
        at_once = min(at_once, GPU_AT_A_TIME, 1 / (settings.number("ray.num_gpus", low=0) or 1e-9))
    rounds = [plan.finalists + len(REFERENCES)]
    if plan.final_start == "inherited":
        rounds = [plan.finalists, len(REFERENCES) + 1]  # the winner from scratch, too
    epochs = sum(max(1.0, n / at_once) for n in rounds) * plan.final_epochs
    epochs += 0 if plan.shared else (plan.samples + len(REFERENCES)) * recipe.epochs / at_once
    proxies_s = epochs * images * image_s
    if plan.shared:
        measured = _INFERENCE_SHARE if plan.shared.mode == "joint" else 0.0  # by the policy, after each update
        proxies_s += (1 + measured) * plan.shared.recipe.epochs * images * shared_s
        proxies_s += plan.samples * looked_at * look_s / at_once
    return (1.15 * proxies_s + images * plan.final_epochs * image_s) / 60  # 15 %: holdout, start-up, waiting

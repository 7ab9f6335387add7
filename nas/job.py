"""A search as the command line asks for it, read and checked before anything is measured, trained or written."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas import controllers
from nas.controllers import Controller
from nas.reward import Reward
from nas.settings import (
    DataSettings,
    ExecutorSettings,
    TrainerSettings,
    read_data,
    read_executor,
    read_recipe,
    read_trainer,
)
from nas.supernet.phases import KERNELS, MODES, PHASES, Phase, Workers
from nas.supernet.prepare import SharedPlan
from nas_runtime.run import look
from nas_runtime.settings import Settings, conf_dir
from search_spaces import spaces, zoo
from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    from nas.training.sources import DataFacts

__all__ = ["EVALUATORS", "MAY_DIFFER", "STARTS", "Job", "Target", "read_job", "read_target"]

EVALUATORS = ("proxy_training", "shared_weights", "surrogate")
STARTS = ("scratch", "inherited")  # of final trainings
SURROGATE_CLASSES = 1000

MAY_DIFFER = (
    *("samples", "executor", "workers", "ray", "retries", "run_dir", "tables_dir", "dry_run", "final", "tensorboard"),
    "table_error",
)
"""Settings that change how, how far or where a search runs, but not what it finds."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A device, and how many milliseconds a network may take there: `ms`, or what the network `like` takes."""

    device: str
    ms: float | None
    like: str | None


@dataclass(frozen=True, kw_only=True)
class Job:
    """A search, but for its latency table.

    Attributes:
        base_width: of the space.
        reward: its target is not known yet.
        adjust_after: after so many samples the reward is bent so that the search meets its target; None: never.
        controller: untouched.
        data, facts: the data set, and what is known of it before it is read; None for an evaluator that trains nothing.
        trainer: how networks are trained by themselves; None for an evaluator that trains nothing.
        shared: the weights that samples are evaluated with; None: each is trained.
        train_again: whether a network that is sampled again is trained again, with another seed.
        final_epochs: of the final training.
        finalists: so many of the best samples get the final training; the winner is the best of them.
        final_start: one of `STARTS`: what their final trainings begin with.
        engine: ``loop``, or ``tune``: Ray Tune, which stops no network before it has `grace_epochs`.
        table_error: the largest error of a measured table that is accepted, see `LatencyModel.check_error`.
        run_dir: None: a new one.
        resumed: whether it holds a run, which is continued.
        config: all settings, as ``config.yaml`` keeps them.
    """

    space: SearchSpace
    base_width: float
    target: Target
    tables_dir: Path | None
    table_error: float
    reward: Reward
    adjust_after: int | None
    samples: int
    batch: int
    controller_name: str
    controller: Controller
    data: DataSettings | None
    facts: "DataFacts | None"
    trainer: TrainerSettings | None
    shared: SharedPlan | None
    train_again: bool
    final_epochs: int
    finalists: int
    final_start: str
    engine: str
    grace_epochs: int
    executor: ExecutorSettings
    tensorboard: bool
    rng_seed: int
    run_dir: Path | None
    resumed: bool
    config: Mapping[str, Any]
    dry_run: bool


def read_job(settings: Settings) -> Job:
    """What the command line asks for. Writes, measures and trains nothing.

    Raises:
        ValueError: a value that is not allowed, or does not go with another; a data set that is not there; a run
            directory that holds something else.
    """
    target = read_target(settings)
    evaluator = settings.choice("evaluator.name", EVALUATORS)
    _check_space(settings, evaluator)
    data = None if evaluator == "surrogate" else read_data(settings)
    trainer = None if evaluator == "surrogate" else read_trainer(settings, EVALUATORS[:2])
    executor = read_executor(settings)
    shared = _read_shared(settings, executor)
    again = _read_train_again(settings)
    adjust_after = _read_adjust_after(settings)
    engine = _read_engine(settings, trains_each=evaluator == "proxy_training" and not again)
    steps: dict[str, Any] = {
        "samples": settings.integer("samples", low=1, high=10_000_000),
        "batch": settings.integer("batch", low=1, high=100_000),
        "final_epochs": settings.integer("final.epochs", low=1, high=100_000),
        "finalists": settings.integer("final.networks", low=1, high=10_000),
        "final_start": _read_start(settings, shared=shared is not None),
        "grace_epochs": settings.integer("grace_epochs", low=1, high=100_000),
        "rng_seed": settings.integer("rng_seed", low=0, high=2**63 - 1),
        "tensorboard": settings.flag("tensorboard"),
        "dry_run": settings.flag("dry_run"),
    }
    priced = _read_reward(settings)
    facts = data.look() if data else None
    space = _read_space(settings, evaluator, facts.classes if facts else SURROGATE_CLASSES)
    run_dir, config = settings.path("run_dir"), _config(settings, space)
    return Job(
        space=space,
        base_width=settings.number("space.base_width", above=0, high=4),
        target=target,
        tables_dir=settings.path("tables_dir"),
        table_error=settings.number("table_error", above=0, high=10),
        reward=priced,
        adjust_after=adjust_after,
        controller_name=settings.text("controller.name"),
        controller=controllers.make(
            settings.text("controller.name"),
            space,
            rng_seed=steps["rng_seed"],
            settings=settings.mapping("controller.settings"),
        ),
        data=data,
        facts=facts,
        trainer=trainer,
        shared=shared,
        train_again=again,
        engine=engine,
        executor=executor,
        run_dir=run_dir,
        resumed=look(run_dir, config, kind="search", may_differ=MAY_DIFFER),
        config=config,
        **steps,
    )


def read_target(settings: Settings) -> Target:
    """The target of ``+target=NAME``.

    Raises:
        ValueError: there is none, or it says neither milliseconds nor a network.
    """
    if settings.value("target") is None:
        names = sorted(path.stem for path in (conf_dir() / "target").glob("*.yaml"))
        raise ValueError(f"no target: add +target=NAME; there are: {', '.join(names)}")
    ms = None if settings.value("target.target_ms") is None else settings.number("target.target_ms", above=0, high=1e7)
    like = None if settings.value("target.like") is None else settings.choice("target.like", zoo.names())
    if ms is None and like is None:
        raise ValueError(
            "the target says neither target.target_ms, milliseconds, nor target.like, a network of the zoo; give one"
        )
    return Target(device=settings.text("target.device"), ms=ms, like=like)


def _check_space(settings: Settings, evaluator: str) -> None:
    name = settings.text("space.name")
    if evaluator == "surrogate" and name != "accel_nasbench":
        raise ValueError(f"the surrogate knows the networks of space=accel_nasbench only, not of {name}")


def _read_space(settings: Settings, evaluator: str, classes: int) -> SearchSpace:
    """The search space; its networks have as many classes as the data, unless the config gives a number."""
    if settings.value("space.classes") is not None:
        classes = settings.integer("space.classes", low=2, high=1_000_000)
    space = spaces.get(
        settings.text("space.name"),
        base_width=settings.number("space.base_width", above=0, high=4),
        resolution_px=settings.integer("space.resolution_px", low=32, high=4096),
        classes=classes,
    )
    if evaluator == "shared_weights":
        space.declared()  # or says why its networks cannot share weights
    return space


def _config(settings: Settings, space: SearchSpace) -> dict[str, Any]:
    """All settings, with the number of classes that the search is for."""
    config = dict(settings.value(""))
    classes = space.decode([0] * len(space.choices)).blocks[-1].out_ch
    return {**config, "space": {**config["space"], "classes": classes}}


def _read_start(settings: Settings, *, shared: bool) -> str:
    if settings.value("final.start") is None:
        return "inherited" if shared else "scratch"
    start = settings.choice("final.start", STARTS)
    if start == "inherited" and not shared:
        raise ValueError("final.start=inherited is for evaluator=shared_weights; without, only final.start=scratch")
    return start


def _read_shared(settings: Settings, executor: ExecutorSettings) -> SharedPlan | None:
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
    at = "evaluator.shared"
    recipe = replace(
        read_recipe(settings),
        epochs=settings.integer(f"{at}.epochs", low=1, high=1_000_000),
        batch=settings.integer(f"{at}.batch", low=2, high=65_536),
    )
    shares = {name: settings.number(f"{at}.{name}.share", low=0, high=1e6) for name in PHASES}
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
            name: Phase(share=share, lr=settings.number(f"{at}.{name}.lr", above=0, high=10))
            for name, share in shares.items()
        },
        kernels=_read_kernels(settings, mode),
        band=settings.number(f"{at}.band", above=0, high=1000),
        images=settings.integer(f"{at}.images", low=1, high=10_000_000),
        bn_images=settings.integer(f"{at}.bn_images", low=2, high=10_000_000),
        mode=mode,
        workers=_read_train_workers(settings, executor, recipe.batch),
    )


def _read_kernels(settings: Settings, mode: str) -> str:
    if settings.value("evaluator.shared.kernels") is None:
        return "own" if mode == "joint" else "centre"
    return settings.choice("evaluator.shared.kernels", KERNELS)


def _read_train_workers(settings: Settings, executor: ExecutorSettings, batch: int) -> Workers | None:
    count = settings.integer("ray.train_workers", low=1, high=10_000)
    if count == 1:
        return None
    if batch % count or batch < 2 * count:
        raise ValueError(
            f"ray.train_workers={count} cannot share batches of evaluator.shared.batch={batch} evenly, with 2 images "
            "or more for each; change one of them"
        )
    if executor.num_gpus not in (0, 1):
        raise ValueError("ray.train_workers takes whole GPUs: ray.num_gpus=1 for each worker, or 0")
    if settings.value("evaluator.device") == "cuda" and not executor.num_gpus:
        raise ValueError("evaluator.device=cuda with ray.train_workers takes ray.num_gpus=1")
    if executor.kind != "ray":
        raise ValueError(f"ray.train_workers={count} takes executor=ray, not {executor.kind}")
    return Workers(count=count, num_cpus=executor.num_cpus, num_gpus=executor.num_gpus, retries=executor.retries)


def _read_train_again(settings: Settings) -> bool:
    if settings.choice("duplicates", ("reuse", "train")) == "reuse":
        return False
    if settings.value("evaluator.name") != "proxy_training":
        raise ValueError("duplicates=train is for evaluator=proxy_training: others give the same answer again")
    return True


def _read_engine(settings: Settings, *, trains_each: bool) -> str:
    engine = settings.choice("engine", ("loop", "tune"))
    unfit = settings.value("executor") != "ray" or settings.value("adjust_after") is not None or not trains_each
    if engine == "tune" and unfit:
        raise ValueError("engine=tune takes executor=ray, an evaluator that trains, duplicates=reuse, no adjust_after")
    return engine


def _read_reward(settings: Settings) -> Reward:
    return Reward(
        name=settings.text("reward"),
        target_ms=1.0,
        w=settings.number("w", low=-10, high=0),
        w_above=None if settings.value("w_above") is None else settings.number("w_above", low=-10, high=0),
        beta=-settings.number("beta", above=0, high=1000),
    )


def _read_adjust_after(settings: Settings) -> int | None:
    if settings.value("adjust_after") is None:
        return None
    if settings.value("reward") != "soft":
        raise ValueError(f"adjust_after bends reward=soft, not reward={settings.value('reward')}; leave it out")
    return settings.integer("adjust_after", low=1)

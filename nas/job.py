"""A search as the command line asks for it, read and checked before anything is measured, trained or written."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas import controllers
from nas.controllers import Controller
from nas.reward import Reward
from nas.settings import ExecutorSettings, read_executor
from nas.strategies import read_strategy
from nas_runtime.run import look
from nas_runtime.settings import Settings, conf_dir
from search_spaces import spaces, zoo
from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    from nas.strategies.contract import Strategy

__all__ = ["MAY_DIFFER", "Job", "Target", "read_job", "read_target"]

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
        strategy: how networks are judged.
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
    strategy: "Strategy"
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
    target, strategy = read_target(settings), read_strategy(settings)
    rng_seed = settings.integer("rng_seed", low=0, high=2**63 - 1)
    space = _read_space(settings, strategy.classes)
    strategy.check(space)
    run_dir, config = settings.path("run_dir"), _config(settings, space)
    return Job(
        space=space,
        base_width=settings.number("space.base_width", above=0, high=4),
        target=target,
        tables_dir=settings.path("tables_dir"),
        table_error=settings.number("table_error", above=0, high=10),
        reward=_read_reward(settings),
        adjust_after=_read_adjust_after(settings),
        samples=settings.integer("samples", low=1, high=10_000_000),
        batch=settings.integer("batch", low=1, high=100_000),
        controller_name=settings.text("controller.name"),
        controller=controllers.make(
            settings.text("controller.name"),
            space,
            rng_seed=rng_seed,
            settings=settings.mapping("controller.settings"),
        ),
        strategy=strategy,
        executor=read_executor(settings),
        tensorboard=settings.flag("tensorboard"),
        rng_seed=rng_seed,
        run_dir=run_dir,
        resumed=look(run_dir, config, kind="search", may_differ=MAY_DIFFER),
        config=config,
        dry_run=settings.flag("dry_run"),
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


def _read_space(settings: Settings, classes: int) -> SearchSpace:
    """The search space; its networks have as many classes as the data, unless the config gives a number."""
    if settings.value("space.classes") is not None:
        classes = settings.integer("space.classes", low=2, high=1_000_000)
    return spaces.get(
        settings.text("space.name"),
        base_width=settings.number("space.base_width", above=0, high=4),
        resolution_px=settings.integer("space.resolution_px", low=32, high=4096),
        classes=classes,
    )


def _config(settings: Settings, space: SearchSpace) -> dict[str, Any]:
    """All settings, with the number of classes that the search is for."""
    config = dict(settings.value(""))
    classes = space.decode([0] * len(space.choices)).blocks[-1].out_ch
    return {**config, "space": {**config["space"], "classes": classes}}


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

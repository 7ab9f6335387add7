"""A search as the command line asks for it, read and checked before anything is measured, trained or written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas import controllers, limits, warm_start
from nas.callbacks import CALLBACKS
from nas.controllers import Controller
from nas.controllers.several import Several
from nas.goals import folder
from nas.options import Target
from nas.references import sizes
from nas.reward import Reward, is_linear
from nas.search_options import SearchOptions
from nas.settings import ExecutorSettings, executor_of
from nas.strategies import read_strategy
from nas.warm_start import WarmStart
from nas_runtime.compose import choices
from nas_runtime.run import look
from search_spaces import spaces
from search_spaces.options import Space
from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    from nas.strategies.contract import Strategy

__all__ = ["FRONT", "MAY_DIFFER", "Job", "by_target", "read_job"]

FRONT = 8  # targets of a whole front
_MOST_TARGETS = 20

MAY_DIFFER = (
    *(
        "samples",
        "executor",
        "workers",
        "ray",
        "retries",
        "run_dir",
        "tables_dir",
        "dry_run",
        "final",
        "recipe",
        "tensorboard",
    ),
    *("table_error", "delivery", "max_minutes", "patience", "callbacks"),
)
"""Settings that change how, how far or where a search runs, but not what it finds."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A search, but for its latency table.

    Attributes:
        base_width: of the space.
        reward: its target is not known yet.
        targets_ms: for each of which a winner is looked for, the shortest first; none: for the target's own, or those
            of `front`.
        front: the targets are spread over the latencies of the space, `FRONT` of them.
        devices_ms: other devices that it is for, with their targets.
        weights: of all devices; none: the worst counts.
        limits: what a network may have at most, by the names of `nas.limits`.
        sure: latencies are the upper ends of their intervals.
        warm_start: what it begins with.
        adjust_after: after so many samples the reward is bent so that the search meets its target; None: never.
        max_minutes, patience: when sampling ends before (`nas.ends`).
        controller: untouched.
        callbacks: names of what follows it.
        strategy: how networks are judged.
        table_error: the largest error of a measured table that is accepted, see `LatencyModel.check_error`.
        run_dir: None: a new one.
        resumed: whether it holds a run, which is continued.
        config: all settings, as ``config.yaml`` keeps them.
        notes: what a person should know before the search begins.
    """

    space: SearchSpace
    base_width: float
    target: Target
    tables_dir: Path | None
    table_error: float
    reward: Reward
    targets_ms: tuple[float, ...]
    front: bool
    adjust_after: int | None
    devices_ms: Mapping[str, float]
    weights: Mapping[str, float]
    limits: Mapping[str, float]
    sure: bool
    warm_start: WarmStart
    samples: int
    batch: int
    max_minutes: float | None
    patience: int | None
    controller_name: str
    controller: Controller
    strategy: "Strategy"
    executor: ExecutorSettings
    callbacks: tuple[str, ...]
    rng_seed: int
    run_dir: Path | None
    resumed: bool
    config: Mapping[str, Any]
    dry_run: bool
    notes: tuple[str, ...]


def read_job(options: SearchOptions) -> Job:
    """What the command line asks for. Writes, measures and trains nothing.

    Raises:
        ValueError: a value does not go with another; a data set is not there; a run directory holds something else.
    """
    target, strategy = _target(options), read_strategy(options)
    space = _space(options.space, strategy.classes)
    strategy.check(space)
    reward = _reward(options)
    targets_ms = _targets_ms(options)
    config = {**_config(options, space), "reward": reward.name, "targets": list(targets_ms) or None}
    config |= {name: config[name] or None for name in ("front", "sure")}
    resumed = look(options.run_dir, config, kind="search", may_differ=MAY_DIFFER)
    return Job(
        space=space,
        base_width=options.space.base_width,
        target=target,
        tables_dir=options.tables_dir,
        table_error=options.table_error,
        reward=reward,
        targets_ms=targets_ms,
        front=bool(options.front),
        adjust_after=_adjust_after(options),
        devices_ms=_devices_ms(options, target),
        weights=options.weights,
        limits=_limits(options),
        sure=bool(options.sure),
        warm_start=_warm_start(options, space, reward),
        samples=options.samples,
        batch=options.batch,
        max_minutes=options.max_minutes,
        patience=options.patience,
        controller_name=options.controller.name,
        controller=_controller(options, space, FRONT if options.front else len(targets_ms)),
        strategy=strategy,
        executor=executor_of(options, options.ray),
        callbacks=_callbacks(options),
        rng_seed=options.rng_seed,
        run_dir=options.run_dir,
        resumed=resumed,
        config=config,
        dry_run=options.dry_run,
        notes=(*strategy.notes, *options.unheeded),
    )


def _callbacks(options: SearchOptions) -> tuple[str, ...]:
    names = ("tensorboard",) * options.tensorboard + options.callbacks
    for name in names:
        CALLBACKS.get(name)
    return tuple(dict.fromkeys(names))


def _target(options: SearchOptions) -> Target:
    if options.target is None:
        raise ValueError(f"no target: add +target=NAME; there are: {', '.join(sorted(choices('target', [])))}")
    target = options.target.asked(options.given)
    if target.target_ms is None and target.like is None and not options.several:
        raise ValueError(
            "the target says neither target.target_ms, milliseconds, nor target.like, a network of the zoo; give one"
        )
    return target


def _reward(options: SearchOptions) -> Reward:
    """The reward, whose target is not known yet."""
    name, w_above = options.reward_in_use, options.w_above
    if options.several and name == "soft" and not (w_above is not None and w_above < options.w):
        raise ValueError(
            f"{options.several}= with reward=soft would find one network for all targets, since w alone decides how "
            "fast it is; leave reward= and w= out, give w_above= below w, or reward=absolute"
        )
    return Reward(name=name, target_ms=1.0, w=options.w, w_above=options.w_above, beta=-options.beta)


def by_target(reward: Reward, targets_ms: Sequence[float]) -> tuple[Reward, ...]:
    """The reward for each target."""
    return tuple(replace(reward, target_ms=ms) for ms in targets_ms)


def _targets_ms(options: SearchOptions) -> tuple[float, ...]:
    """What `targets` says; it is checked what several targets, also of `front`, go with."""
    targets_ms, several = tuple(sorted(set(options.targets))), options.several
    if not several:
        return ()
    if own := next((name for name in ("target.target_ms", "target.like") if options.given(name)), ""):
        raise ValueError(f"{several}= takes the place of {own}; leave one out")
    if options.targets and options.front:
        raise ValueError("targets= says for which latencies networks are found, front=true finds some; leave one out")
    if len(targets_ms) == 1:
        raise ValueError(f"targets= is for two targets or more; for one give target.target_ms={targets_ms[0]:g}")
    if len({folder(ms) for ms in targets_ms}) < len(targets_ms):
        raise ValueError("targets= has two that differ by less than a millionth; leave one out")
    if len(targets_ms) > _MOST_TARGETS:
        raise ValueError(f"targets= has {len(targets_ms)} targets; at most {_MOST_TARGETS} are looked for together")
    others = {"adjust_after": options.adjust_after, "mode=joint": options.mode == "joint"}
    others["engine=tune"] = options.engine == "tune"
    if beside := next((name for name, given in others.items() if given), ""):
        raise ValueError(f"{several}= is not for {beside}, which knows one target only; leave one out")
    return targets_ms


def _devices_ms(options: SearchOptions, target: Target) -> Mapping[str, float]:
    if options.devices and options.several:
        raise ValueError(f"{options.several}= is for one device, devices= for one target on each; leave one out")
    if target.device in options.devices:
        raise ValueError(
            f"devices= has {target.device}, which is the target's own; its milliseconds are target.target_ms"
        )
    if options.weights and not options.devices:
        raise ValueError("weights= is for several devices=; leave it out")
    if options.weights and set(options.weights) != {target.device, *options.devices}:
        names = ", ".join((target.device, *options.devices))
        raise ValueError(f"weights= must have a weight for each device: {names}")
    return options.devices


def _controller(options: SearchOptions, space: SearchSpace, targets: int) -> Controller:
    """What proposes networks: one controller, or one for each of several targets."""

    def make(rng_seed: int) -> Controller:
        name, settings = options.controller.name, options.controller.settings
        return controllers.make(name, space, rng_seed=rng_seed, settings=settings)

    return Several(space, make, targets, rng_seed=options.rng_seed) if targets else make(options.rng_seed)


def _space(options: Space, classes: int) -> SearchSpace:
    """The search space; its networks have as many classes as the data, unless the options give a number."""
    return spaces.get(
        options.name,
        base_width=options.base_width,
        resolution_px=options.px,
        classes=classes if options.classes is None else options.classes,
    )


def _config(options: SearchOptions, space: SearchSpace) -> dict[str, Any]:
    """All options, with the resolution and the number of classes that the search is for."""
    return {**options.written, "space": {**options.written["space"], **sizes(space)}}


def _limits(options: SearchOptions) -> Mapping[str, float]:
    limits.devices(options.limits)
    return options.limits


def _warm_start(options: SearchOptions, space: SearchSpace, reward: Reward) -> WarmStart:
    start = warm_start.read(options.warm_start, space, options.run_dir)
    kind = controllers.CONTROLLERS.get(options.controller.name)
    if options.warm_start and options.mode == "joint":
        raise ValueError("warm_start= is not for mode=joint, whose policy learns with the weights; leave one out")
    if start.earlier and (not hasattr(kind, "recall") or options.controller.settings.get("imagined") == 0):
        raise ValueError(
            "warm_start= takes runs for controllers with a model, as rnn_ppo and bayesian, not "
            f"{options.controller.name}; networks of the zoo for any"
        )
    if start.earlier and not is_linear(reward):
        raise ValueError(
            f"warm_start= takes runs for rewards that are linear in the accuracy, not reward={reward.name}"
        )
    return start


def _adjust_after(options: SearchOptions) -> int | None:
    if options.adjust_after is not None and options.reward != "soft":
        raise ValueError(f"adjust_after bends reward=soft, not reward={options.reward}; leave it out")
    return options.adjust_after

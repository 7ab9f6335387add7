"""The plan of a search: the job with the latency table of its device, and so its target in milliseconds."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

import latency_luts
from latency_luts import AtMost, InterpolatedModel, LatencyModel, MissingUnitsError, table
from latency_luts.key import key
from latency_luts.table import MeasuredTable
from nas.devices import Latency, Together
from nas.job import FRONT, Job, by_target
from nas.limits import Limits, devices
from nas.reach import reach
from nas.references import references, sizes
from nas.reward import Reward
from nas.strategies.contract import Task
from nas_runtime.run import Run
from search_spaces import spaces, zoo
from search_spaces.arch import Arch, Classifier
from search_spaces.space import SearchSpace

__all__ = [
    "Plan",
    "can_have",
    "has_table",
    "keep_table",
    "kept_table",
    "make_plan",
    "open_latency",
    "spread",
]

_LEAST_RANGE = 1.1  # from the fastest network to the longest target of a front


@dataclass(frozen=True, kw_only=True)
class Plan(Job):
    """A search, ready to begin.

    Attributes:
        target_ms: of several targets the first.
        rewards: with each target.
        bounds: the limits, on the devices' tables.
        together: where the search is for several devices, the latencies on all of them.
    """

    latency: LatencyModel
    target_ms: float
    rewards: tuple[Reward, ...]
    bounds: Limits
    together: Together | None = None

    @property
    def counting(self) -> Latency:
        """The latency that the reward is of."""
        return self.together or self.latency

    @property
    def expected(self) -> LatencyModel:
        """What networks are expected to take on the target's device."""
        return self.latency.expected if isinstance(self.latency, AtMost) else self.latency

    @property
    def costs(self) -> dict[str, Callable[[Arch], float]]:
        """What is to be known of each network besides, by name."""
        return (self.together.costs if self.together else {}) | self.bounds.costs

    @property
    def models(self) -> dict[str, LatencyModel]:
        """Those of other devices than the target's."""
        others = self.together.models if self.together else {}
        return {name: model for name, model in {**others, **self.bounds.models}.items() if model is not self.latency}

    @property
    def task(self) -> Task:
        """What the strategy judges networks for."""
        return Task(
            space=self.space,
            latency=self.counting,
            device=self.expected,
            target_ms=self.target_ms,
            longest_ms=self.targets_ms[-1] if self.targets_ms else None,
            reward=self.reward,
            controller=self.controller,
            executor=self.executor,
            rng_seed=self.rng_seed,
        )

    def config_for(self, reward: Reward) -> dict[str, Any]:
        """The settings of a search for one of several targets."""
        target = {**self.config["target"], "target_ms": reward.target_ms, "like": None}
        return {**self.config, "target": target, "targets": None, "front": None}

    def of(self, reward: Reward) -> "Plan":
        """The plan of a search for one of several targets."""
        ms = reward.target_ms
        return replace(
            self,
            reward=reward,
            rewards=(reward,),
            target_ms=ms,
            targets_ms=(),
            front=False,
            config=self.config_for(reward),
        )


def make_plan(job: Job, latency: LatencyModel) -> Plan:
    """`job` with the target that it has on `latency`'s device.

    Raises:
        ValueError: a target is out of reach of the space, or a table lacks units, or intervals where these count.
    """
    if job.sure and not (job.dry_run and isinstance(latency, InterpolatedModel)):  # whose units are measured first
        latency = AtMost(latency)
    try:
        low_ms, high_ms = reach(job.space, latency)
        spread_ms = _front_of(job, latency, low_ms, high_ms) if job.front else job.targets_ms
        targets_ms = spread_ms or (_target_ms(job, latency),)
        together = _together(job, latency, targets_ms[0])
    except MissingUnitsError as e:
        raise ValueError(_lacks(job, latency, e)) from None
    for target_ms in targets_ms:
        if not low_ms <= target_ms <= high_ms:
            raise ValueError(_out_of_reach(job, latency, low_ms, high_ms, target_ms=target_ms))
    given = {field.name: getattr(job, field.name) for field in fields(Job)}
    rewards = by_target(job.reward, targets_ms)
    return Plan(
        **{**given, "reward": rewards[0], "targets_ms": spread_ms},
        latency=latency,
        target_ms=targets_ms[0],
        rewards=rewards,
        bounds=_bounds(job, latency),
        together=together,
    )


def _front_of(job: Job, latency: LatencyModel, low_ms: float, high_ms: float) -> tuple[float, ...]:
    """The targets of a whole front, of which the longest is the limit, if there is one."""
    limits_ms = {name: job.limits.get(f"{name}_ms", high_ms) for name in (job.target.device, latency.device)}
    device = min(limits_ms, key=limits_ms.__getitem__)
    most_ms = min(high_ms, limits_ms[device])
    if most_ms >= _LEAST_RANGE * low_ms:
        return spread(low_ms, most_ms)
    if most_ms < high_ms:
        raise ValueError(
            f"front=true with {device}_ms={most_ms:.3g} in limits leaves nothing to spread targets over: the fastest "
            f"network of this space takes {low_ms:.3g} ms on {job.target.device}; raise that limit"
        )
    raise ValueError(
        f"front=true is for latencies that differ; networks of this space take {low_ms:.3g} to {high_ms:.3g} ms on "
        f"{job.target.device}: leave it out"
    )


def spread(low_ms: float, high_ms: float) -> tuple[float, ...]:
    """The targets of a whole front: by equal factors, from half a step above the fastest network to the slowest.

    They are rounded down, but not below the fastest.
    """
    steps = (np.arange(FRONT) + 0.5) / (FRONT - 0.5)
    return tuple(max(low_ms, _rounded_down(ms)) for ms in low_ms * (high_ms / low_ms) ** steps)


def _rounded_down(ms: float) -> float:
    """To three digits."""
    digits = 2 - math.floor(math.log10(ms))
    return float(f"{math.floor(ms * 10.0**digits + 1e-9) / 10.0**digits:.12g}")


def _together(job: Job, latency: LatencyModel, target_ms: float) -> Together | None:
    """The latencies on all devices that the network is for, if these are several."""
    if not job.devices_ms:
        return None
    others = {device: _other_latency(job, latency, device, option="devices") for device in job.devices_ms}
    together = Together(
        models={job.target.device: latency, **others},
        targets_ms={job.target.device: target_ms, **job.devices_ms},
        weights=job.weights,
    )
    for device, model in together.models.items():
        try:
            low_ms, _ = reach(job.space, model)
        except MissingUnitsError as e:
            raise ValueError(_lacks(job, model, e)) from None
        if together.targets_ms[device] < low_ms:
            raise ValueError(
                f"no network of this space takes as little as {together.targets_ms[device]:.3g} ms on {device}; the "
                f"fastest takes {low_ms:.3g} ms: raise its target, or lower space.base_width"
            )
    low_ms, _ = reach(job.space, together)
    if low_ms > target_ms:
        raise ValueError(
            f"no network of this space meets the targets of all devices; the nearest misses them by a factor of "
            f"{low_ms / target_ms:.2f}: raise one of them, or lower space.base_width"
        )
    return together


def _bounds(job: Job, latency: LatencyModel) -> Limits:
    """The limits, which some network of the space meets.

    Raises:
        ValueError: none does, as far as is found; or a device has no table, or one that lacks units.
    """
    models = {device: _other_latency(job, latency, device) for device in devices(job.limits)}
    bounds = Limits(job.space, job.limits, models)
    try:
        bounds.check()
    except MissingUnitsError as e:
        raise ValueError(_lacks(job, next(m for m in models.values() if m.table is e.table), e)) from None
    return bounds


def _other_latency(job: Job, latency: LatencyModel, device: str, *, option: str = "limits") -> LatencyModel:
    """The model of another device, which an option names, by the table that the run began with."""
    if device in (job.target.device, latency.device):
        return latency
    try:
        model = kept_table(job.run_dir, resumed=job.resumed, device=device)
        if model is None:
            model = latency_luts.load(device, tables_dir=job.tables_dir)
            model.check_error(job.table_error)
        return AtMost(model) if job.sure else model
    except ValueError as e:
        raise ValueError(f"{option} has {device}{'_ms' * (option == 'limits')}: {e}") from None


def _target_ms(job: Job, latency: LatencyModel) -> float:
    if job.target.target_ms is not None:
        return job.target.target_ms
    assert job.target.like
    return latency.latency_ms(zoo.get(job.target.like, **sizes(job.space)))


def _lacks(job: Job, latency: LatencyModel, e: MissingUnitsError) -> str:
    like = sizes(job.space)
    only_classes = all(isinstance(unit.block, Classifier) for unit in e.units) and like["classes"] != 1000
    return (
        f"the table of {latency.device} lacks units of this search's networks, as {key(e.units[0])}; "
        + e.remedy(
            f"space={job.space.name} space.base_width={job.base_width:g} space.resolution_px={like['resolution_px']}"
        )
        + "; it may have last layers of 1000 classes only (space.classes=1000)" * only_classes
    )


def _out_of_reach(job: Job, latency: LatencyModel, low_ms: float, high_ms: float, *, target_ms: float) -> str:
    above = target_ms > high_ms
    other = job.base_width * (1.25 if above else 0.8)
    names = "targets" if job.targets_ms else "target.target_ms"
    remedies = [f"{'lower' if above else 'raise'} {names}"]
    if can_have(job, other):
        remedies.append("raise space.base_width" if above else "lower space.base_width")
    if job.target.target_ms is not None and not job.targets_ms:  # it may have been written for pictures of another size
        remedies += [f"give target.like={name}" for name in _between(job.space, latency, low_ms, high_ms)[:1]]
    return (
        f"the target, {target_ms:.3g} ms, is {'above' if above else 'below'} all networks of this space, which take "
        f"{low_ms:.3g} to {high_ms:.3g} ms on {job.target.device}; {' or '.join(remedies)}"
    )


def _between(space: SearchSpace, latency: LatencyModel, low_ms: float, high_ms: float) -> list[str]:
    """Published networks for `space`'s images that take between so many ms; none where the table lacks their units."""
    known = {name: arch for name, arch in references(space).items() if name in zoo.names()}
    try:
        return [name for name, arch in known.items() if low_ms <= latency.latency_ms(arch) <= high_ms]
    except MissingUnitsError:
        return []


def can_have(job: Job, base_width: float) -> bool:
    """Whether there is such a space of that width."""
    try:
        spaces.get(job.space.name, base_width=base_width, **sizes(job.space))
    except ValueError:
        return False
    return True


def has_table(job: Job) -> bool:
    """False where this machine has no table yet: it is measured before a search begins."""
    return job.resumed or job.target.device != "host" or "host" in latency_luts.names(tables_dir=job.tables_dir)


def open_latency(job: Job) -> LatencyModel:
    """The model of the target's device. For this machine, units that its table lacks are measured first; with `dry_run`
    they are interpolated.

    A run that is continued has the table that it began with.

    Raises:
        TableError: no such table, or one that is more wrong than is accepted.
    """
    if kept := kept_table(job.run_dir, resumed=job.resumed):
        return kept
    device = job.target.device
    if device == "host" and not job.dry_run:
        from latency_luts.build import build_for_space

        model = build_for_space(job.space, tables_dir=job.tables_dir, progress=True)
        model.check_error(job.table_error)
        return model
    model = latency_luts.load(device, tables_dir=job.tables_dir)
    model.check_error(job.table_error)
    if device == "host" and isinstance(model.table, MeasuredTable):
        try:
            reach(job.space, model)
            for arch in references(job.space).values():
                model.latency_ms(arch)
        except MissingUnitsError:
            return InterpolatedModel(model.table)
    return model


def kept_table(run_dir: Path | None, *, resumed: bool, device: str = "") -> LatencyModel | None:
    """The latency model of the run that is continued, by the table that it began with; None if a run begins.

    Args:
        device: another one than the target's.

    A device's table grows, and every unit that is measured later moves those that are interpolated: with the table of
    today a continued run would be another run.
    """
    if run_dir is None or not resumed or not (run_dir / _table(device)).exists():
        return None
    return latency_luts.load(run_dir / _table(device))


def keep_table(run: Run, latency: LatencyModel, device: str = "") -> None:
    """Copies a table of the run into its directory, unless that was done before."""
    if not (run.path / _table(device)).exists():
        table.write(latency.table, run.path / _table(device))


def _table(device: str) -> str:
    """A table's file in a run's directory: of the target's device, or of another."""
    return f"table_{device}.json" if device else "table.json"

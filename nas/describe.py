"""The plan of a search in words, with an estimate of the time that it takes: also what ``dry_run=true`` prints."""

from collections.abc import Sequence

import numpy as np
from rich.console import Console

from latency_luts import AtMost, InterpolatedModel
from latency_luts.unseen import of_networks
from nas.job import FRONT, Job
from nas.plan import Plan
from nas_runtime.console import counted, in_ms

__all__ = ["describe"]

_FEW_SAMPLES = 1000  # for a policy: `experiments.search_quality`, `experiments.equal_time`


def describe(console: Console, plan: Plan | Job) -> None:
    """Prints the plan, in a few lines; without latencies where it is a job whose table is still to be measured."""
    rng = np.random.default_rng(0)
    sampled = [plan.space.decode(row) for row in plan.space.sample(rng, 200)]
    reach = ""
    target = f"what {plan.target.like} takes" if plan.target.target_ms is None else f"{in_ms(plan.target.target_ms)} ms"
    if plan.front:
        target = f"{FRONT} latencies over those of the space, a network for each,"
    elif plan.targets_ms:
        target = _targets(plan.targets_ms)
    target += f" on {plan.target.device}, whose table is measured first, which takes minutes"
    besides = ", besides the table"
    if isinstance(plan, Plan):
        spread = np.quantile([plan.counting.latency_ms(arch) for arch in sampled], (0.05, 0.5, 0.95))
        besides = ""
        reach = f"; random networks: {in_ms(spread[0])} to {in_ms(spread[2])} ms, median {in_ms(spread[1])}"
        target = _targets([reward.target_ms for reward in plan.rewards])
        target += f" on {plan.latency.device}\nlatency     {plan.latency.describe()}"
        if doubt := of_networks(plan.latency, sampled):
            target += f"\n            {doubt}"
        if plan.together:
            target += f"\ndevices     {plan.together.describe()}"
        if plan.limits:
            target += f"\nlimits      {plan.bounds.describe()}"
    strategy = plan.strategy
    winners = FRONT if plan.front else max(1, len(plan.targets_ms))
    estimate = strategy.estimate(plan.samples, sampled[:20], plan.executor, winners=winners)
    adjusted = f"; adjusted after {plan.adjust_after} samples" if plan.adjust_after else ""
    console.print(
        f"space       {plan.space.name}, {plan.space.size:.3g} points ({len(plan.space.choices)} choices), "
        f"base width {plan.base_width:g}{reach}\n"
        f"target      {target}\n"
        f"images      {strategy.describe_images(plan.space.decode([0] * len(plan.space.choices)))}\n"
        f"reward      {plan.reward.describe()}{adjusted}\n"
        f"evaluation  {strategy.describe(plan.samples)}\n"
        f"controller  {strategy.policy or _controller(plan)}, learning after every {counted(plan.batch, 'sample')}; "
        f"executor {plan.executor.describe()}\n{_warm_start(plan)}"
        f"estimate    {estimate}{besides}"
        + (f" with {counted(plan.executor.workers_here, 'worker')}" if plan.executor.on_cluster else "")
    )
    for note in plan.notes:
        console.print(f"note: {note}")
    if plan.sure and not (isinstance(plan, Plan) and isinstance(plan.latency, AtMost)):
        console.print("note: the search counts the upper ends of intervals, which are known once the table is measured")
    if isinstance(plan, Plan) and isinstance(plan.latency, InterpolatedModel):
        console.print("note: units that the table lacks are measured first; until then their latency is interpolated")


def _warm_start(job: Job) -> str:
    words = job.warm_start.describe()
    return f"warm start  {words}\n" if words else ""


def _controller(job: Job) -> str:
    hungry = job.controller_name == "reinforce" and job.samples < _FEW_SAMPLES
    name = f"{job.controller_name} (rnn_ppo and bayesian need fewer samples)" if hungry else job.controller_name
    return f"{name} for each target" if job.targets_ms or job.front else name


def _targets(targets_ms: Sequence[float]) -> str:
    *others, last = [in_ms(ms) for ms in targets_ms]
    return f"{', '.join(others)} and {last} ms, a network for each," if others else f"{last} ms"

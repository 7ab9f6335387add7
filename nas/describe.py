"""The plan of a search in words, with an estimate of the time that it takes: also what ``dry_run=true`` prints."""

from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from latency_luts import InterpolatedModel
from latency_luts.unseen import of_networks
from nas.estimate import GPU_AT_A_TIME, gpu_seconds_an_image, machine_factor, training_seconds_an_image
from nas.evaluators.surrogate import Surrogate
from nas.job import Job
from nas.plan import REFERENCES, Plan
from nas_runtime.console import counted
from search_spaces import rewrite
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from nas.supernet.prepare import SharedPlan
    from nas.training.sources import DataFacts

__all__ = ["describe", "images"]

_THREADS_HELP = 0.5  # n threads train one network as fast as n to this power
_WARMUP_COST = 10.0  # of an update with averaged operators and the largest filters, in ordinary ones (mobilenet_v3)
_INFERENCE_SHARE = 0.3  # of the time that an image takes in training
_FEW_SAMPLES = 1000  # for a policy: `experiments.search_quality`, `experiments.equal_time`
_SURROGATE_S = 0.004  # a sample with its controller, decoding, latency and journal


def describe(console: Console, plan: Plan | Job) -> None:
    """Prints the plan, in a few lines; without latencies where it is a job whose table is still to be measured."""
    rng = np.random.default_rng(0)
    sampled = [plan.space.decode(row) for row in plan.space.sample(rng, 200)]
    reach = ""
    target = f"what {plan.target.like} takes" if plan.target.ms is None else f"{plan.target.ms:.1f} ms"
    target += f" on {plan.target.device}, whose table is measured first, which takes minutes"
    if isinstance(plan, Plan):
        spread = np.quantile([plan.latency.latency_ms(arch) for arch in sampled], (0.05, 0.5, 0.95))
        reach = f"; random networks: {spread[0]:.1f} to {spread[2]:.1f} ms, median {spread[1]:.1f}"
        target = f"{plan.target_ms:.1f} ms on {plan.latency.device}\nlatency     {plan.latency.describe()}"
        if doubt := of_networks(plan.latency, sampled):
            target += f"\n            {doubt}"
    adjusted = f"; adjusted after {plan.adjust_after} samples" if plan.adjust_after else ""
    minutes = _estimate_minutes(plan, sampled[:20]) if plan.trainer else plan.samples * _SURROGATE_S / 60
    console.print(
        f"space       {plan.space.name}, {plan.space.size:.3g} points ({len(plan.space.choices)} choices), "
        f"base width {plan.base_width:g}{reach}\n"
        f"target      {target}\n"
        f"images      {images(plan.space.decode([0] * len(plan.space.choices)), plan.facts)}\n"
        f"reward      {plan.reward.describe()}{adjusted}\n"
        f"evaluation  {_evaluation(plan)}\n"
        f"controller  {_controller(plan)}, learning after every {counted(plan.batch, 'sample')}; "
        f"executor {plan.executor.describe()}\n"
        f"estimate    {'at most' if plan.engine == 'tune' else 'about'} {minutes:.1f} minutes"
        + (f" with {counted(plan.executor.workers_here, 'worker')}" if plan.executor.on_cluster else "")
    )
    for note in plan.facts.notes if plan.facts else ():
        console.print(f"note: {note}")
    if isinstance(plan, Plan) and isinstance(plan.latency, InterpolatedModel):
        console.print("note: units that the table lacks are measured first; until then their latency is interpolated")


def images(arch: Arch, facts: "DataFacts | None") -> str:
    """What the latencies of networks like `arch` are for, and what they are trained on, in words."""
    priced = f"latencies are for {arch.resolution_px} px and {arch.blocks[-1].out_ch} classes"
    if facts is None:
        return priced
    return f"{priced}; trainings use {facts.resolution_px} px and {facts.classes} classes"


def _evaluation(plan: Job) -> str:
    if not (plan.trainer and plan.data):
        return f"{counted(plan.samples, 'sample')}; {Surrogate.load().describe()}"
    samples = counted(plan.samples, "sample")
    how = f"{counted(plan.trainer.recipe.epochs, 'epoch')} of {plan.data.name} by each of {samples}"
    if plan.engine == "tune":
        how += f", of which ASHA stops the worse after {counted(plan.grace_epochs, 'epoch')} or later"
    if plan.shared:
        trained = f"trained for {counted(plan.shared.recipe.epochs, 'epoch')} of {plan.data.name}"
        how = f"{samples} with weights shared by all, {trained}"
    more = " more" * (plan.final_start == "inherited")
    return f"{how}, then {counted(plan.final_epochs, 'epoch')}{more} by the best {plan.finalists}"


def _controller(plan: Job) -> str:
    if plan.shared and plan.shared.mode == "joint":
        return "reinforce, which learns already while the weights are trained; its likeliest network comes first"
    name = plan.controller_name
    hungry = name in ("rnn_ppo", "reinforce") and plan.samples < _FEW_SAMPLES
    return f"{name} (controller=bayesian is made for fewer samples)" if hungry else name


def _updates_cost(shared: "SharedPlan") -> float:
    """What an image in the training of shared weights costs, in images of an ordinary update."""
    if shared.mode != "joint":
        return 1.0
    shares = {name: phase.share for name, phase in shared.phases.items()}
    warmup = max(0.0, shared.joint.warmup - 1 + shares["mixed"] / sum(shares.values()))
    return (1 + _INFERENCE_SHARE * shared.joint.reward_batches) * (1 + (_WARMUP_COST - 1) * warmup)


def _estimate_minutes(plan: Job, sampled: list[Arch]) -> float:
    trainer, facts, executor, shared = plan.trainer, plan.facts, plan.executor, plan.shared
    assert trainer
    assert facts
    images, workers = facts.train_images, executor.workers_here
    small = [rewrite.small_image(arch, facts.resolution_px, min_px=trainer.min_px) for arch in sampled]
    image_s = machine_factor() * float(np.mean([training_seconds_an_image(arch) for arch in small]))
    shared_s, look_s = image_s / workers**_THREADS_HELP, image_s * _INFERENCE_SHARE
    at_once = 1.0 if executor.kind == "serial" else float(workers)
    looked_at = shared.images + shared.bn_images if shared else 1
    if trainer.device != "cpu":
        batch = shared.recipe.batch if shared else trainer.recipe.batch
        image_s, shared_s, look_s = gpu_seconds_an_image(
            image_s, batch=trainer.recipe.batch, shared_batch=batch, looked_at=looked_at
        )
        at_once = min(at_once, GPU_AT_A_TIME, 1 / (executor.num_gpus or 1e-9))
    rounds = [plan.finalists + len(REFERENCES)]
    if plan.final_start == "inherited":
        rounds = [plan.finalists, len(REFERENCES) + 1]  # the winner from scratch, too
    passes = sum(max(1.0, n / at_once) for n in rounds) * plan.final_epochs
    passes += 0 if shared else (plan.samples + len(REFERENCES)) * trainer.recipe.epochs / at_once
    proxies_s = passes * images * image_s
    if shared:
        proxies_s += _updates_cost(shared) * shared.recipe.epochs * images * shared_s
        proxies_s += plan.samples * looked_at * look_s / at_once
    return (1.15 * proxies_s + images * plan.final_epochs * image_s) / 60  # 15 %: holdout, start-up, waiting

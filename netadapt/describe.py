"""What is said of an adaptation before it begins, and about how long it takes."""

from rich.console import Console

from latency_luts.unseen import described
from nas.estimate import GPU_CORES, INFERENCE_SHARE, in_words, machine_factor, training_seconds_an_image
from nas.strategies.trained import describe_images
from nas_runtime.console import counted, in_ms
from netadapt.plan import Plan
from netadapt.propose import propose
from search_spaces import cost

__all__ = ["describe"]

_MANY_STEPS = 100  # for estimates, where decaying cuts never add up


def describe(console: Console, plan: Plan) -> None:
    """The plan, in a few lines: also what ``dry_run=true`` prints."""
    arch, latency, held = plan.seed.arch, plan.latency, plan.facts.holdout_images
    seed_ms = latency.latency_ms(arch)
    proposals = propose(arch, latency.latency_ms, cut_ms=plan.rule.cut_ms(1, seed_ms), kinds=plan.rule.kinds)
    count = _steps(seed_ms, plan)
    at_most = "no fixed number" if count is None else f"at most {count}"
    console.print(
        f"seed        {arch.name}: {in_ms(seed_ms)} ms, {cost.madds(arch) / 1e6:.0f} M multiply-adds, "
        f"{cost.params(arch) / 1e6:.2f} M parameters; {_seeds_weights(plan)}\n"
        f"target      {in_ms(plan.target_ms)} ms on {latency.device}\n"
        f"latency     {described(latency, arch)}\n"
        f"images      {_images(plan)}\n"
        f"steps       {at_most}, each saving {plan.rule.delta:.1%} of the seed's latency or more"
        + (f", decaying by {plan.rule.decay:g}" if plan.rule.decay < 1 else "")
        + f"; {len(proposals)} proposals in the first ({', '.join(plan.rule.kinds)})\n"
        f"fine-tuning {plan.fine_tune.steps} updates of {plan.fine_tune.batch} images a proposal, measured on "
        + f"{min(plan.holdout_images or held, held)} images of the holdout"
        + (f", batch norms' statistics of {plan.norm_images} images" if plan.norm_images else "")
        + (f", the better half after {', '.join(f'{x:.0%}' for x in plan.rungs)}" if plan.rungs else "")
        + f"; {plan.rule.selection} selects; weights are inherited by {plan.inherit}\n"
        f"final       {plan.final}, {counted(plan.final_epochs, 'epoch')}"
        + (f", at {plan.full.facts.resolution_px} px ({_recipes(plan)})" if plan.full else "")
        + f"; executor {plan.executor.describe()}\n"
        f"estimate    {in_words(_minutes(plan, len(proposals), count))}"
    )
    for note in (*plan.facts.notes, *(plan.seed.found.notes if plan.seed.found else ())):
        console.print(f"note: {note}")


def _recipes(plan: Plan) -> str:
    """The recipes of trainings at full size, in words."""
    assert plan.full
    names = {"finetune": plan.full.tune_name, "scratch": plan.full.new_name}
    starts = ("finetune", "scratch") if plan.final == "both" else (plan.final,)
    return "recipe " + " and ".join(names[start] for start in starts)


def _seeds_weights(plan: Plan) -> str:
    """Where the seed's weights are from, in words."""
    found, epochs, data = plan.seed.found, counted(plan.epochs, "epoch"), plan.facts.name
    if found is None:
        return f"trained for {epochs} on {data}"
    tuned = f", tuned for {epochs} on {data}, for its classes" if found.new else ""
    return f"{found.source}, with its weights{tuned}"


def _images(plan: Plan) -> str:
    """What networks are trained on, and what their latencies are for, in words."""
    full, facts = plan.full, plan.facts
    if full is None:
        return describe_images(plan.seed.arch, facts)
    return (
        f"{full.facts.resolution_px} px, {counted(facts.classes, 'class')}, {counted(facts.train_images, 'picture')} "
        f"to train on, {facts.holdout_images:,} for the holdout; proposals are compared with {facts.resolution_px} px"
    )


def _minutes(plan: Plan, proposals: int, steps: int | None) -> float:
    """About how long an adaptation takes whose steps all have as many proposals, and all save as little as they may."""
    small = plan.trainer.small(plan.seed.arch, plan.facts)
    gpu = plan.trainer.device != "cpu"
    seconds = training_seconds_an_image(small) * (1 / GPU_CORES if gpu else machine_factor())
    held = min(plan.holdout_images or plan.facts.holdout_images, plan.facts.holdout_images)
    looked_at, images, alive = held + (plan.norm_images or 0), 0.0, float(proposals)
    for updates in (*(round(share * (plan.fine_tune.steps or 0)) for share in plan.rungs), plan.fine_tune.steps or 0):
        images += alive * (updates * plan.fine_tune.batch + INFERENCE_SHARE * looked_at)
        alive /= 2
    executor = plan.executor
    at_once = 1 if executor.kind == "serial" else executor.workers or (1 if gpu else executor.workers_here)
    minutes = (steps or _MANY_STEPS) * images * seconds / at_once / 60
    full, found = plan.full, plan.seed.found
    starts = [plan.final] if plan.final != "both" else ["finetune", "scratch"]
    starts += [starts[0]] * (len(plan.compare) - ("seed" in plan.compare))
    if full is not None:
        begun = full.minutes(plan.seed.arch, "finetune" if found else "scratch", plan.epochs)
        minutes += begun * (found is None or bool(found.new))
        minutes += plan.facts.train_images * seconds / at_once / 60  # the seed's epoch of smaller images
        return minutes + plan.repeats * sum(full.minutes(plan.seed.arch, start, plan.final_epochs) for start in starts)
    its_epochs = plan.epochs * (found is None) + plan.final_epochs * plan.repeats * (1 + len(plan.compare))
    return minutes + its_epochs * plan.facts.train_images * seconds / at_once / 60


def _steps(seed_ms: float, plan: Plan) -> int | None:
    """How many of the least cuts it takes; None if decaying ones never add up to enough."""
    now_ms, count = seed_ms, 0
    while now_ms > plan.target_ms:
        if count == 10_000:
            return None
        count += 1
        now_ms -= plan.rule.cut_ms(count, seed_ms)
    return count

"""The end of an adaptation: its network and others that are trained alike, timed on this machine, and written down."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from latency_luts.unseen import described
from nas_runtime.run import Run
from netadapt import compare
from netadapt.adapt import Adaptation, Step
from search_spaces import cost, text, timm_notation
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from netadapt.plan import Plan

__all__ = ["ADAPTED", "CHANCES", "SCRATCH", "Contender", "better", "contenders", "result", "time_here"]

CHANCES = 20  # adaptations by chance that distances are compared with
ADAPTED = "adapted"
SCRATCH = f"{ADAPTED}, from scratch"  # where it is also tuned on from what it inherited

Start = Literal["finetune", "scratch", "given"]
"""How a last training begins: with weights that were inherited from the seed, or with new ones; or it is left out,
since the seed came with its weights."""

_STARTS: Mapping[str, tuple[Start, ...]] = {
    "finetune": ("finetune",),
    "scratch": ("scratch",),
    "both": ("finetune", "scratch"),
}


@dataclass(frozen=True, kw_only=True)
class Contender:
    """What is trained at the end under one name.

    Attributes:
        name: ``adapted``, ``adapted, from scratch``, ``seed``, ``uniform scaling``, ``by chance``, or that of the
            published network.
        archs: one for each repetition; all the same network, except by chance.
        start: see `Start`.
    """

    name: str
    archs: tuple[Arch, ...]
    start: Start = "scratch"


def contenders(plan: "Plan", adaptation: Adaptation) -> list[Contender]:
    """The adapted network, and what the plan compares it with.

    At full size all that come from the seed begin as the adapted network does: with the seed's weights, as far as they
    have its channels, if that is tuned on from them; and the seed is what it is. On small images they are trained from
    scratch.
    """
    latency_ms, repeats = plan.latency.latency_ms, plan.repeats
    starts = _STARTS[plan.final]
    names = (ADAPTED, SCRATCH)[: len(starts)]
    made = [
        Contender(name=name, archs=(adaptation.arch,) * repeats, start=start)
        for name, start in zip(names, starts, strict=True)
    ]
    full = plan.full is not None
    alike, seeds = (starts[0], "given") if full else ("scratch", "scratch")
    for name in plan.compare:
        match name:
            case "seed":
                contender = Contender(name="seed", archs=(adaptation.seed,) * repeats, start=seeds)
            case "uniform":
                scaled = compare.uniform(adaptation.seed, latency_ms, adaptation.latency_ms)
                contender = Contender(name="uniform scaling", archs=(scaled,) * repeats, start=alike)
            case "chance":
                drawn = tuple(_by_chance(plan, adaptation, repeats))
                contender = Contender(name="by chance", archs=drawn, start=alike)
            case _:
                published = compare.published_for(adaptation.arch, latency_ms)
                contender = Contender(name=published.name, archs=(published,) * repeats)
        made.append(contender)
    return made


def time_here(run: Run, contenders: Sequence[Contender]) -> dict[str, float]:
    """Milliseconds of each contender (the first, if there are several) on this machine, timed side by side at full
    size; once for the same networks on the same machine."""
    from latency_luts.measure import bench, identity

    archs, how = [c.archs[0] for c in contenders], identity()
    stage = run.stage("timings", {"machine": asdict(how), "networks": [text.to_dict(arch) for arch in archs]})
    if "ms" not in stage.values:
        with bench(how) as machine:
            stage.keep("ms", [timing.ms for timing in machine.time_networks(archs, bursts=30)])
    return {c.name: ms for c, ms in zip(contenders, stage.values["ms"], strict=True)}


def result(
    plan: "Plan",
    adaptation: Adaptation,
    contenders: Sequence[Contender],
    trained: Mapping[str, Sequence[Mapping[str, Any]]],
    here_ms: Mapping[str, float],
) -> dict[str, Any]:
    """Everything that an adaptation came to, as ``result.json`` has it."""
    latency_ms = plan.latency.latency_ms
    networks = {}
    for contender in contenders:
        test = [record["test_top1"] for record in trained[contender.name]]
        networks[contender.name] = {
            "test_top1": float(np.mean(test)),
            "test_top1s": test,
            "holdout_top1": float(np.mean([record["holdout_top1"] for record in trained[contender.name]])),
            "latency_ms": float(np.mean([latency_ms(arch) for arch in contender.archs])),
            "here_ms": here_ms[contender.name],
            "madds": round(np.mean([cost.madds(arch) for arch in contender.archs])),
            "params": round(np.mean([cost.params(arch) for arch in contender.archs])),
        }
    published = compare.published_for(adaptation.arch, latency_ms)
    return {
        "seed": text.to_dict(adaptation.seed),
        "seed_ms": adaptation.seed_ms,
        "seed_top1": adaptation.seed_top1,
        "target_ms": adaptation.target_ms,
        "reached_ms": adaptation.latency_ms,
        "stopped": adaptation.stopped,
        "adapted": text.to_dict(adaptation.arch),
        "blocks": _blocks(adaptation.arch),
        "steps": [_step(step) for step in adaptation.steps],
        "networks": networks,
        "final": plan.final,
        "delivered": better(trained),
        "final_epochs": plan.final_epochs,
        "px": plan.full.facts.resolution_px if plan.full else None,
        "compared_px": plan.facts.resolution_px,
        "published": published.name,
        "distance_to_published": _distances(plan, adaptation, published),
        "latency_model": described(plan.latency, adaptation.arch),
        "device": plan.latency.device,
    }


def _blocks(arch: Arch) -> list[str]:
    """In timm's notation, or field by field where that has no words for a block."""
    try:
        return timm_notation.write(arch)
    except ValueError:
        return [json.dumps(text.block_to_dict(block)) for block in arch.blocks]


def _step(step: Step) -> dict[str, Any]:
    kept = step.kept
    return {
        "step": step.number,
        "narrowed": kept.group,
        "before": kept.before,
        "after": kept.after,
        "latency_ms": kept.latency_ms,
        "saved_ms": kept.saved_ms,
        "top1": step.top1,
        "proposals": step.proposals,
    }


def _distances(plan: "Plan", adaptation: Adaptation, published: Arch) -> dict[str, Any] | None:
    """Distances to the published expansions; None if the networks do not correspond."""
    if not adaptation.steps or not compare.matched(adaptation.arch, published):
        return None
    scaled = compare.uniform(adaptation.seed, plan.latency.latency_ms, adaptation.latency_ms)
    named = {"adapted": adaptation.arch, "seed": adaptation.seed, "uniform scaling": scaled}
    distances = {name: compare.distance(arch, published) for name, arch in named.items()}
    chance = [compare.distance(arch, published) for arch in _by_chance(plan, adaptation, CHANCES)]
    known = [distance for distance in chance if distance is not None]  # others have lost a block
    if None in distances.values() or not known:
        return None
    return {**distances, "by chance": known}


def _by_chance(plan: "Plan", adaptation: Adaptation, n: int) -> list[Arch]:
    """`n` networks from adaptations of the same seed by chance, to the latency that `adaptation` reached."""
    if not adaptation.steps:
        return [adaptation.seed] * n
    return [
        compare.by_chance(
            adaptation.seed,
            latency_ms=plan.latency.latency_ms,
            target_ms=adaptation.latency_ms,
            rule=plan.rule,
            rng_seed=i,
            other_than=adaptation.arch,
        ).arch
        for i in range(n)
    ]


def better(trained: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The name of the adapted network that is delivered."""
    ours = [name for name in (ADAPTED, SCRATCH) if name in trained]
    if len(ours) < 2:
        return ADAPTED
    return max(ours, key=lambda name: float(np.mean([record["holdout_top1"] for record in trained[name]])))

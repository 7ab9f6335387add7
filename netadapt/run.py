"""`python -m netadapt.run seed=mnasnet_a1`: adapts a network to a device, layer by layer.

Starts from a network with its weights and narrows one thing at a time until the latency is reached (NetAdapt, with
MobileNetV3's rule), then trains the result and sets it beside its seed, the seed scaled uniformly and MobileNetV3.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

import latency_luts
from latency_luts import InterpolatedModel, LatencyModel
from latency_luts.table import MeasuredTable
from nas.executor import Executor, Shared
from nas.records import Records
from nas.run_dir import open_run_dir, read_json, write_json, write_text
from nas.settings import (
    EXECUTORS,
    open_executor,
    read_data_settings,
    read_evaluator,
    read_recipe,
    read_workers,
)
from nas.training import sources
from nas.training.recipe import Recipe
from netadapt import compare, report
from netadapt import seed as seeds
from netadapt.adapt import Adaptation, Step, adapt
from netadapt.channels import KINDS
from netadapt.fine_tune import FineTune, Train, top1_on_test
from netadapt.propose import SELECTIONS, propose
from netadapt.tuner import FineTuning
from netadapt.weights import INHERIT, TrainedNet
from search_spaces import cost, redesign, text, zoo
from search_spaces.arch import Arch
from search_spaces.command import Settings, run

if TYPE_CHECKING:
    from nas.evaluators.proxy_training import ProxyTraining

# settings that change how or where an adaptation runs, but not what it finds
MAY_DIFFER = ("executor", "workers", "ray", "run_dir", "tables_dir", "dry_run", "final", "final_epochs", "compare")
FINALS = ("scratch", "finetune")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An adaptation, as read from the command line."""

    seed: seeds.Seed
    latency: LatencyModel
    target_ms: float
    delta: float
    decay: float
    kinds: tuple[str, ...]
    selection: str
    inherit: str
    recipe: Recipe
    fine_tune: Recipe
    rungs: tuple[float, ...]
    final: str
    final_epochs: int
    compare: bool
    rng_seed: int
    workers: int


def main(settings: Settings) -> None:
    console = Console(highlight=False, soft_wrap=True)
    started = time.perf_counter()
    plan = read_plan(settings)
    settings.choice("executor", EXECUTORS)
    data_settings = read_data_settings(settings)
    describe(console, plan, data_settings["name"], settings.value("executor"))
    if settings.flag("dry_run"):
        return

    evaluator = read_evaluator(settings, plan.recipe, sources.load(**data_settings))
    run_dir = settings.path("run_dir") or Path("runs") / f"netadapt-{datetime.now():%Y%m%d-%H%M%S}"
    config = {**settings.value(""), "run_dir": str(run_dir)}
    resumed = open_run_dir(run_dir, config, may_differ=MAY_DIFFER, rng_seed=plan.rng_seed)
    history = Records(run_dir / "history.jsonl", "history")
    console.print(
        f"{'continuing' if resumed else 'writing to'} {run_dir}"
        + (f" after {len(history.records)} evaluations" if history.records else "")
    )
    try:
        with open_executor(settings) as executor:
            shared = executor.share(evaluator)
            start = _seed_net(console, plan, evaluator)
            progress = report.Live(console)
            tuner = FineTuning(
                executor=executor,
                evaluator=shared,
                seed=start,
                recipe=plan.fine_tune,
                history=history,
                folder=run_dir / "steps",
                how=plan.inherit,
                selection=plan.selection,
                rungs=plan.rungs,
                rng_seed=plan.rng_seed,
                on_evaluation=progress.on_evaluation,
            )
            found = adapt(
                plan.seed.arch,
                tuner,
                seed_top1=start.top1,
                latency_ms=plan.latency.latency_ms,
                target_ms=plan.target_ms,
                delta=plan.delta,
                decay=plan.decay,
                kinds=plan.kinds,
                selection=plan.selection,
                on_step=lambda step: progress.on_step(step, plan.target_ms),
            )
            networks = _networks(plan, found)
            console.print(f"final training: {', '.join(networks)}, {plan.final_epochs} epochs each")
            rows = _final_training(run_dir, plan, found, networks, executor, evaluator, shared, tuner)
    except KeyboardInterrupt:
        console.print(f"stopped; nothing is lost: continue with the same command and {run_dir=!s}")
        raise
    _measure_here(run_dir, networks, rows)
    result = _write_results(run_dir, plan, found, networks, rows, time.perf_counter() - started)
    report.show(console, run_dir, result)


# ---- before


def read_plan(settings: Settings) -> Plan:
    redesigns = settings.value("redesign")
    seed = seeds.find(
        settings.text("seed"),
        width=settings.number("width", above=0, high=4),
        redesigns=settings.texts("redesign", ("mobilenet_v3", *redesign.REDESIGNS)) if redesigns else [],
        weights_path=settings.path("weights"),
    )
    device = settings.text("target.device" if settings.value("target") is not None else "device")
    latency = _latency(settings, device)
    seed_ms = latency.latency_ms(seed.arch)
    target_ms = _target_ms(settings, latency, seed_ms)
    if not target_ms < seed_ms:
        raise ValueError(
            f"the target is {target_ms:.4g} ms, but the seed {seed.arch.name} takes {seed_ms:.4g} ms on {device}; "
            "choose a target below that, or a wider seed (width=...)"
        )
    recipe = read_recipe(settings)
    return Plan(
        seed=seed,
        latency=latency,
        target_ms=target_ms,
        delta=settings.number("delta", above=0, high=0.5),
        decay=settings.number("decay", above=0, high=1),
        kinds=tuple(settings.texts("kinds", KINDS)),
        selection=settings.choice("selection", SELECTIONS),
        inherit=settings.choice("inherit", INHERIT),
        recipe=recipe,
        fine_tune=replace(
            recipe,
            steps=settings.integer("fine_tune.steps", low=1),
            lr=settings.number("fine_tune.lr", above=0),
            warmup=0.0,
        ),
        rungs=_rungs(settings.value("rungs") or []),
        final=settings.choice("final", FINALS),
        final_epochs=settings.integer("final_epochs", low=1),
        compare=settings.flag("compare"),
        rng_seed=settings.integer("rng_seed", low=0),
        workers=read_workers(settings),
    )


def _rungs(value: Any) -> tuple[float, ...]:
    values = value if isinstance(value, list) else [value]
    numbers = [x for x in values if isinstance(x, int | float) and not isinstance(x, bool) and 0 <= x < 1]
    if numbers != values or sorted(set(numbers)) != numbers:
        raise ValueError(f"rungs={value}: they must be shares of fine_tune.steps, from 0 to below 1, rising: [0,0.5]")
    return tuple(map(float, numbers))


def _latency(settings: Settings, device: str) -> LatencyModel:
    """The model of the device. NetAdapt asks for every width, so that measured tables are interpolated."""
    tables_dir = settings.path("tables_dir")
    if device == "host" and "host" not in latency_luts.names(tables_dir=tables_dir) and not settings.flag("dry_run"):
        from latency_luts.build import build_for_space
        from search_spaces import spaces

        build_for_space(spaces.get("mnasnet", base_width=1.0), tables_dir=tables_dir, progress=True)
    model = latency_luts.load(device, tables_dir=tables_dir)
    return InterpolatedModel(model.table) if isinstance(model.table, MeasuredTable) else model


def _target_ms(settings: Settings, latency: LatencyModel, seed_ms: float) -> float:
    if settings.value("target_ms") is not None:
        return settings.number("target_ms", above=0)
    if settings.value("target") is None:
        return settings.number("ratio", above=0, high=1) * seed_ms
    if settings.value("target.target_ms") is not None:
        return settings.number("target.target_ms", above=0)
    return latency.latency_ms(zoo.get(settings.choice("target.like", zoo.names())))


def describe(console: Console, plan: Plan, data: str, executor: str) -> None:
    """The plan, in a few lines: also what ``dry_run=true`` prints."""
    arch, latency = plan.seed.arch, plan.latency
    seed_ms = latency.latency_ms(arch)
    proposals = propose(arch, latency.latency_ms, cut_ms=plan.delta * seed_ms, kinds=plan.kinds)
    at_most = _steps(seed_ms, plan)
    weights = f"weights of {plan.seed.weights}" if plan.seed.weights else f"trained for {plan.recipe.epochs} epochs"
    console.print(
        f"seed        {arch.name}: {seed_ms:.1f} ms, {cost.madds(arch) / 1e6:.0f} M multiply-adds, "
        f"{cost.params(arch) / 1e6:.2f} M parameters; {weights} on {data}\n"
        f"target      {plan.target_ms:.1f} ms on {latency.describe()}\n"
        f"steps       at most {at_most}, each saving {plan.delta:.1%} of the seed's latency or more"
        + (f", decaying by {plan.decay:g}" if plan.decay < 1 else "")
        + f"; {len(proposals)} proposals in the first ({', '.join(plan.kinds)})\n"
        f"fine-tuning {plan.fine_tune.steps} updates of {plan.fine_tune.batch} images a proposal"
        + (f", the better half after {', '.join(f'{x:.0%}' for x in plan.rungs)}" if plan.rungs else "")
        + f"; {plan.selection} selects; weights are inherited by {plan.inherit}\n"
        f"final       {plan.final}, {plan.final_epochs} epochs; executor {executor}, {plan.workers} "
        f"worker{'s' * (plan.workers > 1)}"
    )


def _steps(seed_ms: float, plan: Plan) -> int:
    now_ms, count = seed_ms, 0
    while now_ms > plan.target_ms and count < 10_000:
        now_ms -= plan.delta * seed_ms * plan.decay**count
        count += 1
    return count


# ---- around the adaptation


def _seed_net(console: Console, plan: Plan, evaluator: "ProxyTraining") -> TrainedNet:
    if plan.seed.weights:
        start = seeds.given_net(plan.seed, evaluator)
        console.print(f"the seed has top-1 {start.top1:.1%} on the holdout")
        return start
    begun = time.perf_counter()
    console.print(f"training the seed for {plan.recipe.epochs} epochs, unless that was done before")
    start = seeds.trained_net(plan.seed, evaluator, plan.recipe, threads=plan.workers, rng_seed=plan.rng_seed)
    console.print(f"the seed has top-1 {start.top1:.1%} on the holdout ({time.perf_counter() - begun:.0f} s)")
    return start


def _networks(plan: Plan, found: Adaptation) -> dict[str, Arch]:
    """What is trained at the end, by the name that the tables give it."""
    if not plan.compare:
        return {"adapted": found.arch}
    latency_ms = plan.latency.latency_ms
    scaled = compare.uniform(found.seed, latency_ms, found.latency_ms)
    published = compare.published_for(found.arch, latency_ms)
    return {"adapted": found.arch, "seed": found.seed, "uniform scaling": scaled, published.name: published}


def _final_training(
    run_dir: Path,
    plan: Plan,
    found: Adaptation,
    networks: dict[str, Arch],
    executor: Executor,
    evaluator: "ProxyTraining",
    shared: Shared,
    tuner: FineTuning,
) -> dict[str, dict[str, Any]]:
    """Trains `networks` and measures them on `test`; writes the adapted one's weights and ONNX graph."""
    path = run_dir / "final.json"
    identity = {name: _identity(plan, name, arch) for name, arch in networks.items()}
    known: dict[str, dict[str, Any]] = read_json(path) or {}
    rows = {n: known[n] for n in networks if n in known and known[n].get("identity") == identity[n]}
    recipe = replace(plan.recipe, epochs=plan.final_epochs)
    scratch = Train(evaluator=shared, recipe=recipe, rng_seed=plan.rng_seed)
    jobs: list[tuple[Callable, list[str]]] = [
        (scratch, [n for n in networks if n not in rows and not (n == "adapted" and plan.final == "finetune")])
    ]
    if plan.final == "finetune" and "adapted" not in rows:
        parent = executor.share(tuner.net(len(found.steps)))
        long = replace(recipe, lr=plan.fine_tune.lr)
        task = FineTune(evaluator=shared, parent=parent, recipe=long, how=plan.inherit, rng_seed=plan.rng_seed)
        jobs.append((task, ["adapted"]))
    for task, names in jobs:
        for i, evaluation in executor.run(task, [networks[name] for name in names]):
            if evaluation.status != "ok":
                raise ValueError(f"the final training of {names[i]} failed: {evaluation.note}")
            net: TrainedNet = evaluation.state
            if names[i] == "adapted":
                _write_network(run_dir, found.arch, net)
            rows[names[i]] = {
                "identity": identity[names[i]],
                "holdout_top1": evaluation.top1,
                "test_top1": top1_on_test(net, evaluator),
                "latency_ms": plan.latency.latency_ms(networks[names[i]]),
                "madds": cost.madds(networks[names[i]]),
                "params": cost.params(networks[names[i]]),
            }
            write_json(path, rows)
    return {name: rows[name] for name in networks}


def _identity(plan: Plan, name: str, arch: Arch) -> dict[str, Any]:
    final = plan.final if name == "adapted" else "scratch"
    return {"arch": text.to_dict(arch), "epochs": plan.final_epochs, "final": final}


def _write_network(run_dir: Path, arch: Arch, net: TrainedNet) -> None:
    import torch
    from safetensors.numpy import save_file

    from search_spaces import onnx_net
    from search_spaces.torch_net import Net

    partial = run_dir / "best.safetensors.partial"
    save_file(dict(net.weights), partial, metadata={"arch": text.to_json(net.arch)})
    partial.replace(run_dir / "best.safetensors")
    module = Net(net.arch)
    module.load_state_dict({name: torch.tensor(array) for name, array in net.weights.items()})
    onnx_net.export(net.arch, run_dir / "best.onnx", net=module)
    write_text(run_dir / "best.json", text.to_json(arch))


def _measure_here(run_dir: Path, networks: dict[str, Arch], rows: dict[str, dict[str, Any]]) -> None:
    """Times the networks side by side on this machine, at full size, and adds that to their rows."""
    path = run_dir / "final.json"
    if all("here_ms" in row for row in rows.values()):
        return
    from latency_luts.measure import bench, identity

    with bench(identity()) as machine:
        timings = machine.time_networks(list(networks.values()), bursts=30)
    for name, timing in zip(networks, timings, strict=True):
        rows[name]["here_ms"] = timing.ms
    write_json(path, rows)


def _write_results(
    run_dir: Path,
    plan: Plan,
    found: Adaptation,
    networks: dict[str, Arch],
    rows: dict[str, dict[str, Any]],
    seconds: float,
) -> dict[str, Any]:
    def row(step: Step) -> dict[str, Any]:
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

    published = networks.get("mobilenet_v3_large") or networks.get("mobilenet_v3_small")
    distances = None
    if published and compare.matched(found.arch, published):
        chance = [
            compare.by_chance(
                found.seed,
                latency_ms=plan.latency.latency_ms,
                target_ms=max(found.latency_ms, 1e-9),
                delta=plan.delta,
                decay=plan.decay,
                kinds=plan.kinds,
                rng_seed=i,
            ).arch
            for i in range(20)
        ]
        distances = {
            "adapted": compare.distance(found.arch, published),
            "seed": compare.distance(found.seed, published),
            "uniform scaling": compare.distance(networks["uniform scaling"], published),
            "by chance": [compare.distance(arch, published) for arch in chance],
        }
    result = {
        "seed": text.to_dict(found.seed),
        "seed_ms": found.seed_ms,
        "seed_top1": found.seed_top1,
        "target_ms": found.target_ms,
        "reached_ms": found.latency_ms,
        "stopped": found.stopped,
        "adapted": text.to_dict(found.arch),
        "blocks": text.timm_strings(found.arch),
        "steps": [row(step) for step in found.steps],
        "networks": {n: {k: v for k, v in r.items() if k != "identity"} for n, r in rows.items()},
        "final": plan.final,
        "final_epochs": plan.final_epochs,
        "distance_to_published": distances,
        "latency_model": plan.latency.describe(),
        "device": plan.latency.device,
        "seconds_of_last_call": round(seconds, 1),
    }
    write_json(run_dir / "result.json", result)
    report.write(run_dir, result, found, published)
    return result


if __name__ == "__main__":
    run(main, "netadapt")

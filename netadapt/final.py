"""The end of an adaptation: its network and others trained alike, timed on this machine, and written down."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latency_luts.unseen import described
from nas import delivery
from nas.executor import Executor, Shared
from nas.seeds import final_seed
from nas.training.pictures import of_arrays
from nas_runtime.run import Run
from netadapt import compare
from netadapt.adapt import Adaptation, Step
from netadapt.fine_tune import AndTest, FineTune, Train
from netadapt.plan import Plan
from netadapt.weights import TrainedNet
from search_spaces import cost, text, timm_notation
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from rich.console import Console

    from nas.training.trainer import Trainer
    from search_spaces.torch_net import Net

__all__ = ["CHANCES", "Contender", "contenders", "deliver", "result", "time_here", "train"]

CHANCES = 20  # adaptations by chance that distances are compared with
_ADAPTED = "adapted"
_SCRATCH = f"{_ADAPTED}, from scratch"  # where it is also tuned on from what it inherited


@dataclass(frozen=True, kw_only=True)
class Contender:
    """What is trained at the end under one name.

    Attributes:
        name: ``adapted``, ``adapted, from scratch``, ``seed``, ``uniform scaling``, ``by chance``, or that of the
            published network.
        archs: one for each repetition; all the same network, except by chance.
    """

    name: str
    archs: tuple[Arch, ...]


def contenders(plan: Plan, adaptation: Adaptation) -> list[Contender]:
    """The adapted network, and what the plan compares it with."""
    latency_ms = plan.latency.latency_ms
    names = (_ADAPTED, _SCRATCH) if plan.final == "both" else (_ADAPTED,)
    made = [Contender(name=name, archs=(adaptation.arch,) * plan.repeats) for name in names]
    for name in plan.compare:
        match name:
            case "seed":
                contender = Contender(name="seed", archs=(adaptation.seed,) * plan.repeats)
            case "uniform":
                scaled = compare.uniform(adaptation.seed, latency_ms, adaptation.latency_ms)
                contender = Contender(name="uniform scaling", archs=(scaled,) * plan.repeats)
            case "chance":
                contender = Contender(name="by chance", archs=tuple(_by_chance(plan, adaptation, plan.repeats)))
            case _:
                published = compare.published_for(adaptation.arch, latency_ms)
                contender = Contender(name=published.name, archs=(published,) * plan.repeats)
        made.append(contender)
    return made


def train(
    run: Run,
    plan: Plan,
    contenders: Sequence[Contender],
    executor: Executor,
    trainer: Shared,
    inherited: TrainedNet | None,
) -> dict[str, list[dict[str, Any]]]:
    """Trains the contenders, each repetition with its own seed (`nas.seeds`), and measures them on `test`.

    What is in ``final.jsonl`` is not trained again. The weights of the first adapted networks are kept for `deliver`.

    Args:
        inherited: what the adapted network starts from, if it is not ``final=scratch``.

    Returns:
        The records of each contender, in the order of their repetitions.

    Raises:
        ValueError: a training failed or diverged.
    """
    records = run.records("final.jsonl", "final trainings")
    places = {}
    for contender in contenders:
        for i, arch in enumerate(contender.archs):
            final = "finetune" if contender.name == _ADAPTED and inherited else "scratch"
            identity = {"final": final, "epochs": plan.final_epochs, "rng_seed": final_seed(plan.rng_seed, i)}
            name = _ADAPTED if contender.name == _SCRATCH else contender.name  # which it is without final=both
            places[contender.name, i] = {"network": name, **identity, "arch": text.to_dict(arch)}
    done = {place: record for place, about in places.items() if (record := _recorded(records.records, about))}
    known = set(done)
    for contender in contenders:
        place = contender.name, 0
        if (
            place in done
            and _is_ours(contender)
            and _kept(run, trainer.get(), contender.archs[0], places[place]) is None
        ):
            del done[place]  # the files are another training's: it is done again for them
    failures = []  # said at the end, so that what trains beside them is not lost
    for i in range(plan.repeats):
        names = [c.name for c in contenders if (c.name, i) not in done]
        archs = [c.archs[i] for c in contenders if (c.name, i) not in done]
        for name, evaluation in _run(plan, names, archs, i, executor, trainer, inherited):
            if evaluation.status != "ok":
                failures.append(f"the final training of {name} failed: {evaluation.note}")
                continue
            net, test_top1 = evaluation.state
            if name in (_ADAPTED, _SCRATCH) and i == 0:
                _keep(run, net, places[name, 0])
            record = {**places[name, i], "holdout_top1": evaluation.top1, "test_top1": test_top1}
            if (name, i) not in known:
                records.append(record)
            done[name, i] = record
        if failures:
            raise ValueError("; ".join(failures))
    return {c.name: [done[c.name, i] for i in range(plan.repeats)] for c in contenders}


def _recorded(records: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> dict[str, Any] | None:
    return next((dict(r) for r in records if all(r.get(key) == value for key, value in about.items())), None)


def _run(
    plan: Plan,
    names: Sequence[str],
    archs: Sequence[Arch],
    repetition: int,
    executor: Executor,
    trainer: Shared,
    inherited: TrainedNet | None,
) -> Iterator[tuple[str, Any]]:
    rng_seed = final_seed(plan.rng_seed, repetition)
    recipe = replace(plan.recipe, epochs=plan.final_epochs)
    scratch = [i for i, name in enumerate(names) if inherited is None or name != _ADAPTED]
    task = AndTest(trainer, Train(trainer=trainer, recipe=recipe, rng_seed=rng_seed))
    for i, evaluation in executor.run(task, [archs[i] for i in scratch]):
        yield names[scratch[i]], evaluation
    if inherited is not None and _ADAPTED in names:
        recipe = replace(recipe, lr=plan.fine_tune.lr)
        fine_tune = FineTune(
            trainer=trainer,
            parent=executor.share(inherited),
            recipe=recipe,
            inherit=plan.inherit,
            rng_seed=rng_seed,
        )
        for _, evaluation in executor.run(AndTest(trainer, fine_tune), [archs[names.index(_ADAPTED)]]):
            yield _ADAPTED, evaluation


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
    plan: Plan,
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
        "delivered": _better(trained),
        "final_epochs": plan.final_epochs,
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


def _distances(plan: Plan, adaptation: Adaptation, published: Arch) -> dict[str, Any] | None:
    """Distances to the published expansions; None if the networks do not correspond."""
    if not adaptation.steps or not compare.matched(adaptation.arch, published):
        return None
    scaled = compare.uniform(adaptation.seed, plan.latency.latency_ms, adaptation.latency_ms)
    return {
        "adapted": compare.distance(adaptation.arch, published),
        "seed": compare.distance(adaptation.seed, published),
        "uniform scaling": compare.distance(scaled, published),
        "by chance": [compare.distance(arch, published) for arch in _by_chance(plan, adaptation, CHANCES)],
    }


def _by_chance(plan: Plan, adaptation: Adaptation, n: int) -> list[Arch]:
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


def deliver(
    run: Run,
    plan: Plan,
    adapted: Arch,
    trained: Mapping[str, Sequence[Mapping[str, Any]]],
    trainer: "Trainer",
    console: "Console",
) -> None:
    """Writes the first adapted network to the run's directory, whose weights `train` has kept (`nas.delivery`); of two
    trainings of it the one that is better on the holdout.

    Args:
        trained: the records of each contender.
    """
    records = trained[_better(trained)]
    about = {name: value for name, value in records[0].items() if not name.endswith("_top1")}
    net = _kept(run, trainer, adapted, about)
    assert net is not None
    finished = delivery.Finished(
        net=net,
        data=of_arrays(trainer.data, trainer.identity()["images"]),
        searched=adapted,
        training=about,
        recipe=delivery.in_words(replace(plan.recipe, epochs=plan.final_epochs), about["final"]),
        holdout_top1=records[0]["holdout_top1"],
        test_top1=records[0]["test_top1"],
        test_top1s=tuple(record["test_top1"] for record in records),
        latency=plan.latency,
    )
    delivery.deliver(run.path, finished, plan.delivery, console)


def _is_ours(contender: Contender) -> bool:
    return contender.name in (_ADAPTED, _SCRATCH)


def _better(trained: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The name of the adapted network that is delivered."""
    ours = [name for name in (_ADAPTED, _SCRATCH) if name in trained]
    if len(ours) < 2:
        return _ADAPTED
    return max(ours, key=lambda name: float(np.mean([record["holdout_top1"] for record in trained[name]])))


def _kept(run: Run, trainer: "Trainer", arch: Arch, training: Mapping[str, Any]) -> "Net | None":
    """The network with the weights of this training; what an earlier version left beside its files is kept, too."""
    small, folder = trainer.small(arch), _folder(run, training)
    if net := delivery.kept(folder, small, training):
        return net
    if net := delivery.kept(run.path, small, training):
        folder.mkdir(exist_ok=True)
        delivery.keep(folder, net, training)
    return net


def _folder(run: Run, training: Mapping[str, Any]) -> Path:
    return run.path / f"final_{training['final']}"


def _keep(run: Run, net: TrainedNet, training: Mapping[str, Any]) -> None:
    import torch

    from search_spaces.torch_net import Net

    module = Net(net.arch)
    module.load_state_dict({name: torch.tensor(array) for name, array in net.weights.items()})
    folder = _folder(run, training)
    folder.mkdir(parents=True, exist_ok=True)
    delivery.keep(folder, module, training)

"""The last trainings of an adaptation on small images in memory, on its executor; and the delivery of its network."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas import delivery
from nas.executor import Executor, Shared
from nas.seeds import final_seed
from nas.training.pictures import of_arrays
from nas_runtime.run import Run
from netadapt.final import ADAPTED, SCRATCH, Contender, better
from netadapt.fine_tune import AndTest, FineTune, Train
from netadapt.weights import TrainedNet
from search_spaces import text
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from rich.console import Console

    from nas.training.trainer import Trainer
    from netadapt.plan import Plan
    from search_spaces.torch_net import Net

__all__ = ["deliver", "train"]


def train(
    run: Run,
    plan: "Plan",
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
            identity = {"final": contender.start, "epochs": plan.final_epochs, "rng_seed": final_seed(plan.rng_seed, i)}
            name = ADAPTED if contender.name == SCRATCH else contender.name  # which it is without final=both
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
        wanted = [contender for contender in contenders if (contender.name, i) not in done]
        for name, evaluation in _run(plan, wanted, i, executor, trainer, inherited):
            if evaluation.status != "ok":
                failures.append(f"the final training of {name} failed: {evaluation.note}")
                continue
            net, test_top1 = evaluation.state
            if name in (ADAPTED, SCRATCH) and i == 0:
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
    plan: "Plan",
    wanted: Sequence[Contender],
    repetition: int,
    executor: Executor,
    trainer: Shared,
    inherited: TrainedNet | None,
) -> Iterator[tuple[str, Any]]:
    rng_seed = final_seed(plan.rng_seed, repetition)
    recipe = replace(plan.recipe, epochs=plan.final_epochs)
    scratch, tuned = ([c for c in wanted if c.start == start] for start in ("scratch", "finetune"))
    task = AndTest(trainer, Train(trainer=trainer, recipe=recipe, rng_seed=rng_seed))
    for i, evaluation in executor.run(task, [contender.archs[repetition] for contender in scratch]):
        yield scratch[i].name, evaluation
    if tuned:
        recipe = replace(recipe, lr=plan.fine_tune.lr)
        fine_tune = FineTune(
            trainer=trainer,
            parent=executor.share(inherited),
            recipe=recipe,
            inherit="truncate",  # it has all of the parent's channels
            rng_seed=rng_seed,
        )
        for i, evaluation in executor.run(AndTest(trainer, fine_tune), [c.archs[repetition] for c in tuned]):
            yield tuned[i].name, evaluation


def deliver(
    run: Run,
    plan: "Plan",
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
    records = trained[better(trained)]
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
    return contender.name in (ADAPTED, SCRATCH)


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

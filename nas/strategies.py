"""How a search judges networks: by a training of each, with weights that all share, or by what a surrogate says."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rich.console import Console

from nas import finish
from nas.controllers import Controller
from nas.evaluators.surrogate import Surrogate
from nas.executor import Evaluate, Executor, SerialExecutor
from nas.finish import FinalTrainings
from nas.plan import Plan
from nas.seeds import final_seed
from nas_runtime.run import Run

if TYPE_CHECKING:
    from torch import Tensor

    from nas.evaluators.proxy_training import ProxyTraining
    from nas.supernet.prepare import SharedPlan
    from search_spaces.arch import Arch

__all__ = ["Strategy", "open_strategy"]


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """How networks are judged, from the samples to the winner.

    Attributes:
        evaluate: judges a sample.
        controller: proposes the samples.
        evaluate_again: see `nas.loop.search`.
        trainer: how networks are trained by themselves; None: nothing is trained, and the best sample wins.
        trainings: those of the last round; None: nothing is trained.
        inherited: gives the weights that a final training begins with; None: from scratch.
        references: figures of published networks by `evaluate`; empty where it cannot judge them.
    """

    evaluate: Evaluate
    controller: Controller
    evaluate_again: Callable[[int], Evaluate] | None = None
    trainer: "ProxyTraining | None" = None
    trainings: FinalTrainings | None = None
    inherited: "Callable[[Arch], Mapping[str, Tensor]] | None" = None
    references: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def open_strategy(
    run: Run, plan: Plan, trainer: "ProxyTraining | None", executor: Executor, console: Console
) -> Strategy:
    """The strategy that `plan` asks for, ready to judge: references are trained, and shared weights, unless that was
    done before."""
    if trainer is None:
        surrogate = functools.partial(Surrogate.load().evaluate, rng_seed=plan.rng_seed)
        return Strategy(evaluate=surrogate, controller=plan.controller)
    if plan.shared:
        return _with_shared_weights(run, plan, plan.shared, trainer, executor, console)
    evaluate = functools.partial(trainer.evaluate, rng_seed=plan.rng_seed)
    identity = {**trainer.identity(), "rng_seed": plan.rng_seed}
    return Strategy(
        evaluate=evaluate,
        evaluate_again=_with_another_seed(trainer, plan) if plan.train_again else None,
        controller=plan.controller,
        trainer=trainer,
        trainings=_from_scratch(plan, trainer),
        references=finish.references(run, plan, identity, evaluate, executor),
    )


def _from_scratch(plan: Plan, trainer: "ProxyTraining") -> FinalTrainings:
    assert plan.final_recipe
    thoroughly, rng_seed = replace(trainer, recipe=plan.final_recipe), final_seed(plan.rng_seed)
    return FinalTrainings(
        from_scratch=functools.partial(thoroughly.evaluate, rng_seed=rng_seed),
        identity={**thoroughly.identity(), "rng_seed": rng_seed, "start": "scratch"},
    )


def _with_another_seed(trainer: "ProxyTraining", plan: Plan) -> Callable[[int], Evaluate]:
    return lambda times: functools.partial(trainer.evaluate, rng_seed=plan.rng_seed + times)


def _with_shared_weights(
    run: Run, plan: Plan, shared: "SharedPlan", trainer: "ProxyTraining", executor: Executor, console: Console
) -> Strategy:
    from nas.evaluators.shared_weights import SharedWeights
    from nas.supernet.prepare import FILE, prepare

    weights, learned = prepare(
        run.path,
        shared,
        space=plan.space,
        latency=plan.latency,
        target_ms=plan.target_ms,
        trainer=trainer,
        rng_seed=plan.rng_seed,
        threads=plan.executor.workers_here,
        console=console,
        reward=plan.reward,
    )
    supernet = SharedWeights(
        key=f"{run.path.resolve()} {(run.path / FILE).stat().st_mtime_ns}",
        space=plan.space,
        weights=executor.share(weights),
        trainer=trainer,
        kernels=shared.kernels,
        images=shared.images,
        bn_images=shared.bn_images,
    )
    inherited, trainings = None, _from_scratch(plan, trainer)
    if plan.final_start == "inherited":
        assert plan.final_recipe
        inherited = replace(supernet, weights=SerialExecutor().share(weights)).inherited
        longer = replace(supernet, trainer=replace(trainer, recipe=plan.final_recipe))
        trainings = replace(
            trainings,
            trained_on=functools.partial(longer.trained_on, rng_seed=final_seed(plan.rng_seed)),
            inherited_identity={**trainings.identity, "start": "inherited", "shared": _plain(shared)},
        )
    return Strategy(
        evaluate=functools.partial(supernet.evaluate, rng_seed=plan.rng_seed),
        controller=learned or plan.controller,
        trainer=trainer,
        trainings=trainings,
        inherited=inherited,
    )


def _plain(shared: "SharedPlan") -> dict[str, Any]:
    """What the shared weights depend on."""
    return {name: value for name, value in asdict(shared).items() if name not in ("workers", "images", "bn_images")}

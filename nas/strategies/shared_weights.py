"""``evaluator=shared_weights``: samples are judged with one set of weights, which is trained first."""

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from nas import loop
from nas.estimate import INFERENCE_SHARE, SAMPLE_S, in_words, pace
from nas.executor import Executor, SerialExecutor
from nas.finish import FinalTrainings
from nas.options import SharedWeightsOptions
from nas.references import REFERENCES
from nas.seeds import final_seed
from nas.settings import ExecutorSettings, recipe_of
from nas.strategies.contract import Task
from nas.strategies.reading import read_trainings
from nas.strategies.trained import TrainedJudge, TrainedStrategy
from nas.supernet.phases import PHASES, Phase
from nas.supernet.prepare import SharedPlan
from nas.training.place import Workers
from nas_runtime.console import counted
from search_spaces.arch import Arch
from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    from rich.console import Console

    from nas.search_options import SearchOptions
    from nas.supernet.evaluator import SharedWeights
    from nas.supernet.policy import Learned
    from nas.training.trainer import Trainer
    from nas_runtime.run import Run

__all__ = ["Shared", "read"]

_WARMUP_COST = 10.0  # of an update with averaged operators and the largest filters, in ordinary ones (mobilenet_v3)


@dataclass(frozen=True, kw_only=True)
class Shared(TrainedStrategy):
    """A strategy (`nas.strategies.contract.Strategy`) with weights that all networks share."""

    shared: SharedPlan

    @property
    def sample_accuracy(self) -> str:
        return "top-1 on the holdout with shared weights"

    @property
    def policy(self) -> str:
        joint = "reinforce, which learns already while the weights are trained; its likeliest network comes first"
        return joint if self.shared.mode == "joint" else ""

    def check(self, space: SearchSpace) -> None:
        space.declared()  # or says why its networks cannot share weights

    def describe(self, samples: int) -> str:
        epochs, data = counted(self.shared.recipe.epochs, "epoch"), self.trainings.data.name
        return (
            f"{counted(samples, 'sample')} with weights shared by all, trained for {epochs} of {data}, "
            f"{self.trainings.describe_last()}"
        )

    def estimate(self, samples: int, networks: Sequence[Arch], executor: ExecutorSettings, *, winners: int = 1) -> str:
        trainings, shared = self.trainings, self.shared
        looked_at = shared.images + shared.bn_images
        speed = pace(
            networks,
            trainings.facts,
            trainings.trainer,
            executor,
            shared_batch=shared.recipe.batch,
            looked_at=looked_at,
        )
        inherits = trainings.final_start == "inherited"  # then the winner is trained from scratch, too
        first = winners * trainings.finalists
        rounds = [first, len(REFERENCES) + winners] if inherits else [first + len(REFERENCES)]
        seconds = sum(map(speed.rounds, rounds)) * trainings.final_epochs * speed.epoch_s
        seconds += self._updates_cost() * shared.recipe.epochs * trainings.facts.train_images * speed.shared_image_s
        seconds += samples * (looked_at * speed.look_s / speed.at_once + SAMPLE_S)
        small = speed.minutes(seconds, final_epochs=winners * trainings.final_epochs)
        return in_words(trainings.minutes(small, networks, winners))

    def _updates_cost(self) -> float:
        """What an image in the training of shared weights costs, in images of an ordinary update."""
        shared = self.shared
        if shared.mode != "joint":
            return 1.0
        shares = {name: phase.share for name, phase in shared.phases.items()}
        warmup = max(0.0, shared.joint.warmup - 1 + shares["mixed"] / sum(shares.values()))
        return (1 + INFERENCE_SHARE * shared.joint.reward_batches) * (1 + (_WARMUP_COST - 1) * warmup)

    def open(self, task: Task, run: "Run", executor: Executor, console: "Console") -> TrainedJudge:
        trainer = self.trainings.load(console)
        local, learned = self._trained(task, run, trainer, console)
        supernet = replace(local, weights=executor.share(local.weights.get()))
        inherits = self.trainings.final_start == "inherited"
        return TrainedJudge(
            task=task,
            run=run,
            executor=executor,
            console=console,
            trainings=self.trainings,
            trainer=trainer,
            controller=learned or task.controller,
            sample=functools.partial(
                loop.sample,
                evaluate=functools.partial(supernet.evaluate, rng_seed=task.rng_seed),
                executor=executor,
            ),
            final=self._final(supernet, trainer, task.rng_seed),
            inherited=local.inherited if inherits else None,
            looked_at=self.shared.images,
        )

    def _trained(
        self, task: Task, run: "Run", trainer: "Trainer", console: "Console"
    ) -> "tuple[SharedWeights, Learned | None]":
        """What evaluates with the trained weights in this process, and the controller that learned with them."""
        from nas.supernet.evaluator import SharedWeights
        from nas.supernet.prepare import FILE, Problem, prepare

        weights, learned = prepare(
            run.path,
            self.shared,
            Problem(
                space=task.space,
                latency=task.latency,
                target_ms=task.target_ms,
                longest_ms=task.longest_ms,
                reward=task.reward,
            ),
            trainer=trainer,
            rng_seed=task.rng_seed,
            threads=task.executor.workers_here,
            console=console,
        )
        supernet = SharedWeights(
            key=f"{run.path.resolve()} {(run.path / FILE).stat().st_mtime_ns}",
            space=task.space,
            weights=SerialExecutor().share(weights),
            trainer=trainer,
            kernels=self.shared.kernels,
            images=self.shared.images,
            bn_images=self.shared.bn_images,
        )
        return supernet, learned

    def _final(self, supernet: "SharedWeights", trainer: "Trainer", rng_seed: int) -> FinalTrainings:
        final = self.trainings.from_scratch(trainer, rng_seed)
        if self.trainings.final_start == "scratch":
            return final
        longer = replace(supernet, trainer=self.trainings.longer(trainer))
        return replace(
            final,
            trained_on=functools.partial(longer.trained_on, rng_seed=final_seed(rng_seed)),
            inherited_identity={**final.identity, "start": "inherited", "shared": _plain(self.shared)},
        )


def _plain(shared: SharedPlan) -> dict[str, Any]:
    """What the shared weights depend on."""
    values = {name: value for name, value in asdict(shared).items() if name not in ("workers", "images", "bn_images")}
    return values | {"recipe": shared.recipe.identity()}


def read(options: "SearchOptions") -> Shared:
    """The strategy as the command line asks for it.

    Raises:
        ValueError: a value does not go with another; a data set is not there.
    """
    assert isinstance(options.evaluator, SharedWeightsOptions)
    return Shared(trainings=read_trainings(options, options.evaluator), shared=_read_shared(options, options.evaluator))


def _read_shared(options: "SearchOptions", evaluator: SharedWeightsOptions) -> SharedPlan:
    mode, shared = options.mode, evaluator.shared
    if mode == "joint" and options.adjust_after is not None:
        raise ValueError("adjust_after is not for mode=joint; reward=absolute lands on the target")
    if mode == "joint" and options.controller.name not in ("rnn_ppo", "reinforce"):
        raise ValueError(
            f"mode=joint trains controller=reinforce, not {options.controller.name}; leave controller= out"
        )
    if mode == "joint" and not shared.mixed.share:
        raise ValueError("mode=joint learns in the phase mixed; evaluator.shared.mixed.share must be above 0")
    return SharedPlan(
        recipe=replace(recipe_of(evaluator), epochs=shared.epochs, batch=shared.batch),
        phases={name: Phase(**dict(getattr(shared, name))) for name in PHASES},
        kernels=shared.kernels or ("own" if mode == "joint" else "centre"),
        band=shared.band,
        images=shared.images,
        bn_images=shared.bn_images,
        mode=mode,
        workers=_read_train_workers(options, evaluator),
    )


def _read_train_workers(options: "SearchOptions", evaluator: SharedWeightsOptions) -> Workers | None:
    ray, batch = options.ray, evaluator.shared.batch
    count = ray.train_workers
    if count == 1:
        return None
    if batch % count or batch < 2 * count:
        raise ValueError(
            f"ray.train_workers={count} cannot share batches of evaluator.shared.batch={batch} evenly, with 2 images "
            "or more for each; change one of them"
        )
    if ray.num_gpus not in (0, 1):
        raise ValueError("ray.train_workers takes whole GPUs: ray.num_gpus=1 for each worker, or 0")
    if evaluator.device == "cuda" and not ray.num_gpus:
        raise ValueError("evaluator.device=cuda with ray.train_workers takes ray.num_gpus=1")
    if options.executor != "ray":
        raise ValueError(f"ray.train_workers={count} takes executor=ray, not {options.executor}")
    return Workers(count=count, num_cpus=ray.num_cpus, num_gpus=ray.num_gpus, retries=options.retries)

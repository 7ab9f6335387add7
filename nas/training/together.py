"""Trainings by several workers of a Ray cluster: `train`.

Every worker has all weights and its part of each batch; torch's DistributedDataParallel, set up by Ray Train, averages
gradients. The checkpoint is written where the command runs, so that workers elsewhere need no file system in common
with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nas.executor_ray import fits
from nas.training.place import Workers
from nas_runtime.files import write_bytes
from nas_runtime.scratch import private_folder
from nas_runtime.signals import held_back

__all__ = ["Shareable", "Worker", "prepared", "train"]

_POLL_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Worker:
    """One of the processes that train together.

    Attributes:
        rank, ranks: which of how many.
        device: ``cpu`` or ``cuda``.
        file: of its own copy of the checkpoint, with which it begins, if there is one.
        keep: sends that file to where the command runs.
        say: tells the command something.
    """

    rank: int
    ranks: int
    device: str
    file: Path
    keep: Callable[[], None]
    say: Callable[..., None]


class Shareable(Protocol):
    """A training that workers can share; it is sent to each of them."""

    def train_as(self, worker: Worker) -> None:
        """Trains from the checkpoint ``worker.file`` to the end."""
        ...


def train(
    training: Shareable, file: Path, workers: Workers, on_news: Callable[..., None], *, of: str = "the network"
) -> None:
    """Trains to the end on the Ray cluster that this process has joined, from the checkpoint `file` if there is one.
    What it came to is then in that file alone.

    Args:
        on_news: called here with what the first worker says.
        of: what is trained, for messages.

    Raises:
        ValueError: the cluster has no room for the workers.
        ValueError: the training failed, as by a picture that cannot be read any more or a loss that became NaN, or its
            workers were lost more often than `Workers.retries`; with the reason.
    """
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    room = fits(ray.nodes(), workers.num_cpus, workers.num_gpus)
    if room < workers.count:
        raise ValueError(
            f"ray.train_workers={workers.count}, each with ray.num_cpus={workers.num_cpus:g} and "
            f"ray.num_gpus={workers.num_gpus:g}; the cluster has room for {room}"
        )
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(num_cpus=0)(_Keeper)
    keeper = actor.options(scheduling_strategy=here).remote(str(file.resolve()))
    # in a process of its own: in this one Ray Train would keep Ctrl-C for itself, or, in a thread, could not be ended
    task: Any = ray.remote(num_cpus=0, max_retries=0)(_fit)
    fitting = task.options(scheduling_strategy=here).remote([ray.put(training)], keeper, workers)
    try:
        done = []
        while not done:
            done, _ = ray.wait([fitting], timeout=_POLL_S)
            for news in ray.get(keeper.news.remote()):
                on_news(*news)
            if failure := ray.get(keeper.hopeless.remote()):
                break
        else:
            failure = ray.get(fitting)
    except RayError as e:
        failure = _reason(e)
    finally:
        with held_back():
            ray.cancel(fitting, force=True)
            ray.kill(keeper)
    if failure:
        raise ValueError(f"the training of {of} failed: {failure}")


def prepared(module: Any, **options: Any) -> Any:
    """`module` as one whose gradients are averaged over all workers.

    Args:
        options: of ``torch.nn.parallel.DistributedDataParallel``.
    """
    import ray.train.torch

    return ray.train.torch.prepare_model(module, move_to_device=False, parallel_strategy_kwargs=options)


def _fit(training_ref: list, keeper: Any, workers: Workers) -> str | None:
    """Trains to the end; gives the reason if that fails."""
    try:
        with private_folder("nas-train-") as folder:
            _trainer(training_ref[0], keeper, workers, folder).fit()
    except Exception as e:  # whatever it is, the process that waits must learn of it
        return _reason(e)
    return None


def _trainer(training_ref: Any, keeper: Any, workers: Workers, folder: Path) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    resources = {"CPU": workers.num_cpus} | ({"GPU": workers.num_gpus} if workers.num_gpus else {})
    return TorchTrainer(
        _work,
        train_loop_config={"training": training_ref, "keeper": keeper, "threads": max(1, int(workers.num_cpus))},
        scaling_config=ScalingConfig(
            num_workers=workers.count, use_gpu=workers.num_gpus > 0, resources_per_worker=resources
        ),
        run_config=RunConfig(
            name="training",
            storage_path=str(folder),
            failure_config=FailureConfig(max_failures=workers.retries, controller_failure_limit=1 + workers.retries),
        ),
    )


def _reason(error: Exception) -> str:
    """The first worker's own error, where there is one."""
    errors = getattr(error, "worker_failures", None) or {}
    inner = next(iter(errors.values()), error)
    inner = getattr(inner, "cause", None) or inner
    return str(inner).strip().splitlines()[-1] if str(inner).strip() else type(inner).__name__


class _Keeper:
    """An actor on the machine of the command: writes the checkpoint there, and passes on what the training says."""

    def __init__(self, file: str) -> None:
        self._file, self._news, self._why = Path(file), [], ""

    def read(self) -> bytes | None:
        return self._file.read_bytes() if self._file.exists() else None

    def write(self, checkpoint: bytes) -> None:
        write_bytes(self._file, checkpoint)

    def say(self, *news: Any) -> None:
        self._news.append(news)

    def news(self) -> list[tuple[Any, ...]]:
        told, self._news = self._news, []
        return told

    def give_up(self, why: str) -> None:
        self._why = self._why or why

    def hopeless(self) -> str:
        """Why the training would fail again, if it would."""
        return self._why


def _work(config: dict[str, Any]) -> None:
    """What each worker does."""
    import ray
    import ray.train.torch
    import torch

    context, keeper = ray.train.get_context(), config["keeper"]
    torch.set_num_threads(config["threads"])
    with private_folder("nas-train-") as folder:
        file = folder / "checkpoint.safetensors"
        checkpoint: Any = ray.get(keeper.read.remote())
        if checkpoint is not None:
            file.write_bytes(checkpoint)
        training: Any = ray.get(config["training"])
        worker = Worker(
            rank=context.get_world_rank(),
            ranks=context.get_world_size(),
            device=ray.train.torch.get_device().type,
            file=file,
            keep=lambda: ray.get(keeper.write.remote(file.read_bytes())),
            say=lambda *news: keeper.say.remote(*news),
        )
        try:
            training.train_as(worker)
        except ValueError as e:  # the data's or the recipe's fault: it would come again
            ray.get(keeper.give_up.remote(str(e)))
            raise

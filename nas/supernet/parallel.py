"""Training shared weights on several workers of a Ray cluster: `train`.

Every worker has all weights and its part of each batch, whose own statistics batch norm uses; torch's
DistributedDataParallel, set up by Ray Train, averages the gradients. The checkpoint is written where the search runs,
so that workers elsewhere need no file system in common with it.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.executor_ray import fits
from nas.supernet.phases import Workers
from nas.supernet.train import Training
from nas_runtime.files import write_bytes
from nas_runtime.scratch import private_folder
from nas_runtime.signals import held_back

__all__ = ["train"]

_POLL_S = 1.0


def train(training: Training, workers: Workers, on_step: Callable[[int, str, float], None]) -> None:
    """Trains to the end on the Ray cluster that this process has joined, from the checkpoint ``training.file`` if there
    is one. The weights are then in that file alone: ``training.run()`` reads them.

    Args:
        on_step: as for `Training.run`, with the losses of the first worker.

    Raises:
        ValueError: the cluster has no room for the workers.
        ValueError: the training failed, or its workers were lost more often than `Workers.retries`; with the reason.
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
    keeper = actor.options(scheduling_strategy=here).remote(str(training.file.resolve()))
    # in a process of its own: in this one Ray Train would keep Ctrl-C for itself, or, in a thread, could not be ended
    task: Any = ray.remote(num_cpus=0, max_retries=0)(_fit)
    fitting = task.options(scheduling_strategy=here).remote([ray.put(training)], keeper, workers)
    try:
        done = []
        while not done:
            done, _ = ray.wait([fitting], timeout=_POLL_S)
            for news in ray.get(keeper.news.remote()):
                on_step(*news)
        failure = ray.get(fitting)
    except RayError as e:
        failure = _reason(e)
    finally:
        with held_back():
            ray.cancel(fitting, force=True)
            ray.kill(keeper)
    if failure:
        raise ValueError(f"the training of the shared weights failed: {failure}")


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
            name="shared_weights",
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
    """An actor on the machine of the search: writes the checkpoint there, and passes on what the training says."""

    def __init__(self, file: str) -> None:
        self._file, self._news = Path(file), []

    def read(self) -> bytes | None:
        return self._file.read_bytes() if self._file.exists() else None

    def write(self, checkpoint: bytes) -> None:
        write_bytes(self._file, checkpoint)

    def say(self, *news: Any) -> None:
        self._news.append(news)

    def news(self) -> list[tuple[int, str, float]]:
        told, self._news = self._news, []
        return told


def _work(config: dict[str, Any]) -> None:
    """What each worker does."""
    import ray
    import ray.train.torch
    import torch
    from torch import nn

    context, keeper = ray.train.get_context(), config["keeper"]
    rank, count = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    torch.set_num_threads(config["threads"])
    with private_folder("nas-train-") as folder:
        file = folder / "shared.safetensors"
        checkpoint: Any = ray.get(keeper.read.remote())
        if checkpoint is not None:
            file.write_bytes(checkpoint)

        def parallel(module: nn.Module) -> nn.Module:  # not every network uses every weight
            options = {"find_unused_parameters": True}
            return ray.train.torch.prepare_model(module, move_to_device=False, parallel_strategy_kwargs=options)

        training: Any = ray.get(config["training"])
        training = replace(
            training,
            file=file,
            device=device.type,
            rank=rank,
            ranks=count,
            parallel=parallel,
            on_save=lambda: ray.get(keeper.write.remote(file.read_bytes())),
        )
        on_step = (lambda *news: keeper.say.remote(*news)) if rank == 0 else None
        training.run(on_step)

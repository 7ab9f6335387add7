"""A full training in a file: all that the next update depends on, and what the training has come to so far."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from nas.training import tensor_file
from nas.training.learner import Learner
from nas.training.optimizers import set_state, state_of
from nas_runtime.console import brief

__all__ = ["CheckpointError", "Epoch", "Progress", "load", "peek", "save"]

_FORMAT = "1"


class CheckpointError(ValueError):
    """A checkpoint that is damaged, or of another training."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What an epoch came to.

    Attributes:
        epoch: its number, from 1; a fraction where the training ends within one.
        loss: mean over its updates.
        lr: of its last update.
        holdout_top1: of what the training would give after it.
        images_per_s: that it was trained on.
        seconds: of training since the beginning, evaluations and pauses aside.
    """

    epoch: float
    loss: float
    lr: float
    holdout_top1: float
    images_per_s: float
    seconds: float


@dataclass(kw_only=True)
class Progress:
    """How far a training is.

    Attributes:
        updates: done.
        loss: sum over the updates of the epoch that is under way.
        seconds, images: of all updates.
        epochs: what was done.
        holdout_top1, test_top1: of the result, when all is done.
    """

    updates: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    images: int = 0
    epochs: list[Epoch] = field(default_factory=list)
    holdout_top1: float | None = None
    test_top1: float | None = None

    @property
    def images_per_s(self) -> float:
        return self.images / self.seconds if self.seconds else 0.0


def save(path: Path, learner: Learner, progress: Progress, identity: Mapping[str, Any]) -> None:
    """Writes the file; it is complete or unchanged.

    Args:
        identity: what the training depends on; `load` must be given the same again.

    Raises:
        OSError: it cannot be written, as on a full disk.
    """
    tensors = {f"net/{name}": value for name, value in learner.net.state_dict().items()}
    tensors |= {f"optimizer/{name}": value for name, value in state_of(learner.optimizer, learner.net).items()}
    if learner.average is not None:
        tensors |= {f"average/{name}": value for name, value in learner.average.state_dict().items()}
    about = {
        "training": _FORMAT,
        "arch": json.dumps(identity["network"]),  # as files of `torch_net.save` have it, for trainings that begin here
        "identity": json.dumps(identity, sort_keys=True),
        "progress": json.dumps(asdict(progress)),
    }
    tensor_file.save(path, tensors, about)


def load(path: Path, learner: Learner, identity: Mapping[str, Any]) -> Progress:
    """Gives `learner` what `save` wrote; how far it is. Without a file, that is nothing.

    Raises:
        CheckpointError: the file is damaged, or of another training.
    """
    if not path.exists():
        return Progress()
    tensors, progress = _read(path, identity)
    learner.net.load_state_dict(_under("net/", tensors))
    set_state(learner.optimizer, learner.net, _under("optimizer/", tensors))
    if learner.average is not None:
        learner.average.load_state_dict(_under("average/", tensors))
    learner.updates = progress.updates
    return progress


def peek(path: Path, identity: Mapping[str, Any]) -> tuple[dict[str, Tensor], Progress]:
    """The weights that the training has given so far, the moving average if it has one, and how far it is; nothing
    where there is no file. Raises as `load` does."""
    if not path.exists():
        return {}, Progress()
    tensors, progress = _read(path, identity)
    return _under("average/", tensors) or _under("net/", tensors), progress


def _read(path: Path, identity: Mapping[str, Any]) -> tuple[dict[str, Tensor], Progress]:
    try:
        tensors, about = tensor_file.read(path)
        if about.get("training") != _FORMAT:
            raise CheckpointError(f"{path} is no checkpoint of a training of format {_FORMAT}; use another run_dir")
        _check(path, json.loads(about["identity"]), json.loads(json.dumps(identity)))
        progress = json.loads(about["progress"])
        epochs = [Epoch(**epoch) for epoch in progress.pop("epochs")]
        return tensors, Progress(**progress, epochs=epochs)
    except CheckpointError:
        raise
    except (ValueError, KeyError, TypeError) as e:
        raise CheckpointError(f"{path}: {e}; remove it and train again") from None


def _check(path: Path, stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuses a checkpoint of another training."""
    differ = {name for name in {*stored, *given} if stored.get(name) != given.get(name)}
    if "data" in differ <= {"data", "normalisation"}:
        raise CheckpointError(
            f"{path} holds this training with other pictures (data={brief(stored['data'])}, not "
            f"{brief(given['data'])}): have they changed since? Give them back as they were; or go on from its weights "
            f"in another run_dir, by network={path.parent} weights=own"
        )
    _refuse(path, stored, given)


def _refuse(path: Path, stored: Any, given: Any, name: str = "") -> None:
    """Names the first difference, if there is one."""
    if isinstance(stored, dict) and isinstance(given, dict):
        for key in sorted({*stored, *given}):
            _refuse(path, stored.get(key), given.get(key), f"{name}.{key}" if name else key)
    elif stored != given:
        raise CheckpointError(
            f"{path} holds a training with {name}={brief(stored)}, not {brief(given)}; use another run_dir"
        )


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

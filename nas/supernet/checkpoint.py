"""Shared weights in a file, with the state of their optimizer and the number of updates that made them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.supernet.module import Supernet
from nas_runtime.files import complete

__all__ = ["CheckpointError", "load", "save", "updates"]

FORMAT = 1
_STATE = {"first": "exp_avg", "second": "exp_avg_sq", "updates": "step"}  # of AdamW
_BESIDE = ("teacher/", "policy/")


class CheckpointError(ValueError):
    """A checkpoint that is damaged, or belongs to other shared weights."""


def save(
    path: Path,
    supernet: Supernet,
    optimizer: torch.optim.Optimizer,
    step: int,
    identity: Mapping[str, Any],
    beside: Mapping[str, Tensor],
) -> None:
    """Writes a safetensors file; it is complete or unchanged.

    Args:
        step: updates done.
        identity: what `load` must be given again: the space, the data and the settings.
        beside: other tensors of the training; their names begin with ``teacher/`` or ``policy/``.
    """
    from safetensors.torch import save_file

    tensors = {name: value.contiguous() for name, value in beside.items()}
    for name, weight in supernet.weights.items():
        tensors[name] = weight.detach().contiguous()
        for part, key in _STATE.items():
            if state := optimizer.state.get(weight):
                tensors[f"{name}:{part}"] = state[key].contiguous()
    about = {"supernet": str(FORMAT), "step": str(step), "identity": json.dumps(identity, sort_keys=True)}
    with complete(path) as partial:
        partial.touch()
        mode = partial.stat().st_mode
        save_file(tensors, partial, metadata=about)  # without a copy in memory, but private
        partial.chmod(mode)


def load(
    path: Path, supernet: Supernet, optimizer: torch.optim.Optimizer, identity: Mapping[str, Any]
) -> tuple[int, dict[str, Tensor]]:
    """Puts what `save` wrote into `supernet` and `optimizer`.

    Returns:
        The number of updates, 0 if there is no file, and the tensors `beside`.

    Raises:
        CheckpointError: the file is damaged, or of another identity or version.
    """
    if not path.exists():
        return 0, {}
    tensors, step = _read(path, identity)
    for name, weight in supernet.weights.items():
        weight.data.copy_(tensors[name])
        if f"{name}:first" in tensors:
            optimizer.state[weight] = {
                "step": tensors[f"{name}:updates"].to(weight.device),
                "exp_avg": torch.empty_like(weight).copy_(tensors[f"{name}:first"]),
                "exp_avg_sq": torch.empty_like(weight).copy_(tensors[f"{name}:second"]),
            }
    return step, {name: tensor for name, tensor in tensors.items() if name.startswith(_BESIDE)}


def updates(path: Path, identity: Mapping[str, Any]) -> int:
    """The number of updates done, 0 if there is no file. Raises as `load` does."""
    return _read(path, identity)[1] if path.exists() else 0


def _read(path: Path, identity: Mapping[str, Any]) -> tuple[dict[str, Tensor], int]:
    """The tensors of the file, and the number of updates that made them."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("supernet") != str(FORMAT):
                raise CheckpointError(f"{path} holds no shared weights of format {FORMAT}; use another run_dir")
            stored = json.loads(about["identity"])
            for name in sorted({*stored, *identity}):
                if stored.get(name) != identity.get(name):
                    raise CheckpointError(
                        f"{path} holds shared weights with {name}={stored.get(name)}, not {identity.get(name)}; "
                        "use another run_dir"
                    )
            return {name: file.get_tensor(name) for name in file.keys()}, int(about["step"])  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, KeyError) as e:
        if isinstance(e, CheckpointError):
            raise
        raise CheckpointError(f"{path} is damaged ({e}); remove it and train again") from None

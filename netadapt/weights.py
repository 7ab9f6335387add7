"""A network with its weights and its optimizer's state, as arrays: what a step hands to the next one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas_runtime.files import write_bytes
from search_spaces import text
from search_spaces.arch import Arch

__all__ = ["BY_IMAGES", "IMPORTANCE_IMAGES", "INHERIT", "TrainedNet", "load", "save"]

BY_IMAGES = ("taylor", "activation")  # see `netadapt.importance.by_images`
INHERIT = ("l2", "bn_scale", *BY_IMAGES, "truncate")  # which channels stay, see `netadapt.inherit.inherit`

IMPORTANCE_IMAGES = 512  # that tell how much channels matter, where inheritance goes by images

_PARTS = ("weights", "first", "second")


@dataclass(frozen=True, kw_only=True)
class TrainedNet:
    """`arch` with trained weights.

    Attributes:
        weights: as `torch_net.Net.state_dict`.
        first, second, updates: AdamW's moments by parameter and its number of updates; empty and 0 if unknown.
        top1: on the holdout, in [0, 1].
    """

    arch: Arch
    weights: Mapping[str, np.ndarray]
    first: Mapping[str, np.ndarray]
    second: Mapping[str, np.ndarray]
    updates: int
    top1: float


def save(net: TrainedNet, path: Path) -> None:
    """Writes a safetensors file; it is complete or not there."""
    from safetensors.numpy import save as safetensors_of

    arrays = {f"{part}/{n}": np.asarray(a, order="C") for part in _PARTS for n, a in getattr(net, part).items()}
    about = {"arch": text.to_json(net.arch), "updates": str(net.updates), "top1": repr(net.top1)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, safetensors_of(arrays, metadata=about))


def load(path: Path) -> TrainedNet:
    """What `save` wrote.

    Raises:
        ValueError: a damaged file, or another one.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            about = file.metadata()
            parts: dict[str, dict[str, np.ndarray]] = {part: {} for part in _PARTS}
            for name in file.keys():  # noqa: SIM118 - no mapping
                part, _, inner = name.partition("/")
                parts[part][inner] = file.get_tensor(name)
        return TrainedNet(
            arch=text.from_json(about["arch"]), updates=int(about["updates"]), top1=float(about["top1"]), **parts
        )
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as e:
        raise ValueError(f"{path} holds no trained network ({e}); remove it and run again") from None

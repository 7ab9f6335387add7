"""Files of weights that others wrote: safetensors, and torch's with tensors only. No pickle is run."""

import argparse
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas_runtime.console import brief
from nas_runtime.files import FileError, read_json

__all__ = ["Checkpoint", "read"]

# where a training keeps the weights, the best first: averaged ones are what it is evaluated with
_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "average")
_WRAPPERS = (*_AVERAGED, "state_dict", "model_state_dict", "model", "net", "params", "weights")
_MOST_WRAPPERS = 4
_IN_FOLDERS = ("best.safetensors", "training.safetensors", "model.safetensors", "pytorch_model.bin")
_CALLED = re.compile(r"[A-Za-z0-9_.]{1,100}")

_GIVE = "give a safetensors or .pth file, as timm or torchvision write it"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The weights in a file.

    Attributes:
        tensors: by name, without counters (``num_batches_tracked``).
        in_order: whether they stand as their modules do; a safetensors file does not keep that.
        called: what the file, the folder or the training says that the network is, like ``tf_mixnet_s``; "" if none
            does.
        about: what a safetensors file says of itself.
        card: timm's ``pretrained_cfg`` in the file ``config.json`` beside it.
        averaged: the entry that held them, if that was one of averages (EMA).
    """

    path: Path
    tensors: Mapping[str, Tensor]
    in_order: bool
    called: str
    about: Mapping[str, str]
    card: Mapping[str, Any]
    averaged: str | None = None


def read(path: Path) -> Checkpoint:
    """The weights in the file `path`, or in that of a folder of a run or of the Hugging Face hub.

    Raises:
        ValueError: no such file, a file of something else, one that holds more than tensors, or numbers that are none.
    """
    path = next((path / name for name in _IN_FOLDERS if (path / name).is_file()), path)
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as e:
        raise ValueError(f"{path}: {(e.strerror or str(e)).lower()}; {_GIVE}") from None
    inside, about = (_safetensors(path), _metadata(path)) if start[8:] == b"{" else (_torch(path), {})
    if "identity" in about:  # a training's checkpoint
        inside = _parts(inside)
    state, wrapper = _unwrapped(inside)
    tensors = {str(name): value.float() for name, value in state.items() if _is_weight(value)}
    if broken := [name for name, value in tensors.items() if not value.isfinite().all()]:
        raise ValueError(f"{path}: {broken[0]} has values that are no finite numbers (NaN): a training that diverged?")
    if not tensors:
        raise ValueError(f"{path} has no weights: no dictionary of tensors by name is in it")
    config = _config(path)
    said = [inside.get("arch"), getattr(inside.get("args"), "model", None), config.get("architecture")]
    return Checkpoint(
        path=path,
        tensors=tensors,
        in_order=start[8:] != b"{",
        called=next((name for name in said if isinstance(name, str) and _CALLED.fullmatch(name)), _in_path(path)),
        about=about,
        card=card if isinstance(card := config.get("pretrained_cfg"), dict) else {},
        averaged=wrapper if wrapper in _AVERAGED else None,
    )


def _is_weight(value: Any) -> bool:
    """Whether it is a tensor of numbers, and no counter."""
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim > 0 and value.layout == torch.strided


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as e:
        raise ValueError(f"{path} is no safetensors file ({brief(str(e), most=200)}); {_GIVE}") from None


def _parts(inside: Mapping[str, Any]) -> dict[str, Any]:
    """What is in a checkpoint of a training here, ``part/name``: name to tensor, by part."""
    parts: dict[str, Any] = {}
    for key, value in inside.items():
        part, _, name = key.partition("/")
        parts.setdefault(part, {})[name] = value
    return parts


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as e:
        raise ValueError(f"{path} is no safetensors file ({brief(str(e), most=200)}); {_GIVE}") from None


def _torch(path: Path) -> dict[str, Any]:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # plain values, in checkpoints of trainings
            inside = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        more = re.search(r"GLOBAL ([\w.]+)|[Cc]lass ([\w.]+)", str(e))
        what = f" ({next(filter(None, more.groups()))})" if more else ""
        raise ValueError(
            f"{path} is no file of weights, or holds more than tensors{what}, which is not loaded: it could run "
            "anything; save the weights alone, with torch.save(model.state_dict(), ...)"
        ) from None
    except Exception as e:  # damaged files can raise anything
        raise ValueError(f"{path} is no file of weights, or a damaged one ({_reason(e)}); {_GIVE}") from None
    if not isinstance(inside, Mapping):
        raise ValueError(f"{path} has no weights: it holds a {type(inside).__name__}, not tensors by name")
    return dict(inside)


def _reason(error: Exception) -> str:
    return brief(" ".join(str(error).split()) or type(error).__name__, most=200)


def _unwrapped(inside: Mapping[str, Any]) -> tuple[Mapping[str, Any], str | None]:
    """The dictionary of tensors in `inside`, and the entry that held it; averaged weights come first."""
    wrapper = None
    for _ in range(_MOST_WRAPPERS):
        name = next((name for name in _WRAPPERS if isinstance(inside.get(name), Mapping) and inside[name]), None)
        if name is None:
            break
        inside, wrapper = inside[name], wrapper if wrapper in _AVERAGED else name
    return inside, wrapper


def _config(path: Path) -> dict[str, Any]:
    """The ``config.json`` beside weights of the Hugging Face hub; nothing if there is none."""
    try:
        config = read_json(path.parent / "config.json")
    except FileError:
        return {}
    return config if isinstance(config, dict) else {}


def _in_path(path: Path) -> str:
    """The name of a network in those of the file and its folders, the nearest first: ``tf_...`` is what matters."""
    for part in reversed(path.parts[-4:]):
        if found := re.search(r"(?<![A-Za-z0-9])tf_[a-z0-9_]+", part):
            return found[0]
    return path.name.split(".")[0].split("-")[0]

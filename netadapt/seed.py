"""Where an adaptation starts: a network of the zoo, the result of a search, or a file; and its weights."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas import networks
from nas.executor import SerialExecutor
from nas.training.recipe import Recipe
from nas.training.sources import cache_dir
from netadapt import weights
from netadapt.fine_tune import Train
from netadapt.weights import TrainedNet
from search_spaces import redesign, rewrite, text, zoo
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from nas.training.datasets import Dataset
    from nas.training.trainer import Trainer

__all__ = ["Seed", "check_fits", "find", "given_net", "normalised", "trained_net", "unchanged", "with_classes"]


@dataclass(frozen=True, kw_only=True)
class Seed:
    """The network to adapt.

    Attributes:
        weights: the file of its weights, if there is one.
        config: of the run that found it, if it is one's.
    """

    arch: Arch
    weights: Path | None
    config: Mapping[str, Any] | None = None


def find(name: str, *, width: float, redesigns: list[str], weights_path: Path | None) -> Seed:
    """The seed that a command names: a network of the zoo, a run directory, or a JSON file.

    Raises:
        ValueError: nothing of that name, a file that is no network, or a run of a newer version.
    """
    if weights_path is not None and not weights_path.is_file():
        raise ValueError(f"weights={weights_path}: no such file; give a safetensors file, or leave it out")
    it = networks.named(name, width=width, option="seed", mobile=True)
    arch, own = it.arch, it.file
    redesigned = redesign.apply(arch, redesigns)
    if redesigned != arch:
        arch, own = replace(redesigned, name=f"{arch.name}+{'+'.join(redesigns)}"), None
    return Seed(arch=arch, weights=weights_path or own, config=it.config)


def with_classes(seed: Seed, name: str, classes: int) -> Seed:
    """`seed`, for so many classes where it is a network of the zoo, which is for any number of them."""
    return replace(seed, arch=rewrite.classes(seed.arch, classes)) if name in zoo.names() else seed


def check_fits(seed: Seed, small: Arch, data: str) -> None:
    """Refuses a file of weights that are not those of the network `small`, by their names and shapes.

    Args:
        data: name of the data set, for the message.

    Raises:
        ValueError: no safetensors, or weights of another network; names the first that does not fit.
    """
    if seed.weights is None:
        return
    import torch
    from safetensors import SafetensorError, safe_open

    from search_spaces.torch_net import check_weights

    try:
        with safe_open(seed.weights, framework="numpy") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError) as e:
        raise ValueError(
            f"weights={seed.weights} cannot be read: {e}; weights of others become a seed by python -m nas.train "
            f"network={seed.arch.name.split(' ')[0]} weights={seed.weights}, whose folder is then the seed"
        ) from None
    try:
        check_weights(small, {name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    except ValueError as e:
        raise ValueError(f"{seed.weights}: {e}, for images of {data}") from None


def normalised(seed: Seed, data: "Dataset") -> "Dataset":
    """`data` as the seed's weights know it: normalised by the mean and deviation of the run that trained them."""
    mean, std = (None, None) if seed.weights is None else networks.normalisation(seed.weights)
    if mean is None or std is None or len(mean) != data.channels:
        return data
    return replace(data, mean=mean, std=std)


def given_net(seed: Seed, trainer: "Trainer") -> TrainedNet:
    """The seed with the weights in its file.

    Raises:
        ValueError: no such file, no safetensors, or weights that do not fit; names the first that does not.
    """
    import torch

    from nas.training.train import top1
    from search_spaces.torch_net import Net

    small = trainer.small(seed.arch)
    check_fits(seed, small, trainer.data.name)
    arrays = _arrays(seed.weights)
    net = Net(small)
    net.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    accuracy = top1(net, trainer.data.holdout, trainer.data, device=trainer.device)
    return TrainedNet(arch=small, weights=arrays, first={}, second={}, updates=0, top1=accuracy)


def unchanged(seed: Seed, start: TrainedNet) -> bool:
    """Whether the file of weights, if there is one, still holds what an adaptation began with."""
    if seed.weights is None:
        return True
    arrays = _arrays(seed.weights)
    return arrays.keys() == start.weights.keys() and all(
        np.array_equal(array, start.weights[name]) for name, array in arrays.items()
    )


def _arrays(path: Path | None) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    assert path is not None
    try:
        return load_file(path)
    except TypeError as e:
        raise ValueError(f"weights={path} cannot be read: {e}; save them as float32") from None
    except (OSError, SafetensorError) as e:
        raise ValueError(f"weights={path} cannot be read: {e}") from None


def trained_net(seed: Seed, trainer: "Trainer", recipe: Recipe, *, threads: int, rng_seed: int) -> TrainedNet:
    """The seed, trained on the data set; kept in the user's cache under what it depends on.

    Raises:
        ValueError: the training diverged.
    """
    small = trainer.small(seed.arch)
    identity = replace(trainer, recipe=recipe).identity()
    about = f"{text.to_json(replace(small, name=''))}|{json.dumps(identity)}|{threads}|{rng_seed}"
    path = cache_dir() / f"seed-{hashlib.sha256(about.encode()).hexdigest()[:16]}.safetensors"
    if path.exists():
        return weights.load(path)
    evaluation = Train(trainer=SerialExecutor().share(trainer), recipe=recipe, rng_seed=rng_seed, threads=threads)(
        seed.arch
    )
    if evaluation.status != "ok":
        raise ValueError(f"the seed's training diverged (NaN); try a lower evaluator.lr than {recipe.lr:g}")
    weights.save(evaluation.state, path)
    return evaluation.state

"""Where an adaptation starts: a network of the zoo, the result of a search, or a file; and its weights."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from nas import networks
from nas.executor import SerialExecutor
from nas.networks import Found, Named
from nas.options import Data
from nas.train_plan import MIN_PX
from nas.training.recipe import Recipe
from nas.training.sources import cache_dir
from netadapt import weights
from netadapt.fine_tune import FineTune, Train
from netadapt.weights import TrainedNet
from search_spaces import redesign, rewrite, text, zoo
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from nas.training.datasets import Dataset
    from nas.training.pictures import PictureSet
    from nas.training.sources import DataFacts
    from nas.training.trainer import Trainer

__all__ = [
    "Seed",
    "check_fits",
    "find",
    "given_net",
    "named",
    "normalised",
    "same_weights",
    "trained_net",
    "tuned_net",
    "unchanged",
]

AnyImages = TypeVar("AnyImages", "Dataset", "PictureSet")


@dataclass(frozen=True, kw_only=True)
class Seed:
    """The network to adapt.

    Attributes:
        arch: as it is priced.
        found: the same for the images of the data set, with the weights that it comes with; None: it comes with none.
    """

    arch: Arch
    found: Found | None = None


def named(name: str, *, width: float, redesigns: list[str]) -> Named:
    """The network that a command names as its seed: of the zoo, a run's, or a file's; redesigned, it has no weights.

    Raises:
        ValueError: nothing of that name, a file that is no network, or a run of a newer version.
    """
    it = networks.named(name, width=width, option="seed", mobile=True)
    redesigned = redesign.apply(it.arch, redesigns)
    if redesigned == it.arch:
        return it
    return replace(it, arch=replace(redesigned, name=f"{it.arch.name}+{'+'.join(redesigns)}"), file=None)


def find(it: Named, weights: str | None, data: Data, facts: "DataFacts") -> Seed:
    """The seed for a data set, with its weights.

    A network of the zoo is for as many classes as there are, and priced for the size of the data's pictures, if that
    is said; others are priced as they are.

    Args:
        weights: a file, `networks.OWN` or `networks.PRETRAINED`; None: those of a run, if it is one's.

    Raises:
        ValueError: no such weights, or weights of another network.
    """
    arch = it.arch
    if it.name in zoo.names():
        arch = rewrite.classes(arch, facts.classes)
        if data.resolution_px is not None:
            arch = rewrite.small_image(arch, data.resolution_px, min_px=MIN_PX)  # as it is trained
    if weights is None and it.file is None:
        return Seed(arch=arch)
    found = networks.fitted(
        it,
        resolution_px=arch.resolution_px,
        classes=facts.classes,
        channels=facts.channels,
        class_names=facts.class_names,
        weights=weights or networks.OWN,
        option="seed",
    )
    return Seed(arch=rewrite.classes(rewrite.in_channels(found.arch, arch.in_ch), arch.classes), found=found)


def check_fits(seed: Seed, small: Arch, data: str) -> None:
    """Refuses weights that the network `small`, of an adaptation on small images, cannot begin with.

    Raises:
        ValueError: their last layer is for other classes, or they do not fit; names the first that does not.
    """
    if seed.found is None:
        return
    from search_spaces.torch_net import check_weights

    assert seed.found.weights is not None
    if seed.found.new:
        raise ValueError(
            f"{'; '.join(seed.found.notes)}, for images of {data}: what is new has to be trained first, by python -m "
            "nas.train network=... weights=..., whose folder is then the seed"
        )
    try:
        check_weights(small, seed.found.weights)
    except ValueError as e:
        raise ValueError(f"{seed.found.source}: {e}, for images of {data}") from None


def normalised(seed: Seed, data: AnyImages) -> AnyImages:
    """`data` as the seed's weights know it: normalised by the mean and deviation of their training."""
    found = seed.found
    if found is None or found.mean is None or found.std is None or len(found.mean) != data.channels:
        return data
    return replace(data, mean=found.mean, std=found.std)


def given_net(seed: Seed, trainer: "Trainer") -> TrainedNet:
    """The seed with the weights that it comes with, which fit (`check_fits`)."""
    from nas.training.train import top1
    from netadapt.fine_tune import arrays_of
    from search_spaces.torch_net import Net

    assert seed.found is not None
    assert seed.found.weights is not None
    net = Net(trainer.small(seed.arch))
    net.load_state_dict(seed.found.weights)
    arrays = arrays_of(net.state_dict())
    accuracy = top1(net, trainer.data.holdout, trainer.data, device=trainer.device)
    return TrainedNet(arch=net.arch, weights=arrays, first={}, second={}, updates=0, top1=accuracy)


def unchanged(seed: Seed, start: TrainedNet) -> bool:
    """Whether the weights that the seed comes with, if there are any, are still what an adaptation began with."""
    if seed.found is None or seed.found.weights is None:
        return True
    its = {name: tensor.numpy() for name, tensor in seed.found.weights.items()}
    return _equal(its, start.weights)


def same_weights(a: TrainedNet, b: TrainedNet) -> bool:
    return _equal(a.weights, b.weights)


def _equal(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(array, b[name]) for name, array in a.items())


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


def tuned_net(
    net: TrainedNet, trainer: "Trainer", recipe: Recipe, *, norm_images: int | None, threads: int, rng_seed: int
) -> TrainedNet:
    """`net`, trained on for an epoch of the trainer's images.

    Args:
        norm_images: see `netadapt.fine_tune.FineTune`: it is measured as its proposals are.

    Raises:
        ValueError: the training diverged.
    """
    executor = SerialExecutor()
    evaluation = FineTune(
        trainer=executor.share(replace(trainer, threads=threads)),
        parent=executor.share(net),
        recipe=replace(recipe, steps=None, epochs=1),
        inherit="truncate",
        norm_images=norm_images,
        rng_seed=rng_seed,
    )(net.arch)
    if evaluation.status != "ok":
        raise ValueError(f"the seed's tuning diverged (NaN); try a lower fine_tune.lr than {recipe.lr:g}")
    return evaluation.state

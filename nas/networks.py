"""Networks that a command names: of the zoo, of a run, or in a file; with weights or without.

>>> from nas import networks
>>> networks.find("mobilenet_v3_small", width=0.75, classes=10).arch.classes
10
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas import pretrained
from nas.delivery.description import label_lines
from nas.delivery.networks import searched_net
from nas.pretrained import Package
from nas_runtime.console import brief, counted, did_you_mean
from nas_runtime.files import read_json, read_text
from nas_runtime.run import Run
from search_spaces import rewrite, text, zoo
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "OWN",
    "PRETRAINED",
    "Found",
    "Named",
    "class_names",
    "find",
    "fitted",
    "named",
    "normalisation",
    "other_class",
]

OWN = "own"
"""As weights: those that lie beside the network, in its run or its file; of a network of the zoo, `PRETRAINED`."""
PRETRAINED = "pretrained"
"""As weights: ImageNet's, from a package that has them."""

_LEAST_CROP = 0.1  # that the option dataset.crop allows
WEIGHTS = "best.safetensors"  # `torch_net.WEIGHTS`, which would import torch
_UNFINISHED = "training.safetensors"  # `nas.training.full.FILE`: what a training has come to that is not done


@dataclass(frozen=True, kw_only=True)
class Named:
    """What a name stands for.

    Attributes:
        name: as it was given.
        file: of weights that belong to it, if there is one.
        config: of the run that found it, if it is one's.
        source: where it is from, in words.
    """

    name: str
    arch: Arch
    file: Path | None
    config: Mapping[str, Any] | None
    source: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """A network for certain images and classes, and the weights to begin with.

    ``torch_net.build(found.arch, generator=..., weights=found.weights)`` is the net.

    Attributes:
        weights: of ``torch_net.Net(arch)``, by name, without `new`; None: none were asked for.
        new: tensors that the weights have for other classes, or not at all, and that are made anew.
        mean, std: of each channel, of pixels in [0, 1], as the weights ask for; None: as the data has them.
        crop: the share of a picture's shorter side that the weights' evaluation looks at; None: not known.
        source: where network and weights are from, in words.
        licence: of the weights, if it is known.
        notes: what a person should know of the weights, a sentence each.
        config: of the run that found it, if it is one's.
    """

    arch: Arch
    weights: Mapping[str, "Tensor"] | None
    new: tuple[str, ...] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    crop: float | None = None
    source: str
    licence: str | None = None
    notes: tuple[str, ...] = ()
    config: Mapping[str, Any] | None = None


def named(name: str, *, width: float = 1.0, option: str = "network", mobile: bool = False) -> Named:
    """The network `name`: of the zoo, the folder of a run, done or not, a JSON file, or a file of `torch_net.save`.

    Reads no weights.

    Args:
        width: multiplier of a network of the zoo.
        option: whose value `name` is, for messages.
        mobile: whether messages offer only networks of the blocks that search spaces are made of.

    Raises:
        ValueError: nothing of that name, a file that is no network, or a run of a newer version.
    """
    if name in zoo.names():
        return Named(name=name, arch=zoo.get(name, width=width), file=None, config=None, source=f"{name} of the zoo")
    if width != 1:
        raise ValueError(f"width={width:g} is for networks of the zoo; {option}={brief(name)} has its own widths")
    try:
        path = Path(name).expanduser()
    except RuntimeError:  # ~somebody who is not known here
        path = Path(name)
    if path.is_dir():
        if not (path / "best.json").exists() and (file := path / _UNFINISHED).exists():
            config, source = Run(path).config, f"{path}, unfinished"
            return Named(name=name, arch=_of_weights(file), file=file, config=config, source=source)
        if not (path / "best.json").exists():
            if parts := sorted(file.parent.name for file in path.glob("*ms/best.json")):
                raise ValueError(f"{option}={brief(name)} has a network for each target; give {path}/{parts[0]}")
            raise ValueError(f"{option}={brief(name)}: the folder has no best.json; give the folder of a finished run")
        file = path / WEIGHTS if (path / WEIGHTS).exists() else None
        return Named(name=name, arch=searched_net(path), file=file, config=Run(path).config, source=str(path))
    if path.is_file():
        arch, file = (_of_weights(path), path) if path.suffix == ".safetensors" else (text.from_file(path), None)
        return Named(name=name, arch=arch, file=file, config=None, source=str(path))
    names = zoo.names(mobile=mobile)
    hint = did_you_mean(name, names)
    raise ValueError(
        f"{option}={brief(name)}: no such network, run directory or file{hint}; networks: {', '.join(names)}"
    )


def _of_weights(path: Path) -> Arch:
    """The network that a file of `torch_net.save` says its weights are of."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as opened:
            about = opened.metadata() or {}
    except (OSError, SafetensorError) as e:
        raise ValueError(f"{path} cannot be read: {e}") from None
    if "arch" not in about:
        raise ValueError(
            f"{path} does not say what network its weights are of; give the network's name, and the file as weights="
        )
    try:
        return text.from_json(about["arch"])
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from None


def find(
    name: str,
    *,
    width: float = 1.0,
    resolution_px: int | None = None,
    classes: int | None = None,
    channels: int | None = None,
    class_names: Sequence[str] | None = None,
    weights: str | Path | None = None,
    option: str = "network",
) -> Found:
    """The network `name` (see `named`) for images and classes, with its weights (see `fitted`)."""
    return fitted(
        named(name, width=width, option=option),
        resolution_px=resolution_px,
        classes=classes,
        channels=channels,
        class_names=class_names,
        weights=weights,
        option=option,
    )


def fitted(
    it: Named,
    *,
    resolution_px: int | None = None,
    classes: int | None = None,
    channels: int | None = None,
    class_names: Sequence[str] | None = None,
    weights: str | Path | None = None,
    option: str = "network",
) -> Found:
    """A network for images of `resolution_px` and `channels`, and so many `classes`, with its weights.

    Args:
        resolution_px, classes, channels: None: the network's own.
        class_names: by label, of the data: weights of a run for other ones have their last layer made anew; None: not
            known, so that their number counts.
        weights: None: none; `OWN`, `PRETRAINED`, or a file.
        option: that named the network, for messages.

    Raises:
        ValueError: no such weights; weights that do not fit it (names the first that does not), or are for images of
            other channels.
    """
    arch = rewrite.resolution(it.arch, resolution_px or it.arch.resolution_px)
    arch = rewrite.in_channels(arch, channels or arch.in_ch)
    arch = rewrite.classes(arch, classes or arch.classes)
    if weights is None:
        return Found(arch=arch, weights=None, source=it.source, config=it.config)
    package = None
    if weights == OWN and it.file is not None:
        weights = it.file
    elif weights == PRETRAINED or (weights == OWN and it.name in pretrained.PACKAGES):
        weights, package = pretrained.of(it.arch)
    elif weights == OWN:
        others = f"the folder of a finished run, its {WEIGHTS}, or {', '.join(pretrained.PACKAGES)}"
        instead = "a file of them as weights=" if option == "network" else others
        raise ValueError(f"{option}={brief(it.name)} has no weights; give {instead}")
    return _with_weights(arch, Path(weights).expanduser(), it, package, class_names)


def _with_weights(arch: Arch, path: Path, it: Named, package: Package | None, names: Sequence[str] | None) -> Found:
    from search_spaces import checkpoints, foreign_weights, torch_net

    try:
        checkpoint = checkpoints.read(path)
        fitted = foreign_weights.fit(checkpoint, arch)
    except ValueError as e:
        raise ValueError(f"weights={e}") from None
    source, its_classes, file = fitted.source, fitted.arch.classes, checkpoint.path
    last = torch_net.last_layer(arch)
    other = other_class(class_names(file) if source is None else None, names)
    new = last if its_classes != arch.classes or last[0] not in fitted.weights or other else ()
    mean, std = (source.mean, source.std) if source else _normalisation(checkpoint.about) or normalisation(file)
    notes = [] if source is None else [f"weights {source.describe()}"]
    if checkpoint.averaged:
        notes.append(f"the averaged weights of the file are taken, {checkpoint.averaged}")
    if new:
        had = f"are for {counted(its_classes, 'class')}" if last[0] in fitted.weights else "have no last layer"
        had = f"are for other classes ({other})" if other and its_classes == arch.classes else had
        notes.append(f"the weights {had}: the last layer is made anew, for {counted(arch.classes, 'class')}")
    px = package.resolution_px if package else fitted.resolution_px
    if px not in (None, arch.resolution_px):
        notes.append(f"the weights were trained for {px} px, and are used for {arch.resolution_px} px")
    return Found(
        arch=rewrite.classes(fitted.arch, arch.classes),
        weights={name: value for name, value in fitted.weights.items() if name not in new},
        new=new,
        mean=mean,
        std=std,
        crop=source.crop if source else _crop(file),
        source=it.source if path == it.file else f"{it.source}, weights of {path.name if package else path}",
        licence=package.licence if package else source.licence if source else _licence(file),
        notes=tuple(notes),
        config=it.config,
    )


def _normalisation(about: Mapping[str, str]) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """What `normalisation` gives, of a training that is not done, which says it in its checkpoint."""
    if "identity" not in about:
        return None
    mean, std = json.loads(about["identity"])["normalisation"]
    return tuple(mean), tuple(std)


def normalisation(path: Path) -> tuple[tuple[float, ...], tuple[float, ...]] | tuple[None, None]:
    """Mean and deviation by which the images were normalised that weights were trained with, if a run delivered them.

    Args:
        path: of the weights; beside them stands how to use them.
    """
    try:
        said = read_json(path.parent / "preprocess.json")
        its = said["best.safetensors"]
        return tuple(map(float, its["then_subtract"])), tuple(map(float, its["then_divide_by"]))
    except (ValueError, KeyError, TypeError):
        return None, None


def _licence(path: Path) -> str | None:
    """That of the weights with which the training began that a run delivered, if it says it."""
    try:
        return str(read_json(path.parent / "preprocess.json")["licence"])
    except (ValueError, KeyError, TypeError):
        return None


def _crop(path: Path) -> float | None:
    """The share of a picture's shorter side that a run's evaluation looked at, which delivered these weights."""
    try:
        picture = read_json(path.parent / "preprocess.json")["picture"]
        share = picture["resolution_px"] / picture["resize_px"] if picture["resize"] == "shorter_side" else 0.0
    except (ValueError, KeyError, TypeError, ZeroDivisionError):
        return None
    return share if _LEAST_CROP <= share <= 1 else None


def class_names(weights: Path | None) -> tuple[str, ...] | None:
    """Names of the classes, by label, of weights that a run delivered; None: not known.

    Args:
        weights: their file; beside it stands what they are.
    """
    try:
        return None if weights is None else tuple(read_text(weights.parent / "labels.txt").splitlines())
    except (ValueError, OSError):
        return None


def other_class(theirs: Sequence[str] | None, ours: Sequence[str] | None) -> str | None:
    """The first class whose name is another, in words; None: there is none, or names are not known."""
    if theirs is None or ours is None:
        return None
    pairs = enumerate(zip(theirs, label_lines(ours), strict=False))
    return next((f"their class {i} is {brief(a)}, not {brief(b)}" for i, (a, b) in pairs if a != b), None)

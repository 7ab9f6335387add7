"""The files of a trained network, which are ready for use without this project."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.delivery.description import label_lines, preprocessing
from nas.delivery.finished import Finished
from nas.delivery.networks import write_networks
from nas.delivery.options import Delivery
from nas.training.pictures import PictureSet, squares
from nas_runtime.files import write_json, write_text
from search_spaces import text
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from rich.console import Console

    from search_spaces.torch_net import Net

__all__ = ["IN_WORDS", "deliver", "keep", "kept", "normalised"]

IN_WORDS = "best.onnx and best.safetensors (trained on this data), preprocess.json and labels.txt (how to use them)"

_EXAMPLES = 8  # pictures on which the graph is compared with the network
_FOLLOWING = ("best.onnx", "preprocess.json", "labels.txt")
"""Files that follow from the weights, and say something wrong beside others."""


def deliver(run_dir: str | os.PathLike[str], finished: Finished, options: Delivery, console: "Console") -> None:
    """Writes a trained network to the run's directory.

    ``best.safetensors`` are its weights (`torch_net.load`), ``best.json`` is the network that they are of, and
    ``searched.json`` as it was searched and priced; ``best.onnx`` is its graph; ``preprocess.json`` and ``labels.txt``
    say how a picture becomes its input, and what its outputs are. Weights that are there already stay; all other files
    are written again, as they follow from them: so a run is complete after it was interrupted while it wrote them, was
    continued after files were lost, or was left by an earlier version, which wrote fewer.

    Raises:
        ValueError: the graph computes something else than the network.
        OSError: a file cannot be written.
    """
    folder, data, net = Path(run_dir), finished.data, finished.net.eval()
    keep(folder, net, finished.training)
    write_networks(folder, trained=net.arch, searched=finished.searched)
    how, names = preprocessing(data, options), label_lines(data.class_names)
    write_json(folder / "preprocess.json", how)
    write_text(folder / "labels.txt", "".join(f"{name}\n" for name in names))
    about = {"preprocess": json.dumps(how), "labels": json.dumps(names), "arch": text.to_json(net.arch)}
    _write_graph(folder / "best.onnx", net, data, options, about)


def kept(run_dir: str | os.PathLike[str], trained: Arch, training: Mapping[str, Any]) -> "Net | None":
    """The network whose weights are in the run's directory, if they are of this training of it."""
    from search_spaces import torch_net

    try:
        net, about = torch_net.read(Path(run_dir) / torch_net.WEIGHTS)
        said = json.loads(about["training"]) if "training" in about else training  # earlier versions did not say it
    except ValueError:
        return None
    return net if net.arch == trained and said == json.loads(json.dumps(training)) else None


def keep(folder: Path, net: "Net", training: Mapping[str, Any]) -> None:
    """Writes the weights, unless they are there; files that follow from others are removed first."""
    from search_spaces import torch_net

    before = kept(folder, net.arch, training)
    if before is not None:
        own = net.state_dict()
        if all(value.equal(own[name]) for name, value in before.state_dict().items()):
            return
    for name in _FOLLOWING:
        (folder / name).unlink(missing_ok=True)
    torch_net.save(net, folder / torch_net.WEIGHTS, about={"training": json.dumps(training)})


def _write_graph(path: Path, net: "Net", data: PictureSet, options: Delivery, about: Mapping[str, str]) -> None:
    from search_spaces import onnx_net

    images, planes, logits = _examples(net, data)
    pixels = onnx_net.Pixels(mean=data.mean, std=data.std) if options.input == "uint8" else None
    onnx_net.export(
        net.arch,
        path,
        net=net,
        pixels=pixels,
        about=about,
        examples=(images if pixels else planes, logits),
        batch=options.batch,
        opset=options.opset,
    )


def _examples(net: "Net", data: PictureSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Some images (N, H, W, C) uint8, the same as inputs of the network (N, C, H, W), and its outputs (N, classes)."""
    import torch

    places = np.random.default_rng(0).permutation(len(data.holdout))[:_EXAMPLES]
    images = squares(data.holdout, data.preprocessing, places)
    planes = normalised(images, data)
    with torch.inference_mode():
        return images, planes, net(torch.from_numpy(planes)).numpy()


def normalised(images: np.ndarray, data: PictureSet) -> np.ndarray:
    """Images (N, H, W, C) uint8 as inputs of the network: (N, C, H, W) float32."""
    mean, std = (np.array(values, np.float32) * 255 for values in (data.mean, data.std))
    return np.ascontiguousarray(((images - mean) / std).transpose(0, 3, 1, 2), np.float32)

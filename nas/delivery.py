"""What a run delivers: its network as it was searched and as it was trained, ready for use without this project."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.training.datasets import Dataset, drawn
from nas_runtime.files import write_json, write_text
from search_spaces import text
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from search_spaces.torch_net import Net

__all__ = ["IN_WORDS", "deliver", "restored"]

IN_WORDS = "best.onnx and best.safetensors (trained on this data), preprocess.json and labels.txt (how to use them)"

_EXAMPLES = 8  # images on which the graph is compared with the network


def deliver(
    run_dir: str | os.PathLike[str], net: "Net", data: Dataset, *, searched: Arch, training: Mapping[str, Any]
) -> None:
    """Writes `net`, trained on `data`, to the run's directory.

    ``best.json`` is the network as it was searched; ``trained.json`` as it was trained, for the images and classes of
    the data set; ``best.safetensors`` its weights (`torch_net.load`); ``best.onnx`` its graph, which reads pixels and
    normalises them itself; ``preprocess.json`` and ``labels.txt`` say how a picture becomes its input, and what its
    outputs are.

    Args:
        training: what the weights depend on, as plain data; see `restored`.

    Raises:
        ValueError: the graph computes something else than `net`.
    """
    from search_spaces import torch_net

    torch_net.save(net, Path(run_dir) / torch_net.WEIGHTS, about={"training": json.dumps(training)})
    _write_others(Path(run_dir), net, data, searched)


def restored(
    run_dir: str | os.PathLike[str], data: Dataset, *, searched: Arch, trained: Arch, training: Mapping[str, Any]
) -> bool:
    """Whether the weights of this training are here; all other files are then written again, as they follow from them.

    So a run is complete after it was interrupted while it wrote them, was continued after files were lost, or was left
    by an earlier version, which wrote fewer. Arguments as for `deliver`, and:

    Args:
        trained: the network that the weights have to be of.
    """
    from search_spaces import torch_net

    try:
        net, about = torch_net.read(Path(run_dir) / torch_net.WEIGHTS)
        said = json.loads(about["training"]) if "training" in about else training  # earlier versions did not say it
    except ValueError:
        return False
    if net.arch != trained or said != training:
        return False
    _write_others(Path(run_dir), net, data, searched)
    return True


def _write_others(run_dir: Path, net: "Net", data: Dataset, searched: Arch) -> None:
    from search_spaces import onnx_net

    names = [" ".join(name.encode(errors="replace").decode().split()) for name in data.class_names]  # a line each
    preprocessing = _preprocessing(data)
    write_text(run_dir / "best.json", text.to_json(searched))
    write_text(run_dir / "trained.json", text.to_json(net.arch))
    write_json(run_dir / "preprocess.json", preprocessing)
    write_text(run_dir / "labels.txt", "".join(f"{name}\n" for name in names))
    onnx_net.export(
        net.arch,
        run_dir / "best.onnx",
        net=net,
        pixels=onnx_net.Pixels(mean=data.mean, std=data.std),
        about={"preprocess": json.dumps(preprocessing), "labels": json.dumps(names), "arch": text.to_json(net.arch)},
        examples=_examples(net, data),
    )


def _preprocessing(data: Dataset) -> dict[str, Any]:
    """What a program has to do with a picture, for ``best.onnx`` and for ``best.safetensors``."""
    rule, px, channels = data.preprocessing, data.resolution_px, data.channels
    return {
        "trained_on": data.name,
        "picture": {
            "mode": rule.mode,
            "resize": rule.resize,
            "filter": rule.filter,
            "resize_px": rule.resize_px,
            "resolution_px": px,
            "upright": "turned as its EXIF orientation says",
            "transparent": "white",
        },
        "best.onnx": {
            "input": "image",
            "shape": [1, px, px, channels],
            "layout": "NHWC",
            "type": "uint8",
            "values": "0 to 255, as they are: the graph normalises them",
            "output": "output",
            "output_values": "logits of the classes, in the order of labels.txt",
        },
        "best.safetensors": {
            "shape": ["N", channels, px, px],
            "layout": "NCHW",
            "type": "float32",
            "divide_by": rule.divide_by,
            "then_subtract": rule.mean,
            "then_divide_by": rule.std,
        },
        "labels": "labels.txt",
    }


def _examples(net: "Net", data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Some images (N, H, W, C) uint8, and the logits that trainings and their accuracies go by."""
    import torch

    from nas.training.train import normalise

    images = drawn(data.holdout, _EXAMPLES).images
    with torch.inference_mode():
        return images, net.eval()(normalise(torch.from_numpy(images), data, "cpu")).numpy()

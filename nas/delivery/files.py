"""The files of a trained network, which are ready for use without this project."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.delivery.card import card, in_sentences
from nas.delivery.description import as_input, label_lines, preprocessing
from nas.delivery.figures import measure
from nas.delivery.finished import Finished
from nas.delivery.graphs import graphs_of, pixels_of
from nas.delivery.integers import INT8, MEASURED
from nas.delivery.networks import write_networks
from nas.delivery.options import Delivery
from nas.training.pictures import PictureSet, squares
from nas_runtime import manifest
from nas_runtime.files import write_json, write_text
from search_spaces import text
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from rich.console import Console

    from search_spaces.torch_net import Net

__all__ = ["IN_WORDS", "deliver", "keep", "kept", "program_file"]

IN_WORDS = (
    "best.onnx and best.safetensors (trained on this data), predict.py, preprocess.json, labels.txt and model_card.md "
    "(how to use them)"
)

_EXAMPLES = 8  # pictures on which the graph is compared with the network
_TIMM = "best_timm"
_FOLLOWING = (
    *("best.onnx", INT8, MEASURED, "preprocess.json", "labels.txt", "predict.py", "model_card.md"),
    *(f"{_TIMM}.py", f"{_TIMM}.safetensors"),
)
"""Files that follow from the weights, and say something wrong beside others."""


def deliver(
    run_dir: str | os.PathLike[str], finished: Finished, options: Delivery, console: "Console"
) -> dict[str, Any]:
    """Writes a trained network to the run's directory.

    ``best.safetensors`` are its weights (`torch_net.load`), ``best.json`` is the network that they are of, and
    ``searched.json`` as it was searched and priced; ``best.onnx`` is its graph, and ``best_int8.onnx`` the same in
    integers, if `options` ask for it; ``preprocess.json`` and ``labels.txt`` say how a picture becomes its input, and
    what its outputs are; ``predict.py`` does all of that; ``model_card.md`` has the figures; ``best_timm.py`` and
    ``best_timm.safetensors`` are a model of timm, where timm can build the network.

    Weights that are there already stay; all other files are written again, as they follow from them: so a run is
    complete after it was interrupted while it wrote them, was continued after files were lost, or was left by an
    earlier version, which wrote fewer. What was measured is kept in ``delivery.json``.

    Returns:
        The figures, as plain data: accuracies, latencies promised and measured, what the integers come to.

    Raises:
        ValueError: the graph computes something else than the network.
        OSError: a file cannot be written.
    """
    from search_spaces import onnx_net

    folder, data, net = Path(run_dir), finished.data, finished.net.eval()
    keep(folder, net, finished.training)
    write_networks(folder, trained=net.arch, searched=finished.searched)
    how, names = preprocessing(data, options), label_lines(data.class_names)
    licence = {"licence": finished.licence} if finished.licence else {}
    write_json(folder / "preprocess.json", how | licence)
    write_text(folder / "labels.txt", "".join(f"{name}\n" for name in names))
    write_text(folder / "predict.py", program_file().read_text())
    about = {"preprocess": json.dumps(how), "labels": json.dumps(names), "arch": text.to_json(net.arch)}
    about |= licence
    _write_graph(folder / "best.onnx", net, data, options, about)
    _write_timm(folder, net, data)
    figures = measure(folder, finished, options, graphs_of(net, data, options), console)
    for name in ("best.onnx", INT8):
        if (folder / name).exists():
            onnx_net.describe(folder / name, {**about, "figures": json.dumps(figures)})
    write_text(folder / "model_card.md", card(finished, figures, commands=_commands(folder)))
    for line in in_sentences(figures):
        console.print(line)
    return figures


def _commands(folder: Path) -> tuple[str, ...]:
    """The latest command of the run, and the first, if that is another."""
    run = manifest.read(folder)
    return () if run is None else tuple(dict.fromkeys((run.latest_command or run.command, run.command)))


def program_file() -> Path:
    """The program that is delivered as ``predict.py``."""
    return Path(__file__).with_name("program.py")


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


def _write_timm(folder: Path, net: "Net", data: PictureSet) -> None:
    """The network as a model of timm, where timm can build it."""
    from search_spaces import timm_export

    if timm_export.why_not(net.arch) is None:
        timm_export.export(net, folder, _TIMM, mean=data.mean, std=data.std, crop=data.crop)


def _write_graph(path: Path, net: "Net", data: PictureSet, options: Delivery, about: Mapping[str, str]) -> None:
    from search_spaces import onnx_net

    images, planes, logits = _examples(net, data, options)
    pixels = pixels_of(data, options)
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


def _examples(net: "Net", data: PictureSet, options: Delivery) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Some images (N, H, W, C) uint8, the same as inputs of the network (N, C, H, W), and its outputs (N, classes)."""
    import torch

    places = np.random.default_rng(0).permutation(len(data.holdout))[:_EXAMPLES]
    images = squares(data.holdout, data.preprocessing, places)
    planes = as_input(images, preprocessing(data, options)["best.safetensors"])
    with torch.inference_mode():
        return images, planes, net(torch.from_numpy(planes)).numpy()

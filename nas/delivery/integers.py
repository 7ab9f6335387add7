"""``best_int8.onnx``: the delivered network in 8-bit integers, and what they cost."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.delivery.description import as_input, preprocessing
from nas.delivery.finished import Finished
from nas.delivery.graphs import Graphs, graphs_of
from nas.delivery.options import Delivery
from nas.training.augment import Augmentation
from nas.training.pictures import Pictures, PictureSet, squares
from nas.training.recipe import Recipe
from nas_runtime.files import write_bytes
from nas_runtime.run import Run, Stage

if TYPE_CHECKING:
    from rich.console import Console

    from nas.delivery.quantize import Pairs, Quantized

__all__ = ["INT8", "MEASURED", "WORST", "integers"]

INT8, MEASURED = "best_int8.onnx", "delivery.json"

WORST = 0.10
"""Of top-1 on the holdout: integers that cost more are not delivered."""

_CALIBRATION, _JUDGED, _TEST = 96, 1000, 5000  # pictures of train, holdout and test, at most
_AT_ONCE = 128  # test pictures that are in memory
_MOST_BYTES = 2**28  # of the pictures that are judged
_LEARNT_FROM = 0.01  # of top-1: who loses more learns on, with quantize=qat
_BATCH = 64  # images, about
_EPOCHS, _UPDATES, _LR = 3, 200, 3e-4  # of that, at least so many; the learning rate of recipe=fine_tune


def integers(
    folder: Path, finished: Finished, options: Delivery, graphs: Graphs, console: "Console"
) -> dict[str, Any] | None:
    """What the integers come to, if they are asked for or were made of the same graph before; the file is written
    unless it is there, or they cost too much."""
    from search_spaces import onnx_net

    data = finished.data
    how = {"rule": asdict(data.preprocessing), "input": options.input}
    identity = {"what": "int8", "graph": onnx_net.digest(graphs.delivered), "pictures": data.identity, **how}
    stage, path = Stage(folder / MEASURED, identity), folder / INT8
    known = stage.values.get("int8")
    if (
        known
        and options.quantize in ("none", known.get("quantize", "static"))
        and (not known["delivered"] or (path.exists() and onnx_net.digest(path.read_bytes()) == known["file"]))
    ):
        return known
    path.unlink(missing_ok=True)  # of another graph
    if options.quantize == "none":
        return None
    console.print("quantising: ranges from training pictures, judged on the holdout; this can take minutes")
    found, content = _quantised(folder, finished, options, graphs, console)
    if content:
        write_bytes(path, content)
    stage.keep("int8", found)
    return found


def _quantised(
    folder: Path, finished: Finished, options: Delivery, graphs: Graphs, console: "Console"
) -> tuple[dict[str, Any], bytes | None]:
    """What the integers come to, and the graph; None: they cost too much."""
    from search_spaces import onnx_net

    data = finished.data
    pairs = _judged(data, options)
    made, fine_tuned = _static(graphs.single, data, options, pairs), {}
    float_top1 = made.float_top1
    if options.quantize == "qat" and (made.lost > _LEARNT_FROM or made.in_float):
        made, fine_tuned = _learnt(folder, finished, options, made, pairs, console)
    lost = float_top1 - made.top1
    found = {
        "quantize": options.quantize,
        "delivered": lost <= WORST,
        "ranges": made.method.lower(),
        "blocks_in_float": list(made.in_float),
        "holdout_top1": made.top1,
        "float_holdout_top1": float_top1,
        "holdout_pictures": len(pairs),
        **fine_tuned,
    }
    if not found["delivered"]:
        return found, None
    content = onnx_net.with_batch(made.content, options.batch)
    return {**found, **_tested(made.content, graphs.single, data, options), "file": onnx_net.digest(content)}, content


def _static(single: bytes, data: PictureSet, options: Delivery, pairs: "Pairs") -> "Quantized":
    """The integers of a graph, as its weights are."""
    from nas.delivery.quantize import quantize

    calibration = _given(data, options)(data.train, _places(data.train, _CALIBRATION))
    return quantize(single, calibration, pairs)


def _learnt(
    folder: Path, finished: Finished, options: Delivery, made: "Quantized", pairs: "Pairs", console: "Console"
) -> tuple["Quantized", Mapping[str, Any]]:
    """The better of `made` and the integers of weights that have learnt on while they were rounded (`rounding`)."""
    from nas.training import tensor_file
    from nas.training.full import Beginning, train_network

    data, net = finished.data, finished.net
    workers = finished.place.workers.count if finished.place.workers else 1
    size = max(2, min(_BATCH, len(data.train)) // workers)  # each has a part of every batch
    batch = size * workers
    epochs = max(_EPOCHS, -(-_UPDATES * batch // len(data.train)))
    recipe = Recipe(
        epochs=epochs,
        batch=batch,
        micro_batch=size if workers > 1 else None,
        lr=_LR,
        weight_decay=0.0,
        norm_momentum=0.01,
        rounded=True,
        augmentation=Augmentation(crop_area=0.35),
    )
    console.print(
        f"the integers cost {100 * made.lost:.1f} points of top-1 on the holdout, with {len(made.in_float)} blocks in "
        f"float: the weights learn {epochs} epochs more, rounded as integers are"
    )
    weights = net.state_dict()
    begun_with = hashlib.sha256(f"{tensor_file.sum_of(weights)} {data.identity} {recipe}".encode()).hexdigest()[:12]
    trained = train_network(
        net.arch,
        data,
        recipe,
        place=replace(finished.place, tensorboard=False),
        run=Run(folder / f"int8_{begun_with}"),
        rng_seed=0,
        console=console,
        beginning=Beginning(weights=weights),
    )
    learnt = _static(graphs_of(trained.net, data, options).single, data, options, pairs)
    before, after = (_cost(it, made.float_top1) for it in (made, learnt))
    says = {"fine_tuned_epochs": epochs, "static_holdout_top1": made.top1, "static_blocks_in_float": len(made.in_float)}
    return (learnt, says) if after < before else (made, {})


def _cost(it: "Quantized", float_top1: float) -> tuple[bool, int, float]:
    """What is better is less: top-1 that is near enough first, then fewer blocks in float, then top-1."""
    far = float_top1 - it.top1 > _LEARNT_FROM
    return far, 0 if far else len(it.in_float), -it.top1


def _judged(data: PictureSet, options: Delivery) -> "Pairs":
    """The pictures by which integers are judged: of the holdout."""
    from nas.delivery.quantize import Pairs

    each = data.resolution_px**2 * data.channels * (1 if options.input == "uint8" else 4)
    places = _places(data.holdout, min(_JUDGED, max(1, _MOST_BYTES // each)))
    return Pairs(inputs=_given(data, options)(data.holdout, places), labels=data.holdout.labels[places])


def _given(data: PictureSet, options: Delivery) -> Callable[[Pictures, np.ndarray], np.ndarray]:
    """What gives the pictures at some places as inputs of the graph."""
    how = preprocessing(data, options)["best.onnx"]
    return lambda part, places: as_input(squares(part, data.preprocessing, places), how)


def _places(part: Pictures, most: int) -> np.ndarray:
    """Places drawn at random, always the same ones."""
    return np.sort(np.random.default_rng(0).permutation(len(part))[:most])


def _tested(int8: bytes, single: bytes, data: PictureSet, options: Delivery) -> dict[str, Any]:
    """Top-1 of both graphs on the same test pictures, and how many these are; None where there are none."""
    from search_spaces import onnx_net

    places, given, right = _places(data.test, _TEST), _given(data, options), np.zeros(2)
    for first in range(0, len(places), _AT_ONCE):
        some = places[first : first + _AT_ONCE]
        inputs, labels = given(data.test, some), data.test.labels[some]
        right += [(onnx_net.run(graph, inputs).argmax(1) == labels).sum() for graph in (int8, single)]
    top1, float_top1 = map(float, right / len(places)) if len(places) else (None, None)
    return {"test_top1": top1, "float_test_top1": float_top1, "test_pictures": len(places)}

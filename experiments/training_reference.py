"""Does our training learn what the reference's does, as fast? `python -m experiments.training_reference path=DIR`

MobileNetV3-Small on the pictures of a folder (Imagenette: DIR with train/ and val/), by `python -m nas.train`'s own
training and by a loop of timm's pieces (`experiments.reference_loop`): loader, transforms, optimizer, scheduler and
loss. Both see the same training pictures, recipe, number of updates and seeds, in turns, with as many torch threads and
processes that read.

    python -m experiments.training_reference path=DIR timm_path=PYTHON
        [recipe=adamw|rmsprop] [initial=same|timm] [px=128] [epochs=12] [batch=64] [images=0] [seeds=3] [threads=2]
        [readers=1]

PYTHON is one that has timm and torchvision; images=0 takes all. Both begin with the same weights; with initial=timm the
reference begins with timm's own. ``epochs=1 images=640 seeds=1`` takes a minute or two.
Prints a table, and writes it to experiments/results/training_reference.csv (options that are not the defaults are in
its name).
"""

import json
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch

from experiments import options, provenance, tables
from nas.training import sources
from nas.training.augment import Augmentation
from nas.training.full import train_network
from nas.training.pictures import Pictures, PictureSet
from nas.training.place import Place
from nas.training.recipe import Recipe
from nas_runtime.console import new_console
from nas_runtime.run import Run
from search_spaces import rewrite, timm_export, torch_net, zoo
from search_spaces.arch import Arch

DEFAULTS = {"path": "", "timm_path": "", "recipe": "adamw", "px": 128, "epochs": 12, "batch": 64, "images": 0}
DEFAULTS |= {"initial": "same", "seeds": 3, "threads": 2, "readers": 1}
ALLOWED = {"recipe": ("adamw", "rmsprop"), "initial": ("same", "timm")}
CROP, AREA, DROPOUT, SMOOTHING = 0.875, 0.25, 0.2, 0.1
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VALUES: dict[str, dict[str, Any]] = {
    "adamw": {"lr": 2e-3, "weight_decay": 0.05},
    "rmsprop": {"lr": 4e-3, "weight_decay": 1e-5, "epsilon": 1e-3},
}
THEIRS: dict[str, dict[str, Any]] = {
    "adamw": {"opt": "adamw"},
    "rmsprop": {"opt": "rmsproptf", "momentum": 0.9, "alpha": 0.9, "eps": 1e-3},
}


def main() -> None:
    setting = options.read(
        DEFAULTS, {"recipe": tuple(VALUES), "initial": ("same", "timm")}, needed=("path", "timm_path")
    )
    data = sources.pictures(
        "image_folder",
        path=setting["path"],
        resolution_px=setting["px"],
        crop=CROP,
        train_images=setting["images"] or None,
        holdout=100,
    ).normalised_by(MEAN, STD)
    found: dict[str, list[dict[str, float]]] = {"ours": [], "timm's pieces": []}
    with tempfile.TemporaryDirectory() as folder:
        train, test = (linked(part, data, Path(folder) / name) for name, part in _parts(data))
        for seed in range(setting["seeds"]):
            found["ours"].append(ours(setting, data, Path(folder) / f"run {seed}", seed))
            net = torch_net.build(network(setting, data), generator=torch.Generator().manual_seed(seed))
            timm_export.export(net, folder, "initial", mean=MEAN, std=STD)
            found["timm's pieces"].append(theirs(setting, data, (train, test, Path(folder) / "initial.py"), seed))
            for name, figures in found.items():
                print(f"seed {seed}, {name}: {figures[-1]}", flush=True)
    rows = [_row(name, figures) for name, figures in found.items()]
    path = tables.named("training_reference", {**setting, "timm_path": ""}, DEFAULTS)
    origin = provenance.of(seeds=f"0 to {setting['seeds'] - 1}")
    tables.show(f"MobileNetV3-Small at {setting['px']} px, {setting['epochs']} epochs", rows, path, origin=origin)


def network(setting: dict[str, Any], data: PictureSet) -> Arch:
    arch = zoo.get("mobilenet_v3_small", resolution_px=setting["px"], classes=data.classes)
    return rewrite.dropout(arch, DROPOUT)


def ours(setting: dict[str, Any], data: PictureSet, folder: Path, seed: int) -> dict[str, float]:
    recipe = Recipe(
        epochs=setting["epochs"],
        batch=setting["batch"],
        optimizer=setting["recipe"],
        warmup_epochs=_warmup(setting),
        label_smoothing=SMOOTHING,
        augmentation=Augmentation(crop_area=AREA),
        **VALUES[setting["recipe"]],
    )
    folder.mkdir()
    trained = train_network(
        network(setting, data),
        data,
        recipe,
        place=Place(threads=setting["threads"], readers=setting["readers"]),
        run=Run(folder),
        rng_seed=seed,
        console=new_console(stderr=True),
    )
    updates = round(trained.epochs[-1].epoch * (len(data.train) // recipe.batch))
    return {"top1": trained.test_top1, "images_per_s": trained.images_per_s, "updates": updates}


def theirs(setting: dict[str, Any], data: PictureSet, paths: tuple[Path, Path, Path], seed: int) -> dict[str, float]:
    """With the pictures to train on, those to test with, and the network with its initial weights at `paths`."""
    train, test, initial = paths
    values = VALUES[setting["recipe"]]
    told = {name: setting[name] for name in ("px", "epochs", "batch", "threads", "readers")}
    told |= {"classes": data.classes, "mean": MEAN, "std": STD, "crop": CROP, "crop_area": AREA, "dropout": DROPOUT}
    told |= {"initial": str(initial) if setting["initial"] == "same" else ""}
    told |= {"label_smoothing": SMOOTHING, "warmup_epochs": _warmup(setting), "rng_seed": seed}
    told["optimizer"] = {**THEIRS[setting["recipe"]], "lr": values["lr"], "weight_decay": values["weight_decay"]}
    loop = Path(__file__).with_name("reference_loop.py")
    done = subprocess.run(
        [setting["timm_path"], str(loop), str(train), str(test), json.dumps(told)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ValueError(f"timm_path={setting['timm_path']}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def linked(part: Pictures, data: PictureSet, folder: Path) -> Path:
    """A folder of classes with links to the pictures of `part`."""
    for place, label in enumerate(part.labels):
        file = Path(part.name(place)).resolve()
        link = folder / data.class_names[label] / f"{place}{file.suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    return folder


def _parts(data: PictureSet) -> list[tuple[str, Pictures]]:
    return [("train", data.train), ("test", data.test)]


def _warmup(setting: dict[str, Any]) -> int:
    return min(1, setting["epochs"] - 1)


def _row(name: str, figures: list[dict[str, float]]) -> dict[str, str]:
    top1s, rates = [100 * f["top1"] for f in figures], [f["images_per_s"] for f in figures]
    spread = f"{statistics.stdev(top1s):.2f}" if len(top1s) > 1 else ""
    return {
        "training": name,
        "top-1, %": f"{statistics.mean(top1s):.2f}",
        "deviation of seeds": spread,
        "of each seed": " ".join(f"{x:.2f}" for x in top1s),
        "images/s": f"{statistics.median(rates):.0f}",
        "updates": f"{figures[0]['updates']:.0f}",
        "torch": torch.__version__ if name == "ours" else "",
    }


if __name__ == "__main__":
    options.run(main)

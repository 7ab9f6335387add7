"""How near does NetAdapt come to MobileNetV3, and is it worth it? `python -m experiments.rediscover_v3 path=cifar-10`

*Large*: MnasNet-A1 with MobileNetV3's redesigns, narrowed to the latency that MobileNetV3-Large has on this machine.
*Small*: a network searched with w = -0.15 (adjusted after a third of the samples, since where that reward is highest
does not depend on its target) for half more than MobileNetV3-Small's latency, with h-swish and squeeze-and-excite as
in MobileNetV3, narrowed to MobileNetV3-Small's latency. Then the adapted network, its seed, the seed scaled uniformly
to the same latency, adaptations whose steps are drawn at random (none of them the adapted network) and MobileNetV3
itself are trained alike on CIFAR-10, several times. How far the adapted network is above another is said only where
they take the same time on this machine, give or take 5 %: what a slower network knows more is not NetAdapt's merit.

    python -m experiments.rediscover_v3 path=FOLDER [model=large] [images=10000] [epochs=12] [repeats=3] [samples=42]

`path` is where CIFAR-10 is, as for dataset.path. It prints the commands that it runs; everything is in
runs/rediscover_v3/, and the same command continues (also with more `repeats`). Tables and pictures go to
experiments/results/rediscover_v3_*.
"""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import latency_luts
from experiments import options, provenance, tables
from nas_runtime.files import read_json
from nas_runtime.run import Run
from search_spaces import zoo

DEFAULTS = {"path": "", "model": "large", "images": 10_000, "epochs": 12, "repeats": 3, "samples": 42}
RUNS = Path("runs/rediscover_v3")
SAME_MS = 0.05
ABOVE, BASE_WIDTH = 1.5, 0.5  # of the search for Small's seed: it has to be slower than what it is narrowed to


def main() -> None:
    setting = options.read(DEFAULTS, {"model": ("large", "small")}, needed=["path"])
    with provenance.recording(RUNS):
        result = _adapted(setting, RUNS / f"{setting['model']}-{setting['images']}x{setting['epochs']}")
    _report(setting, result)


def _adapted(setting: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What the commands of the search, if there is one, and of the adaptation come to, whose run is in `folder`."""
    data = ["dataset=cifar10", f"dataset.path={setting['path']}"]
    if "host" not in latency_luts.names():
        _run("latency_luts.build", ["device=host"])
    if setting["model"] == "large":
        seed = ["seed=mnasnet_a1", "redesign=mobilenet_v3", "+target=host_large"]
    else:
        small_ms = latency_luts.load("host", model="interpolated").latency_ms(zoo.get("mobilenet_v3_small"))
        search = folder.with_name(f"{folder.name}-search")
        if not (search / "best.json").exists():
            begun = Run(search).config  # by a table which may have had fewer units than today's
            ms = begun["target"]["target_ms"] if begun else ABOVE * small_ms
            target = ["+target=host_small", f"target.target_ms={ms:.3f}", f"space.base_width={BASE_WIDTH}", "w=-0.15"]
            target += [f"adjust_after={setting['samples'] // 3}", "epochs=4"]
            _run("nas.search", [*target, *data, f"samples={setting['samples']}", f"run_dir={search}"])
        seed = [f"seed={search}", "redesign=[hard_swish,se_quarter]", "+target=host_small"]
    training = [
        f"dataset.train_images={setting['images']}",
        f"epochs={setting['epochs']}",
        f"final_epochs={setting['epochs']}",
        f"final_repeats={setting['repeats']}",
        "compare=[seed,uniform,chance,published]",
    ]
    _run("netadapt.run", [*seed, *data, *training, f"run_dir={folder}"])
    for picture in ("path", "widths", "expansions"):
        if (folder / f"{picture}.png").exists():
            shutil.copy(folder / f"{picture}.png", tables.RESULTS / f"rediscover_v3_{setting['model']}_{picture}.png")
    return read_json(folder / "result.json")


def _run(module: str, arguments: list[str]) -> None:
    command = ["python", "-m", module, *arguments]
    print(f"\n$ {shlex.join(command)}", flush=True)
    done = subprocess.run([sys.executable, *command[1:]], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def _report(setting: dict, result: dict[str, Any]) -> None:
    distances = dict(result["distance_to_published"] or {})
    if distances:
        distances["by chance"] = float(np.mean(distances["by chance"]))
    adapted = result["networks"]["adapted"]
    rows = []
    for name, network in result["networks"].items():
        test = np.array(network["test_top1s"])
        above = _above(adapted, network) if name != "adapted" else ("", "")
        rows.append(
            {
                "network": name,
                "test top-1": f"{100 * test.mean():.2f}",
                "deviation": f"{100 * test.std(ddof=1):.2f}" if len(test) > 1 else "",
                "adapted is above by": above[0],
                "standard error": above[1],
                "trainings": str(len(test)),
                "predicted ms": f"{network['latency_ms']:.2f}",
                "measured ms": f"{network['here_ms']:.2f}",
                "MAdds (M)": f"{network['madds'] / 1e6:.1f}",
                "params (M)": f"{network['params'] / 1e6:.2f}",
                "distance": f"{distances[name]:.3f}" if name in distances else "",
            }
        )
    title = f"{setting['model']}: CIFAR-10, {setting['images']} images, {setting['epochs']} epochs, in percent"
    seeds = f"search and adaptation 0, {setting['repeats']} final trainings (nas.seeds)"
    path = tables.RESULTS / f"rediscover_v3_{setting['model']}.csv"
    tables.show(title, rows, path, origin=provenance.of(seeds, packages=("torch",), runs=(RUNS,)), width=160)


def _above(adapted: dict[str, Any], other: dict[str, Any]) -> tuple[str, str]:
    """By how many points the adapted network is above `other`, and the standard error of that; empty where the two do
    not take the same time."""
    if abs(other["here_ms"] / adapted["here_ms"] - 1) > SAME_MS:
        return "", ""
    own, its = (100 * np.array(network["test_top1s"]) for network in (adapted, other))
    error = np.sqrt(own.var(ddof=1) / len(own) + its.var(ddof=1) / len(its)) if len(its) > 1 else None
    return f"{own.mean() - its.mean():+.2f}", "" if error is None else f"{error:.2f}"


if __name__ == "__main__":
    options.run(main)

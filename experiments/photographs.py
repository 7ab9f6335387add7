"""A search on photographs, its delivery, and published networks that take as long. `python -m experiments.photographs`

For each seed: a search for MobileNetV3-Small's latency on this machine that begins with that network
(``warm_start=``, in TuNAS's space, which holds its kind), whose winner is trained on the photographs at their size;
then MobileNetV3-Small, MnasNet-small and MobileNetV2, each so wide that it takes as long on this machine (`nas.train
width=`), by the same recipe, epochs and seed; one that takes longer at a width of 0.1 is left out. All are timed again,
side by side, and measured on the test images.

    python -m experiments.photographs path=DIR [resolution_px=128] [epochs=15] [samples=36] [seeds=2] [to=DIR]

The commands run as a user runs them, in processes of their own; `to` keeps their runs, and the same command goes on
where it was interrupted. Writes experiments/results/photographs.csv.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import latency_luts
from experiments import options, provenance, tables
from latency_luts import InterpolatedModel, LatencyModel
from latency_luts.measure import Bench, bench, identity
from latency_luts.table import MeasuredTable
from nas.seeds import final_seed
from nas_runtime.files import read_json, write_json
from search_spaces import text, zoo
from search_spaces.arch import Arch

DEFAULTS = {"path": "", "resolution_px": 128, "epochs": 15, "samples": 36, "seeds": 2, "to": "runs/photographs"}
PUBLISHED = ("mobilenet_v3_small", "mnasnet_small", "mobilenet_v2")
SEARCH = ("space=mobilenet_v3", "space.base_width=0.5", "warm_start=mobilenet_v3_small", "evaluator.resolution_px=96")
"""Short trainings compare networks of one kind fairly; of two kinds they prefer the one that learns fast."""
ROUNDS = 3  # of finding a width
WIDTHS = tuple(percent / 100 for percent in range(200, 9, -1))


def main() -> None:
    setting = options.read(DEFAULTS, needed=["path"])
    runs, rows = Path(setting["to"]), []
    for seed in range(setting["seeds"]):
        data = _data(setting)
        found = runs / f"search_{seed}"
        words = ["nas.search", "+target=host_small", *SEARCH, *data, f"samples={setting['samples']}"]
        _run(found, [*words, f"final.full_epochs={setting['epochs']}", f"rng_seed={seed}"])
        winner = text.from_file(found / "searched.json")
        model = _model()
        made = {"found": found}
        for name, width in _widths(runs / f"widths_{seed}.json", winner, model).items():
            if width is None:
                print(f"seed {seed}: no {name} is as fast as the network that was found")
                continue
            made[f"{name} {width:g}"] = runs / f"{name}_{seed}"
            epochs = f"epochs={setting['epochs']}"
            words = ["nas.train", f"network={name}", f"width={width:g}", *data, epochs, f"rng_seed={final_seed(seed)}"]
            _run(made[f"{name} {width:g}"], words)
        rows += _rows(seed, made, model)
    tables.show(
        "Top-1 on test images beside latency on this machine",
        rows,
        tables.RESULTS / "photographs.csv",
        origin=provenance.of(f"searches 0 to {setting['seeds'] - 1}", packages=("torch", "onnxruntime"), runs=[]),
    )


def _data(setting: dict) -> list[str]:
    return [
        "dataset=image_folder",
        f"dataset.path='{setting['path']}'",
        f"dataset.resolution_px={setting['resolution_px']}",
    ]


def _run(run_dir: Path, words: Sequence[str]) -> None:
    """A command of the project, unless its result is there."""
    if not (run_dir / "result.json").exists():
        print("python -m", *words, f"run_dir={run_dir}", flush=True)
        subprocess.run([sys.executable, "-m", *words, f"run_dir={run_dir}"], check=True)


def _model() -> LatencyModel:
    """This machine's table, which the search has measured; widths between those that it has are interpolated."""
    model = latency_luts.load("host")
    return InterpolatedModel(model.table) if isinstance(model.table, MeasuredTable) else model


def _widths(file: Path, winner: Arch, model: LatencyModel) -> dict[str, float | None]:
    """The widths of published networks at which they take as long as the winner, None where none is so fast; measured
    once, for their trainings."""
    if (known := read_json(file)) is None:
        with bench(identity()) as machine:
            known = {name: _width(name, winner, model, partial(_measured, machine)) for name in PUBLISHED}
        write_json(file, known)
    return known


def _width(
    name: str, winner: Arch, model: LatencyModel, measured: Callable[[Sequence[Arch]], Sequence[float]]
) -> float | None:
    """The largest width at which a network takes no longer than the winner, `measured` beside it; the table, corrected
    by how far it is off for this network, says which is tried next. None: the narrowest takes longer."""
    sizes = {"resolution_px": winner.resolution_px, "classes": winner.classes}
    most_ms = model.latency_ms(winner)
    width = 0.0
    for _ in range(ROUNDS):
        fast = [width for width in WIDTHS if model.latency_ms(zoo.get(name, width=width, **sizes)) <= most_ms]
        if not fast:
            return None
        width = fast[0]
        arch = zoo.get(name, width=width, **sizes)
        own_ms, winner_ms = measured([arch, winner])
        most_ms = model.latency_ms(arch) * winner_ms / own_ms
    return width


def _measured(machine: Bench, archs: Sequence[Arch]) -> list[float]:
    """Milliseconds of networks on this machine, side by side."""
    return [timing.ms for timing in machine.time_networks(archs, bursts=30)]


def _rows(seed: int, made: dict[str, Path], model: LatencyModel) -> list[dict[str, str]]:
    archs = [text.from_file(folder / "best.json") for folder in made.values()]
    with bench(identity()) as machine:
        measured = _measured(machine, archs)
    rows = []
    for (name, folder), arch, ms in zip(made.items(), archs, measured, strict=True):
        result = json.loads((folder / "result.json").read_text())
        best = result.get("best", result)
        rows.append(
            {
                "network": name,
                "seed": str(seed),
                "test top-1": f"{best.get('final_test_top1', best.get('test_top1')):.4f}",
                "ms measured": f"{ms:.3f}",
                "ms by the table": f"{model.latency_ms(arch):.3f}",
            }
        )
    return rows


if __name__ == "__main__":
    options.run(main)

"""What are devices like? `python -m experiments.fit_device_prior path=phones_tflite.csv ncnn_path=cpus_ncnn.csv`

Fits the priors of `latency_luts.prior` to published latencies (`experiments.published_latencies`): `tflite_fp32` and
`tflite_int8` to those of phones' cores, `ncnn` to those of CPUs. Says how far off a device's latencies are that was
left out, all its cores with it, when so many of its networks are known: drawn at random `draws` times, the error is
that on the other networks.

    python -m experiments.fit_device_prior path=phones_tflite.csv ncnn_path=cpus_ncnn.csv [draws=30]

Each device counts as much as any other; set-ups with one thread are asked about. `inside` is the share of networks
within the interval that is to hold 90 %. Writes latency_luts/priors/*.json and
experiments/results/fit_device_prior.csv.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from experiments import options, provenance, published_latencies, tables
from experiments.published_latencies import NCNN, TFLITE, Setup
from latency_luts import prior
from latency_luts.prior import Prior
from latency_luts.work import kinds_of
from nas_runtime.files import write_text
from search_spaces.lower import lower

KNOWN = (1, 2, 3, 5, 9, 10, 19)
_90 = 1.645  # deviations on either side of 90 % of a normal distribution


def main() -> None:
    given = options.read({"path": "", "ncnn_path": "", "draws": 30}, needed=["path", "ncnn_path"])
    rows = []
    for name, (setups, source) in read(Path(given["path"]), Path(given["ncnn_path"])).items():
        errors = left_out(setups, given["draws"])
        shipped = replace(
            fit(name, setups),
            devices=", ".join(dict.fromkeys(f"{s.device} {s.core}" for s in setups)),
            kinds=tuple(sorted({kind for s in setups for arch in s.archs for kind in kinds_of(lower(arch))})),
            errors=tuple((count, round(float(np.mean(off)), 4)) for count, (off, _) in errors.items()),
            source=source,
        )
        write_text(
            Path(prior.__file__).parent / "priors" / f"{name}.json", json.dumps(prior.to_dict(shipped), indent=1) + "\n"
        )
        rows += [
            {
                "prior": name,
                "networks known": str(count),
                "error %": f"{100 * np.mean(off):.1f}",
                "median %": f"{100 * np.median(off):.1f}",
                "worst device %": f"{100 * max(off):.1f}",
                "inside %": f"{100 * np.mean(inside):.0f}",
                "set-ups": str(len(off)),
            }
            for count, (off, inside) in errors.items()
        ]
    title = "Networks of a device that was left out, by how many of its networks are known"
    origin = provenance.of("draws 0", packages=("numpy",), runs=[])
    tables.show(title, rows, tables.RESULTS / "fit_device_prior.csv", origin=origin)


def read(phones: Path, ncnn: Path) -> dict[str, tuple[list[Setup], str]]:
    """The set-ups that each prior is fitted to, and where they are from."""
    found = {f"tflite_{dtype}": (published_latencies.read_phones(phones, dtype), TFLITE) for dtype in ("fp32", "int8")}
    return found | {"ncnn": (published_latencies.read_ncnn(ncnn), NCNN)}


def fit(name: str, setups: Sequence[Setup]) -> Prior:
    """The prior of some set-ups, in which each device counts as much as any other."""
    devices = [setup.device for setup in setups]
    weights = np.array([1 / devices.count(device) for device in devices])
    return prior.fit(name, [(setup.x, setup.ms) for setup in setups], weights)


def left_out(setups: Sequence[Setup], draws: int) -> dict[int, tuple[list[float], list[float]]]:
    """By the number of networks that are known: of each set-up with one thread, the mean error on the others, and the
    share of them inside the interval, with its device left out of the prior."""
    rng = np.random.default_rng(0)
    found: dict[int, tuple[list[float], list[float]]] = {count: ([], []) for count in KNOWN}
    for device in dict.fromkeys(setup.device for setup in setups):
        others = fit("others", [setup for setup in setups if setup.device != device])
        for setup in (s for s in setups if s.device == device and s.threads == "1"):
            for count in KNOWN:
                if count >= len(setup.ms):
                    continue
                off, inside = [], []
                for _ in range(draws):
                    order = rng.permutation(len(setup.ms))
                    known, rest = order[:count], order[count:]
                    ms, deviation = prior.posterior(others, setup.x[known], setup.ms[known]).predict(setup.x[rest])
                    off += np.abs(ms / setup.ms[rest] - 1).tolist()
                    inside += (np.abs(np.log(ms / setup.ms[rest])) < _90 * deviation).tolist()
                found[count][0].append(float(np.mean(off)))
                found[count][1].append(float(np.mean(inside)))
    return {count: its for count, its in found.items() if its[0]}


if __name__ == "__main__":
    options.run(main)

"""What are phones like? `python -m experiments.fit_device_prior path=phones_tflite.csv`

Fits the priors `tflite_fp32` and `tflite_int8` of `latency_luts.prior` to latencies of networks on phones' cores, by
TensorFlow Lite, and says how far off a device's latencies are that was left out, all its cores with it, when so many of
its networks are known: drawn at random `draws` times, the error is that on the other networks.

    python -m experiments.fit_device_prior path=phones_tflite.csv [draws=30]

`experiments.phones` says what the file has. Cores with one thread or two count, each phone as much as any other.
`inside` is the share of networks within the interval that is to hold 90 %. Writes latency_luts/priors/*.json and
experiments/results/fit_device_prior.csv.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from experiments import options, phones, provenance, tables
from experiments.phones import Setup
from latency_luts import prior
from latency_luts.prior import Prior
from latency_luts.work import kinds_of
from nas_runtime.files import write_text
from search_spaces.lower import lower

DTYPES = ("fp32", "int8")
KNOWN = (1, 2, 3, 5, 10, 19)
_90 = 1.645  # deviations on either side of 90 % of a normal distribution


def main() -> None:
    given = options.read({"path": "", "draws": 30}, needed=["path"])
    rows = []
    for dtype in DTYPES:
        setups = phones.read(Path(given["path"]), dtype)
        kinds = tuple(sorted({kind for s in setups for arch in s.archs for kind in kinds_of(lower(arch))}))
        fitted = fit(f"tflite_{dtype}", setups)
        errors = left_out(setups, given["draws"])
        devices = ", ".join(dict.fromkeys(f"{s.device} {s.core}" for s in setups))
        known = tuple((count, round(float(np.mean(off)), 4)) for count, (off, _) in errors.items())
        shipped = replace(fitted, devices=devices, kinds=kinds, errors=known, source=phones.SOURCE)
        write_text(
            Path(prior.__file__).parent / "priors" / f"{shipped.name}.json",
            json.dumps(prior.to_dict(shipped), indent=1) + "\n",
        )
        rows += [
            {
                "prior": shipped.name,
                "networks known": str(count),
                "error %": f"{100 * np.mean(off):.1f}",
                "median %": f"{100 * np.median(off):.1f}",
                "worst device %": f"{100 * max(map(np.mean, off)):.1f}",
                "inside %": f"{100 * np.mean(inside):.0f}",
                "set-ups": str(len(off)),
            }
            for count, (off, inside) in errors.items()
        ]
    title = "Networks of a phone that was left out, by how many of its networks are known"
    origin = provenance.of("draws 0", packages=("numpy",), runs=[])
    tables.show(title, rows, tables.RESULTS / "fit_device_prior.csv", origin=origin)


def fit(name: str, setups: Sequence[Setup]) -> Prior:
    """The prior of some set-ups, in which each phone counts as much as any other."""
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
    return found


if __name__ == "__main__":
    options.run(main)

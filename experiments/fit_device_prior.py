"""What are devices like? `python -m experiments.fit_device_prior path=phones_tflite.csv ncnn_path=cpus_ncnn.csv`

Fits the priors of `latency_luts.prior` to published latencies (`experiments.published_latencies`): `tflite_fp32` and
`tflite_int8` to those of phones' cores, `ncnn` to those of CPUs. Says how far off a device's latencies are that was
left out, all its cores with it, when so many of its networks are known: drawn at random `draws` times, the error is
that on the other networks.

    python -m experiments.fit_device_prior path=phones_tflite.csv ncnn_path=cpus_ncnn.csv [draws=10]

Set-ups with one thread are asked about. The networks that are predicted are left out of the prior's data, too, with all
that the features cannot tell from them. `inside` is the share of them within the interval that is to hold 90 %: its
width is that which holds 90 % on the other devices. Writes latency_luts/priors/*.json and
experiments/results/fit_device_prior.csv.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from experiments import options, provenance, published_latencies, tables
from experiments.published_latencies import NCNN, TFLITE, Setup
from latency_luts import prior
from latency_luts.prior import Prior
from latency_luts.work import kinds_of
from nas_runtime.files import write_text
from search_spaces.lower import lower

_FOLDS = 8  # of devices
KNOWN = (1, 2, 3, 5, 9, 19)
ABOUT = {
    "tflite_fp32": "one core of a phone with TensorFlow Lite, fp32",
    "tflite_int8": "one core of a phone with TensorFlow Lite, int8",
    "ncnn": "one core of a board, phone or computer with ncnn",
}


def main() -> None:
    given = options.read({"path": "", "ncnn_path": "", "draws": 10}, needed=["path", "ncnn_path"])
    rows = []
    for name, (setups, source) in read(Path(given["path"]), Path(given["ncnn_path"])).items():
        asked = [setup for setup in setups if setup.threads == "1"]
        off = {count: _off(setups, asked, count, given["draws"]) for count in KNOWN}
        off = {count: its for count, its in off.items() if its}
        shipped = replace(
            fit(name, setups),
            about=ABOUT[name],
            devices=", ".join(dict.fromkeys(f"{s.device} {s.core}" for s in setups)),
            kinds=tuple(sorted({kind for s in setups for arch in s.archs for kind in kinds_of(lower(arch))})),
            errors=tuple((count, round(_error(its), 4), round(_width(its), 3)) for count, its in off.items()),
            source=source,
        )
        write_text(
            Path(prior.__file__).parent / "priors" / f"{name}.json", json.dumps(prior.to_dict(shipped), indent=1) + "\n"
        )
        rows += [_row(name, count, its) for count, its in off.items()]
    title = "Networks of a device that was left out, by how many of its networks are known"
    origin = provenance.of("draws 0", packages=("numpy",), runs=[])
    tables.show(title, rows, tables.RESULTS / "fit_device_prior.csv", origin=origin)


@dataclass(frozen=True, kw_only=True)
class Off:
    """A core's networks as they were predicted: logarithms (n,) of measured by predicted, and their deviations (n,)."""

    device: str
    logs: np.ndarray
    deviations: np.ndarray

    @property
    def error(self) -> float:
        return float(np.abs(np.exp(-self.logs) - 1).mean())

    @property
    def scores(self) -> np.ndarray:
        return np.abs(self.logs / self.deviations)


def _error(offs: Sequence[Off]) -> float:
    return float(np.mean([off.error for off in offs]))


def _width(offs: Sequence[Off]) -> float:
    """The deviations that hold 90 %, each core counting as much as any other."""
    scores = np.concatenate([off.scores for off in offs])
    weights = np.concatenate([np.full(len(off.scores), 1 / len(off.scores)) for off in offs])
    order = np.argsort(scores)
    return float(scores[order][np.searchsorted(np.cumsum(weights[order]), 0.9 * weights.sum())])


def _row(name: str, count: int, offs: Sequence[Off]) -> dict[str, str]:
    inside = [(off.scores <= _width([other for other in offs if other.device != off.device])).mean() for off in offs]
    errors = [off.error for off in offs]
    return {
        "prior": name,
        "networks known": str(count),
        "error %": f"{100 * np.mean(errors):.1f}",
        "median %": f"{100 * np.median(errors):.1f}",
        "worst core %": f"{100 * max(errors):.1f}",
        "inside %": f"{100 * np.mean(inside):.0f}",
        "least inside %": f"{100 * min(inside):.0f}",
        "cores": str(len(offs)),
    }


def read(phones: Path, ncnn: Path) -> dict[str, tuple[list[Setup], str]]:
    """The set-ups that each prior is fitted to, and where they are from."""
    found = {f"tflite_{dtype}": (published_latencies.read_phones(phones, dtype), TFLITE) for dtype in ("fp32", "int8")}
    return found | {"ncnn": (published_latencies.read_ncnn(ncnn), NCNN)}


def fit(name: str, setups: Sequence[Setup], without: frozenset[tuple[float, ...]] = frozenset()) -> Prior:
    """The prior of some set-ups, in which each device counts as much as any other.

    Args:
        without: features of networks that it does not see.
    """
    devices = [setup.device for setup in setups]
    weights = np.array([1 / devices.count(device) for device in devices])
    seen = [np.array([tuple(row) not in without for row in setup.x.tolist()]) for setup in setups]
    return prior.fit(name, [(s.x[rows], s.ms[rows]) for s, rows in zip(setups, seen, strict=True)], weights)


def _off(setups: Sequence[Setup], asked: Sequence[Setup], count: int, draws: int) -> list[Off]:
    """Of each set-up that is asked about and has more networks, the others as they are predicted from `count` of them,
    by priors without its device (of many devices, without every eighth), and without the network."""
    devices = list(dict.fromkeys(setup.device for setup in setups))
    fold = {device: i % _FOLDS for i, device in enumerate(devices)}
    rng, found = np.random.default_rng(0), []
    for setup in (s for s in asked if len(s.ms) > count):
        others = tuple(s for s in setups if fold[s.device] != fold[setup.device])
        logs, deviations = [], []
        for _ in range(draws):
            order = rng.permutation(len(setup.ms))
            known = order[:count]
            for row in order[count:]:
                features = tuple(setup.x[row].tolist())
                left = known[[tuple(setup.x[k].tolist()) != features for k in known]]
                begun = _without(others, features)
                (ms,), (deviation,) = prior.posterior(begun, setup.x[left], setup.ms[left]).predict(setup.x[[row]])
                logs.append(np.log(setup.ms[row] / ms))
                deviations.append(deviation)
        found.append(Off(device=setup.device, logs=np.array(logs), deviations=np.array(deviations)))
    return found


@cache
def _without(setups: tuple[Setup, ...], features: tuple[float, ...]) -> Prior:
    return fit("others", setups, frozenset({features}))


if __name__ == "__main__":
    options.run(main)

"""One network for a fleet of devices, or one for each? `python -m experiments.fleet path=accelerators_anb.csv`

Accel-NASBench (arXiv:2404.08005) has networks that were trained on ImageNet, and what they take on two FPGAs, two GPUs
and two TPUs. For each device a latency table is fitted to the networks that were `timed`, a number for each block's
options; its error is that on the other networks. Targets are the median of the networks on each device.

Then `samples` networks are trained (looked up), chosen in turn for each device and for all devices together, where the
worst LAT/TAR counts. What is known of accuracies counts for all, as in a search with `targets=` or `devices=`: every
model (`nas.controllers.model`) sees every network. Of what was trained, the winner for a device has the best reward by
its table: ``hard``, the top-1 within the target, times TAR/LAT beyond. So has the one for all devices, by the worst
LAT/TAR.

    python -m experiments.fleet path=accelerators_anb.csv accuracies_path=imagenet_top1.csv [samples=64] [timed=1000]
                                [seeds=5]

Columns, means of the seeds: the table's mean error; the winner's top-1, its measured LAT/TAR, and how far its measured
reward is below the highest of all listed networks, in percent (regret); the same three of the one network for all; and
what that costs on the device, the difference of the two measured rewards in points of top-1. Writes
experiments/results/fleet.csv.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments import options, provenance, tables
from nas.controllers.model import Model
from nas.controllers.threads import one_thread
from nas.reward import Reward
from search_spaces import spaces
from search_spaces.space import SearchSpace

DEVICES = {
    "zcu102": "zcu102_latency_ms",
    "vck190": "vck190_latency_ms",
    "a100": "a100_images_per_s",
    "rtx3090": "rtx3090_images_per_s",
    "tpuv2": "tpuv2_images_per_s",
    "tpuv3": "tpuv3_images_per_s",
}
"""Columns; of images a second the milliseconds of an image. VCK190's are of six images."""
TOGETHER = "all together"
RANDOM, EACH = 16, 2  # samples before the first model, and for each goal in a round
WINDOW = 400
_BEST = 300  # of the listed networks, those that promise most, among which a round's are picked


@dataclass(frozen=True, kw_only=True)
class Listed:
    """The networks: points (n, C), top-1 (n,), and ms (n,) on each device."""

    space: SearchSpace
    points: np.ndarray
    top1: np.ndarray
    ms: dict[str, np.ndarray]


class AdditiveTable:
    """Milliseconds by the options of each block, fitted to some networks by least squares."""

    def __init__(self, listed: Listed, ms: np.ndarray, rows: np.ndarray) -> None:
        blocks: dict[str, list[int]] = {}
        for i, choice in enumerate(listed.space.choices):
            blocks.setdefault(choice.name.partition(".")[0], []).append(i)
        sizes = [len(choice.options) for choice in listed.space.choices]
        self._blocks = [(columns, [sizes[i] for i in columns]) for columns in blocks.values()]
        ones = self._ones(listed.points[rows])
        little = 1e-3 * np.eye(ones.shape[1])
        self._ms = np.linalg.solve(ones.T @ ones + little, ones.T @ ms[rows])

    def _ones(self, points: np.ndarray) -> np.ndarray:
        columns = [np.ones((len(points), 1))]
        for places, sizes in self._blocks:
            kinds = np.ravel_multi_index(tuple(points[:, places].T), sizes)
            columns.append(np.eye(int(np.prod(sizes)))[kinds])
        return np.hstack(columns)

    def ms(self, points: np.ndarray) -> np.ndarray:
        """(n,) of points (n, C)."""
        return np.maximum(self._ones(np.asarray(points)) @ self._ms, 1e-6)


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a winner is looked for: the shares of its target that networks take, by the tables and as measured."""

    name: str
    devices: tuple[str, ...]
    targets_ms: dict[str, float]

    @property
    def reward(self) -> Reward:
        return Reward(name="hard", target_ms=1.0)

    def share(self, ms: dict[str, np.ndarray]) -> np.ndarray:
        """(n,) the largest LAT/TAR on its devices."""
        return np.max([ms[device] / self.targets_ms[device] for device in self.devices], axis=0)

    def rewards(self, top1: np.ndarray, ms: dict[str, np.ndarray]) -> np.ndarray:
        """(n,)"""
        return np.array([self.reward(a, share) for a, share in zip(top1, self.share(ms), strict=True)])


def main() -> None:
    numbers = {"samples": 64, "timed": 1000, "seeds": 5}
    given = options.read({"path": "", "accuracies_path": "", **numbers}, needed=["path", "accuracies_path"])
    listed = _read(Path(given["path"]), Path(given["accuracies_path"]))
    if not RANDOM < given["samples"] <= len(listed.top1) or not 400 <= given["timed"] < len(listed.top1):
        raise ValueError(f"samples= must be {RANDOM + 1} to {len(listed.top1)}, timed= 400 to {len(listed.top1) - 1}")
    targets_ms = {device: float(np.median(ms)) for device, ms in listed.ms.items()}
    goals = [Goal(name=device, devices=(device,), targets_ms=targets_ms) for device in DEVICES]
    goals.append(Goal(name=TOGETHER, devices=tuple(DEVICES), targets_ms=targets_ms))
    with one_thread():
        runs = [_figures(listed, goals, given["samples"], given["timed"], seed) for seed in range(given["seeds"])]
    rows = [_row(goal, np.mean([run[goal.name] for run in runs], axis=0)) for goal in goals]
    tables.show(
        f"The best of {len(listed.top1):,} networks for each device, {given['samples']} of them trained",
        rows,
        tables.RESULTS / "fleet.csv",
        origin=provenance.of(f"0 to {given['seeds'] - 1}", packages=("torch", "numpy"), runs=[]),
        width=150,
    )


def _read(latencies: Path, accuracies: Path) -> Listed:
    """The networks that both files have, with all their figures.

    Raises:
        ValueError: a file is none of these.
    """
    names = ("expand", "kernel", "layers", "se")
    try:
        with accuracies.open(newline="") as file:
            known = {tuple(row[n] for n in names): float(row["top1_percent"]) / 100 for row in csv.DictReader(file)}
        with latencies.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if all(row[column] for column in DEVICES.values())]
        space = spaces.get("accel_nasbench")
        rows = [row for row in rows if tuple(row[n] for n in names) in known]
        points = np.array([_point(space, *(row[n] for n in names)) for row in rows])
        top1 = np.array([known[tuple(row[n] for n in names)] for row in rows])
        figures = {device: np.array([float(row[column]) for row in rows]) for device, column in DEVICES.items()}
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as e:
        raise ValueError(
            f"path= or accuracies_path= is no table of Accel-NASBench ({e}); see experiments/fleet.py"
        ) from None
    if not len(points):
        raise ValueError("path= and accuracies_path= have no network in common")
    ms = {d: figures[d] if DEVICES[d].endswith("_ms") else 1000 / figures[d] for d in DEVICES}
    return Listed(space=space, points=points, top1=top1, ms=ms)


def _point(space: SearchSpace, expand: str, kernel: str, layers: str, se: str) -> np.ndarray:
    chosen = {}
    for b, (e, k, n, s) in enumerate(zip(expand, kernel, layers, se, strict=True), 1):
        its = {"expansion": int(e), "kernel": int(k), "layers": int(n), "se": 0.25 * int(s)}
        chosen |= {f"block{b}.{name}": value for name, value in its.items()}
    return np.array(space.encode(chosen))


def _figures(listed: Listed, goals: list[Goal], samples: int, timed: int, seed: int) -> dict[str, list[float]]:
    """Of each goal, the numbers of its row."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(listed.top1))
    fitted = {device: AdditiveTable(listed, ms, order[:timed]) for device, ms in listed.ms.items()}
    by_table = {device: table.ms(listed.points) for device, table in fitted.items()}
    error = {d: np.abs(by_table[d] / ms - 1)[order[timed:]].mean() for d, ms in listed.ms.items()}
    trained = _trained(listed, goals, fitted, samples, rng)

    def winner(goal: Goal) -> int:
        return int(trained[goal.rewards(listed.top1[trained], _at(by_table, trained)).argmax()])

    one = winner(goals[-1])
    found = {}
    for goal in goals:
        measured, own, share = goal.rewards(listed.top1, listed.ms), winner(goal), goal.share(listed.ms)
        its_error = float(np.mean([error[device] for device in goal.devices]))
        figures = [100 * its_error]
        for row in (own, one):
            figures += [100 * listed.top1[row], share[row], 100 * (1 - measured[row] / measured.max())]
        found[goal.name] = [*figures, 100 * (measured[own] - measured[one])]
    return found


def _trained(
    listed: Listed, goals: list[Goal], fitted: dict[str, AdditiveTable], samples: int, rng: np.random.Generator
) -> np.ndarray:
    """(samples,) rows of the networks that are trained: some at random, then for each goal in turn those that promise
    most by the model."""
    models = []
    for goal in goals:
        model = Model(listed.space, WINDOW)
        model.inform(lambda p, goal=goal: goal.share({d: table.ms(p) for d, table in fitted.items()}), goal.reward)
        models.append(model)
    shares = [goal.share({d: table.ms(listed.points) for d, table in fitted.items()}) for goal in goals]
    chosen = rng.permutation(len(listed.top1))[:RANDOM].tolist()
    place = {tuple(point): row for row, point in enumerate(listed.points.tolist())}
    while len(chosen) < samples:
        for goal, model, share in zip(goals, models, shares, strict=True):
            pairs = zip(listed.top1[chosen].tolist(), share[chosen].tolist(), strict=True)
            model.observe(listed.points[chosen], np.array([goal.reward(*pair) for pair in pairs]))
            known = model.fitted()
            assert known
            left = np.setdiff1d(np.arange(len(listed.top1)), chosen)
            left = left[np.argsort(-known.promise(listed.points[left]), kind="stable")[:_BEST]]
            picked = known.pick(listed.points[left], min(EACH, samples - len(chosen)))
            chosen += [place[tuple(point)] for point in picked.tolist()]
            if len(chosen) == samples:
                break
    return np.array(chosen)


def _at(ms: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    return {device: values[rows] for device, values in ms.items()}


def _row(goal: Goal, figures: np.ndarray) -> dict[str, str]:
    error, top1, share, regret, one, its_share, its_regret, cost = figures
    return {
        "for": goal.name,
        "target ms": "" if goal.name == TOGETHER else f"{goal.targets_ms[goal.name]:.3g}",
        "table's error %": f"{error:.2f}",
        "top-1 %": f"{top1:.2f}",
        "LAT/TAR": f"{share:.3f}",
        "regret %": f"{regret:.2f}",
        "one for all %": f"{one:.2f}",
        "its LAT/TAR": f"{its_share:.3f}",
        "its regret %": f"{its_regret:.2f}",
        "costs points": f"{cost:.2f}",
    }


if __name__ == "__main__":
    options.run(main)

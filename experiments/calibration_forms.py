"""Forms of the cost that is calibrated to whole networks, by their errors. `python -m experiments.calibration_forms`

`latency_luts.calibrated` prices a unit by dense multiply-adds, rows of depthwise convolutions, bytes of activations and
operators. Beside it other forms, each fitted the same way: to the published latencies of Pixel 1, 2 and 3, by whose
leave-one-out errors the form was chosen, and to those of eight cores of phones that took no part in the choice (float,
one thread). Errors are the mean of networks left out of the fit one by one, and with their whole family.

A roofline's ``max(multiply-adds, r bytes)`` has for r multiply-adds a byte, at which its roof bends; bytes are those
of activations and weights.

    python -m experiments.calibration_forms path=FOLDER

`path` is the folder of phones_tflite.csv, see `experiments.unseen_kinds`. Writes
experiments/results/calibration_forms.csv.
"""

from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path

import numpy as np

from experiments import options, provenance, tables
from experiments.unseen_kinds import read
from latency_luts import calibrated, known
from latency_luts.known import KnownLatency
from search_spaces import cost, zoo
from search_spaces.arch import Arch
from search_spaces.lower import lower
from search_spaces.ops import Conv, Dropout
from search_spaces.zoo.published import TABLE3

PHONES = ("pixel1", "pixel2", "pixel3")
BENDS = (1, 4, 16)  # multiply-adds a byte
Columns = dict[str, np.ndarray]
Form = Callable[[Columns], Sequence[np.ndarray | float]]


def columns(arch: Arch) -> Columns:
    """Of each operator (n,): multiply-adds of those that are ``dense``, of those among them that are ``k x k``, of
    ``depthwise`` ones, their ``rows``, ``bytes`` of activations, of ``weights``, and 1."""
    rows = []
    for unit in lower(arch):
        for node in unit.nodes:
            op, madds = node.op, cost.node_madds(node)
            if isinstance(op, Dropout):
                continue
            depthwise = isinstance(op, Conv) and op.depthwise
            k_by_k = isinstance(op, Conv) and not depthwise and op.size != (1, 1) and op.in_ch > 4
            read_rows = node.out_shape[0] * node.out_shape[1] * op.size[0] if isinstance(op, Conv) and depthwise else 0
            moved = 4 * (sum(map(prod, node.in_shapes)) + prod(node.out_shape))
            rows.append((madds * (not depthwise), madds * k_by_k, madds * depthwise, read_rows, moved,
                         4 * cost.node_params(node), 1))  # fmt: skip
    names = ("dense", "k x k", "depthwise", "rows", "bytes", "weights", "operators")
    return dict(zip(names, np.array(rows, dtype=np.float64).T, strict=True))


def forms() -> dict[str, Form]:
    """What is multiplied by a cost each, by the form's name."""
    plain = {
        "as it is": ("dense", "rows", "bytes", "operators"),
        "k x k apart": ("1 x 1", "k x k", "rows", "bytes", "operators"),
        "with weights": ("dense", "rows", "bytes", "weights", "operators"),
        "without bytes": ("dense", "rows", "operators"),
        "depthwise multiply-adds": ("dense", "depthwise", "bytes", "operators"),
        "multiply-adds and operators": ("madds", "operators"),
        "multiply-adds": ("madds",),
    }
    by_name: dict[str, Form] = {name: _plain(its) for name, its in plain.items()}
    for bend in BENDS:
        by_name[f"roofline, r = {bend}"] = lambda c, r=bend: (_roof(c["dense"] + c["depthwise"], c, r), c["operators"])
        by_name[f"roofline, r = {bend}, and rows"] = lambda c, r=bend: (
            _roof(c["dense"], c, r) * (c["rows"] == 0), c["rows"], c["bytes"], c["operators"]
        )  # fmt: skip
    return by_name


def _plain(names: Sequence[str]) -> Form:
    def chosen(c: Columns) -> Sequence[np.ndarray]:
        more = {"1 x 1": c["dense"] - c["k x k"], "madds": c["dense"] + c["depthwise"]}
        return [(c | more)[name] for name in names]

    return chosen


def _roof(madds: np.ndarray, c: Columns, bend: float) -> np.ndarray:
    return np.maximum(madds, bend * (c["bytes"] + c["weights"]))


def errors(measured: Sequence[KnownLatency], form: Form) -> tuple[float, float]:
    """Mean errors with a network, and with its whole family left out."""
    archs, y = [item.arch for item in measured], np.array([item.ms for item in measured])
    x = np.array([[np.sum(column) for column in form(columns(arch))] for arch in archs])
    names, sets = np.unique([item.source_set for item in measured], return_inverse=True)
    first = list(names).index(TABLE3) if TABLE3 in names else 0

    def mean(groups: Sequence[object]) -> float:
        left_out_ms = calibrated.left_out(x, y, sets, archs, first=first, groups=groups)
        return float(np.nanmean(np.abs(left_out_ms / y - 1)))

    return mean(archs), mean([zoo.family(arch.name) for arch in archs])


def main() -> None:
    folder = Path(options.read({"path": ""}, needed=["path"])["path"])
    phones = {phone: known.published(phone) for phone in PHONES}
    cores = read(folder / "phones_tflite.csv", "mean_ms", "core")
    rows = []
    for name, form in forms().items():
        row = {"form": name}
        for phone, measured in phones.items():
            one, family = errors(measured, form)
            row |= {f"{phone}: one": f"{one:.1%}", f"{phone}: family": f"{family:.1%}"}
        one, family = np.mean([errors(measured, form) for measured in cores.values()], axis=0)
        rows.append(row | {f"{len(cores)} cores: one": f"{one:.1%}", f"{len(cores)} cores: family": f"{family:.1%}"})
    origin = provenance.of(provenance.NOTHING_RANDOM)
    tables.show("Mean error, left out", rows, tables.RESULTS / "calibration_forms.csv", origin=origin, width=140)


if __name__ == "__main__":
    options.run(main)

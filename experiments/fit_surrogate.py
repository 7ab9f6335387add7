"""Fits the surrogate of the accel_nasbench space: `python -m experiments.fit_surrogate path=imagenet_top1.csv`

`path` is Accel-NASBench's table of networks and their accuracies after a short training on ImageNet: columns `expand`,
`kernel`, `layers`, `se` (a digit for each of 7 blocks) and `top1_percent`. It prints how far predictions are off for
networks that were left out of the fit (five folds; networks that stand several times are one): for all, and for those
of the best predictions, among which a search ends. It writes nas/accel_nasbench.json and
experiments/results/fit_surrogate.csv.

How: a ridge regression to -log(ceiling - top1) gives every option a main effect. These, standardised in each choice
and weighted by the choice's importance, are the numbers z of `nas.surrogate`; a second ridge regression, on
z and all products of two, is the polynomial. The weights make products of unimportant choices cost more.
"""

import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from experiments import options, provenance, tables
from nas.surrogate import COEFFICIENTS, Surrogate
from nas_runtime.files import write_text
from search_spaces import spaces

CEILING = 0.72
IMPORTANCE = 0.6  # power of a choice's importance that weights its z
RIDGE_Z, RIDGE = 0.1, 3.0  # of the main effects and of the polynomial's products
FOLDS = 5
ALL = "all"
RESULT = tables.RESULTS / "fit_surrogate.csv"


def main() -> None:
    given = options.read({"path": ""}, needed=["path"])  # Accel-NASBench's table of accuracies
    indices, top1, spread = read(Path(given["path"]))
    rows = errors(left_out(indices, top1), top1)
    facts = {
        "source": "Accel-NASBench, arXiv:2404.08005",
        "licence": "the table of accuracies: Apache-2.0, github afzalxo/Accel-NASBench",
        "command": "python -m experiments.fit_surrogate path=imagenet_top1.csv",
        "labels": "after one short training on ImageNet, not a full one",
        "networks": len(top1),
        "range": [round(float(top1.min()), 4), round(float(top1.max()), 4)],
        "error": {**rows[ALL], "how": f"{FOLDS}-fold cross-validation, fractions"},
        "error_of_best": {name: row for name, row in rows.items() if name != ALL},
        "label_deviation": round(float(np.sqrt(np.mean(spread))), 5),
    }
    write_text(COEFFICIENTS, to_json(fit(indices, top1), facts))
    title = "Networks that were left out of the fit, by their predictions"
    tables.show(title, _shown(rows), RESULT, origin=provenance.of("of the folds 0"))
    print(
        f"two trainings of a network differ by a deviation of {100 * facts['label_deviation']:.2f} points "
        f"({len(spread)} networks that stand several times)"
    )
    print(f"wrote {COEFFICIENTS.name} and {RESULT.name}")


def left_out(indices: np.ndarray, top1: np.ndarray) -> np.ndarray:
    """(n,) the top-1 of each network as predicted by a fit to four fifths of the others."""
    predicted = np.empty_like(top1)
    for fold in np.array_split(np.random.default_rng(0).permutation(len(top1)), FOLDS):
        rest = np.setdiff1d(np.arange(len(top1)), fold)
        predicted[fold] = fit(indices[rest], top1[rest]).top1(indices[fold])
    return predicted


def errors(predicted: np.ndarray, top1: np.ndarray) -> dict[str, dict[str, float]]:
    """How far predictions (n,) are off: for all networks, for the tenth that they hold best, and for the best 100.

    Returns:
        For each the number of `networks`, the rank correlation `spearman`, mean and largest error (`mae`, `worst`), and
        the mean error of the `difference` between two of them, as fractions.
    """
    order = np.argsort(-predicted, kind="stable")
    rows = {}
    for name, count in ((ALL, len(top1)), ("best_tenth", len(top1) // 10), ("best_100", 100)):
        error = (predicted - top1)[order[:count]]
        apart = np.abs(error[:, None] - error)[np.triu_indices(len(error), 1)]
        rows[name] = {
            "networks": len(error),
            "spearman": round(spearman(predicted[order[:count]], top1[order[:count]]), 5),
            "mae": round(float(np.abs(error).mean()), 6),
            "worst": round(float(np.abs(error).max()), 6),
            "difference": round(float(apart.mean()), 6),
        }
    return rows


def _shown(rows: dict[str, dict[str, float]]) -> list[dict[str, str]]:
    return [
        {
            "of": name.replace("_", " "),
            "networks": str(row["networks"]),
            "Spearman": f"{row['spearman']:.3f}",
            "mean error, points": f"{100 * row['mae']:.3f}",
            "largest, points": f"{100 * row['worst']:.2f}",
            "of the difference of two, points": f"{100 * row['difference']:.3f}",
        }
        for name, row in rows.items()
    ]


def read(path: Path) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Points of the space (n, C), their top-1 (n,), the mean where a network stands several times, and the variances of
    these."""
    space = spaces.get("accel_nasbench")
    rows: dict[tuple[int, ...], list[float]] = defaultdict(list)
    columns = {"expansion": ("expand", 1), "kernel": ("kernel", 1), "layers": ("layers", 1), "se": ("se", 0.25)}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            options = {
                f"block{b + 1}.{name}": int(row[column][b]) * unit
                for b in range(7)
                for name, (column, unit) in columns.items()
            }
            rows[tuple(space.encode(options).tolist())].append(float(row["top1_percent"]) / 100)
    spread = [float(np.var(values, ddof=1)) for values in rows.values() if len(values) > 1]
    return np.array(list(rows)), np.array([np.mean(values) for values in rows.values()]), spread


def fit(indices: np.ndarray, top1: np.ndarray) -> Surrogate:
    """The surrogate of these networks."""
    u = -np.log(CEILING - top1)
    z = _numbers(indices, u)
    columns = np.stack([np.take(numbers, column) for numbers, column in zip(z, indices.T, strict=True)]).T
    rows, cols = np.tril_indices(columns.shape[1])
    products = columns[:, rows] * columns[:, cols]
    intercept, weights = _ridge(
        np.hstack([columns, products]), u, np.r_[np.full(len(z), 0.01), np.full(len(rows), RIDGE)]
    )
    quadratic = np.zeros((len(z), len(z)))
    quadratic[rows, cols] = weights[len(z) :]
    return Surrogate(
        z=tuple(map(tuple, z)),
        intercept=intercept,
        linear=weights[: len(z)],
        quadratic=quadratic,
        ceiling=CEILING,
        facts={},
    )


def _numbers(indices: np.ndarray, u: np.ndarray) -> list[list[float]]:
    """z of every option: its main effect on u, standardised in its choice, times the choice's importance."""
    choices = spaces.get("accel_nasbench").choices
    one_hot = [
        (column[:, None] == np.arange(len(choice.options)))[:, 1:]
        for choice, column in zip(choices, indices.T, strict=True)
    ]
    _, effects = _ridge(np.hstack(one_hot).astype(float), u, RIDGE_Z)
    per_choice = np.split(effects, np.cumsum([x.shape[1] for x in one_hot])[:-1])
    spread = [np.concatenate([[0.0], own])[column].std() for own, column in zip(per_choice, indices.T, strict=True)]
    z = []
    for own, column, deviation in zip(per_choice, indices.T, spread, strict=True):
        numbers = np.concatenate([[0.0], own])
        weight = max(deviation / max(spread), 0.05) ** IMPORTANCE
        z.append(((numbers - numbers[column].mean()) / deviation * weight).tolist())
    return z


def _ridge(x: np.ndarray, y: np.ndarray, penalty: np.ndarray | float) -> tuple[float, np.ndarray]:
    """Intercept and weights (k,) of y (n,) on x (n, k)."""
    middle = x.mean(axis=0)
    centred = x - middle
    gram = centred.T @ centred + np.diag(np.broadcast_to(penalty, x.shape[1]))
    weights = np.linalg.solve(gram, centred.T @ (y - y.mean()))
    return float(y.mean() - middle @ weights), weights


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation, ties sharing their mean rank."""

    def ranks(values: np.ndarray) -> np.ndarray:
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        return (np.cumsum(counts) - (counts - 1) / 2)[inverse]

    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def to_json(surrogate: Surrogate, facts: dict) -> str:
    """A line for each coefficient of a choice."""

    def numbers(values: object) -> str:
        return json.dumps([float(f"{value:.6g}") for value in np.ravel(np.asarray(values))])

    quadratic = ",\n  ".join(numbers(row[: i + 1]) for i, row in enumerate(surrogate.quadratic))
    z = ",\n  ".join(map(numbers, surrogate.z))
    return (
        f'{{\n "facts": {json.dumps(facts)},\n "ceiling": {surrogate.ceiling},\n'
        f' "intercept": {surrogate.intercept!r},\n'
        f' "linear": {numbers(surrogate.linear)},\n "z": [\n  {z}\n ],\n "quadratic": [\n  {quadratic}\n ]\n}}\n'
    )


if __name__ == "__main__":
    options.run(main)

"""`Surrogate`: accuracy of the networks of the `accel_nasbench` space on ImageNet, predicted in microseconds.

The accuracy is that after one short training, which the benchmark's authors chose to rank networks as a full one does:
45 to 67 %, not what a full training would give. A polynomial of second degree was fitted to the accuracies of 4,117
trained networks (Accel-NASBench, arXiv:2404.08005) by ``python -m experiments.fit_surrogate``: every option of every
choice has a number z, and

    top1 = ceiling - exp(-(intercept + linear . z + z . quadratic . z))

The exponential is there because accuracy saturates: what an option adds to a good network is less than what it adds to
a bad one. The coefficients' file carries where they come from and how far they are off for networks not fitted to: it
ranks all networks well, and those of its best tenth, among which a search ends, less well (`Surrogate.describe`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nas.trial import Evaluation
from search_spaces import accel_nasbench, spaces
from search_spaces.arch import Arch

__all__ = ["COEFFICIENTS", "Surrogate"]

COEFFICIENTS = Path(__file__).parent / "accel_nasbench.json"


@dataclass(frozen=True, kw_only=True)
class Surrogate:
    """An evaluator: answers what the polynomial predicts. The same network always has the same answer.

    Attributes:
        z: for each of the C choices of the space the numbers of its options.
        intercept, linear, quadratic: coefficients; linear (C,), quadratic (C, C).
        ceiling: accuracy that no network reaches, a fraction.
        facts: provenance, licence and error.
    """

    z: tuple[tuple[float, ...], ...]
    intercept: float
    linear: np.ndarray
    quadratic: np.ndarray
    ceiling: float
    facts: Mapping[str, Any]

    @classmethod
    def load(cls, path: Path = COEFFICIENTS) -> "Surrogate":
        """The shipped one.

        Raises:
            ValueError: the file is missing or damaged.
        """
        try:
            data = json.loads(path.read_text())
            linear, rows = np.array(data["linear"]), data["quadratic"]
            quadratic = np.zeros((len(linear), len(linear)))
            for i, row in enumerate(rows):
                quadratic[i, : i + 1] = row
            found = cls(
                z=tuple(map(tuple, data["z"])),
                intercept=data["intercept"],
                linear=linear,
                quadratic=quadratic,
                ceiling=data["ceiling"],
                facts=data["facts"],
            )
            found.describe()  # its facts are complete
            return found
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise ValueError(f"{path} holds no surrogate ({e}); run: python -m experiments.fit_surrogate") from None

    def evaluate(self, arch: Arch, rng_seed: int = 0) -> Evaluation:
        """The predicted top-1 after a short training on ImageNet.

        Raises:
            ValueError: `arch` is not a network of the space at 224 px with 1000 classes.
        """
        if (arch.resolution_px, arch.blocks[-1].out_ch) != (224, 1000):
            raise ValueError(
                f"the surrogate knows networks for 224 px and 1000 classes, not {arch.resolution_px} px and "
                f"{arch.blocks[-1].out_ch} classes"
            )
        options = [option for block in accel_nasbench.options_of(arch) for option in block]
        z = np.array([numbers[option] for numbers, option in zip(self._numbers, options, strict=True)])
        return Evaluation(top1=float(self.of_z(z[None])[0]))

    def top1(self, indices: np.ndarray) -> np.ndarray:
        """(n,) predicted top-1 of the points `indices` (n, C) of the space."""
        z = np.stack([np.take(numbers, column) for numbers, column in zip(self.z, np.asarray(indices).T, strict=True)])
        return self.of_z(z.T)

    def of_z(self, z: np.ndarray) -> np.ndarray:
        """(n,) predicted top-1 for numbers (n, C)."""
        u = self.intercept + z @ self.linear + ((z @ self.quadratic) * z).sum(axis=1)
        return self.ceiling - np.exp(-u)

    def describe(self) -> str:
        """One line: what it predicts and how well."""
        low, high = self.facts["range"]
        error, best = self.facts["error"], self.facts["error_of_best"]
        return (
            f"top-1 {self.facts['labels']} ({low:.0%} to {high:.0%}), predicted from {self.facts['networks']} trained "
            f"networks ({self.facts['source']}); on networks that it was not fitted to: Spearman "
            f"{error['spearman']:.2f}, in its best tenth {best['best_tenth']['spearman']:.2f}, among its best 100 "
            f"{best['best_100']['spearman']:.2f}; {100 * error['mae']:.2f} points off in the mean"
        )

    @property
    def difference(self) -> float:
        """How far the difference in top-1 of two good networks is off in the mean, a fraction: of the best tenth of the
        predictions, for networks that it was not fitted to. Smaller differences say nothing."""
        return float(self.facts["error_of_best"]["best_tenth"]["difference"])

    def caution(self) -> str:
        """What a person should know before believing the result of a search by it."""
        return (
            f"The top-1 is {self.facts['labels']}, and only predicted: the difference between two good networks is "
            f"{100 * self.difference:.1f} points off in the mean, and smaller differences say nothing."
        )

    @cached_property
    def _numbers(self) -> list[dict[Any, float]]:
        choices = spaces.get("accel_nasbench").choices
        return [
            dict(zip(choice.options, numbers, strict=True)) for choice, numbers in zip(choices, self.z, strict=True)
        ]

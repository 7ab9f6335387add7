"""What devices of a kind are like: a prior, with which a few latencies of whole networks give a device's costs.

A unit costs an amount for each of `FEATURES`, like multiply-adds and bytes, as in `latency_luts.calibrated`. The
logarithms of a device's costs are drawn from a normal distribution that all devices of a kind share (a runtime and
dtype on phones, say), and the logarithm of a network's latency is that of the formula, off by noise of the device's own
(Student's t, since published numbers hold odd ones). Mean and covariance of the distribution are fitted to the
latencies of many devices by expectation maximisation, with Laplace's approximation for each device; the usual noise is
the geometric mean of theirs. Of a new device the same approximation gives the costs, and how far they may be off: how
many of its deviations hold 90 % of latencies was found with devices that were left out.

So one latency says how fast the device is, at the proportions that are usual; three or ten say what is special to it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from latency_luts.work import BOUNDS
from nas_runtime.console import brief, did_you_mean
from search_spaces import cost
from search_spaces.arch import Arch
from search_spaces.lower import Unit, lower
from search_spaces.ops import Conv, Dropout, Flatten, Op

__all__ = ["FEATURES", "Posterior", "Prior", "features", "fit", "load", "names", "network_features", "posterior"]

FEATURES = (
    *("pointwise_madd", "winograd_madd", "dense_madd", "grouped_madd", "depthwise_row"),
    *("activation_byte", "operator", "weight_byte", "curved_value"),
)
"""Multiply-adds of 1x1 convolutions and fully connected layers, of 3x3 convolutions with stride 1, which Winograd's
method does with less, of other k x k convolutions, and of grouped ones; rows that depthwise convolutions read (see
`latency_luts.calibrated`); bytes of activations read and written; operators; bytes of weights; and values that go
through an activation which is no bound, as hard swish."""
_FOLDER = Path(__file__).parent / "priors"
_BYTES = 4  # float32; of int8 a factor, which the costs have

_DEGREES = 4.0  # of freedom of the noise
_NOISE_SEEN = 4.0  # latencies that the usual noise counts as, beside those of a device
_USUAL, _AS_MANY = 0.5, 2.0  # deviation of log costs that the covariance is drawn to, as by so many devices
_START_NOISE, _START_SPREAD = 0.1, 2.0
_ROUNDS, _STEPS, _REWEIGHTS = 25, 20, 6
_LONGEST_STEP = 2.0  # of a logarithm


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """The costs of a device, as far as they are known.

    Attributes:
        mean: (9,) of the logarithms of milliseconds for one of each of `FEATURES`.
        covariance: (9, 9) of these.
        noise: the scale of the logarithm of a network's latency about the formula, which is distributed as Student's t.
    """

    mean: np.ndarray
    covariance: np.ndarray
    noise: float

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Milliseconds (n,) of networks with features (n, 9), and the deviations (n,) of their logarithms."""
        ms, shares = _formula(self.mean, x)
        variance = np.einsum("ij,jk,ik->i", shares, self.covariance, shares)
        return ms, np.sqrt(variance + self.noise**2)

    def most_telling(self, candidates: np.ndarray, asked: np.ndarray) -> int:
        """Which of the candidates (m, 9), once measured, would leave the least doubt about the networks (n, 9)."""
        _, wanted = _formula(self.mean, asked)
        left = [np.einsum("ij,jk,ik->i", wanted, self.once(x).covariance, wanted).mean() for x in candidates]
        return int(np.argmin(left))

    def once(self, x: np.ndarray) -> "Posterior":
        """What would be known if a network with features (9,) were measured, and took what is expected."""
        _, (share,) = _formula(self.mean, x[None])
        along = self.covariance @ share
        covariance = self.covariance - np.outer(along, along) / (share @ along + self.noise**2)
        return Posterior(mean=self.mean, covariance=covariance, noise=self.noise)


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What devices of a kind are like.

    Attributes:
        name: ``tflite_fp32``.
        mean, covariance, noise: as of a `Posterior`, before anything of a device is known.
        about: which devices are of the kind, in words.
        devices: whose latencies it was fitted to, in words.
        kinds: of work (`latency_luts.work`) that its networks have.
        errors: for numbers of measured networks, the mean error on others, and how many deviations hold 90 % of these,
            of devices that were left out of a fit.
        source: of the latencies, in words.
    """

    name: str
    mean: np.ndarray
    covariance: np.ndarray
    noise: float
    about: str = ""
    devices: str = ""
    kinds: tuple[str, ...] = ()
    errors: tuple[tuple[int, float, float], ...] = ()
    source: str = ""

    def expected(self, networks: int) -> tuple[float, float]:
        """The mean error with so many measured networks, and the deviations that hold 90 %: those of the next smaller
        number that is known.

        Raises:
            ValueError: nothing is known of it.
        """
        for count, error, deviations in sorted(self.errors, reverse=True):
            if count <= networks:
                return error, deviations
        raise ValueError(f"the prior {self.name!r} does not say how far off tables are that are fitted with it")


def features(unit: Unit) -> np.ndarray:
    """(9,) how many of each of `FEATURES` `unit` has."""
    found = dict.fromkeys(FEATURES, 0.0)
    for node in unit.nodes:
        if isinstance(node.op, Dropout | Flatten):
            continue
        if isinstance(node.op, Conv) and node.op.depthwise:
            channels, height, _ = node.out_shape
            found["depthwise_row"] += channels * height * node.op.size[0]
        else:
            found[_kind(node.op)] += cost.node_madds(node)
        values = sum(map(prod, node.in_shapes)) + prod(node.out_shape)
        found["activation_byte"] += values * _BYTES
        found["operator"] += 1
        if getattr(node.op, "act", "none") not in BOUNDS and node.out_shape[1:] != (1, 1):
            found["curved_value"] += prod(node.out_shape)
    found["weight_byte"] = cost.unit_folded_weights(unit) * _BYTES
    return np.array(list(found.values()), dtype=np.float64)


def _kind(op: Op) -> str:
    """Of its multiply-adds."""
    if not isinstance(op, Conv) or prod(op.size) == op.groups == 1:
        return "pointwise_madd"
    if op.groups > 1:
        return "grouped_madd"
    return "winograd_madd" if (op.size, op.stride) == ((3, 3), 1) else "dense_madd"


def network_features(arch: Arch) -> np.ndarray:
    """(9,) the sum of `features` over the units of `arch`."""
    return np.sum([features(unit) for unit in lower(arch)], axis=0)


def posterior(prior: Prior, x: np.ndarray, ms: np.ndarray) -> Posterior:
    """What is known of a device whose networks with features (n, 9) take so many milliseconds (n,)."""
    if not len(ms):
        return Posterior(mean=prior.mean, covariance=prior.covariance, noise=prior.noise)
    fitted = _device(_Usual(prior.mean, np.linalg.inv(prior.covariance), prior.noise), x, np.log(ms), prior.mean)
    return Posterior(mean=fitted.mean, covariance=fitted.covariance, noise=fitted.noise)


def fit(name: str, devices: Sequence[tuple[np.ndarray, np.ndarray]], weights: np.ndarray) -> Prior:
    """The prior of devices.

    Args:
        devices: features (n, 9) and milliseconds (n,) of networks on each.
        weights: (devices,) as how much of a device each counts, where several are cores of one. Their sum is the number
            of devices that differ.
    """
    count = float(weights.sum())
    weights = weights / count
    data = [(x, np.log(ms)) for x, ms in devices]
    mean, size = _start(data), len(FEATURES)
    covariance, noise = np.eye(size) * _START_SPREAD**2, _START_NOISE
    means = [mean] * len(data)
    for _ in range(_ROUNDS):
        usual = _Usual(mean, np.linalg.inv(covariance), noise)
        fitted = [_device(usual, x, y, start) for (x, y), start in zip(data, means, strict=True)]
        means = [its.mean for its in fitted]
        mean = weights @ np.array(means)
        apart = np.array(means) - mean
        spread = np.einsum("i,ij,ik->jk", weights, apart, apart)
        spread += np.einsum("i,ijk->jk", weights, np.array([its.covariance for its in fitted]))
        covariance = (count * spread + _AS_MANY * _USUAL**2 * np.eye(size)) / (count + _AS_MANY)
        noise = float(np.exp(weights @ np.log([its.noise for its in fitted])))
    return Prior(name=name, mean=mean, covariance=covariance * (1 + 1 / count), noise=noise)  # the mean may be off, too


@dataclass(frozen=True)
class _Usual:
    """The mean (9,) of log costs, the inverse of their covariance, and the noise of devices."""

    mean: np.ndarray
    precision: np.ndarray
    noise: float


def _start(data: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """(9,) log costs by which every feature takes the same share of a usual network's time."""
    x, y = np.vstack([x for x, _ in data]), np.concatenate([y for _, y in data])
    usual = np.array([np.median(np.exp(y)[own > 0] / own[own > 0]) if own.any() else np.nan for own in x.T])
    usual = np.where(np.isnan(usual), usual[FEATURES.index("pointwise_madd")], usual)  # what no network has
    return np.log(usual / len(FEATURES))


def _formula(mean: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Milliseconds (n,) of features (n, 9), and the share (n, 9) of them that each feature has: the derivatives of
    their logarithms."""
    parts = x * np.exp(mean)
    ms = parts.sum(axis=1)
    return ms, parts / ms[:, None]


def _device(usual: _Usual, x: np.ndarray, y: np.ndarray, start: np.ndarray) -> Posterior:
    """The device's posterior by log latencies (n,), the noise found with it: odd latencies weigh less."""
    variance, mean, weights = usual.noise**2, start, np.full(len(y), 1 / usual.noise**2)
    covariance = np.zeros_like(usual.precision)
    for _ in range(_REWEIGHTS):
        mean, covariance = _most_likely(usual, x, y, weights, mean)
        ms, shares = _formula(mean, x)
        off = (y - np.log(ms)) ** 2 + np.einsum("ij,jk,ik->i", shares, covariance, shares)
        tails = (_DEGREES + 1) / (_DEGREES + off / variance)
        variance = float((tails @ off + _NOISE_SEEN * usual.noise**2) / (len(y) + _NOISE_SEEN))
        weights = tails / variance
    return Posterior(mean=mean, covariance=covariance, noise=float(np.sqrt(variance)))


def _most_likely(
    usual: _Usual, x: np.ndarray, y: np.ndarray, weights: np.ndarray, mean: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest log costs (9,), and their covariance there, by Levenberg's and Marquardt's method."""

    def loss(at: np.ndarray) -> float:
        apart = at - usual.mean
        return float(weights @ (y - np.log(_formula(at, x)[0])) ** 2 + apart @ usual.precision @ apart)

    damping, before = 1e-3, loss(mean)
    for _ in range(_STEPS):
        ms, shares = _formula(mean, x)
        slope = shares.T @ (weights * (y - np.log(ms))) - usual.precision @ (mean - usual.mean)
        curvature = (shares.T * weights) @ shares + usual.precision
        step = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), slope)
        there = mean + np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
        if (after := loss(there)) <= before:
            done = before - after <= 1e-10 * max(1.0, before)
            mean, before, damping = there, after, max(damping / 10, 1e-9)
            if done:
                break
        else:
            damping *= 10
    _, shares = _formula(mean, x)
    return mean, np.linalg.inv((shares.T * weights) @ shares + usual.precision)


# ---- files


def names() -> tuple[str, ...]:
    """Those that are shipped."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.json")))


@cache
def load(name: str) -> Prior:
    """The prior `name`.

    Raises:
        ValueError: there is none.
    """
    if name not in names():
        raise ValueError(f"prior={brief(name)}{did_you_mean(name, names())}; there are: {', '.join(names())}")
    return from_dict(json.loads((_FOLDER / f"{name}.json").read_text()))


def from_dict(data: dict[str, Any]) -> Prior:
    """The prior that `to_dict` wrote."""
    return Prior(
        name=data["name"],
        mean=np.array([data["mean"][name] for name in FEATURES]),
        covariance=np.array(data["covariance"]),
        noise=data["noise"],
        devices=data["devices"],
        kinds=tuple(data["kinds"]),
        errors=tuple((count, error, deviations) for count, error, deviations in data["errors"]),
        about=data["about"],
        source=data["source"],
    )


def to_dict(prior: Prior) -> dict[str, Any]:
    """As plain data."""
    return {
        "name": prior.name,
        "mean": dict(zip(FEATURES, prior.mean.tolist(), strict=True)),
        "covariance": prior.covariance.tolist(),
        "noise": prior.noise,
        "devices": prior.devices,
        "kinds": list(prior.kinds),
        "errors": [list(row) for row in prior.errors],
        "about": prior.about,
        "source": prior.source,
    }

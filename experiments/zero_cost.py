"""Do scores of untrained networks help the model of a search? `python -m experiments.zero_cost path=imagenet_top1.csv`

`path` is Accel-NASBench's table of networks and their top-1 after a short training on ImageNet (see
`experiments.fit_surrogate`). Of some of its networks, drawn at random, each score is computed from one batch of 32
embedded pictures at 28 px, with random weights, forward and backward as it needs:

    params, madds   logarithms, at 224 px; they cost nothing
    naswot          log determinant of how alike pictures are in what is active (arXiv:2006.04647)
    swap            different patterns of activity over the pictures, by the values of all layers (arXiv:2403.04161)
    synflow         sum of |weight x gradient| with weights made positive and an input of ones (arXiv:2006.05467), log
    zico            sum over layers of log(sum of mean over deviation of gradients) (arXiv:2301.11300)

The first table is how each ranks networks: Spearman's correlation with the top-1, of all, and among networks within
10 % of each other's multiply-adds. The second is what the model of `nas.controllers.model` predicts of the networks
that it has not seen, once it knows the top-1 of 16, 40 or 100: with the logarithm of the latency as its only feature,
as in a search, and with scores beside it, standardised. Differences are paired, over `draws` sets of known networks,
+- half the 95 % interval.

    python -m experiments.zero_cost path=FILE [networks=300] [draws=20]

Scores are recorded in runs/zero_cost/; the same command goes on. Writes experiments/results/zero_cost.csv and
zero_cost_model.csv.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import latency_luts
from experiments import options, provenance, tables
from experiments.fit_surrogate import read, spearman
from experiments.intervals import half_width
from nas.controllers.gaussian_process import GaussianProcess, Seen
from nas.training import sources
from nas.training.recipe import Recipe
from nas.training.trainer import Trainer
from nas_runtime.run import Run
from search_spaces import cost, spaces
from search_spaces.arch import Arch

if TYPE_CHECKING:
    import torch

    from search_spaces.torch_net import Net

RUNS = Path("runs/zero_cost")
PICTURES = 32
KNOWN = (16, 40, 100)
WITHIN = 0.1
FREE = ("params", "madds")


def main() -> None:
    given = options.read({"path": "", "networks": 300, "draws": 20}, needed=["path"])
    if given["draws"] < 2 or given["networks"] <= 2 * KNOWN[-1]:
        raise ValueError(f"draws= must be at least 2, and networks= above {2 * KNOWN[-1]}")
    indices, top1, _ = read(Path(given["path"]))
    some = np.random.default_rng(0).permutation(len(top1))[: given["networks"]]
    indices, top1 = indices[some], top1[some]
    with provenance.recording(RUNS) as run:
        scores, seconds = scored(run, indices)
        origin = provenance.of("networks 0, known networks 0 on", runs=(RUNS,))
    rows = [_ranking(name, values, top1, scores["madds"], seconds) for name, values in scores.items()]
    title = f"{len(top1)} networks of Accel-NASBench, ranked by scores"
    tables.show(title, rows, tables.RESULTS / "zero_cost.csv", origin=origin)
    predicted = _predicted(indices, top1, scores, given["draws"])
    tables.show(
        f"The model's predictions of the other networks, {given['draws']} draws",
        predicted,
        tables.RESULTS / "zero_cost_model.csv",
        origin=origin,
    )


# ---- scores


def scored(run: Run, indices: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """The scores (n,) of networks (n, C) by name, and the median seconds that one takes."""
    import torch

    torch.set_num_threads(1)
    space, records = spaces.get("accel_nasbench"), run.records("scores.jsonl", "zero_cost")
    trainer = Trainer(data=sources.load("fashion_mnist_mini", path=None, train_images=None), recipe=Recipe(epochs=1))
    known = {tuple(record["indices"]): record for record in records.records}
    for row in indices.tolist():
        if tuple(row) not in known:
            arch = space.decode(np.array(row))
            record = {"indices": row, "params": np.log(cost.params(arch)), "madds": np.log(cost.madds(arch)), "s": {}}
            for name, score in SCORES.items():
                start = time.process_time()
                record[name] = score(arch, trainer)
                record["s"][name] = time.process_time() - start
            records.append(record)
            known[tuple(row)] = record
    own = [known[tuple(row)] for row in indices.tolist()]
    values = {name: np.array([record[name] for record in own]) for name in (*FREE, *SCORES)}
    return values, {name: float(np.median([record["s"][name] for record in own])) for name in SCORES}


def _made(arch: Arch, trainer: Trainer) -> "tuple[Net, torch.Tensor, torch.Tensor]":
    """The untrained network for the pictures, a batch of them (N, C, H, W), and their labels."""
    import torch

    from search_spaces import torch_net

    data = trainer.data
    mean, std = (np.array(values) * 255 for values in (data.mean, data.std))
    pictures = (data.train.images[:PICTURES] - mean) / std
    net = torch_net.build(trainer.small(arch), generator=torch.Generator().manual_seed(0))
    batch = torch.from_numpy(pictures).float().permute(0, 3, 1, 2).contiguous()
    return net.train(), batch, torch.from_numpy(data.train.labels[:PICTURES])


def _patterns(arch: Arch, trainer: Trainer) -> list[np.ndarray]:
    """Of each activation what is above 0, (pictures, values)."""
    import torch

    net, batch, _ = _made(arch, trainer)
    found: list[np.ndarray] = []

    def keep(module: "torch.nn.Module", inputs: "tuple[torch.Tensor, ...]", output: "torch.Tensor") -> None:
        found.append((inputs[0].detach().reshape(len(batch), -1) > 0).numpy())

    for module in net.modules():
        if isinstance(module, torch.nn.ReLU | torch.nn.ReLU6 | torch.nn.Hardswish | torch.nn.SiLU):
            module.register_forward_hook(keep)
    with torch.inference_mode():
        net(batch)
    return found


def _naswot(arch: Arch, trainer: Trainer) -> float:
    alike = np.zeros((PICTURES, PICTURES))
    for pattern in _patterns(arch, trainer):
        on = pattern.astype(np.float32)
        alike += on @ on.T + (1 - on) @ (1 - on).T
    return float(np.linalg.slogdet(alike)[1])


def _swap(arch: Arch, trainer: Trainer) -> float:
    """Each value of a layer has a pattern over the pictures: how many different ones there are."""
    patterns = np.hstack(_patterns(arch, trainer))
    return float(np.log(len(np.unique(np.packbits(patterns, axis=0).T, axis=0))))


def _synflow(arch: Arch, trainer: Trainer) -> float:
    import torch

    net, batch, _ = _made(arch, trainer)
    net = net.double().eval()
    with torch.no_grad():
        for value in net.parameters():
            value.abs_()
    net(torch.ones_like(batch[:1]).double()).sum().backward()
    pairs = [(value.detach(), value.grad) for value in net.parameters()]
    total = sum(float((value * gradient).abs().sum()) for value, gradient in pairs if gradient is not None)
    return float(np.log(total))


def _zico(arch: Arch, trainer: Trainer) -> float:
    import torch

    net, batch, labels = _made(arch, trainer)
    layers = [m.weight for m in net.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    gradients: list[list[torch.Tensor]] = [[] for _ in layers]
    for half in (slice(0, PICTURES // 2), slice(PICTURES // 2, PICTURES)):
        loss = torch.nn.functional.cross_entropy(net(batch[half]), labels[half])
        for own, gradient in zip(gradients, torch.autograd.grad(loss, layers), strict=True):
            own.append(gradient.abs())
    total = 0.0
    for own in gradients:
        both = torch.stack(own)
        deviation, mean = both.std(dim=0, correction=0), both.mean(dim=0)
        told = deviation > 0
        if told.any():
            total += float(torch.log((mean[told] / deviation[told]).sum()))
    return total


SCORES: dict[str, Callable[[Arch, Trainer], float]] = {
    "naswot": _naswot,
    "swap": _swap,
    "synflow": _synflow,
    "zico": _zico,
}


# ---- what they tell


def _ranking(
    name: str, values: np.ndarray, top1: np.ndarray, log_madds: np.ndarray, seconds: dict[str, float]
) -> dict[str, str]:
    near = [np.flatnonzero(np.abs(log_madds - own) <= np.log1p(WITHIN)) for own in log_madds]
    among = [spearman(values[rows], top1[rows]) for rows in near if len(rows) >= 10]
    return {
        "score": name,
        "Spearman": f"{spearman(values, top1):.3f}",
        f"within {WITHIN:.0%} of multiply-adds": f"{np.mean(among):.3f}",
        "s a network": f"{seconds[name]:.2f}" if name in seconds else "0",
    }


def _predicted(
    indices: np.ndarray, top1: np.ndarray, scores: dict[str, np.ndarray], draws: int
) -> list[dict[str, str]]:
    space = spaces.get("accel_nasbench")
    latency = np.log(latency_luts.load("pixel1").latency_ms_batch(space, indices))
    kinds = {"latency alone": (), "with params and madds": FREE}
    kinds |= {f"with {name}": (name,) for name in SCORES}
    kinds |= {"with all": (*FREE, *SCORES)}
    rows = []
    for known in KNOWN:
        orders = [np.random.default_rng(draw).permutation(len(top1)) for draw in range(draws)]
        ranks = {
            kind: np.array([_fit(indices, top1, [latency, *(scores[n] for n in names)], o, known) for o in orders])
            for kind, names in kinds.items()
        }
        for kind, own in ranks.items():
            more = own[:, 0] - ranks["latency alone"][:, 0]
            rows.append(
                {
                    "model": kind,
                    "known networks": str(known),
                    "Spearman": f"{own[:, 0].mean():.3f}",
                    "more": f"{more.mean():+.3f}" if more.any() else "",
                    "+-": f"{half_width(more):.3f}" if more.any() else "",
                    "mean error, points": f"{100 * own[:, 1].mean():.3f}",
                }
            )
    return rows


def _fit(
    indices: np.ndarray, top1: np.ndarray, features: Sequence[np.ndarray], order: np.ndarray, known: int
) -> tuple[float, float]:
    """Rank correlation and mean error of the model for what is behind the first `known` of `order`."""
    space = spaces.get("accel_nasbench")
    columns = np.stack([(x - x.mean()) / x.std() for x in features], axis=1)
    seen = Seen(points=space.canonical(indices), features=columns)
    rest = order[known:]
    sizes = [len(choice.options) for choice in space.choices]
    mean = GaussianProcess(seen[order[:known]], top1[order[:known]], sizes).mean(seen[rest])
    return spearman(mean, top1[rest]), float(np.abs(mean - top1[rest]).mean())


if __name__ == "__main__":
    options.run(main)

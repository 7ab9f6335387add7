"""Pictures of a search, as PNG files; and how all pictures of runs look."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nas import pareto
from nas.trial import Trial
from nas_runtime.console import in_ms, picture_text
from nas_runtime.labels import beside
from nas_runtime.pictures import save

__all__ = [
    "BEST",
    "GREY",
    "INK",
    "REFERENCE",
    "new_figure",
    "plot_entropy",
    "plot_latencies",
    "plot_pareto",
    "plot_rewards",
    "save",
]

INK, GREY, BEST, REFERENCE = "#1f4e79", "#9aa5b1", "#c8352b", "#2a7f3f"


def plot_pareto(
    path: Path,
    trials: Sequence[Trial],
    winners: Sequence[Trial],
    references: Mapping[str, tuple[float, float]],
    *,
    targets_ms: Sequence[float],
    title: str,
    latency_label: str,
    top1_label: str,
) -> None:
    """Top-1 against latency: samples, their Pareto front, the targets, the winner for each, and the references.

    Args:
        references: name to (latency_ms, top1).
    """
    figure, axes = new_figure()
    good = [t for t in trials if t.status == "ok"]
    x, y = [t.latency_ms for t in good], [100 * t.top1 for t in good]
    order = axes.scatter(x, y, c=[t.sample for t in good], cmap=_blues(), s=_size(good), label="samples")
    figure.colorbar(order, ax=axes, label="sample number", pad=0.01, aspect=40)
    front = pareto.front(trials)
    axes.step(
        [t.latency_ms for t in front],
        [100 * t.top1 for t in front],
        where="post",
        color=INK,
        lw=1.2,
        label="Pareto front",
    )
    words = " ".join(["target", ", ".join(in_ms(ms) for ms in targets_ms), "ms"])
    for i, ms in enumerate(targets_ms):
        axes.axvline(ms, color=GREY, ls="--", lw=1, label=words if i == 0 else None)
    if references:
        axes.scatter(
            [ms for ms, _ in references.values()],
            [100 * top1 for _, top1 in references.values()],
            marker="D",
            s=40,
            color=REFERENCE,
            label="references",
            zorder=3,
        )
    x, y = [winner.latency_ms for winner in winners], [100 * winner.top1 for winner in winners]
    axes.scatter(x, y, marker="*", s=200, color=BEST, label="the winner" + "s" * (len(winners) > 1), zorder=4)
    axes.set_xlabel(picture_text(latency_label))
    axes.set_ylabel(picture_text(f"{top1_label} (%)"))
    axes.set_title(picture_text(title), loc="left", fontsize=10)
    axes.legend(fontsize=8, loc="lower right")
    if references:
        x, y = [ms for ms, _ in references.values()], [100 * top1 for _, top1 in references.values()]
        beside(axes, x, y, list(references), color=REFERENCE)
    save(figure, path)


def plot_rewards(path: Path, trials: Sequence[Trial], *, title: str) -> None:
    """Reward of each sample, the best so far, and a moving average."""
    figure, axes = new_figure()
    good = [t for t in trials if t.status == "ok"]
    rewards, samples = np.array([t.reward for t in good]), np.array([t.sample for t in good])
    axes.scatter(samples, rewards, s=_size(trials), color=GREY, label="samples")
    axes.step(samples, np.maximum.accumulate(rewards), where="post", color=BEST, lw=1.5, label="best so far")
    window = max(2, len(rewards) // 8)
    if len(rewards) >= 2 * window:
        mean = np.convolve(rewards, np.ones(window) / window, mode="valid")
        axes.plot(samples[window - 1 :], mean, color=INK, lw=1.5, label=f"mean of the last {window}")
    axes.set_xlabel("sample")
    axes.set_ylabel("reward")
    axes.set_title(picture_text(title), loc="left", fontsize=10)
    axes.legend(fontsize=8, loc="lower right")
    save(figure, path)


def plot_latencies(path: Path, trials: Sequence[Trial], *, target_ms: float, title: str, latency_label: str) -> None:
    """Latency of each sample, their median over a moving window, and the target with 3 % on either side."""
    figure, axes = new_figure()
    known = [t for t in trials if not np.isnan(t.latency_ms)]
    latencies_ms, samples = np.array([t.latency_ms for t in known]), np.array([t.sample for t in known])
    axes.scatter(samples, latencies_ms, s=_size(trials), color=GREY, label="samples")
    window = max(2, len(known) // 8)
    if len(known) >= 2 * window:
        medians = np.median(np.lib.stride_tricks.sliding_window_view(latencies_ms, window), axis=1)
        axes.plot(samples[window - 1 :], medians, color=INK, lw=1.5, label=f"median of the last {window}")
    axes.axhspan(0.97 * target_ms, 1.03 * target_ms, color=BEST, alpha=0.15, lw=0, label="3 % around the target")
    axes.axhline(target_ms, color=BEST, ls="--", lw=1, label=f"target {in_ms(target_ms)} ms")
    axes.set_xlabel("sample")
    axes.set_ylabel(picture_text(latency_label))
    axes.set_ylim(bottom=0)
    axes.set_title(picture_text(title), loc="left", fontsize=10)
    axes.legend(fontsize=8, loc="upper right")
    save(figure, path)


def plot_entropy(path: Path, trials: Sequence[Trial], *, title: str) -> None:
    """How varied the samples are: the entropy of a choice's options over a moving window, the mean over the choices.

    Falling to 0 means that the controller proposes the same again and again.
    """
    figure, axes = new_figure(height=3.2)
    indices = np.array([t.indices for t in trials])  # (n, C)
    window = min(len(trials), max(16, len(trials) // 20))
    ends = np.unique(np.linspace(window, len(trials), 200).astype(int))
    dot = "o" if len(ends) == 1 else None  # which no line would show
    axes.plot(ends - 1, [_entropy(indices[end - window : end]) for end in ends], color=INK, lw=1.5, marker=dot)
    axes.set_xlabel("sample")
    axes.set_ylabel(f"nats a choice, last {window} samples")
    axes.set_ylim(bottom=0)
    axes.set_title(picture_text(title), loc="left", fontsize=10)
    save(figure, path)


def _entropy(indices: np.ndarray) -> float:
    """Mean over the C choices of the entropy of their options in points (n, C), in nats."""
    shares = [np.bincount(column) / len(column) for column in indices.T]
    return float(np.mean([-(p[p > 0] * np.log(p[p > 0])).sum() for p in shares]))


def _size(trials: Sequence[Trial]) -> float:
    """Of a sample's dot: smaller for many."""
    return float(np.clip(1500 / max(len(trials), 1), 3, 22))


def new_figure(width: float = 8, height: float = 4.8):
    """A figure and its axes, of a size in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _blues():
    """Light to dark blue, without the whites that vanish on paper."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["Blues"](np.linspace(0.35, 1, 256)))

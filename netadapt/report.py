"""What a person sees of an adaptation: lines while it runs, tables and a page with pictures at the end."""

import html
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from nas import delivery
from nas.report.html import image, table, write_page
from nas.report.plots import BEST, GREY, INK, REFERENCE, new_figure, save
from nas_runtime.console import counted, in_ms, picture_text
from nas_runtime.labels import beside
from netadapt.adapt import Adaptation, Step
from netadapt.blocks import aligned
from netadapt.channels import Group, groups
from netadapt.compare import expansions, matched
from search_spaces import zoo
from search_spaces.arch import Arch, MBConv

__all__ = ["Live", "show", "write"]


class Live:
    """A line for each step, and on a terminal a count of its evaluations."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("") if console.is_terminal else None
        self._begun = time.monotonic()

    def on_evaluation(self, step: int, done: int, total: int) -> None:
        if self._status:
            self._status.start()
            self._status.update(f"step {step}: {done} of {total} fine-tuned")

    def on_step(self, step: Step, target_ms: float) -> None:
        if self._status:
            self._status.stop()
        kept = step.kept
        self._console.print(
            f"step {step.number:3d}: {kept.group} {kept.before} -> {kept.after}, {kept.latency_ms:.2f} ms "
            f"({kept.latency_ms / target_ms:.3f} of the target), top-1 {step.top1:.1%}, "
            f"{step.proposals} proposals, {time.monotonic() - self._begun:.0f} s"
        )


def show(console: Console, run_dir: Path, result: Mapping[str, Any]) -> None:
    """The tables that a command ends with."""
    title = f"Top-1 after the same final training ({_final(result)}), latency on {result['device']}"
    rows = Table(title=title, title_justify="left")
    for column in _COLUMNS:
        rows.add_column(column, justify="left" if column == "network" else "right", no_wrap=True)
    for row in _network_rows(result):
        rows.add_row(*row, style="bold" if row[0] == result["delivered"] else "")
    console.print(rows)
    if distances := result["distance_to_published"]:
        console.print(_distance_text(distances))
    if result["final"] == "both":
        console.print(f"delivered is {result['delivered']}, which is better on the holdout")
    console.print(f"latency model: {result['latency_model']}")
    console.print(_here_text(result))
    if result["stopped"]:
        console.print(
            f"note: stopped at {in_ms(result['reached_ms'])} ms, above the target of {in_ms(result['target_ms'])} ms: "
            f"{result['stopped']}. Remedies: a smaller delta, or more kinds= (see --help)"
        )
    console.print(
        f"{counted(len(result['steps']), 'step')}; everything is in {run_dir}: report.html, result.json, best.json "
        f"(the network), {delivery.IN_WORDS}, history.jsonl"
    )


def write(run_dir: Path, result: Mapping[str, Any], adaptation: Adaptation) -> None:
    """Writes ``report.html`` and its pictures."""
    _plot_path(run_dir / "path.png", result)
    _plot_widths(run_dir / "widths.png", adaptation)
    pictures = [
        "<h2>The way there</h2>",
        image(run_dir / "path.png"),
        "<h2>What was narrowed when</h2>",
        image(run_dir / "widths.png"),
    ]
    if result["distance_to_published"]:
        published = zoo.get(result["published"])
        _plot_expansions(run_dir / "expansions.png", adaptation, published)
        pictures += [f"<h2>Expansions beside {published.name}</h2>", image(run_dir / "expansions.png")]
        pictures.append(table(*_width_rows(adaptation, published)))
        pictures.append(f"<p>{html.escape(_distance_text(result['distance_to_published']))}</p>")
    names = [row[0] for row in _network_rows(result)]
    steps = [
        (
            str(s["step"]),
            s["narrowed"],
            f"{s['before']} → {s['after']}",
            f"{s['latency_ms']:.2f}",
            f"{s['saved_ms']:.2f}",
            f"{s['top1']:.1%}",
            str(s["proposals"]),
        )
        for s in result["steps"]
    ]
    seed_ms, reached_ms = adaptation.seed_ms, adaptation.latency_ms
    stopped = f" It stopped there: {html.escape(result['stopped'])}." if result["stopped"] else ""
    body = [
        f"<h1>{html.escape(adaptation.seed.name)}, narrowed from {in_ms(seed_ms)} to {in_ms(reached_ms)} ms</h1>",
        f"<p>Target {in_ms(result['target_ms'])} ms on {html.escape(result['device'])}, "
        f"{counted(len(result['steps']), 'step')}.{stopped}</p>",
        f"<p class=model>Latency: {html.escape(result['latency_model'])}. {html.escape(_here_text(result))}</p>",
        f"<h2>Top-1 after the same final training ({_final(result)})</h2>",
        table(_COLUMNS, _network_rows(result), best=names.index(result["delivered"])),
        *pictures,
        "<h2>Steps</h2>",
        table(("step", "narrowed", "channels", "ms", "saved ms", "top-1", "proposals"), steps),
        "<h2>Blocks of the adapted network</h2>",
        table(("in timm's notation, or as fields",), [(line,) for line in result["blocks"]]),
    ]
    write_page(run_dir / "report.html", "NetAdapt", body)


_COLUMNS = ("network", "test", "holdout", "ms", "ms here", "MAdds", "params")


def _network_rows(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            name,
            _percent(r["test_top1s"]),
            f"{r['holdout_top1']:.1%}",
            in_ms(r["latency_ms"]),
            f"{r['here_ms']:.2f}",
            f"{r['madds'] / 1e6:.1f} M",
            f"{r['params'] / 1e6:.2f} M",
        )
        for name, r in result["networks"].items()
    ]


def _final(result: Mapping[str, Any]) -> str:
    """The last training, in words."""
    epochs = counted(result["final_epochs"], "epoch")
    if result["px"] is None:
        return epochs
    given = "; the seed is as it was" * ("seed" in result["networks"])
    return f"{epochs} at {result['px']} px{given}"


def _percent(values: Sequence[float]) -> str:
    """The mean, and the standard deviation if there are several."""
    if len(values) == 1:
        return f"{values[0]:.1%}"
    return f"{np.mean(values):.1%} ± {100 * np.std(values, ddof=1):.1f}"


def _here_text(result: Mapping[str, Any]) -> str:
    networks = result["networks"]
    if "seed" not in networks:
        return f"Measured on this machine: {networks['adapted']['here_ms']:.2f} ms."
    predicted = networks["adapted"]["latency_ms"] / networks["seed"]["latency_ms"]
    here = networks["adapted"]["here_ms"] / networks["seed"]["here_ms"]
    return (
        f"The adapted network takes {predicted:.1%} of the seed's latency on {result['device']} by the model, and "
        f"{here:.1%} on this machine as measured."
    )


def _distance_text(distances: Mapping[str, Any]) -> str:
    chance = np.array(distances["by chance"])
    return (
        "distance to the published expansions (mean |log2 of the ratio|): "
        f"adapted {distances['adapted']:.3f}, seed {distances['seed']:.3f}, "
        f"uniform scaling {distances['uniform scaling']:.3f}, "
        f"{len(chance)} adaptations by chance {chance.mean():.3f} ± {chance.std():.3f}"
    )


def _width_rows(adaptation: Adaptation, published: Arch) -> tuple[list[str], list[list[str]]]:
    head = ["block", "kernel", "stride", "seed", "adapted", published.name]
    rows = []
    places = aligned(adaptation.seed, adaptation.arch)
    for i, j in matched(adaptation.arch, published):
        seed, ours, theirs = adaptation.seed.blocks[places[i]], adaptation.arch.blocks[i], published.blocks[j]
        assert isinstance(seed, MBConv)
        assert isinstance(ours, MBConv)
        assert isinstance(theirs, MBConv)
        rows.append(
            [str(i), str(ours.kernel), str(ours.stride)]
            + [f"{b.in_ch} → {b.mid_ch} → {b.out_ch}" for b in (seed, ours, theirs)]
        )
    return head, rows


# ---- pictures


def _steps_label(result: Mapping[str, Any]) -> str:
    smaller = "" if result["px"] is None else f" of {result['compared_px']} px"
    return f"steps, after short fine-tuning (holdout{smaller})"


def _plot_path(path: Path, result: Mapping[str, Any]) -> None:
    figure, axes = new_figure()
    x = [result["seed_ms"], *(s["latency_ms"] for s in result["steps"])]
    y = [100 * result["seed_top1"], *(100 * s["top1"] for s in result["steps"])]
    axes.plot(x, y, "o-", color=INK, ms=4, lw=1.2, label=_steps_label(result))
    for name, r in result["networks"].items():
        ours = name == "adapted"
        place = (r["latency_ms"], 100 * r["test_top1"])
        axes.scatter(*place, marker="*" if ours else "D", s=180 if ours else 40, color=BEST if ours else REFERENCE)
    axes.axvline(result["target_ms"], color=GREY, ls="--", lw=1, label=f"target {in_ms(result['target_ms'])} ms")
    axes.scatter([], [], marker="D", color=REFERENCE, label="after the final training (test)")
    axes.set(xlabel=picture_text(f"latency on {result['device']}, ms"), ylabel="top-1 (%)")
    axes.legend(fontsize=8, loc="best")
    networks = result["networks"]
    places = [(r["latency_ms"], 100 * r["test_top1"]) for r in networks.values()]
    beside(axes, [ms for ms, _ in places], [top1 for _, top1 in places], list(networks))
    save(figure, path)


def _plot_widths(path: Path, adaptation: Adaptation) -> None:
    """Width of every group of channels after each step, as a share of the seed's."""
    kinds = {step.kept.kind for step in adaptation.steps} or {"expansion"}
    names = [g.name for g in groups(adaptation.seed) if g.kind in kinds | {"expansion", "bottleneck"}]
    archs = [adaptation.seed, *(step.kept.arch for step in adaptation.steps)]
    shown = [g for g in groups(adaptation.seed) if g.name in names]
    widths = np.array([_channels(adaptation.seed, arch, shown) for arch in archs]).T
    from matplotlib.ticker import MaxNLocator

    figure, axes = new_figure(8, 1.2 + 0.24 * len(names))
    picture = axes.imshow(100 * widths / widths[:, :1], aspect="auto", cmap="viridis", vmin=0, vmax=100)
    axes.grid(visible=False)
    axes.set_yticks(range(len(names)), [f"{name} ({widths[i, 0]})" for i, name in enumerate(names)], fontsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("step (channels of the seed in brackets, of the result at the right)")
    for i, row in enumerate(widths):
        axes.annotate(str(row[-1]), (len(archs) - 0.4, i), fontsize=7, va="center", annotation_clip=False)
    figure.colorbar(picture, ax=axes, label="% of the seed's channels", pad=0.06)
    save(figure, path)


def _channels(seed: Arch, arch: Arch, shown: Sequence[Group]) -> list[int]:
    """How many channels `arch`, which comes from `seed`, has of each of the seed's groups; 0 if its block is gone."""
    places = aligned(seed, arch)
    by_layer = {(places[i], name): group.channels for group in groups(arch) for i, name in group.producers}
    return [next((by_layer[layer] for layer in group.producers if layer in by_layer), 0) for group in shown]


def _plot_expansions(path: Path, adaptation: Adaptation, published: Arch) -> None:
    figure, axes = new_figure()
    pairs = matched(adaptation.arch, published)
    places = aligned(adaptation.seed, adaptation.arch)
    x = np.arange(len(pairs))
    bars: dict[str, tuple[list[int], str]] = {
        "seed": ([_width(adaptation.seed, places[i]) for i, _ in pairs], GREY),
        "adapted": ([_width(adaptation.arch, i) for i, _ in pairs], BEST),
        published.name: ([_width(published, j) for _, j in pairs], REFERENCE),
    }
    for k, (name, (widths, color)) in enumerate(bars.items()):
        axes.bar(x + 0.27 * (k - 1), widths, width=0.25, color=color, label=name)
    axes.set_xticks(x, [str(i) for i, _ in pairs])
    axes.set(xlabel="block", ylabel="channels of the expansion")
    axes.legend(fontsize=8, loc="upper left")
    save(figure, path)


def _width(arch: Arch, i: int) -> int:
    return dict(expansions(arch))[i].mid_ch

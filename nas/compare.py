"""`python -m nas.compare runs/a runs/b ...`: searches side by side, as a table and on a page.

    python -m nas.compare RUN_DIR RUN_DIR... [page=compare.html]

The page has the curves of the best reward, and the fronts of accuracy and latency. Rewards can be compared where the
reward and its target are the same, latencies where the device is, accuracies where data and training are: what differs
is said.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from nas import pareto
from nas.report import html, plots
from nas.searched import Searched, open_search
from nas_runtime.command import run_plain
from nas_runtime.console import in_ms, new_console, picture_text
from nas_runtime.kinds import AnyPath
from nas_runtime.options import Options, read_plain

__all__ = ["CompareOptions", "differences", "main"]

_HEAD = ("run", "samples", "best", "top-1", "ms", "reward", "final top-1", "hypervolume", "minutes")
_TOLD = {
    "rewards": (
        "reward",
        "w",
        "w_above",
        "beta",
        "target",
        "targets",
        "front",
        "devices",
        "weights",
        "sure",
        "adjust_after",
    ),
    "latencies": ("target.device", "devices", "weights", "sure", "space.resolution_px", "space.classes"),
    "accuracies": ("dataset", "evaluator", "mode", "engine", "duplicates"),
}
"""What can be compared, and the settings on which that depends."""


class CompareOptions(Options):
    """Shows searches side by side."""

    page: AnyPath = Field(default=Path("compare.html"), description="the page that is written")


def main(arguments: list[str]) -> None:
    from rich.table import Table

    names = [argument for argument in arguments if Path(argument).is_dir() or "=" not in argument]
    options = read_plain(CompareOptions, [argument for argument in arguments if argument not in names])
    folders = list({Path(name).resolve(): Path(name) for name in names}.values())
    if len(folders) < 2:
        raise ValueError("give the folders of two searches or more: python -m nas.compare runs/a runs/b")
    searches = [open_search(folder) for folder in folders]
    if empty := [search for search in searches if not any(trial.status == "ok" for trial in search.trials)]:
        raise ValueError(f"{empty[0].path} has no good sample yet")
    rows = [_row(search, _reference_ms(searches)) for search in searches]
    table = Table(*_HEAD)
    for row in rows:
        table.add_row(*row)
    console = new_console(width=140)
    console.print(table)
    notes = [*differences(searches), *(search.note for search in searches if search.note)]
    for note in notes:
        console.print(f"note: {note}")
    _write(options.page, searches, rows, notes)
    console.print(f"curves and fronts are in {options.page}")


def _reference_ms(searches: Sequence[Searched]) -> float:
    """The latency of the hypervolume's corner: the same for all."""
    known = [trial.latency_ms for search in searches for trial in search.trials if trial.status == "ok"]
    return float(max(known)) * (1 + 1e-9)


def _row(search: Searched, reference_ms: float) -> tuple[str, ...]:
    good = [trial for trial in search.trials if trial.status == "ok"]
    best = max(good, key=lambda trial: (trial.reward, -trial.sample))
    top1, latency_ms = np.array([(trial.top1, trial.latency_ms) for trial in good]).T
    final = (search.result or {}).get("best", {}).get("final_test_top1")
    return (
        str(search.path),
        str(len(search.trials)),
        f"sample {best.sample}",
        f"{best.top1:.1%}",
        in_ms(best.latency_ms),
        f"{best.reward:.4f}",
        "" if final is None else f"{final:.1%}",
        f"{pareto.hypervolume(top1, latency_ms, reference_ms=reference_ms):.4f}",
        f"{sum(trial.seconds for trial in search.trials) / 60:.1f}",
    )


def differences(searches: Sequence[Searched]) -> list[str]:
    """What of the searches cannot be compared, since settings differ: a sentence each."""
    notes = []
    for what, names in _TOLD.items():
        different = [name for name in names if len({str(_setting(search.config, name)) for search in searches}) > 1]
        if different:
            notes.append(f"{what} are not of one kind: the runs differ in {', '.join(different)}")
    return notes


def _setting(config: Mapping[str, Any], name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _write(page: Path, searches: Sequence[Searched], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        curves, fronts = Path(folder) / "curves.png", Path(folder) / "fronts.png"
        _plot_curves(curves, searches)
        _plot_fronts(fronts, searches)
        body = [
            "<h1>Searches side by side</h1>",
            html.table(_HEAD, rows),
            *(f"<p>Note: {escape(note)}</p>" for note in notes),
            "<p class=model>Hypervolume: up to the slowest network of all. Minutes: of evaluations, summed.</p>",
            "<h2>The best reward so far</h2>",
            html.image(curves),
            "<h2>Accuracy against latency: the fronts</h2>",
            html.image(fronts),
        ]
        html.write_page(page, "Searches side by side", body)


def _plot_curves(path: Path, searches: Sequence[Searched]) -> None:
    figure, axes = plots.new_figure()
    for i, search in enumerate(searches):
        good = [trial for trial in search.trials if trial.status == "ok"]
        samples, rewards = [trial.sample for trial in good], np.array([trial.reward for trial in good])
        axes.step(samples, np.maximum.accumulate(rewards), where="post", color=f"C{i}", label=_label(search))
        axes.scatter(samples, rewards, s=8, color=f"C{i}", alpha=0.3)
    axes.set_xlabel("sample")
    axes.set_ylabel("reward")
    axes.legend(fontsize=8, loc="lower right")
    plots.save(figure, path)


def _plot_fronts(path: Path, searches: Sequence[Searched]) -> None:
    figure, axes = plots.new_figure()
    for i, search in enumerate(searches):
        front = pareto.front(search.trials)
        x, y = [trial.latency_ms for trial in front], [100 * trial.top1 for trial in front]
        axes.step(x, y, where="post", color=f"C{i}", label=_label(search), marker="o", ms=4)
    axes.set_xlabel("latency, ms")
    axes.set_ylabel("top-1 of the samples (%)")
    axes.legend(fontsize=8, loc="lower right")
    plots.save(figure, path)


def _label(search: Searched) -> str:
    return picture_text(str(search.path))


if __name__ == "__main__":
    run_plain(main, CompareOptions)

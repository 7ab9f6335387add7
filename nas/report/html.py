"""``report.html``: the result of a search on one self-contained page; and the parts that such pages are made of."""

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.report.interactive import SCRIPT
from nas.report.summary import FINALISTS_HEAD, NETWORKS_HEAD, best_of, by_block, finalist_cells, network_cells
from nas.trial import Trial
from nas_runtime.console import counted, in_ms
from nas_runtime.files import write_text

__all__ = ["image", "table", "write_page", "write_report"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1d2733; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; } th, td { padding: .25rem .8rem; text-align: right; }
th { border-bottom: 2px solid #9aa5b1; } td { border-bottom: 1px solid #e2e6ea; }
th:first-child, td:first-child { text-align: left; } tr.best td { font-weight: 600; }
img { max-width: 100%; } p.model { color: #52606d; }
"""


def write_report(
    run_dir: Path,
    result: Mapping[str, Any],
    trials: Sequence[Trial],
    *,
    delivered: Sequence[str],
    pointed: str,
    blocks: str,
    facts: str,
) -> None:
    """Writes ``report.html`` from `result` (as in ``result.json``) and the run's pictures.

    Args:
        delivered: figures of the files that are delivered, in sentences.
        pointed, blocks: `interactive.dots` of the samples and `interactive.strips` of the networks.
        facts: where the run was made, a line.
    """
    best, published = result["best"], "green: published networks; " if result["references_as_samples"] else ""
    body = [
        f"<h1>A network for {in_ms(result['target_ms'])} ms</h1>",
        f"<p>Best of {result['samples']} samples ({result['networks_evaluated']} networks evaluated)."
        f"{_tested(result)}</p>",
        f"<p class=model>Latency: {html.escape(result['latency_model'])}</p>",
        f"<h2>The network{' beside published ones' * bool(result['references'])}: {result['accuracy']}</h2>",
        _networks(result),
        *_devices(result["devices"]),
        *_limits(result["limits"]),
        *(f"<p>Note: {html.escape(note)}</p>" for note in result["notes"]),
        *_delivered(run_dir, delivered),
        *_finalists(result),
        f"<h2>Accuracy against latency: {result['sample_accuracy']}</h2>",
        f"<p class=model>The pointer on a dot shows the network. Red: the winner; {published}dashed: the target; line: "
        "the Pareto front.</p>",
        pointed,
        f"<p>Hypervolume {result['hypervolume']:.4f}: the share of the rectangle up to twice the target and a top-1 "
        f"of 1 that the Pareto front of {counted(len(result['pareto_front']), 'network')} dominates.</p>",
        "<h2>Reward</h2>",
        image(run_dir / "rewards.png"),
        "<h2>Latency of the samples</h2>",
        image(run_dir / "latencies.png"),
        "<h2>Entropy of the samples</h2>",
        image(run_dir / "entropy.png"),
        "<h2>Where the time goes, block by block</h2>",
        blocks,
        "<h2>What was chosen</h2>",
        table(*by_block(best["choices"])),
        "<h2>The ten best samples</h2>",
        table(("sample", "top-1", "ms", "reward"), _top(trials)),
        f"<p class=model>{html.escape(facts)}</p>",
        SCRIPT,
    ]
    write_page(run_dir / "report.html", "Architecture search", body)


def _devices(devices: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What the network takes on each of several devices."""
    words = [
        f"{in_ms(its['latency_ms'])} of {in_ms(its['target_ms'])} ms on {html.escape(device)}"
        for device, its in devices.items()
    ]
    return [f"<p>Devices: {', '.join(words)}</p>"] if words else []


def _limits(limits: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What the network has of what it may have at most."""
    words = [f"{html.escape(name)} {limit['has']:.3g} of {limit['most']:g}" for name, limit in limits.items()]
    return [f"<p>Limits: {', '.join(words)}</p>"] if words else []


def _tested(result: Mapping[str, Any]) -> str:
    """What the network came to on the test images, if it was measured there."""
    top1 = result["best"].get("final_test_top1")
    if top1 is None:
        return ""
    start = "" if result["final_start"] == "scratch" else ", after a training from the shared weights on"
    return f" On the test images: {top1:.1%}{start}."


def _networks(result: Mapping[str, Any]) -> str:
    """The network and the references; the one with the best reward stands out."""
    rows = {"found": result["best"], **result["references"]}
    cells = network_cells(rows, target_ms=result["target_ms"])
    return table(NETWORKS_HEAD, cells, best=list(rows).index(best_of(rows)))


def _delivered(run_dir: Path, figures: Sequence[str]) -> list[str]:
    """The figures of the files, and the curve of the training at full size, if there was one."""
    if not figures:
        return []
    lines = "".join(f"<li>{html.escape(figure)}</li>" for figure in figures)
    curve = [image(path)] if (path := run_dir / "training.png").exists() else []
    return ["<h2>What is delivered</h2>", f"<ul>{lines}</ul>", *curve]


def _finalists(result: Mapping[str, Any]) -> list[str]:
    if not result["finalists"]:
        return []
    return [
        "<h2>The finalists: top-1 on the holdout</h2>",
        table(FINALISTS_HEAD, finalist_cells(result["finalists"])),
        f"<p>The winner is the best of the best samples after the final training; "
        f"{html.escape(result['agreement'])}.</p>",
    ]


def _top(trials: Sequence[Trial]) -> list[tuple[str, str, str, str]]:
    """The ten trials with the best rewards, as cells."""
    best = sorted((t for t in trials if t.status == "ok"), key=lambda t: -t.reward)[:10]
    return [(str(t.sample), f"{t.top1:.1%}", in_ms(t.latency_ms), f"{t.reward:.4f}") for t in best]


def write_page(path: Path, title: str, body: Sequence[str]) -> None:
    """A page of its own, with the parts `body`."""
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style><body>{''.join(body)}</body></html>\n"
    )
    write_text(path, page)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], best: int | None = None) -> str:
    """A table; the row `best` stands out."""
    lines = ["<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>"]
    for i, row in enumerate(rows):
        mark = ' class="best"' if i == best else ""
        lines.append(f"<tr{mark}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>")
    return "<table>" + "".join(lines) + "</table>"


def image(path: Path) -> str:
    """The picture in a PNG file, inside the page."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{path.stem}" src="data:image/png;base64,{data}">'

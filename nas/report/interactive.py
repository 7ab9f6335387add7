"""Parts of ``report.html`` that answer to the pointer: samples as dots, networks as strips of blocks, in SVG."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from latency_luts.key import key
from latency_luts.model import LatencyModel
from nas import pareto
from nas.report.plots import BEST, GREY, INK, REFERENCE
from nas.report.summary import by_block
from nas.trial import Trial
from nas_runtime.console import in_ms
from search_spaces.arch import Arch, Classifier, ConvBN, MBConv, SepConv
from search_spaces.lower import lower
from search_spaces.space import SearchSpace

__all__ = ["SCRIPT", "dots", "strips"]

MOST_DOTS = 1500
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 920, 420, 60, 40
_KINDS = {ConvBN: "#7aa6c2", SepConv: "#e0a458", MBConv: "#1f4e79", Classifier: "#9aa5b1"}

# One box that follows the pointer and shows the text of what is under it.
SCRIPT = """<div id=tip style="position:fixed;display:none;background:#fff;border:1px solid #9aa5b1;padding:.4rem .6rem;
font:12px/1.4 ui-monospace,monospace;white-space:pre;pointer-events:none;box-shadow:0 2px 8px #0003;z-index:9"></div>
<script>const tip=document.getElementById("tip");document.addEventListener("pointermove",e=>{
const text=e.target.dataset&&e.target.dataset.tip;tip.style.display=text?"block":"none";if(!text)return;
tip.textContent=text;const w=tip.offsetWidth,h=tip.offsetHeight;
tip.style.left=Math.min(e.clientX+14,innerWidth-w-8)+"px";
tip.style.top=Math.max(8,Math.min(e.clientY+14,innerHeight-h-8))+"px";});</script>"""


def dots(
    space: SearchSpace,
    trials: Sequence[Trial],
    winners: Sequence[Trial],
    references: Mapping[str, Mapping[str, Any]],
    *,
    targets_ms: Sequence[float],
) -> str:
    """Top-1 against latency, a dot a sample; the pointer on one shows its network. Of many samples, some are drawn."""
    good = [trial for trial in trials if trial.status == "ok"]
    front = pareto.front(trials)
    step = -(-len(good) // MOST_DOTS)
    shown = {trial.sample: trial for trial in (*good[::step], *front, *winners)}.values()
    points = [(t.latency_ms, t.top1) for t in shown] + [(r["latency_ms"], r["top1"]) for r in references.values()]
    most_ms = 1.05 * max(*(ms for ms, _ in points), *targets_ms)
    low, high = min(top1 for _, top1 in points), max(top1 for _, top1 in points)
    low, high = low - 0.05 * (high - low + 0.01), high + 0.05 * (high - low + 0.01)

    def x(ms: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - 10) * ms / most_ms

    def y(top1: float) -> float:
        return (_HEIGHT - _BOTTOM) * (high - top1) / (high - low)

    steps = "".join(f"H{x(t.latency_ms):.1f}V{y(t.top1):.1f}" for t in front)
    parts = [
        *(_tick(x(ms), _HEIGHT - _BOTTOM + 16, f"{ms:g}", "middle") for ms in _round(0, most_ms)),
        *(_tick(_LEFT - 6, y(value / 100) + 4, f"{value:g}", "end") for value in _round(100 * low, 100 * high)),
        _tick((_LEFT + _WIDTH) / 2, _HEIGHT - 6, "latency, ms", "middle"),
        _tick(4, 12, "top-1, %", "start"),
        f'<path d="M{_LEFT} 0V{_HEIGHT - _BOTTOM}H{_WIDTH}" stroke="{GREY}" fill="none"/>',
        *(
            f'<path d="M{x(ms):.1f} 0V{_HEIGHT - _BOTTOM}" stroke="{GREY}" stroke-dasharray="5 4"/>'
            for ms in targets_ms
        ),
        f'<path d="M{x(front[0].latency_ms):.1f} {_HEIGHT - _BOTTOM}{steps}" stroke="{INK}" fill="none"/>'
        if front
        else "",
        *(_dot(x(t.latency_ms), y(t.top1), 4, INK, 0.45, _words(space, t)) for t in shown),
        *(
            _dot(
                x(r["latency_ms"]),
                y(r["top1"]),
                6,
                REFERENCE,
                1,
                f"{name}\n{r['top1']:.1%} at {in_ms(r['latency_ms'])} ms",
            )
            for name, r in references.items()
        ),
        *(
            _dot(x(winner.latency_ms), y(winner.top1), 7, BEST, 1, "the winner\n" + _words(space, winner))
            for winner in winners
        ),
    ]
    return _svg(_WIDTH, _HEIGHT, parts)


def strips(archs: Mapping[str, Arch], latency: LatencyModel) -> str:
    """A strip for each network, a field for each block, as wide as its milliseconds; the pointer shows the block."""
    parts_ms = {name: latency.parts_ms(arch) for name, arch in archs.items()}
    most_ms = max(sum(own) for own in parts_ms.values())
    parts = []
    for row, (name, arch) in enumerate(archs.items()):
        top, x = 46 * row, 0.0
        parts.append(
            _tick(0, top + 12, f"{name}: {in_ms(sum(parts_ms[name]))} ms in {len(arch.blocks)} blocks", "start")
        )
        for i, (unit, ms) in enumerate(zip(lower(arch), parts_ms[name], strict=True), 1):
            width = _WIDTH * ms / most_ms
            words = f"{name}, block {i}: {ms:.2f} ms\n{key(unit)}\n{_shape(unit.in_shape)} to {_shape(unit.out_shape)}"
            color = next((c for kind, c in _KINDS.items() if isinstance(unit.block, kind)), GREY)
            parts.append(
                f'<rect x="{x:.1f}" y="{top + 17}" width="{width:.1f}" height="22" fill="{color}" stroke="#fff" '
                f'data-tip="{html.escape(words, quote=True)}"/>'
            )
            x += width
    legend = " ".join(f'<span style="color:{color}">■</span> {kind.__name__}' for kind, color in _KINDS.items())
    return _svg(_WIDTH, 46 * len(archs), parts) + f"<p class=model>{legend}</p>"


def _round(low: float, high: float) -> list[float]:
    """Round numbers from `low` to a little below `high`, about six."""
    unit = 10 ** math.floor(math.log10((high - low) / 5))
    step = next(unit * k for k in (1, 2, 5, 10) if unit * k >= (high - low) / 7)
    first = math.ceil(low / step)
    return [round(i * step, 9) for i in range(first, math.ceil((high - 0.03 * (high - low)) / step))]


def _words(space: SearchSpace, trial: Trial) -> str:
    columns, rows = by_block(space.describe(trial.indices))
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (columns, *rows)]
    head = f"sample {trial.sample}: {trial.top1:.2%} at {trial.latency_ms:.2f} ms, reward {trial.reward:.4f}"
    return "\n".join([head, *lines])


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _dot(x: float, y: float, radius: float, color: str, opacity: float, words: str) -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{color}" fill-opacity="{opacity}" '
        f'data-tip="{html.escape(words, quote=True)}"/>'
    )


def _tick(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="11" text-anchor="{anchor}">{html.escape(words)}</text>'


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {width} {height}" width="100%" role="img">{"".join(parts)}</svg>'

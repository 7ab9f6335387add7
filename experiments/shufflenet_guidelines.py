"""Do ShuffleNet V2's four guidelines hold on this machine? `python -m experiments.shufflenet_guidelines`

Tables 1 to 4 of arXiv:1807.11164, timed with ONNX Runtime on one core: stacks of ten blocks at 56x56, batch 1, at the
channel counts that the paper gives for its CPU (an ARM phone). Prints images a second with the paper's beside them, and
what each guideline comes to here; writes experiments/results/shufflenet_guidelines.csv and .png.

- G1: equal channel widths minimise memory access. Blocks of two 1x1 convolutions c1 -> c2 -> c1.
- G2: group convolution increases memory access. 1x1 convolutions in g groups, with c such that the multiply-adds are
  equal. (180 channels do not divide into 8 groups; 184 are taken.)
- G3: fragmentation reduces parallelism. The paper does not print its fragments' channels; here a fragment in series has
  c/sqrt(k) channels, and k parallel ones have c/k outputs each, which are concatenated.
- G4: element-wise operations are not negligible. ResNet's bottleneck with and without ReLU and shortcut.

    python -m experiments.shufflenet_guidelines [bursts=40]
"""

import math
from dataclasses import dataclass

from matplotlib.figure import Figure
from rich.table import Table

from experiments import options, provenance, tables
from latency_luts.measure import bench, identity
from nas_runtime import pictures
from nas_runtime.console import new_console
from search_spaces import cost
from search_spaces.arch import Arch, Block
from search_spaces.blocks import Bottleneck, Branches, PlainConv

RESULTS = tables.RESULTS / "shufflenet_guidelines.csv"
SIZE_PX, REPEATS = 56, 10


@dataclass(frozen=True, kw_only=True)
class Case:
    """One cell of a table: what is varied, the column, the network, and the paper's images a second on its CPU."""

    guideline: str
    row: str
    column: str
    arch: Arch
    paper: float


def _stack(blocks: tuple[Block, ...]) -> Arch:
    return Arch(name="", resolution_px=SIZE_PX, blocks=blocks * REPEATS)


def _conv(in_ch: int, out_ch: int, kernel: int = 1, groups: int = 1, act: str = "relu") -> PlainConv:
    return PlainConv(in_ch=in_ch, out_ch=out_ch, kernel=kernel, groups=groups, act=act)


def g1() -> list[Case]:
    rows = {
        "1:1": ((32, 32), (76.2, 21.7, 5.3)),
        "1:2": ((22, 44), (72.9, 20.5, 5.1)),
        "1:4, not in the paper": ((16, 64), (math.nan,) * 3),  # multiples of 16, which the other rows are not
        "1:6": ((13, 78), (69.1, 17.9, 4.6)),
        "1:12": ((9, 108), (57.6, 15.1, 4.4)),
    }
    return [
        Case(
            guideline="G1",
            row=f"c1:c2 = {ratio}",
            column=f"x{times}",
            arch=_stack((_conv(c1 * times, c2 * times), _conv(c2 * times, c1 * times))),
            paper=paper,
        )
        for ratio, ((c1, c2), papers) in rows.items()
        for times, paper in zip((1, 2, 4), papers, strict=True)
    ]


def g2() -> list[Case]:
    rows = {
        1: (64, (40.0, 10.2, 2.3)),
        2: (90, (35.0, 9.5, 2.2)),
        4: (128, (32.9, 8.7, 2.1)),
        8: (180, (27.8, 7.5, 1.8)),
    }
    cases = []
    for groups, (c, papers) in rows.items():
        for times, paper in zip((1, 2, 4), papers, strict=True):
            channels = -(-c * times // groups) * groups
            cases.append(
                Case(
                    guideline="G2",
                    row=f"g = {groups}",
                    column=f"x{times}",
                    arch=_stack((_conv(channels, channels, groups=groups),)),
                    paper=paper,
                )
            )
    return cases


def g3() -> list[Case]:
    papers = {
        "1 fragment": (40.2, 10.1, 2.3),
        "2 in series": (38.6, 10.1, 2.2),
        "4 in series": (38.4, 10.1, 2.3),
        "2 in parallel": (33.4, 9.1, 2.2),
        "4 in parallel": (35.0, 8.4, 2.1),
    }
    cases = []
    for row, paper in papers.items():
        k = int(row[0])
        for c, images in zip((64, 128, 256), paper, strict=True):
            if "parallel" in row:
                blocks: tuple[Block, ...] = (Branches(in_ch=c, branches=((_conv(c, c // k),),) * k),)
            else:
                width = round(c / k**0.5)
                blocks = (_conv(width, width),) * k
            cases.append(Case(guideline="G3", row=row, column=f"c = {c}", arch=_stack(blocks), paper=images))
    return cases


def g4() -> list[Case]:
    papers = {
        ("yes", "yes"): (56.7, 16.9, 5.0),
        ("yes", "no"): (61.9, 18.8, 5.2),
        ("no", "yes"): (57.3, 18.2, 5.1),
        ("no", "no"): (66.3, 20.2, 5.4),
    }
    cases = []
    for (relu, shortcut), paper in papers.items():
        act = "relu" if relu == "yes" else "none"
        for c, images in zip((32, 64, 128), paper, strict=True):
            mid = c // 4
            if shortcut == "yes":
                blocks: tuple[Block, ...] = (Bottleneck(in_ch=c, mid_ch=mid, out_ch=c, act=act),)
            else:
                blocks = (_conv(c, mid, act=act), _conv(mid, mid, 3, act=act), _conv(mid, c, act=act))
            row = f"ReLU {relu}, shortcut {shortcut}"
            cases.append(Case(guideline="G4", row=row, column=f"c = {c}", arch=_stack(blocks), paper=images))
    return cases


def main() -> None:
    setting = options.read({"bursts": 40})
    cases = [*g1(), *g2(), *g3(), *g4()]
    with bench(identity()) as machine:
        ms = [timing.ms for timing in machine.time_networks([case.arch for case in cases], bursts=setting["bursts"])]
    console = new_console(width=120)
    results = list(zip(cases, ms, strict=True))
    for guideline in ("G1", "G2", "G3", "G4"):
        its = [(case, value) for case, value in results if case.guideline == guideline]
        columns = list(dict.fromkeys(case.column for case, _ in its if case.row == its[0][0].row))
        rows = list(dict.fromkeys(case.row for case, _ in its))
        table = Table(
            title=f"{guideline}: images a second here (paper's CPU); MAdds of a network", title_justify="left"
        )
        for name in ("", *columns, "MAdds"):
            table.add_column(name, justify="right" if name else "left")
        relative: dict[str, list[float]] = {}
        first = [value for case, value in its if case.row == rows[0]]
        for row in rows:
            mine = [(case, value) for case, value in its if case.row == row]
            cells = [f"{1000 / value:.1f} ({case.paper:g})".replace(" (nan)", "") for case, value in mine]
            table.add_row(row, *cells, f"{cost.madds(mine[0][0].arch) / 1e6:.1f} M")
            relative[row] = [a / value for a, (_, value) in zip(first, mine, strict=True)]
        console.print(table)
        for row in rows[1:]:
            speeds = ", ".join(f"{value:.2f}" for value in relative[row])
            console.print(f"  {row}: {speeds} of the first row's speed")
        console.print(_verdict(guideline, [value for row in rows[1:] for value in relative[row]]))
    tables.write(_rows(results), RESULTS, origin=provenance.of(provenance.NOTHING_RANDOM))
    _picture(results)


def _rows(results: list[tuple[Case, float]]) -> list[dict[str, str]]:
    """A row for each cell; its speed against that of the guideline's first row, too, in percent."""
    first = {(case.guideline, case.column): (case, ms) for case, ms in reversed(results)}
    rows = []
    for case, ms in results:
        best, best_ms = first[case.guideline, case.column]
        rows.append(
            {
                "guideline": case.guideline,
                "row": case.row,
                "column": case.column,
                "madds": str(cost.madds(case.arch)),
                "ms": f"{ms:.4f}",
                "images_a_second": f"{1000 / ms:.2f}",
                "paper_images_a_second": str(case.paper),
                "of_the_first_row_%": f"{100 * best_ms / ms:.0f}",
                "paper_of_the_first_row_%": "" if math.isnan(case.paper) else f"{100 * case.paper / best.paper:.0f}",
            }
        )
    return rows


def _verdict(guideline: str, speeds: list[float]) -> str:
    """In how many cells the guideline holds: what it advises against is slower, or without it the network is faster."""
    holds = [abs(speed - 1) for speed in speeds if (speed > 1 if guideline == "G4" else speed < 1)]
    by = f", by {min(holds):.0%} to {max(holds):.0%}" if holds else ""
    return f"  {guideline} holds in {len(holds)} of {len(speeds)} cells{by}"


def _picture(results: list[tuple[Case, float]]) -> None:
    figure = Figure(figsize=(13, 6), layout="constrained")
    for axes, guideline in zip(figure.subplots(2, 2).flat, ("G1", "G2", "G3", "G4"), strict=True):
        its = [(case, ms) for case, ms in results if case.guideline == guideline]
        rows = list(dict.fromkeys(case.row for case, _ in its))
        for source, shift, color in (("here", 0.2, "#1f4e79"), ("paper's CPU", -0.2, "#9aa5b1")):
            speeds = [
                [1000 / ms if source == "here" else case.paper for case, ms in its if case.row == row] for row in rows
            ]
            for size in range(3):
                values = [speed[size] / speeds[0][size] for speed in speeds]
                places = [i + shift + 0.11 * (1 - size) for i in range(len(rows))]
                axes.barh(places, values, 0.1, color=color, alpha=1 - 0.25 * size, label=source if size == 0 else None)
        axes.axvline(1, color="#333333", lw=0.8)
        axes.set(yticks=range(len(rows)), yticklabels=rows, title=guideline)
        axes.set_xlabel("speed relative to the first row; small networks dark, large ones light")
        axes.invert_yaxis()
    figure.axes[0].legend(fontsize=8)
    pictures.save(figure, RESULTS.with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    options.run(main)

"""Where MobileNetV1's multiply-adds and parameters are: table 2. `python -m experiments.mobilenet_v1_layers`

Also the cost of a depthwise-separable convolution relative to a full one, 1/N + 1/D² (arXiv:1704.04861, section 3.1),
as counted for every such block, and table 4. Prints the paper's table with ours beside it, and writes
experiments/results/mobilenet_v1_layers.csv and .png.
"""

from dataclasses import replace
from math import prod

from matplotlib.figure import Figure
from rich.table import Table

from experiments import options, provenance, tables
from nas_runtime import pictures
from nas_runtime.console import new_console
from search_spaces import cost, zoo
from search_spaces.arch import Arch, ConvBN, SepConv
from search_spaces.lower import Node, lower, unit
from search_spaces.ops import Conv, Linear, Op

PAPER = {  # percent of multiply-adds, of parameters
    "Conv 1x1": (94.86, 74.59),
    "Conv DW 3x3": (3.06, 1.06),
    "Conv 3x3": (1.19, 0.02),
    "Fully connected": (0.18, 24.33),
}


def shares() -> dict[str, tuple[float, float]]:
    """Percent of the multiply-adds and of the weights (batch norm and biases left out, as in the paper) by kind."""
    madds, weights = dict.fromkeys(PAPER, 0), dict.fromkeys(PAPER, 0)
    for part in lower(zoo.get("mobilenet_v1")):
        for node in part.nodes:
            if kind := _kind(node):
                madds[kind] += cost.node_madds(node)
                weights[kind] += _weights(node.op)
    every_madd, every_weight = sum(madds.values()), sum(weights.values())
    return {kind: (100 * madds[kind] / every_madd, 100 * weights[kind] / every_weight) for kind in PAPER}


def separable_ratios() -> list[tuple[int, int, float, float]]:
    """(input size, output channels, counted ratio, 1/N + 1/D²) of every depthwise-separable block."""
    ratios = []
    for part in lower(zoo.get("mobilenet_v1")):
        block = part.block
        if isinstance(block, SepConv):
            full = ConvBN(in_ch=block.in_ch, out_ch=block.out_ch, kernel=block.kernel, stride=block.stride)
            _, height, width = part.in_shape
            ratio = cost.unit_madds(part) / cost.unit_madds(unit(full, height, width))
            ratios.append((height, block.out_ch, ratio, 1 / block.out_ch + 1 / block.kernel**2))
    return ratios


def _kind(node: Node) -> str | None:
    op = node.op
    if isinstance(op, Linear):
        return "Fully connected"
    if not isinstance(op, Conv):
        return None
    return "Conv DW 3x3" if op.depthwise else f"Conv {op.size[0]}x{op.size[1]}"


def _weights(op: Op) -> int:
    if isinstance(op, Conv):
        return prod(op.size) * op.in_ch // op.groups * op.out_ch
    return op.in_ch * op.out_ch if isinstance(op, Linear) else 0


def full() -> Arch:
    """MobileNetV1 with full convolutions instead of depthwise-separable ones ("Conv MobileNet", table 4)."""
    arch = zoo.get("mobilenet_v1")
    blocks = tuple(
        ConvBN(in_ch=b.in_ch, out_ch=b.out_ch, kernel=b.kernel, stride=b.stride) if isinstance(b, SepConv) else b
        for b in arch.blocks
    )
    return replace(arch, name="full convolutions", blocks=blocks)


def main() -> None:
    options.read({})
    ours = shares()
    table = Table(title="MobileNetV1, table 2: share by kind of layer, in percent", title_justify="left")
    for column in ("layer", "MAdds", "paper", "params", "paper"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for kind, (madds, params) in PAPER.items():
        table.add_row(kind, f"{ours[kind][0]:.2f}", f"{madds:.2f}", f"{ours[kind][1]:.2f}", f"{params:.2f}")
    console = new_console(width=110)
    console.print(table)
    console.print("Conv 3x3: the paper's 1.19 has its digits swapped; its own column adds up to 99.29 %.")
    separable = Table(title="A depthwise-separable convolution relative to a full one", title_justify="left")
    for column in ("input", "N", "counted", "1/N + 1/D²"):
        separable.add_column(column, justify="right")
    for px, out_ch, ratio, formula in separable_ratios():
        separable.add_row(f"{px} px", str(out_ch), f"{ratio:.4f}", f"{formula:.4f}")
    console.print(separable)
    for arch, paper in ((full(), "4866 M, 29.3 M"), (zoo.get("mobilenet_v1"), "569 M, 4.2 M")):
        counted = f"{cost.madds(arch) / 1e6:.0f} M multiply-adds, {cost.params(arch) / 1e6:.1f} M parameters"
        console.print(f"table 4, {arch.name}: {counted} (paper: {paper})")
    rows = [
        {
            "layer": kind,
            "madds_percent": f"{ours[kind][0]:.3f}",
            "paper_madds_percent": paper[0],
            "params_percent": f"{ours[kind][1]:.3f}",
            "paper_params_percent": paper[1],
        }
        for kind, paper in PAPER.items()
    ]
    path = tables.RESULTS / "mobilenet_v1_layers.csv"
    tables.write(rows, path, origin=provenance.of(provenance.NOTHING_RANDOM))
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for i, what in enumerate(("multiply-adds", "parameters")):
        for k, (name, values) in enumerate((("ours", ours), ("paper", PAPER))):
            places = [j + 0.2 - 0.4 * k for j in range(len(PAPER))]
            axes[i].barh(places, [values[kind][i] for kind in PAPER], 0.38, label=name, color=("#1f4e79", "#9aa5b1")[k])
        axes[i].set(xlabel=f"% of {what}", yticks=range(len(PAPER)), yticklabels=list(PAPER))
    axes[0].invert_yaxis()
    axes[0].legend()
    pictures.save(figure, path.with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    options.run(main)

"""The design-trend table of mobile networks, from the zoo itself. `python -m experiments.design_trend`

The last table of the supplement of "Rethinking Channel Dimensions for Efficient Model Design" (arXiv:2007.00992) lists
the inverted residual blocks of eleven networks as (expansion-output, stride, kernel), with * for squeeze-and-excite.
This prints the same from the zoo and writes experiments/results/design_trend.csv. `DIFFERENCES` says where the printed
table is not what the networks' own code has.
"""

from rich.table import Table

from experiments import options, provenance, tables
from nas_runtime.console import new_console
from search_spaces import zoo
from search_spaces.arch import Block, Classifier, ConvBN

RESULTS = tables.RESULTS / "design_trend.csv"

# the table's name, ours
NETWORKS = {
    "MobileNetV2": "mobilenet_v2",
    "MnasNet-A1": "mnasnet_a1",
    "MnasNet-B1": "mnasnet_b1",
    "FBNet-B": "fbnet_b",
    "FBNet-C": "fbnet_c",
    "Proxyless-R": "proxyless_r",
    "Single-Path NAS": "single_path_nas",
    "MobileNetV3-Large": "mobilenet_v3_large",
    "EfficientNet-B0": "efficientnet_b0",
    "MixNet-M": "mixnet_m",
    "ReXNet": "rexnet_1_0",
}
STAGES = 7
_REXNET = (1, 2, 2, 3, 3, 4, 1)  # blocks a stage; elsewhere a stage ends where the output channels change

# (network, stage, 0: the stem): what the printed table has wrong there
DIFFERENCES = {
    ("MobileNetV2", 4): "one block of 64 channels is missing",
    ("MnasNet-A1", 3): "squeeze-and-excite is not marked",
    ("MnasNet-A1", 4): "one block of 80 channels is missing",
    ("MnasNet-A1", 5): "squeeze-and-excite is not marked",
    ("MnasNet-A1", 6): "squeeze-and-excite is not marked",
    ("MnasNet-B1", 6): "one block of 192 channels is missing",
    ("FBNet-B", 6): "the second block is of 184 channels throughout",
    ("FBNet-C", 2): "the second block's kernel is 3, and there are two of it, in timm and the authors' code",
    ("FBNet-C", 6): "the second block is of 1104 and 184 channels",
    ("MobileNetV3-Large", 0): "the stem has 16 filters",
    ("MobileNetV3-Large", 1): "the first block reads 16 channels",
    ("EfficientNet-B0", 2): "all blocks have squeeze-and-excite",
    ("EfficientNet-B0", 3): "all blocks have squeeze-and-excite",
    ("EfficientNet-B0", 4): "all blocks have squeeze-and-excite",
    ("MixNet-M", 4): "later blocks expand to 480",
    ("MixNet-M", 7): "there is no fifth block of 200 channels",
    ("ReXNet", 7): "the last block has squeeze-and-excite",
}


def cells(name: str) -> list[str]:
    """The stem and the stages of a network of the zoo, as the table writes them; empty where there is no such stage."""
    stem, *blocks = zoo.get(name).blocks
    blocks = [block for block in blocks if not isinstance(block, Classifier)]
    head = blocks.pop()
    stages: list[list[Block]] = []
    for block in blocks:
        if name == "rexnet_1_0":
            place = sum(map(len, stages))
            new = place in (sum(_REXNET[:i]) for i in range(STAGES))
        else:
            new = not stages or stages[-1][-1].out_ch != block.out_ch
        if new:
            stages.append([])
        stages[-1].append(block)
    written = [" ".join(map(_written, stage)) for stage in stages]
    if len(written) < STAGES and isinstance(head, ConvBN) and name.startswith("mobilenet_v3"):
        written.append(f"Conv2D (×-{head.out_ch},{head.stride},{head.kernel})")
    return [f"({stem.out_ch})", *written, *[""] * (STAGES - len(written))]


def _written(block: Block) -> str:
    expansion = getattr(block, "mid_ch", block.in_ch)
    kernels = getattr(block, "kernels", None) or (getattr(block, "kernel", 1),)
    star = "*" if getattr(block, "se_ch", 0) else ""
    stride = getattr(block, "stride", 1)
    return f"({expansion}-{block.out_ch},{stride},{'/'.join(map(str, kernels))}){star}"


def main() -> None:
    options.read({})
    columns = ["model", "stem", *(f"stage {i}" for i in range(1, STAGES + 1))]
    table = Table(
        title="Inverted residual blocks: (expansion-output,stride,kernel), * squeeze-and-excite", show_lines=True
    )
    for column in columns:
        table.add_column(column)
    rows = [[title, *cells(name)] for title, name in NETWORKS.items()]
    for row in rows:
        table.add_row(*(cell.replace(") (", ")\n(").replace(")* (", ")*\n(") for cell in row))
    console = new_console(width=200)
    console.print(table)
    console.print("where the printed table differs from the networks' code:")
    for (title, stage), what in DIFFERENCES.items():
        console.print(f"  {title}, {f'stage {stage}' if stage else 'stem'}: {what}")
    named = [dict(zip(columns, row, strict=True)) for row in rows]
    tables.write(named, RESULTS, origin=provenance.of(provenance.NOTHING_RANDOM))


if __name__ == "__main__":
    options.run(main)

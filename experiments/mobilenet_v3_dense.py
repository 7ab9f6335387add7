"""Detection and segmentation with MobileNetV3: tables 6 and 7. `python -m experiments.mobilenet_v3_dense`

Parameters and multiply-adds of SSDLite at 320 px (COCO) and of the segmentation heads at 1024 x 2048 (Cityscapes), as
counted, beside those of arXiv:1905.02244; writes experiments/results/mobilenet_v3_dense.csv.

- Table 6 leaves batch norm's parameters out, as the columns here show; V1 and V2 are the figures of MobileNetV2's
  paper, with 81 classes instead of 91.
- Table 7's multiply-adds are 2 to 9 % above the counted ones; what else it counts is not known.
"""

from rich.table import Table

from experiments import options, provenance, tables
from nas_runtime.console import new_console
from search_spaces import cost, dense, zoo
from search_spaces.arch import Arch
from search_spaces.lower import chain, lower
from search_spaces.ops import Conv

RESULTS = tables.RESULTS / "mobilenet_v3_dense.csv"
COLUMNS: tuple[str, ...] = ("table", "network", "params_m", "paper_params_m", "madds_b", "paper_madds_b")
# backbone, width, channels halved, classes; params (M), MAdds (B)
TABLE_6 = (
    ("mobilenet_v1", 1.0, False, 81, 5.1, 1.3),
    ("mobilenet_v2", 1.0, False, 81, 4.3, 0.80),
    ("mnasnet_a1", 1.0, False, 91, 4.88, 0.84),
    ("mobilenet_v3_large", 1.0, False, 91, 4.97, 0.62),
    ("mobilenet_v3_large", 1.0, True, 91, 3.22, 0.51),
    ("mobilenet_v2", 0.35, False, 91, 0.93, 0.16),
    ("mobilenet_v2", 0.5, False, 91, 1.54, 0.27),
    ("mnasnet_a1", 0.35, False, 91, 1.02, 0.18),
    ("mnasnet_a1", 0.5, False, 91, 1.68, 0.29),
    ("mobilenet_v3_small", 1.0, False, 91, 2.49, 0.21),
    ("mobilenet_v3_small", 1.0, True, 91, 1.77, 0.16),
)
# backbone, width, channels halved (RF2), head, filters; params (M), MAdds (B)
TABLE_7 = (
    ("mobilenet_v2", 1.0, False, "r_aspp", 256, 2.11, 21.29),
    ("mobilenet_v2", 1.0, True, "r_aspp", 256, 1.15, 13.68),
    ("mobilenet_v2", 1.0, True, "lr_aspp", 256, 1.02, 12.83),
    ("mobilenet_v2", 1.0, True, "lr_aspp", 128, 0.98, 12.57),
    ("mobilenet_v3_large", 1.0, False, "r_aspp", 256, 3.60, 18.43),
    ("mobilenet_v3_large", 1.0, True, "r_aspp", 256, 1.76, 11.24),
    ("mobilenet_v3_large", 1.0, True, "lr_aspp", 256, 1.63, 10.33),
    ("mobilenet_v3_large", 1.0, True, "lr_aspp", 128, 1.51, 9.74),
    ("mobilenet_v2", 0.5, True, "lr_aspp", 128, 0.28, 4.00),
    ("mobilenet_v2", 0.35, True, "lr_aspp", 128, 0.16, 2.54),
    ("mobilenet_v3_small", 1.0, True, "lr_aspp", 128, 0.47, 2.90),
)


def detectors() -> list[tuple[Arch, float, float, float]]:
    """Of each row of table 6: the network, parameters without batch norm (M), parameters (M), multiply-adds (B)."""
    networks = []
    for name, width, halved, classes, *_ in TABLE_6:
        arch = dense.ssdlite(zoo.get(name, width=width), width=width, halve_last=halved, classes=classes)
        norms = sum(
            2 * node.op.out_ch
            for part in lower(arch)
            for node in part.nodes
            if isinstance(node.op, Conv) and node.op.norm
        )
        params = cost.params(arch)
        networks.append((arch, (params - norms) / 1e6, params / 1e6, cost.madds(arch) / 1e9))
    return networks


def segmenters(size: tuple[int, int] = (1024, 2048)) -> list[tuple[Arch, float, float]]:
    """Of each row of table 7: the network, parameters (M), multiply-adds (B) at `size`."""
    networks = []
    for name, width, halved, head, filters, *_ in TABLE_7:
        arch = dense.segmentation(zoo.get(name, width=width), head=head, filters=filters, halve_last=halved)
        parts = chain(arch.blocks, size)
        networks.append((arch, cost.params(arch) / 1e6, sum(map(cost.unit_madds, parts)) / 1e9))
    return networks


def main() -> None:
    options.read({})
    console = new_console(width=120)
    rows: list[list[str]] = []
    table = Table(title="Table 6: SSDLite at 320 px", title_justify="left")
    for column in ("backbone", "params (M)", "without batch norm", "paper", "MAdds (B)", "paper"):
        table.add_column(column, justify="left" if column == "backbone" else "right")
    for (name, width, halved, _, params, madds), (_, bare, full, counted) in zip(TABLE_6, detectors(), strict=True):
        title = f"{name} {width:g}{' halved' * halved}"
        table.add_row(title, f"{full:.3f}", f"{bare:.3f}", f"{params:g}", f"{counted:.3f}", f"{madds:g}")
        rows.append(["6", title, f"{bare:.3f}", f"{params:g}", f"{counted:.3f}", f"{madds:g}"])
    console.print(table)
    table = Table(title="Table 7: segmentation at 1024 x 2048", title_justify="left")
    for column in ("network", "params (M)", "paper", "MAdds (B)", "paper", "paper is more by"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for (name, width, halved, head, filters, params, madds), (_, full, counted) in zip(
        TABLE_7, segmenters(), strict=True
    ):
        title = f"{name} {width:g} {head} {filters}{' halved' * halved}"
        more = f"{madds / counted - 1:+.1%}"
        table.add_row(title, f"{full:.3f}", f"{params:g}", f"{counted:.2f}", f"{madds:g}", more)
        rows.append(["7", title, f"{full:.3f}", f"{params:g}", f"{counted:.2f}", f"{madds:g}"])
    console.print(table)
    named = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    tables.write(named, RESULTS, origin=provenance.of(provenance.NOTHING_RANDOM))


if __name__ == "__main__":
    options.run(main)

"""MobileNetV3's tables 3, 4 and 5 and figure 5, timed here. `python -m experiments.mobilenet_v3_tables`

Each of the paper's tables (arXiv:1905.02244) with our columns beside it: multiply-adds and parameters as counted,
milliseconds by the shipped models of Pixel 1, 2 and 3, and milliseconds of whole networks on one core of this machine
(ONNX Runtime, batch 1), in which all networks take turns.

- Table 3: networks in float32.
- Table 4: the same in int8 (static, per channel); here against float32 on this machine.
- Table 5: where h-swish begins, as ONNX's operator (ONNX Runtime runs it as a hard sigmoid and a product) and written
  out as x * relu6(x + 3) / 6. The stem has h-swish in all but ReLU, as in MobileNetV3-Large, which is h-swish @80.
- Figure 5: what the efficient last stage saves on MnasNet-A1 (paper: 7 ms, 11 %, 30 M multiply-adds; Pixel 1).
- The networks of figure 7 (multipliers at 224 px, and resolutions at multiplier 1): their latencies. The figure's other
  axis, ImageNet accuracy, is not measured.

    python -m experiments.mobilenet_v3_tables [bursts=40]

Writes experiments/results/mobilenet_v3_tables.csv and .png, and mobilenet_v3_tables_curves.png.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import latency_luts
from experiments import options, provenance, tables
from latency_luts import LatencyModel
from latency_luts.measure import identity, onnx_bench
from nas_runtime import pictures
from nas_runtime.console import new_console
from search_spaces import cost, redesign, zoo
from search_spaces.arch import Arch, Classifier, Mobile

RESULTS = tables.RESULTS / "mobilenet_v3_tables.csv"
PHONES = ("pixel1", "pixel2", "pixel3")
# title: network, width; MAdds (M), params (M), ms on Pixel 1, 2, 3
TABLE_3 = {
    "V3-Large 1.0": ("mobilenet_v3_large", 1.0, 219, 5.4, 51, 61, 44),
    "V3-Large 0.75": ("mobilenet_v3_large", 0.75, 155, 4.0, 39, 46, 40),
    "MnasNet-A1": ("mnasnet_a1", 1.0, 315, 3.9, 71, 86, 61),
    "Proxyless": ("proxyless_r", 1.0, 320, 4.0, 72, 84, 60),
    "V2 1.0": ("mobilenet_v2", 1.0, 300, 3.4, 64, 76, 56),
    "V3-Small 1.0": ("mobilenet_v3_small", 1.0, 56, 2.5, 15.8, 19.4, 14.4),
    "V3-Small 0.75": ("mobilenet_v3_small", 0.75, 44, 2.0, 12.8, 15.6, 11.7),
    "Mnas-small": ("mnasnet_small", 1.0, 65.1, 1.9, 20.3, 24.2, 17.2),
    "V2 0.35": ("mobilenet_v2", 0.35, 59.2, 1.6, 16.6, 19.6, 13.9),
}
TABLE_4 = {  # ms on Pixel 1 in int8; in float32 (table 3)
    "V3-Large 1.0": (44, 51),
    "V2 1.0": (52, 64),
    "V3-Small 1.0": (15.5, 15.8),
    "V2 0.35": (16.7, 16.6),
}
TABLE_5 = {  # ms on Pixel 1, with an optimised h-swish and without
    "ReLU": (50.5, 50.5),
    "h-swish @16": (53.5, 68.9),
    "h-swish @80 (V3-Large)": (51.4, 57.5),
    "h-swish @112": (51.0, 54.4),
}
V3_LARGE = "h-swish @80 (V3-Large)"
WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.25)
RESOLUTIONS_PX = (96, 128, 160, 192, 224, 256)


def hard_swish_from(channels: int | None) -> Arch:
    """MobileNetV3-Large with h-swish in the stem and in the blocks of at least so many channels; None: ReLU only."""
    arch = zoo.get("mobilenet_v3_large")
    blocks = []
    for i, block in enumerate(arch.blocks):
        late = channels is not None and (i == 0 or isinstance(block, Classifier) or block.out_ch >= channels)
        assert isinstance(block, Mobile | Classifier)
        blocks.append(replace(block, act="hard_swish" if late else "relu"))
    return replace(arch, name=f"from {channels}", blocks=tuple(blocks))


Key = tuple[str, float, int]  # of a network of figure 7: name, width, resolution


@dataclass(frozen=True, kw_only=True)
class Networks:
    """What is counted and timed.

    Attributes:
        table_3, table_5: by their title in the paper.
        figure_5: MnasNet-A1 and what the efficient last stage makes of it.
        figure_7: multipliers and resolutions.
    """

    table_3: Mapping[str, Arch]
    table_5: Mapping[str, Arch]
    figure_5: Mapping[str, Arch]
    figure_7: Mapping[Key, Arch]


@dataclass(frozen=True, kw_only=True)
class Here:
    """Milliseconds on this machine.

    Attributes:
        ms: in float32, of all networks by their title or key.
        int8: those of table 4 in int8.
        written_out: those of table 5 with h-swish written out, at the speed of the machine when it ran the others.
    """

    ms: Mapping[str | Key, float]
    int8: Mapping[str, float]
    written_out: Mapping[str, float]


def main() -> None:
    setting = options.read({"bursts": 40})
    networks = _networks()
    here = _here(networks, setting["bursts"])
    phones = {name: latency_luts.load(name) for name in PHONES}
    shown = Shown(new_console(width=150))
    shown.table("Table 3: float32 (the paper's figures in brackets)", _table_3(networks, here, phones))
    for phone in phones.values():
        shown.console.print(f"{phone.describe()}; these very rows are among them", soft_wrap=True)
    shown.table("Table 4: int8", _table_4(here))
    shown.console.print(
        "h-swish has no int8 kernel in ONNX Runtime: MobileNetV3 goes back to float32 for each, MobileNetV2 never does"
    )
    shown.table("Table 5: non-linearities of V3-Large, relative to h-swish @80 as ONNX's operator", _table_5(here))
    shown.table("Figure 5: the efficient last stage", _figure_5(networks, here, phones))
    shown.console.print(_saved(networks), soft_wrap=True)
    title = "Networks of figure 7: multipliers and resolutions, latencies only"
    shown.table(title, _figure_7(networks, here, phones["pixel1"]))
    tables.write(shown.rows, RESULTS, origin=provenance.of(provenance.NOTHING_RANDOM))
    _curves(networks, here)
    _bars(networks, here)


def _networks() -> Networks:
    a1 = zoo.get("mnasnet_a1")
    return Networks(
        table_3={title: zoo.get(name, width=width) for title, (name, width, *_) in TABLE_3.items()},
        table_5=dict(zip(TABLE_5, (hard_swish_from(n) for n in (None, 16, 80, 112)), strict=True)),
        figure_5={"MnasNet-A1": a1, "with the efficient last stage": redesign.efficient_last_stage(a1)},
        figure_7={
            (name, width, px): zoo.get(name, width=width, resolution_px=px)
            for name in ("mobilenet_v3_large", "mobilenet_v3_small")
            for width, px in [(w, 224) for w in WIDTHS] + [(1.0, px) for px in RESOLUTIONS_PX]
        },
    )


def _here(networks: Networks, bursts: int) -> Here:
    swishes = networks.table_5
    every = [*networks.table_3.values(), *swishes.values(), *networks.figure_5.values(), *networks.figure_7.values()]
    names = [*networks.table_3, *swishes, *(f"stage {title}" for title in networks.figure_5), *networks.figure_7]
    fp32, reference_ms = _timed(every, bursts)
    plain, plain_reference_ms = _timed(list(swishes.values()), bursts, plain_hard_swish=True)
    int8, _ = _timed([networks.table_3[title] for title in TABLE_4], bursts, dtype="int8")
    return Here(
        ms=dict(zip(names, fp32, strict=True)),
        int8=dict(zip(TABLE_4, int8, strict=True)),
        written_out={t: ms * reference_ms / plain_reference_ms for t, ms in zip(swishes, plain, strict=True)},
    )


class Shown:
    """Prints tables and collects their figures as rows."""

    def __init__(self, console: Console) -> None:
        self.console, self.rows = console, list[dict[str, str]]()

    def table(self, title: str, lines: Sequence[Sequence[str]]) -> None:
        """The first of `lines` has the names of the columns; the first column names the network."""
        columns, *figures = lines
        table = Table(title=title, title_justify="left")
        for i, column in enumerate(columns):
            table.add_column(column, justify="right" if i else "left")
        for line in figures:
            table.add_row(*line)
            about = {"table": title.partition(":")[0], "network": line[0]}
            named = zip(columns[1:], line[1:], strict=True)
            self.rows.extend({**about, "figure": column, "value": value} for column, value in named)
        self.console.print(table)


def _table_3(networks: Networks, here: Here, phones: Mapping[str, LatencyModel]) -> Sequence[Sequence[str]]:
    lines: list[Sequence[str]] = [("network", "MAdds (M)", "params (M)", "P-1 ms", "P-2 ms", "P-3 ms", "here ms")]
    for title, arch in networks.table_3.items():
        _, _, madds_m, params_m, *published_ms = TABLE_3[title]
        on_phones = (
            f"{phone.latency_ms(arch):.1f} ({ms:g})" for phone, ms in zip(phones.values(), published_ms, strict=True)
        )
        counts = (f"{cost.madds(arch) / 1e6:.1f} ({madds_m:g})", f"{cost.params(arch) / 1e6:.2f} ({params_m:g})")
        lines.append((title, *counts, *on_phones, f"{here.ms[title]:.2f}"))
    return lines


def _table_4(here: Here) -> Sequence[Sequence[str]]:
    head = ("network", "P-1 int8 / float32 (paper)", "here int8 ms", "here float32 ms", "here int8 / float32")
    return [head] + [
        (
            title,
            f"{paper[0] / paper[1]:.2f}",
            f"{here.int8[title]:.2f}",
            f"{here.ms[title]:.2f}",
            f"{here.int8[title] / here.ms[title]:.2f}",
        )
        for title, paper in TABLE_4.items()
    ]


def _table_5(here: Here) -> Sequence[Sequence[str]]:
    base, base_ms = TABLE_5[V3_LARGE][0], here.ms[V3_LARGE]
    return [("network", "paper", "paper, not optimised", "here ms", "here", "here, written out")] + [
        (
            title,
            f"{paper[0] / base - 1:+.1%}",
            f"{paper[1] / base - 1:+.1%}",
            f"{here.ms[title]:.2f}",
            f"{here.ms[title] / base_ms - 1:+.1%}",
            f"{here.written_out[title] / base_ms - 1:+.1%}",
        )
        for title, paper in TABLE_5.items()
    ]


def _figure_5(networks: Networks, here: Here, phones: Mapping[str, LatencyModel]) -> Sequence[Sequence[str]]:
    both = networks.figure_5.values()
    ms = {name: [phone.latency_ms(arch) for arch in both] for name, phone in phones.items()}
    lines: list[Sequence[str]] = [("device", "before ms", "after ms", "saved ms", "saved")]
    lines += [(name, f"{a:.1f}", f"{b:.1f}", f"{a - b:.1f}", f"{1 - b / a:.1%}") for name, (a, b) in ms.items()]
    a, b = (here.ms[f"stage {title}"] for title in networks.figure_5)
    return [*lines, ("here", f"{a:.2f}", f"{b:.2f}", f"{a - b:.2f}", f"{1 - b / a:.1%}")]


def _saved(networks: Networks) -> str:
    before, after = networks.figure_5.values()
    saved = (cost.madds(before) - cost.madds(after)) / 1e6
    more = (cost.params(after) - cost.params(before)) / 1e6
    return (
        f"multiply-adds saved: {saved:.1f} M (paper: 30 M; 7 ms, 11 %, on a Pixel 1). Less is saved here, probably "
        f"because there are {more:.1f} M parameters more to read"
    )


def _figure_7(networks: Networks, here: Here, phone: LatencyModel) -> Sequence[Sequence[str]]:
    lines: list[Sequence[str]] = [("network", "MAdds (M)", "P-1 ms", "here ms")]
    for (name, width, px), arch in networks.figure_7.items():
        on_phone, ours = f"{phone.latency_ms(arch):.1f}", f"{here.ms[name, width, px]:.2f}"
        lines.append((f"{name} {width:g} @{px}", f"{cost.madds(arch) / 1e6:.1f}", on_phone, ours))
    return lines


def _timed(
    archs: Sequence[Arch], bursts: int, *, dtype: str = "fp32", plain_hard_swish: bool = False
) -> tuple[list[float], float]:
    """Milliseconds of each, and of the references that took turns with them."""
    with onnx_bench(identity(dtype=dtype), plain_hard_swish=plain_hard_swish) as machine:
        timings = machine.time_networks(archs, bursts=bursts)
    return [timing.ms for timing in timings], timings[0].reference_ms


def _curves(networks: Networks, here: Here) -> None:
    curves, phone = networks.figure_7, latency_luts.load("pixel1")
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    for axes, device in zip(figure.subplots(1, 2), ("this machine, measured", "Pixel 1, calibrated"), strict=True):
        for name, color in (("mobilenet_v3_large", "#1f4e79"), ("mobilenet_v3_small", "#c8352b")):
            for what, keys, style in (
                ("multipliers 0.35 to 1.25 at 224 px", [(name, w, 224) for w in WIDTHS], "o-"),
                ("96 to 256 px at multiplier 1", [(name, 1.0, px) for px in RESOLUTIONS_PX], "s--"),
            ):
                x = [cost.madds(curves[key]) / 1e6 for key in keys]
                y = [here.ms[key] if device.startswith("this") else phone.latency_ms(curves[key]) for key in keys]
                axes.plot(x, y, style, color=color, ms=4, lw=1.2, label=f"{name}, {what}")
        axes.set(xlabel="multiply-adds (millions)", ylabel="ms", title=device)
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=7)
    pictures.save(figure, RESULTS.with_name("mobilenet_v3_tables_curves.png"), dpi=120)


def _bars(networks: Networks, here: Here) -> None:
    """Tables 3 to 5 as bars: the paper's figures beside ours."""
    phone = latency_luts.load("pixel1")
    scale = TABLE_3["V3-Large 1.0"][4] / here.ms["V3-Large 1.0"]
    base, base_ms, percent = TABLE_5[V3_LARGE][0], here.ms[V3_LARGE], 100
    panels = {
        "Table 3: ms on a Pixel 1": {
            "paper": {title: TABLE_3[title][4] for title in TABLE_3},
            "pixel1 table": {title: phone.latency_ms(arch) for title, arch in networks.table_3.items()},
            f"here, times {scale:.1f}": {title: scale * here.ms[title] for title in TABLE_3},
        },
        "Table 4: int8 / float32": {
            "paper, Pixel 1": {title: q / full for title, (q, full) in TABLE_4.items()},
            "here": {title: here.int8[title] / here.ms[title] for title in TABLE_4},
        },
        "Table 5: more than h-swish @80, %": {
            "paper": {title: percent * (a / base - 1) for title, (a, _) in TABLE_5.items()},
            "here": {title: percent * (here.ms[title] / base_ms - 1) for title in TABLE_5},
            "paper, not optimised": {title: percent * (b / base - 1) for title, (_, b) in TABLE_5.items()},
            "here, written out": {title: percent * (here.written_out[title] / base_ms - 1) for title in TABLE_5},
        },
    }
    figure = Figure(figsize=(14, 4.8), layout="constrained")
    for axes, (title, series) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        height = 0.8 / len(series)
        for i, (name, values) in enumerate(series.items()):
            color = ("#9aa5b1", "#7aa6c2", "#1f4e79", "#c8352b")[i if len(series) > 2 else 2 * i]
            axes.barh(
                [y + i * height for y in range(len(values))], list(values.values()), height, label=name, color=color
            )
        names = list(next(iter(series.values())))
        axes.set_yticks([y + 0.4 - height / 2 for y in range(len(names))], names, fontsize=8)
        axes.invert_yaxis()
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3, axis="x")
        axes.legend(fontsize=7)
    pictures.save(figure, RESULTS.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    options.run(main)

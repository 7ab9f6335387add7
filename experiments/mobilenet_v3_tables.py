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

from collections.abc import Sequence
from dataclasses import replace

from matplotlib.figure import Figure
from rich.table import Table

import latency_luts
from experiments import options, provenance, tables
from latency_luts.measure import bench, identity
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


def main() -> None:
    setting = options.read({"bursts": 40})
    networks = {title: zoo.get(name, width=width) for title, (name, width, *_) in TABLE_3.items()}
    swishes = dict(zip(TABLE_5, (hard_swish_from(n) for n in (None, 16, 80, 112)), strict=True))
    a1 = zoo.get("mnasnet_a1")
    stages = {"MnasNet-A1": a1, "with the efficient last stage": redesign.efficient_last_stage(a1)}
    curves = {
        (name, width, px): zoo.get(name, width=width, resolution_px=px)
        for name in ("mobilenet_v3_large", "mobilenet_v3_small")
        for width, px in [(w, 224) for w in WIDTHS] + [(1.0, px) for px in RESOLUTIONS_PX]
    }
    every = [*networks.values(), *swishes.values(), *stages.values(), *curves.values()]
    fp32, reference_ms = _timed(every, setting["bursts"])
    plain, plain_reference_ms = _timed(list(swishes.values()), setting["bursts"], plain_hard_swish=True)
    int8, _ = _timed([networks[t] for t in TABLE_4], setting["bursts"], dtype="int8")
    here = dict(zip([*networks, *swishes, *(f"stage {t}" for t in stages), *curves], fp32, strict=True))
    written_out = {t: ms * reference_ms / plain_reference_ms for t, ms in zip(swishes, plain, strict=True)}
    quantized = dict(zip(TABLE_4, int8, strict=True))

    phones = {name: latency_luts.load(name) for name in PHONES}
    rows: list[dict[str, str]] = []
    console = new_console(width=150)

    def show(title: str, columns: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
        table = Table(title=title, title_justify="left")
        for i, column in enumerate(columns):
            table.add_column(column, justify="right" if i else "left")
        for line in lines:
            table.add_row(*line)
            about = {"table": title.partition(":")[0], "network": line[0]}
            figures = zip(columns[1:], line[1:], strict=True)
            rows.extend({**about, "figure": column, "value": value} for column, value in figures)
        console.print(table)

    show(
        "Table 3: float32 (the paper's figures in brackets)",
        ("network", "MAdds (M)", "params (M)", "P-1 ms", "P-2 ms", "P-3 ms", "here ms"),
        [
            (
                title,
                f"{cost.madds(arch) / 1e6:.1f} ({TABLE_3[title][2]:g})",
                f"{cost.params(arch) / 1e6:.2f} ({TABLE_3[title][3]:g})",
                *(
                    f"{phones[phone].latency_ms(arch):.1f} ({published:g})"
                    for phone, published in zip(PHONES, TABLE_3[title][4:], strict=True)
                ),
                f"{here[title]:.2f}",
            )
            for title, arch in networks.items()
        ],
    )
    for phone in phones.values():
        console.print(f"{phone.describe()}; these very rows are among them", soft_wrap=True)
    show(
        "Table 4: int8",
        ("network", "P-1 int8 / float32 (paper)", "here int8 ms", "here float32 ms", "here int8 / float32"),
        [
            (
                title,
                f"{paper[0] / paper[1]:.2f}",
                f"{quantized[title]:.2f}",
                f"{here[title]:.2f}",
                f"{quantized[title] / here[title]:.2f}",
            )
            for title, paper in TABLE_4.items()
        ],
    )
    console.print(
        "h-swish has no int8 kernel in ONNX Runtime: MobileNetV3 goes back to float32 for each, MobileNetV2 never does"
    )
    base = here["h-swish @80 (V3-Large)"]
    show(
        "Table 5: non-linearities of V3-Large, relative to h-swish @80 as ONNX's operator",
        ("network", "paper", "paper, not optimised", "here ms", "here", "here, written out"),
        [
            (
                title,
                f"{paper[0] / TABLE_5['h-swish @80 (V3-Large)'][0] - 1:+.1%}",
                f"{paper[1] / TABLE_5['h-swish @80 (V3-Large)'][0] - 1:+.1%}",
                f"{here[title]:.2f}",
                f"{here[title] / base - 1:+.1%}",
                f"{written_out[title] / base - 1:+.1%}",
            )
            for title, paper in TABLE_5.items()
        ],
    )
    before, after = stages.values()
    saved = (cost.madds(before) - cost.madds(after)) / 1e6
    show(
        "Figure 5: the efficient last stage",
        ("device", "before ms", "after ms", "saved ms", "saved"),
        [
            *(
                (
                    phone,
                    f"{(a := model.latency_ms(before)):.1f}",
                    f"{(b := model.latency_ms(after)):.1f}",
                    f"{a - b:.1f}",
                    f"{1 - b / a:.1%}",
                )
                for phone, model in phones.items()
            ),
            (
                "here",
                f"{(a := here['stage MnasNet-A1']):.2f}",
                f"{(b := here['stage with the efficient last stage']):.2f}",
                f"{a - b:.2f}",
                f"{1 - b / a:.1%}",
            ),
        ],
    )
    console.print(
        f"multiply-adds saved: {saved:.1f} M (paper: 30 M; 7 ms, 11 %, on a Pixel 1). Less is saved here, probably "
        f"because there are {(cost.params(after) - cost.params(before)) / 1e6:.1f} M parameters more to read",
        soft_wrap=True,
    )
    show(
        "Networks of figure 7: multipliers and resolutions, latencies only",
        ("network", "MAdds (M)", "P-1 ms", "here ms"),
        [
            (
                f"{name} {width:g} @{px}",
                f"{cost.madds(arch) / 1e6:.1f}",
                f"{phones['pixel1'].latency_ms(arch):.1f}",
                f"{here[name, width, px]:.2f}",
            )
            for (name, width, px), arch in curves.items()
        ],
    )
    tables.write(rows, RESULTS, origin=provenance.of(provenance.NOTHING_RANDOM))
    _picture(curves, here)
    relative = {t: (here[t] / base - 1, written_out[t] / base - 1) for t in TABLE_5}
    _bars(networks, here, {t: quantized[t] / here[t] for t in TABLE_4}, relative)


def _timed(
    archs: Sequence[Arch], bursts: int, *, dtype: str = "fp32", plain_hard_swish: bool = False
) -> tuple[list[float], float]:
    """Milliseconds of each, and of the references that took turns with them."""
    with bench(identity(dtype=dtype), plain_hard_swish=plain_hard_swish) as machine:
        timings = machine.time_networks(archs, bursts=bursts)
    return [timing.ms for timing in timings], timings[0].reference_ms


def _picture(curves: dict[tuple[str, float, int], Arch], here: dict) -> None:
    phone = latency_luts.load("pixel1")
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    for axes, device in zip(figure.subplots(1, 2), ("this machine, measured", "Pixel 1, calibrated"), strict=True):
        for name, color in (("mobilenet_v3_large", "#1f4e79"), ("mobilenet_v3_small", "#c8352b")):
            for what, keys, style in (
                ("multipliers 0.35 to 1.25 at 224 px", [(name, w, 224) for w in WIDTHS], "o-"),
                ("96 to 256 px at multiplier 1", [(name, 1.0, px) for px in RESOLUTIONS_PX], "s--"),
            ):
                x = [cost.madds(curves[key]) / 1e6 for key in keys]
                y = [here[key] if device.startswith("this") else phone.latency_ms(curves[key]) for key in keys]
                axes.plot(x, y, style, color=color, ms=4, lw=1.2, label=f"{name}, {what}")
        axes.set(xlabel="multiply-adds (millions)", ylabel="ms", title=device)
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=7)
    pictures.save(figure, RESULTS.with_name("mobilenet_v3_tables_curves.png"), dpi=120)


def _bars(
    networks: dict[str, Arch], here: dict, int8: dict[str, float], swishes: dict[str, tuple[float, float]]
) -> None:
    """Tables 3 to 5 as bars: the paper's figures beside ours."""
    phone = latency_luts.load("pixel1")
    scale = TABLE_3["V3-Large 1.0"][4] / here["V3-Large 1.0"]
    optimised, percent = TABLE_5["h-swish @80 (V3-Large)"][0], 100
    panels = {
        "Table 3: ms on a Pixel 1": {
            "paper": {title: TABLE_3[title][4] for title in networks},
            "pixel1 table": {title: phone.latency_ms(arch) for title, arch in networks.items()},
            f"here, times {scale:.1f}": {title: scale * here[title] for title in networks},
        },
        "Table 4: int8 / float32": {
            "paper, Pixel 1": {title: q / full for title, (q, full) in TABLE_4.items()},
            "here": int8,
        },
        "Table 5: more than h-swish @80, %": {
            "paper": {title: percent * (a / optimised - 1) for title, (a, _) in TABLE_5.items()},
            "here": {title: percent * a for title, (a, _) in swishes.items()},
            "paper, not optimised": {title: percent * (b / optimised - 1) for title, (_, b) in TABLE_5.items()},
            "here, written out": {title: percent * b for title, (_, b) in swishes.items()},
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

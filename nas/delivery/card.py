"""``model_card.md``, and the same figures in words for a terminal."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from latency_luts.table import ONNXRUNTIME
from nas.delivery.description import label_lines
from nas.delivery.finished import Finished
from nas.delivery.integers import INT8, WORST
from nas_runtime.console import brief, counted
from search_spaces import cost, timm_export

__all__ = ["card", "in_sentences"]

_MOST = f"{100 * WORST:.0f}"  # points that integers may cost
_SLOWER = 1.05  # than in float; less is noise
_COMMANDS = ("command", "begun by")
_CLASSES = 20  # that are named


def in_sentences(figures: Mapping[str, Any]) -> list[str]:
    """The figures of `nas.delivery.figures.measure`, a sentence or two each."""
    return [*filter(None, [_accuracy(figures), _int8(figures.get("int8")), *_latency(figures["latency"])])]


def _accuracy(figures: Mapping[str, Any]) -> str:
    top1, holdout, others = figures["test_top1"], figures["holdout_top1"], figures["test_top1s"]
    n = figures["test_pictures"]
    if not n:
        on_holdout = (
            "" if holdout is None else f"; top-1 {holdout:.1%} on the holdout, by which the training was chosen"
        )
        return f"there are no test pictures{on_holdout}"
    if top1 is None:
        return ""
    sampling = np.sqrt(max(top1 * (1 - top1), 1 / n) / n)
    words = f"top-1 {top1:.1%} on {counted(n, 'test picture')} (standard error {100 * sampling:.1f} points)"
    if holdout is not None:
        words += f", {holdout:.1%} on the holdout"
    if len(others) > 1:
        spread = np.std(others, ddof=1)
        return f"{words}; {len(others)} trainings with other seeds: {np.mean(others):.1%} ± {100 * spread:.1f}"
    return f"{words}; one training, so that its spread over seeds is not known"


def _int8(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    lost = 100 * (found["float_holdout_top1"] - found["holdout_top1"])
    if not found["delivered"]:
        return (
            f"{INT8} is not delivered: its integers cost {lost:.1f} points of top-1 on the holdout, more than {_MOST}"
        )
    blocks = found["blocks_in_float"]
    in_float = f"blocks {', '.join(map(str, blocks))} stay in float" if blocks else "no block stays in float"
    tested = "there are no test pictures"
    if n := found["test_pictures"]:
        tested = f"top-1 {found['test_top1']:.1%} on {counted(n, 'test picture')}, where best.onnx has "
        tested += f"{found['float_test_top1']:.1%}"
    return (
        f"{INT8}: {tested}; on the holdout it costs {lost:.1f} points (it is delivered up to {_MOST}); ranges by "
        f"{found['ranges']}; {in_float}{_learnt(found)}"
    )


def _learnt(found: Mapping[str, Any]) -> str:
    """What it took beside ranges."""
    if "fine_tuned_epochs" not in found:
        return ""
    before = 100 * (found["float_holdout_top1"] - found["static_holdout_top1"])
    return (
        f"; its weights are not those of best.onnx: they learnt {counted(found['fine_tuned_epochs'], 'epoch')} more, "
        f"rounded as integers are (before that it cost {before:.1f} points, with "
        f"{counted(found['static_blocks_in_float'], 'block')} in float)"
    )


def _latency(found: Mapping[str, Any]) -> list[str]:
    promise, here, lines = found["promised"], found["here"], []
    if promise:
        of = "best.onnx, without reading pixels" if promise["dtype"] == "fp32" else f"the network in {promise['dtype']}"
        if promise["ms"] is None:
            lines.append(f"no latency is promised for best.onnx: the table of {promise['device']} lacks parts of it")
        else:
            lines.append(f"promised: {promise['ms']:.2f} ms for {of} ({promise['table']})")
        if promise["searched_ms"] is not None:
            lines.append(f"it was searched for other images, for which {promise['searched_ms']:.2f} ms are promised")
        runtime = promise.get("runtime")
        if runtime not in (None, ONNXRUNTIME):
            lines.append(
                f"the table is of {runtime}, for which search_spaces.export makes a file: best.onnx is for ONNX "
                "Runtime, and its latency was not compared"
            )
        elif not found["is_of_this_machine"]:
            lines.append(f"{promise['device']} is not this machine, so that nothing was measured there")
    if here:
        ms = here["ms"]
        own = f"{ms['network']:.2f} ms, with reading pixels {ms['best.onnx']:.2f} ms"
        own += f"; {INT8} {ms[INT8]:.2f} ms" if INT8 in ms else ""
        lines.append(f"measured on {here['machine']}, {here['runtime']}, {counted(here['threads'], 'thread')}: {own}")
        if ms.get(INT8, 0.0) > _SLOWER * ms["best.onnx"]:
            lines.append(
                f"{INT8} takes {ms[INT8] / ms['best.onnx']:.1f} times as long as best.onnx here: its kernels for "
                "integers, or converting where a layer has none, as h-swish, cost more on this CPU; it is smaller, not "
                "faster"
            )
        if promise and found["is_of_this_machine"]:
            lines += _difference(promise, ms, reads_pixels=found["reads_pixels"])
    return lines


def _difference(promise: Mapping[str, Any], ms: Mapping[str, float], *, reads_pixels: bool) -> list[str]:
    """How far the measured latency is from the promised one, and whether the table's error explains it.

    Args:
        reads_pixels: whether delivered graphs read them: the integers are timed with it, and a promise is without it.
    """
    measured_ms = ms["network"] if promise["dtype"] == "fp32" else ms.get(INT8)
    if promise["ms"] is None or measured_ms is None:
        return []
    share = measured_ms / promise["ms"] - 1
    line = f"that is {abs(share):.1%} {'more' if share > 0 else 'less'} than promised"
    if promise["dtype"] != "fp32" and reads_pixels:
        return [f"{line}, but {INT8} reads pixels too, which is not in the promise"]
    mean, worst = promise["mean_error"], promise["worst_error"]
    if mean is None:
        return [line]
    if abs(share) <= mean:
        return [f"{line}, within the table's mean error of {mean:.1%}"]
    above = "more than it was ever wrong" if abs(share) > worst else "less than its worst"
    return [f"{line}, above the table's mean error of {mean:.1%}, {above} ({worst:.1%})"]


def card(finished: Finished, figures: Mapping[str, Any], *, commands: Sequence[str] = ()) -> str:
    """The model card, in Markdown.

    Args:
        commands: the latest of the run, and the one that began it, if that is another.
    """
    arch, data = finished.net.arch, finished.data
    names = label_lines(data.class_names)
    more = f" and {len(names) - _CLASSES} more (labels.txt)" if names[_CLASSES:] else ""
    reason = timm_export.why_not(arch)
    device = finished.latency.device if finished.latency else "no device in particular"
    colours = "colour" if arch.in_ch == 3 else "grey"
    parts: list[tuple[str, Sequence[str]]] = [
        (
            "What it is",
            [
                f"A classifier of {colours} pictures of {arch.resolution_px} x {arch.resolution_px} px into "
                f"{counted(len(names), 'class')}: {', '.join(map(_plain, names[:_CLASSES]))}{more}",
                f"{cost.madds(arch) / 1e6:.1f} M multiply-adds, {cost.params(arch) / 1e6:.2f} M parameters",
                f"for: {device}",
            ],
        ),
        ("Figures", in_sentences(figures)),
        (
            "Training",
            [
                f"data: {_plain(data.name)}, {counted(len(data.train), 'training picture')}, {len(data.holdout):,} of "
                f"the holdout, {len(data.test):,} of test",
                f"recipe: {finished.recipe}",
                *(
                    f"{which}: `{brief(command, most=1000)}`"
                    for which, command in zip(_COMMANDS, commands, strict=False)
                ),
                *(f"note: {_plain(note)}" for note in data.notes),
            ],
        ),
        ("Input", [data.preprocessing.describe(), "pictures are turned as EXIF says; what is transparent is white"]),
        ("Licence of the weights", [finished.licence or "trained from scratch: the licence of the data counts"]),
        (
            "Use",
            [
                "`python predict.py PICTURE...`, with numpy, Pillow and onnxruntime"
                + (f"; `python predict.py {INT8} PICTURE...` for the integers" if _has_int8(figures) else ""),
                "`python -m nas.predict run=THIS_FOLDER PICTURE...`, with this project",
                "`torch_net.load(THIS_FOLDER)` of `search_spaces`: the module, in PyTorch",
                f"timm cannot build it: {reason}" if reason else "`best_timm.build()` (best_timm.py): a model of timm",
            ],
        ),
    ]
    blocks = [f"## {title}\n\n" + "".join(f"- {line}\n" for line in lines) for title, lines in parts]
    return "\n".join([f"# {_plain(arch.name) or 'network'}\n", *blocks])


def _plain(name: str) -> str:
    """What comes from elsewhere, without links, pictures and HTML in Markdown, and on one line."""
    return " ".join(html.escape(name, quote=False).replace("[", "\\[").split())


def _has_int8(figures: Mapping[str, Any]) -> bool:
    return bool(figures.get("int8", {}).get("delivered"))

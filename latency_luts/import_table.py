"""`python -m latency_luts.import_table device=i7_8700k path=FILE.yaml`: takes over a table of another project.

Reads the format of ProxylessNAS and Once-for-All: YAML with one entry a layer, its key made of a kind and of
``name:value`` pairs, its value ``{mean: ms, var: ms²}``. The kinds, and what becomes of them:

    first_conv, Conv         the 3x3 stem
    MBConv, expanded_conv    an inverted residual block; with expansion 1 a depthwise-separable one
    final_expand_layer,
    Conv_1                   the last 1x1 convolution
    Logits                   the classifier, pooling included
    AvgPool2D, Conv_2, Logits;
    feature_mix_layer,
    classifier               a classifier of two layers: of every pooled map (or, where the file times no pooling, of
                             every final_expand_layer), hidden layer and classifier that fit together

``expand`` is a ratio, but Once-for-All's tables of MobileNetV3 (``expanded_conv`` with ``se`` or ``hs``) write the
expanded channels there. Other keys do not say the activations. As in those projects' networks, ProxylessNAS's kinds use
ReLU6, the others MobileNetV3's rule: ReLU in blocks below 80 output channels, h-swish in the rest; squeeze-and-excite
has 1/4 of the expansion and a hard sigmoid. What fits no unit is listed, never guessed.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from math import inf, nan, sqrt
from pathlib import Path
from typing import Any

from latency_luts import store
from latency_luts.coverage import coverage
from latency_luts.key import key
from latency_luts.model import LatencyModel
from latency_luts.options import ImportOptions
from latency_luts.table import Identity, MeasuredTable, TableError, Timing, write
from latency_luts.values import short
from nas_runtime.command import run
from nas_runtime.files import FileError, read_text
from search_spaces.arch import Block, Classifier, ConvBN, MBConv, SepConv
from search_spaces.lower import Unit, unit
from search_spaces.rewrite import make_divisible

__all__ = ["convert", "read_yaml"]

_LARGEST_FILE = 32 * 2**20  # bytes; tables of many thousand layers have 1 MB
_IQR = 1.349  # interquartile range of a normal distribution / its standard deviation
_MOST = 100_000  # pixels or channels


def read_yaml(path: str | os.PathLike[str]) -> dict[str, dict[str, float]]:
    """The entries of a file: ``{key: {"mean": ms, "var": ms²}}``.

    Raises:
        TableError: no such file, not such a table, a key that stands twice, or a latency that cannot be.
    """
    import yaml

    try:
        content = read_text(Path(path), most_bytes=_LARGEST_FILE)
    except FileNotFoundError:
        raise TableError(f"path={path} cannot be read: there is no such file") from None
    except FileError as e:
        raise TableError(f"path={e}") from None
    try:
        entries = _entries(yaml.parse(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.YAMLError as e:
        raise TableError(f"path={path} is not YAML: {short(' '.join(str(e).split()), quoted=False)}") from None
    except ValueError as e:
        raise TableError(f"path={path} {e}") from None
    if not entries:
        raise TableError(f"path={path} holds no table: it must map keys like 'MBConv-input:...' to mean: and var:")
    return entries


def _entries(events: Iterable[Any]) -> dict[str, dict[str, float]]:
    """The entries that a stream of YAML's events stands for. No value is made of anything else, so that a file cannot
    take more time or memory than its length says.

    Raises:
        ValueError: they are no table.
    """
    entries: dict[str, dict[str, float]] = {}
    depth, entry, name = 0, "", ""
    for event in events:
        kind = type(event).__name__
        if kind == "AliasEvent" or kind == "SequenceStartEvent" or (kind == "MappingStartEvent" and depth == 2):
            what = {"AliasEvent": "an alias", "SequenceStartEvent": "a list"}.get(kind, "a mapping in an entry")
            raise ValueError(f"holds no table: it has {what} in line {event.start_mark.line + 1}")
        if kind == "MappingStartEvent":
            depth += 1
            if depth == 2 and entry in entries:
                raise ValueError(f"has {short(entry)} twice; remove one")
            if depth == 2:
                entries[entry] = {}
        elif kind == "MappingEndEvent":
            if depth == 2:
                _check_entry(entry, entries[entry])
            depth, name = depth - 1, ""
        elif kind == "ScalarEvent" and depth == 1:
            if entry and entry not in entries:
                raise ValueError(f"has {short(entry)} without mean: and var:")
            entry = event.value
        elif kind == "ScalarEvent" and depth == 2 and not name:
            name = event.value
        elif kind == "ScalarEvent" and depth == 2:
            entries[entry][name], name = _float(event.value), ""
    return entries


def _float(text: str) -> float:
    try:
        return float(text.replace(".nan", "nan").replace(".inf", "inf"))
    except ValueError:
        return nan


def _check_entry(name: str, values: Mapping[str, float]) -> None:
    mean = values.get("mean", nan)
    if not 0 < mean < inf:
        said = f"{mean:g}" if "mean" in values else "none"
        raise ValueError(f"has {short(name)} with mean {said}; it must be milliseconds above 0")


def convert(entries: Mapping[str, Mapping[str, float]]) -> tuple[dict[str, Timing], dict[str, str]]:
    """The units of `entries` by our keys, and for each entry that is none the reason."""
    units: dict[str, Timing] = {}
    left_out: dict[str, str] = {}
    parsed = {name: _fields(name) for name in entries}
    v3 = any(_counts_channels(fields) or fields["kind"] in ("AvgPool2D", "Conv_2") for fields in parsed.values())
    layers = {"feature_mix_layer", "classifier", "AvgPool2D", "Conv_2", *(["Logits"] if v3 else [])}
    for name, fields in parsed.items():
        if fields["kind"] in layers:
            continue
        try:
            found = _unit(fields, v3)
        except ValueError as e:
            left_out[name] = f"no unit: {short(e, quoted=False)}"
            continue
        if (own := key(found)) in units:
            left_out[name] = f"the same unit as another entry: {own}"
        else:
            units[own] = _timing(entries[name])
    units |= _classifiers(entries, {n: f for n, f in parsed.items() if f["kind"] in layers | _LAST}, left_out)
    return units, left_out


def _counts_channels(fields: Mapping[str, str]) -> bool:
    """Whether ``expand`` of an entry is the number of expanded channels."""
    return fields["kind"] == "expanded_conv" and bool({"se", "hs"} & fields.keys())


def _unit(fields: Mapping[str, str], v3: bool) -> Unit:
    """The unit of an entry.

    Raises:
        ValueError: there is none.
    """
    kind = fields["kind"]
    act = "relu6" if kind in ("Conv", "Conv_1") and not v3 else "hard_swish"
    if kind not in ("Logits", "first_conv", "Conv", "final_expand_layer", "Conv_1", "MBConv", "expanded_conv"):
        raise ValueError(f"its kind {kind!r} is not known")
    height, width, in_ch = _shape(fields, "input")
    if kind == "Logits":
        return unit(Classifier(in_ch=in_ch, out_ch=_classes(fields)), height, width)
    out_height, out_width, out_ch = _shape(fields, "output")
    block: Block
    if kind in ("first_conv", "Conv"):
        block = ConvBN(in_ch=in_ch, out_ch=out_ch, kernel=3, stride=-(-height // out_height), act=act)
    elif kind in ("final_expand_layer", "Conv_1"):
        block = ConvBN(in_ch=in_ch, out_ch=out_ch, kernel=1, act=act)
    else:
        block = _mbconv(fields, in_ch, out_ch)
    found = unit(block, height, width)
    if found.out_shape != (out_ch, out_height, out_width):
        raise ValueError(f"its output would be {found.out_shape[1]}x{found.out_shape[2]}")
    return found


def _mbconv(fields: Mapping[str, str], in_ch: int, out_ch: int) -> Block:
    if "mid" in fields or _counts_channels(fields):
        mid_ch = _whole(fields, "mid" if "mid" in fields else "expand")
    else:
        ratio = _float(_field(fields, "expand"))
        if not 0 < ratio < _MOST:
            raise ValueError(f"its expand is {short(fields['expand'])}; it must be a ratio")
        mid_ch = make_divisible(in_ch * ratio)
    proxyless = fields["kind"] == "expanded_conv" and not _counts_channels(fields)
    act = "relu6" if proxyless else "hard_swish" if _hard_swish(fields, out_ch) else "relu"
    skip = "identity" if fields.get("idskip") == "1" else "none"
    se_ch = make_divisible(mid_ch // 4) if fields.get("se") == "1" else 0
    kernel, stride = _whole(fields, "kernel"), _whole(fields, "stride")
    if mid_ch == in_ch:
        return SepConv(in_ch=in_ch, out_ch=out_ch, kernel=kernel, stride=stride, act=act, se_ch=se_ch,
                       se_gate="hard_sigmoid", skip=skip)  # fmt: skip
    return MBConv(in_ch=in_ch, mid_ch=mid_ch, out_ch=out_ch, kernel=kernel, stride=stride, act=act, se_ch=se_ch,
                  se_gate="hard_sigmoid", skip=skip)  # fmt: skip


def _hard_swish(fields: Mapping[str, str], out_ch: int) -> bool:
    return fields["hs"] == "1" if "hs" in fields else out_ch >= 80


_LAST = {"final_expand_layer"}


def _classifiers(
    entries: Mapping[str, Mapping[str, float]], parsed: Mapping[str, Mapping[str, str]], left_out: dict[str, str]
) -> dict[str, Timing]:
    """Classifiers of two layers: every map that is pooled, hidden layer and classifier that fit together."""
    maps: dict[str, tuple[int, int, int]] = {}
    hidden: dict[str, tuple[int, int]] = {}
    last: dict[str, tuple[int, int]] = {}
    for name, fields in parsed.items():
        try:
            if fields["kind"] in ("AvgPool2D", "final_expand_layer"):
                maps[name] = _shape(fields, "input" if fields["kind"] == "AvgPool2D" else "output")
            elif fields["kind"] in ("feature_mix_layer", "Conv_2"):
                hidden[name] = _shape(fields, "input")[2], _shape(fields, "output")[2]
            else:
                last[name] = _last_number(fields, "input"), _classes(fields)
        except ValueError as e:
            left_out[name] = f"no unit: {short(e, quoted=False)}"
    if any(parsed[name]["kind"] == "AvgPool2D" for name in maps):
        maps = {name: shape for name, shape in maps.items() if parsed[name]["kind"] == "AvgPool2D"}
    units: dict[str, Timing] = {}
    used = set()
    for pooled, (height, width, in_ch) in maps.items():
        pool_ms = entries[pooled]["mean"] if parsed[pooled]["kind"] == "AvgPool2D" else 0.0
        for mix in (name for name, (before, _) in hidden.items() if before == in_ch):
            for end in (name for name, (before, _) in last.items() if before == hidden[mix][1]):
                block = Classifier(in_ch=in_ch, hidden_ch=hidden[mix][1], out_ch=last[end][1])
                ms = pool_ms + entries[mix]["mean"] + entries[end]["mean"]
                units[key(unit(block, height, width))] = Timing(round(ms, 6), 0.0, 0)
                used |= {pooled, mix, end}
    for name in {*maps, *hidden, *last} - used:
        if parsed[name]["kind"] not in _LAST:
            left_out[name] = "no pooling, hidden layer and classifier of this file fit together with it"
    return units


def _timing(entry: Mapping[str, float]) -> Timing:
    mean, variance = entry["mean"], entry.get("var", 0.0)
    spread = _IQR * sqrt(variance) / mean if 0 <= variance < inf else 0.0
    return Timing(round(mean, 6), round(spread, 4), 0)


def _fields(name: str) -> dict[str, str]:
    """``{"kind": "MBConv", "input": "7x7x80", …}`` of a key."""
    kind, *pairs = str(name).split("-")
    return {"kind": kind, **dict(pair.split(":", 1) for pair in pairs if ":" in pair)}


def _field(fields: Mapping[str, str], name: str) -> str:
    if name not in fields:
        raise ValueError(f"it has no {name}")
    return fields[name]


def _shape(fields: Mapping[str, str], name: str) -> tuple[int, int, int]:
    parts = _field(fields, name).split("x")
    if len(parts) != 3:
        raise ValueError(f"its {name} is {short(fields[name])}; it must be height x width x channels")
    height, width, channels = (_positive(part, fields, name) for part in parts)
    return height, width, channels


def _whole(fields: Mapping[str, str], name: str) -> int:
    return _positive(_field(fields, name), fields, name)


def _last_number(fields: Mapping[str, str], name: str) -> int:
    return _positive(_field(fields, name).split("x")[-1], fields, name)


def _classes(fields: Mapping[str, str]) -> int:
    return _last_number(fields, "output")


def _positive(text: str, fields: Mapping[str, str], name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 7 and 0 < int(text) <= _MOST):
        raise ValueError(f"its {name} is {short(fields[name])}; it must be of whole numbers from 1 to {_MOST}")
    return int(text)


def _main(options: ImportOptions) -> None:
    from nas_runtime.console import new_console

    device, path = store.check_elsewhere(options.device, "an import"), options.path
    target = store.own_path(device, tables_dir=options.tables_dir)
    units, left_out = convert(read_yaml(path))
    if not units:
        raise TableError(f"path={path}: no entry is a unit; the first: {short(next(iter(left_out.items())))}")
    table = MeasuredTable(
        device=device,
        identity=Identity(cpu=options.cpu or device, runtime="unknown", threads=1, batch=1, dtype="fp32"),
        provenance={
            "command": f"python -m latency_luts.import_table device={device} path={path.name}",
            "date": datetime.now(UTC).date().isoformat(),
            "imported_from": path.name,
            "left_out": len(left_out),
        },
        units=units,
    )
    store.check_replaceable(target)
    write(table, target)
    console = new_console()
    kinds = Counter(name.split("(")[0] for name in units)
    console.print(f"{len(units)} units: " + ", ".join(f"{n} {kind}" for kind, n in kinds.most_common()))
    if left_out:
        reasons = Counter(re.sub(r"\d+", "n", reason) for reason in left_out.values())
        console.print(f"{len(left_out)} entries left out:")
        for reason, n in reasons.most_common():
            example = next(name for name, why in left_out.items() if re.sub(r"\d+", "n", why) == reason)
            console.print(f"  {n}: {left_out[example]} (as {short(example, quoted=False)})")
    for line in coverage(table).lines(device):
        console.print(line)
    console.print(LatencyModel(table).describe())
    console.print(f"table: {target}")


if __name__ == "__main__":
    run(_main, ImportOptions)

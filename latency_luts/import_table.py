"""`python -m latency_luts.import_table device=i7_8700k path=FILE.yaml`: takes over a table of another project.

Reads the format of ProxylessNAS and Once-for-All: YAML with one entry a layer, its key made of a kind and of
``name:value`` pairs, its value ``{mean: ms, var: ms²}``. The kinds, and what becomes of them:

    first_conv, Conv         the 3x3 stem
    MBConv, expanded_conv    an inverted residual block; with expansion 1 a depthwise-separable one
    final_expand_layer,
    Conv_1                   the last 1x1 convolution
    feature_mix_layer and
    classifier, Logits       the classifier; pooling is in none of the first two, and a classifier of theirs is
                             taken for every final_expand_layer that leads to it

Their keys do not say the activations. As in those projects' networks, ProxylessNAS's kinds use ReLU6, the others
MobileNetV3's rule: ReLU in blocks below 80 output channels, h-swish in the rest; squeeze-and-excite has 1/4 of the
expansion and a hard sigmoid. What fits no unit is listed, never guessed.
"""

import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite, sqrt
from pathlib import Path
from typing import Any

from latency_luts import store
from latency_luts.key import key
from latency_luts.model import LatencyModel
from latency_luts.table import Identity, MeasuredTable, TableError, Timing, write
from nas_runtime.settings import Settings, run
from search_spaces.arch import Block, Classifier, ConvBN, MBConv, SepConv
from search_spaces.lower import Unit, unit
from search_spaces.rewrite import make_divisible

__all__ = ["convert", "read_yaml"]

_PROXYLESS = ("Conv", "expanded_conv", "Conv_1", "Logits")
_IQR = 1.349  # interquartile range of a normal distribution / its standard deviation


def read_yaml(path: Path) -> dict[str, Any]:
    """The entries of a file.

    Raises:
        TableError: no such file, not such a table, a key that stands twice, or a latency that cannot be.
    """
    import yaml

    try:
        content = path.read_text()
        entries = yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError) as e:
        raise TableError(f"path={path} cannot be read: {e}") from None
    except yaml.YAMLError as e:
        raise TableError(f"path={path} is not YAML: {' '.join(str(e).split())}") from None
    if not isinstance(entries, dict) or not entries:
        raise TableError(f"path={path} holds no table: it must map keys like 'MBConv-input:…' to mean: and var:")
    keys = Counter(re.findall(r"^([^\s#][^\n]*):\s*$", content, re.MULTILINE))
    if twice := [name for name, n in keys.items() if n > 1]:
        raise TableError(f"path={path} has {twice[0]!r} twice; remove one")
    for name, value in entries.items():
        mean = value.get("mean") if isinstance(value, dict) else None
        if isinstance(mean, bool) or not isinstance(mean, int | float) or not isfinite(mean) or mean < 0:
            raise TableError(f"path={path}: {name!r} has mean {mean!r}; it must be milliseconds of at least 0")
    return entries


def convert(entries: Mapping[str, Any]) -> tuple[dict[str, Timing], dict[str, str]]:
    """The units of `entries` by our keys, and for each entry that is none the reason."""
    units: dict[str, Timing] = {}
    left_out: dict[str, str] = {}
    parsed = {name: _fields(name) for name in entries}
    for name, fields in parsed.items():
        if fields["kind"] in ("feature_mix_layer", "classifier"):
            continue
        try:
            found = _unit(fields)
        except (KeyError, ValueError) as e:
            left_out[name] = f"no unit: {e}"
            continue
        if (own := key(found)) in units:
            left_out[name] = f"the same unit as another entry: {own}"
        else:
            units[own] = _timing(entries[name])
    units |= _classifiers(entries, parsed, left_out)
    return units, left_out


def _unit(fields: dict[str, str]) -> Unit:
    """The unit of an entry.

    Raises:
        KeyError, ValueError: there is none.
    """
    kind = fields["kind"]
    proxyless = kind in _PROXYLESS
    height, width, in_ch = _shape(fields["input"])
    if kind == "Logits":
        return unit(Classifier(in_ch=in_ch, out_ch=int(fields["output"].split("x")[-1])), height, width)
    out_height, out_width, out_ch = _shape(fields["output"])
    stride = -(-height // out_height)
    block: Block
    if kind in ("first_conv", "Conv"):
        act = "relu6" if proxyless else "hard_swish"
        block = ConvBN(in_ch=in_ch, out_ch=out_ch, kernel=3, stride=stride, act=act)
    elif kind in ("final_expand_layer", "Conv_1"):
        block = ConvBN(in_ch=in_ch, out_ch=out_ch, kernel=1, act="relu6" if proxyless else "hard_swish")
    elif kind in ("MBConv", "expanded_conv"):
        old = proxyless and "se" not in fields  # Once-for-All uses the name with further fields
        act = "relu6" if old else "hard_swish" if _hard_swish(fields, out_ch) else "relu"
        block = _mbconv(fields, in_ch, out_ch, act)
    else:
        raise ValueError(f"its kind {kind!r} is not known")
    found = unit(block, height, width)
    if found.out_shape != (out_ch, out_height, out_width):
        raise ValueError(f"its output would be {found.out_shape[1]}x{found.out_shape[2]}")
    return found


def _mbconv(fields: dict[str, str], in_ch: int, out_ch: int, act: str) -> Block:
    mid_ch = int(fields["mid"]) if "mid" in fields else make_divisible(in_ch * float(fields["expand"]))
    skip = "identity" if fields.get("idskip") == "1" else "none"
    se_ch = make_divisible(mid_ch / 4) if fields.get("se") == "1" else 0
    kernel, stride = int(fields["kernel"]), int(fields["stride"])
    if mid_ch == in_ch:
        return SepConv(in_ch=in_ch, out_ch=out_ch, kernel=kernel, stride=stride, act=act, se_ch=se_ch,
                       se_gate="hard_sigmoid", skip=skip)  # fmt: skip
    return MBConv(in_ch=in_ch, mid_ch=mid_ch, out_ch=out_ch, kernel=kernel, stride=stride, act=act, se_ch=se_ch,
                  se_gate="hard_sigmoid", skip=skip)  # fmt: skip


def _hard_swish(fields: dict[str, str], out_ch: int) -> bool:
    return fields["hs"] == "1" if "hs" in fields else out_ch >= 80


def _classifiers(
    entries: Mapping[str, Any], parsed: Mapping[str, dict[str, str]], left_out: dict[str, str]
) -> dict[str, Timing]:
    """Classifier units: a feature_mix_layer with its classifier, after every final_expand_layer that fits."""
    by_kind: dict[str, list[str]] = {}
    for name, fields in parsed.items():
        by_kind.setdefault(fields["kind"], []).append(name)
    units: dict[str, Timing] = {}
    for mix in by_kind.get("feature_mix_layer", []):
        in_ch, hidden_ch = (_shape(parsed[mix][side])[2] for side in ("input", "output"))
        last = [name for name in by_kind.get("classifier", []) if int(parsed[name]["input"]) == hidden_ch]
        before = [name for name in by_kind.get("final_expand_layer", []) if _shape(parsed[name]["output"])[2] == in_ch]
        if not last or not before:
            left_out[mix] = "no classifier or no final_expand_layer fits to it"
        for classifier in last:
            block = Classifier(in_ch=in_ch, hidden_ch=hidden_ch, out_ch=int(parsed[classifier]["output"]))
            ms = entries[mix]["mean"] + entries[classifier]["mean"]
            for name in before:
                height, width, _ = _shape(parsed[name]["output"])
                units[key(unit(block, height, width))] = Timing(round(ms, 6), 0.0, 0)
    mixed = {_shape(parsed[mix]["output"])[2] for mix in by_kind.get("feature_mix_layer", [])}
    for name in by_kind.get("classifier", []):
        if int(parsed[name]["input"]) not in mixed:
            left_out[name] = "no feature_mix_layer leads to it"
    return units


def _timing(entry: Mapping[str, Any]) -> Timing:
    mean, variance = float(entry["mean"]), entry.get("var")
    if not isinstance(variance, int | float) or variance < 0 or mean == 0:
        return Timing(round(mean, 6), 0.0, 0)
    return Timing(round(mean, 6), round(_IQR * sqrt(variance) / mean, 4), 0)


def _fields(name: str) -> dict[str, str]:
    """``{"kind": "MBConv", "input": "7x7x80", …}`` of a key."""
    kind, *pairs = str(name).split("-")
    return {"kind": kind, **dict(pair.split(":", 1) for pair in pairs if ":" in pair)}


def _shape(text: str) -> tuple[int, int, int]:
    height, width, channels = (int(n) for n in text.split("x"))
    return height, width, channels


def _main(settings: Settings) -> None:
    from nas_runtime.console import new_console

    device = store.check_elsewhere(settings.text("device"), "an import")
    target = store.own_path(device, tables_dir=settings.path("tables_dir"))
    path = settings.path("path")
    if path is None:
        raise ValueError("path= is missing; name the file to import")
    units, left_out = convert(read_yaml(path))
    if not units:
        raise TableError(f"path={path}: no entry is a unit; the first: {next(iter(left_out.items()))}")
    table = MeasuredTable(
        device=device,
        identity=Identity(cpu=settings.value("cpu") or device, runtime="unknown", threads=1, batch=1, dtype="fp32"),
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
            console.print(f"  {n}: {left_out[example]} (as {example})")
    console.print(LatencyModel(table).describe())
    console.print(f"table: {target}")


if __name__ == "__main__":
    run(_main, "import_table")

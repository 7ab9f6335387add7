"""Blocks and networks refuse what cannot be; JSON refuses what it does not know."""

import json
import re
from dataclasses import replace

import pytest

from search_spaces import dense, rewrite, text, zoo
from search_spaces.arch import Arch, Classifier, ConvBN, MBConv
from search_spaces.blocks import (
    Branches,
    DenseClassifier,
    MixedMBConv,
    PlainConv,
    Pooling,
    ShuffleUnit,
    ShuffleUnitV2,
)
from search_spaces.lower import chain, lower, unit

CONV = PlainConv(in_ch=3, out_ch=8, kernel=3)
POOL = Pooling(in_ch=3, kernel=3, stride=1)


def nested(depth: int) -> Branches:
    branches = Branches(in_ch=3, branches=((),))
    for _ in range(depth - 1):
        branches = Branches(in_ch=3, branches=((branches,),))
    return branches


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConvBN(in_ch=0, out_ch=8, kernel=3), "ConvBN: in_ch is 0; it must be a whole number of at least 1"),
        (lambda: ConvBN(in_ch=3, out_ch=8, kernel=4), "kernel is 4; it must be odd"),
        (lambda: ConvBN(in_ch=3, out_ch=8, kernel=3, act="mish"), "act is 'mish'; allowed: none, relu"),
        (lambda: ConvBN(in_ch=3, out_ch=8, kernel=3, skip="identity"), "needs in_ch == out_ch, not 3 and 8"),
        (
            lambda: MBConv(in_ch=8, mid_ch=16, out_ch=8, kernel=3, stride=2, skip="identity"),
            "needs stride 1, not 2; use 'pool' or 'none'",
        ),
        (lambda: Classifier(in_ch=8, out_ch=10, dropout=1.0), "dropout is 1.0; allowed"),
        (lambda: Arch(name="x", resolution_px=32, blocks=()), "'x' has no blocks"),
        (
            lambda: Arch(
                name="x",
                resolution_px=32,
                blocks=(ConvBN(in_ch=3, out_ch=8, kernel=3), Classifier(in_ch=16, out_ch=10)),
            ),
            "block 0 has out_ch 8 but block 1 has in_ch 16",
        ),
        (lambda: Branches(in_ch=8, branches=()), "Branches: there are none"),
        (lambda: Branches(in_ch=8, branches=((CONV,),)), "a block of branch 0 has in_ch 3, but reads 8"),
        (lambda: Pooling(in_ch=8, kernel=3, stride=2, kind="sum"), "Pooling: kind is 'sum'; allowed: avg, max"),
        (lambda: PlainConv(in_ch=3, out_ch=8, kernel=2), "PlainConv: kernel is 2; it must be odd"),
        (
            lambda: ShuffleUnit(in_ch=24, mid_ch=60, out_ch=240, groups=7, first_groups=1),
            "stride 1 needs in_ch == out_ch, not 24 and 240",
        ),
        (
            lambda: ShuffleUnit(in_ch=24, mid_ch=60, out_ch=240, groups=7, first_groups=1, stride=2),
            "60 and 216 channels cannot be convolved in 7 groups",
        ),
        (lambda: ShuffleUnitV2(in_ch=9, out_ch=9), "out_ch must be even"),
        (lambda: PlainConv(in_ch=3, out_ch=8, kernel=3, kernel_w=0), "kernel_w is 0; it must be a whole number of at"),
        (lambda: PlainConv(in_ch=3, out_ch=8, kernel=3, norm=1), "PlainConv: norm is 1; it must be true or false"),
        (lambda: MixedMBConv(in_ch=1, mid_ch=1, out_ch=1, kernels=(3, 5)), "at least one and at most mid_ch"),
        (lambda: Arch(name="x", resolution_px=True, blocks=(CONV,)), "resolution_px is True"),
        (lambda: zoo.get("mobilenet_v2", resolution_px=0), "resolution_px is 0; it must be at least 1"),
        (
            lambda: zoo.get("mobilenet_v2", width=float("inf")),
            "width is inf; a width multiplier must be above 0",
        ),
        *(
            (
                lambda width=width, name=name: zoo.get(name, width=width),
                f"width is {width!r}; a width multiplier must be above 0 and at most 16",
            )
            for width in (float("nan"), 0, -1, 1e9, "1", True)
            for name in ("mobilenet_v2", "shufflenet_v1")
        ),
        *(
            (
                lambda px=px: zoo.get("mobilenet_v2", resolution_px=px),
                f"resolution_px is {px!r}; it must be at least 1 and at most 65536, one whole number",
            )
            for px in (224.0, (256, 128), "224", 10**9)
        ),
        (lambda: rewrite.resolution(zoo.get("vgg16"), 224.0), "resolution_px is 224.0; it must be"),
        (
            lambda: dense.segmentation(zoo.get("mobilenet_v2"), resolution_px=512.0),
            "resolution_px is 512.0; it must be",
        ),
        (
            lambda: dense.ssdlite(zoo.get("mobilenet_v2"), resolution_px=(320, 640)),
            "resolution_px is (320, 640); it must",
        ),
        (lambda: dense.ssdlite(zoo.get("mobilenet_v2"), width=float("nan")), "width is nan; a width multiplier"),
        (lambda: dense.segmentation(zoo.get("mobilenet_v2"), classes=2.5), "classes is 2.5; it must be a whole number"),
        (lambda: dense.ssdlite(zoo.get("mobilenet_v2"), classes=0), "classes is 0; it must be a whole number"),
        (lambda: zoo.get("mobilenet_v2", classes=0), "classes is 0; it must be a whole number of at least 1"),
        (lambda: zoo.get("mobilenet_v2", classes=10.0), "classes is 10.0; it must be a whole number of at least 1"),
        (lambda: rewrite.in_channels(zoo.get("mobilenet_v2"), 2.5), "in_ch is 2.5; it must be a whole number"),
        (
            lambda: ConvBN(in_ch=10**12, out_ch=8, kernel=3),
            "in_ch is 1000000000000; it must be a whole number of at le",
        ),
        (
            lambda: ConvBN(in_ch=3, out_ch=8, kernel=10**9 + 1),
            "kernel is 1000000001; it must be a whole number of at le",
        ),
        (lambda: ConvBN(in_ch=3, out_ch=8, kernel=True), "kernel is True; it must be a whole number"),
        (lambda: MixedMBConv(in_ch=8, mid_ch=800, out_ch=8, kernels=(3,) * 65), "at most mid_ch or 64"),
        (lambda: Branches(in_ch=3, branches=((),) * 65), "Branches: there are 65; give at least one, at most 64"),
        (lambda: nested(17), "Branches: they are nested more than 16 deep"),
        (
            lambda: Arch(name="x", resolution_px=8, blocks=(POOL,) * 10_001),
            "has 10001 blocks; give at least one and at m",
        ),
        (
            lambda: Arch(name=3, resolution_px=8, blocks=(CONV,)),
            "a network's name is 3; it must be a text of up to 200",
        ),
        (lambda: Arch(name="a\x1b[2J", resolution_px=8, blocks=(CONV,)), r"a network's name is 'a\x1b[2J'; it must be"),
        (lambda: Arch(name="a\nb", resolution_px=8, blocks=(CONV,)), "no control ones"),
        (lambda: Arch(name="a" * 10**6, resolution_px=8, blocks=(CONV,)), "a network's name is 'aaaaaaaaaa"),
        (lambda: rewrite.small_image(zoo.get("shufflenet_v2"), 28), "is not for images of 28 px"),
        (lambda: MixedMBConv(in_ch=8, mid_ch=48, out_ch=8, kernels=(3, 4)), "kernels are (3, 4); give odd"),
        (
            lambda: MixedMBConv(in_ch=9, mid_ch=48, out_ch=8, kernels=(3,), expand_groups=2),
            "9 and 48 channels cannot be convolved in 2 groups",
        ),
        (lambda: DenseClassifier(in_ch=8, out_ch=10, size_px=0), "size_px is 0; it must be a whole number of at least"),
        (
            lambda: lower(replace(zoo.get("vgg16"), resolution_px=96)),
            "hidden0 is for 25088 values, not for a map of 512x3x3",
        ),
    ],
)
def test_impossible_values(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_names_of_any_language_are_fine():
    assert Arch(name="сеть 网络 é ✓ [v2]", resolution_px=8, blocks=(CONV,)).name == "сеть 网络 é ✓ [v2]"


def test_a_map_that_shrinks_to_nothing():
    block = ConvBN(in_ch=1, out_ch=1, kernel=1, stride=2)
    assert lower(Arch(name="x", resolution_px=1, blocks=(block,)))[0].out_shape == (1, 1, 1)


def test_a_map_that_is_too_small_for_an_operator():
    """Of 2 px nothing is left by a window of 3 without padding."""
    pooling = Pooling(in_ch=8, kernel=3, stride=1, pad=0)
    assert unit(pooling, 3, 3).out_shape == (8, 1, 1)
    for height, width in ((2, 3), (3, 2), (1, 1)):
        with pytest.raises(ValueError, match=f"Pooling: a {height}x{width} input is too small for its pool"):
            unit(pooling, height, width)


def test_maps_need_not_be_square():
    """Height before width, also of what follows."""
    stem = ConvBN(in_ch=3, out_ch=8, kernel=3, stride=2)
    first, second = chain((stem, replace(stem, in_ch=8)), (64, 30))
    assert (first.in_shape, first.out_shape) == ((3, 64, 30), (8, 32, 15))
    assert (second.in_shape, second.out_shape) == ((8, 32, 15), (8, 16, 8))


def test_equality_ignores_the_name():
    a = zoo.get("mobilenet_v3_small")
    b = Arch(name="other", resolution_px=a.resolution_px, blocks=a.blocks)
    assert a == b
    assert len({a, b}) == 1


def edited(change) -> str:
    data = text.to_dict(zoo.get("mobilenet_v3_small"))
    change(data)
    return json.dumps(data)


def deep(depth: int) -> list:
    branches: list = [[]]
    for _ in range(depth):
        branches = [[{"block": "Branches", "in_ch": 3, "branches": branches}]]
    return branches


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "not JSON"),
        ("[]", "expected an object"),
        (edited(lambda d: d.update(format=9)), "format 9 is not known; this version reads format 1"),
        (edited(lambda d: d["blocks"][2].update(block="Transformer")), "block 2: block kind 'Transformer' is not"),
        (edited(lambda d: d["blocks"][2].update(mid=3)), "block 2: MBConv has no 'mid'; allowed: in_ch"),
        (edited(lambda d: d["blocks"][2].pop("mid_ch")), "block 2: MBConv needs 'mid_ch'"),
        (edited(lambda d: d["blocks"][2].update(mid_ch="72")), "block 2: MBConv: mid_ch is '72'"),
        (edited(lambda d: d.update(blocks=3)), "blocks must be a list"),
        (edited(lambda d: d.update(resolution_px="224")), "resolution_px is '224'"),
        (edited(lambda d: d.update(name=3)), "a network's name is 3; it must be a text"),
        (edited(lambda d: d.update(name="\x1b[2J\x07")), "a network's name is '.x1b.2J.x07'; it must be a text"),
        (edited(lambda d: d.update(blocks=d["blocks"] * 1000)), "blocks must be a list of at most 10000"),
        (edited(lambda d: d["blocks"][2].update(mid_ch=10**12)), "block 2: MBConv: mid_ch is 1000000000000; it must"),
        (
            edited(lambda d: d["blocks"].insert(0, {"block": "Branches", "in_ch": 3, "branches": [[]] * 10**5})),
            "block 0: Branches: there are 100000; give at least one, at most 64",
        ),
        (
            edited(lambda d: d["blocks"][2].update(in_ch=10**6, mid_ch=10**6, out_ch=10**6)),
            "the network has 2,0.* parameters; the most that is read is 2,000,000,000",
        ),
        ("[" * 10**6, "not a network: not JSON .it is nested too deeply"),
        (
            edited(lambda d: d["blocks"].insert(0, {"block": "Branches", "in_ch": 3, "branches": deep(40)})),
            "Branches: they are nested more than 16 deep",
        ),
        (
            edited(lambda d: d["blocks"].insert(0, {"block": "Branches", "in_ch": 3, "branches": deep(200)})),
            "nested too deeply|nested more than 16 deep",
        ),
        (" " * (8 * 2**20 + 1), "not a network: longer than 8,388,608 characters"),
    ],
)
def test_json_that_is_no_network(document, message):
    with pytest.raises(ValueError, match=message):
        text.from_json(document)


def test_files_that_are_no_network(tmp_path):
    huge, deep_file = tmp_path / "huge.json", tmp_path / "deep.json"
    with huge.open("wb") as file:
        file.truncate(10 * 2**30)  # takes no room
    deep_file.write_text("[" * 10**5)
    for path, message in (
        (huge, "huge.json is larger than 8 MiB, the most that is read"),
        (deep_file, "deep.json: not a network: not JSON .it is nested too deeply"),
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "none.json", "none.json cannot be read: No such file"),
    ):
        for given in (path, str(path)):
            with pytest.raises(ValueError, match=message):
                text.from_file(given)
    (tmp_path / "good.json").write_text(text.to_json(zoo.get("mobilenet_v3_small")))
    assert text.from_file(str(tmp_path / "good.json")) == zoo.get("mobilenet_v3_small")


def test_equal_blocks_have_one_key():
    """A whole number for the dropout is the same value, and has to give the same key."""
    a, b = (Classifier(in_ch=8, out_ch=10, dropout=value) for value in (0, 0.0))
    assert repr(a) == repr(b)

"""What a calibrated table's error was measured on: families, kinds of units, and what is outside of them."""

import json
from collections.abc import Callable, Hashable
from dataclasses import replace

import numpy as np
import pytest

import latency_luts
from latency_luts import calibrate, calibrated, known
from latency_luts.known import KnownLatency
from latency_luts.table import CalibratedTable, TableError, read, write
from latency_luts.unseen import UNSEEN, described, of_network, of_networks, unseen
from latency_luts.work import kinds, kinds_of
from search_spaces import rewrite, zoo
from search_spaces.arch import Arch, Classifier, ConvBN, MBConv, SepConv
from search_spaces.blocks import PlainConv, Pooling
from search_spaces.lower import lower, unit
from tests.conftest import random_archs

MOBILE = {"1x1 convolution", "3x3 depthwise convolution"}


@pytest.mark.parametrize(
    ("block", "size", "expected"),
    [
        (ConvBN(in_ch=3, out_ch=8, kernel=3, stride=2), 32, {"convolution of the image"}),
        (ConvBN(in_ch=8, out_ch=8, kernel=3), 32, {"3x3 convolution"}),
        (ConvBN(in_ch=8, out_ch=8, kernel=5, skip="pool"), 32, {"5x5 convolution", "average pooling", "sum"}),
        (ConvBN(in_ch=8, out_ch=8, kernel=3, dilation=2), 32, {"3x3 convolution", "dilation"}),
        (ConvBN(in_ch=8, out_ch=8, kernel=1, act="hard_swish"), 32, {"1x1 convolution", "hard swish"}),
        (ConvBN(in_ch=8, out_ch=8, kernel=1, act="relu6"), 32, {"1x1 convolution"}),
        (ConvBN(in_ch=8, out_ch=8, kernel=1, act="swish"), 1, {"1x1 convolution"}),
        (PlainConv(in_ch=8, out_ch=16, kernel=3, groups=2), 32, {"3x3 grouped convolution"}),
        (SepConv(in_ch=8, out_ch=16, kernel=3), 32, MOBILE),
        (MBConv(in_ch=8, mid_ch=24, out_ch=8, kernel=3, skip="identity"), 32, MOBILE | {"sum"}),
        (
            MBConv(in_ch=8, mid_ch=24, out_ch=8, kernel=3, se_ch=4, se_act="swish"),
            32,
            MOBILE | {"global pooling", "channel scaling"},
        ),
        (Pooling(in_ch=8, kernel=3, stride=2), 32, {"max pooling"}),
        (Classifier(in_ch=1280, out_ch=1000), 7, {"global pooling", "fully connected layer"}),
    ],
)
def test_kinds_of_work(block, size, expected):
    assert kinds(unit(block, size, size)) == expected


def test_kinds_do_not_depend_on_widths_and_resolution():
    for arch in random_archs(20, rng_seed=3, base_width=1.0):
        other = rewrite.resolution(rewrite.width_multiplier(arch, 0.5), 128)
        assert [kinds(each) for each in lower(arch)] == [kinds(each) for each in lower(other)]


def test_the_zoo_s_kinds():
    """All blocks have words; the large layers are VGG's and AlexNet's."""
    large = [name for name in zoo.names() if "large fully connected layer" in kinds_of(lower(zoo.get(name)))]
    assert large == ["vgg16", "alexnet"]
    assert {"channel shuffle", "concatenation", "1x1 grouped convolution"} <= kinds_of(lower(zoo.get("shufflenet_v1")))


# ---- families and errors


def errors_of_networks_left_out(phone: str, group: Callable[[Arch], Hashable]) -> tuple[int, list[float]]:
    """How many networks, and of each published latency its error by a fit to those of other groups: as the docstrings
    define it, from the latencies themselves."""
    rows = known.published(phone)
    networks, off = set(), []
    for row in rows:
        others = [other for other in rows if group(other.arch) != group(row.arch)]
        shared = sorted({other.source_set for other in others})
        if row.source_set not in shared:
            continue
        costs, factors = calibrated._fit(
            np.array([calibrated.network_features(other.arch) for other in others]),
            np.array([other.ms for other in others]),
            np.array([shared.index(other.source_set) for other in others]),
            len(shared),
            shared.index("mobilenet_v3_paper_table3"),
        )
        ms = factors[shared.index(row.source_set)] * (calibrated.network_features(row.arch) @ costs)
        networks.add(row.arch)
        off.append(abs(ms / row.ms - 1))
    return len(networks), off


@pytest.mark.parametrize(
    ("phone", "networks", "one", "with_family", "family"),
    [("pixel1", 32, 0.045, 19, 0.055), ("pixel2", 9, 0.037, 9, 0.039), ("pixel3", 9, 0.050, 9, 0.051)],
)
def test_the_errors_of_shipped_tables_are_those_of_networks_left_out(phone, networks, one, with_family, family):
    error = latency_luts.load(phone).error
    assert error is not None
    assert error.family is not None
    count, off = errors_of_networks_left_out(phone, lambda arch: arch)
    assert (error.networks, error.mape, error.worst) == (count, pytest.approx(np.mean(off)), pytest.approx(max(off)))
    assert (count, round(error.mape, 3)) == (networks, one)
    count, off = errors_of_networks_left_out(phone, lambda arch: zoo.family(arch.name))
    assert (error.family.networks, error.family.mape) == (count, pytest.approx(np.mean(off)))
    assert (count, round(error.family.mape, 3), error.family.families) == (with_family, family, 4)


def test_families():
    assert zoo.family("mobilenet_v3_small 0.75") == zoo.family("mobilenet_v3_large") == "mobilenet_v3"
    assert zoo.family("mnasnet_a1 0.35") == zoo.family("mnasnet_small") == "mnasnet"
    assert zoo.family("mine 0.5") == "mine"
    assert len({zoo.family(name) for name in zoo.names()}) == len(zoo._FAMILIES)


def made_up(costs=(1e-7, 1e-5, 1e-8, 0.01)) -> list[KnownLatency]:
    """Random networks of three families in two set-ups, with noise; family c is alone in its set-up d."""
    rng = np.random.default_rng(0)
    archs = [replace(arch, name=f"{'abc'[i % 3]} {i}") for i, arch in enumerate(random_archs(30, rng_seed=0))]
    return [
        KnownLatency(
            arch=arch,
            ms=float(calibrated.network_features(arch) @ np.array(costs)) * float(np.exp(0.1 * rng.standard_normal())),
            source_set="d" if arch.name in ("c 26", "c 29") else "s",
        )
        for arch in archs
    ]


def test_a_family_is_left_out_whole():
    """Its latencies are those of a table calibrated without it, neither the fit's nor those of leave-one-out."""
    rows = made_up()
    table = calibrate.calibrate("made_up", rows, reference="s")
    for family in "abc":
        others = latency_luts.LatencyModel(
            calibrate.calibrate("others", [row for row in rows if not row.arch.name.startswith(family)], reference="s")
        )
        for row, fit in zip(rows, table.networks, strict=True):
            if fit.family == family:
                alone = row.source_set == "d"
                expected = None if alone else pytest.approx(others.latency_ms(row.arch), rel=1e-5)
                assert fit.family_out_ms == expected
                assert fit.family_out_ms != pytest.approx(fit.left_out_ms, rel=1e-4)
    error = latency_luts.LatencyModel(table).error
    assert error is not None
    assert error.family is not None
    assert (error.networks, error.family.networks, error.family.families) == (30, 28, 3)
    off = [abs(fit.family_out_ms / fit.ms - 1) for fit in table.networks if fit.family_out_ms is not None]
    assert error.family.mape == pytest.approx(np.mean(off))
    assert f"on 30 networks (worst {error.worst:.1%}), {error.family.mape:.1%} on 28 of them with" in described(
        latency_luts.LatencyModel(table), rows[0].arch
    )


def test_one_family_says_nothing_of_others():
    one = [replace(row, arch=replace(row.arch, name="a"), source_set="s") for row in made_up()]
    table = calibrate.calibrate("made_up", one)
    assert {fit.family_out_ms for fit in table.networks} == {None}
    model = latency_luts.LatencyModel(table)
    assert model.error is not None
    assert model.error.networks == 30  # of one name, all in one set
    assert model.describe().endswith(", not known with a network's whole family left out")


def test_what_no_network_has_is_free():
    """Networks without a depthwise convolution, as ResNets, tell nothing of its price."""
    archs = [zoo.get("resnet50", resolution_px=32 * i) for i in range(2, 8)]
    table = calibrate.calibrate(
        "big", [KnownLatency(arch=arch, ms=9.0 + i, source_set="") for i, arch in enumerate(archs)]
    )
    assert table.costs["depthwise_row"] == 0
    assert max(table.costs.values()) > 0


# ---- what a table's error says nothing of


def test_networks_of_the_fit_s_kinds_have_nothing_to_add():
    model = latency_luts.load("pixel1")
    for name in ("mobilenet_v2", "mnasnet_a1", "mobilenet_v3_small", "proxyless_r", "mobilenet_v1"):
        its = unseen(model, zoo.get(name))
        assert its is not None
        assert (its.share, its.kinds) == (0, ())
        assert described(model, zoo.get(name)) == model.describe()


def test_the_share_is_that_of_units_with_a_new_kind():
    """Two blocks alike but for a pooled shortcut and swish, which no network of the fit had; worked out by hand."""
    seen = MBConv(in_ch=16, mid_ch=48, out_ch=16, kernel=3, skip="identity")
    stem, last = ConvBN(in_ch=3, out_ch=16, kernel=3, stride=2), Classifier(in_ch=16, out_ch=10)
    arch = Arch(name="new", resolution_px=64, blocks=(stem, seen, replace(seen, skip="pool", act="swish"), last))
    model = latency_luts.load("pixel1")
    ms = [model.unit_ms(each) for each in lower(arch)]
    its = unseen(model, arch)
    assert its is not None
    assert ms[2] is not None
    assert its.share == pytest.approx(ms[2] / model.latency_ms(arch))
    assert its.kinds == ("average pooling", "swish")
    assert model.error is not None
    assert model.error.family is not None
    rest = (model.latency_ms(arch) - ms[2]) * model.error.family.mape
    assert its.low_ms == pytest.approx(model.latency_ms(arch) - ms[2] * (1 - UNSEEN[0]) - rest)
    assert its.high_ms == pytest.approx(model.latency_ms(arch) + ms[2] * (UNSEEN[1] - 1) + rest)


def test_vgg16_on_a_phone_that_was_fitted_to_mobile_networks():
    words = of_network(latency_luts.load("pixel1"), zoo.get("vgg16"))
    assert words.startswith(
        "99% of the network's 2,466 ms is in kinds of units that no network of the fit had (3x3 conv"
    )
    assert "\n" not in words
    low, high = (float(word.replace(",", "")) for word in words.removesuffix(" ms").split()[-3::2])
    assert low < 1000
    assert high > 3500


def test_half_of_what_random_networks_of_mnasnet_do_was_not_seen(space):
    model = latency_luts.load("pixel1")
    archs = [space.decode(row) for row in space.sample(np.random.default_rng(0), 60)]
    shares = [its.share for arch in archs if (its := unseen(model, arch))]
    assert np.mean(np.array(shares) > 0) > 0.9
    assert of_networks(model, archs).startswith(f"{np.median(shares):.0%} of a random network's time (median) is in ")
    assert of_networks(model, [zoo.get("mobilenet_v2")] * 3) == ""


def test_measured_units_are_all_known():
    from tests.latency_tables import measured_table

    archs = random_archs(2, rng_seed=0)
    model = latency_luts.LatencyModel(measured_table(archs, ms=2.0))
    assert of_network(model, archs[0]) == of_networks(model, archs) == ""


def older(path, **provenance) -> CalibratedTable:
    """The shipped table of Pixel 1 as older versions wrote it, with `provenance` added."""
    from latency_luts import table

    write(latency_luts.load("pixel1").table, path)
    data = json.loads(path.read_text())
    for n in data["networks"]:
        del n["family"], n["family_out_ms"]
    del data["provenance"]["kinds"], data["sha256"]
    data["provenance"] |= provenance
    path.write_text(json.dumps(data | {"sha256": table._checksum(data)}))
    found = read(path)
    assert isinstance(found, CalibratedTable)
    return found


def test_older_tables_say_what_is_not_known(tmp_path):
    model = latency_luts.LatencyModel(older(tmp_path / "pixel1.json"))
    assert model.error is not None
    assert model.error.networks == 32
    assert "on 32 networks (worst 17.8%), not known with a network's whole family left out" in model.describe()
    assert unseen(model, zoo.get("vgg16")) is None
    said = "which kinds of units its fit had is not known; calibrate it again to know"
    assert of_network(model, zoo.get("vgg16")) == of_networks(model, [zoo.get("vgg16")]) == said
    assert model.latency_ms(zoo.get("vgg16")) == latency_luts.load("pixel1").latency_ms(zoo.get("vgg16"))
    with pytest.raises(TableError, match=r"kinds is \[3\]; it must be a list of texts"):
        older(tmp_path / "pixel1.json", kinds=[3])

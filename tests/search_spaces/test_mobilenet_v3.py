"""The space `mobilenet_v3` is TuNAS's `mobilenet_v3_like_search`: golden values from the rules of its code.

Points and networks below were worked out by hand from google-research's tunas/mobile_search_space_v3.py (what is
searched), search_space_utils.py (how channels are rounded) and rematlib/mobile_model_v3.py (what is built).
"""

import math
import pickle
from dataclasses import replace
from itertools import product

import numpy as np
import onnxruntime
import pytest
import torch

import latency_luts
from nas.journal import Journal, JournalError
from nas.report.summary import by_block
from nas_runtime.records import Records
from netadapt.channels import groups
from search_spaces import cost, onnx_net, rewrite, spaces, timm_notation, torch_net, zoo
from search_spaces.arch import Arch, Classifier, ConvBN, MBConv, SepConv
from search_spaces.layout import Layout

SPACE = spaces.get("mobilenet_v3")
STAGES = range(1, 6)

FILTERS = {  # base times 0.5, 0.625, 0.75, 1, 1.25, 1.5, 2, halves of a multiple of 8 rounded up
    "stem": (8, 16, 24, 32),  # 16: 8, 10, 12, 16, 20, 24, 32
    "stage1": (8, 16, 24, 32),
    "stage2": (16, 24, 32, 40, 48, 64),  # 32: 16, 20, 24, 32, 40, 48, 64
    "stage3": (32, 40, 48, 64, 80, 96, 128),
    "stage4": (64, 80, 96, 128, 160, 192, 256),
    "stage5": (128, 160, 192, 256, 320, 384, 512),
    "head": (256, 320, 384, 512, 640, 768, 1024),
    "hidden": (512, 640, 768, 1024, 1280, 1536, 2048),
}


@pytest.fixture
def whole():
    """The space, made anew for each test: what is made before shows no fault of the making."""
    return spaces.get("mobilenet_v3")


def test_what_is_searched_and_in_which_order(whole):
    """TuNAS visits what is inside an option before the choice itself, and a block's layers before its filters."""
    names = ["stem.kernel", "separable.kernel", "separable.present", "stem.filters"]
    for s in STAGES:
        names += [f"stage{s}.layer1.{what}" for what in ("kernel", "expansion", "se")]
        names += [f"stage{s}.layer{n}.{what}" for n in (2, 3, 4) for what in ("kernel", "expansion", "se", "present")]
        names.append(f"stage{s}.filters")
    names += ["head.filters", "hidden.filters"]
    assert [choice.name for choice in whole.choices] == names
    options = {"kernel": (3, 5, 7), "expansion": (1, 2, 3, 4, 5, 6), "se": (False, True), "present": (True, False)}
    for choice in whole.choices:
        layer, _, what = choice.name.rpartition(".")
        expected = FILTERS[layer] if what == "filters" else options[what]
        assert choice.options == ((3, 5) if choice.name == "stem.kernel" else expected), choice.name
        optional = f"{layer}.present" in names and what != "present"
        assert choice.when == ((f"{layer}.present", (True,)) if optional else None)


def test_size(whole):
    layer = 3 * 6 * 2
    stem = 2 * 3 * 2
    filters = 4 * 4 * 6 * 7**5
    assert whole.size == stem * filters * (layer**4 * 2**3) ** 5
    assert math.log10(whole.size) == pytest.approx(42.93, abs=0.005)  # "around 10^43" in TuNAS's README


def test_the_coefficients_of_tunas_cost_model_are_as_many():
    """Its linear model has one for each option of a layer, times those of the filters that it reads and writes:
    activations, poolings and the ends of stages count as layers. The published one has 29,068 (cost_model_data.py)."""
    sizes = [len(choice.options) for choice in SPACE.choices if choice.name.endswith("filters")]
    stem, *stages, head, hidden = sizes
    layer = 36
    total = stem * 2 + stem * stem * (1 + (3 + 1) + 1)  # convolution; activation, separable layer or none, end
    for number, (before, own) in enumerate(zip(sizes[:5], stages, strict=True), 1):
        total += before * own * layer + 3 * own * own * (layer + 1) + own * own * (number != 3)
    total += stages[-1] * head + 2 * head * head  # convolution; activation, pooling
    total += head * hidden + hidden * hidden
    assert total == 29_068


def test_how_many_networks_differ():
    """A stage is its first layer and up to three more, in order: which of them are left out changes nothing."""
    stage = 36 * (1 + 36 + 36**2 + 36**3)
    different = 2 * (1 + 3) * 4 * 4 * 6 * 7**5 * stage**5
    assert different == pytest.approx(1.98e38, rel=0.01)
    base = SPACE.describe(SPACE.largest)
    found = set()
    for kernels in product((3, 5, None), repeat=3):  # a stage where each layer is one of two, or absent
        for n, kernel in enumerate(kernels, 2):
            base |= {f"stage2.layer{n}.present": kernel is not None, f"stage2.layer{n}.kernel": kernel or 7}
        found.add(SPACE.decode(SPACE.encode(base)))
    assert len(found) == 1 + 2 + 2**2 + 2**3  # of 27 points


# ---- golden networks: in, mid, out, kernel, squeeze-and-excite of each bottleneck, "+" where it is residual

SMALLEST = (
    (8, 8, 8, 3, 0, ""),
    (8, 8, 16, 3, 0, ""),
    (16, 16, 32, 3, 0, ""),
    (32, 32, 64, 3, 0, ""),
    (64, 64, 128, 3, 0, ""),
)
LARGEST = (
    (32, 192, 32, 7, 48, ""),
    *[(32, 192, 32, 7, 48, "+")] * 3,
    (32, 192, 64, 7, 48, ""),
    *[(64, 384, 64, 7, 96, "+")] * 3,
    (64, 384, 128, 7, 96, ""),
    *[(128, 768, 128, 7, 192, "+")] * 3,
    (128, 768, 256, 7, 192, ""),
    *[(256, 1536, 256, 7, 384, "+")] * 3,
    (256, 1536, 512, 7, 384, ""),
    *[(512, 3072, 512, 7, 768, "+")] * 3,
)
POINT = (  # as TuNAS's tools print it
    "1:2:0:2:"  # stem 5x5, separable 7x7, present, 24 filters
    "0:2:1:" "1:0:1:0:" "2:3:0:1:" "0:5:1:0:" "1:"  # stage 1: 3 layers of 16
    "1:3:0:" "0:0:0:1:" "1:1:1:1:" "2:2:0:1:" "3:"  # stage 2: 1 layer of 40
    "2:4:1:" "0:0:1:0:" "1:1:1:1:" "1:1:0:0:" "4:"  # stage 3: 3 layers of 80
    "0:0:1:" "2:5:0:0:" "0:0:0:1:" "0:0:0:1:" "1:"  # stage 4: 2 layers of 80, as many as the first one reads
    "1:1:1:" "0:0:0:0:" "1:2:1:0:" "2:1:0:0:" "2:"  # stage 5: 4 layers of 192
    "4:4"
)  # fmt: skip
OF_POINT = (
    (24, 72, 16, 3, 24, ""),  # 72/4 = 18, to 16, which is more than 10 % less: 24
    (16, 16, 16, 5, 8, "+"),
    (16, 96, 16, 3, 24, "+"),
    (16, 64, 40, 5, 0, ""),
    (40, 200, 80, 7, 48, ""),  # 200/4 = 50, to 48
    (80, 80, 80, 3, 24, "+"),
    (80, 160, 80, 5, 0, "+"),
    (80, 80, 80, 3, 24, ""),
    (80, 480, 80, 7, 0, "+"),
    (80, 160, 192, 5, 40, ""),
    (192, 192, 192, 3, 0, "+"),
    (192, 576, 192, 5, 144, "+"),
    (192, 384, 192, 7, 0, "+"),
)
GOLDEN = {  # point; stem's filters and kernel, separable layer's kernel (0: none), bottlenecks, head, hidden layer
    "smallest": ([int(c.name.endswith("present")) for c in SPACE.choices], (8, 3, 0, SMALLEST, 256, 512)),
    "largest": (SPACE.largest, (32, 5, 7, LARGEST, 1024, 2048)),
    "indices": ([int(index) for index in POINT.split(":")], (24, 5, 7, OF_POINT, 640, 1280)),
}
COSTS = {  # MAdds and parameters, by `by_hand`
    "smallest": (8_765_312, 696_704),
    "largest": (1_985_012_736, 40_413_720),
    "indices": (171_578_688, 3_186_744),
}


def network(stem: int, kernel: int, separable: int, bottlenecks, head: int, hidden: int) -> Arch:
    """The network of such a line: strides 2, 2, 2, 1, 2 at the first layers of the stages, which are not residual; ReLU
    in the first two stages."""
    blocks = [ConvBN(in_ch=3, out_ch=stem, kernel=kernel, stride=2, act="hard_swish")]
    if separable:
        blocks.append(SepConv(in_ch=stem, out_ch=stem, kernel=separable, act="relu", skip="identity"))
    stage = 0
    for in_ch, mid_ch, out_ch, kernel, se_ch, residual in bottlenecks:
        stage += not residual
        same = {"in_ch": in_ch, "mid_ch": mid_ch, "out_ch": out_ch, "kernel": kernel, "se_ch": se_ch}
        same |= {"stride": 1 if residual or stage == 4 else 2, "act": "relu" if stage < 3 else "hard_swish"}
        blocks.append(MBConv(**same, se_act="relu", se_gate="sigmoid", skip="identity" if residual else "none"))
    blocks.append(ConvBN(in_ch=bottlenecks[-1][2], out_ch=head, kernel=1, act="hard_swish"))
    blocks.append(Classifier(in_ch=head, hidden_ch=hidden, out_ch=1000, act="hard_swish"))
    return Arch(name="by hand", resolution_px=224, blocks=tuple(blocks))


def by_hand(stem: int, kernel: int, separable: int, bottlenecks, head: int, hidden: int) -> tuple[int, int]:
    """Multiply-adds and parameters at 224 px, counted convolution by convolution: (weights, positions) of each, and for
    the parameters two values of batch norm, or one bias, a channel."""
    convs = [(kernel**2 * 3 * stem, 112**2, 2 * stem)]
    if separable:
        convs += [(separable**2 * stem, 112**2, 2 * stem), (stem * stem, 112**2, 2 * stem)]
    maps, stage = (112, 56, 28, 14, 14, 7), 0
    for in_ch, mid_ch, out_ch, kernel, se_ch, residual in bottlenecks:
        stage += not residual
        read, write = maps[stage if residual else stage - 1] ** 2, maps[stage] ** 2
        convs.append((in_ch * mid_ch, read, 2 * mid_ch))
        convs.append((kernel**2 * mid_ch, write, 2 * mid_ch))
        if se_ch:
            convs += [(mid_ch * se_ch, 1, se_ch), (se_ch * mid_ch, 1, mid_ch)]
        convs.append((mid_ch * out_ch, write, 2 * out_ch))
    convs.append((bottlenecks[-1][2] * head, 7**2, 2 * head))
    convs += [(head * hidden, 1, hidden), (hidden * 1000, 1, 1000)]
    return sum(n * positions for n, positions, _ in convs), sum(n + others for n, _, others in convs)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_networks(name, whole):
    point, line = GOLDEN[name]
    arch = whole.decode(point)
    assert arch == network(*line)
    assert (cost.madds(arch), cost.params(arch)) == by_hand(*line) == COSTS[name]


def test_the_nearest_to_mobilenet_v3_large():
    """Its blocks with what the space has instead of 112 and 960 filters, expansions of 2.5 and 2.3, and hard gates."""
    depths = {1: 2, 2: 3, 3: 4, 4: 2, 5: 3}
    filters = {"stem": 16, "stage1": 24, "stage2": 40, "stage3": 80, "stage4": 128, "stage5": 160}
    expansions = {1: (4, 3), 2: (3, 3, 3), 3: (6, 2, 2, 2), 4: (6, 6), 5: (6, 6, 6)}
    options = {f"{name}.filters": ch for name, ch in {**filters, "head": 1024, "hidden": 1280}.items()}
    options |= {"stem.kernel": 3, "separable.kernel": 3, "separable.present": True}
    for s, depth in depths.items():
        for n in range(1, 5):
            there = n <= depth
            own = {"kernel": 5 if s in (2, 5) else 3, "expansion": expansions[s][n - 1] if there else 1}
            own |= {"se": s in (2, 4, 5), **({"present": there} if n > 1 else {})}
            options |= {f"stage{s}.layer{n}.{name}": value for name, value in own.items()}
    large = zoo.get("mobilenet_v3_large")
    channels, expanded = {112: 128, 960: 1024}, {200: 160, 184: 160, 672: 768}
    blocks = []
    for block in large.blocks:
        changed = {"in_ch": channels.get(block.in_ch, block.in_ch), "out_ch": channels.get(block.out_ch, block.out_ch)}
        if isinstance(block, MBConv):
            mid_ch = expanded.get(block.mid_ch, block.mid_ch)
            changed |= {"mid_ch": mid_ch, "se_gate": "sigmoid", "se_ch": rewrite.make_divisible(mid_ch / 4)}
            changed["se_ch"] *= block.se_ch > 0
        blocks.append(replace(block, **changed))
    assert SPACE.decode(SPACE.encode(options)) == replace(large, blocks=tuple(blocks))


def test_a_narrower_space_has_fewer_options():
    narrow = spaces.get("mobilenet_v3", base_width=0.375)
    filters = {c.name: c.options for c in narrow.choices if c.name.endswith("filters")}
    assert filters["stem.filters"] == filters["stage1.filters"] == (8, 16)  # of 6: 3 to 12
    assert filters["stage2.filters"] == (8, 16, 24)  # of 12: 6, 7.5, 9, 12, 15, 18, 24
    assert filters["stage3.filters"] == (16, 24, 32, 40, 48)  # of 24: 12, 15, 18, 24, 30, 36, 48
    assert filters["stage5.filters"] == (48, 64, 72, 96, 120, 144, 192)  # of 96, 60 to 64
    assert filters["hidden.filters"] == (192, 240, 288, 384, 480, 576, 768)
    assert len(narrow.choices) == 86


def test_layers_are_told_apart_by_their_order_only():
    """Shared weights belong to positions: of a stage with one further layer the first, wherever it was chosen."""
    base = SPACE.describe(SPACE.largest) | {f"stage3.layer{n}.present": False for n in (2, 3, 4)}
    archs = [SPACE.decode(SPACE.encode(base | {f"stage3.layer{n}.present": True})) for n in (2, 3, 4)]
    assert archs[0] == archs[1] == archs[2]
    layers = list(SPACE.declared().variants())
    decided = [{name for name in layers[i].choices if "3.l" in name} for i, _ in Layout(SPACE).positions(archs[2])]
    first, second = (names for names in decided if names)
    assert first == {f"stage3.layer1.{name}" for name in ("kernel", "expansion", "se")}
    assert second == {f"stage3.layer2.{name}" for name in ("kernel", "expansion", "se", "present")}


def test_the_space_can_be_sent_to_other_processes():
    again = pickle.loads(pickle.dumps(SPACE))
    assert again.decode(SPACE.largest) == SPACE.decode(SPACE.largest)
    assert again.units() == SPACE.units()


def random_networks(n: int, *, rng_seed: int = 0, **skeleton) -> list[Arch]:
    space = spaces.get("mobilenet_v3", **skeleton)
    return [space.decode(row) for row in space.sample(np.random.default_rng(rng_seed), n)]


def test_latencies_by_part_are_those_of_the_networks():
    model = latency_luts.load("pixel1")
    points = SPACE.sample(np.random.default_rng(0), 20)
    each = [model.latency_ms(SPACE.decode(point)) for point in points]
    np.testing.assert_allclose(model.latency_ms_batch(SPACE, points), each, rtol=1e-9)


def test_onnx_computes_what_torch_does():
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for arch in random_networks(4, base_width=0.375, resolution_px=32, classes=10):
        net = torch_net.build(arch, generator=torch.Generator().manual_seed(1)).eval()
        session = onnxruntime.InferenceSession(onnx_net.model(arch, net=net).SerializeToString())
        (answers,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        with torch.inference_mode():
            np.testing.assert_allclose(answers, net(x).numpy(), rtol=1e-3, atol=1e-5)


def test_in_timm_s_notation():
    for arch in random_networks(40):
        again = timm_notation.read(timm_notation.write(arch), in_ch=3, se_of="gated")
        assert again == arch.blocks[:-1]
    smallest = SPACE.decode(GOLDEN["smallest"][0])
    assert timm_notation.write(smallest)[:2] == ["cn_r1_k3_s2_c8_nhs", "ir_r1_k3_s2_e1_c8_nre"]


def test_what_netadapt_narrows_together():
    arch = SPACE.decode(GOLDEN["indices"][0])
    found = {group.name: group.channels for group in groups(arch)}
    widths = {f"expansion of block {i}": mid_ch for i, (_, mid_ch, *_) in enumerate(OF_POINT, 2)}
    assert found == widths | {
        "stem": 24,  # with the separable layer, block 1
        "bottleneck of blocks 2-4": 16,
        "bottleneck of block 5": 40,
        "bottleneck of blocks 6-8": 80,
        "bottleneck of blocks 9-10": 80,  # equal channels, but no shortcut between the stages
        "bottleneck of blocks 11-14": 192,
        "head convolution": 640,
        "hidden layer": 1280,
    }


def test_what_was_chosen_is_shown_layer_by_layer():
    columns, rows = by_block(SPACE.describe(GOLDEN["indices"][0]))
    assert columns == ["block", "kernel", "filters", "present", "expansion", "se"]
    shown = {row[0]: row[1:] for row in rows}
    assert shown["stem"] == ["5", "24", "-", "-", "-"]
    assert shown["stage1.layer2"] == ["5", "-", "True", "1", "True"]
    assert shown["stage1"] == ["-", "16", "-", "-", "-"]
    assert len(rows) == 2 + 5 * 5 + 2


def test_runs_of_the_space_of_earlier_versions_are_refused(tmp_path):
    Records(tmp_path / "journal.jsonl", "journal").append({"sample": 0, "indices": [0] * 73})
    with pytest.raises(
        JournalError,
        match=r"does not belong to this search space \(.* has 86 choices, not shape \(73,\)\); use another",
    ):
        Journal(tmp_path / "journal.jsonl", SPACE.decode)

"""Spaces that are declared: what follows from the declaration, of ours and of a user's own."""

import hashlib
import json
import pickle
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch

from latency_luts import build
from latency_luts.key import key
from nas import controllers
from nas.executor import SerialExecutor
from nas.loop import search
from nas.reward import Reward
from nas.supernet import prepare
from nas.supernet.evaluator import SharedWeights
from nas.supernet.phases import MODES, PHASES, Phase
from nas.training import sources
from nas.training.recipe import Recipe
from nas.training.trainer import Trainer
from nas_runtime.console import new_console
from search_spaces import cost, spaces, text
from search_spaces.arch import Classifier, ConvBN, MBConv, SepConv
from search_spaces.layout import Layout
from search_spaces.lower import lower
from search_spaces.space import Layer, OneOf, SearchSpace, declare

FROZEN = json.loads((Path(__file__).parents[1] / "data" / "spaces.json").read_text())


# ---- the shipped spaces are what they were when journals were written


def digests(name: str, **skeleton) -> dict[str, str]:
    """Of a space's choices, of 500 random networks, and of its units."""
    space = spaces.get(name, **skeleton)
    points = [*space.sample(np.random.default_rng(0), 500), space.largest]
    return {
        "choices": digest([[choice.name, choice.options, choice.when] for choice in space.choices]),
        "networks": digest([text.to_dict(space.decode(point)) for point in points]),
        "units": digest(sorted(map(key, space.units()))),
    }


def digest(value) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


@pytest.mark.parametrize("case", FROZEN, ids=lambda case: f"{case['name']}-{case['skeleton']}")
def test_points_stand_for_the_networks_that_they_stood_for(case):
    """Journals hold indices: what a file of digests has was made by the code that wrote the first of them."""
    assert digests(case["name"], **case["skeleton"]) == case["digests"]


# ---- a user's own space: nothing but its declaration


def bottleneck(in_ch, out_ch, kernel, expansion, stride):
    skip = "identity" if stride == 1 and in_ch == out_ch else "none"
    return MBConv(in_ch=in_ch, mid_ch=expansion * in_ch, out_ch=out_ch, kernel=kernel, stride=stride, skip=skip)


def perhaps(in_ch, op, act):
    return None if op == "skip" else SepConv(in_ch=in_ch, out_ch=in_ch, kernel=int(op), act=act, skip="identity")


def ending(in_ch, mid_ch, classes):
    return ConvBN(in_ch=in_ch, out_ch=mid_ch, kernel=1), Classifier(in_ch=mid_ch, out_ch=classes)


def mine(*, base_width: float = 1.0, resolution_px: int = 32, classes: int = 10) -> SearchSpace:
    """A choice for all layers of a stage, one for each layer, one for the whole network, layers that may be absent, and
    one that may be skipped."""
    act = OneOf("act", ("relu", "hard_swish"))
    stages = [
        Layer(
            bottleneck,
            kernel=OneOf(f"stage{s}.kernel", (3, 5)),
            expansion=OneOf(f"stage{s}.expansion", (2, 3)),
            out_ch=OneOf(f"stage{s}.filters", {width: int(base_width * width * ch) for width in (0.5, 1.0)}),
            repeat=OneOf(f"stage{s}.layers", {"none": 0, "one": 1, "two": 2}, largest="two"),
            stride=2,
        )
        for s, ch in enumerate((16, 32), 1)
    ]
    layers = [
        Layer(ConvBN, out_ch=OneOf("stem.filters", (8, 12)), kernel=3, stride=2, act=act),
        *stages,
        Layer(perhaps, op=OneOf("extra", ("skip", "3", "5")), act=act),
        Layer(ending, mid_ch=24, classes=classes),
    ]
    return declare("mine", layers, resolution_px=resolution_px)


def test_choices_in_the_order_of_the_declaration():
    """That of the activation, which stands in two layers, comes after all that stand before the last of them."""
    stage = ["kernel", "expansion", "filters", "layers"]
    names = [f"stage{s}.{name}" for s in (1, 2) for name in stage]
    assert [choice.name for choice in mine().choices] == ["stem.filters", *names, "extra", "act"]
    choices = {choice.name: choice for choice in mine().choices}
    assert choices["stage1.filters"].options == (0.5, 1.0)
    conditions = {name: choice.when for name, choice in choices.items() if choice.when}
    there = {f"stage{s}.{name}": (f"stage{s}.layers", ("one", "two")) for s in (1, 2) for name in stage[:-1]}
    assert conditions == there


def test_a_network_of_ones_own_space():
    space = mine()
    stage1 = {"stage1.kernel": 5, "stage1.expansion": 3, "stage1.filters": 1.0, "stage1.layers": "two"}
    stage2 = {"stage2.kernel": 3, "stage2.expansion": 2, "stage2.filters": 1.0, "stage2.layers": "none"}
    point = space.encode({"stem.filters": 12, **stage1, **stage2, "extra": "3", "act": "hard_swish"})
    arch = space.decode(point)
    assert (arch.name, arch.resolution_px) == ("mine", 32)
    assert arch.blocks == (
        ConvBN(in_ch=3, out_ch=12, kernel=3, stride=2, act="hard_swish"),
        MBConv(in_ch=12, mid_ch=36, out_ch=16, kernel=5, stride=2),
        MBConv(in_ch=16, mid_ch=48, out_ch=16, kernel=5, skip="identity"),
        SepConv(in_ch=16, out_ch=16, kernel=3, act="hard_swish", skip="identity"),
        ConvBN(in_ch=16, out_ch=24, kernel=1),
        Classifier(in_ch=24, out_ch=10),
    )
    assert [len(blocks) for blocks in space.declared().blocks(point)] == [1, 2, 0, 1, 2]
    assert Layout(space).positions(arch) == ((0, 0), (1, 0), (1, 1), (3, 0), (4, 0), (4, 1))
    shorter, longer = (arch.blocks[:-1], (*arch.blocks, Classifier(in_ch=10, out_ch=10)))
    for blocks in (shorter, longer):
        with pytest.raises(ValueError, match="network 'mine' is not one of space 'mine'"):
            Layout(space).positions(replace(arch, blocks=blocks))
    largest = {"stem.filters": 12, "extra": "5", "act": "hard_swish"}
    largest |= {f"stage{s}.{name}": n for s in (1, 2) for name, n in (("kernel", 5), ("expansion", 3), ("filters", 1))}
    assert space.describe(space.largest) == largest | {"stage1.layers": "two", "stage2.layers": "two"}


def test_a_layer_depends_on_its_own_choices_and_on_what_decides_what_it_reads():
    decided = [set(layer.choices) for layer in mine().declared().variants()]
    own = [{f"stage{s}.{name}" for name in ("kernel", "expansion", "filters", "layers")} for s in (1, 2)]
    reads = [{f"stage{s}.filters", f"stage{s}.layers"} for s in (1, 2)]
    assert decided[0] == {"stem.filters", "act"}
    assert decided[1] == {"stem.filters"} | own[0]
    assert decided[2] == {"stem.filters"} | reads[0] | own[1]  # 12 or 8 channels where stage 1 is left out
    assert decided[3] == {"stem.filters", "extra", "act"} | reads[0] | reads[1]
    assert decided[4] == {"stem.filters"} | reads[0] | reads[1]
    before = [set(layer.choices) for layer in spaces.get("mnasnet").declared().variants()][2]
    assert {name for name in before if "block1" in name} == {"block1.filters", "block1.layers"}


def test_all_units_and_no_others():
    """Of all networks, one by one."""
    space = mine()
    assert space.size == 2 * (2 * 2 * 2 * 3) ** 2 * 3 * 2
    rng = np.random.default_rng(0)
    seen = {unit for point in space.sample(rng, 2500) for unit in lower(space.decode(point))}
    assert seen == space.units()


@pytest.mark.parametrize("mode", MODES)
def test_a_table_prices_and_shared_weights_for_a_declared_space(tmp_path, fake, mode):
    """No line beside the declaration."""
    torch.set_num_threads(1)
    machine = fake(unit_ms=lambda name, call: len(name))
    machine.network_ms = lambda arch: 1.1 * sum(len(key(unit)) for unit in lower(arch))
    space = mine()
    latency = build.build_for_space(space, tables_dir=tmp_path)
    points = space.sample(np.random.default_rng(0), 200)
    single = [latency.latency_ms(space.decode(point)) for point in points]
    assert len(set(single)) > 50
    np.testing.assert_allclose(latency.latency_ms_batch(space, points), single, rtol=1e-12)
    data = sources.load("fashion_mnist_mini", train_images=96, holdout=60)
    trainer = Trainer(data=data, recipe=Recipe())
    shared = prepare.SharedPlan(
        recipe=Recipe(steps=6, batch=16),
        phases={name: Phase(share=1, lr=1e-3) for name in PHASES},
        kernels="centre", band=0.9, images=60, bn_images=48, mode=mode,
    )  # fmt: skip
    target_ms = float(np.median(single))
    reward = Reward(name="absolute", target_ms=target_ms)
    problem = prepare.Problem(space=space, latency=latency, target_ms=target_ms, reward=reward)
    weights, learned = prepare.prepare(
        tmp_path, shared, problem, trainer=trainer, rng_seed=0, threads=1, console=new_console()
    )
    evaluator = SharedWeights(
        key=mode, space=space, weights=SerialExecutor().share(weights), trainer=trainer, kernels="centre", images=60,
        bn_images=48,
    )  # fmt: skip
    trials = search(
        space=space,
        controller=learned or controllers.make("evolution", space, rng_seed=0),
        evaluate=evaluator.evaluate,
        latency_ms=latency.latency_ms,
        reward=reward,
        samples=12,
    )
    assert [trial.status for trial in trials] == ["ok"] * 12
    assert (learned is not None) == (mode == "joint")


def test_the_largest_network_has_all_layers():
    """Others learn from it."""
    layers = [Layer(ConvBN, out_ch=8, kernel=3), Layer(perhaps, op=OneOf("op", ("3", "skip")), act="relu")]
    layout = Layout(declare("s", [*layers, Layer(Classifier, out_ch=10)], resolution_px=32))
    with pytest.raises(ValueError, match="its largest network lacks layer 2, which others have; say which option"):
        prepare._check_largest(layout)
    prepare._check_largest(Layout(mine()))


def test_a_declared_space_can_be_sent_to_other_processes():
    space = mine()
    space.decode(space.largest)
    size_bytes = len(pickle.dumps(space))
    [space.decode(point) for point in space.sample(np.random.default_rng(0), 50)]
    assert len(pickle.dumps(space)) == size_bytes  # what is remembered stays here
    again = pickle.loads(pickle.dumps(space))
    assert again.decode(space.largest) == space.decode(space.largest)
    assert again.units() == space.units()


def test_the_images_size_may_be_a_choice():
    layers = [Layer(ConvBN, out_ch=8, kernel=OneOf("kernel", (3, 5)), stride=2), Layer(Classifier, out_ch=10)]
    space = declare("sizes", layers, resolution_px=OneOf("resolution_px", (32, 48)))
    archs = [space.decode(point) for point in ([0, 0], [1, 0], [1, 1])]
    assert [arch.resolution_px for arch in archs] == [32, 48, 48]
    assert [layer.choices for layer in space.declared().variants()] == [("resolution_px", "kernel"), ("resolution_px",)]
    assert space.units() == {unit for px in (0, 1) for k in (0, 1) for unit in lower(space.decode([px, k]))}


def test_a_choice_for_the_whole_network_may_mean_something_else_in_each_layer():
    width = {ch: OneOf("width", {0.5: ch // 2, 1.0: ch}) for ch in (16, 32)}
    size = OneOf("size", (32, 48))
    layers = [
        Layer(ConvBN, out_ch=width[16], kernel=3, stride=2),
        Layer(ConvBN, out_ch=width[32], kernel=3, repeat=OneOf("there", (True, False))),
        Layer(ConvBN, out_ch=size, kernel=OneOf("kernel", (3, 5)), repeat=OneOf("there", {True: 0, False: 1})),
        Layer(Classifier, out_ch=10),
    ]
    space = declare("wide", layers, resolution_px=size)
    channels = {
        (width, there): [block.out_ch for block in space.decode(space.encode(options)).blocks]
        for width in (0.5, 1.0)
        for there in (True, False)
        if (options := {"size": 48, "width": width, "there": there, "kernel": 3})
    }
    assert channels == {
        (0.5, True): [8, 16, 10], (0.5, False): [8, 48, 10], (1.0, True): [16, 32, 10], (1.0, False): [16, 48, 10],
    }  # fmt: skip
    conditions = {choice.name: choice.when for choice in space.choices}
    assert conditions == {"width": None, "size": None, "there": None, "kernel": ("there", (False,))}
    decided = [layer.choices for layer in space.declared().variants()]
    reads = ("width", "size", "there")
    assert decided == [("width", "size"), reads, ("width", "size", "kernel", "there"), reads]
    assert len(space.units()) == len({unit for point in np.ndindex(2, 2, 2, 2) for unit in lower(space.decode(point))})


def test_what_reads_the_same_does_not_depend_on_how_it_came_about():
    """Two choices of filters that cancel out, and a kernel that changes neither channels nor size."""
    layers = [
        Layer(ConvBN, out_ch=OneOf("a", (8, 16)), kernel=OneOf("kernel", (3, 5)), stride=2),
        Layer(ConvBN, out_ch=OneOf("b", {"x": 8, "y": 8}), kernel=1),
        Layer(Classifier, out_ch=10),
    ]
    decided = [layer.choices for layer in declare("s", layers, resolution_px=32).declared().variants()]
    assert decided == [("a", "kernel"), ("a", "b"), ()]


# ---- mistakes


def space(*layers, resolution_px=32, **stem):
    return declare("s", [Layer(ConvBN, **{"out_ch": 8, "kernel": 3, **stem}), *layers], resolution_px=resolution_px)


def a_list(in_ch):
    return [ConvBN(in_ch=in_ch, out_ch=8, kernel=3)]


KERNEL = OneOf("kernel", (3, 5))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: OneOf("kernel", "35"), "choice 'kernel': options are '35'; give a tuple"),
        (lambda: OneOf("kernel", {}), "choice 'kernel' has no options"),
        (lambda: OneOf("kernel", (3, 5), largest=7), "choice 'kernel': the largest is 7; allowed: 3, 5"),
        (lambda: Layer("ConvBN"), "a layer is built by 'ConvBN'; give a kind of blocks, or a function"),
        (lambda: declare("s", [], resolution_px=32), r"space 's': layers are \(\); give at least one Layer"),
        (lambda: declare("s", [ConvBN], resolution_px=32), "give at least one Layer, and only these"),
        (lambda: space(), "space 's' has no choices"),
        (lambda: space(kernel=OneOf("kernel", (4, 6))), r"layer 1 \(ConvBN\): ConvBN: kernel is 6; it must be odd"),
        (lambda: space(kernl=KERNEL), r"layer 1 \(ConvBN\): .*unexpected keyword argument 'kernl'"),
        (lambda: space(Layer(a_list), kernel=KERNEL), r"layer 2 \(a_list\): 'list' object has no attribute 'out_ch'"),
        (
            lambda: space(Layer(perhaps, op="3"), kernel=KERNEL),
            r"layer 2 \(perhaps\): .*missing 1 required positional argument: 'act'",
        ),
        (
            lambda: space(Layer(ConvBN, out_ch=8, kernel=OneOf("kernel", (3, 7))), kernel=KERNEL),
            "'kernel' is one of 3, 5 in one place and one of 3, 7 in another, or has two largest",
        ),
        (
            lambda: space(Layer(ConvBN, out_ch=8, kernel=3, repeat=OneOf("n", (1, 2.5)))),
            r"layer 2 \(ConvBN\): repeat is 2.5; allowed: whole numbers from 0 to 1000",
        ),
        (lambda: space(kernel=KERNEL, repeat=-1), "repeat is -1; allowed: whole numbers from 0"),
        (lambda: space(kernel=KERNEL, resolution_px=0), "resolution_px is 0; it must be at least 1"),
        (
            lambda: space(*(optional(i) for i in range(5))).units(),
            r"layer 5 \(ConvBN\) depends on .* choices with [0-9,]* combinations; allowed: 1,000,000. Fix some",
        ),
    ],
)
def test_messages(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def optional(i: int) -> Layer:
    """One of a row that change the channels, each maybe absent."""
    filters = OneOf(f"layer{i}.filters", tuple(range(8, 24)))
    return Layer(ConvBN, out_ch=filters, kernel=1, repeat=OneOf(f"layer{i}.there", (False, True)))


def test_what_a_function_alone_lacks():
    named = partial(SearchSpace, name="alone", choices=mine().choices)
    alone = named(decode=mine().decode)
    for lacking in (alone.units, lambda: alone.largest, lambda: Layout(alone)):
        with pytest.raises(ValueError, match=r"space 'alone' is a function alone, so .*; declare its layers"):
            lacking()
    assert prod(len(choice.options) for choice in alone.choices) == alone.size
    assert cost.params(alone.decode([0] * len(alone.choices))) > 0

"""Search spaces and rewrites."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.testing import SPACE_CHECKS
from search_spaces import cost, rewrite, spaces, zoo
from search_spaces.accel_nasbench import options_of
from search_spaces.arch import MBConv
from search_spaces.choice import listed
from search_spaces.lower import lower
from search_spaces.space import Choice, SearchSpace, check_skeleton
from tests.conftest import random_archs

WIDTHS = {"accel_nasbench": (1.0,)}  # whose channels are fixed


@pytest.mark.parametrize("check", SPACE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", spaces.names())
def test_a_promise_of_all_spaces(name, check):
    check(partial(spaces.get, name), WIDTHS.get(name, (0.35, 1.0)))


def test_mnasnet_has_432_options_a_block():
    space = spaces.get("mnasnet")
    assert space.size == 432**7 == 2_807_929_681_968_365_568
    assert len(space.choices) == 42


def test_mnasnet_skeleton_is_mobilenet_v2(space):
    """The options op=mbconv6, kernel 3, no SE, identity, filters 1.0, layers +0 are MobileNetV2 with ReLU and its first
    block expanded."""
    full = spaces.get("mnasnet")
    options = {"op": "mbconv6", "kernel": 3, "se": 0.0, "skip": "identity", "filters": 1.0, "layers": 0}
    picked = {f"block{b}.{name}": value for b in range(1, 8) for name, value in options.items()}
    picked["block1.op"] = "sepconv"
    arch = full.decode(full.encode(picked))
    v2 = zoo.get("mobilenet_v2")
    assert cost.madds(arch) == cost.madds(v2)
    assert cost.params(arch) == cost.params(v2)


def test_layers_minus_one_leaves_block_1_out():
    space = spaces.get("mnasnet")
    base = {c.name: c.options[-1] for c in space.choices}
    with_it = space.decode(space.encode({**base, "block1.layers": 0}))
    without = space.decode(space.encode({**base, "block1.layers": -1}))
    assert len(with_it.blocks) == len(without.blocks) + 1


def test_pool_is_added_where_channels_match_and_identity_where_also_the_stride_is_1():
    space = spaces.get("mnasnet")
    base = {c.name: c.options[0] for c in space.choices} | {"block4.op": "mbconv6", "block4.layers": 0}
    for skip in ("pool", "identity", "none"):
        blocks = [b for b in space.decode(space.encode({**base, "block4.skip": skip})).blocks if isinstance(b, MBConv)]
        assert [b.skip for b in blocks] == ["none", *[skip] * 3]


@given(st.integers(0, 2**32 - 1))
def test_describe_and_encode_are_inverse(seed):
    space = spaces.get("mnasnet", base_width=0.5)
    indices = space.sample(np.random.default_rng(seed), 1)[0]
    assert (space.encode(space.describe(indices)) == indices).all()


def test_samples_are_those_of_their_seed(space):
    first, same, other = (space.sample(np.random.default_rng(seed), 20) for seed in (0, 0, 1))
    assert (first == same).all()
    assert (first != other).any()


def test_mutate_changes_one_choice(space):
    rng = np.random.default_rng(0)
    for row in space.sample(rng, 50):
        assert (space.mutate(rng, row) != row).sum() == 1


@pytest.mark.parametrize("name", spaces.names())
def test_what_may_stand_at_the_layers_are_the_units_of_the_networks(name):
    space = spaces.get(name, base_width=1.0 if name == "accel_nasbench" else 0.5)
    layers = list(space.declared().variants())
    sizes = {choice.name: len(choice.options) for choice in space.choices}
    for row in space.sample(np.random.default_rng(1), 50):
        picks = dict(zip(sizes, row, strict=True))
        units = []
        for layer in layers:
            shape = [sizes[name] for name in layer.choices]
            units += layer.units[layer.index.reshape(shape)[tuple(picks[name] for name in layer.choices)]]
        assert tuple(units) == lower(space.decode(row))


def test_units_of_the_space_are_those_of_its_networks(space):
    units = space.units()
    rows = space.sample(np.random.default_rng(0), 400)
    seen = {unit for row in rows for unit in lower(space.decode(row))}
    assert seen <= units
    assert len(seen) > 0.5 * len(units)  # and not many more than that


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spaces.get("darts"), "no search space 'darts'; there are: mnasnet, mobilenet_v3"),
        (lambda: spaces.get("mnasnt"), "no search space 'mnasnt'; did you mean mnasnet.; there are"),
        (lambda: spaces.get(["mnasnet"]), "no search space .'mnasnet'.; did you mean mnasnet.; there are"),
        (lambda: spaces.get("mnasnet", base_width=0), "base_width is 0; allowed: above 0"),
        (lambda: spaces.get("mnasnet", resolution_px=16), "resolution_px is 16; allowed: 32 or more"),
        (lambda: spaces.get("mnasnet", base_width=float("nan")), "base_width is nan; allowed: above 0"),
        (lambda: spaces.get("mnasnet", base_width="1"), "base_width is '1'; allowed: above 0"),
        (lambda: spaces.get("mnasnet", resolution_px=224.0), r"resolution_px is 224\.0; allowed: 32 or more"),
        (lambda: spaces.get("mobilenet_v3", resolution_px=(256, 128)), r"resolution_px is \(256, 128\); allowed"),
        (lambda: spaces.get("accel_nasbench", classes=True), "classes is True; allowed: 2 or more"),
        (lambda: spaces.get("mnasnet", classes=10**12), "classes is 1000000000000; allowed: 2 or more, whole, at most"),
        (lambda: spaces.get("mnasnet").encode({}), "choice 'block1.op' is missing; give an option for each choice"),
        (
            lambda: spaces.get("mnasnet").encode({"block1.kernl": 3}),
            "no choice 'block1.kernl'; did you mean block1.kernel",
        ),
        (lambda: spaces.get("mnasnet").encode(3), "3 is no choice of options"),
        (lambda: spaces.get("mnasnet").sample(np.random.default_rng(0), -1), "-1 samples; it must be a whole number"),
        (lambda: spaces.get("mnasnet").active(np.zeros(42, int)), r"takes indices \(n, 42\), not \(42,\)"),
        (lambda: spaces.get("mnasnet").describe([0, 1]), "has 42 choices, not shape"),
        (lambda: spaces.get("mnasnet").describe([9] * 42), "block1.op: index 9 is outside 0..3"),
        (lambda: Choice("kernel", ()), "choice 'kernel' has no options"),
        (lambda: Choice("kernel", "35"), "choice 'kernel': options are '35'; give a tuple"),
        (lambda: Choice("kernel", (3, 5, 3)), "choice 'kernel' has the option 3 twice"),
        (lambda: Choice("kernel", (3, [5])), r"choice 'kernel': option \[5\] is no plain value"),
        (lambda: Choice("kernel", (3, math.nan)), "choice 'kernel': option nan is no plain value"),
        (lambda: Choice("kernel", (3, print)), "choice 'kernel': option <built-in function print> is no plain value"),
        (lambda: Choice("a\x1b[2J", (3,)), "a choice's name is 'a.x1b.2J'; it must be a text"),
        (lambda: Choice(3, (3,)), "a choice's name is 3; it must be a text"),
        (lambda: Choice("kernel", (3,), when="layers"), "when is 'layers'; give the name of a choice and a tuple"),
        (lambda: Choice("kernel", (3,), when=("layers", ())), "give the name of a choice and a tuple of its options"),
        (lambda: SearchSpace(name="s", choices=(), decode=tuple), "space 's' has no choices"),
        (lambda: SearchSpace(name="s", choices=(Choice("a", (1,)),), decode=None), "decode is None; give a function"),
        (
            lambda: SearchSpace(name="s", choices=(Choice("a", (1,)),), decode=lambda i: None).decode([0]),
            r"space 's': decode gave NoneType for \[0\]; it must give an Arch",
        ),
        (
            lambda: SearchSpace(name="s", choices=(Choice("a", (1,)),), decode=lambda i: None).units(),
            "space 's' is a function alone, so its units cannot be listed .*; declare its layers",
        ),
        (
            lambda: SearchSpace(name="s", choices=(Choice("a", (1,)), Choice("a", (2,))), decode=lambda i: None),
            "two choices named 'a'",
        ),
    ],
)
def test_messages(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("value", "expected"), [(3, 8), (11.2, 16), (12, 16), (27, 32), (26, 24), (18, 24), (90, 88), (91, 88)]
)
def test_make_divisible(value, expected):
    assert rewrite.make_divisible(value) == expected


@given(st.floats(1, 4000))
def test_make_divisible_is_near(value):
    rounded = rewrite.make_divisible(value)
    assert rounded % 8 == 0
    assert rounded >= 0.9 * value
    assert rounded <= max(8, value + 8)


@pytest.mark.parametrize(
    ("px", "min_px", "maps"),
    [(32, 4, {16, 8, 4}), (28, 4, {14, 7, 4}), (28, 2, {14, 7, 4, 2}), (96, 4, {48, 24, 12, 6})],
)
def test_small_image_strides(px, min_px, maps):
    for arch in [zoo.get("mobilenet_v2"), *random_archs(5, rng_seed=3)]:
        small = rewrite.small_image(arch, px, min_px=min_px)
        assert {unit.out_shape[1] for unit in lower(small)[:-1]} == maps
        assert cost.params(small) == cost.params(arch)


def test_width_multiplier_of_random_networks():
    for arch in random_archs(20, rng_seed=4):
        narrow, wide = (rewrite.width_multiplier(arch, width) for width in (0.5, 2.0))
        assert cost.madds(narrow) <= cost.madds(arch) <= cost.madds(wide)
        assert len(narrow.blocks) == len(arch.blocks)
    with pytest.raises(ValueError, match="width is 0"):
        rewrite.width_multiplier(arch, 0)


@pytest.mark.parametrize("name", spaces.names())
def test_choices_that_do_not_matter_change_nothing_and_all_others_something(name):
    space = spaces.get(name)
    rng = np.random.default_rng(0)
    points = space.sample(rng, 300)
    active = space.active(points)
    assert active.any(axis=0).all()
    conditional = np.array([choice.when is not None for choice in space.choices])
    assert (~active).any(axis=0)[conditional].all() or not conditional.any()
    canonical = space.canonical(points)
    for point, same in zip(points, canonical, strict=True):
        assert space.decode(point) == space.decode(same)
    changed = [space.mutate(rng, point) for point in points]
    assert (space.canonical(np.array(changed)) != canonical).any(axis=1).all()


def test_conditions_are_checked():
    def space(when, other=None):
        choices = (Choice("layers", (0, 1), when=other), Choice("kernel", (3, 5), when=when))
        return SearchSpace(name="mine", choices=choices, decode=lambda _: zoo.get("mobilenet_v2"))

    assert space(("layers", (1,))).active(np.array([[0, 1], [1, 1]])).tolist() == [[True, False], [True, True]]
    for wrong, message in (
        ((("layer", (1,)),), "depends on 'layer', which is no choice; did you mean layers"),
        ((("layers", (2,)),), "choice 'kernel' is for layers=2; allowed: 0, 1"),
        ((("kernel", (3,)),), "depends on 'kernel', which itself depends on a choice"),
        ((("layers", (1,)), ("kernel", (3,))), "which itself depends on a choice; allowed: choices that always matter"),
    ):
        with pytest.raises(ValueError, match=message):
            space(*wrong)


@pytest.mark.parametrize("name", spaces.names())
def test_only_indices_of_the_space_are_decoded(name):
    space = spaces.get(name)
    count = len(space.choices)
    for wrong, message in (
        ([-1] * count, "index -1 is outside 0.."),
        ([99] * count, "index 99 is outside 0.."),
        ([0.0] * count, "takes indices, which are whole numbers, not values of type float64"),
        (np.zeros(count), "not values of type float64"),
        ([True] * count, "not true and false"),
        (np.zeros(count, bool), "not values of type bool"),
        ([2**70] * count, "not values of type object"),
        (["0"] * count, "not values of type <U1"),
        ([0] * (count - 1), f"has {count} choices, not shape"),
        (np.zeros((2, count), int), f"has {count} choices, not shape"),
        ([[0], [0, 0]], "not a list of lists"),
        (None, f"takes a list of {count}, not None"),
    ):
        for function in (space.decode, space.describe):
            with pytest.raises(ValueError, match=f"^space '{space.name}'.*{message}"):
                function(wrong)
    zeros = space.decode([0] * count)
    assert space.decode(tuple([0] * count)) == space.decode(np.zeros(count, np.uint8)) == zeros
    assert replace(space, declaration=None).decode([0] * count) == zeros  # checked once, not twice
    assert not isinstance(replace(space, declaration=None).decode.function, type(space.decode))


@pytest.mark.parametrize("wrong", [(4.01, 32, 2), (1, 31, 2), (1, 65_537, 2), (1, 32, 1), (1, 32, 1_000_001)])
def test_skeletons_have_limits(wrong):
    check_skeleton(4, 32, 2)
    check_skeleton(1e-9, 65_536, 1_000_000)
    with pytest.raises(ValueError, match=r"^space\.(base_width|resolution_px|classes) is [0-9._]*; allowed: "):
        check_skeleton(*wrong)


@pytest.mark.parametrize(("count", "more"), [(20, ""), (21, " and 1 more"), (25, " and 5 more")])
def test_at_most_20_options_are_listed(count, more):
    assert listed(range(count)) == ", ".join(map(str, range(20))) + more


def test_accel_nasbench_has_the_benchmarks_networks():
    """Parameters of rows of the benchmark's table (its column params_m)."""
    space = spaces.get("accel_nasbench")
    assert space.size == 36**6 * 48
    assert accel(space, "6466611", "3535533", "1233222", "0000000") == 2_501_160
    assert accel(space, "6166464", "3533355", "1321212", "0000000") == 3_444_360
    assert accel(space, "4644616", "5535353", "3222333", "0010001") == 6_213_160


def accel(space, *digits):
    names = ("expansion", "kernel", "layers", "se")
    options = {
        f"block{b + 1}.{n}": int(d[b]) * (0.25 if n == "se" else 1)
        for n, d in zip(names, digits, strict=True)
        for b in range(7)
    }
    return cost.params(space.decode(space.encode(options)))


def test_options_of_a_network_are_those_it_was_decoded_from():
    space = spaces.get("accel_nasbench")
    for row in space.sample(np.random.default_rng(0), 50):
        found = [option for block in options_of(space.decode(row)) for option in block]
        assert found == list(space.describe(row).values())
    for other in (zoo.get("mnasnet_a1"), zoo.get("mobilenet_v1"), spaces.get("mnasnet").decode(np.ones(42, int))):
        with pytest.raises(ValueError, match="is not a network of the space accel_nasbench"):
            options_of(other)

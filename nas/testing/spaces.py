"""What is promised of every space that has a name (`search_spaces.spaces`)."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

import latency_luts
from nas.testing.promise import promise, refused
from search_spaces import cost, onnx_net, text
from search_spaces.arch import Arch
from search_spaces.layout import Layout
from search_spaces.lower import lower
from search_spaces.space import SearchSpace

__all__ = ["SPACE_CHECKS", "MakeSpace", "check_space"]

MakeSpace = Callable[..., SearchSpace]
"""Called as ``make(base_width=1.0, resolution_px=224, classes=1000)``."""

_RESOLUTION_PX, _CLASSES, _DEVICE = 64, 10, "pixel1"


def check_space(make: MakeSpace, *, base_widths: Sequence[float] = (0.5, 1.0)) -> None:
    """Whether a space keeps what is promised of all: every point is a network of the size that was asked for, which can
    be written, built, run and priced in all ways with the same result.

    Args:
        make: called as ``make(base_width=1.0, resolution_px=224, classes=1000)``.
        base_widths: that the space has, the smallest first.

    Raises:
        AssertionError: a promise that is not kept.
    """
    for check in SPACE_CHECKS:
        check(make, base_widths)


def points_are_networks_of_the_size_asked_for(make: MakeSpace, base_widths: Sequence[float]) -> None:
    for base_width in base_widths:
        for resolution_px, classes in ((224, 1000), (_RESOLUTION_PX, _CLASSES)):
            asked = f"base_width={base_width:g}, resolution_px={resolution_px}, classes={classes}"
            space = make(base_width=base_width, resolution_px=resolution_px, classes=classes)
            promise(isinstance(space, SearchSpace), f"{asked}: it must give a SearchSpace, not {type(space).__name__}")
            for point, arch in _networks(space, 50):
                made, last = (arch.resolution_px, arch.blocks[-1].out_ch), lower(arch)[-1].out_shape
                promise(
                    made == (resolution_px, classes), f"{asked}: {_at(point)} is of {made[0]} px, {made[1]} classes"
                )
                promise(last[0] == classes, f"{asked}: {_at(point)} ends with the shape {last}")


def sizes_without_sense_are_refused(make: MakeSpace, base_widths: Sequence[float]) -> None:
    for wrong in ({"base_width": 0}, {"base_width": float("nan")}, {"resolution_px": 0}, {"classes": 1}):
        with refused(f"{wrong}"):
            make(**{"base_width": base_widths[-1], "resolution_px": 224, "classes": 1000, **wrong})


def made_again_it_is_the_same(make: MakeSpace, base_widths: Sequence[float]) -> None:
    space, again = (_small(make, base_widths[0]) for _ in range(2))
    promise(space.choices == again.choices, "made again, it must have the same choices")
    for point, arch in _networks(space, 20):
        promise(
            arch == again.decode(point) == space.decode(point), f"made again, {_at(point)} must be the same network"
        )
        promise(arch == space.decode(point.tolist()), f"{_at(point)} must be the same network as a list")


def points_can_be_described(make: MakeSpace, base_widths: Sequence[float]) -> None:
    space = _small(make, base_widths[0])
    for point, _ in _networks(space, 50):
        same = np.array_equal(space.encode(space.describe(point)), point)
        promise(same, f"encode(describe(...)) must give {_at(point)} back")


def choices_that_do_not_matter_change_nothing(make: MakeSpace, base_widths: Sequence[float]) -> None:
    space = _small(make, base_widths[0])
    for point, arch in _networks(space, 100):
        same = space.decode(space.canonical(point[None])[0])
        promise(same == arch, f"{_at(point)} must be the same network without the choices that do not matter in it")


def the_largest_network_is_one(make: MakeSpace, base_widths: Sequence[float]) -> None:
    """Of a declared space: one that is a function alone does not say which it is."""
    space = _small(make, base_widths[0])
    if space.declaration is None:
        return
    least = np.median([cost.params(arch) for _, arch in _networks(space, 50)])
    promise(cost.params(space.decode(space.largest)) >= least, "the largest network must not be among the smaller half")


def networks_survive_json(make: MakeSpace, base_widths: Sequence[float]) -> None:
    for point, arch in _networks(_small(make, base_widths[0]), 50):
        promise(text.from_json(text.to_json(arch)) == arch, f"{_at(point)} must be the same network after JSON")


def onnx_and_torch_agree(make: MakeSpace, base_widths: Sequence[float]) -> None:
    from search_spaces import torch_net

    for point, arch in _networks(_small(make, base_widths[0]), 2):
        with tempfile.TemporaryDirectory() as folder:
            try:
                onnx_net.export(arch, Path(folder) / "network.onnx", net=torch_net.build(arch))
            except ValueError as e:
                raise AssertionError(f"{_at(point)} must compute the same in ONNX Runtime and in torch: {e}") from e


def wider_networks_cost_no_less(make: MakeSpace, base_widths: Sequence[float]) -> None:
    spaces = [_small(make, base_width) for base_width in base_widths]
    for point, _ in _networks(spaces[0], 20):
        for name, of in (("multiply-adds", cost.madds), ("parameters", cost.params)):
            costs = [of(space.decode(point)) for space in spaces]
            promise(costs == sorted(costs), f"{_at(point)} has {costs} {name} at base_width {list(base_widths)}")


def latencies_are_the_same_one_by_one(make: MakeSpace, base_widths: Sequence[float]) -> None:
    space, model = make(base_width=base_widths[-1], resolution_px=224, classes=1000), latency_luts.load(_DEVICE)
    points = space.sample(np.random.default_rng(0), 20)
    at_once = model.latency_ms_batch(space, points)
    for point, ms in zip(points, at_once.tolist(), strict=True):
        single = model.latency_ms(space.decode(point))
        promise(abs(single - ms) <= 1e-9 * single, f"{_at(point)} takes {single} ms, and {ms} ms in a batch")


def units_are_those_of_its_networks(make: MakeSpace, base_widths: Sequence[float]) -> None:
    """Of a declared space: one that is a function alone cannot list them."""
    space = _small(make, base_widths[0])
    if space.declaration is None:
        return
    units = space.units()
    for point, arch in _networks(space, 100):
        promise(units.issuperset(lower(arch)), f"{_at(point)} has units that space.units() has not")


def blocks_have_positions(make: MakeSpace, base_widths: Sequence[float]) -> None:
    """Of a declared space, for shared weights."""
    space = _small(make, base_widths[0])
    if space.declaration is None:
        return
    layout = Layout(space)
    for point, arch in _networks(space, 50):
        known = all(
            block in layout.blocks[position]
            for position, block in zip(layout.positions(arch), arch.blocks, strict=True)
        )
        promise(known, f"{_at(point)} has a block that its layer does not give")


SPACE_CHECKS: tuple[Callable[[MakeSpace, Sequence[float]], None], ...] = (
    points_are_networks_of_the_size_asked_for,
    sizes_without_sense_are_refused,
    made_again_it_is_the_same,
    points_can_be_described,
    choices_that_do_not_matter_change_nothing,
    the_largest_network_is_one,
    networks_survive_json,
    onnx_and_torch_agree,
    wider_networks_cost_no_less,
    latencies_are_the_same_one_by_one,
    units_are_those_of_its_networks,
    blocks_have_positions,
)


def _small(make: MakeSpace, base_width: float) -> SearchSpace:
    return make(base_width=base_width, resolution_px=_RESOLUTION_PX, classes=_CLASSES)


def _networks(space: SearchSpace, n: int) -> Iterator[tuple[np.ndarray, Arch]]:
    """Random points (C,), and the first and the last one, with their networks."""
    ends = [[0] * len(space.choices), [len(choice.options) - 1 for choice in space.choices]]
    for point in np.concatenate([np.array(ends), space.sample(np.random.default_rng(0), n)]):
        try:
            yield point, space.decode(point)
        except Exception as e:
            raise AssertionError(f"{_at(point)} must be a network: {type(e).__name__}: {e}") from e


def _at(point: np.ndarray) -> str:
    return f"the point {point.tolist()}"

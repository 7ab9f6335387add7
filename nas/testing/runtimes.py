"""What is promised of every runtime (`latency_luts.runtime.RUNTIMES`)."""

import contextlib
import inspect
import math
import time
from collections.abc import Callable

from latency_luts.runtime import BlockRuntime, Runtime
from nas.testing.promise import promise, refused
from search_spaces import rewrite, zoo
from search_spaces.arch import Arch

__all__ = ["check_runtime"]

_RUNS = 5
_ALIKE = 10  # times: what is timed once may have waited, but seconds are no milliseconds


def check_runtime(kind: Callable[..., Runtime]) -> None:
    """Whether a runtime says its version, runs networks and blocks of one again and again, several in turns, and a
    batch of two or refuses it, tells the seconds of blocks if it tells any, and refuses what it cannot compute in.

    Args:
        kind: gives the runtime, as ``runtime=my_package:Mine`` names it: a class.

    Raises:
        AssertionError: a promise that is not kept.
    """
    runtime = kind()
    version = runtime.version
    promise(
        isinstance(version, str) and version.split() == [version],
        f"the version is {version!r}; it must be a text without spaces, of which tables are",
    )
    promise(kind().version == version, f"the version is {version!r}, and then {kind().version!r}; it must not change")
    network = rewrite.classes(zoo.get("mobilenet_v3_small", width=0.35, resolution_px=64), 10)
    block = Arch(name="unit", resolution_px=32, blocks=network.blocks[1:2])
    runs = [runtime.prepare(arch, batch=1) for arch in (network, block)]
    for _ in range(_RUNS):  # in turns: one that is prepared later must not disturb those before
        for run in runs:
            run()
    with contextlib.suppress(ValueError):  # which says that it has no batches
        runtime.prepare(network, batch=2)()
    if isinstance(runtime, BlockRuntime):
        _check_blocks(runtime, network, _seconds(runs[0]))
    if "dtype" in inspect.signature(kind).parameters:
        with refused("dtype='none'"):
            kind(dtype="none")


def _check_blocks(runtime: BlockRuntime, network: Arch, whole_s: float) -> None:
    run = runtime.prepare_blocks(network, batch=1)
    every = [list(run()) for _ in range(_RUNS)]
    for seconds in every:
        promise(
            len(seconds) == len(network.blocks),
            f"a network of {len(network.blocks)} blocks has {len(seconds)} times; it must have one for each block",
        )
        promise(
            all(math.isfinite(s) and s >= 0 for s in seconds),
            f"its blocks take {seconds} seconds; these must be numbers, and not below 0",
        )
    blocks_s = min(map(sum, every))
    promise(
        whole_s / _ALIKE < blocks_s < whole_s * _ALIKE,
        f"the blocks of a network take {blocks_s:g} seconds together, and the network {whole_s:g}; are these seconds?",
    )


def _seconds(run: Callable[[], object]) -> float:
    """Of the fastest of some calls."""
    found = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)

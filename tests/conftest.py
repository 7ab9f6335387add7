"""Shared fixtures: random architectures, a tiny data set, and one torch thread for everything."""

import contextlib
import logging
import signal

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from latency_luts import build, schedule, validate
from nas.training.datasets import Dataset, Split, make
from nas_runtime.compose import compose, plain
from nas_runtime.options import read
from search_spaces import spaces
from search_spaces.arch import Arch
from search_spaces.space import SearchSpace
from tests.fake_machine import HERE, FakeMachine

torch.set_num_threads(1)
for _number in (signal.SIGINT, signal.SIGHUP):
    # ignored, under nohup or behind an `&`, it would be ignored by every program that a test starts and stops, too
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)
# the same examples in every run, however fast the machine is
settings.register_profile(
    "repeatable", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _no_handlers_left():
    """A library that logs to what was standard output in one test would write to a closed file in the next."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def space() -> SearchSpace:
    return spaces.get("mnasnet", base_width=0.35)


def options_of(kind, **values):
    """The options of a command as conf/ has them, but for `values`."""
    return read(kind, {**plain(compose(kind.config, [])), **values})


def random_archs(n: int, *, rng_seed: int, base_width: float = 0.35, resolution_px: int = 96) -> list[Arch]:
    space = spaces.get("mnasnet", base_width=base_width, resolution_px=resolution_px)
    return [space.decode(row) for row in space.sample(np.random.default_rng(rng_seed), n)]


@pytest.fixture(scope="session")
def stripes() -> Dataset:
    """Three classes of 12-px grey images that differ in brightness: learnt in a few steps."""
    rng = np.random.default_rng(0)

    def split(n: int) -> Split:
        labels = rng.integers(0, 3, n)
        noise = rng.integers(0, 40, (n, 12, 12, 1))
        return Split((labels[:, None, None, None] * 80 + noise).astype(np.uint8), labels.astype(np.int64))

    return make("stripes", train=split(96), holdout=split(60), test=split(60), classes=3)


@pytest.fixture
def fake(monkeypatch):
    """``fake(**settings)``: from now on, what would measure this machine measures a `FakeMachine`."""

    def use(**settings):
        machine = FakeMachine(**settings)
        for module in (build, validate):
            monkeypatch.setattr(module, "bench", lambda how: contextlib.nullcontext(machine))
        for module in (build, schedule):
            monkeypatch.setattr(module, "identity", lambda **how: HERE)
        return machine

    return use

"""Runtimes of others: how they are timed, and that what was measured with two is never mixed."""

import sys
import time
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import cast

import numpy as np
import pytest

import latency_luts
from latency_luts import build, by_calls, due, measure, on_device, runtime, store
from latency_luts.by_calls import CallBench
from latency_luts.key import key
from latency_luts.measurements import REFERENCES
from latency_luts.runtime import OnnxRuntime
from latency_luts.table import Identity, MeasuredTable, TableError, read, write
from nas.job import Job
from nas.plan import open_latency
from search_spaces import spaces, zoo
from search_spaces.lower import lower
from tests.conftest import random_archs
from tests.fake_machine import named
from tests.latency_luts.test_devices import run

MINE = "my_runtime:Runtime"


class Clock:
    """A runtime that takes 1 ms for a block and 0.25 ms for a call, by a clock that it moves itself."""

    def __init__(self) -> None:
        self.now_s, self.called = 0.0, list[str]()

    version = "1.5"

    def prepare(self, arch, *, batch):
        lower(arch)  # a network, or a block of one

        def call() -> None:
            self.called.append(arch.name)
            self.now_s += (len(arch.blocks) + 0.25) / 1e3

        return call


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """``runtime=my_runtime:Runtime``, and no other clock."""
    made, module = Clock(), ModuleType("my_runtime")

    class Runtime:
        version = property(lambda self: made.version)

        def prepare(self, arch, *, batch):
            return made.prepare(arch, batch=batch)

    module.Runtime = Runtime  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_runtime", module)
    monkeypatch.setattr(by_calls.time, "perf_counter", lambda: made.now_s)
    return made


def test_networks_take_turns(clock):
    archs = [replace(zoo.get("mobilenet_v2", resolution_px=32), name=name) for name in "abc"]
    timings = CallBench(clock, batch=1).time_networks(archs, bursts=4)
    assert [timing.ms for timing in timings] == pytest.approx([len(archs[0].blocks) + 0.25] * 3)
    assert timings[0].reference_ms > 1
    turns = "".join(name for name in clock.called if name in "abc")
    assert turns == "aabbcc" * 5  # a warm and a timed run, in a first round and four others
    assert set(clock.called) == {*"abc", *REFERENCES}


def test_each_unit_of_a_chain_is_timed_by_itself(clock):
    chains = [zoo.get("mobilenet_v2", resolution_px=32), zoo.get("mobilenet_v3_small", resolution_px=32)]
    timings = CallBench(clock, batch=1).time_chains(chains, bursts=3)
    for chain, timing in zip(chains, timings, strict=True):
        assert timing.keys == tuple(map(key, lower(chain)))
        assert timing.ms == pytest.approx([1.25] * len(chain.blocks))
        assert timing.spread == pytest.approx([0.0] * len(chain.blocks), abs=1e-4)
        assert set(timing.kernels) == {1}
        assert timing.runs == 3


class Counting:
    """A runtime that says itself what blocks take: 1 ms the first, 2 ms the second, and so on; the more, the colder."""

    version = "1"

    def __init__(self, clock: Clock) -> None:
        self.prepare, self.called = clock.prepare, clock.called

    def prepare_blocks(self, arch, *, batch):
        runs = 0

        def run() -> list[float]:
            nonlocal runs
            runs += 1
            self.called.append(arch.name)
            return [(1 + i) * (1 + 1 / runs) / 1e3 for i in range(len(arch.blocks))]

        return run


def test_units_are_timed_inside_a_chain_where_the_runtime_says_what_they_take(clock):
    chain = replace(zoo.get("mobilenet_v3_small", resolution_px=32), name="chain")
    counting = Counting(clock)
    (timing,) = CallBench(counting, batch=1).time_chains([chain], bursts=3)
    assert counting.called.count("chain") == 8  # a warm and a timed run, in a first round and three others
    assert timing.ms == pytest.approx([(1 + i) * (1 + 1 / 8) for i in range(len(chain.blocks))])
    assert timing.runs == 3
    assert timing.spread == pytest.approx([(1 / 5 - 1 / 7) / (1 + 1 / 6)] * len(chain.blocks), abs=0.02)
    assert timing.reference_ms > 1


def test_a_table_of_another_runtime(clock, tmp_path):
    """Its correction takes the time of calls off the units."""
    archs = random_archs(12, rng_seed=0)
    how, path = measure.identity(runtime=MINE), tmp_path / "host_mine.json"
    units = {unit for arch in archs for unit in lower(arch)}
    table = build.build("host_mine", units, named(archs), path, how=how)
    assert read(path) == table
    assert (table.identity.runtime, table.identity.runtime_name) == (f"{MINE} 1.5", MINE)
    assert "by itself" in table.provenance["statistic"]
    model = latency_luts.load(path)
    assert f"{MINE} 1.5, 1 thread" in model.describe()
    for arch in archs:
        assert model.latency_ms(arch) == pytest.approx(len(arch.blocks) + 0.25, rel=1e-3)


def test_two_runtimes_are_never_mixed(clock, tmp_path, monkeypatch):
    a, b = random_archs(2, rng_seed=0)
    mine, path = measure.identity(runtime=MINE), tmp_path / "host.json"
    build.build("host", lower(a), {}, path, how=mine)
    before = path.read_bytes()
    here = measure.identity()
    said = (
        f"was measured with runtime {MINE} 1.5, but here is runtime {here.runtime}; give runtime={MINE}, or another "
        "device name, or measure again with: python -m latency_luts.build device=host fresh=true"
    )
    with pytest.raises(TableError, match=said):
        build.build("host", lower(b), {}, path, how=here)
    clock.version = "1.6"
    said = f"but here is runtime {MINE} 1.6; measure again with: .* device=host runtime={MINE} fresh=true"
    with pytest.raises(TableError, match=said):
        build.build("host", lower(b), {}, path, how=measure.identity(runtime=MINE))
    assert path.read_bytes() == before
    log = tmp_path / "host.json.measured"
    monkeypatch.setattr(due, "together", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build.build("host", lower(b), {}, path, how=mine)
    assert log.exists()
    path.unlink()
    with pytest.raises(TableError, match="was begun on another machine or runtime"):
        build.build("host", lower(b), {}, path, how=here)


def interrupted(*given):
    raise KeyboardInterrupt


def test_a_search_measures_what_a_table_lacks_with_the_table_s_runtime(clock, tmp_path):
    space = spaces.get("mnasnet", base_width=0.01, resolution_px=32)
    arch = space.decode(space.sample(np.random.default_rng(0), 1)[0])
    path = tmp_path / "host.json"
    build.build("host", lower(arch)[:3], {}, path, how=measure.identity(runtime=MINE))
    clock.called.clear()
    job = SimpleNamespace(
        run_dir=None,
        resumed=False,
        target=SimpleNamespace(device="host"),
        dry_run=False,
        tables_dir=tmp_path,
        table_error=0.08,
        space=space,
    )
    model = open_latency(cast(Job, job))
    assert isinstance(model.table, MeasuredTable)
    assert model.table.identity.runtime_name == MINE
    assert model.latency_ms(arch) == pytest.approx(len(arch.blocks) + 0.25, rel=0.01)
    assert len(clock.called) > len(model.table.units)


def test_the_remedy_for_missing_units_names_the_runtime(clock, tmp_path):
    a, b = random_archs(2, rng_seed=0)
    table = build.build("host_mine", lower(a), {}, tmp_path / "x.json", how=measure.identity(runtime=MINE))
    said = f"measure them: python -m latency_luts.build device=host_mine runtime={MINE}, with the space"
    with pytest.raises(latency_luts.MissingUnitsError, match=said):
        latency_luts.LatencyModel(table).latency_ms(b)


@pytest.mark.parametrize(("option", "value"), [("threads", 2), ("dtype", "int8")])
def test_only_what_the_runtime_can_do_is_measured(clock, option, value):
    said = f"runtime={MINE} has no {option}=: it runs networks on one thread with fp32; leave {option} out"
    with pytest.raises(ValueError, match=said):
        measure.identity(runtime=MINE, **{option: value})
    assert measure.identity(runtime=MINE, batch=4).batch == 4


class Able(OnnxRuntime):
    """Says in its version how it was made."""

    def __init__(self, *, threads: int = 1, dtype: str = "fp32") -> None:
        super().__init__(threads=threads, dtype=dtype)
        self.made = f"{threads}x{dtype}"

    version = property(lambda self: self.made)  # type: ignore[assignment]


def test_threads_and_dtype_reach_the_runtime():
    name = f"{__name__}:Able"
    assert measure.identity(runtime=name).runtime == f"{name} 1xfp32"
    how = measure.identity(runtime=name, threads=2, dtype="int8")
    assert (how.runtime, how.threads, how.dtype) == (f"{name} 2xint8", 2, "int8")
    with pytest.raises(ValueError, match="dtype=fp16: runtime onnxruntime computes in fp32 or int8; give one of these"):
        measure.identity(runtime=name, dtype="fp16")
    with measure.bench(how) as machine:
        assert isinstance(machine, CallBench)
        assert (machine._runtime.version, machine._clock) == ("2xint8", time.perf_counter)
    with measure.bench(measure.identity(runtime=name)) as machine:
        assert machine._clock is on_device.clock(1)
    Able.batches = False
    try:
        with pytest.raises(ValueError, match="batch=2: runtime .*:Able runs one image at a time; give batch=1"):
            measure.identity(runtime=name, batch=2)
    finally:
        del Able.batches


def test_a_table_that_grows_is_measured_as_it_was(tmp_path):
    how = measure.identity(runtime=f"{__name__}:Able", dtype="int8")
    path = tmp_path / "host.json"
    units = lower(zoo.get("mobilenet_v3_small", resolution_px=32))
    build.build("host", units[:1], {}, path, how=how)
    assert build.build("host", units[:2], {}, path).identity == how


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"from": "measured.jsonl"}, "leave from= or runtime= out"),
        ({"ray": {"address": "10.0.0.1:1", "resource": "x"}}, "leave ray.address= or runtime= out"),
    ],
)
def test_another_runtime_is_measured_on_this_machine_only(tmp_path, option, said):
    with pytest.raises(ValueError, match=f"runtime={MINE} runs on this machine only; {said}"):
        run(build, device="rpi4", runtime=MINE, tables_dir=str(tmp_path), **option)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("onnxruntim", "did you mean onnxruntime"),
        ("no_such_module:Runtime", "cannot be imported"),
        ("json:loads", "is no runtime: give a class that has prepare"),
        ("math:pi", "is no runtime: give a class that has prepare"),
        ("tests.latency_luts.test_runtime:Spaced", "a version without spaces"),
    ],
)
def test_what_is_no_runtime_is_refused(name, said):
    with pytest.raises(ValueError, match=said) as caught:
        measure.identity(runtime=name)
    assert "\n" not in str(caught.value)


class Spaced(OnnxRuntime):
    version = "1 2"  # type: ignore[assignment]


def test_onnx_runtime_is_one(tmp_path):
    """By its name it is timed with its profiler, by plain calls as any other."""
    assert isinstance(runtime.get("onnxruntime"), OnnxRuntime)
    assert measure.identity().runtime == f"onnxruntime {OnnxRuntime().version}"
    dotted = measure.identity(runtime="latency_luts.runtime:OnnxRuntime", batch=2)
    arch = zoo.get("mobilenet_v3_small", resolution_px=32)
    with measure.bench(measure.identity()) as machine:
        assert isinstance(machine, measure.OnnxBench)
    with measure.bench(dotted) as machine:
        assert isinstance(machine, CallBench)
        (timing,) = machine.time_chains([arch], bursts=2)
        (whole,) = machine.time_networks([arch], bursts=2)
    assert min(timing.ms) > 0
    assert whole.ms > max(timing.ms)


def test_tables_without_another_runtime_are_of_onnx_runtime(tmp_path):
    how = Identity(cpu="x", runtime="onnxruntime 1.20.1", threads=1, batch=1, dtype="fp32")
    assert (how.runtime_name, how.options()) == ("onnxruntime", {})
    assert store.measured_as(tmp_path / "none.json") == {}
    write(MeasuredTable(device="x", identity=replace(how, runtime="unknown"), provenance={"imported_from": "a"},
                        units={}), tmp_path / "imported.json")  # fmt: skip
    assert store.measured_as(tmp_path / "imported.json") == {}

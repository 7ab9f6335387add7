"""Chains, builds, validation: what measures this machine."""

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import latency_luts
from latency_luts import build, measure, on_device, validate
from latency_luts.chains import cover
from latency_luts.key import key
from latency_luts.measure import ChainTiming, NetworkTiming
from latency_luts.table import CalibratedTable, Identity, MeasuredTable, TableError, read, write
from search_spaces import onnx_net, spaces, zoo
from search_spaces.arch import MBConv
from search_spaces.lower import lower, unit
from tests.conftest import random_archs

ROOT = Path(__file__).parents[1]
HERE = Identity(cpu="test cpu", runtime="onnxruntime 1", threads=1, batch=1, dtype="fp32")


# ---- chains


def test_chains_are_networks_that_hold_every_unit_often_enough():
    units = spaces.get("mnasnet", base_width=0.35, resolution_px=64).units()
    chains = cover(units, np.random.default_rng(0), contexts=2)
    seen = Counter(each for chain in chains for each in lower(chain))
    assert min(seen[each] for each in units) >= 2
    assert set(seen) == set(units)  # this space's units fit together: nothing had to be put in between
    assert len(chains) < len(units) / 4
    assert {chain.in_ch for chain in chains} == {3}


def test_chains_leave_out_what_was_done():
    units = set(lower(zoo.get("mobilenet_v3_small")))
    assert cover(units, np.random.default_rng(0), contexts=2, done=dict.fromkeys(units, 2)) == []
    (last,) = [each for each in units if type(each.block).__name__ == "Classifier"]
    done = {each: 0 if each == last else 1 for each in units}
    (chain,) = cover(units, np.random.default_rng(0), done=done)
    assert lower(chain)[-1] == last


def test_a_unit_that_fits_to_no_other_gets_a_neighbour():
    lonely = unit(MBConv(in_ch=24, mid_ch=72, out_ch=40, kernel=5, stride=2), 56, 56)
    (chain,) = cover({lonely}, np.random.default_rng(0))
    assert lower(chain)[1:] == (lonely,)
    assert chain.blocks[0].out_ch == 24


# ---- on the device


def test_kernels_are_given_to_their_blocks():
    kernels = [
        ("ReorderInput_kernel_time", "ReorderInput"),
        ("block0.conv_nchwc_kernel_time", "Conv"),
        ("ReorderOutput_token_1_kernel_time", "ReorderOutput"),
        ("block1.se_pool_kernel_time", "GlobalAveragePool"),
        ("ReorderInput_token_2_kernel_time", "ReorderInput"),
        ("block2.conv_nchwc_kernel_time", "Conv"),
        ("Mul_463_kernel_time", "Mul"),
        ("ReorderOutput_token_3_kernel_time", "ReorderOutput"),
    ]
    assert on_device._owners(kernels, 3) == [0, 0, 0, 1, 2, 2, 2, 2]


def test_profiled_blocks_add_up_to_the_runs():
    """Of a synthetic profile: the first burst and warm-up runs are left out, microseconds become milliseconds."""
    lines, now = ["["], 0
    runs = 2 * (on_device.WARM_RUNS + on_device.BURST_RUNS)

    def event(name, ts, dur, arguments):
        return f'{{"cat" : "x","pid" :1,"dur" :{dur},"ts" :{ts},"ph" : "X","name" :"{name}","args" : {arguments}}},'

    for run in range(runs):
        for block, us in ((0, 10 + run), (1, 20)):
            lines.append(event(f"block{block}.conv_kernel_time", now + block, us, '{"op_name" : "Conv"}'))
        lines.append(event("model_run", now, 100, "{}"))
        now += 1000
    ms, kernels = on_device.block_times(on_device.events("\n".join(lines)), 2)
    burst = on_device.WARM_RUNS + on_device.BURST_RUNS
    kept = [r for r in range(burst, runs) if r % burst >= on_device.WARM_RUNS]
    np.testing.assert_allclose(ms[:, 0], [(10.5 + r) / 1e3 for r in kept])
    np.testing.assert_allclose(ms[:, 1], 0.0205)
    assert list(kernels) == [1, 1]


@pytest.mark.parametrize("dtype", ["fp32", "int8"])
def test_chains_are_timed_block_by_block(dtype):
    arch = zoo.get("mobilenet_v3_small", resolution_px=64)
    with measure.bench(measure.identity(dtype=dtype)) as machine:
        (timing,) = machine.time_chains([arch], bursts=8)
        (whole,) = machine.time_networks([arch], bursts=4)
    assert timing.keys == tuple(map(key, lower(arch)))
    assert all(ms > 0 for ms in timing.ms)
    assert all(kernels > 0 for kernels in timing.kernels)
    assert timing.runs == 8 * on_device.BURST_RUNS
    assert timing.reference_ms > 0
    assert 0.3 < sum(timing.ms) / whole.ms < 5


def test_an_int8_network_runs_on_integer_kernels(tmp_path):
    """Only h-swish and hard sigmoid stay float, which the runtime has no integers for."""
    for name in ("mobilenet_v2", "mnasnet_a1"):
        model = onnx_net.model(zoo.get(name, resolution_px=64), int8=True)
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        import onnx

        kinds = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
        assert kinds["QLinearConv"] == sum(node.op_type == "Conv" for node in model.graph.node)
        assert not {"Conv", "Gemm", "Relu", "Clip", "Add", "Mul"} & set(kinds)


def test_batch_and_threads_are_part_of_the_identity():
    how = measure.identity(threads=2, batch=4, dtype="int8")
    assert (how.threads, how.batch, how.dtype) == (2, 4, "int8")


# ---- building


class FakeMachine:
    """A unit costs 1 ms and has 3 kernels, a network 1.1 times its units; may break down after some groups of chains.

    ``slowness(call)`` is how much slower the machine is at that call.
    """

    def __init__(self, break_after=10**9, slowness=lambda call: 1.0, unit_ms=lambda name, call: 1.0):
        self.calls, self.chains, self.networks = 0, 0, 0
        self.break_after, self.slowness, self.unit_ms = break_after, slowness, unit_ms

    def time_chains(self, chains, *, bursts):
        if self.calls == self.break_after:
            raise KeyboardInterrupt
        self.calls += 1
        slow = self.slowness(self.calls)
        self.chains += len(chains)
        timings = []
        for chain in chains:
            names = tuple(map(key, lower(chain)))
            ms = tuple(slow * self.unit_ms(name, self.calls) for name in names)
            timings.append(
                ChainTiming(
                    keys=names,
                    ms=ms,
                    spread=(0.01,) * len(ms),
                    kernels=(3,) * len(ms),
                    runs=5,
                    reference_ms=2 * slow,
                )
            )
        return timings

    def time_networks(self, archs, *, bursts):
        self.networks += len(archs)
        slow = self.slowness(self.calls)
        return [NetworkTiming(ms=slow * self.network_ms(a), reference_ms=2 * slow) for a in archs]

    def network_ms(self, arch):
        return 1.1 * len(arch.blocks)


@pytest.fixture
def fake(monkeypatch):
    def use(**settings):
        machine = FakeMachine(**settings)
        for module in (build, validate):
            monkeypatch.setattr(module, "bench", lambda how: contextlib.nullcontext(machine))
        monkeypatch.setattr(build, "identity", lambda: HERE)
        return machine

    return use


def named(archs):
    return {f"n{i}": arch for i, arch in enumerate(archs)}


def test_an_interrupted_build_continues(tmp_path, fake):
    archs = random_archs(30, rng_seed=0)
    units = {each for arch in archs for each in lower(arch)}
    path = tmp_path / "host.json"
    interrupted = fake(break_after=2)
    with pytest.raises(KeyboardInterrupt):
        build.build("host", units, named(archs[:5]), path)
    assert not path.exists()
    log = tmp_path / "host.json.measured"
    before = len(log.read_text().splitlines())
    log.write_text(log.read_text() + '{"chain": {"keys": ["ConvBN(in_ch=3')  # the line that kill -9 cut short
    machine = fake()
    table = build.build("host", units, named(archs[:5]), path)
    assert before - 1 + machine.chains < 1.2 * len(cover(units, np.random.default_rng(0), contexts=build.CONTEXTS))
    assert set(table.units) == {key(each) for each in units}
    assert {timing.ms for timing in table.units.values()} == {1.0}
    assert min(timing.runs for timing in table.units.values()) >= 5 * build.CONTEXTS
    assert read(path) == table
    assert not log.exists()
    assert interrupted.networks + machine.networks == 5 * build.NETWORK_TURNS
    machine = fake()
    assert build.build("host", units, named(archs[:5]), path) == table
    assert (machine.calls, machine.networks) == (0, 0)


def test_only_missing_units_are_measured(tmp_path, fake):
    a, b = random_archs(2, rng_seed=0)
    path = tmp_path / "host.json"
    fake()
    first = build.build("host", lower(a), named([a] * 4), path)
    new = set(map(key, lower(b))) - set(first.units)
    machine = fake(unit_ms=lambda name, call: 7.0 if name in new else 1.0)
    table = build.build("host", {*lower(a), *lower(b)}, named([a] * 4), path)
    assert machine.networks == 0
    assert {name for name, timing in table.units.items() if timing.ms == 7} == new
    assert {timing.ms for name, timing in table.units.items() if name not in new} == {1.0}


def test_a_machine_that_changes_its_speed_gives_the_same_table(tmp_path, fake):
    archs = random_archs(8, rng_seed=0)
    units = {each for arch in archs for each in lower(arch)}
    fake(slowness=lambda call: 1.4 if call % 3 == 1 else 1.0)
    table = build.build("host", units, named(archs), tmp_path / "host.json")
    ms = [timing.ms for timing in table.units.values()]
    assert max(ms) == pytest.approx(min(ms))
    assert table.provenance["drift"] == pytest.approx(0.4)
    assert max(abs(n.left_out_ms / n.ms - 1) for n in table.networks) < 1e-6


def test_later_units_are_scaled_to_the_table_s_speed(tmp_path, fake):
    a, b = random_archs(2, rng_seed=0)
    path = tmp_path / "host.json"
    fake()
    build.build("host", lower(a), named([a] * 4), path)
    fake(slowness=lambda call: 1.5)
    table = build.build("host", lower(b), {}, path)
    assert {timing.ms for timing in table.units.values()} == {1.0}


def test_later_units_are_scaled_by_those_of_the_table_beside_them(tmp_path, fake):
    archs = random_archs(8, rng_seed=0)
    path = tmp_path / "host.json"
    fake()
    old = build.build("host", {unit for arch in archs[:7] for unit in lower(arch)}, named(archs[:4]), path)
    machine = fake(unit_ms=lambda name, call: 1.05)  # which the reference network does not notice
    machine.network_ms = lambda arch: 1.05 * 1.1 * len(arch.blocks)
    table = build.build("host", {*lower(archs[7]), *spaces.get("mnasnet", resolution_px=64).units()}, {}, path)
    assert len(table.units) > len(old.units)
    assert {timing.ms for timing in table.units.values()} == {1.0}
    assert len(table.networks) == 4 + build.FIT_CHAINS
    assert max(abs(n.fitted_ms / n.ms - 1) for n in table.networks) < 1e-6
    assert [n.ms for n in table.networks[:4]] == [n.ms for n in old.networks]


def test_a_table_that_grows_is_corrected_anew(tmp_path, fake):
    small, large = (spaces.get("mnasnet", base_width=width, resolution_px=64) for width in (0.35, 1.0))
    archs = [small.decode(row) for row in small.sample(np.random.default_rng(0), 6)]
    path = tmp_path / "host.json"
    wide = {key(unit) for unit in large.units()}
    settings = {"unit_ms": lambda name, call: 10.0 if name in wide else 1.0}
    fake(**settings)
    first = build.build("host", small.units(), named(archs), path)
    machine = fake(**settings)
    machine.network_ms = lambda arch: sum(9.0 if key(unit) in wide else 1.1 for unit in lower(arch))
    table = build.build("host", large.units(), {}, path)
    added = table.networks[len(archs) :]
    assert len(added) == build.FIT_CHAINS
    assert table.networks[: len(archs)] != first.networks  # fitted anew
    assert max(abs(n.fitted_ms / n.ms - 1) for n in added) < 0.02
    fake(**settings)
    few = list(spaces.get("mnasnet", base_width=2.0, resolution_px=64).units())[:5]
    assert build.build("host", few, {}, path).networks == table.networks


def test_units_whose_times_differ_are_timed_again_and_marked(tmp_path, fake, caplog):
    archs = random_archs(6, rng_seed=0)
    units = {each for arch in archs for each in lower(arch)}
    noisy = key(lower(archs[0])[2])
    moments = iter([1.0, 2.0] * 100)
    fake(unit_ms=lambda name, call: next(moments) if name == noisy else 1.0)
    table = build.build("host", units, named(archs), tmp_path / "host.json")
    assert table.provenance["noisy_units"] == 1
    assert table.units[noisy].runs >= 5 * (build.CONTEXTS + 2)


def test_two_machines_are_never_mixed(tmp_path, fake):
    archs = random_archs(4, rng_seed=0)
    path = tmp_path / "host.json"
    fake()
    build.build("host", lower(archs[0]), named([archs[0]] * 4), path)
    for change in ({"cpu": "another cpu"}, {"runtime": "onnxruntime 2"}, {"threads": 2}, {"dtype": "int8"}):
        other = Identity(**{**vars(HERE), **change})
        with pytest.raises(TableError, match="was measured with .*, but here is .* fresh=true"):
            build.build("host", lower(archs[1]), {}, path, how=other)
    build.build("host", lower(archs[1]), named([archs[1]] * 4), path, how=other, fresh=True)
    assert read(path).identity == other


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}\n", "was begun on another machine"),
        ('{"identity": HERE}\nnonsense\n{"chain": 1}\n', ":2 is damaged; remove the file"),
        ('{"identity": HERE}\n{"chain": 1}\n', ":2 is no measurement; remove the file"),
    ],
)
def test_log_messages(tmp_path, fake, content, message):
    fake()
    (tmp_path / "host.json.measured").write_text(content.replace("HERE", json.dumps(vars(HERE))))
    with pytest.raises(TableError, match=message):
        build.build("host", lower(random_archs(1, rng_seed=0)[0]), {}, tmp_path / "host.json")


def test_units_are_not_added_to_tables_of_other_devices(tmp_path):
    with pytest.raises(TableError, match="is calibrated, not measured: it has no units to add to"):
        build.measure_missing(latency_luts.load("pixel1"), [], path=tmp_path / "pixel1.json")


def test_measuring_this_machine(tmp_path):
    archs = [zoo.get("mobilenet_v3_small", width=w, resolution_px=64) for w in (0.35, 0.5, 0.75, 1.0)]
    units = {each for arch in archs for each in lower(arch)}
    table = build.build("host", units, named(archs), tmp_path / "host.json")
    assert table.identity == measure.identity()
    assert all(timing.ms > 0 and timing.kernels > 0 for timing in table.units.values())
    model = latency_luts.LatencyModel(table)
    assert "measured on" in model.describe()
    assert model.latency_ms(archs[3]) > model.latency_ms(archs[0])


# ---- validation


def test_kendall_tau():
    assert validate.kendall_tau([1, 2, 3, 4], [10, 20, 30, 40]) == 1
    assert validate.kendall_tau([1, 2, 3, 4], [4, 3, 2, 1]) == -1
    assert validate.kendall_tau([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)


def test_validation_figures():
    measured = [
        validate.Measured(name=name, predicted_ms=p, turns_ms=(9.8, 10.0, 10.1))
        for name, p in (("a", 10.2), ("b", 9.3), ("c", 12.0), ("d", 10.4))
    ]
    figures = validate.summary(measured, "these")
    assert figures.nets == 4
    assert figures.mape == pytest.approx((0.02 + 0.07 + 0.2 + 0.04) / 4)
    assert figures.bias == pytest.approx((0.02 - 0.07 + 0.2 + 0.04) / 4)
    assert (figures.within_5pct, figures.within_10pct) == (0.5, 0.75)
    assert (figures.worst, figures.worst_error) == ("c", pytest.approx(0.2))
    assert figures.noise == pytest.approx(0.01)  # 0.2, 0 and 0.1 of 10 ms


def test_validation_uses_networks_of_no_fit():
    archs = validate.sample(40, widths=[0.5, 1.0], resolution_px=96, names=["mnasnet", "mobilenet_v3"], rng_seed=0)
    assert len(archs) == 40
    assert {arch.resolution_px for arch in archs} == {96}
    for width in (0.5, 1.0):
        space = spaces.get("mnasnet", base_width=width, resolution_px=96)
        fitted = {space.decode(row) for row in space.sample(np.random.default_rng(0), build.FIT_SAMPLES)}
        assert not fitted & set(archs)
    assert set(zoo.names(mobile=True)) <= {arch.name for arch in archs}


def test_a_table_is_validated_at_its_own_speed(tmp_path, fake):
    archs = random_archs(6, rng_seed=0)
    path = tmp_path / "host.json"
    fake()
    units = {each for arch in archs for each in lower(arch)}
    table = build.build("host", units, named(archs), path)
    fake(slowness=lambda call: 1.3)
    others = random_archs(4, rng_seed=9)
    measured, model, speed = validate.validate(latency_luts.LatencyModel(table), others, path=path, bursts=4)
    assert speed == pytest.approx(1.3)
    assert max(abs(m.error) for m in measured) < 1e-6
    assert model.latency_ms(others[0]) == pytest.approx(1.1 * len(others[0].blocks))


def test_networks_whose_turns_disagree_are_timed_again(tmp_path, fake, monkeypatch):
    archs = random_archs(4, rng_seed=0)
    path = tmp_path / "host.json"
    machine = fake()
    table = build.build("host", {each for arch in archs for each in lower(arch)}, named(archs), path)
    steady = machine.time_networks

    def unsteady(archs, *, bursts):
        first, *others = steady(archs, bursts=bursts)
        slow = 1.5 if machine.networks < before + 2 * len(archs) and len(archs) > 1 else 1.0
        return [replace(first, ms=first.ms * slow), *others]

    monkeypatch.setattr(machine, "time_networks", unsteady)
    before = machine.networks
    measured, _, _ = validate.validate(latency_luts.LatencyModel(table), archs, path=path, bursts=4)
    assert [len(m.turns_ms) for m in measured] == [validate.TURNS + validate.TURNS_AGAIN, *[validate.TURNS] * 3]
    assert abs(measured[0].error) < 1e-6  # the slow turn is outvoted
    assert measured[0].noise == pytest.approx(0.5 / 8)
    assert measured[1].noise == 0


def test_a_table_says_its_latest_validation(tmp_path, fake):
    fake()
    archs = random_archs(4, rng_seed=0)
    table = build.build("host", lower(archs[0]), named([archs[0]] * 4), tmp_path / "host.json")
    figures = validate.summary([validate.Measured(name="a", predicted_ms=11.0, turns_ms=(10.0,))] * 2, "these")
    write(replace(table, validation=figures), tmp_path / "host.json")
    model = latency_luts.load("host", tables_dir=tmp_path)
    assert isinstance(model.table, MeasuredTable)
    assert not isinstance(model.table, CalibratedTable)
    assert "error 10.0% on 2 other networks (worst 10.0%)" in model.describe()


# ---- another machine


def test_a_node_of_a_cluster_is_measured(tmp_path, monkeypatch):
    """A cluster of one node that has the resource; the table is the node's."""
    import os

    import ray

    from latency_luts.remote import remote_bench

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    folder = tempfile.mkdtemp(prefix="nas-ray-")  # a short path: sockets lie in it
    ray.init(address="local", num_cpus=1, resources={"board": 2}, include_dashboard=False,
             log_to_driver=False, logging_level="ERROR", _temp_dir=folder)  # fmt: skip
    address = ray.get_runtime_context().gcs_address
    driver = """
import sys
from pathlib import Path
from latency_luts import build
from latency_luts.remote import remote_bench
from search_spaces import zoo
from search_spaces.lower import lower
arch = zoo.get("mobilenet_v3_small", width=0.35, resolution_px=32)
with remote_bench(sys.argv[1], sys.argv[2], threads=1, batch=1, dtype="fp32") as (how, machine):
    table = build.build("board", set(lower(arch)), {}, Path(sys.argv[3]), how=how, machine=machine)
    print(len(table.units), min(t.ms for t in table.units.values()) > 0)
"""

    def run(resource):
        return subprocess.run(
            [sys.executable, "-c", driver, address, resource, str(tmp_path / "board.json")],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    try:
        done = run("board")
        assert done.returncode == 0, done.stderr
        assert "True" in done.stdout
        assert read(tmp_path / "board.json").identity == measure.identity()
        missing = run("phone")
        assert "ray.resource=phone: no node of the cluster has it (there are: " in missing.stderr
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
    with (
        pytest.raises(ValueError, match="it must be host:port"),
        remote_bench("here", "x", threads=1, batch=1, dtype="fp32"),
    ):
        pass

"""Chains and what times them, here and on a node of a cluster."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from latency_luts import measure, on_device
from latency_luts.chains import cover
from latency_luts.key import key
from latency_luts.measurements import NetworkTiming
from latency_luts.on_device import graphs, profiles
from latency_luts.remote import RemoteBench
from latency_luts.table import TableError, read
from search_spaces import onnx_net, spaces, zoo
from search_spaces.arch import MBConv
from search_spaces.lower import lower, unit
from tests.commands.test_commands import HANGS_S

ROOT = Path(__file__).parents[2]


# ---- chains


def test_chains_are_networks_that_hold_every_unit_often_enough():
    units = spaces.get("mnasnet", base_width=0.35, resolution_px=64).units()
    chains = cover(units, np.random.default_rng(0), contexts=2)
    seen = Counter(each for chain in chains for each in lower(chain))
    assert min(seen[each] for each in units) >= 2
    assert set(seen) == set(units)  # this space's units fit together: nothing had to be put in between
    assert len(chains) < len(units) / 4
    assert {chain.in_ch for chain in chains} == {3}


def test_in_chains_the_layers_of_a_stage_are_alike():
    """As in networks: beside other kinds a unit may take several per cent more."""
    units = spaces.get("mnasnet", base_width=0.35, resolution_px=64).units()
    chains = [lower(chain) for chain in cover(units, np.random.default_rng(0), contexts=2)]
    pairs = [pair for chain in chains for pair in pairwise(chain)]
    kinds = [
        [(type(each.block), getattr(each.block, "se_ch", 0) > 0) for each in pair]
        for pair in pairs
        if pair[1].in_shape == pair[1].out_shape
    ]
    assert len(kinds) > len(units) / 4
    assert all(before == after for before, after in kinds)
    first_layers = [pair for pair in pairs if pair[1].in_shape != pair[1].out_shape]
    assert len({(type(a.block), type(b.block)) for a, b in first_layers}) >= 9  # which follow any kind


def test_a_unit_that_has_none_of_its_kind_before_it_follows_another():
    dense = unit(MBConv(in_ch=16, mid_ch=48, out_ch=24, kernel=3, stride=2), 56, 56)
    gated = unit(MBConv(in_ch=24, mid_ch=72, out_ch=24, kernel=3, se_ch=6, skip="identity"), 28, 28)
    chains = [lower(chain) for chain in cover({dense, gated}, np.random.default_rng(0))]
    assert any(chain[-2:] == (dense, gated) for chain in chains)


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
    assert on_device.owners(kernels, 3).tolist() == [0, 0, 0, 1, 2, 2, 2, 2]


def profile(runs_us):
    """A profile of ONNX Runtime: for each run the microseconds of kernels, given as (block, microseconds)."""
    lines, now = ["["], 0

    def event(name, ts, dur, arguments):
        return f'{{"cat" : "x","pid" :1,"dur" :{dur},"ts" :{ts},"ph" : "X","name" :"{name}","args" : {arguments}}},'

    for kernels in runs_us:
        for i, (block, us) in enumerate(kernels):
            lines.append(event(f"block{block}.conv{i}_kernel_time", now + i, us, '{"op_name" : "Conv"}'))
        lines.append(event("model_run", now, 100, "{}"))
        now += 1000
    return on_device.events("\n".join(lines))


def test_kernels_of_a_profile():
    """The first burst and warm-up runs are left out, microseconds become milliseconds."""
    burst = on_device.WARM_RUNS + on_device.BURST_RUNS
    runs = 2 * burst
    ms, owners = on_device.kernel_times(profile([[(0, 10 + run), (1, 20)] for run in range(runs)]), 2)
    kept = [r for r in range(burst, runs) if r % burst >= on_device.WARM_RUNS]
    np.testing.assert_allclose(ms[:, 0], [(10.5 + r) / 1e3 for r in kept])
    np.testing.assert_allclose(ms[:, 1], 0.0205)
    assert list(owners) == [0, 1]


def test_a_program_that_takes_the_core_away_changes_no_block():
    """In every run of a chain another kernel waits for 4 ms."""
    kernels = [(0, 10), (0, 30), (1, 20), (1, 5)]
    burst = on_device.WARM_RUNS + on_device.BURST_RUNS
    runs = [[(b, us + 4000 * (i == run % 4)) for i, (b, us) in enumerate(kernels)] for run in range(4 * burst)]
    summary = profiles._summary(*on_device.kernel_times(profile(runs), 2), 2)
    assert summary["ms"] == [0.041, 0.026]
    assert summary["kernels"] == [2, 2]
    assert summary["runs"] == 3 * on_device.BURST_RUNS


def test_whole_networks_are_timed_by_what_their_thread_works():
    """While another program has the core, which a sleep stands for, the clock of one thread stands still."""
    graph = on_device.Graph(onnx_net.model(zoo.get("mobilenet_v3_small", resolution_px=32)).SerializeToString(),
                            (1, 3, 32, 32), 1)  # fmt: skip
    session, waits_s = graph.session, iter([0.2] * 100)

    class Interrupted:
        def run(self, *given):
            time.sleep(next(waits_s))
            return session.run(*given)

    graph.session = Interrupted()
    ms, reference_ms = on_device.time_graphs([graph], [graph], bursts=2)
    assert np.nanmin(ms) < 100
    assert reference_ms < 100
    assert graphs.clock(2) is time.perf_counter  # several threads' work


def test_the_fastest_run_of_a_network_counts(monkeypatch):
    arch = zoo.get("mobilenet_v3_small", resolution_px=32)
    took_s = iter([9e-3, 2e-3, 7e-3] * 400)
    monkeypatch.setattr(on_device.Graph, "burst", lambda self: next(took_s))
    with measure.bench(measure.identity()) as machine:
        (timing,) = machine.time_networks([arch], bursts=12)
    assert timing == NetworkTiming(ms=2.0, reference_ms=pytest.approx(2.0))


@pytest.mark.parametrize("dtype", ["fp32", "int8"])
def test_chains_are_timed_block_by_block(dtype):
    arch = zoo.get("mobilenet_v3_small", resolution_px=64)
    with measure.bench(measure.identity(dtype=dtype)) as machine:
        (timing,) = machine.time_chains([arch], bursts=8)
        (whole,) = machine.time_networks([arch], bursts=4)
    assert timing.keys == tuple(map(key, lower(arch)))
    assert all(ms > 0 for ms in timing.ms)
    assert all(kernels > 0 for kernels in timing.kernels)
    assert 4 * on_device.BURST_RUNS <= timing.runs <= 8 * on_device.BURST_RUNS  # fewer of long runs, on a busy machine
    assert timing.reference_ms > 0
    assert whole.ms > 0


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


def test_a_node_that_breaks_down_is_one_line_that_loses_nothing():
    class RayError(Exception):
        pass

    def get(reference):
        raise RayError("traceback\nthe node died\n")

    ray = SimpleNamespace(get=get, exceptions=SimpleNamespace(RayError=RayError))
    machine = RemoteBench(ray, SimpleNamespace(time_chains=SimpleNamespace(remote=lambda *given: None)))
    said = "measuring on the node failed: the node died; the same command without fresh=true continues"
    with pytest.raises(TableError, match=f"^{said}$"):
        machine.time_chains([], bursts=1)


def test_batch_and_threads_are_part_of_the_identity():
    how = measure.identity(threads=2, batch=4, dtype="int8")
    assert (how.threads, how.batch, how.dtype) == (2, 4, "int8")


# ---- another machine


CLUSTER = """
import sys
import ray
ray.init(address="local", num_cpus=1, resources={"board": 2}, include_dashboard=False,
         log_to_driver=False, logging_level="ERROR", _temp_dir=sys.argv[1])
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


def test_a_node_of_a_cluster_is_measured(tmp_path):
    """A cluster of one node that has the resource; the table is the node's. Ray keeps a process's way of
    authentication for ever, so that the cluster is started by a process of its own."""
    from latency_luts.remote import remote_bench

    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "RAY_AUTH_MODE": "disabled"}
    folder = tempfile.mkdtemp(prefix="nas-ray-")  # a short path: sockets lie in it
    cluster = subprocess.Popen(
        [sys.executable, "-c", CLUSTER, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert cluster.stdout
    address = cluster.stdout.readline().strip()
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
            timeout=HANGS_S,
            env=environment,
        )

    try:
        done = run("board")
        assert done.returncode == 0, done.stderr
        assert "True" in done.stdout
        assert read(tmp_path / "board.json").identity == measure.identity()
        missing = run("phone")
        assert "ray.resource=phone: no node of the cluster has it (there are: " in missing.stderr
    finally:
        cluster.communicate("", timeout=HANGS_S)
        shutil.rmtree(folder, ignore_errors=True)
    with (
        pytest.raises(ValueError, match="it must be host:port"),
        remote_bench("here", "x", threads=1, batch=1, dtype="fp32"),
    ):
        pass

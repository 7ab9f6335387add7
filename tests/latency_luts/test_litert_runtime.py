"""LiteRT as a runtime, where it is installed."""

import sys

import numpy as np
import pytest

from latency_luts.by_calls import CallBench
from latency_luts.runtime import get
from latency_luts.runtimes.litert import LiteRT
from search_spaces import tflite_net, zoo

package = pytest.importorskip("ai_edge_litert")
ARCH = zoo.get("mobilenet_v3_small", width=0.35, resolution_px=32, classes=10)


def test_networks_and_blocks_are_timed():
    runtime = get("litert")
    assert runtime.version == package.__version__
    bench = CallBench(runtime, batch=1)
    assert bench.time_networks([ARCH], bursts=2)[0].ms > 0
    (timing,) = bench.time_chains([ARCH], bursts=2)
    assert len(timing.ms) == len(ARCH.blocks)
    assert min(timing.ms) > 0


@pytest.mark.parametrize("dtype", tflite_net.DTYPES)
def test_it_runs_what_it_is_asked_for(monkeypatch, dtype):
    loaded = []

    def spy(content, threads):
        loaded.append((content, threads, interpreter(content, threads=threads)))
        return loaded[-1][-1]

    interpreter = tflite_net.interpreter
    monkeypatch.setattr(tflite_net, "interpreter", spy)
    run = LiteRT(threads=2, dtype=dtype).prepare(ARCH, batch=2)
    ((content, threads, its),) = loaded
    assert content == tflite_net.model(ARCH, batch=2, dtype=dtype)
    assert threads == 2
    outputs = []
    for _ in range(2):
        run()
        outputs.append(its.get_tensor(its.get_output_details()[0]["index"]))
    assert outputs[0].shape == (2, 10)
    assert np.abs(outputs[0]).max() > 0
    assert (outputs[0] == outputs[1]).all()  # the input is still there
    with pytest.raises(ValueError, match="dtype=int4: runtime litert computes in fp32, fp16 or int8"):
        LiteRT(dtype="int4")


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(ValueError, match=r"needs the package ai-edge-litert .*; pip install .*\[litert\]'$"):
        LiteRT()

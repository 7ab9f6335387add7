"""ncnn as a runtime: what is run, how its blocks are told apart, and what it refuses."""

import sys
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from latency_luts import runtime
from latency_luts.runtimes import ncnn as ncnn_runtime
from latency_luts.runtimes.ncnn import Ncnn
from search_spaces import ncnn_net, onnx_net, zoo

SMALL = zoo.get("mobilenet_v3_small", width=0.35, resolution_px=64, classes=10)


@pytest.fixture
def installed():
    return pytest.importorskip("ncnn")


def test_it_is_a_runtime(installed):
    made = runtime.get("ncnn")
    assert isinstance(made, Ncnn)
    assert made.version == installed.__version__


def test_a_call_runs_the_network(installed):
    run = Ncnn().prepare(SMALL, batch=1)
    x = np.random.default_rng(0).standard_normal((1, 3, 64, 64), dtype=np.float32)
    expected = onnx_net.run(onnx_net.model(SMALL).SerializeToString(), x)[0]
    for _ in range(2):
        np.testing.assert_allclose(np.array(run()), expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", ncnn_net.DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_are_timed_one_by_one(installed, dtype, threads):
    made = Ncnn(threads=threads, dtype=dtype)
    run = made.prepare_blocks(SMALL, batch=1)
    for _ in range(2):
        seconds = run()
        assert len(seconds) == len(SMALL.blocks)
        assert min(seconds) > 0
    assert np.array(made.prepare(SMALL, batch=1)()).shape == (10,)


class Recorder:
    """Stands for a net, an extractor and the package, and keeps what was asked of it. A question takes a second."""

    def __init__(self):
        self.now, self.asked, self.last, self.pools = 0.0, [], lambda: None, []
        self.opt, self.__version__ = SimpleNamespace(), "1"

    def create_extractor(self):
        self.asked.append("new")
        return self

    def set_blob_allocator(self, pool):
        self.pools.append(pool)

    def PoolAllocator(self):  # noqa: N802
        return SimpleNamespace(set_size_compare_ratio=lambda ratio: None)

    def input(self, name, image):
        self.now += 100

    def extract(self, name, layout):
        assert self.last() is None  # nobody holds the last blob any more
        blob = type("Blob", (), {})()
        self.last = weakref.ref(blob)
        self.asked.append((name, layout))
        self.now += len(self.asked)
        return 0, blob


def test_blocks_are_those_of_one_run_and_nobody_holds_their_blobs(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(ncnn_runtime, "needed", lambda *asked: recorder)
    monkeypatch.setattr(Ncnn, "_prepared", lambda *how: (recorder, "image"))
    monkeypatch.setattr(ncnn_runtime, "clock", lambda threads: lambda: recorder.now)
    run = Ncnn().prepare_blocks(SMALL, batch=1)
    seconds = run()
    *inner, last = ncnn_net.block_outputs(SMALL)
    assert last == "output"
    assert recorder.asked == ["new", *((name, 1) for name in inner), (last, 0)]
    assert seconds == [2 + i for i in range(len(SMALL.blocks))]  # not what comes before the first block
    run()
    assert len(recorder.pools) == 2
    assert recorder.pools[0] is recorder.pools[1]


def test_fp32_is_not_computed_in_16_bits_where_ncnn_would_by_itself(installed):
    model = ncnn_net.model(SMALL)
    options = [ncnn_net.load(*model, dtype=dtype).opt for dtype in ("fp32", "fp16", "int8")]
    assert [opt.use_fp16_storage or opt.use_fp16_packed or opt.use_fp16_arithmetic for opt in options] == [0, 1, 1]
    assert [opt.num_threads for opt in (options[0], ncnn_net.load(*model, threads=2).opt)] == [1, 2]


def test_what_is_refused(installed):
    for prepare in (Ncnn().prepare, Ncnn().prepare_blocks):
        with pytest.raises(ValueError, match="^batch=2: ncnn runs one image at a time; give batch=1$"):
            prepare(SMALL, batch=2)
    with pytest.raises(ValueError, match="^dtype=bf16: runtime ncnn computes in fp32, fp16 or int8; give one of"):
        Ncnn(dtype="bf16")
    with pytest.raises(ValueError, match="^dtype='bf16': an ncnn model is of fp32, fp16, int8$"):
        ncnn_net.model(SMALL, dtype="bf16")


def test_a_model_without_its_weights_is_not_loaded(installed, capfd):
    param, content = ncnn_net.model(SMALL)
    with pytest.raises(RuntimeError, match="^ncnn .* cannot load a model of [0-9]+ layers$"):
        ncnn_net.load(param, content[: len(content) // 2])
    with pytest.raises(RuntimeError, match="cannot load"):
        ncnn_net.load(param.replace("Pooling", "Swimming"), content)
    assert "Swimming" in capfd.readouterr().err


def test_without_ncnn_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ncnn", None)
    with pytest.raises(
        ValueError, match=r"needs the package ncnn .*; pip install 'platform-aware-nas\[ncnn\]'$"
    ) as caught:
        Ncnn()
    assert "\n" not in str(caught.value)

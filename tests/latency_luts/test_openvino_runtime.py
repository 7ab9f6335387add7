"""OpenVINO as a runtime, where it is installed."""

import numpy as np
import pytest

from latency_luts import measure
from latency_luts.runtime import BlockRuntime, get
from search_spaces import rewrite, zoo

pytest.importorskip("openvino")
ARCH = rewrite.classes(zoo.get("mobilenet_v3_small", resolution_px=64), 10)
SHUFFLED = rewrite.classes(zoo.get("shufflenet_v2", resolution_px=64), 10)  # whose nodes partly lose their names


@pytest.mark.parametrize("arch", [ARCH, SHUFFLED], ids=lambda arch: arch.name)
def test_each_block_has_its_time(arch):
    runtime = get("openvino")
    assert isinstance(runtime, BlockRuntime)
    run = runtime.prepare_blocks(arch, batch=1)
    ms = 1e3 * np.array([run() for _ in range(11)])  # more than are timed of a network that was compiled once
    assert ms.shape == (11, len(arch.blocks))
    assert (np.median(ms, axis=0) > 0).all()


def test_integers_and_batches():
    request = get("openvino", threads=2, dtype="int8").prepare(ARCH, batch=2).__self__
    request.infer()
    assert tuple(request.get_output_tensor().shape) == (2, 10)
    assert request.get_compiled_model().get_property("INFERENCE_NUM_THREADS") == 2
    counted = get("openvino", dtype="int8")._request(ARCH, 1, counted=True)
    counted.infer()
    assert any(node.exec_type.endswith("_I8") for node in counted.profiling_info)
    with pytest.raises(ValueError, match="dtype=fp16: runtime openvino computes in fp32 or int8"):
        get("openvino", dtype="fp16")
    assert measure.identity(runtime="openvino").runtime.split()[1].count(".") == 2

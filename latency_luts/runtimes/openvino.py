"""OpenVINO: the runtime of Intel's CPUs, which Arm's have too."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from latency_luts.on_device import owners
from latency_luts.runtime import check_dtype
from nas_runtime.extras import needed
from search_spaces.arch import Arch
from search_spaces.lower import lower

__all__ = ["OpenVino"]

_DTYPES = ("fp32", "int8")
_RUNS = (1, 8)  # of a network that was compiled once: in the call that warms up, and in the one that is timed
_ROUNDED_S = 0.5e-6  # down, on average


class OpenVino:
    """OpenVINO on the CPU, blocks by its own counters: it keeps the names of the graph's nodes."""

    in_this_thread = True

    def __init__(self, *, threads: int = 1, dtype: str = "fp32") -> None:
        check_dtype("openvino", dtype, _DTYPES)
        self._openvino = needed("openvino", "openvino", "runtime openvino")
        self._core = self._openvino.Core()
        self._threads, self._int8 = threads, dtype == "int8"

    @property
    def version(self) -> str:
        return str(self._openvino.__version__).split("-")[0]

    def prepare(self, arch: Arch, *, batch: int) -> Callable[[], object]:
        return self._request(arch, batch, counted=False).infer

    def prepare_blocks(self, arch: Arch, *, batch: int) -> Callable[[], Sequence[float]]:
        return _Counted(lambda: self._request(arch, batch, counted=True), len(arch.blocks)).run

    def _request(self, arch: Arch, batch: int, *, counted: bool) -> Any:
        from search_spaces import onnx_net, openvino_net

        content = onnx_net.model(arch, batch=batch, int8=self._int8).SerializeToString()
        network = openvino_net.compiled(
            self._core, self._core.read_model(content), threads=self._threads, counted=counted
        )
        request = network.create_infer_request()
        shape = (batch, *lower(arch)[0].in_shape)
        images = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        request.set_input_tensor(self._openvino.Tensor(images))
        return request


class _Counted:
    """A network whose blocks are timed by OpenVINO's counters.

    The counters are means, in whole microseconds, of all runs since the network was compiled. What some runs took is a
    difference of two sums, whose rounding grows with the number of runs before: so it is compiled again after few.
    """

    def __init__(self, request: Callable[[], Any], blocks: int) -> None:
        self._new_request, self._blocks = request, blocks
        self._begin()

    def run(self) -> Sequence[float]:
        """Seconds of each block, the mean of some runs in a row: few, then many, and then again."""
        if self._calls == len(_RUNS):
            self._begin()
        runs = _RUNS[self._calls]
        for _ in range(runs):
            self._request.infer()
        self._calls += 1
        before, self._sum = self._sum, (1 + sum(_RUNS[: self._calls])) * self._means()
        seconds = np.bincount(self._owners, weights=(self._sum - before) / runs, minlength=self._blocks)
        return np.maximum(seconds, 0).tolist()  # which are differences of rounded numbers

    def _begin(self) -> None:
        self._request, self._calls = self._new_request(), 0
        self._request.infer()
        self._sum = self._means()
        kernels = [(node.node_name, node.node_type) for node in self._request.profiling_info]
        self._owners = owners(kernels, self._blocks)

    def _means(self) -> np.ndarray:
        """(nodes,) seconds; 0 of nodes that were optimised away."""
        seconds = np.array([node.real_time.total_seconds() for node in self._request.profiling_info])
        return np.where(seconds > 0, seconds + _ROUNDED_S, 0)
